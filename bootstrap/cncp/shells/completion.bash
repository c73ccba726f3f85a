# Completes command lines of cncp in bash:  source <(cncp --print-completion-script=bash)
_cncp() {
    # The words up to the cursor, the last of which is begun or empty. What a word means stands after a tab.
    COMPREPLY=()
    local found
    while IFS=$'\t' read -r found _; do
        COMPREPLY+=("$found")
    done < <(cncp --complete -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
}

# Where nothing of ours fits, files do: scripts to run, what is copied to hosts.
complete -o bashdefault -o default -F _cncp cncp
