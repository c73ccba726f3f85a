"""One key in the authorized_keys of a host: put in, replaced, taken out again."""

from __future__ import annotations

from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError

ADDED, THERE, REMOVED, ABSENT = "added", "there already", "removed", "was not there"

# A line is that of a key whose key field it is (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"), not one that only
# mentions it, and where a comment is asked for, that ends it as well: a key that somebody else showed us
# may be anybody's. mawk, busybox and all others have these words.
_LINES = r"""
function ours(line,   words, i, n, said) {
    if (line ~ /^[ \t]*#/) return 0
    gsub(/"([^"\\]|\\.)*"/, "", line)
    n = split(line, words, /[ \t\r]+/)
    for (i = 1; i < n; i++) if (words[i] ~ /^(ssh|ecdsa|sk)-/) break
    if (i >= n || words[i] " " words[i + 1] != ENVIRON["CNCP_KEY"]) return 0
    if (ENVIRON["CNCP_COMMENT"] == "") return 1
    said = words[i + 2]
    for (i += 3; i <= n; i++) if (words[i] != "") said = said " " words[i]
    return said == ENVIRON["CNCP_COMMENT"]
}
"""
_OPEN = f"""
umask 077
export CNCP_KEY="$1" CNCP_COMMENT="$2"
lines='{_LINES}'
d="$HOME/.ssh"; f="$d/authorized_keys"; mkdir -p "$d" || exit 1
# A link is followed: people keep such files elsewhere.
[ -L "$f" ] && {{ f=$(readlink -f "$f") || exit 1; }}
# Looked for in the copy that is to become the file: other hosts of a shared home write it as well.
t=$(mktemp "$f.XXXXXX") || exit 1; trap 'rm -f "$t"' EXIT
# grep ends the last line where an editor has not.
if [ -s "$f" ]; then grep "" "$f" > "$t" || exit 1; fi
has() {{ awk "$lines"' ours($0) {{ found = 1 }} END {{ exit !found }}' "$t"; }}
without() {{ awk "$lines"' ! ours($0)' "$f" > "$t" || exit 1; }}
replace() {{ chmod 600 "$t" && {{ sync "$t" 2>/dev/null || :; }} && mv -f "$t" "$f" || exit 1; }}
"""
_ADD = f"""{_OPEN}
if has; then chmod 600 "$f"; echo {THERE}; exit 0; fi
printf "%s\\n" "$3" >> "$t" || exit 1
replace; echo {ADDED}
"""
_REMOVE = f"""{_OPEN}
has || {{ echo {ABSENT}; exit 0; }}
without; replace; echo {REMOVED}
"""
_SET = f"""{_OPEN}
if grep -qxF -- "$3" "$t"; then echo {THERE}; exit 0; fi
if [ -s "$t" ]; then without; fi
printf "%s\\n" "$3" >> "$t" || exit 1
replace; echo {ADDED}
"""


def add(host: Host, identity: str, line: str) -> str:
    """Put a line in, unless its key is there in whatever line; say which of it was so. Raises HostError.

    ``identity`` is what tells the key from all others: its kind and blob.
    """
    return _done(host, _ADD, identity, "", line)


def put(host: Host, identity: str, line: str, comment: str) -> str:
    """Have this line for a key, and no other that ends with this comment."""
    return _done(host, _SET, identity, comment, line)


def remove(host: Host, identity: str, comment: str = "") -> str:
    """Take all lines of a key out, those that end with a comment alone where one is given."""
    return _done(host, _REMOVE, identity, comment)


def _done(host: Host, script: str, *words: str) -> str:
    said = host.run(["sh", "-c", script, "sh", *words]).stdout.strip()
    if said not in (ADDED, THERE, REMOVED, ABSENT):
        raise HostError(host.spec.name, "what became of its authorized_keys is not clear", "look at that file there")
    return said
