"""An existing profile of plain ipyparallel, read as text: never executed, literal values alone.

What such a file can say is in ipyparallel 9.2's launchers (cluster/launcher.py), cluster/cluster.py and
controller/app.py. What cncp has no word for becomes a comment, so that nothing is lost in silence.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cncp.config import pool_tables
from cncp.config.inventory import LOCAL, HostSpec, Inventory
from cncp.config.parsers import Invalid
from cncp.config.python_literals import assignments
from cncp.config.settings import BY_KEY
from cncp.errors import UsageError
from cncp.managed_block import split_block

FILES = ("ipcluster_config.py", "ipcontroller_config.py", "ipengine_config.py")

_HERE = ("", "localhost", "127.0.0.1", "::1")


@dataclass
class Read:
    """What was understood, in our words, and what was not, as comments."""

    settings: dict[str, Any] = field(default_factory=dict)
    hosts: list[HostSpec] = field(default_factory=list)
    controller: HostSpec = field(default_factory=lambda: HostSpec(LOCAL))
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Read:
    """Read a configuration file, or those in a profile's folder. Raises UsageError."""
    files = [path / name for name in FILES if (path / name).is_file()] if path.is_dir() else [path]
    if not files:
        raise UsageError(f"{path} holds no configuration of ipyparallel", f"name a folder that has {FILES[0]}")
    found = Read()
    engines: dict[str, Any] = {}
    for file in files:
        # What we wrote ourselves says nothing new.
        source = "".join(split_block(pool_tables.content_of(file, f"name an {FILES[0]}"))[::2])
        for group, trait, value, line in assignments(source, file.name, found.notes):
            where = f"{file.name}, line {line}: c.{group}.{trait}"
            if trait == "engines" and group.startswith("SSH") and isinstance(value, dict):
                engines.update(value)
            elif (group, trait) in _KNOWN:
                _KNOWN[group, trait](found, value, where)
            else:
                _otherwise(found, group, trait, value, where)
    _hosts(found, engines)
    if found.hosts:
        # Its number of engines is that of a single machine.
        found.settings.pop("engines", None)
    return found


def _setting(found: Read, key: str, value: Any, where: str) -> None:
    try:
        found.settings[key] = BY_KEY[key].parse(value)
    except Invalid as error:
        found.notes.append(f"{where} = {value!r}: {key} must be {error}")


def _hosts(found: Read, engines: Mapping[str, Any]) -> None:
    """Make hosts of ``{host: n}`` or ``{host: (n, [arguments])}``."""
    for name, raw in engines.items():
        count, arguments = raw if isinstance(raw, list | tuple) and len(raw) == 2 else (raw, [])
        where = f"engines of {name!r}"
        try:
            engines_there = BY_KEY["engines"].parse(count)
            spec = HostSpec(LOCAL) if name in _HERE else pool_tables.spec(str(name), where)
        except (Invalid, UsageError) as error:
            found.notes.append(f"{where} = {raw!r} is left out: {getattr(error, 'message', error)}")
            continue
        if engines_there == 0:
            found.notes.append(f"{where}: none, so the host is left out")
            continue
        if arguments:
            found.notes.append(f"{where}: its arguments {arguments!r} are left out")
        if any(spec.name == host.name for host in found.hosts):
            found.notes.append(f"{where} is left out: {spec.name} is there already")
            continue
        own = {"engines": engines_there}
        found.hosts.append(HostSpec(spec.name, user=spec.user, port=spec.port, settings=own))


def _listen(found: Read, value: Any, where: str) -> None:
    named = {"*": "all", "localhost": "loopback", "": "all"}
    _setting(found, "listen", named.get(value, value) if isinstance(value, str) else value, where)


def _external(found: Read, value: Any, where: str) -> None:
    if value:
        _setting(found, "external", value, where)


def _controller(found: Read, value: Any, where: str) -> None:
    try:
        found.controller = HostSpec(LOCAL) if value in _HERE else pool_tables.spec(str(value), where)
    except UsageError as error:
        found.notes.append(f"{error.message}; the controller runs on this machine")


