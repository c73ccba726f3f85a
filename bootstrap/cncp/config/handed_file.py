"""A cluster.toml for the controller's machine, where that is another and has all of the cluster."""

from __future__ import annotations

import re
from pathlib import Path

from cncp.config import pool_tables, sources
from cncp.errors import UsageError

FILES = ("requirements", "environment")
"""Settings that name files of the machine where the file is; they are brought, and named there as options."""

_LEFT_OUT = ("controller", *FILES)
_LINE = re.compile(rf"""\s*(["']?)({"|".join(_LEFT_OUT)})\1\s*=""")
_TABLE = re.compile(r"^\s*\[", re.MULTILINE)


def handed(path: Path) -> str:
    """Return the text of a file without who has the controller, and without FILES. Raises UsageError."""
    content = pool_tables.content_of(path, sources.READABLE)
    first = _TABLE.search(content)
    end = first.start() if first else len(content)
    lines = content[:end].splitlines(keepends=True)
    text = "".join(line for line in lines if not _LINE.match(line)) + content[end:]
    loads = sources.toml_reader().loads
    rest = {key: value for key, value in loads(content).items() if key not in _LEFT_OUT}
    try:
        same = loads(text) == rest
    except ValueError:
        same = False
    if not same:
        raise UsageError(
            f"{path}: what the controller's machine is not to read cannot be left out",
            f"write {', '.join(_LEFT_OUT)}, where they are set, each in a line of its own at the top",
        )
    return text
