"""The table ``[rendezvous]`` of cluster.toml: where machines find the cluster that come by themselves.

    [rendezvous]
    store = "s3://lab-bucket/cncp"         # or swift:// gs:// az:// file:///shared; the controller's machine without
    endpoint = "https://s3.example.org"    # of an object store that is not Amazon's
    cloud = "griffin"                      # of swift://: a name in clouds.yaml
    region = "eu-central-1"
    credentials = "~/.config/lab-store"    # a file with NAME=VALUE words, yours alone
    poll = 60                              # s between questions of members
    orphan = 900                           # s without lease and controller, after which they end their engines

Standard library only: it is checked before there is a virtualenv.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cncp.errors import UsageError

TABLE = "rendezvous"

_FORMS: Mapping[str, str] = {
    "s3": r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
    "gs": r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]",
    "az": r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]",
    "swift": r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}",
}
"""What buckets and containers are called, by scheme."""

_OPTIONS = ("endpoint", "region", "credentials", "cloud")


@dataclass(frozen=True)
class RendezvousTable:
    """What the table says; "" where it says nothing.

    Members ask each ``poll`` s, and end their engines after ``orphan`` s without a word; 0 is the default.
    """

    store: str = ""
    endpoint: str = ""
    region: str = ""
    credentials: str = ""
    cloud: str = ""
    poll: int = 0
    orphan: int = 0

    def options(self) -> dict[str, str]:
        """Return what opens the store beside its URL."""
        return {name: value for name in _OPTIONS if (value := getattr(self, name))}

    def times(self) -> dict[str, int]:
        """Return the times that are set."""
        return {name: value for name in ("poll", "orphan") if (value := getattr(self, name))}


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError("a text")  # noqa: TRY004  # as the others say it
    return raw


def _store(raw: str) -> str:
    parts = urlsplit(raw)
    path = parts.path.strip("/")
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/") and path:
        return raw
    bucket = "" if parts.query or parts.fragment else _FORMS.get(parts.scheme, "")
    if (
        bucket
        and re.fullmatch(bucket, parts.netloc)
        and re.fullmatch(r"([a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*)*)?", path)
    ):
        return f"{parts.scheme}://{parts.netloc}" + (f"/{path}" if path else "")
    raise ValueError("s3://BUCKET/PREFIX, swift:// gs:// or az:// so, or file:///FOLDER, in small letters")


def _endpoint(raw: str) -> str:
    parts = urlsplit(raw)
    if parts.scheme in ("http", "https") and parts.hostname and not parts.username and not parts.query:
        return raw
    raise ValueError("a URL such as https://s3.example.org, without a password")


def _region(raw: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", raw):
        return raw
    raise ValueError("a name such as eu-central-1")


def _cloud(raw: str) -> str:
    if re.fullmatch(r"[^\x00-\x1f]{1,200}", raw):
        return raw
    raise ValueError("a name in clouds.yaml")


def _file(raw: str) -> str:
    if raw and not re.search(r"[\x00-\x1f]", raw):
        return raw
    raise ValueError("the path of a file")


def _seconds(low: int, high: int) -> Callable[[Any], int]:
    def parse(raw: Any) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise ValueError(f"a whole number of seconds from {low} to {high}")
        return raw

    return parse


_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "store": lambda raw: _store(_text(raw)),
    "endpoint": lambda raw: _endpoint(_text(raw)),
    "region": lambda raw: _region(_text(raw)),
    "credentials": lambda raw: _file(_text(raw)),
    "cloud": lambda raw: _cloud(_text(raw)),
    "poll": _seconds(1, 3600),
    "orphan": _seconds(10, 7 * 86400),
}


def parse(table: Any, origin: str, folder: Path) -> RendezvousTable:
    """Read the table; paths in it are taken from ``folder``. Raises UsageError."""
    where = f"{origin} {TABLE}"
    if not isinstance(table, dict):
        raise UsageError(f"{where} is no table", "begin it with [rendezvous]")
    found: dict[str, Any] = {}
    for key, raw in table.items():
        if key not in _PARSERS:
            close = difflib.get_close_matches(key, _PARSERS, 1)
            names = ", ".join(field.name for field in fields(RendezvousTable))
            raise UsageError(
                f"{where}: there is no {key!r}", f"did you mean {close[0]}?" if close else f"there are: {names}"
            )
        try:
            found[key] = _PARSERS[key](raw)
        except ValueError as error:
            raise UsageError(f"{where}: {key} = {raw!r} is not possible", f"{key} must be {error}") from None
    if "credentials" in found:
        found["credentials"] = str(folder / os.path.expanduser(found["credentials"]))
    made = RendezvousTable(**found)
    scheme = made.store.partition("://")[0]
    foreign = "endpoint" if scheme == "swift" else "cloud"
    if scheme in _FORMS and foreign in found:
        raise UsageError(
            f"{where}: {foreign} is nothing that {scheme}:// has",
            "clouds.yaml says where a Swift is; other stores are found by endpoint and region",
        )
    if made.options() and scheme not in _FORMS:
        raise UsageError(
            f"{where}: {next(iter(made.options()))} is of an object store, and store names none",
            'add store = "s3://BUCKET/PREFIX", or leave it out',
        )
    return made
