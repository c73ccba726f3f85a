# `cncp shell` points ZDOTDIR here. The user's own files are read as if it did not.
cncp_folder=$ZDOTDIR
if [[ -n ${CNCP_ZDOTDIR-} ]]; then ZDOTDIR=$CNCP_ZDOTDIR; else unset ZDOTDIR; fi
unset CNCP_ZDOTDIR
if [[ -f ${ZDOTDIR:-$HOME}/.zshenv ]]; then source ${ZDOTDIR:-$HOME}/.zshenv; fi
cncp_theirs=${ZDOTDIR-}
ZDOTDIR=$cncp_folder
# Ubuntu's /etc/zsh/zshrc would write a table of completions into this folder.
skip_global_compinit=1
