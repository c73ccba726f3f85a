"""The variables that engines get by the setting ``environment``: in a file of their own, as they can be secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cncp.config.settings import parse
from cncp.errors import UsageError
from cncp.files import read_bytes

SECRET = 0o600


def path(home: str) -> Path:
    """Return where they are kept."""
    return Path(home) / "environment"


def hidden(settings: Mapping[str, object], home: str) -> dict[str, object]:
    """Return settings as they may be seen: they name the file."""
    return {**settings, "environment": f"@{path(home)}"} if settings["environment"] != "none" else dict(settings)


def shown(settings: Mapping[str, object]) -> dict[str, object]:
    """Return settings with what the file holds; none where it is lost, as it is written again then."""
    try:
        return {**settings, "environment": parse("environment", settings.get("environment", "none"), "node")}
    except UsageError:
        return {**settings, "environment": "none"}


def content(setting: str) -> bytes | None:
    """Return what the file is to hold, None where there is to be none."""
    return None if setting == "none" else f"{setting}\n".encode()


def outdated(setting: str, home: str) -> list[str]:
    """Return in words what is to be written, without the values. Changes nothing."""
    where = path(home)
    if read_bytes(where) == content(setting):
        return []
    return [f"{'remove' if setting == 'none' else 'write'} {where} (content not shown)"]
