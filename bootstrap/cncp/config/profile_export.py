"""A cluster's description in one file, to hand to a colleague: no secrets, no paths, no code.

What a user wrote into the profile's configuration files stays behind: it is code, which an import
would have run as whoever imports it, and it can hold paths and passwords that no program recognises.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp import __version__
from cncp.config import writer
from cncp.config.inventory import HostSpec, Inventory
from cncp.config.writer import REQUIREMENTS
from cncp.errors import UsageError, plural
from cncp.managed_block import split_block
from cncp.records import Misfit, Record

FORMAT = 1
CLUSTER = "cluster.toml"
PROFILE_FILES = ("ipcontroller_config.py", "ipengine_config.py", "ipcluster_config.py")

_MAX = 2**20  # bytes; 1024 hosts with settings of their own are a tenth of that
_NOT_FOR_OTHERS = re.compile(
    # Passwords in URLs, files of this machine, and other files that would be needed.
    r"://[^/\s]*@|[?&][^=\s]*(?:token|key|secret|password)[^=\s]*=|file:|^\s*(?:-e|--editable|-r|-c|-f|--find-links|"
    r"--requirement|--constraint)\b|^\s*[./~]|\s@\s*[./~]",
    re.IGNORECASE,
)

_VARIABLES = "environment: variables can be secret"


@dataclass(frozen=True)
class Exported(Record):
    """What is in such a file."""

    files: Mapping[str, str]
    format: object = None


@dataclass(frozen=True)
class Handed:
    """The content of the file, and what was left out of it, a line each."""

    document: Mapping[str, object]
    notes: tuple[str, ...]


def export(settings: Mapping[str, object], hosts: Inventory | None, profile_dir: Path, home: Path) -> Handed:
    """Return what describes a cluster elsewhere. Changes nothing."""
    notes: list[str] = []
    files: dict[str, str] = {}
    shared = dict(settings)
    if "external" in shared and shared.pop("external") != "auto":
        notes.append("external: the address of your machine")
    if shared.get("listen") not in (None, "loopback", "all", "127.0.0.1", "0.0.0.0", "*"):
        notes.append("listen: an address of your machine")
        del shared["listen"]
    if shared.pop("environment", "none") != "none":
        notes.append(_VARIABLES)
    named = str(shared.pop("requirements", "none"))
    if named != "none":
        shared.update(_requirements(named, files, notes))
    if hosts is not None:
        provided = hosts.provided
        hosts = Inventory(
            tuple(_plain(host, home, notes) for host in hosts.hosts), _plain(hosts.controller, home, notes)
        )
        notes += [f"a pool of {pool.provider}: who makes machines does so as they can" for pool in provided]
    notes += _edits(profile_dir)
    head = ["A cluster as a colleague has it. Your own accounts on its hosts stand in ~/.ssh/config."]
    body = "".join(f"{line}\n" for line in writer.lines(shared, hosts, head))
    files[CLUSTER] = writer.checked(body)
    return Handed({"format": FORMAT, "cncp": __version__, "files": files}, tuple(dict.fromkeys(notes)))


def _requirements(named: str, files: dict[str, str], notes: list[str]) -> dict[str, str]:
    if "://" in named:
        if _NOT_FOR_OTHERS.search(named):
            notes.append("requirements: its URL holds a secret")
            return {}
        return {"requirements": named}
    try:
        lines = Path(named).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        notes.append("requirements: the file cannot be read")
        return {}
    kept = [line for line in lines if not _NOT_FOR_OTHERS.search(line)]
    if len(kept) < len(lines):
        notes.append(f"requirements: {plural(len(lines) - len(kept), 'line')} with secrets or files of your machine")
    files[REQUIREMENTS] = "".join(f"{line}\n" for line in kept)
    return {"requirements": REQUIREMENTS}


def _plain(spec: HostSpec, home: Path, notes: list[str]) -> HostSpec:
    """Return a host without what is its user's."""
    python = spec.python
    if python.startswith(("~", f"{home}/", "/home/", "/Users/", "/root/")):
        notes.append("python: a path in a home folder")
        python = ""
    if spec.user or "@" in spec.jump:
        notes.append("user: your accounts on the hosts")
    jump = ",".join(hop.rpartition("@")[2] for hop in spec.jump.split(","))
    settings = {key: value for key, value in spec.settings.items() if key != "environment"}
    if len(settings) < len(spec.settings):
        notes.append(_VARIABLES)
    return dataclasses.replace(spec, user="", jump=jump, python=python, settings=settings)


def _edits(profile_dir: Path) -> list[str]:
    found = []
    for name in PROFILE_FILES:
        try:
            before, _, after = split_block((profile_dir / name).read_text(errors="replace"))
        except OSError:
            continue
        if any(line.strip() and not line.lstrip().startswith("#") for line in (before + after).splitlines()):
            found.append(f"your own lines in {name}: they are code, hand them over yourself")
    return found


def load(path: Path) -> dict[str, str]:
    """Return the files that an export holds, checked. Raises UsageError."""
    wrong = "name a file that profile.export made, an ipcluster_config.py or a profile's folder"
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX + 1)
        if len(raw) > _MAX:
            raise UsageError(f"{path} is larger than any export", wrong)
        exported = Exported.from_json(raw, str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", wrong) from None
    except (Misfit, ValueError):
        raise UsageError(f"{path} is no export", wrong) from None
    files = exported.files
    if CLUSTER not in files:
        raise UsageError(f"{path} is no export", wrong)
    if exported.format != FORMAT:
        raise UsageError(f"{path} is of another format: {exported.format!r}", "use the cncp that made it")
    strangers = sorted(set(files) - {CLUSTER, REQUIREMENTS})
    if strangers:
        raise UsageError(f"{path} holds {strangers[0]!r}, which no export has", wrong)
    try:
        writer.checked(files[CLUSTER])
    except UsageError as error:
        message = re.sub(r"\S*/cluster\.toml", f"{path}: {CLUSTER}", error.message)
        raise UsageError(message, error.hint) from None
    return dict(files)
