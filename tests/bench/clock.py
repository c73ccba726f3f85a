"""Runs on a master: ``python -m tests.bench.clock FILE ENGINES TIMEOUT COMMAND...``.

Starts a command that starts a cluster and prints, as JSON, the seconds until a client of the
connection file FILE has had an answer from every engine, and until the command returned. A command
that goes on for as long as its cluster (``--leave``) is left running, and FILE is its to write.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import usable


def main() -> int:
    """Start, wait, say how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--leave", action="store_true")
    parser.add_argument("file", type=Path)
    parser.add_argument("engines", type=int)
    parser.add_argument("timeout", type=float)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.leave:
        # What an earlier cluster has left would be taken for the new one's.
        given.file.unlink(missing_ok=True)
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(
            given.command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            usable.wait(given.file, given.engines, given.timeout)
            ready = time.monotonic() - began
            status = 0 if given.leave else process.wait()
            reason = f"exited with {status}"
        except usable.NotUsable as error:
            process.terminate()
            status, reason = 1, str(error)
        returned = time.monotonic() - began
        if status:
            said.seek(0)
            sys.exit(f"{reason}:\n{said.read().decode(errors='replace')[-2000:]}")
    print(json.dumps({"usable": ready, "returned": returned}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
