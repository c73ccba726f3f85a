"""Engines that a firewall keeps from the controller: an ssh from one machine to the other, set up from here.

The machine in charge logs in to both. It has the one that is to log in make a key, brings it the
other's host keys, and has the other let that key in for the controller's ports and nothing else:
no password, agent or key of the user's is needed once it is set up, and none is shown to anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import not_

from cncp.config.inventory import HostSpec
from cncp.config.settings import LOOPBACK
from cncp.fleet.deploy import ask
from cncp.fleet.model import DIAL, Surveyed
from cncp.fleet.registry import Placed
from cncp.ipp.connection_file import EngineFile
from cncp.machine.tunnels import Delivered, Request, Tunnel, label
from cncp.ssh import bare_host
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.rpc import HOST_KEYS, call, dial
from cncp.waiting import wait_until

_SSH_PORT = 22
_PATIENCE = 30.0  # s for ssh to log in and the ports to answer


def by_trial(client: Host, server: str, user: str, port: int, addresses: Sequence[str]) -> HostSpec:
    """Return the way from one machine to another's sshd: the first address that answers. Raises HostError."""
    tried = list(dict.fromkeys(filter(None, addresses)))
    wanted = port or _SSH_PORT
    answers = dial(client, tried, [wanted], DIAL, bare_host.SSH)
    for address in tried:
        if answers[address]:
            return HostSpec(server, user=user, port=port, address=address)
    raise HostError(
        client.spec.name,
        f"it reaches the sshd of {server} at none of {', '.join(tried)}, port {wanted}",
        "open that port to it, or have the other machine log in: connect = forward, or reverse",
    )


def leave(placed: Placed, host: Host, wanted: Sequence[Tunnel], keep: Collection[str] = ()) -> Delivered:
    """Leave on a host what its services need; return what its ``machine.tunnels`` answers. Raises HostError."""
    return ask(placed, host, Delivered, "tunnels", given=Request(tuple(wanted), tuple(keep)))


def by(way: HostSpec, server: Host, secret: EngineFile, *, reverse: bool) -> Tunnel:
    """Return the tunnel that goes this way: to the server's own host keys, for the controller's ports.

    ``secret`` is the engines' connection file. Raises HostError.
    """
    keys = call(server, HOST_KEYS).keys
    if not keys:
        raise HostError(server.spec.name, "the public keys of its sshd are not in /etc/ssh", 'use connect = "direct"')
    return Tunnel(
        label(way.name),
        way.name,
        host_keys=keys,
        ports=secret.ports,
        bound=LOOPBACK if secret.on_all_interfaces else secret.bound,
        reverse=reverse,
        user=way.user,
        port=way.port,
        jump=way.jump,
        address=way.address,
    )


def behind(secret: EngineFile) -> EngineFile:
    """Return the engines' connection file as it is on a machine to which the ports are carried."""
    return replace(secret, interface=f"tcp://{LOOPBACK}", location=LOOPBACK)


def await_ports(surveyed: Surveyed, secret: EngineFile, log: str) -> None:
    """Wait until all of the controller's ports answer on a host's own loopback.

    Raises HostError, with the command ``log`` that shows what ssh said.
    """

    def look() -> list[int]:
        answers = dial(surveyed.host, [LOOPBACK], secret.ports, DIAL)[LOOPBACK]
        return [port for port in secret.ports if port not in answers]

    if closed := wait_until(look, _PATIENCE, 0.2, enough=not_):
        named = ", ".join(map(str, closed))
        raise HostError(
            surveyed.name, f"the tunnel does not carry port {named} of the controller to it", f"look at: {log}"
        )
