"""A package of somebody else's, as pip would have installed it: modules, and entry points in a dist-info."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from cncp.config.sources import SOURCE


def install(folder: Path, name: str, modules: Mapping[str, str], points: Mapping[str, Mapping[str, str]]) -> None:
    """Put a package into a folder of packages. ``modules`` has sources by name, ``points`` entry points by group."""
    folder.mkdir(parents=True, exist_ok=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{kind} = {value}\n" for kind, value in table.items())
        for group, table in points.items()
    ]
    (information / "entry_points.txt").write_text("\n".join(lines))


def python_of(page: str) -> list[str]:
    """Return the blocks of Python on a page of the documents: what is shown is what is tried."""
    text = (SOURCE / page).read_text(encoding="utf-8")
    found = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found]
