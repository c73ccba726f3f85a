"""Engines that are not to compute for a while, on a machine that has joined; no rights of root's are needed.

A mark in the folder ``run`` has an engine's service wait before it begins, whatever keeps it; engines that run are
ended, which their service managers answer with a new start.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from cncp.files import write_atomic
from cncp.machine.node import Node
from cncp.machine.ops import busy_engines
from cncp.machine.parking_mark import mark
from cncp.machine.services.base import running_process
from cncp.rendezvous.member_record import Membership


def settle(node: Node, known: Membership, *, anew: bool) -> None:
    """Have the engines compute or wait as is known; begin those ``anew`` that are to read new keys."""
    file, engines = mark(node.run_dir), [f"engine-{number}" for number in node.engine_ids]
    if known.parked and not file.exists():
        write_atomic(file, known.why.encode(), 0o600)
        engines = [] if known.state == "drained" else engines
    elif not known.parked:
        file.unlink(missing_ok=True)
        engines = engines if anew else []
    elif known.state == "drained":
        # Those that have come to their end; who waits already is not at work.
        busy = busy_engines.busy(node)
        engines = [name for name in engines if name not in busy and not _waits(node, name)]
    else:
        return
    for name in engines:
        _end(node, name)


def _waits(node: Node, name: str) -> bool:
    """Tell whether an engine's service was begun after the mark was made."""
    process = running_process(node, name)
    with contextlib.suppress(OSError):
        return not process.pid or Path(f"/proc/{process.pid}").stat().st_ctime > mark(node.run_dir).stat().st_ctime
    return True


def _end(node: Node, name: str) -> None:
    pid = running_process(node, name).pid
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
