"""cidd, the server that knows the nodes: reads where to listen, and serves until it is told to end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cncp.console import Console
from cncp.errors import CncpError
from cncp.field_types import AbsolutePath, Address, Within
from cncp.files import read_bytes, to_json, write_atomic
from cncp.netboot.cidcapt import Access
from cncp.netboot.cidd_web import Changes, Cidd, listen, look_after
from cncp.netboot.image_store import ImageStore
from cncp.netboot.meters import Meters
from cncp.netboot.minisign import SigningKey
from cncp.netboot.node_db import Event, NodeDb
from cncp.netboot.provisioner import Provisioner
from cncp.records import Record
from cncp.rendezvous import certificate

_LOG = logging.getLogger("cidd")

PORT, PLAIN_PORT = 38008, 38009
"""Where it listens if nothing else is said: for those who have a key, and for nodes that boot."""


@dataclass(frozen=True)
class Settings(Record):
    """How cidd is run: ``folder`` has all that it keeps, ``address`` is what nodes and jobs reach it by."""

    folder: AbsolutePath
    address: Address = "127.0.0.1"
    port: Annotated[int, Within(0, 65535)] = PORT
    plain_port: Annotated[int, Within(0, 65535)] = PLAIN_PORT
    at_once: Annotated[int, Within(1, 1024)] = 8


class Place:
    """The folder: nodes, images, keys, and how it is reached."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made yet."""
        self.folder = folder
        self.blancmange = folder / "blancmange"
        self.access = folder / "cidcapt.json"
        self.database = folder / "nodes.db"

    def signing_key(self) -> SigningKey:
        """Return the key that signs images, made where there is none."""
        return SigningKey(_kept(self.folder / "signing.key", lambda: SigningKey.made().content))

    def public_key(self) -> str:
        """Return the half of it that is no secret; cidd has no other."""
        return _kept(self.folder / "signing.pub", self._made_public, 0o644).decode()

    def _made_public(self) -> bytes:
        return self.signing_key().public.encode()

    def images(self) -> ImageStore:
        """Return the images."""
        return ImageStore(self.folder / "store", self.public_key())

    def token(self) -> str:
        """Return the token of jobs and people."""
        return _kept(self.folder / "token", lambda: secrets.token_hex(32).encode()).decode()

    def reach(self, settings: Settings) -> Access:
        """Return how cidd is reached, with its certificate and token made where there is none."""
        fingerprint = certificate.ensure(self.folder, "cidd")
        return Access(f"https://{settings.address}:{settings.port}", fingerprint, self.token())


def _kept(path: Path, make: Callable[[], bytes], mode: int = 0o600) -> bytes:
    """Return what a file holds, made where it is not there."""
    known = read_bytes(path)
    if known is None:
        known = make()
        write_atomic(path, known, mode)
    return known


async def serve(settings: Settings) -> None:
    """Serve until a signal asks for the end."""
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    place, changes = Place(Path(settings.folder)), Changes()

    def tell(event: Event) -> None:
        _LOG.info("Host (%s), Image (%s): %s %s", event.node, event.image, event.state, event.text)
        meters.tell(event)
        changes.tell(event)

    access = place.reach(settings)
    db, images = NodeDb(place.database), place.images()
    meters = Meters(db.nodes())
    cidd = Cidd(
        Provisioner(db, images, time.time, tell, settings.at_once),
        db,
        images,
        changes,
        place.blancmange,
        f"{settings.address}:{settings.plain_port}",
        access.token,
        meters,
    )
    servers = listen(
        cidd,
        (settings.address, settings.plain_port),
        (settings.address, settings.port),
        certificate.path(place.folder),
    )
    # For those who may read it; who finds it can ask.
    write_atomic(place.access, to_json(access.to_json()), 0o600)
    watch = asyncio.create_task(look_after(cidd))
    _LOG.info("listening on %s, ports %d and %d", settings.address, settings.port, settings.plain_port)
    waiting = asyncio.create_task(ending.wait())
    # What looks after the nodes does not end by itself: if it does, so does cidd, and is begun anew.
    await asyncio.wait({watch, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.stop()
    if watch.done():
        watch.result()
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    db.close()


def main(argv: Sequence[str]) -> int:
    """Run as a service, or in the foreground; return the exit code."""
    parser = argparse.ArgumentParser(prog="cidd", description="put nodes that boot from the network into images")
    parser.add_argument("settings", type=Path, help="a file: folder, address, port, plain_port, at_once")
    parser.add_argument("--debug", action="store_true")
    given = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if given.debug else logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr
    )
    os.umask(0o077)
    try:
        settings = Settings.from_json(given.settings.read_bytes(), str(given.settings))
        asyncio.run(serve(settings))
    except (CncpError, OSError) as error:
        return Console().error(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
