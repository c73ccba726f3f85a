# What the actions of this cookbook's resources share. Written for Chef, and without requiring it:
# the names it calls are those of Chef's resources and providers.
module CncpCookbook
  # Where the code is.
  module Checkout
    # The checkout: the one named, else the one that holds this cookbook. Chef loads cookbooks from
    # copies of its own, so the folders that those were copied from are asked for too.
    def self.source(given)
      folders = [File.dirname(given.run_context.cookbook_collection['cncp'].root_dir), *repository]
      CncpCookbook.source(given.node['cncp']['source'], folders.map { |folder| File.dirname(folder) })
    end

    # The cookbook folders of the repository that chef-solo serves to itself.
    def self.repository
      served = Chef::LocalMode.chef_fs if defined?(Chef::LocalMode)
      served ? Array(served.child_paths['cookbooks']) : []
    end
  end

  # Methods for actions.
  module Actions
    # Run a program of ours as cncp's user: what is that user's no root ever runs. A dry run may do so only to ask.
    def cncp_run(words, input = nil, timeout = 120)
      environment = CncpCookbook.environment(new_resource.home, new_resource.user)
      words = cncp_for_another(words) if cncp_for_another?
      done = shell_out(*words, input: input, environment: environment, cwd: '/', timeout: timeout, default_env: false)
      [done.exitstatus, done.stdout, done.stderr]
    end

    # Whether this is root, converging another account's cluster.
    def cncp_for_another?
      Process.euid.zero? && !CncpCookbook.account(new_resource.user).uid.zero?
    end

    # With root's own Python and code, which becomes that account and has root at hand for units of the system.
    def cncp_for_another(words)
      source = Checkout.source(new_resource)
      [CncpCookbook.root_python, '-I', '-B', CncpCookbook.asroot(source), 'run', new_resource.user, *words]
    end

    # Ask cncp, or have it take a step, and return the answer.
    def cncp(*words, timeout: 120)
      input = CncpCookbook.input(new_resource.settings, node['cncp'])
      CncpCookbook.parse(*cncp_run(CncpCookbook.document(new_resource.home, *words), input, timeout))
    end

    # The desired state; it is asked for once in a run, because it does not change in one.
    def cncp_desired
      node.run_state['cncp'] ||= {}
      node.run_state['cncp'][[new_resource.home, new_resource.settings]] ||= cncp('desired')
    end

    # Whether there is a virtualenv to ask. In a dry run on a bare machine there is none, or it lacks
    # packages that would have been installed by now, and nothing more can be said.
    def cncp_there?
      there = !CncpCookbook.stamp(new_resource.home).nil?
      raise CncpCookbook::Error.new("there is no virtualenv in #{new_resource.home}", 'run cncp_virtualenv first') \
        unless there || whyrun_mode?

      cncp_desired if there && whyrun_mode?
      Chef::Log.warn("#{new_resource}: what it does is known only once the virtualenv is there") unless there
      there
    rescue CncpCookbook::Error => e
      raise unless whyrun_mode? && e.status == CncpCookbook::LACKING

      Chef::Log.warn("#{new_resource}: what it does is known only later: #{e.message}")
      false
    end

    # Install everything of these parts, and remove what is no longer wanted; return whether anything differed.
    def cncp_install(*parts)
      return cncp_installed(*parts) if cncp_for_another?

      entries = cncp_desired['resources'].select { |entry| parts.include?(entry['part']) }
      [entries.map { |entry| cncp_resource(entry).updated_by_last_action? }.any?, cncp_units(*parts)].any?
    end

    # Root opens no file of another account's, in which a link could lead anywhere: the account installs them itself.
    def cncp_installed(*parts)
      cncp_said(cncp('install', *parts, *('--dry-run' if whyrun_mode?))['changed'])
    end

    # Units of the system are root's step in any case, and belong to no resource of Chef's.
    def cncp_units(*parts)
      return false unless cncp_desired['units'] && parts.include?('units')

      cncp_said(cncp('units', *('--dry-run' if whyrun_mode?))['changed'])
    end

    def cncp_said(changed)
      converge_by(changed) {} unless changed.empty?
      !changed.empty?
    end

    # Remove what is no longer wanted of these parts: each resource takes away what was its own.
    def cncp_remove(*parts)
      # Taken away by `cncp_installed`.
      return false if cncp_for_another?

      entries = cncp_desired['removals'].select { |entry| parts.include?(entry['part']) }
      entries.map { |entry| cncp_removal(entry['path']).updated_by_last_action? }.any?
    end

    # The kind of service that this resource is called after: cncp_engines is for those of the kind engine.
    def cncp_kind
      new_resource.declared_type.to_s.delete_prefix('cncp_').sub(/(?<=engine|tunnel)s\z/, '')
    end

    # Install what services of this kind need and have them run; return whether anything was started.
    def cncp_start
      return false unless cncp_there?

      changed = [cncp_install(cncp_kind), cncp_remove(cncp_kind)].any?
      cncp_serve(cncp_kind, changed)
    end

    def cncp_stop
      cncp_act('stop')
    end

    def cncp_restart
      cncp_act('restart')
    end

    # Have cncp stop or restart what runs of this kind, where anything does.
    def cncp_act(verb)
      return unless cncp_there?

      names = cncp(verb, cncp_kind, '--dry-run')['stop']
      return if names.empty?

      patience = 120 + CncpCookbook.busy(node['cncp'])['wait']
      converge_by("#{verb} #{names.join(', ')}") { cncp(verb, cncp_kind, timeout: patience) }
    end

    # Start or restart what does not run as it is to; return whether anything was started.
    def cncp_serve(kind, changed)
      current_resource.digests(cncp_select(cncp_desired['running'], kind))
      new_resource.digests(cncp_select(cncp_desired['services'], kind))
      differs = new_resource.digests != current_resource.digests
      converge_if_changed(:digests) { cncp_settle(kind) }
      if changed && !differs
        converge_by('have the service manager take over the changed files') { cncp_settle(kind) }
      end
      differs && !whyrun_mode?
    end

    def cncp_settle(kind)
      warning = cncp('services', kind)['warning']
      known = node.run_state['cncp']['warnings'] ||= []
      Chef::Log.warn(warning) unless warning.empty? || known.include?(warning)
      known << warning
    end

    def cncp_select(digests, kind)
      digests.select { |name, _| name.split('-').first == kind }
    end

    # Whoever runs this makes everything as themselves, whatever their groups are.
    def cncp_resource(entry)
      return cncp_file(entry) if entry['kind'] == 'file'

      declared = entry['kind'] == 'link' ? :link : :directory
      send(declared, entry['path']) do
        entry['kind'] == 'link' ? to(entry['target']) : mode(entry['mode'])
      end
    end

    # A link at the place of a file is followed: people keep their configuration elsewhere.
    def cncp_file(entry)
      send(entry['source'] ? :cookbook_file : :file, entry['path']) do
        if entry['source']
          source entry['source']
          cookbook 'cncp'
        else
          content entry['content']
        end
        mode entry['mode']
        backup false
        manage_symlink_source false
      end
    end

    def cncp_removal(path)
      return link(path) { action :delete } if ::File.symlink?(path)

      file(path) do
        action :delete
        backup false
      end
    end
  end
end
