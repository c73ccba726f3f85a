"""Hosts of the inventory as Fabric's connections, for programs of users; cncp itself goes by OpenSSH.

Its own module, because only this one imports Fabric, which need not be there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cncp.config.inventory import HostSpec
from cncp.config.pool_tables import spec as spec_of
from cncp.errors import CncpError
from cncp.ssh.connection import KEY

if TYPE_CHECKING:
    from fabric import Connection, Group


def group(specs: Iterable[HostSpec]) -> Group:
    """Return hosts as one group that does things on all of them at the same time. Raises CncpError.

    Nothing is connected yet. Users, ports, addresses and jump hosts are the inventory's; what that leaves open,
    Fabric takes from ``~/.ssh/config``. A host key that has changed is refused, as by ssh.
    """
    try:
        from fabric import ThreadingGroup
    except ImportError:
        raise CncpError(
            "Fabric is not installed here",
            "pip install 'cncp[fabric]'; for the cluster's own Python: cncp pip install fabric",
        ) from None
    return ThreadingGroup.from_connections([_through(spec) for spec in specs])


def _through(spec: HostSpec) -> Connection:
    """Return the connection to a host, by way of its jump hosts.

    Each host has connections of its own to these: threads that open the same one are in each other's way.
    """
    gateway = None
    for hop in filter(None, spec.jump.split(",")):
        gateway = _connection(spec_of(hop, "jump"), gateway)
    return _connection(spec, gateway)


def _connection(spec: HostSpec, gateway: Connection | None) -> Connection:
    from fabric import Connection

    key = Path.home() / KEY
    made = Connection(
        spec.name,
        user=spec.user or None,
        port=spec.port or None,
        gateway=gateway,
        connect_kwargs={"key_filename": [str(key)]} if key.exists() else {},
    )
    # Left to itself Fabric knows no host, and takes any key.
    made.client.load_system_host_keys()
    if spec.address:
        made.host = spec.address
        _know_as(made, spec.name)
    return made


def _know_as(made: Connection, name: str) -> None:
    """Have a connection know its host's keys, which ssh has noted under the name, by its address."""
    from paramiko.hostkeys import HostKeys

    noted = Path.home() / ".ssh" / "known_hosts"
    known = HostKeys(str(noted)) if noted.exists() else HostKeys()
    for kind, key in (known.lookup(name) or {}).items():
        called = made.host if made.port == 22 else f"[{made.host}]:{made.port}"
        made.client.get_host_keys().add(called, kind, key)
