"""connect: a client's way to a controller that only ssh reaches, kept open."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cncp import files
from cncp.client import connect_state, reach, remote_profile
from cncp.client.connect_state import BROKEN, UP, Connected
from cncp.client.profile import Profile
from cncp.console import Console
from cncp.errors import CncpError
from cncp.files import to_json, write_atomic
from cncp.ipp.connection_file import ClientFile
from cncp.ipp.keys import SECRET
from cncp.ports import free_block, is_free, within
from cncp.ssh.client_tunnel import NoForwards, PortsTaken, Tunnel
from cncp.ssh.connection import Remote

NEEDED = len(ClientFile.channels)
"""How many ports a client takes."""

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 15.0  # s between tries; the network of a laptop comes and goes
_FOR_GOOD = ("host key", "none of our keys")
"""What no waiting mends, of the errors of a login."""


def choose_ports(setting: str, former: Sequence[int]) -> tuple[int, ...]:
    """Return free local ports: those of ``setting`` (LOW-HIGH), else the former ones, else a free block."""
    if setting:
        free = [port for port in within(setting) if is_free(port)]
        if len(free) < NEEDED:
            raise PortsTaken([port for port in within(setting) if port not in free])
        return tuple(free[:NEEDED])
    if len(former) == NEEDED and all(map(is_free, former)):
        return tuple(former)
    return free_block(NEEDED)


@contextlib.contextmanager
def in_place(into: Profile, document: ClientFile, last: Connected | None) -> Iterator[None]:
    """Have a client file in the profile for the length of a block; what stood there before comes back.

    ``last`` is the record of a `connect` that was killed: it has left its own file in place, and the
    former one aside.
    """
    kept = into.client.with_name(f"{into.client.name}.before-connect")
    former = into.stored()
    if former is not None and not _left_by(last, former):
        write_atomic(kept, former, SECRET)
    into.write(document)
    try:
        yield
    finally:
        ours = into.stored() == to_json(document)
        if kept.exists():
            kept.replace(into.client) if ours else kept.unlink()
        elif ours:
            into.client.unlink()


def _left_by(last: Connected | None, content: bytes) -> bool:
    """Tell whether a client file is that of a former `connect`."""
    try:
        document = ClientFile.read(content, "")
    except CncpError:
        return False
    ours = last is not None and document.ports == last.ports
    return ours and document.dialled == "127.0.0.1"


class Keeper:
    """Keeps a tunnel open until it is told to stop."""

    def __init__(self, tunnel: Tunnel, into: Profile, first: Connected, console: Console) -> None:
        self._tunnel = tunnel
        self._into = into
        self._console = console
        self._stopped = threading.Event()
        self._record = first

    def stop(self, *_: object) -> None:
        """Stop; also as a handler of signals."""
        self._stopped.set()
        self._tunnel.interrupt()

    def _note(self, state: str, said: str = "", reconnected: int = 0) -> None:
        self._record = dataclasses.replace(
            self._record,
            state=state,
            said=said,
            since=connect_state.now(),
            ssh=self._tunnel.pid,
            reconnected=self._record.reconnected + reconnected,
        )
        connect_state.write(self._into.path, self._record)

    def keep(self, ready: Callable[[], None]) -> None:
        """Run until stopped; ``ready`` is called once the way is open. Raises CncpError.

        The first login has to succeed; after that every end is answered with a new one.
        """
        self._note(UP)
        ready()
        while not self._stopped.is_set():
            said = self._tunnel.wait()
            if self._stopped.is_set():
                return
            self._note(BROKEN, said)
            self._console.warn(f"the way to {self._record.host} broke: {said}")
            if not self._reopen():
                return
            self._note(UP, reconnected=1)
            self._console.note(f"{time.strftime('%H:%M:%S')} connected to {self._record.host} again")

    def _reopen(self) -> bool:
        """Try until the tunnel is open at the same ports; False when told to stop meanwhile."""
        pause = _FIRST_WAIT
        while not self._stopped.is_set():
            try:
                self._tunnel.open()
                return True
            except CncpError as error:
                if isinstance(error, NoForwards) or any(mark in error.message for mark in _FOR_GOOD):
                    raise
                self._note(BROKEN, error.message)
            # Clients of many users whose server was away must not come back in step.
            self._stopped.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
            pause = min(_LONGEST_WAIT, 2 * pause)
        return False


def way(remote: Remote, document: ClientFile, mapped: tuple[int, ...]) -> tuple[Tunnel, ClientFile]:
    """Return the tunnel, not open yet, from local ports to a controller, and its client file for this end of it."""
    there = "127.0.0.1" if document.on_all_interfaces else document.bound
    forwards = [(here, there, port) for here, port in zip(mapped, document.ports, strict=True)]
    return Tunnel(remote, forwards), document.at("127.0.0.1", mapped)


def open_way(tunnel: Tunnel, local: ClientFile, name: str) -> None:
    """Open a tunnel to the controller on host ``name``, and have that answer. Raises CncpError."""
    tunnel.open()
    if not reach.answers(local, 5.0):
        raise CncpError(f"the controller on {name} does not answer", f"look there: ssh {name}, then cncp status")


@contextlib.contextmanager
def _handling(stop: Callable[..., None]) -> Iterator[None]:
    """Have the signals that end a program call ``stop`` instead."""
    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def connect(
    remote: Remote,
    name: str,
    into: Profile,
    console: Console,
    *,
    ports: str,
    force: bool,
    ready: Callable[[Connected], None],
) -> None:
    """Open the way to profile ``name`` of a host and keep it open until a signal ends this. Raises CncpError.

    ``ready`` is called once ``ipyparallel.Client(profile=...)`` works here.
    """
    document = _ask(remote, name, console)
    into.check(document, force=force)
    _make_folders(into)
    with files.lock(into.path / "pid" / "cncp-connect.lock", f"connect for profile {into.name}"):
        last = connect_state.read(into.path)
        mapped = choose_ports(ports, last.ports if last else ())
        tunnel, local = way(remote, document, mapped)
        first = Connected(
            os.getpid(), connect_state.own_creation(), into.name, remote.spec.name, name, mapped, BROKEN, 0, 0, 0, ""
        )
        keeper = Keeper(tunnel, into, first, console)
        with contextlib.closing(tunnel), _handling(keeper.stop):
            console.phase(f"opening the way to {remote.spec.name}")
            open_way(tunnel, local, remote.spec.name)
            with in_place(into, local, last), _gone_at_end(into.path):
                keeper.keep(lambda: ready(first))


def _ask(remote: Remote, name: str, console: Console) -> ClientFile:
    """Return the client file of a host's profile."""
    console.phase(f"asking {remote.spec.name}")
    with remote:
        return remote_profile.client_file(remote, remote_profile.look(remote), name)


def _make_folders(into: Profile) -> None:
    for folder in (into.path, into.path / "pid", into.path / "security"):
        folder.mkdir(mode=0o755 if folder == into.path else 0o700, parents=True, exist_ok=True)


@contextlib.contextmanager
def _gone_at_end(profile: Path) -> Iterator[None]:
    """Remove the record at the end; the ports in it are asked for again only after an end that was none."""
    try:
        yield
    finally:
        connect_state.STORE.save(profile, None)
