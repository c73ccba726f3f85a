"""bundle.*: installing where no network is."""

from __future__ import annotations

import os
from pathlib import Path

from invoke.context import Context

from cncp.console import Console
from cncp.install import bundle_reader
from cncp.release import bundle
from cncp.tasks.task import command


@command(
    {
        "output": "file to write",
        "platforms": "list: manylinux_2_28_x86_64,manylinux_2_28_aarch64 (or x86_64,aarch64); this machine's without",
        "pythons": "list: 3.11,3.13; this Python's version without",
        "jupyter": "hold what --jupyter=true needs as well",
        "engines_only": "hold only what machines need that have engines alone, such as those that join",
    }
)
def make(
    context: Context,
    output: str = "dist/cncp.tar",
    platforms: str = "",
    pythons: str = "",
    jupyter: bool = False,
    engines_only: bool = False,
) -> None:
    """Write one file with code and wheels, for: bash ./baremetal.sh --offline FILE."""
    path = Path(output)
    names = bundle.make(path, platforms, pythons, os.environ, jupyter=jupyter, engines_only=engines_only)
    console = Console()
    digest = bundle_reader.sha256(path)
    console.say(f"{path}: {len(names)} wheels, {path.stat().st_size / 1e6:.0f} MB, SHA-256 {digest}")
    role = " --role engine" if engines_only else ""
    console.say(f"next, on a machine that reaches nothing: bash ./baremetal.sh --offline {path.name}{role}")
    console.say(f"    that nobody exchanges it on the way: --offline-digest {digest}")


__all__ = ["make"]