def _count(found: Read, value: Any, where: str) -> None:
    if value is not None:
        _setting(found, "engines", value, where)


def _database(found: Read, value: Any, where: str) -> None:
    named = {"NoDB": "none", "DictDB": "memory", "SQLiteDB": "sqlite"}
    kind = str(value).rpartition(".")[2]
    if kind in named:
        found.settings["database"] = named[kind]
    else:
        found.notes.append(f"{where} = {value!r}: the databases are none, memory and sqlite")


def _ports(found: Read, value: Any, where: str) -> None:
    _setting(found, "ports", value, where)


def _launcher(found: Read, value: Any, where: str) -> None:
    kind = re.sub(r"(EngineSet|Engine|Controller)?(Launcher)?$", "", str(value).rpartition(".")[2]).lower()
    if kind not in ("ssh", "local", "sshproxy"):
        found.notes.append(f"{where} = {value!r}: cncp starts engines itself, by ssh where they are elsewhere")


def _curve(found: Read, value: Any, where: str) -> None:
    if not value:
        found.notes.append(f"{where} = {value!r}: cncp encrypts; encryption = false is what turns it off")


def _heartbeat(found: Read, value: Any, where: str) -> None:
    _setting(found, "heartbeat", value, where)


def _already(found: Read, value: Any, where: str) -> None:
    """Leave out what is always so with cncp, or is chosen by it."""


def _otherwise(found: Read, group: str, trait: str, value: Any, where: str) -> None:
    if group.startswith("SSH") and trait in ("location", "hostname") and "Controller" in group:
        _controller(found, value, where)
    else:
        found.notes.append(f"{where} = {value!r} has no counterpart in cncp")


_CHOSEN = (
    ("IPController", "reuse_files"),
    ("IPController", "restore_engines"),
    ("IPClusterStart", "daemonize"),
    ("IPClusterEngines", "daemonize"),
    ("IPClusterEngines", "delay"),
    ("Cluster", "delay"),
    ("Cluster", "shutdown_atexit"),
    ("SSHEngineSetLauncher", "delay"),
)
"""What is always so with cncp, or is chosen by it."""

_KNOWN: Mapping[tuple[str, str], Callable[[Read, Any, str], None]] = {
    ("IPController", "ip"): _listen,
    ("HubFactory", "ip"): _listen,
    ("Cluster", "controller_ip"): _listen,
    ("IPController", "location"): _external,
    ("HubFactory", "location"): _external,
    ("Cluster", "controller_location"): _external,
    ("Cluster", "n"): _count,
    ("IPClusterEngines", "n"): _count,
    ("IPClusterStart", "n"): _count,
    ("IPController", "db_class"): _database,
    ("HubFactory", "db_class"): _database,
    ("IPController", "ports"): _ports,
    ("IPController", "enable_curve"): _curve,
    ("HeartMonitor", "period"): _heartbeat,
    **{
        (group, trait): _launcher
        for group in ("Cluster", "IPClusterEngines", "IPClusterStart")
        for trait in ("engine_launcher_class", "controller_launcher_class")
    },
    **dict.fromkeys(_CHOSEN, _already),
}


def with_pools(found: Read) -> Inventory | None:
    """Return the hosts, None where there are none but this machine."""
    if not found.hosts and found.controller.name == LOCAL:
        return None
    hosts = tuple(found.hosts)
    return Inventory(hosts, next((host for host in hosts if host.name == found.controller.name), found.controller))


def settings(found: Read, notes: list[str]) -> dict[str, Any]:
    """Return settings that do not contradict one another; what does is noted."""
    made = dict(found.settings)
    listen = str(made.get("listen", "127.0.0.1" if not found.hosts else "0.0.0.0"))
    if "external" in made and listen.startswith("127."):
        notes.append(f"IPController.location = {made.pop('external')!r}: nothing outside reaches a loopback address")
    try:
        if "listen" in made and ipaddress.IPv4Address(listen).is_loopback and found.hosts:
            del made["listen"]
            notes.append("the controller listened on loopback: now it listens for its hosts")
    except ValueError:
        pass
    return made
