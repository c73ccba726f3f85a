"""Netbooted nodes as a pool: held at cidd in an image whose engines join by the seed that cidd hands to each of them.

Names of members are those of nodes, which the hosts in the image have as well: by that engines are known as theirs.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cncp.config.hostlist import fold
from cncp.config.inventory import HostSpec, PoolTable
from cncp.config.parsers import Value
from cncp.errors import UsageError, plural
from cncp.files import make_home
from cncp.netboot.cidcapt import CiddClient
from cncp.netboot.messages import Wish
from cncp.netboot.node_states import Node
from cncp.netboot.node_states import State as NodeState
from cncp.pools.base import Member, Pool, Rendezvous, Say, State, Want
from cncp.pools.cloud import registered
from cncp.pools.cloud.admission import Gate, owner_tag
from cncp.pools.netboot import netboot_table
from cncp.records import Record
from cncp.serve.errands import HALF_A_SEED
from cncp.state_files import StateFile
from cncp.waiting import wait_until

_JOINS = 600.0  # s that engines may take to register once their image runs
_LEAVE = 90.0  # s that nodes may take until their engines have ended
_LOOK = 0.5  # s
_LIFETIME = 2 * HALF_A_SEED  # s that a seed is good for

_ON_THE_WAY: Mapping[NodeState, State] = {
    "unknown": State.REQUESTED,
    "ready": State.REQUESTED,
    "draining": State.REQUESTED,
    "rebooting": State.BOOTING,
    "blancmange": State.BOOTING,
    "partition": State.BOOTING,
    "queued": State.FETCHING,
    "fetch": State.FETCHING,
    "verify": State.FETCHING,
    "unpack": State.INSTALLING,
    "boot": State.BOOTING,
}
"""What those states of nodes are here that say it by themselves."""


@dataclass(frozen=True)
class Invited(Record):
    """What engines are told that join: the settings of the pool."""

    settings: Mapping[str, Value]


def seed_store(pool: str) -> StateFile[Invited]:
    """Return where it is kept that a pool's nodes have a seed, in a home."""
    return StateFile(f"cloud/seed-{pool}.state", Invited, "have it made again: cncp up", "what netbooted nodes join by")


