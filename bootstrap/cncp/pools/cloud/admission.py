"""How instances get in: their code lies in the store of the rendezvous, and each batch has a seed of its own.

The controller is on this machine, where its service renews what instances follow.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cncp import accounts
from cncp.config import sources
from cncp.config.inventory import PoolTable
from cncp.config.parsers import Value
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.install import source_code
from cncp.install.bundle_reader import sha256
from cncp.ipp.hub import Hub, NoAnswer
from cncp.machine import connection_files, offering
from cncp.machine.node import Node, installed
from cncp.machine.ops import inviting
from cncp.machine.services.base import running_process
from cncp.pools.base import Rendezvous, Say
from cncp.pools.cloud import registered
from cncp.pools.cloud.launch import Boot
from cncp.pools.cloud.registered import Work
from cncp.pools.cloud.user_data import user_data
from cncp.ports import connections
from cncp.release import bundle
from cncp.rendezvous import owner, publishing
from cncp.rendezvous.documents import Cluster, Seed
from cncp.rendezvous.sealing import SETTINGS
from cncp.rendezvous.store import Store

HOLD = 900.0
"""Seconds for which no task goes to instances that are to end: longer than that takes, and not for ever."""


def owner_tag(home: Path) -> str:
    """Return whose instances they are, for tags: account, machine and CNCP_HOME, which outlive the loss of that."""
    account = accounts.account(os.environ)
    return f"{account.name}@{socket.gethostname()}/{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Ready:
    """All that an instance is given: ``settings`` count for it alone; ``bundle`` and ``digest`` are its code."""

    store: Store
    offer: Cluster
    settings: Mapping[str, Any]
    bundle: str
    digest: str
    lifetime: int
    certificate: str
    index: str


class Gate:
    """Lets instances join the cluster whose controller is here."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._ready: _Ready | None = None

    @property
    def cluster(self) -> str:
        """The id of the cluster, "" before anybody was let in."""
        record = owner.load(self._home)
        return record.cluster if record else ""

    @property
    def _node(self) -> Node:
        # Read anew each time: pools are asked before `up` has changed it, and after that.
        return installed(self._home)

    @property
    def ports(self) -> str:
        """The controller's ports, LOW-HIGH; "" while there is none."""
        try:
            document = connection_files.client(installed(self._home))
        except CncpError:
            return ""
        return f"{min(document.ports)}-{max(document.ports)}" if document else ""

    def begin(self, table: PoolTable) -> None:
        """Give the cluster an id and a place for what instances find. Raises CncpError."""
        inviting.begin(self._node, sources.rendezvous(_file(table)))

    def open(self, rendezvous: Rendezvous, wanted: Mapping[str, Any], certificate: str, folder: Path, say: Say) -> None:
        """Have everything ready for instances: the service that they follow, and the code in the store.

        Raises CncpError where the controller is not here, or listens for nobody else.
        """
        node, store = self._meeting()
        given = _given(rendezvous.settings)
        path = self._bundle(wanted, folder, say)
        digest = sha256(path)
        lifetime = int(wanted["deadline"])
        self._ready = _Ready(
            store,
            offering.offer(node),
            given,
            publishing.publish_bundle(store, self._home, path, digest, lifetime, say),
            digest,
            lifetime,
            certificate,
            wanted["index"],
        )

    def _meeting(self) -> tuple[Node, Store]:
        """Have the service run that members follow; return this machine, and where documents lie. Raises CncpError."""
        node = self._node
        inviting.insist(node)
        inviting.start(node, Console(quiet=True))
        record = owner.load(self._home)
        if record is None:
            raise UsageError("there is no rendezvous here", "run cncp up on the controller's machine")
        return node, offering.store(self._home, record)

    def invite(self, batch: str, settings: Mapping[str, Value], lifetime: int, note: str) -> Seed:
        """Let members join that have the code, for ``lifetime`` s, after `begin`; again the same batch for longer.

        Raises CncpError where the controller is not here, or listens for nobody else.
        """
        node, store = self._meeting()
        return publishing.publish_join(
            store, self._home, offering.offer(node), batch, lifetime=lifetime, settings=_given(settings), note=note
        )

    def _bundle(self, wanted: Mapping[str, Any], folder: Path, say: Say) -> Path:
        """Return what instances install from: the file that is named, or one made of this code, once."""
        if wanted["bundle"]:
            path = folder / Path(wanted["bundle"]).expanduser()
            if not path.is_file():
                raise UsageError(f"there is no bundle {path}", f"make one: cncp bundle.make --output {path}")
            return path
        code = source_code.digest(dict(source_code.code(sources.SOURCE)))
        key = hashlib.sha256(f"{code} {wanted['pythons']}".encode()).hexdigest()[:16]
        path = self._home / "cloud" / f"bundle-{key}.tar"
        if not path.exists():
            say("making what instances install from")
            for former in path.parent.glob("bundle-*.tar"):
                former.unlink()
            # An image may have an older C library than this machine.
            bundle.for_engines(path, platform.machine(), "", wanted["pythons"], os.environ)
        return path

    def admit(self) -> Boot:
        """Return what the instances of one more batch boot with, after `open`."""
        if self._ready is None:
            raise CncpError("nobody is let in yet", "run cncp up on the controller's machine")
        ready = self._ready
        seed = publishing.publish_join(
            ready.store,
            self._home,
            ready.offer,
            publishing.new_batch(),
            lifetime=ready.lifetime,
            settings=ready.settings,
            bundle=ready.bundle,
            sha256=ready.digest,
            instance=True,
            note="instances",
        )
        return Boot(seed.batch, user_data(seed, ready.certificate, ready.index), seed.deadline)

    def withdraw(self, batch: str) -> None:
        """Take away what a batch joins by: its seed opens nothing any more."""
        record = owner.load(self._home)
        if record is not None and batch in record.invitations:
            publishing.withdraw(offering.store(self._home, record), self._home, [batch])

    def close(self, batches: Collection[str], *, last: bool) -> None:
        """Take away what batches join by that are no more, and after the ``last`` the code. Raises CncpError."""
        record = owner.load(self._home)
        if record is None:
            return
        invited = record.invitations.keys() & set(batches)
        if invited or (last and record.bundles):
            store = offering.store(self._home, record)
            publishing.withdraw(store, self._home, invited)
            if last:
                publishing.drop_bundles(store, self._home)

    def work(self) -> Work:
        """Return which engines are registered and what they do; none where the controller does not answer."""
        with contextlib.suppress(NoAnswer), self.hub() as hub:
            return registered.work(hub)
        return Work()

    def clients(self) -> int:
        """Return how many clients are connected to the controller."""
        document = connection_files.client(self._node)
        # The hub is a client of the task scheduler as well.
        return connections(document.task, running_process(self._node, "controller").pid) if document else 0

    def drain(self, instances: Iterable[str], *, hold: bool) -> list[str]:
        """Have no new task go to the engines of instances, or again; return which still compute.

        None where the controller does not answer: nobody gives them any.
        """
        with contextlib.suppress(NoAnswer), self.hub() as hub:
            return registered.drain(hub, instances, HOLD if hold else 0.0)
        return []

    def unregister(self, instances: Iterable[str]) -> None:
        """Have the controller know that instances are gone, as far as it answers."""
        with contextlib.suppress(NoAnswer), self.hub() as hub:
            registered.unregister(hub, instances)

    def hub(self) -> Hub:
        """Return the controller's hub. Raises NoAnswer."""
        try:
            node = self._node
            document = connection_files.client(node)
        except CncpError as error:
            # `up` mends what is damaged, and asks before.
            raise NoAnswer(error.message, error.hint) from None
        if document is None:
            raise NoAnswer("the cluster has no keys yet", "bring it up: cncp up")
        return Hub(document, node.local_address)


def _given(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings that members are given."""
    return {"engines": "cores", **{key: value for key, value in settings.items() if key in SETTINGS}}


def _file(table: PoolTable) -> Path:
    """Return the cluster.toml that a table stands in."""
    return Path(table.where.rpartition(" pool")[0])
