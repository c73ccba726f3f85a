"""When engines are usable: a real ipyparallel.Client in this process has had an answer from each."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import ipyparallel

_STEP = 0.01  # seconds between two looks: what a time can be wrong by


class NotUsable(Exception):
    """The engines did not answer in time."""


def wait(connection_file: Path, engines: int, timeout: float = 120.0) -> None:
    """Return as soon as ``engines`` engines have each run a task. Raises NotUsable."""
    deadline = time.monotonic() + timeout
    while not _listens(connection_file):
        _pause(deadline, "no controller listens")
    client = ipyparallel.Client(str(connection_file), timeout=timeout)
    try:
        while (answered := _answered(client, engines, timeout)) == 0:
            _pause(deadline, f"{len(client.ids)} of {engines} engines are registered")
        if answered != engines:
            raise NotUsable(f"{answered} of {engines} engines answered")
    finally:
        client.close()


def _answered(client: ipyparallel.Client, engines: int, timeout: float) -> int:
    """Return how many have answered, 0 where there are not enough, or one has ended meanwhile."""
    if len(client.ids) < engines:
        return 0
    # Of two tasks for each engine, to be answered by as many processes; hosts may use a number twice.
    asked = [client[:].apply_async(task) for task in (socket.gethostname, os.getpid)]
    try:
        return len(set(zip(*(result.get(timeout=timeout) for result in asked), strict=True)))
    except ipyparallel.error.CompositeError:
        # After new keys the controller still has the engine of before, until its successor comes.
        return 0


def _listens(connection_file: Path) -> bool:
    """Tell whether the controller of a connection file, which may be an old one, can be reached."""
    try:
        content = json.loads(connection_file.read_text())
        with socket.create_connection(("127.0.0.1", content["registration"]), timeout=1):
            return True
    except (OSError, ValueError):
        return False


def _pause(deadline: float, lacking: str) -> None:
    if time.monotonic() > deadline:
        raise NotUsable(lacking)
    time.sleep(_STEP)
