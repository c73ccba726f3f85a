"""``python -m cncp.remote serve KIND [INSTANCE] --node FILE --digest DIGEST``: the command of every service."""

from __future__ import annotations

import sys

from cncp import inheritance

# First of all: it may execute this program again, and what is imported before is imported twice.
inheritance.begin(sys.argv[1:])

import argparse  # noqa: E402  # after the above
import contextlib  # noqa: E402
import gc  # noqa: E402
import importlib  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from cncp import pidfile  # noqa: E402
from cncp.ipp.engine_uuid import uuid_of  # noqa: E402
from cncp.machine import parking_mark  # noqa: E402
from cncp.machine.node import installed  # noqa: E402
from cncp.machine.services.kinds import KINDS, join, known  # noqa: E402
from cncp.machine.services.manager_traits import traits  # noqa: E402
from cncp.machine.services.processes import leavings  # noqa: E402
from cncp.serve.log_files import note_end  # noqa: E402


def imported(module: str) -> Any:
    """Import what a service is made of, for good: to look for garbage meanwhile, and ever after in it, finds none."""
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    """Run the service until it is stopped."""
    parser = argparse.ArgumentParser(prog="cncp.serve")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("instance", nargs="?", default="")
    parser.add_argument("--node", type=Path, required=True)
    parser.add_argument("--digest", required=True)
    given = parser.parse_args()
    node = installed(given.node.parent)
    name = join(given.kind, given.instance)
    if not known(name):
        parser.error(f"there is no service {name}")
    if not traits(node).ends_all:
        # The ports and the memory that this service needs may be held by what its predecessor has started.
        for pid in leavings(node, [name]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if given.kind == "engine":
        # Before it takes any memory.
        parking_mark.wait(node.run_dir)
    uuid = uuid_of(node.host, int(given.instance), os.getpid()) if given.kind == "engine" else ""
    pidfile.write(node.run_dir, name, given.digest, uuid)
    try:
        service = imported(KINDS[given.kind].module or f"cncp.serve.{given.kind}")
        if given.kind == "engine":
            # Only the setting `environment` can have put it there; Python, started isolated, does not read it. What
            # is in the virtualenv comes first.
            sys.path.extend(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
            service.serve(node, int(given.instance), uuid)
        else:
            service.serve(node, *filter(None, [given.instance]))
    except Exception as error:
        note_end(node, name, error)
        raise


if __name__ == "__main__":
    # As units, crontabs and configurations of earlier versions have it.
    main()
