"""What names the hosts of a cluster: the ``[[pool]]`` tables of cluster.toml, or a plain list of names.

    controller = "gold1"                    # where the controller runs; this machine without

    [[pool]]
    hosts = ["gold[2-7].example.org"]       # ranges as in gold[2-7,9], node[01-12]; user@host:port
    engines = 4
    [pool.host."gold3.example.org"]         # what is different on one host
    engines = 2

    [[pool]]
    provider = "vm"                         # what makes its hosts; all else is for that to read

Names go to ssh as they are, so that aliases of ``~/.ssh/config`` work. Standard library only: it
is read before there is a virtualenv.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cncp.config.host_way import OF_SSH
from cncp.config.hostlist import HOST, MAX_HOSTS, expand
from cncp.config.inventory import HOSTS, LOCAL, ON_HOSTS, HostSpec, Inventory, PoolTable, refuse_twice
from cncp.config.settings import BY_KEY, RENAMED, layer, merged
from cncp.errors import UsageError

_LARGEST = 2**20  # bytes of a file that people write; 1024 hosts with settings of their own are a tenth of that


def spec(text: str, where: str) -> HostSpec:
    """Read one name, as in ada@gold1:2222. Raises UsageError."""
    match = HOST.fullmatch(text)
    if match is None:
        raise UsageError(f"{where}: {text!r} is no host", "give names such as gold1, ada@gold1:2222 or gold[2-7]")
    port = int(match["port"] or 0)
    if match["port"] and not 1 <= port <= 65535:
        raise UsageError(f"{where}: {text!r} has an impossible port", "ports are from 1 to 65535")
    return HostSpec(match["name"], user=match["user"] or "", port=port)


def described(
    host: HostSpec, table: Mapping[str, object], where: str, wants: Sequence[str] = (HOSTS, "host")
) -> HostSpec:
    """Return a host with what a pool or its own table says. Raises UsageError.

    ``wants`` are the keys that such a table has besides, for the hint.
    """
    fields: dict[str, Any] = {name: getattr(host, name) for name in OF_SSH}
    settings: dict[str, Any] = {}
    for key, raw in table.items():
        if key in OF_SSH:
            try:
                fields[key] = OF_SSH[key](raw)
            except ValueError as error:
                raise UsageError(f"{where}: {key} = {raw!r} is not possible", f"{key} must be {error}") from None
        elif key in ON_HOSTS or key in RENAMED:
            settings[key] = raw
        else:
            raise _unknown(key, where, wants)
    checked = layer(where, settings)
    return HostSpec(host.name, **fields, settings=merged(host.settings, checked.values))


def _unknown(key: str, where: str, wants: Sequence[str]) -> UsageError:
    known = [*wants, *ON_HOSTS, *OF_SSH]
    if key in BY_KEY:
        return UsageError(f"{where}: {key} is the whole cluster's", f"set {key} above the first [[pool]]")
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]}?" if close else "there are: " + ", ".join(known)
    return UsageError(f"{where}: there is no {key!r}", hint)


def content_of(path: Path, hint: str) -> str:
    """Return the text of a file that people write, of bounded size whatever it is. Raises UsageError."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
        text = raw.decode().replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", hint) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint) from None
    except ValueError as error:
        # No UTF-8; or a name that none can have.
        raise UsageError(f"{path} cannot be read: {error}", hint) from None
    if len(raw) > _LARGEST:
        raise UsageError(f"{path} is larger than any list of hosts", hint)
    return text


def read_names(path: Path) -> list[str]:
    """Return the patterns of a plain list: one a line, # begins a comment. Raises UsageError."""
    return _names_in(content_of(path, "name a text file with a host a line"))


def _names_in(content: str) -> list[str]:
    return [text for line in content.splitlines() if (text := line.partition("#")[0].strip())]


def _patterns(raw: Any, folder: Path, where: str) -> list[str]:
    if isinstance(raw, str):
        try:
            return read_names(folder / os.path.expanduser(raw))
        except UsageError as error:
            hint = f"a list of hosts stands in brackets: hosts = [{raw!r}]" if HOST.fullmatch(raw) else error.hint
            raise UsageError(f"{where}: {error.message}", hint) from None
    if not isinstance(raw, list) or not raw or not all(isinstance(name, str) for name in raw):
        raise UsageError(
            f"{where}: hosts = {_short(raw)} is not possible",
            'hosts must be a list such as ["gold[2-7]"], or a file of names',
        )
    return raw


def _short(raw: Any) -> str:
    said = repr(raw)
    return said if len(said) <= 80 else said[:77] + "..."


