"""systemd: a unit for every kind of service, a template for those there are several of, a target for all.

Units are enabled by links that are part of the desired state, so that "enabled" is a file like
any other. Facts: systemd.unit(5), systemd.service(5), systemctl(1).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cncp.config.settings import Cluster
from cncp.errors import CncpError
from cncp.files import read_bytes
from cncp.machine.facts import lingers
from cncp.machine.node import Node
from cncp.machine.resources import Directory, File, Link, Resource
from cncp.machine.services import kinds
from cncp.machine.services.base import ServiceManager, ServiceState, command, exits, forget_exits
from cncp.machine.services.processes import as_recorded

if TYPE_CHECKING:
    from cncp.machine.actor import Actor
    from cncp.machine.root.requests import Verb

SYSTEM = Path("/etc/systemd/system")
"""The folder of units of the system."""

DROP_IN = "10-cncp.conf"
"""The file beside a unit that holds what varies."""


def unit_dir(node: Node) -> Path:
    """Return the folder the node's units are in."""
    if node.scope == "system":
        return SYSTEM
    return user_dir(Path(node.account.home))


def user_dir(home: Path) -> Path:
    """Return the folder of the units of an account's own manager."""
    return home / ".config" / "systemd" / "user"


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
            str(folder / f"{installed}.d" / DROP_IN),
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
        first = first_line(unit_dir(node) / f"{node.prefix}-{kind.unit}.d" / DROP_IN)
        if first and first != _first_line(node):
            raise CncpError(
                f"{node.prefix}-{kind.unit} is another cluster's: {first.removeprefix('# ')}",
                "give this one a name of its own with --profile, or use --scope user",
            )


def first_line(path: Path) -> str:
    """Return the first line of a unit file, "" where there is none: it says whose it is."""
    return (read_bytes(path) or b"").decode(errors="replace").partition("\n")[0]


def written_for(name: str) -> str:
    """Return what drop-ins of an account's clusters begin with."""
    return f"# Rendered by cncp for {name} and "


def _first_line(node: Node) -> str:
    return f"{written_for(node.account.name)}{node.home}; written again by every `cncp up`."


def stale(prefix: str, wanted: Collection[str]) -> list[str]:
    """Return what is there of the system's units of a prefix and not wanted, what is in a folder before it.

    Names alone say what is ours; no record is needed, or believed.
    """
    units = [f"{prefix}-{kind.unit}" for kind in kinds.KINDS.values()]
    wants = SYSTEM / f"{prefix}.target.wants"
    links = sorted(path.name for path in wants.iterdir()) if wants.is_dir() else []
    ours = [
        SYSTEM / "default.target.wants" / f"{prefix}.target",
        *(wants / name for name in links if kinds.of_unit(prefix, name)),
        wants,
        *(SYSTEM / f"{name}.d" / DROP_IN for name in units),
        *(SYSTEM / f"{name}.d" for name in units),
        *(SYSTEM / name for name in units),
        SYSTEM / f"{prefix}.target",
    ]
    return [str(path) for path in ours if os.path.lexists(path) and str(path) not in wanted]


