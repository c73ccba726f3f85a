"""The record a service leaves at its start: which process it is and what it was started with."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from cncp.files import to_json


def write(run_dir: Path, name: str, digest: str) -> None:
    """Write ``NAME.json``: pid, start time (which tells a reused pid apart) and digest.

    Not synced to the disk: after a power cut the process is gone as well.
    """
    content = {"pid": os.getpid(), "created": psutil.Process().create_time(), "digest": digest}
    path = run_dir / f"{name}.json"
    beside = path.with_suffix(".json.new")
    beside.write_bytes(to_json(content))
    beside.replace(path)
