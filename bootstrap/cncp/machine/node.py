"""The node attributes: one machine's part of a cluster with every choice made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cncp.accounts import Account
from cncp.config.parsers import MANAGER
from cncp.config.settings import Cluster
from cncp.config.sources import recorded
from cncp.errors import CncpError, PreflightError, UsageError
from cncp.field_types import Matching, Within
from cncp.files import read_record
from cncp.install import source_code
from cncp.ipp import cluster_file
from cncp.machine import engine_variables
from cncp.machine.facts import Facts
from cncp.machine.tunnels import Tunnel
from cncp.records import Odd, Record, as_json
from cncp.state_files import StateFile


@dataclass(frozen=True)
class Node(Record):
    """Everything that the desired state of a machine depends on, and nothing else."""

    settings: Cluster
    account: Account
    host: str
    home: str
    profile_dir: str
    source: str
    manager: Annotated[str, Matching(MANAGER, "a service manager")]
    scope: Annotated[str, Matching("system|user", "system or user")]
    why: str
    controller: bool
    engine_ids: tuple[Annotated[int, Within(0, 1023)], ...]
    threads: Annotated[int, Within(1, 2**20)]
    gpus: tuple[str, ...]
    location: str
    instance: str = ""
    """The host's name, where several share this home; its units and sessions carry it."""
    tunnels: tuple[Tunnel, ...] = ()
    """What ssh is to connect, for engines that reach the controller in no other way."""
    rendezvous: Literal["", "owner", "member"] = ""
    """Whether machines join here by themselves, or this is one that has."""

    @property
    def engines(self) -> int:
        """How many engines this machine runs."""
        return len(self.engine_ids)

    @property
    def prefix(self) -> str:
        """What names of units and sessions begin with; profiles of one account stay apart."""
        profile = self.settings.profile
        return "-".join(filter(None, ("cncp", "" if profile == "cncp" else profile, self.instance)))

    @property
    def python(self) -> Path:
        """The virtualenv's Python."""
        return Path(self.home) / "venv" / "bin" / "python"

    @property
    def run_dir(self) -> Path:
        """Where running services leave their process ids and how they ended."""
        return Path(self.home) / "run"

    @property
    def log_dir(self) -> Path:
        """The profile's folder for logs, ipyparallel's own place for them."""
        return Path(self.profile_dir) / "log"

    @property
    def security_dir(self) -> Path:
        """The profile's folder for connection files and the identity."""
        return Path(self.profile_dir) / "security"

    @property
    def local_address(self) -> str | None:
        """The address at which a program on the controller's machine dials it, None for that of the file."""
        return "127.0.0.1" if self.settings.listen in ("0.0.0.0", "127.0.0.1") else None  # compared

    @property
    def identity(self) -> Path:
        """The file that holds keys and ports."""
        return self.security_dir / "cncp-identity.json"

    @property
    def services(self) -> tuple[str, ...]:
        """The services of this machine by name, in starting order."""
        engines = tuple(f"engine-{number}" for number in self.engine_ids)
        jupyter = ("jupyter",) if self.settings.jupyter and self.controller else ()
        tunnels = tuple(f"tunnel-{tunnel.name}" for tunnel in self.tunnels) if self.controller or engines else ()
        meets = {"": False, "owner": self.controller, "member": bool(engines) and not self.controller}[self.rendezvous]
        rendezvous = ("rendezvous",) if meets else ()
        return (("controller",) if self.controller else ()) + tunnels + engines + jupyter + rendezvous

    def to_json(self) -> dict[str, object]:
        """Return the node for node.json and Chef, without what can be secret."""
        return {**super().to_json(), "settings": engine_variables.hidden(as_json(self.settings), self.home)}

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Return the settings as this version has them, with what only their file holds."""
        manager, scope, stored = (members.get(name) for name in ("manager", "scope", "settings"))
        if scope == "system" and manager != "systemd":
            raise Odd("there is no service manager of the system but systemd", whole=True)
        if not isinstance(stored, dict):
            return members
        try:
            settings = recorded(engine_variables.shown(stored))
        except UsageError as error:
            raise Odd(error.message, whole=True) from None
        return {**members, "settings": as_json(settings)}


NODE = StateFile("node.json", Node, "cncp up makes it again")


def kept_by(manager: str, scope: str) -> str:
    """Name a service manager to the user: systemd alone is also one of the system."""
    return f"{manager} ({scope})" if manager == "systemd" else manager


def node_path(home: Path) -> Path:
    """Return where the attributes of the last `cncp up` are."""
    return NODE.path(home)


def installed(home: Path) -> Node:
    """Return the node that the last `cncp up` made here. Raises CncpError where there is none."""
    node = NODE.load(home)
    if node is None:
        raise CncpError(f"there is no cluster in {home}", "make one: bash ./baremetal.sh, or cncp up")
    return node


@dataclass(frozen=True)
class PartialNode(Record):
    """What is gone by of a node's record that may be damaged otherwise, or that another version wrote."""

    scope: object = ""
    profile_dir: object = ""

    @property
    def profile(self) -> str:
        """The folder of the profile, "" where that cannot be known."""
        return self.profile_dir if isinstance(self.profile_dir, str) else ""


