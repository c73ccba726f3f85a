# The helpers are plain Ruby: these tests need neither Chef nor ChefSpec.
require 'rspec'
require 'fileutils'
require 'tmpdir'

COOKBOOK = File.expand_path('..', __dir__)

require File.join(COOKBOOK, 'libraries', 'cncp')
require File.join(COOKBOOK, 'libraries', 'resource')

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.around do |example|
    Dir.mktmpdir do |folder|
      @folder = folder
      example.run
    end
  end
end
