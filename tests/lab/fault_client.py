"""Runs on a lab host: one client that lives through a fault and says how long it lasted.

``python fault_client.py FAULT``: makes a client, causes the fault, asks all engines until they
answer that same client again, and prints what it saw as JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ipyparallel
import psutil

HOME = Path.home() / ".local/share/cncp"
SECURITY = Path.home() / ".ipython/profile_cncp/security"
LIMIT = 60.0


def record(name: str) -> int:
    """Return the process id of a service."""
    return int(json.loads((HOME / "run" / f"{name}.json").read_text())["pid"])


def ask(client: Any) -> dict[int, int] | None:
    """Have every engine compute, for a moment; None while that fails."""
    try:
        ids = sorted(client.ids)
        return dict(zip(ids, client[ids].apply_async(os.getpid).get(timeout=1), strict=True))
    except Exception:  # noqa: BLE001  # whatever a client throws at a user in such a moment
        return None


def keys() -> dict[str, str]:
    """Digest the key files."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(SECURITY.glob("*.json"))}


def victims(fault: str) -> list[int]:
    """Return the processes that a fault kills."""
    if fault.startswith("engine"):
        return [record("engine-1")]
    controller = psutil.Process(record("controller"))
    children = sorted(child.pid for child in controller.children())
    if fault == "controller":
        return [controller.pid, *children]
    if fault == "parent":
        return [controller.pid]
    return [children[int(fault.removeprefix("child-"))]]


def main(fault: str) -> None:
    """Cause the fault and tell what became of it."""
    client = ipyparallel.Client(profile="cncp", timeout=20)
    began = time.monotonic()
    while (before := ask(client)) is None and time.monotonic() - began < LIMIT:
        pass
    ready = time.monotonic() - began
    known = keys()
    controller = record("controller")
    gone = victims(fault)
    began = time.monotonic()
    for pid in gone:
        # The children go with their parent, and may be gone before their turn.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    took = LIMIT
    after = None
    while time.monotonic() - began < LIMIT:
        after = ask(client)
        # Whoever answered must not be what is about to be replaced.
        replaced = fault.startswith("engine") or record("controller") != controller
        if replaced and after and before and sorted(after) == sorted(before) and not set(gone) & set(after.values()):
            took = time.monotonic() - began
            break
    print(json.dumps({"before": before, "after": after, "took": took, "ready": ready, "same_keys": keys() == known}))


if __name__ == "__main__":
    main(sys.argv[1])
