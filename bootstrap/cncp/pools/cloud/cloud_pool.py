"""A pool of instances: what EC2, OpenStack and clouds of other packages only add a provider to.

They come by themselves: made once the controller answers, each finds it by its seed, and its engines register. Which
instance an engine is of, its host's name says. Names of members are those names.
"""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from cncp.config.inventory import HostSpec, PoolTable
from cncp.errors import CncpError, UsageError, plural
from cncp.files import Busy
from cncp.pools.base import Member, Pool, Rendezvous, Say, State, Want
from cncp.pools.cloud import cloud_table, journal, reclaim, registered
from cncp.pools.cloud.admission import Gate, owner_tag
from cncp.pools.cloud.cloud_table import Bounds
from cncp.pools.cloud.idle_policy import Memory
from cncp.pools.cloud.images import Images
from cncp.pools.cloud.journal import Batch, Journal
from cncp.pools.cloud.launch import Launcher, Wish
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import BATCH, Instance, Provider, Template
from cncp.pools.cloud.user_data import progress, tail
from cncp.state_files import StateFile

_FRESH = 2.0  # s that what a cloud said is taken for what it would say
_CONSOLE = 10.0  # s between looks at the console of an instance
_COMES = 1200.0  # s that an instance may take to join


class CloudPool(Pool):
    """Instances of a cloud."""

    wants: ClassVar[Mapping[str, Want]] = cloud_table.WANTS
    counted: ClassVar = "instances"
    at_controller: ClassVar = True

    def __init__(self, table: PoolTable, wanted: Mapping[str, Any], name: str, home: Path) -> None:
        super().__init__(table, wanted, name, home)
        cloud_table.insist(wanted, table.where)
        self._certificate = cloud_table.certificate(wanted, table.folder, table.where)
        self._count: int | None = None
        self.gate = Gate(home)
        self.clock = Clock()
        self._seen: tuple[float, dict[str, Instance]] = (0.0, {})
        self._consoles: dict[str, tuple[float, str]] = {}

    @classmethod
    @abstractmethod
    def connect(cls, site: Mapping[str, str], template: Template) -> Provider:
        """Return the cloud of a site, which has ``provider``, our kind, ``cloud`` and ``region``. Raises CncpError."""

    @classmethod
    def images(cls, site: Mapping[str, str]) -> Images:
        """Return the same cloud as one that takes images. Raises CncpError."""
        raise UsageError(f"{cls.kind} takes no images from here", "give it the file with its own tools")

    @functools.cached_property
    def provider(self) -> Provider:
        """The cloud that the table names."""
        return self.connect(self.site, cloud_table.template(self.wanted, self.gate.ports))

    @property
    def site(self) -> dict[str, str]:
        """Which cloud the table names."""
        return {"provider": self.kind, "cloud": self.wanted["cloud"], "region": self.wanted["region"]}

    @property
    def journal(self) -> Journal:
        """The journal of the cluster, as it is on the disk."""
        return Journal.of(self.home, self.gate.cluster, owner_tag(self.home))

    # How many ---------------------------------------------------------------

    @property
    def _bounds(self) -> Bounds:
        found: Bounds = self.wanted["instances"]
        return found

    @property
    def count(self) -> int:
        """How many instances are wanted: the file's number, the lower of two, or what was asked for since."""
        return self._bounds.low if self._count is None else self._count

    def scale(self, count: int) -> None:
        """Want so many from now on."""
        if not 0 <= count <= cloud_table.MOST:
            raise UsageError(f"{self.name}: {count} instances are not possible", f"give 0 to {cloud_table.MOST}")
        self._count = count

    def surplus(self) -> Sequence[str]:
        """Return those that are more than are wanted: who has not joined, who computes nothing, then the youngest."""
        members = [member for member in self.observe() if member.state is State.JOINED or member.state.coming]
        work = self.gate.work()
        members.sort(key=lambda member: (member.state is State.JOINED, bool(work.tasks_of(member.name)), -member.since))
        return [member.name for member in members[: max(0, len(members) - self.count)]]

    def drain(self, names: Collection[str], *, hold: bool = True) -> Sequence[str]:
        """Have the task scheduler leave their engines out, for as long as their end may take."""
        there = self._mine(self.journal)
        chosen = {name: there[key].name for key, name in _distinct(there.values()).items() if {key, name} & set(names)}
        busy = set(self.gate.drain(chosen.values(), hold=hold)) if chosen else set()
        return [name for name, instance in chosen.items() if instance in busy]

    # Before anything is made ------------------------------------------------

    def check(self) -> None:
        """Have the cloud say whether we may, and whether there is room. Raises CncpError."""
        self.clock.asked(self.provider.check)
        missing = self.count - len(self._known())
        if missing > 0:
            self.clock.asked(self.provider.limits).insist(missing, self.provider.where)

    def plan(self) -> Sequence[str]:
        """Return what would be made, going by the journal: no cloud is asked."""
        missing = self.count - len(self._known())
        if missing <= 0:
            return []
        price = self.wanted["price"]
        cost = f", {missing * price:.2f} an hour" if price else ""
        return [f"make {plural(missing, 'instance')} of {self.wanted['flavor']} with {self.wanted['image']}{cost}"]

    def _known(self) -> set[str]:
        """Return the ids of those in the journal."""
        batches = self.journal.open(self.name) if self.gate.cluster else []
        return {name for batch in batches for name in batch.ids}

    # From nothing to engines ------------------------------------------------

    def acquire(self, say: Say) -> Sequence[HostSpec]:
        """Settle what a command before this one left, and end what is of no use; new ones are made by `publish`."""
        if not self.gate.cluster:
            return ()
        with journal.locked(self.home, "cncp up"):
            kept = self.journal
            for batch in kept.open(self.name):
                if batch.stage == "PLANNED":
                    say("looking for instances that were asked for by a command that was cut off")
                    reclaim.settled(self.provider, kept, batch, self.clock)
            there = self._without_gone(kept)
            useless = [key for key, instance in there.items() if instance.state in ("failed", "stopped")]
            useless += self._never_joined(kept, {key: there[key] for key in there.keys() - set(useless)})
            if useless:
                say(f"ending {plural(len(useless), 'instance')} that run no engines any more")
                reclaim.end(self.provider, kept, useless, self.clock)
            self._forget()
            self._tell_other(kept, say)
        return ()

    @property
    def _lasting(self) -> Mapping[str, str]:
        """What of the table an instance has until its end."""
        said = {"image": self.wanted["image"], "flavor": self.wanted["flavor"], **self.settings}
        return {key: str(value) for key, value in said.items()}

    def _tell_other(self, kept: Journal, say: Say) -> None:
        """Say which instances are not what the table has by now: they stay what they are."""
        now = self._lasting
        for batch in kept.open(self.name):
            then = batch.made_of or now  # an earlier version has noted nothing of it
            other = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
            if other and batch.ids:
                say(
                    f"{plural(len(batch.ids), 'instance')} stay as they were made, with another {', '.join(other)}; "
                    f"to have others in their place: cncp scale 0 --pool {self.name}, then cncp up"
                )

    def _never_joined(self, kept: Journal, there: Mapping[str, Instance]) -> list[str]:
        """Return the ids of those that run and have failed to join: what stays of them would count for ever."""
        # One that has joined once is not given up because the controller was away, or is not there yet.
        joined = {key for batch in kept.open(self.name) if batch.stage == "JOINED" for key in batch.ids}
        doubtful = there.keys() - joined
        if not doubtful or not (work := self.gate.work()).answered:
            return []
        engines = {key: len(registered.of(there[key].name, work.engines)) for key in doubtful}
        return [key for key in doubtful if self._state(there[key], engines[key])[0] is State.FAILED]

    def publish(self, rendezvous: Rendezvous, say: Say) -> None:
        """Make what is missing: the controller answers now, so whoever comes finds it."""
        self.gate.begin(self.table)
        if self.wanted["controller_group"]:
            # What was connected before the controller answered does not know its ports, or former ones.
            self.__dict__.pop("provider", None)
        with journal.locked(self.home, "cncp up"):
            self._have_it_tended()
            kept = self.journal
            missing = self.count - sum(instance.costs for instance in self._mine(kept).values())
            if missing <= 0:
                kept.note_short(self.name, "")
                return
            self.gate.open(rendezvous, self.wanted, self._certificate, self.table.folder, say)
            wish = Wish(
                self.name,
                self.wanted["spot"],
                self.wanted["price"] or None,
                self.gate.admit,
                self.gate.withdraw,
                made_of=self._lasting,
            )
            try:
                made = Launcher(self.provider, kept, wish, self.clock, say).bring(missing)
            finally:
                self._forget()
            self._begin_anew()
            say(f"{plural(len(made), 'instance')} made in {self.provider.where}")

    @property
    def load_file(self) -> Path:
        """Where what was seen of its load is kept; while it is there the service beside the controller looks."""
        return load_store(self.name).path(self.home)

    @property
    def tended(self) -> bool:
        """Whether it follows the work there is, or ends when nobody is there."""
        return bool(self.wanted["idle"] or self.wanted["idle_client"])

    def _have_it_tended(self) -> None:
        if not self.tended:
            self.load_file.unlink(missing_ok=True)
        elif not self.load_file.exists():
            load_store(self.name).save(self.home, Memory())

    def _begin_anew(self) -> None:
        """Give new ones the whole time in which somebody may connect, where it was over for those before them."""
        store, limit = load_store(self.name), self.wanted["idle_client"]
        known = store.intact(self.home) if limit else None
        if known and self.clock.now() - known.alone >= limit:
            store.save(self.home, replace(known, alone=0.0))

    @property
    def patience(self) -> float:
        """Seconds in which instances have to join."""
        return min(_COMES, float(self.wanted["deadline"]))

    # What there is ----------------------------------------------------------

    def observe(self) -> Sequence[Member]:
        """Return all instances of the journal as the cloud sees them, with the engines that the controller has."""
        if not self.gate.cluster or not (kept := self.journal).sites:
            return []
        there, engines = self._mine(kept), self.gate.work().engines
        names = _distinct(there.values())
        found = [
            self._member(instance, names[key], len(registered.of(instance.name, engines)))
            for key, instance in there.items()
        ]
        gone = {name: batch for batch in kept.open(self.name) for name in batch.ids if name not in there}
        found += [Member(name, State.LOST, "its cloud has it no more", batch.planned) for name, batch in gone.items()]
        if short := kept.short(self.name):
            found.append(Member(f"{self.name}-missing", State.FAILED, short))
        joined = {member.name for member in found if member.state is State.JOINED}
        self._note_joined(kept, {key for key, name in names.items() if name in joined})
        return found

    def present(self) -> set[str]:
        """Return the names of those that the cloud has, whatever their state."""
        return set(_distinct(self._mine(self.journal).values()).values())

    def _mine(self, kept: Journal) -> dict[str, Instance]:
        """Return this pool's instances by id, as the cloud has just said."""
        now = self.clock.now()
        if now - self._seen[0] > _FRESH:
            self._seen = (now, reclaim.census(self.provider, kept, self.clock))
        batches = {batch.id for batch in kept.open(self.name)}
        return {key: instance for key, instance in self._seen[1].items() if instance.tags.get(BATCH) in batches}

    def _without_gone(self, kept: Journal) -> dict[str, Instance]:
        """Take those out of the journal that the cloud has no more; return the others."""
        there = self._mine(kept)
        kept.without({name for batch in kept.open(self.name) for name in batch.ids} - there.keys())
        return there

    def _forget(self) -> None:
        self._seen = (0.0, {})

    def _member(self, instance: Instance, name: str, engines: int) -> Member:
        state, cause = self._state(instance, engines)
        return Member(name, state, cause, instance.since, engines)

    def _state(self, instance: Instance, engines: int) -> tuple[State, str]:
        """Return where an instance is on its way, and why."""
        if engines and instance.state == "running":
            return State.JOINED, ""
        plain = {"requested": State.REQUESTED, "ending": State.ENDED, "gone": State.LOST, "failed": State.FAILED}
        if instance.state in plain:
            return plain[instance.state], instance.cause
        written = self._console(instance)
        step, why = progress(written)
        steps = {"": State.BOOTING, "fetching": State.FETCHING, "installing": State.INSTALLING, "joined": State.JOINED}
        if instance.state == "stopped":
            ended = State.LOST if step == "joined" else State.FAILED
            return ended, "; ".join(word for word in (instance.cause, why or tail(written)) if word)
        if step == "failed":
            return State.FAILED, why
        late = self.clock.now() - instance.since > self.patience
        if step == "joined" and not engines:
            return State.LOST, "its engines do not answer the controller"
        return (State.FAILED, f"it has not joined in time: {tail(written)}") if late else (steps[step], "")

    def _console(self, instance: Instance) -> str:
        now = self.clock.now()
        at, text = self._consoles.get(instance.id, (0.0, ""))
        if now - at > _CONSOLE:
            text = self.clock.asked(lambda: self.provider.console(instance.id))
            self._consoles[instance.id] = (now, text)
        return text

    def _note_joined(self, kept: Journal, ids: Collection[str]) -> None:
        """Count who has joined; a batch of which all have needs its seed no more."""
        if not any(_counted(batch, ids) for batch in kept.open(self.name)):
            return
        # While another command makes or ends instances, the next look counts.
        with contextlib.suppress(Busy), journal.locked(self.home, "cncp status"):
            # Read anew: what others wrote while the cloud was asked is not to be written over.
            now = self.journal
            for after in filter(None, [_counted(batch, ids) for batch in now.open(self.name)]):
                if after.stage == "JOINED":
                    self.gate.withdraw(after.id)
                now.note(after)

    # From engines to nothing ------------------------------------------------

    def release(self, names: Collection[str], say: Say) -> None:
        """End instances, and return when the cloud has them no more."""
        if not self.gate.cluster:
            return
        with journal.locked(self.home, "ending instances"):
            kept = self.journal
            self._forget()
            there = self._mine(kept)
            ids = [key for key, name in _distinct(there.values()).items() if {key, name} & set(names)]
            if ids:
                say(f"ending {plural(len(ids), 'instance')} of {self.provider.where}")
                # They stay registered until they are gone: an engine that the hub does not know begins anew.
                self.gate.drain([there[key].name for key in ids], hold=True)
                reclaim.end(self.provider, kept, ids, self.clock)
                self.gate.unregister([there[key].name for key in ids])
            self._forget()
            self._without_gone(kept)
            if not any(batch.ids for batch in kept.open(self.name)):
                self._leave(kept, say)

    def discard(self, say: Say) -> None:
        """End all, also those that a command was cut off from, and what was made besides."""
        # One that has none for now is looked at all the same: tasks may wait, or a client come.
        self.load_file.unlink(missing_ok=True)
        if not self.gate.cluster:
            return
        with journal.locked(self.home, "ending instances"):
            kept = self.journal
            self._forget()
            if kept.open(self.name):
                self.gate.drain([instance.name for instance in self._mine(kept).values()], hold=True)
            self._leave(kept, say)

    def _leave(self, kept: Journal, say: Say) -> None:
        """End what is left of the pool, and what was made besides."""
        batches = [batch.id for batch in kept.batches if batch.pool == self.name]
        reclaim.close(kept, self.name, self._reached, self.clock, say)
        try:
            self.gate.close(batches, last=not kept.sites)
        except CncpError as error:
            say(f"what instances join by is left in the store: {error.message}")
        kept.note_short(self.name, "")
        self._forget()
        if not kept.sites:
            kept.forget()

    def _reached(self, site: Mapping[str, str]) -> Provider | None:
        return self.connect(site, Template()) if site.get("provider") == self.kind else None


def load_store(pool: str) -> StateFile[Memory]:
    """Return where what was seen of a pool's load is, in a home."""
    return StateFile(f"cloud/load-{pool}.state", Memory, "the time in which nothing is to do begins anew: cncp up")


def _counted(batch: Batch, ids: Collection[str]) -> Batch | None:
    """Return a batch of which more have joined, or all, as it is from now on; None where nothing is new."""
    joined = len(set(batch.ids) & set(ids))
    if batch.stage in ("REQUESTED", "RUNNING") and batch.ids and joined == len(batch.ids):
        return replace(batch, joined=joined, stage="JOINED")
    return replace(batch, joined=joined) if joined > batch.joined else None


def _distinct(instances: Collection[Instance]) -> dict[str, str]:
    """Return names by id that differ: addresses of two networks, and names made of them, may be the same."""
    times = Counter(instance.name for instance in instances)
    return {
        instance.id: f"{instance.name}-{instance.id[-6:]}" if times[instance.name] > 1 else instance.name
        for instance in instances
    }
