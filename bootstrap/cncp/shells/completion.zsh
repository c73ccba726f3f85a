# Completes command lines of cncp in zsh:  source <(cncp --print-completion-script=zsh)
_cncp() {
    # The words up to the cursor, the last of which is begun or empty. What a word means stands after a tab.
    local row
    local -a found shown
    for row in ${(f)"$(cncp --complete -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)"}; do
        found+=("${row%%$'\t'*}")
        shown+=("${row/$'\t'/  -- }")
    done
    # Where nothing of ours fits, files do: scripts to run, what is copied to hosts.
    if (( $#found )); then
        compadd -l -d shown -a found
    else
        _files
    fi
}

# Only where the shell has not set up its completion already.
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D }
compdef _cncp cncp
