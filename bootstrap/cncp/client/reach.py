"""Which address of a controller a client here can really use: found by asking the controller at each."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cncp.errors import CncpError
from cncp.ipp.connection_file import ClientFile, is_ipv6
from cncp.ipp.hub import Hub, NoAnswer
from cncp.ssh import openssh
from cncp.ssh.connection import Remote
from cncp.ssh.rpc import dial

TIMEOUT = 3.0
"""Seconds that a port, and then the controller, have to answer."""


@dataclass(frozen=True)
class Tried:
    """What came of dialling an address: whether the controller answered there, and which ports are closed."""

    address: str
    answers: bool
    closed: tuple[int, ...]

    def __str__(self) -> str:
        if self.answers and self.closed:
            return f"{self.address} (answers, but ports {', '.join(map(str, self.closed))} are closed)"
        return self.address


def candidates(document: ClientFile, remote: Remote, server: str, name: str) -> list[str]:
    """Return the addresses worth trying, the best first.

    ``server`` is the address at which the host's sshd was reached, ``name`` what it calls itself.
    """
    named = [
        ssh_name(remote),
        remote.spec.name,
        document.dialled,
        server,
        document.location,
        name,
    ]
    usable = dict.fromkeys(address for address in named if address and not is_ipv6(address))
    if document.on_all_interfaces:
        return list(usable)
    return [document.bound]


def ssh_name(remote: Remote) -> str:
    """Return the name or address that ssh makes of a host's name, as ~/.ssh/config says."""
    return next(iter(openssh.configured("hostname", remote.spec.name, remote.options())), "")


def attempt(document: ClientFile, address: str) -> Tried:
    """Dial all ports at an address, and ask the controller behind them."""
    ports = document.ports
    with ThreadPoolExecutor(len(ports)) as pool:
        opened = list(pool.map(lambda port: _open(address, port), ports))
    closed = tuple(port for port, is_open in zip(ports, opened, strict=True) if not is_open)
    return Tried(address, opened[0] and answers(document.at(address)), closed)


def answers(document: ClientFile, timeout: float = TIMEOUT) -> bool:
    """Tell whether the controller of this file answers at the address in it, with its own keys."""
    with Hub(document) as hub:
        try:
            hub.engines(timeout)
        except NoAnswer:
            return False
    return True


def _open(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), TIMEOUT).close()
    except OSError:
        return False
    return True


def attempts(document: ClientFile, addresses: Sequence[str]) -> list[Tried]:
    """Dial several addresses at the same time."""
    with ThreadPoolExecutor(max(1, len(addresses))) as pool:
        return list(pool.map(lambda address: attempt(document, address), addresses))


def best(tried: Iterable[Tried]) -> Tried | None:
    """Return the first address at which everything answers."""
    return next((candidate for candidate in tried if candidate.answers and not candidate.closed), None)


def runs(document: ClientFile, remote: Remote) -> bool:
    """Tell whether something greets like a controller at the registration port, seen from its own machine."""
    here = "127.0.0.1" if document.on_all_interfaces else document.bound
    port = document.registration
    return port in dial(remote, [here], [port], TIMEOUT)[here]


def unreachable(document: ClientFile, remote: Remote, tried: Sequence[Tried]) -> CncpError:
    """Return what to tell of a controller that no address leads to."""
    host = remote.spec.name
    if not runs(document, remote):
        return CncpError(f"no controller of this profile runs on {host}", f"start it: ssh {host}, then cncp up")
    way = f"go through ssh: cncp connect --host {host}; or there: cncp up --listen all"
    if document.on_loopback:
        return CncpError(f"the controller on {host} listens on loopback only", way)
    named = ", ".join(map(str, tried))
    return CncpError(f"the controller on {host} runs, but its ports cannot be reached at {named}", way)
