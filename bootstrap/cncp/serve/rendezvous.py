"""The service by which machines join: renews what they follow, or follows that where this machine has joined."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from cncp.errors import CncpError
from cncp.files import read_bytes, to_json, write_atomic
from cncp.ipp.connection_file import ENGINE
from cncp.ipp.hub import asked
from cncp.machine import connection_files, offering, parking
from cncp.machine.actor import Actor
from cncp.machine.node import Node, installed
from cncp.process import run
from cncp.rendezvous import member_record, owner
from cncp.rendezvous.documents import Body, Want
from cncp.rendezvous.fetching import Clock, fetch, is_pinned
from cncp.rendezvous.publishing import renew
from cncp.rendezvous.sealing import opened
from cncp.rendezvous.stores.served import ServedStore
from cncp.rendezvous.website import Website
from cncp.serve.errands import Errand
from cncp.serve.log_files import log_to

_LOOK = 1.0  # s between looks at what may have changed here
_RETRY = 30.0  # s after a store has failed
_DUE = 600.0  # s between looks at what is due by its time
_LAST = 3.0  # s for members to hear the last of it
_ANSWER = 3.0  # s that a controller has to answer

_HELD = 50
"""Seconds that the controller's machine may keep a member's question until something has changed."""

_POWER_OFF = "power-off"
"""What is left in the folder ``run`` of an instance that is to end, for root to see."""


def serve(node: Node) -> None:
    """Run the service of a node."""
    log = logging.getLogger("cncp.rendezvous")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler())
    log_to(node, "rendezvous", log)
    if node.rendezvous == "member":
        follow(node, log)
    else:
        keep(node, log)


def keep(node: Node, log: logging.Logger) -> None:
    """Publish what has changed, renew what would end, and serve it where there is no other store.

    Whatever `down` has told members, they are to compute while this runs.
    """
    home, ending = Path(node.home), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    last: Want | None = "run"
    site: Website | None = None
    seen, due = "", 0.0
    errand = Errand(home, log)
    while not ending.is_set() and (record := owner.load(home)) is not None:
        now = time.monotonic()
        found = _seen(home, node)
        if found != seen or now > due:
            try:
                store = offering.store(home, record)
                if isinstance(store, ServedStore):
                    site = site or _served(node, record.place.port, store, log)
                    site.store = store
                if renew(store, home, offering.offer(installed(home)), want=last):
                    log.info("published")
                last = None
                if site:
                    site.tell()
                seen, due = _seen(home, node), now + _DUE
            except (CncpError, OSError) as error:
                log.warning("%s", error)
                # What has changed is as due as before.
                seen, due = found, now + _RETRY
        errand.look(now)
        ending.wait(_LOOK)
    errand.end()
    if site:
        # What `down` has just published reaches those who wait.
        site.finish(_LAST)


def _served(node: Node, port: int, store: ServedStore, log: logging.Logger) -> Website:
    """Serve where the controller listens, and no wider."""
    site = Website((node.settings.listen, port), store, owner.folder(Path(node.home)), log.info)
    site.begin()
    log.info("serving at %s:%s", node.settings.listen, port)
    return site


def _seen(home: Path, node: Node) -> str:
    """Return what tells apart all that a lease or a join depends on here."""
    files = (owner.path(home), node.security_dir / ENGINE, home / "node.json")
    return hashlib.sha256(b"".join(read_bytes(path) or b"" for path in files)).hexdigest()


def follow(node: Node, log: logging.Logger, clock: Clock | None = None) -> None:
    """Look at the lease again and again, and do what it says, for as long as this machine is a member."""
    clock, home = clock or Clock(), Path(node.home)
    said, failed = "", 0
    # Read anew each time: it may have joined again meanwhile.
    while (known := member_record.load(home)) is not None:
        answer = fetch(known.access.url, known.etag, wait=_HELD)
        seen = member_record.look(known, answer, _reader(known, clock), lambda: controller_answers(node), clock.now())
        if member_record.load(home) != known:
            continue
        if seen.said and seen.said != said:
            log.info("%s", seen.said)
        said = seen.said
        obey(node, known, seen, log)
        failed = 0 if answer.verdict in ("found", "unchanged") else failed + 1
        # The controller's machine answers when there is something to say; while it starts it is asked more often.
        wait = min(known.access.poll, 2**failed) if is_pinned(known.access.url) else known.access.poll
        clock.sleep(clock.spread(wait, 0.2))


def obey(node: Node, known: member_record.Membership, seen: member_record.Look, log: logging.Logger) -> None:
    """Have this machine be what a look says. Cut off anywhere, the next look does the rest."""
    changed = seen.body is not None and take_engine_file(node, seen.body)
    if changed:
        log.info("new keys or addresses: engines begin anew")
    parking.settle(node, seen.membership, anew=changed)
    if seen.membership != known:
        member_record.save(Path(node.home), seen.membership)
    if seen.membership.instance and seen.membership.state in ("stopped", "lost"):
        power_off(node, log)


def _reader(known: member_record.Membership, clock: Clock) -> Callable[[bytes], Body]:
    def read(content: bytes) -> Body:
        return opened(
            content,
            "lease",
            str(known.access.generation),
            known.access.key,
            cluster=known.cluster,
            now=clock.now(),
            seen=known.serial,
            ipyparallel=version("ipyparallel"),
        )

    return read


def take_engine_file(node: Node, body: Body) -> bool:
    """Put the engines' connection file of a lease in its place; tell whether it is another one."""
    path, content = connection_files.delivered(Path(node.home)), to_json(dict(body.content.engine))
    if read_bytes(path) != content:
        write_atomic(path, content, 0o600)
    return bool(connection_files.write(node, Actor(node.account)))


def controller_answers(node: Node) -> bool:
    """Tell whether the controller itself answers, where the engines' connection file says it is."""
    return asked(connection_files.engine(node), lambda hub: hub.engines(_ANSWER)) is not None


def power_off(node: Node, log: logging.Logger) -> None:
    """End this instance: by root, who sees the mark, or where this runs as root at once."""
    log.warning("this instance ends itself")
    write_atomic(node.run_dir / _POWER_OFF, b"", 0o600)
    if os.geteuid() == 0:
        run(["systemctl", "poweroff"], check=False)
