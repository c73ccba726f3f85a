"""Which hosts a command is for: those of the inventory, or those named on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cncp.config import hostlist, pool_tables, sources
from cncp.config.inventory import LOCAL, HostSpec, Inventory
from cncp.errors import UsageError


def known(file: str | None, environment: Mapping[str, str], home: Path) -> tuple[Path | None, Inventory | None]:
    """Return the cluster.toml that `up` would take, and the hosts it names. Raises UsageError."""
    path = sources.find_file(file, environment, sources.kept(home), Path.cwd())
    return path, sources.read(path)[1]


def chosen(
    file: str | None, hosts: str, limit: str, environment: Mapping[str, str], home: Path
) -> tuple[HostSpec, ...]:
    """Return the hosts to act on, in their order. Raises UsageError.

    ``hosts`` are names and ranges with commas; those that the inventory has too, are reached as it
    says. Without them it is all hosts that the inventory names, ``limit`` leaving some out.
    """
    path, listed = known(file, environment, home)
    if hosts:
        given = named(hosts, listed)
        return Inventory(given, given[0]).limited(limit)
    if listed is None:
        raise UsageError(
            f"{path} names no hosts" if path else "there is no list of hosts",
            "name them: --hosts 'gold[2-7],silver1', or write [[pool]] hosts = [...] into cluster.toml",
        )
    # That the controller runs on this machine is no wish to have it among the hosts, unless it is named.
    mine = any(host.local for host in listed.hosts) or limit
    return tuple(host for host in listed.limited(limit) if mine or not host.local)


def named(hosts: str, listed: Inventory | None = None, where: str = "command line: --hosts") -> tuple[HostSpec, ...]:
    """Return the hosts that a list of names and ranges stands for. Raises UsageError."""
    found: dict[str, HostSpec] = {}
    spoken_of = {host.name: host for host in (listed.everyone if listed else ())}
    for pattern in hostlist.split(hosts):
        for text in hostlist.expand(pattern, where):
            host = pool_tables.spec(text, where)
            if host.name in found:
                raise UsageError(f"{where}: {host.name} is named twice", "name every host once")
            # What the command line says of the way to a host wins.
            plain = host == HostSpec(host.name)
            found[host.name] = spoken_of.get(host.name, host) if plain else host
            if host.local and not plain:
                raise UsageError(f"{where}: no ssh is made to {LOCAL}, which is this machine", "leave user, port out")
        if len(found) > hostlist.MAX_HOSTS:
            raise UsageError(f"{where}: more than {hostlist.MAX_HOSTS} hosts", "name fewer hosts")
    if not found:
        raise UsageError(f"{where}: {hosts!r} names no hosts", "give names such as gold1, gold[2-7]")
    return tuple(found.values())
