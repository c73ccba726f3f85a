# What the resources of this cookbook have in common, in plain Ruby: nothing here needs Chef.
require 'digest'
require 'etc'
require 'json'
require 'shellwords'

module CncpCookbook
  # Attributes below node['cncp'] that are no settings of the cluster.
  OTHERS = %w(user home source python offline packages path engine_ids machine timeout force wait).freeze

  # A failure with one line that says what is wrong and one that says what to do. ``status``: what
  # the program exited with that said so.
  class Error < RuntimeError
    attr_reader :status

    def initialize(message, hint, status = nil)
      super("#{message} (#{hint})")
      @status = status
    end
  end

  # How every Python of ours is started: nothing around it decides what it imports.
  PYTHON = %w(-I -Xutf8).freeze

  # What cncp exits with when the machine lacks something.
  LACKING = 4

  module_function

  # The settings among the attributes. Unknown ones stay in: cncp itself names and refuses them.
  def settings(attributes)
    attributes.to_h.reject { |key, value| OTHERS.include?(key) || value.nil? }
  end

  # The account the cluster runs as: the one named, who called sudo, or who runs this.
  def account(name, environment = ENV, uid = Process.euid)
    name ||= environment['SUDO_USER'] if uid.zero?
    name ? Etc.getpwnam(name) : Etc.getpwuid(uid)
  rescue ArgumentError
    raise Error.new("there is no account #{name} on this machine", "set node['cncp']['user'] to one that is")
  end

  # The home of an account: of one's own, $HOME is believed.
  def user_home(entry, environment = ENV, uid = Process.euid)
    own = environment['HOME'].to_s
    entry.uid == uid && !own.empty? ? own : entry.dir
  end

  # The folder of the virtualenv and all state.
  def home(named, entry, environment = ENV, uid = Process.euid)
    File.expand_path(named || File.join(user_home(entry, environment, uid), '.local', 'share', 'cncp'))
  end

  # The folder that holds bootstrap/: the one named, else the first candidate that does.
  def source(named, candidates)
    found = [named, *candidates].compact.find { |folder| File.file?(stage0_path(folder)) }
    return File.realpath(found) if found && (named.nil? || found == named)

    raise Error.new("there is no bootstrap/stage0.py in #{named || 'the repository of this cookbook'}",
                    "set node['cncp']['source'] to a checkout of cncp")
  end

  def stage0_path(source)
    File.join(source, 'bootstrap', 'stage0.py')
  end

  def venv_python(home)
    File.join(home, 'venv', 'bin', 'python')
  end

  # The environment of our own programs: CNCP_* variables of whoever runs Chef are not for them.
  def environment(home, user, environment = ENV)
    foreign = environment.keys.select { |name| name.start_with?('CNCP_') && !AT_HAND.include?(name) }
    foreign.map { |name| [name, nil] }.to_h.merge('CNCP_HOME' => home, 'CNCP_USER' => user)
  end

  # How a `cncp up` that runs this has root at hand.
  AT_HAND = %w(CNCP_ROOT CNCP_BY_ROOT).freeze

  # The Python that root runs: its own, and no other's to change.
  def root_python(candidates = %w(/usr/bin/python3 /usr/libexec/platform-python /usr/local/bin/python3))
    candidates.find { |path| File.executable?(path) && roots?(File.realpath(path)) && new_enough?(path) } ||
      raise(Error.new('root has no Python 3.10 or newer of its own', 'install one (package python3)'))
  end

  def new_enough?(python)
    system(python, '-I', '-c', 'import sys; sys.exit(sys.version_info < (3, 10))', err: File::NULL) ? true : false
  end

  # The program that root runs for another account, from a checkout that others cannot change.
  def asroot(source)
    parts = %w(bootstrap cookbooks roles).map { |name| File.join(source, name) }
    wrong = parts.flat_map { |folder| [folder, *Dir.glob(File.join(folder, '**', '*'), File::FNM_DOTMATCH)] }
                 .find { |path| !only_roots?(path) } || (source unless roots?(source))
    return File.join(source, 'bootstrap', 'asroot.py') unless wrong

    raise Error.new("#{wrong} can be written by others than root, who is to run it for an account",
                    'have the checkout of cncp belong to root: chown -R root, chmod -R go-w')
  end

  # Whether a path, and every folder above it, can be written by root, and who called sudo, alone.
  def roots?(path)
    only_roots?(path) && (path == '/' || roots?(File.dirname(path)))
  end

  def only_roots?(path, environment = ENV)
    status = File.lstat(path)
    caller = environment['SUDO_USER'].to_s.empty? ? nil : account(environment['SUDO_USER'])
    return false if status.symlink? || ![0, caller && caller.uid].include?(status.uid)

    shared = status.mode & 0o020 != 0 && !private_group?(status.gid, caller)
    open = status.mode & 0o002 != 0 || shared
    !open || (status.directory? && status.sticky?)
  end

  # Whether nobody else is in a group: root's, or the one of the caller's own name.
  def private_group?(gid, caller)
    gid.zero? || (!caller.nil? && gid == caller.gid && Etc.getgrgid(gid).name == caller.name)
  end

  # The command line that builds or repairs the virtualenv. ``python`` nil: the one that is found.
  # ``busy`` says what becomes of engines at work.
  def stage0(source, python, settings, offline = nil, busy = { 'force' => true, 'wait' => 0 })
    words = [python || 'python3', '-I', stage0_path(source), '--install-only', '--in-place', '--forget']
    words << '--force' if busy['force']
    words += ['--wait', busy['wait'].to_s] if busy['wait'].positive?
    words += ['--python', python] if python
    words += ['--requirements', settings['requirements']] if settings['requirements']
    words += ['--jupyter', settings['jupyter'].to_s] unless settings['jupyter'].nil?
    words += ['--offline', offline] if offline
    words
  end

  # What becomes of engines at work that a change restarts: ``wait`` s for them, then lost with ``force`` or refused.
  def busy(attributes)
    { 'force' => attributes['force'].nil? || on?(attributes['force']), 'wait' => seconds(attributes['wait'], 0) }
  end

  # The command line that asks cncp for a document, or has it take a step.
  def document(home, *words)
    [venv_python(home), *PYTHON, '-m', 'cncp.remote', 'chef', *words]
  end

  # Whether anything of a cluster is in its folder.
  def installed?(home)
    %w(node.json venv code).any? { |name| File.exist?(File.join(home, name)) }
  end

  # The command line that removes a cluster: its own, or where its virtualenv is not whole the checkout's.
  def uninstall(source, home, python)
    return [venv_python(home), *PYTHON, '-m', 'cncp', 'uninstall', '--quiet'] if stamp(home)

    [python || 'python3', '-I', File.join(source, 'bootstrap', 'uninstall.py'), '--quiet']
  end

  # What the command above reads.
  def input(settings, attributes, environment = ENV)
    given = { 'settings' => settings, 'path' => attributes['path'] || environment['PATH'] }
    given['busy'] = busy(attributes)
    %w(engine_ids machine).each { |key| given[key] = attributes[key] unless attributes[key].nil? }
    JSON.generate(given)
  end

  # What an answer begins with, and the version of the protocol that this cookbook reads.
  GREETING = "cncp.remote 1\n".freeze

  # The answer of the command above; its error as an exception.
  def parse(status, output, errors)
    raise other_version if errors.include?('No module named cncp.remote') || (status.zero? && !output.start_with?(GREETING))
    raise Error.new(*said(errors, status), status) unless status.zero?

    JSON.parse(output.delete_prefix(GREETING))
  rescue JSON::ParserError
    raise Error.new('cncp gave an answer that is no JSON', 'run cncp check')
  end

  def other_version
    Error.new('cncp in the virtualenv is of another version than this cookbook',
              "take both from one release: node['cncp']['source']")
  end

  # What a program of ours said of its failure: message and hint.
  def said(errors, status)
    message = errors[/^error: (.*)$/, 1] || errors.strip.lines.last.to_s.strip
    message = "it exited with #{status}" if message.empty?
    [message, errors[/^hint: (.*)$/, 1] || 'look for more in the log of this run']
  end

  # What the virtualenv was made from, nil where it is not whole.
  def stamp(home)
    return unless File.executable?(venv_python(home))

    JSON.parse(File.read(File.join(home, 'venv', 'cncp-installed.json')))
  rescue SystemCallError, JSON::ParserError
    nil
  end

  # The digest of a lock that the virtualenv is to be made from.
  def lock(source, name = 'compute')
    Digest::SHA256.file(File.join(source, 'bootstrap', 'locks', "#{name}.txt")).hexdigest
  end

  # Whether a setting that is on or off is on, as cncp reads it.
  def on?(value)
    %w(true yes on 1).include?(value.to_s.downcase)
  end

  # What the attributes that are no settings have to be; those of the settings cncp itself refuses,
  # but for those that are read here before there is a cncp to ask.
  SHAPES = {
    %w(user home source python offline path) => ['a string', ->(value) { value.is_a?(String) && !value.empty? }],
    %w(requirements service_manager) => ['a string', ->(value) { value.is_a?(String) && !value.empty? }],
    %w(packages jupyter force) => ['true or false',
                                   ->(value) { %w(true yes on 1 false no off 0).include?(value.to_s.downcase) }],
    %w(timeout wait) => ['a number of seconds, 0 or more', ->(value) { value.to_s.match?(/\A\d{1,6}\z/) }],
  }.freeze

  # Refuse attributes that make no sense, before anything is changed; return them. nil stands for the default.
  def check(attributes)
    SHAPES.each do |names, (what, fits)|
      names.each do |name|
        value = attributes[name]
        next if value.nil? || fits.call(value)

        raise Error.new("node['cncp']['#{name}'] = #{value.inspect} is not possible", "it must be #{what}")
      end
    end
    attributes
  end

  # Seconds to wait, from what check has let through.
  def seconds(value, default = 60)
    value.nil? ? default : Integer(value.to_s, 10)
  end

  # The digest of the user's own requirements; nil where only the installer can tell (a URL, or no file).
  def requirements(setting)
    return '' if [nil, 'none'].include?(setting)

    path = setting.include?('://') ? nil : File.expand_path(setting)
    content = path && File.file?(path) ? File.binread(path) : nil
    content && (content.empty? ? '' : Digest::SHA256.hexdigest(content))
  end

  # The Python to make the virtualenv with: the one named, else the one it was made with; nil: any.
  def base_python(named, stamp, path = ENV['PATH'].to_s)
    former = stamp && stamp['python']
    return former && File.executable?(former) ? former : nil if named.nil?

    # A name without a folder is looked for as a shell does, and never in the working directory.
    folders = named.include?(File::SEPARATOR) ? [''] : path.split(File::PATH_SEPARATOR)
    found = folders.map { |folder| folder.empty? ? named : File.join(folder, named) }
                   .find { |one| File.absolute_path(one) == one && File.file?(one) && File.executable?(one) }
    return File.realpath(found) if found

    raise Error.new("there is no Python #{named} on this machine",
                    "set node['cncp']['python'] to one that is, 3.10 or newer, or leave it out")
  end

  # Whether a program is on the PATH, or where the system keeps those that are not for users.
  def program?(name, path = ENV['PATH'].to_s)
    folders = path.split(File::PATH_SEPARATOR) + %w(/usr/local/bin /usr/bin /bin /usr/sbin /sbin)
    folders.any? { |folder| File.executable?(File.join(folder, name)) }
  end

  # Packages of the operating system by what is needed: names differ, needs do not.
  PACKAGES = {
    'debian' => { 'python' => %w(python3), 'venv' => %w(python3-venv), 'tmux' => %w(tmux),
                  'screen' => %w(screen), 'cron' => %w(cron) },
    'rhel' => { 'python' => %w(python3), 'venv' => %w(python3-pip), 'tmux' => %w(tmux),
                'screen' => %w(screen), 'cron' => %w(cronie) },
  }.freeze

  # The packages that stand for needs on a family of systems. Raises where we know none.
  def packages(family, needs)
    names = PACKAGES[family == 'fedora' ? 'rhel' : family]
    return [] if needs.empty?
    raise Error.new("packages of a #{family} are not known here", "install #{needs.join(', ')} by hand") unless names

    needs.flat_map { |need| names.fetch(need) }
  end

  # What this machine lacks. Nothing is wanted where everything is there, so that no package index
  # is asked on a machine that has no network.
  def needs(service_manager, systemd:, virtualenv:, has: method(:program?))
    needs = []
    needs << 'python' unless virtualenv || has.call('python3')
    needs << 'venv' unless virtualenv || has.call('pip3') || has.call('virtualenv') || venv?
    needs << service_manager if %w(tmux screen).include?(service_manager) && !has.call(service_manager)
    by_cron = %w(supervisor tmux screen).include?(service_manager) || (service_manager == 'auto' && !systemd)
    needs << 'cron' if by_cron && !has.call('crontab')
    needs
  end

  # Whether this Python can make a virtualenv by itself: Debian keeps that in a package of its own.
  def venv?(python = 'python3')
    system(python, '-c', 'import ensurepip', out: File::NULL, err: File::NULL) ? true : false
  end
end
