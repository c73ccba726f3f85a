# Writes what a run of Chef did, for the program that started it: one JSON object with the outcome,
# the message of the resource that failed, and for every resource that was changed (in a dry run:
# that would be) Chef's own lines about it, diffs among them.
require 'chef/event_dispatch/base'
require 'json'

module Cncp
  class Report < Chef::EventDispatch::Base
    def initialize(path)
      super()
      @path = path
      @open = []
      @updated = []
      @error = nil
    end

    def resource_action_start(resource, _action, _type = nil, _notifier = nil)
      @open.push('resource' => resource.to_s, 'lines' => [])
    end

    def resource_update_applied(_resource, _action, update)
      @open.last['lines'].concat(Array(update).flatten.map { |line| text(line) }) unless @open.empty?
    end

    # A resource fails inside those that declared it: the innermost, which comes first, knows why.
    def resource_failed(resource, _action, exception)
      @error ||= "#{resource}: #{text(exception.message).strip.lines.first.to_s.strip}"
    end

    def resource_completed(_resource)
      done = @open.pop
      @updated << done unless done.nil? || done['lines'].empty?
    end

    def run_completed(_node, _status = nil)
      write(true)
    end

    def run_failed(exception, _status = nil)
      @error ||= text(exception.message).strip.lines.first.to_s.strip
      write(false)
    end

    private

    # Diffs can hold any bytes; JSON cannot.
    def text(value)
      value.to_s.dup.force_encoding('UTF-8').scrub('?')
    end

    # The file is there: whoever made it can read it, also where this runs as root.
    def write(success)
      File.write(@path, JSON.generate('success' => success, 'error' => @error, 'updated' => @updated))
    rescue SystemCallError => e
      Chef::Log.error("the report cannot be written: #{e.message}")
    end
  end
end