def check_profile(node: Node) -> None:
    """Raise UsageError where the profile is that of another cluster of this account."""
    home = cluster_file.home(Path(node.profile_dir))
    if node.instance or not node.services or home in ("", node.home):
        return
    past = read_record(node_path(Path(home)), PartialNode)
    if past and past.profile == node.profile_dir:
        raise UsageError(
            f"the profile {node.settings.profile} is that of the cluster in {home}",
            "name another for this one with --profile NAME, or leave CNCP_HOME out",
        )


def resolve(
    cluster: Cluster,
    facts: Facts,
    *,
    home: Path,
    ipython_dir: Path,
    present: Sequence[int] = (),
    instance: str = "",
    tunnels: tuple[Tunnel, ...] = (),
    idle: bool = False,
    past: Node | None = None,
    rendezvous: Literal["", "owner", "member"] = "",
) -> Node:
    """Make every choice that the settings leave open. Raises CncpError where one is impossible.

    ``present`` are the ids of the engines there are, those to keep first: scaling touches as few
    engines as it can. ``instance`` tells hosts apart that share a home. ``idle`` is a machine that
    runs nothing itself and is in charge of others. ``past`` is what is installed. ``rendezvous`` is as in Node.
    """
    manager, scope, why = _held(cluster, facts, past, instance) or _service_manager(cluster, facts)
    engines = 0 if idle or cluster.role == "controller" else _engine_count(cluster.engines, facts)
    if engines == 0 and cluster.role == "engine" and not idle:
        raise CncpError("an engine machine with no engines does nothing", "set engines to 1 or more")
    threads = cluster.threads
    if not isinstance(threads, int):
        threads = max(1, facts.cores // max(1, engines))
    if manager != "systemd" and (cluster.memory != "none" or cluster.logs == "journal"):
        key = "memory" if cluster.memory != "none" else "logs"
        raise PreflightError(
            f"{key} = {getattr(cluster, key)} needs systemd, but here it is {manager}: {why}", f"leave {key} out"
        )
    return Node(
        settings=cluster,
        account=facts.account,
        host=facts.host,
        home=str(home),
        profile_dir=str(ipython_dir / f"profile_{cluster.profile}"),
        source=str(source_code.runs_from(home)),
        manager=manager,
        scope=scope,
        why=why,
        controller=cluster.role != "engine" and not idle,
        engine_ids=_engine_ids(engines, present),
        threads=threads,
        gpus=facts.gpus if cluster.engines == "gpus" else (),
        location=facts.host if cluster.external == "auto" else cluster.external,
        instance=instance,
        tunnels=tunnels,
        rendezvous=rendezvous,
    )


def _engine_ids(count: int, present: Sequence[int]) -> tuple[int, ...]:
    kept = list(present)[:count]
    free = (number for number in itertools.count() if number not in kept)
    return tuple(sorted([*kept, *itertools.islice(free, count - len(kept))]))


def _engine_count(wanted: str | int, facts: Facts) -> int:
    if isinstance(wanted, int):
        return wanted
    if wanted == "gpus":
        if not facts.gpus:
            raise PreflightError("engines = gpus, but this machine shows no GPU", "set engines to cores or a number")
        return len(facts.gpus)
    left_out = int(wanted.partition("-")[2] or 0)
    if left_out >= facts.cores:
        raise PreflightError(
            f"engines = {wanted} leaves none: this machine has {facts.cores} cores", "set engines to a number"
        )
    return facts.cores - left_out


def _held(cluster: Cluster, facts: Facts, past: Node | None, instance: str) -> tuple[str, str, str] | None:
    """Return (manager, scope, why) of what is installed, where that holds.

    Who runs a verb, with or without sudo, does not decide what a cluster is. It holds until a setting says
    otherwise, needs another one, or the machine no longer has it.
    """
    if past is None or past.instance != instance:
        return None
    if (past.settings.service_manager, past.settings.scope) != (cluster.service_manager, cluster.scope):
        return None
    if past.manager == "systemd":
        there = facts.systemd and (past.scope == "system" or facts.user_manager)
    else:
        there = cluster.memory == "none" and cluster.logs != "journal"
    return (past.manager, past.scope, past.why) if there else None


@dataclass(frozen=True)
class _Manager:
    """A service manager, its scope, and why it is that one."""

    manager: str
    scope: str
    why: str


@dataclass(frozen=True)
class _Refusal:
    """Why there can be none; ``{account}`` is who asks."""

    message: str
    hint: str


def _of_user(cluster: Cluster) -> bool:
    """Tell whether the user's own systemd was asked for, by either setting."""
    return cluster.service_manager == "systemd" or cluster.scope == "user"


_CHOICES: tuple[tuple[Callable[[Cluster, Facts], bool], _Manager | _Refusal], ...] = (
    (
        # Whether there is one of this name, and what it needs, is held by `cncp.machine.services.managers.insist`.
        lambda cluster, _: cluster.service_manager not in ("auto", "systemd"),
        _Manager("{manager}", "user", "as set"),
    ),
    (
        lambda cluster, facts: not facts.systemd and (cluster.service_manager == "systemd" or cluster.scope != "auto"),
        _Refusal("systemd does not run this machine", "leave service_manager and scope out"),
    ),
    (
        lambda _, facts: not facts.systemd,
        _Manager("supervisor", "user", "systemd does not run this machine"),
    ),
    (
        lambda cluster, facts: cluster.scope == "system" and not facts.root and facts.sudo == "none",
        _Refusal(
            "scope = system needs root, and sudo would have to ask for a password without a terminal",
            "run this with sudo, in a terminal, or set scope to user",
        ),
    ),
    (
        lambda cluster, _: cluster.scope == "system",
        _Manager("systemd", "system", "as set"),
    ),
    (
        lambda cluster, facts: cluster.scope == "auto" and facts.root,
        _Manager("systemd", "system", "run by root"),
    ),
    (
        lambda _, facts: facts.root,
        _Refusal("scope = user is for a login of that user", "leave scope out, or log in as that user"),
    ),
    (
        lambda cluster, facts: facts.user_manager and _of_user(cluster),
        _Manager("systemd", "user", "as set"),
    ),
    (
        lambda _, facts: facts.user_manager and facts.can_linger,
        _Manager("systemd", "user", "the user's own manager runs"),
    ),
    (
        lambda _, facts: facts.user_manager,
        _Manager(
            "supervisor",
            "user",
            "the user's systemd ends with the last session, and only an administrator can make it linger",
        ),
    ),
    (
        lambda cluster, _: _of_user(cluster),
        _Refusal(
            "{account} has no systemd user manager",
            "install libpam-systemd and log in again, or set service_manager to supervisor",
        ),
    ),
    (
        lambda *_: True,
        _Manager("supervisor", "user", "the user has no systemd manager"),
    ),
)
"""Which service manager it is: the first that applies."""


def _service_manager(cluster: Cluster, facts: Facts) -> tuple[str, str, str]:
    """Choose (manager, scope, why). Raises PreflightError where what was asked for cannot be."""
    chosen = next(choice for applies, choice in _CHOICES if applies(cluster, facts))
    words = {"manager": cluster.service_manager, "account": facts.account.name}
    if isinstance(chosen, _Refusal):
        raise PreflightError(chosen.message.format(**words), chosen.hint.format(**words))
    return chosen.manager.format(**words), chosen.scope, chosen.why
