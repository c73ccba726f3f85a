"""A control group for every host, so that two hosts never share one.

systemd-nspawn with ``--keep-unit`` builds its groups below the one it was
started in. Two hosts started from the same group would both build the group
``payload``, and each systemd would take the other's services for its own. A
group for each host also names every process in it, which is what a power cut
and the sweep after a crash need.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from .process import kill_all

TOP = "cncp-lab"

# Joins each group named before the command, then becomes the command. A shell
# does it because a Python function between fork and exec is unsafe with threads.
# "0" is the kernel's word for the process that writes.
_JOIN = (
    'count=$1; shift; while [ "$count" -gt 0 ]; do echo 0 > "$1/cgroup.procs"; '
    'shift; count=$((count - 1)); done; exec "$@"'
)

# Shows the command a machine with version 2 alone, whatever this one has: that is
# what every supported release boots with, and newer systemds refuse the rest.
_ONLY_V2 = 'mount --bind "$1" /sys/fs/cgroup && shift && exec "$@"'


def hierarchies() -> dict[str, Path]:
    """Where systemd keeps its groups, by the name that /proc/PID/cgroup gives.

    These are the cgroup2 mount ("") and the one of version 1 that has no
    controllers ("name=systemd"), whichever of them this machine has.
    """
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        if not Path(where, "cgroup.procs").exists():
            continue  # hidden by a later mount
        if kind == "cgroup2":
            found.setdefault("", Path(where))
        elif kind == "cgroup" and "name=systemd" in options.split(","):
            found.setdefault("name=systemd", Path(where))
    return found


def joining(paths: Sequence[Path], argv: Sequence[str]) -> list[str]:
    """Build the command that joins the groups and then runs ``argv`` in its place."""
    return ["sh", "-c", _JOIN, "sh", str(len(paths)), *(str(path) for path in paths), *argv]


def seeing_v2(argv: Sequence[str]) -> list[str]:
    """Build the command that runs ``argv`` with the cgroup2 hierarchy as the only one in sight."""
    unified = hierarchies().get("")
    if unified is None or unified == Path("/sys/fs/cgroup"):
        return list(argv)
    unshare = ["unshare", "--mount", "--propagation=slave", "--"]
    return [*unshare, "sh", "-c", _ONLY_V2, "sh", str(unified), *argv]


def groups_of(pid: int) -> list[Path]:
    """List the groups that a process is in, in the hierarchies that systemd uses."""
    tops = hierarchies()
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, name, path = line.split(":", 2)
        if name in tops:
            found.append(tops[name] / path.lstrip("/"))
    return found


class Group:
    """The control group ``cncp-lab/<name>`` in every hierarchy systemd uses."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def paths(self) -> list[Path]:
        """The group's folder in each hierarchy."""
        return [top / TOP / self.name for top in hierarchies().values()]

    def create(self) -> None:
        """Make the group, with the controllers that can be handed on to it."""
        for path in self.paths:
            path.mkdir(parents=True, exist_ok=True)
            for parent in reversed(path.parents[: len(Path(self.name).parts)]):
                _hand_on_controllers(parent)

    def pids(self) -> set[int]:
        """Every process in the group and below it."""
        found: set[int] = set()
        for path in self.paths:
            # os.walk goes on where a group ends while it looks; Path.rglob does not.
            for folder, _, _ in os.walk(path):
                with contextlib.suppress(OSError):
                    found.update(int(word) for word in Path(folder, "cgroup.procs").read_text().split())
        return found - {0}

    def kill(self) -> None:
        """SIGKILL everything in the group, until nothing is left."""
        while pids := self.pids():
            kill_all(pids)

    def remove(self) -> None:
        """Remove the group and those below; one that is still in use stays."""
        for path in self.paths:
            for folder in _deepest_first(path):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _deepest_first(path: Path) -> Iterator[Path]:
    """Yield the folder and all below it, children before parents."""
    if path.is_dir():
        folders = [entry for entry in path.rglob("*") if entry.is_dir()]
        yield from sorted(folders, key=lambda entry: len(entry.parts), reverse=True)
        yield path


def _hand_on_controllers(group: Path) -> None:
    """Let the children of ``group`` have memory, cpu and pids limits (cgroup2 only).

    Without it MemoryMax and the like inside a host are accepted and do nothing.
    """
    control = group / "cgroup.subtree_control"
    if not control.exists():
        return
    there = (group / "cgroup.controllers").read_text().split()
    for name in ("cpu", "memory", "pids", "io"):
        if name in there:
            with contextlib.suppress(OSError):  # busy, or not ours to hand on
                control.write_text(f"+{name}")
