RSpec.describe CncpCookbook do
  let(:root) { File.realpath(File.join(COOKBOOK, '..', '..')) }
  let(:home) { File.join(@folder, 'home') }

  def virtualenv(stamp)
    FileUtils.mkdir_p(File.join(home, 'venv', 'bin'))
    FileUtils.ln_s('/bin/sh', described_class.venv_python(home))
    File.write(File.join(home, 'venv', 'cncp-installed.json'), stamp)
  end

  describe '.settings' do
    it 'leaves out what is no setting, and what has no value' do
      given = { 'engines' => 2, 'user' => 'me', 'machine' => {}, 'memory' => nil }
      expect(described_class.settings(given)).to eq('engines' => 2)
    end

    it 'leaves in what nobody knows, so that it is named and refused' do
      expect(described_class.settings('engins' => 2)).to eq('engins' => 2)
    end
  end

  describe '.account' do
    it 'is who is named' do
      expect(described_class.account('root', {}, 1000).uid).to eq(0)
    end

    it 'is who called sudo, where root runs it' do
      expect(described_class.account(nil, { 'SUDO_USER' => 'nobody' }, 0).name).to eq('nobody')
    end

    it 'is who runs it otherwise' do
      own = Process.euid
      expect(described_class.account(nil, { 'SUDO_USER' => 'nobody' }, own.zero? ? 0 : own).name)
        .to eq(own.zero? ? 'nobody' : Etc.getpwuid(own).name)
      expect(described_class.account(nil, {}, own).uid).to eq(own)
    end

    it 'says who is missing' do
      expect { described_class.account('nobody-of-that-name', {}, 0) }.to raise_error(/no account nobody-of-that-name/)
    end
  end

  describe '.home' do
    let(:entry) { Etc.getpwnam('root') }

    it 'is the folder named' do
      expect(described_class.home('/srv/cncp', entry)).to eq('/srv/cncp')
    end

    it 'believes $HOME of the own account alone' do
      environment = { 'HOME' => '/elsewhere' }
      expect(described_class.home(nil, entry, environment, 0)).to eq('/elsewhere/.local/share/cncp')
      expect(described_class.home(nil, entry, environment, 1)).to eq("#{entry.dir}/.local/share/cncp")
    end
  end

  describe '.source' do
    it 'is the first folder that holds the code' do
      expect(described_class.source(nil, [@folder, root])).to eq(root)
    end

    it 'is never another than the one named' do
      expect { described_class.source(@folder, [root]) }.to raise_error(/no bootstrap.stage0.py in #{@folder}/)
    end

    it 'says which attribute to set' do
      expect { described_class.source(nil, [@folder]) }.to raise_error(/node\['cncp'\]\['source'\]/)
    end
  end

  describe '.environment' do
    it 'names home and user and takes away whatever else is meant for cncp' do
      made = described_class.environment('/h', 'me', 'CNCP_ENGINES' => '9', 'CNCP_HOME' => '/x', 'PATH' => '/bin')
      expect(made).to eq('CNCP_ENGINES' => nil, 'CNCP_HOME' => '/h', 'CNCP_USER' => 'me')
    end
  end

  describe '.stage0' do
    it 'installs and starts nothing' do
      expect(described_class.stage0('/s', nil, {})).to eq(%w(python3 -I /s/bootstrap/stage0.py --install-only --in-place --forget --force))
    end

    it 'passes on Python, requirements, Jupyter and bundle' do
      words = described_class.stage0('/s', '/p', { 'requirements' => 'r.txt', 'jupyter' => true }, '/b.tar')
      expect(words.first).to eq('/p')
      expect(words.last(8)).to eq(%w(--python /p --requirements r.txt --jupyter true --offline /b.tar))
    end

    it 'says what becomes of engines at work' do
      busy = described_class.busy('force' => 'false', 'wait' => '60')
      words = described_class.stage0('/s', nil, {}, nil, busy)
      expect(words).not_to include('--force')
      expect(words.last(2)).to eq(%w(--wait 60))
      expect(described_class.busy({})).to eq('force' => true, 'wait' => 0)
    end
  end

  describe '.document' do
    it 'is run by the virtualenv, apart from packages of the user' do
      expect(described_class.document('/h', 'services', 'engine'))
        .to eq(%w(/h/venv/bin/python -I -Xutf8 -m cncp.remote chef services engine))
    end
  end

  describe '.uninstall' do
    it 'is the cluster\'s own, or where its virtualenv is not whole the checkout\'s' do
      expect(described_class.uninstall('/s', home, nil)).to eq(%w(python3 -I /s/bootstrap/uninstall.py --quiet))
      virtualenv('{}')
      expect(described_class.uninstall('/s', home, '/p').last(5)).to eq(%w(-Xutf8 -m cncp uninstall --quiet))
    end

    it 'is asked for where there is something' do
      expect(described_class.installed?(home)).to be(false)
      virtualenv('{}')
      expect(described_class.installed?(home)).to be(true)
    end
  end

  describe '.input' do
    it 'holds the settings and the PATH of this run' do
      expect(JSON.parse(described_class.input({ 'engines' => 1 }, {}, 'PATH' => '/bin')))
        .to eq('settings' => { 'engines' => 1 }, 'path' => '/bin', 'busy' => { 'force' => true, 'wait' => 0 })
    end

    it 'hands on choices that were made' do
      attributes = { 'path' => '/usr/bin', 'engine_ids' => [3], 'machine' => { 'host' => 'h' } }
      expect(JSON.parse(described_class.input({}, attributes, 'PATH' => '/bin')))
        .to include('settings' => {}, 'path' => '/usr/bin', 'engine_ids' => [3], 'machine' => { 'host' => 'h' })
    end
  end

  describe '.parse' do
    it 'returns the answer' do
      expect(described_class.parse(0, %(cncp.remote 1\n{"a": [1]}), '')).to eq('a' => [1])
    end

    it 'raises what was said, with the hint' do
      expect { described_class.parse(2, '', "==> x\nerror: no such thing\nhint: take another\n") }
        .to raise_error(described_class::Error, 'no such thing (take another)') { |error| expect(error.status).to eq(2) }
    end

    it 'raises something where nothing was said' do
      expect { described_class.parse(3, '', '') }.to raise_error(/exited with 3/)
    end

    it 'refuses an answer that is none' do
      expect { described_class.parse(0, "cncp.remote 1\nhello", '') }.to raise_error(/no JSON/)
    end

    it 'refuses the answer of another version, in what it says or in that it has none' do
      expect { described_class.parse(0, "cncp.remote 2\n{}", '') }.to raise_error(/another version/)
      expect { described_class.parse(0, '{}', '') }.to raise_error(/another version/)
      expect { described_class.parse(1, '', 'python: No module named cncp.remote') }.to raise_error(/another version/)
    end
  end

  describe '.stamp' do
    it 'is nil where there is no virtualenv' do
      expect(described_class.stamp(home)).to be_nil
    end

    it 'is nil where the virtualenv is not whole' do
      virtualenv('{"lock": ')
      expect(described_class.stamp(home)).to be_nil
    end

    it 'is nil where its Python is gone' do
      virtualenv('{}')
      FileUtils.ln_sf('/nonexistent', described_class.venv_python(home))
      expect(described_class.stamp(home)).to be_nil
    end

    it 'is what the installation left' do
      virtualenv('{"lock": "x"}')
      expect(described_class.stamp(home)).to eq('lock' => 'x')
    end
  end

  describe '.lock' do
    it 'is the digest that the installation stamps' do
      expect(described_class.lock(root)).to match(/\A\h{64}\z/)
      expect(described_class.lock(root, 'jupyter')).to match(/\A\h{64}\z/)
      expect(described_class.lock(root, 'jupyter')).not_to eq(described_class.lock(root))
    end
  end

  describe '.on?' do
    it 'reads a switch as cncp does' do
      expect([true, 'true', 'Yes', 'on'].map { |value| described_class.on?(value) }).to all(be(true))
      expect([false, nil, 'false', 'no', 'off'].map { |value| described_class.on?(value) }).to all(be(false))
    end
  end

  describe '.requirements' do
    it 'is empty without any' do
      expect(described_class.requirements('none')).to eq('')
      expect(described_class.requirements(nil)).to eq('')
    end

    it 'is the digest of the file' do
      path = File.join(@folder, 'r.txt')
      File.write(path, 'numpy')
      expect(described_class.requirements(path)).to eq(Digest::SHA256.hexdigest('numpy'))
    end

    it 'is unknown behind a URL, or of a file that is not there' do
      expect(described_class.requirements('https://example.org/r.txt')).to be_nil
      expect(described_class.requirements(File.join(@folder, 'none.txt'))).to be_nil
    end
  end

  describe '.check' do
    it 'lets through what can be, and nothing at all' do
      good = { 'timeout' => '30', 'packages' => 'false', 'python' => 'python3', 'requirements' => 'none', 'home' => nil }
      expect(described_class.check(good)).to be(good)
      expect(described_class.check({})).to eq({})
    end

    [%w(timeout x), ['timeout', -5], ['timeout', 1.5], ['packages', 2], ['packages', 'of course'], ['python', 3],
     ['requirements', ['numpy']], ['requirements', 3], ['service_manager', 5], ['home', 5], ['user', ''],
     ['path', ['/bin']], ['offline', true], ['source', {}]].each do |name, value|
      it "refuses #{name} = #{value.inspect}, and says what it has to be" do
        expect { described_class.check(name => value) }
          .to raise_error(described_class::Error, /\['#{name}'\] = .* is not possible \(it must be/)
      end
    end
  end

  describe '.seconds' do
    it 'reads what JSON files and people write' do
      expect([30, '30', '0', '08', nil].map { |one| described_class.seconds(one) }).to eq([30, 30, 0, 8, 60])
    end
  end

  describe '.base_python' do
    it 'is the one named, by its real path' do
      link = File.join(@folder, 'python')
      FileUtils.ln_s('/bin/sh', link)
      expect(described_class.base_python(link, nil)).to eq(File.realpath('/bin/sh'))
    end

    it 'is found on the PATH by its name, and never in the working directory' do
      FileUtils.ln_s('/bin/sh', File.join(@folder, 'python3'))
      expect(described_class.base_python('python3', nil, "/nonexistent:#{@folder}")).to eq(File.realpath('/bin/sh'))
      Dir.chdir(@folder) do
        ['', '.', '/nonexistent'].each do |path|
          expect { described_class.base_python('python3', nil, path) }.to raise_error(/no Python python3/)
        end
        expect { described_class.base_python('./python3', nil) }.to raise_error(/no Python/)
      end
    end

    it 'says which attribute names one that is not there' do
      ['/nonexistent/python', @folder].each do |named|
        expect { described_class.base_python(named, nil) }
          .to raise_error(described_class::Error, /no Python #{named}.*node\['cncp'\]\['python'\]/)
      end
    end

    it 'is the one the virtualenv was made with, as long as it is there' do
      expect(described_class.base_python(nil, 'python' => '/bin/sh')).to eq('/bin/sh')
      expect(described_class.base_python(nil, 'python' => '/nonexistent')).to be_nil
      expect(described_class.base_python(nil, nil)).to be_nil
    end
  end

  describe '.packages' do
    it 'has names for each family' do
      expect(described_class.packages('debian', %w(venv cron))).to eq(%w(python3-venv cron))
      expect(described_class.packages('rhel', %w(venv cron))).to eq(%w(python3-pip cronie))
      expect(described_class.packages('fedora', %w(tmux))).to eq(%w(tmux))
    end

    it 'has a name for every need' do
      described_class::PACKAGES.each_key do |family|
        expect(described_class.packages(family, %w(python venv tmux screen cron)).length).to eq(5)
      end
    end

    it 'says what to install by hand where it knows none' do
      expect { described_class.packages('plan9', %w(cron)) }.to raise_error(/install cron by hand/)
      expect(described_class.packages('plan9', [])).to eq([])
    end
  end

  describe '.needs' do
    def needs(manager, systemd: true, virtualenv: true, present: [])
      described_class.needs(manager, systemd: systemd, virtualenv: virtualenv, has: ->(name) { present.include?(name) })
    end

    it 'is nothing where systemd runs and the virtualenv is there' do
      expect(needs('auto')).to eq([])
    end

    it 'is a Python, to begin with' do
      allow(described_class).to receive(:venv?).and_return(false)
      expect(needs('auto', virtualenv: false)).to eq(%w(python venv))
    end

    it 'is no venv where another way to make a virtualenv is there' do
      expect(needs('auto', virtualenv: false, present: %w(python3 pip3))).to eq([])
    end

    it 'is cron where nothing else starts services at boot' do
      expect(needs('auto', systemd: false)).to eq(%w(cron))
      expect(needs('supervisor')).to eq(%w(cron))
      expect(needs('supervisor', present: %w(crontab))).to eq([])
    end

    it 'is the multiplexer that was chosen' do
      expect(needs('tmux')).to eq(%w(tmux cron))
      expect(needs('screen', present: %w(screen crontab))).to eq([])
    end
  end
end

RSpec.describe CncpCookbook::Actions do
  let(:actions) { Class.new { include CncpCookbook::Actions }.new }

  it 'tells services of one kind from the others' do
    digests = { 'controller' => 'a', 'engine-0' => 'b', 'engine-10' => 'c', 'jupyter' => 'd', 'tunnel-gold-2' => 'e' }
    expect(actions.cncp_select(digests, 'engine').keys).to eq(%w(engine-0 engine-10))
    expect(actions.cncp_select(digests, 'controller').keys).to eq(%w(controller))
    expect(actions.cncp_select(digests, 'jupyter').keys).to eq(%w(jupyter))
    expect(actions.cncp_select(digests, 'tunnel').keys).to eq(%w(tunnel-gold-2))
  end
end
