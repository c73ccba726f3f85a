# The files of the cookbook against each other and against cncp.
RSpec.describe 'the cookbook' do
  let(:resources) { Dir[File.join(COOKBOOK, 'resources', '*.rb')].sort }

  it 'has a page for every resource that names all of its properties' do
    resources.each do |path|
      name = "cncp_#{File.basename(path, '.rb')}"
      page = File.read(File.join(COOKBOOK, 'documentation', "#{name}.md"))
      text = File.read(path)
      properties = text.scan(/^property :(\w+)/).flatten
      partials = text.scan(/^use '(.*)'/).flatten.map { |name| File.read(File.join(COOKBOOK, 'resources', "#{name}.rb")) }
      properties += partials.flat_map { |partial| partial.scan(/^property :(\w+)/).flatten }
      actions = [text, *partials].flat_map { |part| part.scan(/^action :(\w+)/).flatten }
      actions.each { |action| expect(page).to include("`:#{action}`"), "#{name}: #{action}" }
      properties.each { |property| expect(page).to include("`#{property}`"), "#{name}: #{property}" }
    end
  end

  it 'has described, unified resources' do
    Dir[File.join(COOKBOOK, 'resources', 'partial', '_*.rb')].each do |path|
      text = File.read(path)
      expect(text.scan(/^property :/).length).to eq(text.scan(/^         description: /).length), path
    end
    resources.each do |path|
      text = File.read(path)
      expect(text).to start_with("unified_mode true\n"), path
      expect(text.scan(/^property :/).length).to eq(text.scan(/^         description: /).length), path
      expect(text).to match(/^description '/), path
    end
  end

  it 'has an attribute for everything that is no setting, and no setting among them' do
    text = File.read(File.join(COOKBOOK, 'attributes', 'default.rb'))
    settings = JSON.parse(File.read(File.join(COOKBOOK, 'files', 'defaults.json')))
    expect(text.scan(/^default\['cncp'\]\['(\w+)'\]/).flatten.sort).to eq(CncpCookbook::OTHERS.sort)
    expect(settings.keys & CncpCookbook::OTHERS).to eq([])
  end

  it 'has a recipe for every role' do
    Dir[File.join(COOKBOOK, '..', '..', 'roles', '*.json')].each do |path|
      JSON.parse(File.read(path))['run_list'].each do |item|
        recipe = item[/\Arecipe\[cncp::(\w+)\]\z/, 1]
        expect(File.exist?(File.join(COOKBOOK, 'recipes', "#{recipe}.rb"))).to be(true), item
      end
    end
  end
end
