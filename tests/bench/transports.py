"""Runs on a master: ``python -m tests.bench.transports ours|fabric HOST...``. Work on all hosts at once.

Each host is logged in to, runs ``true``, is given 100 KB and runs five commands more. Printed as JSON
are the seconds of the imports and of the work, and the processor seconds that the work has cost this
machine, ssh's processes with it.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_CONTENT = bytes(range(256)) * 400
_PATH = "bench.of-transport"
_COMMANDS = 5
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


def _ours() -> Callable[[str], None]:
    from cncp.config.inventory import HostSpec
    from cncp.ssh.connection import Remote

    def work(name: str) -> None:
        with Remote(HostSpec(name)) as host:
            host.run(["true"])
            host.put(_CONTENT, _PATH)
            for _ in range(_COMMANDS):
                host.run(["true"])

    return work


def _fabric() -> Callable[[str], None]:
    from fabric import Connection

    def work(name: str) -> None:
        with Connection(name) as host:
            host.run("true", hide=True)
            host.put(io.BytesIO(_CONTENT), _PATH)
            for _ in range(_COMMANDS):
                host.run("true", hide=True)

    return work


def main() -> int:
    """Work, and say what it took."""
    began = time.monotonic()
    work = {"ours": _ours, "fabric": _fabric}[sys.argv[1]]()
    imported = time.monotonic() - began
    # Connections that ssh keeps in the background become ours to wait for, and so does their time.
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    names = sys.argv[2:]
    used, began = _used(), time.monotonic()
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(work, names))
    seconds = time.monotonic() - began
    _reap()
    print(json.dumps({"imports": imported, "seconds": seconds, "processor": _used() - used}))
    return 0


def _reap() -> None:
    """Wait for all that is left of our processes."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


def _used() -> float:
    """Return the processor time of this process and of all those it has waited for."""
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    sys.exit(main())
