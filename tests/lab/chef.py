"""The Chef of this machine, to lend to hosts and images that are to have one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from .command import run


@dataclass(frozen=True)
class Chef:
    """``program`` in the folder ``tree``, which runs with Debian's ``packages`` where it has no Ruby of its own."""

    program: Path
    tree: Path
    packages: tuple[str, ...]

    @property
    def link(self) -> Path:
        """Where the program is found."""
        return Path("/usr/local/bin", self.program.name)


def to_lend() -> Chef:
    """Return what this machine has; skip the test where it has none."""
    found = shutil.which("cinc-solo") or shutil.which("chef-solo")
    if found is None:
        pytest.skip("there is neither cinc-solo nor chef-solo on PATH")
    program = Path(found).resolve()
    listed = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", "ruby*"], check=False).stdout
    packages = (line.split()[0] for line in listed.splitlines() if line.endswith(" installed"))
    return Chef(program, program.parents[1], tuple(sorted(packages)))
