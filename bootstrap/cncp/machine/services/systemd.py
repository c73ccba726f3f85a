"""systemd: a unit for every kind of service, a template for those there are several of, a target for all.

Units are enabled by links that are part of the desired state, so that "enabled" is a file like
any other. Facts: systemd.unit(5), systemd.service(5), systemctl(1).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cncp.cluster import Cluster
from cncp.errors import CncpError
from cncp.files import read_bytes
from cncp.machine import kinds
from cncp.machine.actor import Actor
from cncp.machine.facts import lingers
from cncp.machine.node import Node
from cncp.machine.resources import Directory, File, Link, Resource
from cncp.machine.services.base import ServiceState, command, exits, forget_exits
from cncp.machine.services.processes import as_recorded


def unit_dir(node: Node) -> Path:
    """Return the folder the node's units are in."""
    if node.scope == "system":
        return Path("/etc/systemd/system")
    return Path(node.account.home) / ".config" / "systemd" / "user"


def unit(node: Node, name: str) -> str:
    """Return the unit of a service."""
    return kinds.unit(node.prefix, name)


def quote(word: str, suffix: str = "") -> str:
    """Quote a word for a unit file's command line (systemd.service(5), "Command lines").

    ``suffix`` goes in as it is, for specifiers such as %i.
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\n", "\\n")
    return f'"{escaped}{suffix}"'


def files(node: Node, services: Mapping[str, str]) -> Iterator[Resource]:
    """Yield units, their drop-ins and the links that enable them."""
    folder = unit_dir(node)
    owner = "root" if node.scope == "system" else "login"
    target = f"{node.prefix}.target"
    yield File(str(folder / target), 0o644, "units", source="systemd/cluster.target", owner=owner)
    yield Directory(str(folder / "default.target.wants"), 0o755, "units", owner)
    yield Link(str(folder / "default.target.wants" / target), f"../{target}", "units", owner)
    if services:
        yield Directory(str(folder / f"{target}.wants"), 0o755, "units", owner)
    for kind, described in kinds.KINDS.items():
        named = [name for name in services if kinds.split(name)[0] == kind]
        if not named:
            continue
        installed = f"{node.prefix}-{described.unit}"
        yield File(str(folder / installed), 0o644, kind, source=f"systemd/{described.unit}", owner=owner)
        yield Directory(str(folder / f"{installed}.d"), 0o755, kind, owner)
        yield File(
            str(folder / f"{installed}.d" / "10-cncp.conf"),
            0o644,
            kind,
            content=_drop_in(node, kind, services[named[0]]),
            owner=owner,
        )
        for name in named:
            yield Link(str(folder / f"{target}.wants" / unit(node, name)), f"../{installed}", kind, owner)


def _drop_in(node: Node, kind: str, digest: str) -> str:
    settings: Cluster = node.settings
    name = kinds.join(kind, "%i" if kinds.KINDS[kind].instance else "")
    # %i is the one specifier we want expanded, so it is not quoted.
    words = [word if word == "%i" else quote(word) for word in command(node, name, digest)]
    record = quote(f"{node.home}/libexec/record-exit")
    lines = [
        _first_line(node),
        "[Unit]",
        f"PartOf={node.prefix}.target",
        # The managers of all hosts that share this home read these units.
        *([f"ConditionHost={node.host}"] if node.instance else []),
        "",
        "[Service]",
        # systemd takes no quotes in the path of a program, which a home may hold: env does.
        f"ExecStart=/usr/bin/env {' '.join(words)}",
        f"ExecStopPost=/bin/sh {record} {quote(f'{node.run_dir}/', f'{name}.exits')}",
    ]
    if node.scope == "system":
        lines.append(f"User={node.account.name}")
    if kind == "engine" and settings.memory != "none":
        # Swapping an engine to death is no better than killing it.
        lines += [f"MemoryMax={settings.memory}", "MemorySwapMax=0"]
    return "\n".join(lines) + "\n"


def check_owner(node: Node) -> None:
    """Raise CncpError when the units of this name serve another account's cluster."""
    if node.scope != "system":
        return
    for kind in kinds.KINDS.values():
        drop_in = unit_dir(node) / f"{node.prefix}-{kind.unit}.d" / "10-cncp.conf"
        first = (read_bytes(drop_in) or b"").decode(errors="replace").partition("\n")[0]
        if first and first != _first_line(node):
            raise CncpError(
                f"{node.prefix}-{kind.unit} is another cluster's: {first.removeprefix('# ')}",
                "give this one a name of its own with --profile, or use --scope user",
            )


