# See .zshenv beside this.
if [[ -n $cncp_theirs ]]; then ZDOTDIR=$cncp_theirs; else unset ZDOTDIR; fi
unset cncp_theirs cncp_folder skip_global_compinit
if [[ -f ${ZDOTDIR:-$HOME}/.zshrc ]]; then source ${ZDOTDIR:-$HOME}/.zshrc; fi
# Login files may have put other folders first, as conda's do.
path=($VIRTUAL_ENV/bin $path)
PS1="($VIRTUAL_ENV_PROMPT) $PS1"
rehash
