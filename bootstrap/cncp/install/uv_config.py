"""uv's own configuration files: what of them says where packages come from, and nothing else.

Sources as in uv's documentation ("Configuration files"): the user's file counts for more than the
system's; a file that UV_CONFIG_FILE names is the only one. Those of a project are none of ours. The
rest of them is for the user's own projects: a cut-off date, constraints, how files are linked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cncp.config import sources
from cncp.process import CommandError, run
from cncp.surroundings import PYTHON

_KEYS = (
    *("index", "index-url", "extra-index-url", "find-links", "no-index", "index-strategy", "keyring-provider"),
    *("allow-insecure-host", "native-tls", "system-certs", "http-proxy", "https-proxy", "no-proxy"),
)

_BY_PIP = (
    "import json, sys; from pip._vendor import tomli; print(json.dumps(tomli.loads(sys.stdin.read()), default=str))"
)
"""For Python 3.10, which has no reader of TOML, by one that has pip."""


def read(environment: Mapping[str, str], python: str) -> dict[str, Any]:
    """Return the settings that count, weakest files first; ``python`` is one that has pip."""
    found: dict[str, Any] = {}
    for path in _files(environment):
        try:
            values = _loads(path.read_text(encoding="utf-8"), python)
        except (OSError, ValueError, RecursionError, CommandError):
            # uv would refuse the file; for us there is nothing in it.
            continue
        inner = values.get("pip")
        for level in (values, inner if isinstance(inner, dict) else {}):
            found.update({key: _whole(value, path.parent) for key, value in level.items() if key in _KEYS})
    return found


def _files(environment: Mapping[str, str]) -> list[Path]:
    if environment.get("UV_NO_CONFIG"):
        return []
    named = environment.get("UV_CONFIG_FILE")
    if named:
        return [Path(named)]
    configured = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "/") / ".config")
    shared = [Path(folder) for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if folder]
    system = [path for folder in (*shared, Path("/etc")) if (path := folder / "uv" / "uv.toml").is_file()][:1]
    return [candidate for candidate in (*system, configured / "uv" / "uv.toml") if candidate.is_file()]


def _loads(text: str, python: str) -> dict[str, Any]:
    toml = sources.toml_reader()  # the one place that knows which readers there are
    made = (
        toml.loads(text) if toml else json.loads(run([python, *PYTHON, "-c", _BY_PIP], input=text, timeout=60).stdout)
    )
    return dict(made)


def _whole(value: Any, folder: Path) -> Any:
    """Return a value with paths that are relative to its file made absolute."""
    if isinstance(value, str) and value.startswith(("./", "../")):
        return os.path.normpath(folder / value)
    if isinstance(value, list):
        return [_whole(member, folder) for member in value]
    if isinstance(value, dict):
        return {key: _whole(member, folder) for key, member in value.items()}
    return value


def written(settings: Mapping[str, Any]) -> str:
    """Return settings as TOML: strings, switches, lists of strings, and lists of tables of these."""
    tables = {key: value for key, value in settings.items() if _of_tables(value)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if key not in tables]
    for key, entries in tables.items():
        for entry in entries:
            lines += [f"[[{key}]]", *(f"{name} = {json.dumps(value)}" for name, value in entry.items())]
    return "".join(f"{line}\n" for line in lines)


def _of_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(table, dict) for table in value)
