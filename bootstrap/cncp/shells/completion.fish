# Completes command lines of cncp in fish:  cncp --print-completion-script=fish | source
function __cncp
    # The words up to the cursor, the last of which is begun or empty. What a word means stands after a tab.
    set -l begun (commandline --cut-at-cursor --current-token)
    set -l found (cncp --complete -- (commandline --cut-at-cursor --current-process --tokenize) "$begun" 2>/dev/null)
    # Where nothing of ours fits, files do: scripts to run, what is copied to hosts.
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path "$begun"
    end
end

complete --command cncp --no-files --arguments '(__cncp)'
