"""A cluster.toml made from settings and hosts, and held to be read back as the same."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cncp.config import sources
from cncp.config.host_way import OF_SSH
from cncp.config.hostlist import fold
from cncp.config.inventory import LOCAL, HostSpec, Inventory
from cncp.errors import CncpError, UsageError
from cncp.files import write_atomic

REQUIREMENTS = "requirements.txt"
"""The one file that a cluster.toml of ours may name."""


def value(scalar: Any) -> str:
    """Return a string, number or switch as TOML writes it."""
    if isinstance(scalar, bool):
        return str(scalar).lower()
    if isinstance(scalar, int):
        return str(scalar)
    # A basic string of TOML is one of JSON, but for DEL and for halves of surrogates.
    return json.dumps(str(scalar), ensure_ascii=False).replace("\x7f", "\\u007f")


def comment(text: str) -> str:
    """Return one line of comment, whatever the text holds."""
    return "# " + re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text).strip()


def lines(settings: Mapping[str, object], hosts: Inventory | None, comments: Iterable[str] = ()) -> Iterator[str]:
    """Yield the lines of a cluster.toml; hosts that are alike become one pool."""
    yield from map(comment, comments)
    for key, setting in settings.items():
        yield f"{key} = {value(setting)}"
    if hosts is None:
        return
    if hosts.controller.name != LOCAL:
        plain = next((host for host in hosts.hosts if host.name == hosts.controller.name), None)
        yield f"controller = {value(written(hosts.controller) if plain is None else hosts.controller.name)}"
    pools: dict[str, list[HostSpec]] = {}
    for host in hosts.hosts:
        pools.setdefault(json.dumps(_own(host), sort_keys=True), []).append(host)
    for pool in pools.values():
        yield ""
        yield "[[pool]]"
        yield f"hosts = [{', '.join(value(name) for name in fold(host.name for host in pool))}]"
        for key, setting in _own(pool[0]).items():
            yield f"{key} = {value(setting)}"


def _own(spec: HostSpec) -> dict[str, object]:
    plain = HostSpec(spec.name)
    ways = {key: getattr(spec, key) for key in OF_SSH if getattr(spec, key) != getattr(plain, key)}
    return {**spec.settings, **ways}


def written(spec: HostSpec) -> str:
    """Return a host as it stands in a list of names."""
    return (f"{spec.user}@" if spec.user else "") + spec.name + (f":{spec.port}" if spec.port else "")


def checked(content: str) -> str:
    """Return the content of a cluster.toml that cncp accepts. Raises UsageError."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        path = Path(folder) / "cluster.toml"
        path.write_text(content, encoding="utf-8")
        settings, hosts = sources.read(path)
        named = str(settings.get("requirements", "none"))
        if named not in ("none", str(path.with_name(REQUIREMENTS))) and "://" not in named:
            raise UsageError(f"{path}: {named!r} is a file of another machine", "leave requirements out")
        former = sources.Kept({})
        sources.for_controller(file=path, environment={}, flags={}, former=former)
        for host in hosts.hosts if hosts else ():
            sources.for_host(host, file=path, environment={}, flags={}, former=former)
    return content


def save(files: Mapping[Path, str], *, force: bool) -> None:
    """Write files, all or none; what is there is replaced only with ``force``. Raises UsageError, CncpError."""
    for path in files:
        if path.is_dir():
            raise UsageError(f"{path} is a folder", "name a file in it with --output")
        if (path.exists() or path.is_symlink()) and not force:
            raise UsageError(f"{path} exists", "name another file with --output, or replace it with --force")
    for path, content in files.items():
        try:
            write_atomic(path, content.encode(), 0o644)
        except OSError as error:
            raise CncpError(f"{path} cannot be written: {error.strerror}", "name another with --output") from None
