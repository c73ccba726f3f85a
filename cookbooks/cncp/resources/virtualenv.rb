unified_mode true

provides :cncp_virtualenv

description 'The virtualenv with the locked packages, made by bootstrap/stage0.py of a checkout of cncp.'

use 'partial/_cluster'

property :source, String,
         default: lazy { |given| CncpCookbook::Checkout.source(given) },
         description: 'The checkout of cncp whose code the virtualenv runs.'
property :python, String,
         description: 'The Python to make the virtualenv with. Left out: the one it was made with, else python3.'
property :offline, [String, nil], desired_state: false,
         default: lazy { |given| given.node['cncp']['offline'] },
         description: 'A bundle (cncp bundle.make) to install from instead of any network.'
property :lock, String,
         default: lazy { |given| CncpCookbook.lock(given.source) },
         description: 'The digest of the locked packages; it follows from the source.'
property :jupyter, String,
         default: lazy { |given| CncpCookbook.on?(given.settings['jupyter']) ? CncpCookbook.lock(given.source, 'jupyter') : '' },
         description: 'The digest of the lock of Jupyter, where that is wanted; it follows from source and settings.'
property :requirements, String,
         default: lazy { |given| CncpCookbook.requirements(given.settings['requirements']) || '' },
         description: 'The digest of the packages beyond the lock; it follows from the setting requirements.'

load_current_value do |wanted|
  stamp = CncpCookbook.stamp(wanted.home)
  current_value_does_not_exist! if stamp.nil?
  %w(source python lock jupyter requirements).each { |key| send(key, stamp[key].to_s) }
end

action_class do
  def base_python
    @base_python ||= CncpCookbook.base_python(new_resource.python || node['cncp']['python'],
                                              CncpCookbook.stamp(new_resource.home))
  end

  # Only the installer can look behind a URL, and it does so quickly.
  def unknown_requirements?
    CncpCookbook.requirements(new_resource.settings['requirements']).nil?
  end

  def build
    busy = CncpCookbook.busy(node['cncp'])
    words = CncpCookbook.stage0(new_resource.source, base_python, new_resource.settings, new_resource.offline, busy)
    status, _, errors = cncp_run(words, nil, 1800 + busy['wait'])
    raise CncpCookbook::Error.new(*CncpCookbook.said(errors, status)) unless status.zero?
  end
end

action :create do
  description 'Make the virtualenv, or bring it to what is wanted.'

  properties = %i(source lock)
  properties << :requirements unless unknown_requirements?
  # Its packages stay when it is switched off, until something else changes.
  properties << :jupyter if CncpCookbook.on?(new_resource.settings['jupyter'])
  # Set, and not defaults: Chef 16 compares only those.
  properties.each { |name| new_resource.send(name, new_resource.send(name)) }
  if base_python
    new_resource.python(base_python)
    properties << :python
  end
  built = false
  converge_if_changed(*properties) do
    build
    built = true
  end
  next if built || whyrun_mode? || !unknown_requirements?

  before = CncpCookbook.stamp(new_resource.home)
  build
  converge_by("install #{new_resource.settings['requirements']}") {} if CncpCookbook.stamp(new_resource.home) != before
end

action :delete do
  description 'Stop all that runs of the cluster, and remove all that was installed, as `cncp uninstall` does.'

  next unless CncpCookbook.installed?(new_resource.home)

  converge_by("uninstall the cluster in #{new_resource.home}") do
    status, _, errors = cncp_run(CncpCookbook.uninstall(new_resource.source, new_resource.home, base_python), nil, 600)
    raise CncpCookbook::Error.new(*CncpCookbook.said(errors, status)) unless status.zero?
  end
end
