"""How programs of ours run OpenSSH: which settings of ~/.ssh/config count there, and that no other does.

What says where a machine is and how one gets in counts as it does by hand: host, user, port, jump
hosts and proxies, keys, agents and certificates, ciphers, known hosts, addresses, compression. What is
meant for a person's session (a command of its own, a terminal, forwards, a fork into the background,
how much is said) does not: ``settings`` has all of that.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from cncp.process import Completed, run

_ALWAYS = ("ForwardX11=no", "ForwardAgent=no", "PermitLocalCommand=no", "RequestTTY=no", "Tunnel=no")
_FOREGROUND = "ForkAfterAuthentication=no"
_SESSION = "SessionType=default"
_NEWER = ("RemoteCommand=none", "StdinNull=no", "ChannelTimeout=none", _FOREGROUND, _SESSION)
"""What not every OpenSSH knows: RemoteCommand came with 7.6, the others with 8.7 and later."""

_PATIENCE = 30.0  # s; Match exec in a configuration may run anything


@functools.cache
def _known(program: str | None) -> frozenset[str]:
    """Return which of the newer settings this ``program``, the machine's ssh, takes. Raises CncpError where it is None.

    It is asked. IgnoreUnknown would have it pass over the others, but stand in for the user's own, by which
    one configuration serves machines of several kinds.
    """

    def takes(chosen: Iterable[str]) -> bool:
        return run([program or "ssh", "-F", "/dev/null", "-G", *words(chosen), "--", "localhost"], check=False).ok

    return frozenset(_NEWER if takes(_NEWER) else (setting for setting in _NEWER if takes([setting])))


def settings(*, background: bool = False, session: bool = False) -> list[str]:
    """Return the settings that keep out what is meant for a person, as ssh_config(5) has them.

    ``background`` is for an ssh that is itself told to go there, ``session`` for one that runs a command.
    """
    left_out = {*([_FOREGROUND] if background else []), *([] if session else [_SESSION])}
    known = _known(shutil.which("ssh"))
    return [*_ALWAYS, *(option for option in _NEWER if option in known and option not in left_out)]


def place(*, port: int = 0, user: str = "", address: str = "", alias: str = "") -> list[str]:
    """Return the settings that say where a host is, of which what is 0 or "" is left to the configuration.

    ``alias`` is the name that its keys are known by.
    """
    given = {"Port": port, "User": user, "HostName": address, "HostKeyAlias": alias}
    return [f"{name}={value}" for name, value in given.items() if value]


def words(chosen: Iterable[str]) -> list[str]:
    """Return settings as words of a command line."""
    return [word for setting in chosen for word in ("-o", setting)]


def carrier(socket: str | Path, options: Sequence[str], name: str) -> list[str]:
    """Return the command of an ssh to a host that stays in front, runs nothing, and carries what `carry` asks of it.

    Not with -L and -R on its command line: the only setting that keeps the configuration's own forwards out,
    which a person's session may hold at the time, clears those as well (ssh_config(5), ClearAllForwardings).
    """
    own = words(["ControlPersist=no", "ClearAllForwardings=yes"])
    return ["ssh", "-M", "-S", str(socket), "-N", "-T", *own, *options, "--", name]


def carry(socket: str | Path, name: str, forwards: Sequence[str], cwd: Path | None = None) -> Completed:
    """Have an open connection forward ports, ``forwards`` being words like -L; what is refused is an error.

    The configuration is of no use to that, and its forwards would be asked for as well.
    """
    asked = ["ssh", "-F", os.devnull, "-S", socket, "-O", "forward", *forwards, "--", name]
    return run(asked, check=False, timeout=_PATIENCE, cwd=cwd)


def configured(keyword: str, name: str, way: Sequence[str] = ()) -> list[str]:
    """Return the values of a setting for a host, as the configuration and the words ``way`` of a command line have it.

    ``keyword`` is in small letters.
    """
    shown = run(["ssh", "-G", *way, "--", name], check=False, timeout=_PATIENCE)
    lines = (line.partition(" ") for line in shown.stdout.splitlines())
    return [value for key, _, value in lines if key == keyword]


def identities(way: Sequence[str], name: str, ours: Path) -> list[str]:
    """Return the setting of each key to log in with: the user's own, as the configuration says, then ours.

    ssh tries its default files only where nothing names one, so that those are named here as well.
    ``way`` are the words of the command line that say how the host is reached.
    """
    if not ours.exists():
        return []
    named = configured("identityfile", name, way)
    # Percent signs stand for something only ssh knows.
    theirs = [file for file in named if "%" in file or file == "none" or os.path.exists(os.path.expanduser(file))]
    return [_identity(file) for file in theirs] + [_identity(str(ours).replace("%", "%%"))]


def _identity(path: str) -> str:
    return 'IdentityFile="{}"'.format(path.replace('"', r"\""))