class NetbootPool(Pool):
    """Nodes that cidd puts into an image, and that are this pool's until it lets them go."""

    kind: ClassVar = "netboot"
    wants: ClassVar[Mapping[str, Want]] = netboot_table.WANTS
    counted: ClassVar = "nodes"
    # What engines join by is that machine's, and its account has the access file.
    at_controller: ClassVar = True

    def __init__(self, table: PoolTable, wanted: Mapping[str, Any], name: str, home: Path) -> None:
        super().__init__(table, wanted, name, home)
        self.gate = Gate(home)
        self._all: tuple[str, ...] = wanted["nodes"]

    @property
    def _cidd(self) -> CiddClient:
        return netboot_table.client(self.wanted, self.table.folder, self.table.where)

    @property
    def job(self) -> str:
        """What the pool is called at cidd: whose it is, its name, and what tells installations apart."""
        owner = owner_tag(self.home)
        account = re.sub(r"[^A-Za-z0-9_-]", "-", owner.partition("@")[0])[:24]
        return f"{account}.{self.name[:24]}.{hashlib.sha256(owner.encode()).hexdigest()[:8]}"

    @property
    def _batch(self) -> str:
        """Which invitation its engines join by: one, made anew from time to time."""
        return hashlib.sha256(self.job.encode()).hexdigest()[:16]

    @property
    def _seed_file(self) -> Path:
        return seed_store(self.name).path(self.home)

    # How many ---------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes that are wanted."""
        found: tuple[str, ...] = self.wanted["nodes"]
        return found

    @property
    def count(self) -> int:
        """How many nodes are wanted: all that the file names, or what was asked for since."""
        return len(self.names)

    def scale(self, count: int) -> None:
        """Want the first so many of the nodes from now on."""
        if not 0 <= count <= len(self._all):
            raise UsageError(
                f"{self.name}: {plural(count, 'node')} are not possible: {self.table.where} names {len(self._all)}",
                f"give 0 to {len(self._all)}, or name more there",
            )
        self.wanted["nodes"] = self._all[:count]

    def surplus(self) -> Sequence[str]:
        """Return the nodes that are this pool's and are wanted no more, the last first."""
        return [node.name for node in reversed(self._mine()) if node.name not in self.names]

    def drain(self, names: Collection[str], *, hold: bool = True) -> Sequence[str]:
        """Have no new work go to the engines of nodes."""
        return self.gate.drain(names, hold=hold) if names else []

    # Before anything is changed ---------------------------------------------

    def check(self) -> None:
        """Have cidd say whether there are such nodes, and such an image. Raises CncpError."""
        cidd = self._cidd
        there = {node.name: node for node in cidd.nodes()}
        if missing := [name for name in self.names if name not in there]:
            raise UsageError(
                f"{self.table.where}: cidd knows no {', '.join(fold(missing))}",
                "switch them on to boot from the network, then: cncp node.list, cncp node.accept",
            )
        if strange := [name for name in self.names if there[name].state == "unknown"]:
            raise UsageError(
                f"{self.table.where}: nobody has accepted {', '.join(fold(strange))}", "look, then: cncp node.accept"
            )
        images = cidd.images()
        if self.wanted["image"] not in images:
            raise UsageError(
                f"{self.table.where}: there is no image {self.wanted['image']}",
                f"there are: {', '.join(images) or 'none'}; make one with cncp image.make",
            )

    def plan(self) -> Sequence[str]:
        """Return which nodes would be put into the image, and which let go."""
        mine, image = {node.name: node for node in self._mine()}, self.wanted["image"]
        missing = [name for name in self.names if name not in mine or mine[name].wanted != image]
        over = [name for name in mine if name not in self.names]
        return [
            *([f"put {', '.join(fold(missing))} into {image}"] if missing else []),
            *([f"let {', '.join(fold(over))} go"] if over else []),
        ]

    # From nothing to engines ------------------------------------------------

    def acquire(self, say: Say) -> Sequence[HostSpec]:
        """Have cidd put the nodes into the image, and hold them; they come by themselves. Raises CncpError."""
        for line in self.plan():
            say(line)
        if self.names:
            self._want(self.names)
        elif self._mine():
            self._cidd.cancel(self.job)
        return ()

    def _want(self, names: Sequence[str]) -> None:
        self._cidd.want(self.job, Wish(tuple(names), self.wanted["image"], float(self.wanted["deadline"]), hold=True))

    def publish(self, rendezvous: Rendezvous, say: Say) -> None:
        """Have cidd hand out what engines join by: the controller answers now."""
        if self.names:
            self.gate.begin(self.table)
            self._invite(rendezvous.settings)

    def _invite(self, settings: Mapping[str, Value]) -> None:
        self._cidd.meet(self.job, self.gate.invite(self._batch, settings, _LIFETIME, "netbooted nodes"))
        make_home(self.home)
        self._seed_file.parent.mkdir(mode=0o700, exist_ok=True)
        seed_store(self.name).save(self.home, Invited(dict(settings)))
        # Its age says when that is due again: cncp.serve.errands. What has not changed is not written anew.
        self._seed_file.touch()

    def renew(self) -> bool:
        """Have what engines join by be good for longer, once half of its time is over; tell whether it was."""
        known = seed_store(self.name).intact(self.home)
        if known is None or time.time() - self._seed_file.stat().st_mtime < HALF_A_SEED:
            return False
        self._invite(known.settings)
        return True

    @property
    def patience(self) -> float:
        """Seconds in which nodes have to be in the image, with their engines."""
        return float(self.wanted["deadline"])

    # What there is ----------------------------------------------------------

    def _mine(self) -> list[Node]:
        """Return the nodes that cidd has for this pool, in the order of the file."""
        mine = {node.name: node for node in self._cidd.nodes() if node.job == self.job}
        ordered = [*(name for name in self._all if name in mine), *(name for name in mine if name not in self._all)]
        return [mine[name] for name in ordered]

    def observe(self) -> Sequence[Member]:
        """Return the pool's nodes as cidd sees them, with the engines that the controller has."""
        mine = self._mine()
        engines = self.gate.work().engines if mine else {}
        found = [_member(node, len(registered.of(node.name, engines))) for node in mine]
        there = {node.name for node in mine}
        # Where it has none, it has none to lose: nothing has been asked for yet.
        lost = [name for name in self.names if there and name not in there]
        return [*found, *(Member(name, State.LOST, "it is not this pool's at cidd: cncp up") for name in lost)]

    # From engines to nothing ------------------------------------------------

    def release(self, names: Collection[str], say: Say) -> None:
        """Let nodes go. They stay in their image, without engines, until somebody wants them."""
        mine = [node.name for node in self._mine()]
        going = [name for name in mine if name in names]
        staying = [name for name in mine if name not in names]
        if going:
            say(f"letting {', '.join(fold(going))} go")
            self.gate.drain(going, hold=True)
        if staying and going:
            self._want(staying)
        elif not staying:
            self._seed_file.unlink(missing_ok=True)
            self._cidd.cancel(self.job)
            self.gate.withdraw(self._batch)
        wait_until(lambda: not self._registered(going), _LEAVE, _LOOK)
        self.gate.unregister(going)

    def _registered(self, names: Collection[str]) -> bool:
        engines = self.gate.work().engines
        return any(registered.of(name, engines) for name in names)


def _member(node: Node, engines: int) -> Member:
    state, cause = _seen(node, engines)
    return Member(node.name, state, cause, node.since, engines if state is State.JOINED else 0)


def _seen(node: Node, engines: int) -> tuple[State, str]:
    """Return what a node is, and why."""
    trace = f"cncp node.trace {node.name}"
    if node.state == "failed":
        return State.FAILED, f"{node.reason or 'it did not boot'}; look at: {trace}"
    if node.is_there:
        if engines:
            return State.JOINED, ""
        runs = f"{node.image} runs, its engines"
        if node.reason or time.time() - node.since > _JOINS:
            return State.FAILED, node.reason or f"{runs} have not joined: journalctl -u cncp-engines there"
        return State.INSTALLING, f"{runs} are to join"
    if node.state == "alive":
        return State.LOST, f"{node.image} runs, and not {node.wanted}; look at: {trace}"
    again = f", try {node.tries + 1}: {node.reason}" if node.tries else ""
    percent = f" {node.percent} %" if node.state == "fetch" else ""
    return _ON_THE_WAY[node.state], f"{node.state}{percent}, for {node.wanted}{again}"