def _every(patterns: Iterable[str], where: str) -> list[str]:
    """Return the names that patterns stand for. Raises UsageError as soon as they are too many."""
    found: list[str] = []
    for pattern in patterns:
        found += expand(pattern, where)
        if len(found) > MAX_HOSTS:
            raise UsageError(f"{where}: more than {MAX_HOSTS} hosts", "name fewer hosts")
    return found


def _table(raw: Any, folder: Path, where: str) -> PoolTable:
    if not isinstance(raw, dict) or not raw.keys() & {"provider", HOSTS}:
        raise UsageError(f"{where} names no hosts", 'add hosts = ["gold[2-7]"] to it, or a provider')
    provider = raw.get("provider", HOSTS)
    if not isinstance(provider, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,39}", provider):
        raise UsageError(f"{where}: provider = {_short(provider)} is not possible", "provider must be a word")
    return PoolTable(provider, {key: value for key, value in raw.items() if key != "provider"}, where, folder)


def named_hosts(pool: PoolTable) -> list[HostSpec]:
    """Return the hosts that a pool names. Raises UsageError."""
    table, folder, where = pool.values, pool.folder, pool.where
    if HOSTS not in table:
        raise UsageError(f"{where} names no hosts", 'add hosts = ["gold[2-7]"] to it')
    shared = {key: value for key, value in table.items() if key not in (HOSTS, "host")}
    own = table.get("host", {})
    if not isinstance(own, dict) or not all(isinstance(values, dict) for values in own.values()):
        raise UsageError(
            f"{where}: host is no table of hosts", '[pool.host."gold3"] begins what is different on one host'
        )
    hosts = [
        described(spec(name, where), _without_own(name, shared), where)
        for name in _every(_patterns(table["hosts"], folder, where), where)
    ]
    names = [host.name for host in hosts]
    for name in own:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            raise UsageError(
                f"{where}: host.{name} is no host of this pool",
                f"did you mean {close[0]}?" if close else "name it in hosts too",
            )
    return [
        described(host, own[host.name], f"{where} host.{host.name}") if host.name in own else host for host in hosts
    ]


def _without_own(text: str, shared: Mapping[str, object]) -> Mapping[str, object]:
    """Return a pool's keys without those that stand in the name itself, as in ada@gold1:2222."""
    match = HOST.fullmatch(text)
    given = {key for key in ("user", "port") if match and match[key]}
    return {key: value for key, value in shared.items() if key not in given}


def parse(values: Mapping[str, object], origin: str, folder: Path) -> Inventory | None:
    """Read the pools of a cluster.toml; None where it has none. Raises UsageError."""
    pools = values.get("pool", [])
    if not isinstance(pools, list):
        raise UsageError(f"{origin}: pool is no list of tables", "begin every pool with [[pool]]")
    hosts: list[HostSpec] = []
    read: list[PoolTable] = []
    for number, table in enumerate(pools, 1):
        read.append(_table(table, folder, f"{origin} pool {number}" if len(pools) > 1 else f"{origin} pool"))
        hosts += named_hosts(read[-1]) if read[-1].provider == HOSTS else []
        if len(hosts) > MAX_HOSTS:
            raise UsageError(f"{origin}: more than {MAX_HOSTS} hosts", "name fewer hosts")
    return _inventory(hosts, values.get("controller"), origin, tuple(read))


def listed(path: Path, content: str) -> Inventory | None:
    """Read a plain list of hosts, the content of a file."""
    where = str(path)
    hosts = [spec(name, where) for name in _every(_names_in(content), where)]
    if not hosts:
        raise UsageError(f"{path} names no hosts", "write a host a line")
    return _inventory(hosts, None, where)


def _inventory(
    hosts: Sequence[HostSpec], controller: Any, origin: str, pools: tuple[PoolTable, ...] = ()
) -> Inventory | None:
    refuse_twice(hosts, origin)
    for host in hosts:
        if host.local and host != HostSpec(LOCAL, settings=host.settings):
            raise UsageError(
                f"{origin}: {LOCAL} is this machine, to which no ssh is made", "leave user, port and the like out"
            )
    if controller is None:
        return Inventory(tuple(hosts), pools=pools) if hosts or pools else None
    if not isinstance(controller, str):
        raise UsageError(
            f"{origin}: controller = {controller!r} is not possible", "controller must be the name of a host"
        )
    named = spec(controller, f"{origin}: controller")
    return Inventory(tuple(hosts), next((host for host in hosts if host.name == named.name), named), pools)
