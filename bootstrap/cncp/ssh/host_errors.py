"""Why a login failed: ssh's own words as a line of what and a line of what to do."""

from __future__ import annotations

from cncp.config.inventory import HostSpec
from cncp.errors import CncpError

CONNECT_TIMEOUT = 15
"""Seconds for a host to answer and let us in."""

_REASONS = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one known",
        "make sure that it is the same machine; then: ssh-keygen -R {name}",
    ),
    (
        "Host key verification failed",
        "its host key is not known",
        "log in once by hand to accept it, or use --host-keys accept-new",
    ),
    (
        "partial success",
        "it takes our key, and asks for more besides",
        "no program can answer that: have its sshd let a key alone in for {name} (AuthenticationMethods)",
    ),
    (
        "Permission denied",
        "it lets us in with none of our keys",
        "cncp keys.authorize --hosts {name}, or check the user and the agent",
    ),
    (
        "Too many authentication failures",
        "the agent offered too many keys",
        "set IdentitiesOnly and IdentityFile for {name} in ~/.ssh/config",
    ),
    ("Could not resolve hostname", "there is no such host", "check the name, or give its address in the file"),
    ("Connection refused", "nothing answers on its ssh port", "check that sshd runs there, and the port"),
    ("No route to host", "there is no way to it", "check the network, and that the machine is on"),
    ("timed out", f"no answer within {CONNECT_TIMEOUT} s", "check that the machine is on, and the firewall between"),
)


def refused(spec: HostSpec, said: str, status: int, banner: str = "") -> HostError:
    """Return what to tell of a login that failed, from ssh's own words.

    ``banner`` is what the host had ssh say, which explains what ssh cannot and decides nothing.
    """
    for mark, message, hint in _REASONS:
        if mark in said:
            return HostError(spec.name, message, hint.format(name=spec.name), said)
    if status == 124:
        return HostError(spec.name, f"no login within {2 * CONNECT_TIMEOUT} s", "try by hand: ssh " + spec.name)
    message = _last(said) or _last(banner) or f"ssh exited with {status}"
    addition = f"; it says: {_last(banner)}" if _last(said) and _last(banner) else ""
    return HostError(spec.name, message + addition, f"try by hand: ssh {spec.name}", said)


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


class HostError(CncpError):
    """One host could not be reached, or failed at what it was to do. ``host`` is its name.

    ``said`` is what ssh said where that was the reason.
    """

    def __init__(self, host: str, message: str, hint: str, said: str = "") -> None:
        super().__init__(message, hint)
        self.host = host
        self.said = said
