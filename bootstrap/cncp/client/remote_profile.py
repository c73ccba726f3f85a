"""Where a cluster's files are on a host that we can log in to."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from cncp.errors import CncpError
from cncp.ipp.connection_file import CLIENT, ClientFile
from cncp.machine.node import PartialNode
from cncp.records import Misfit
from cncp.ssh import answers
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError

# A login file may print what it likes: what is ours begins after the first NUL.
_LOOK = (
    'printf "\\0"; printf "%s\\0" "$HOME" "${IPYTHONDIR:-}" "${CNCP_HOME:-}" "${SSH_CONNECTION:-}" "$(hostname)"; '
    'cat -- "$HOME/.local/bin/cncp" 2>/dev/null; :'
)
_FIRST = 'for f in "$@"; do if [ -f "$f" ]; then printf "\\0%s\\0" "$f"; cat -- "$f"; exit; fi; done; exit 44'
_PROFILES = 'for d in "$@"; do ls -d -- "$d"/profile_*/security/ipcontroller-client.json 2>/dev/null; done; :'


@dataclass(frozen=True)
class Place:
    """What is where on a host.

    ``server`` is the address at which its sshd was reached, ``ipython`` its IPython folders, likeliest first.
    """

    server: str
    name: str
    ipython: tuple[str, ...]


def look(host: Host) -> Place:
    """Find out where things are on a host."""
    said = host.run(["sh", "-c", _LOOK]).stdout.split("\0", 6)[1:]
    if len(said) != 6 or not said[0]:
        raise HostError(
            host.spec.name, "its login shell says what no shell should", f"try by hand: ssh {host.spec.name}"
        )
    home, ipython, cncp_home, connection, name, command = said
    folder = cncp_home or _home_in(command) or f"{home}/.local/share/cncp"
    shown = host.run(["cat", "--", f"{folder}/node.json"], check=False)
    of_node = _profile(shown.output).rpartition("/")[0] if shown.ok else ""
    folders = dict.fromkeys(path for path in (of_node, ipython, f"{home}/.ipython") if path.startswith("/"))
    words = connection.split()
    return Place(words[2] if len(words) == 4 else "", name.strip(), tuple(folders))


def _home_in(command: str) -> str:
    """Return the folder that the installed command works in."""
    for line in command.splitlines():
        if line.startswith("CNCP_HOME="):
            try:
                return shlex.split(line)[0].partition("=")[2]
            except (ValueError, IndexError):
                return ""
    return ""


def _profile(said: bytes) -> str:
    """Return the folder of the profile that cncp set up there, "" where it did not."""
    try:
        return PartialNode.from_json(answers.of_object(said), "node.json").profile
    except Misfit:
        return ""


def client_file(host: Host, place: Place, profile: str) -> ClientFile:
    """Fetch and check a profile's client file. Raises CncpError."""
    path, content = _fetch(host, place, profile)
    return ClientFile.read(content, f"{path} on {host.spec.name}")


def _fetch(host: Host, place: Place, profile: str) -> tuple[str, bytes]:
    paths = [f"{folder}/profile_{profile}/security/{CLIENT}" for folder in place.ipython]
    found = host.run(["sh", "-c", _FIRST, "sh", *paths], check=False)
    if found.ok:
        path, _, content = found.output.partition(b"\0")[2].partition(b"\0")
        return path.decode(errors="replace"), content
    if found.status != 44:
        said = found.stderr.strip().splitlines()[-1:] or [f"exit {found.status}"]
        raise HostError(host.spec.name, f"{paths[0]} cannot be read: {said[0]}", f"look by hand: ssh {host.spec.name}")
    raise CncpError(f"profile {profile} on {host.spec.name} has no {CLIENT}", _others(host, place))


def _others(host: Host, place: Place) -> str:
    listed = host.run(["sh", "-c", _PROFILES, "sh", *place.ipython], check=False).stdout
    names = sorted({path.split("/")[-3].removeprefix("profile_") for path in listed.split() if path.count("/") >= 3})
    if names:
        return f"name another with --profile; there are: {', '.join(names[:10])}"
    return f"start a cluster there: ssh {host.spec.name}, then bash ./baremetal.sh"
