unified_mode true

provides :cncp_packages

description 'Packages of the operating system that a cluster needs and this machine lacks. Only root can ' \
            'install them: for anybody else this does nothing. Where nothing is lacking, no package index is asked.'

property :service_manager, String,
         default: lazy { |given| given.node['cncp']['service_manager'] },
         description: 'The service manager: tmux and screen are packages, and without systemd cron starts all at boot.'
property :home, String,
         default: lazy { |given| CncpCookbook.home(given.node['cncp']['home'], CncpCookbook.account(given.user)) },
         description: 'The folder of the virtualenv: where that is whole, nothing is needed to make one.'
property :user, String,
         default: lazy { |given| CncpCookbook.account(given.node['cncp']['user']).name },
         description: 'The account that the cluster runs as.'

action :install do
  description 'Install what is lacking.'

  needs = CncpCookbook.needs(new_resource.service_manager,
                             systemd: ::File.directory?('/run/systemd/system'),
                             virtualenv: !CncpCookbook.stamp(new_resource.home).nil?)
  next if needs.empty? || !Process.euid.zero?

  # Not apt_update, which leaves a file of its own in /etc/apt.
  execute 'apt-get -q update' do
    ignore_failure true
    only_if { platform_family?('debian') }
  end
  needs.each do |need|
    package CncpCookbook.packages(node['platform_family'], [need]) do
      # A cluster runs without cron, until the next boot; without the others it does not.
      ignore_failure need == 'cron'
    end
  end
end
