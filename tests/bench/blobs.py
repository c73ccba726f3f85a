"""Point `blobs`: parts of images to many nodes at once, beside Python's own server of files."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cncp import ports
from cncp.waiting import wait_until
from tests.bench import ROOT, processes
from tests.bench.results import Row
from tests.bench.start import Options
from tests.netboot.loopback_site import Site

_CLIENTS = 64
_SIZE = 16 << 20  # bytes
_PATIENCE = 60.0  # s


def blobs(options: Options) -> list[Row]:
    """Measure the time until all of 64 clients have a blob, and what the server's memory came to.

    The clients are one process, which reads and throws away: it is the same for both. That server lets few connections
    wait, so that some of its time is that of clients that try again.
    """
    against = "python -m http.server"
    took = Row("blobs", f"{_CLIENTS} clients, {_SIZE >> 20} MB each", "s", against)
    memory = Row("blobs", "memory of the server", "MB", against)
    for _ in range(options.repetitions):
        took.busy.append(processes.wait_for_quiet(options.patience))
        with tempfile.TemporaryDirectory() as folder:
            content = Path(folder) / "blob"
            content.write_bytes(os.urandom(_SIZE))
            with _cidd(Path(folder), content) as (port, target, pid):
                took.ours.append(_fetched(port, target))
                memory.ours.append(processes.peak(pid))
            with _plain(Path(folder)) as (port, target, pid):
                took.theirs.append(_fetched(port, target))
                memory.theirs.append(processes.peak(pid))
    return [took, memory]


@contextmanager
def _cidd(folder: Path, content: Path) -> Iterator[tuple[int, str, int]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "bootstrap"))
        (folder / "cidd").mkdir()
        site = Site(folder / "cidd")
        try:
            with content.open("rb") as source:
                blob = site.place.images().add_blob("root", source)
            yield site.ports[1], f"/v1/blobs/{blob.sha256}", site.cidd.pid
        finally:
            site.end()


@contextmanager
def _plain(folder: Path) -> Iterator[tuple[int, str, int]]:
    port = ports.free_block(1)[0]
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            assert wait_until(lambda: not ports.is_free(port), _PATIENCE)
            yield port, "/blob", server.pid
        finally:
            server.terminate()


def _fetched(port: int, target: str) -> float:
    """Return the seconds until all clients have all of it."""
    began, left = time.monotonic(), dict[socket.socket, int]()
    with selectors.DefaultSelector() as ready:
        for _ in range(_CLIENTS):
            client = socket.create_connection(("127.0.0.1", port), _PATIENCE)
            client.sendall(f"GET {target} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
            ready.register(client, selectors.EVENT_READ)
            left[client] = _SIZE
        while left:
            for key, _ in ready.select(_PATIENCE):
                client = key.fileobj  # type: ignore[assignment]  # what was registered
                if block := client.recv(1 << 20):
                    left[client] -= len(block)
                    continue
                # With the headers it was more than the content.
                assert left.pop(client) < 0
                ready.unregister(client)
                client.close()
    return time.monotonic() - began