def _first_line(node: Node) -> str:
    return f"# Rendered by cncp for {node.account.name} and {node.home}; written again by every `cncp up`."


class Systemd:
    """The system's or the user's systemd."""

    def __init__(self, node: Node, actor: Actor) -> None:
        self._node = node
        self._actor = actor
        self._system = node.scope == "system"
        if not self._system:
            # A login by su or cron lacks the variable that systemctl finds the manager by.
            os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{node.account.uid}")

    def _systemctl(self, *words: str, check: bool = True, privileged: bool = True) -> str:
        owner = "root" if self._system and privileged else "login"
        scope = [] if self._system else ["--user"]
        return self._actor.run(["systemctl", *scope, *words], owner, check=check).stdout

    def states(self) -> dict[str, ServiceState]:
        """Ask systemd about all units of this cluster in one call."""
        prefix = self._node.prefix
        properties = "Id,LoadState,ActiveState,SubState,MainPID,NRestarts"
        patterns = kinds.patterns(prefix)
        wanted = [unit(self._node, name) for name in self._node.services]
        shown = self._systemctl("show", "--all", "-p", properties, *patterns, *wanted, check=False, privileged=False)
        found: dict[str, ServiceState] = {}
        for paragraph in shown.strip().split("\n\n"):
            fields = dict(line.partition("=")[::2] for line in paragraph.splitlines())
            name = kinds.of_unit(prefix, fields.get("Id", ""))
            if not name or (fields.get("LoadState") == "not-found" and fields.get("MainPID") == "0"):
                continue
            running = fields.get("ActiveState") in ("active", "activating", "reloading")
            main = int(fields.get("MainPID") or 0)
            ended, last = exits(self._node, name)
            found[name] = ServiceState(
                name,
                running,
                main,
                max(ended, int(fields.get("NRestarts") or 0)),
                last,
                as_recorded(self._node, main).digest,
            )
        return found

    def keepers(self) -> set[int]:
        """Return none: systemd knows the process of every service itself."""
        return set()

    def reload(self) -> None:
        """Have systemd read the units again."""
        self._systemctl("daemon-reload")

    def start(self, services: Mapping[str, str]) -> None:
        """Start or restart units; those that run are taken down first by systemd itself."""
        units = [unit(self._node, name) for name in services]
        self._systemctl("reset-failed", *units, check=False)
        self._systemctl("restart", "--no-block", *units)
        # Not restarted: that would restart, once more, all that is part of it.
        self._systemctl("start", "--no-block", f"{self._node.prefix}.target")

    def stop(self, names: Sequence[str]) -> None:
        """Stop units and wait until they are down."""
        if names:
            self._systemctl("stop", *(unit(self._node, name) for name in names), check=False)
            self._systemctl("reset-failed", *(unit(self._node, name) for name in names), check=False)
            forget_exits(self._node, names)

    def persist(self) -> str:
        """Turn on lingering, without which the user's units end with the last session."""
        if self._system or lingers(self._node.account):
            return ""
        if self._linger("enable-linger"):
            self._actor.write(self._lingering_mark, b"", 0o600)
            return ""
        remedy = f"loginctl enable-linger {self._node.account.name}"
        return f"lingering is off: all ends with your last session; an administrator runs: {remedy}"

    def forget(self) -> None:
        """Stop the target, which nothing else would, and take it out of the boot."""
        target = f"{self._node.prefix}.target"
        self._systemctl("stop", target, check=False)
        boot = unit_dir(self._node) / "default.target.wants" / target
        if boot.is_symlink():
            self._actor.remove(boot, "root" if self._system else "login")

    def clean_up(self) -> None:
        """Have systemd forget units whose files are gone; end the lingering that we began."""
        self.reload()
        if self._lingering_mark.exists():
            self._linger("disable-linger")

    @property
    def _lingering_mark(self) -> Path:
        return Path(self._node.home) / "lingering"

    def _linger(self, verb: str) -> bool:
        """Turn lingering on or off, with sudo where that is needed."""
        words = [verb, self._node.account.name]
        if self._actor.run(["loginctl", "--no-ask-password", *words], check=False).ok:
            return True
        # sudo asks on the terminal, where there is one; never where nobody would see it.
        quietly = [] if sys.stdin.isatty() else ["-n"]
        command = ["sudo", *quietly, "loginctl", *words]
        return shutil.which("sudo") is not None and self._actor.run(command, check=False).ok

    def attach_command(self, name: str) -> list[str]:
        """Follow the journal."""
        scope = [] if self._system else ["--user"]
        return ["journalctl", *scope, "-f", "-u", unit(self._node, name)]
