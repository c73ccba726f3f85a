"""What a user is told at the end of the main job on one machine, and for how long it was waited for."""

from __future__ import annotations

import os
import time

from cncp import pidfile
from cncp.errors import plural
from cncp.machine.node import Node, kept_by
from cncp.machine.ops.apply import MachineReport


def elapsed() -> float:
    """Return seconds since the user began to wait: in baremetal.sh, or with this process."""
    try:
        return max(0.0, time.time() - float(os.environ["CNCP_BEGAN"]))
    except (KeyError, ValueError):
        # Both count from the boot. The time of day at the boot is known to the second only.
        return time.clock_gettime(time.CLOCK_BOOTTIME) - pidfile.started(os.getpid()) / os.sysconf("SC_CLK_TCK")


def count(node: Node, answering: int) -> str:
    """Say what was seen: only the controller's machine knows which engines answer."""
    if not node.engines:
        return "the controller answers"
    return f"{answering}/{node.engines} engines answer" if node.controller else f"{plural(node.engines, 'engine')} run"


def lines(node: Node, report: MachineReport) -> list[str]:
    """Return it in lines."""
    seen = count(node, len(report.answering))
    return [
        *([] if report.changed else ["nothing to change"]),
        f"{seen} · profile {report.profile} · {kept_by(report.service_manager, report.scope)} · {elapsed():.1f} s",
        *([f"jupyter: {report.jupyter} · cncp jupyter.open"] if report.jupyter else []),
    ]


def document(report: MachineReport) -> dict[str, object]:
    """Return it as JSON types."""
    return {**report.to_json(), "elapsed": round(elapsed(), 2)}
