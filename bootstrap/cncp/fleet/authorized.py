"""One key in the authorized_keys of a host: put in, replaced, taken out again."""

from __future__ import annotations

from cncp.fleet.ssh import Host

ADDED, THERE, REMOVED, ABSENT = "added", "there already", "removed", "was not there"

# One line each, and no exclamation mark: the login shell that reads them may be any.
_OPEN = (
    'umask 077; d="$HOME/.ssh"; f="$d/authorized_keys"; mkdir -p "$d" || exit 1; '
    # A link is followed: people keep such files elsewhere.
    '[ -L "$f" ] && { f=$(readlink -f "$f") || exit 1; }; '
)
# Looked for in the copy that is to become the file: other hosts of a shared home write it as well.
_COPY = (
    't=$(mktemp "$f.XXXXXX") || exit 1; trap \'rm -f "$t"\' EXIT; '
    # grep ends the last line where an editor has not.
    'if [ -s "$f" ]; then grep "" "$f" > "$t" || exit 1; fi; '
)
_HAS = 'grep -v "^[[:space:]]*#" "$t" | grep -qF -- "$1"'
_REPLACE = 'chmod 600 "$t" && { sync "$t" 2>/dev/null || :; } && mv -f "$t" "$f" || exit 1; '
_ADD = (
    f'{_OPEN}{_COPY}if {_HAS}; then chmod 600 "$f"; echo there already; exit 0; fi; '
    f'printf "%s\\n" "$2" >> "$t" || exit 1; {_REPLACE}echo added'
)
_WITHOUT = 'awk -v key="$1" "/^[[:space:]]*#/ || index(\\$0, key) == 0" "$f" > "$t" || exit 1; '
_REMOVE = f"{_OPEN}{_COPY}if {_HAS}; then :; else echo was not there; exit 0; fi; {_WITHOUT}{_REPLACE}echo removed"
_SET = (
    f'{_OPEN}{_COPY}if grep -qxF -- "$2" "$t"; then echo there already; exit 0; fi; '
    f'if [ -s "$t" ]; then {_WITHOUT}fi; printf "%s\\n" "$2" >> "$t" || exit 1; {_REPLACE}echo added'
)


def add(host: Host, identity: str, line: str) -> str:
    """Put a line in, unless its key is there in whatever line; say which of it was so. Raises HostError.

    ``identity`` is what tells the key from all others.
    """
    return _done(host, _ADD, identity, line)


def put(host: Host, identity: str, line: str) -> str:
    """Have this line for a key, and no other."""
    return _done(host, _SET, identity, line)


def remove(host: Host, identity: str) -> str:
    """Take all lines with a key out."""
    return _done(host, _REMOVE, identity)


def _done(host: Host, script: str, *words: str) -> str:
    return host.run(["sh", "-c", script, "sh", *words]).stdout.decode().strip()