class Systemd(ServiceManager):
    """The system's or the user's systemd."""

    name: ClassVar = "systemd"
    of_login: ClassVar = False
    keeps_output: ClassVar = True
    ends_all: ClassVar = True

    def __init__(self, node: Node, actor: Actor) -> None:
        super().__init__(node, actor)
        self._system = node.scope == "system"
        if not self._system:
            # A login by su or cron lacks the variable that systemctl finds the manager by.
            os.environ.setdefault("XDG_RUNTIME_DIR", f"/run/user/{node.account.uid}")

    @classmethod
    def files(cls, node: Node, services: Mapping[str, str]) -> Iterator[Resource]:
        """Yield units, their drop-ins and the links that enable them."""
        return files(node, services)

    def _ask(self, *words: str) -> str:
        scope = [] if self._system else ["--user"]
        return self._actor.run(["systemctl", *scope, *words], check=False).stdout

    def _do(self, verb: Verb, names: Sequence[str] = (), *, check: bool = True) -> None:
        """Run systemctl on services, on the target where none is named."""
        if self._system:
            self._actor.root.systemctl(self._node, verb, names, check=check)
            return
        units = [] if verb == "daemon-reload" else [unit(self._node, name) for name in names] or [self._target]
        waiting = ["--no-block"] if verb in ("start", "restart") else []
        self._actor.run(["systemctl", "--user", verb, *waiting, *units], check=check)

    @property
    def _target(self) -> str:
        return f"{self._node.prefix}.target"

    def states(self) -> dict[str, ServiceState]:
        """Ask systemd about all units of this cluster in one call."""
        prefix = self._node.prefix
        properties = "Id,LoadState,ActiveState,SubState,MainPID,NRestarts"
        patterns = kinds.patterns(prefix)
        wanted = [unit(self._node, name) for name in self._node.services]
        shown = self._ask("show", "--all", "-p", properties, *patterns, *wanted)
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
        self._do("daemon-reload")

    def start(self, services: Mapping[str, str]) -> None:
        """Start or restart units; those that run are taken down first by systemd itself."""
        self._do("reset-failed", list(services), check=False)
        self._do("restart", list(services))
        # Not restarted: that would restart, once more, all that is part of it.
        self._do("start")

    def stop(self, names: Sequence[str]) -> None:
        """Stop units and wait until they are down. Raises CncpError, with no record lost, where they are not."""
        if not names:
            return
        self._do("stop", names, check=False)
        states = self.states()
        left = [name for name in names if name in states and states[name].running]
        if left:
            scope = "" if self._system else "--user "
            raise CncpError(f"{', '.join(left)} did not stop", f"look at: systemctl {scope}status {self._target}")
        self._do("reset-failed", names, check=False)
        forget_exits(self._node, names)

    def persist(self) -> str:
        """Turn on lingering, without which the user's units end with the last session."""
        if self._system or lingers(self._node.account):
            return ""
        if self._linger(on=True):
            self._actor.write(self._lingering_mark, b"", 0o600)
            return ""
        remedy = f"loginctl enable-linger {self._node.account.name}"
        return f"lingering is off: all ends with your last session; an administrator runs: {remedy}"

    def forget(self) -> None:
        """Stop the target, which nothing else would, and take it out of the boot."""
        self._do("stop", check=False)
        boot = unit_dir(self._node) / "default.target.wants" / self._target
        if boot.is_symlink():
            self._disable(boot)

    def _disable(self, boot: Path) -> None:
        if self._system:
            self._actor.root.disable(self._node)
        else:
            self._actor.remove(boot)

    def clean_up(self) -> None:
        """Have systemd forget units whose files are gone; end the lingering that we began."""
        if self._system:
            self._actor.root.remove(self._node.prefix, code=True)
        self.reload()
        if self._lingering_mark.exists():
            self._linger(on=False)

    def mortal(self) -> str:
        """Say so where the user's own manager ends with the last session."""
        if self._system or lingers(self._node.account):
            return ""
        remedy = f"sudo loginctl enable-linger {self._node.account.name}"
        return f"all ends with your last session, for lingering is off: {remedy}"

    @property
    def _lingering_mark(self) -> Path:
        return Path(self._node.home) / "lingering"

    def _linger(self, *, on: bool) -> bool:
        """Turn lingering on or off, by root where that is needed."""
        verb = "enable-linger" if on else "disable-linger"
        if self._actor.run(["loginctl", "--no-ask-password", verb, self._node.account.name], check=False).ok:
            return True
        return self._actor.root.linger(on=on)

    def attach_command(self, name: str) -> list[str]:
        """Follow the journal."""
        scope = [] if self._system else ["--user"]
        return ["journalctl", *scope, "-f", "-u", unit(self._node, name)]
