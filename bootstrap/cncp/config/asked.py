"""What one command line asks for: a module of its own, because most verbs need no more of the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp import accounts
from cncp.config import sources
from cncp.config.sources import Kept


@dataclass(frozen=True)
class Request:
    """What one command line asks for: all that ``machine.ops.apply.describe`` needs beside the machine itself."""

    environment: Mapping[str, str]
    file: Path | None
    flags: Mapping[str, str]
    former: Kept


def request(environment: Mapping[str, str], *, file: str | None, flags: Mapping[str, str], forget: bool) -> Request:
    """Put a request together from a command line; ``forget`` drops what earlier ones said. Raises CncpError."""
    here = Path.cwd()
    former = Kept({}) if forget else sources.kept(accounts.home(environment))
    found = sources.find_file(file, environment, former, here)
    return Request(environment, found, sources.with_paths(flags, here), sources.of_many(former, found))
