"""What a machine must have to run a lab."""

from __future__ import annotations

import os
import shutil

from .cgroup import hierarchies

#: The programs the lab runs, all from the packages in apt.txt.
PROGRAMS = ("systemd-nspawn", "mmdebstrap", "ip", "ssh", "ssh-keygen", "git", "nsenter")


def missing() -> list[str]:
    """List what this machine lacks to run a lab, in sentences; empty when it lacks nothing."""
    lacks = [] if os.geteuid() == 0 else ["the lab needs root"]
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        lacks.append(f"not installed: {', '.join(absent)} (see tests/lab/apt.txt)")
    if os.geteuid() == 0 and not any(os.access(top, os.W_OK) for top in hierarchies().values()):
        lacks.append("no control groups can be made here (a container without privileges?)")
    return lacks
