"""How large `cncp scale` has made pools: kept in our folder, and as good as the file says until that says otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cncp.errors import UsageError
from cncp.files import make_home, read_shape, to_json, write_atomic
from cncp.pools.base import Pool

_STORED = {"counts": dict[str, dict[str, Any]]}


def _path(home: Path) -> Path:
    return home / "pools.json"


def _kept(home: Path) -> dict[str, dict[str, Any]]:
    stored: dict[str, dict[str, Any]] = (read_shape(_path(home), _STORED) or {"counts": {}})["counts"]
    return stored


def keep(pool: Pool) -> None:
    """Have a pool be as large as it is now from here on, until the file says another number."""
    counts = {**_kept(pool.home), pool.name: {"count": pool.count, "written": pool.written}}
    make_home(pool.home)
    write_atomic(_path(pool.home), to_json({"counts": counts}), 0o600)


def restore(pools: Sequence[Pool], home: Path) -> None:
    """Have pools be as large as was kept, where the file says what it said then."""
    scalable = [pool for pool in pools if pool.count is not None]
    counts = _kept(home) if scalable else {}
    for pool in scalable:
        kept = counts.get(pool.name, {})
        # What is not possible any more is not wanted any more.
        with contextlib.suppress(UsageError):
            if "count" in kept and kept.get("written") == pool.written:
                pool.scale(kept["count"])
