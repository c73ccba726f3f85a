"""Taking away what was written: files of ours go, what stood there before comes back.

Standard library alone: it works where the virtualenv is gone, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from cncp.errors import CncpError
from cncp.files import read_bytes
from cncp.ipp import cluster_file
from cncp.machine import manifest
from cncp.machine.actor import Actor
from cncp.machine.manifest import Manifest
from cncp.managed_block import BEGIN, split_block

COMMAND_MARK = "# Installed by cncp"
"""What stands in the command that we leave in ~/.local/bin."""

_LEFT_BY_SERVICES = (
    "log/controller.log*",
    "log/controller.out*",
    "log/engine-*.log*",
    "log/engine-*.out*",
    "log/tunnel-*.log*",
    "log/tunnel-*.out*",
    "log/jupyter.log*",
    "log/jupyter.out*",
    "log/rendezvous.log*",
    "log/rendezvous.out*",
    "log/engines.json",
    "tasks.db*",
)
"""What our services write into a profile, whoever made it."""

_LEFT_BY_IPYTHON = (
    "pid/*",
    "startup/README",
    "static/custom/*",
    "static/custom",
    "static",
    "db/*",
    "db",
    "history.sqlite*",
)
"""What IPython itself writes into a profile: taken away where the profile was made by us."""

_OF_PROFILE = ("log", "pid", "security", "startup")
"""Folders of a profile that we make."""

_SECRETS = ("cncp-identity.json", "ipcontroller-client.json", "ipcontroller-engine.json", cluster_file.NAME)


def written(memory: Manifest, profiles: Collection[Path], actor: Actor) -> None:
    """Remove all that the memory knows, but for folders; put back what stood there before.

    ``profiles`` are those in use; in former ones, where a cluster was moved from, our services have
    left as much.
    """
    for path in sorted(memory.made, reverse=True):
        owner, kind = memory.made[path]
        if owner != "login":
            # Units of the system: root knows them by their names, and no record is believed.
            continue
        if kind in ("file", "link"):
            actor.remove(Path(path))
        elif kind in ("block", "whole"):
            _take_block_out(Path(path), kind, actor)
    take_copies(memory, actor)
    _restore(memory, actor)
    for profile in {*profiles, *_former(memory)}:
        patterns = (*_LEFT_BY_SERVICES, *(_LEFT_BY_IPYTHON if str(profile) in memory.made else ()))
        for left in sorted((file for pattern in patterns for file in profile.glob(pattern)), reverse=True):
            actor.remove(left) if not left.is_dir() else actor.rmdir(left)


def _former(memory: Manifest) -> Iterator[Path]:
    """Yield the profiles in which folders of ours are."""
    for path, (_, kind) in memory.made.items():
        folder = Path(path)
        if kind == "directory" and folder.name == "log" and folder.parent.name.startswith("profile_"):
            yield folder.parent


def take_copies(memory: Manifest, actor: Actor) -> None:
    """Remove the copies that are still as they were made; the others have become the user's."""
    for name, digest in memory.copies.items():
        content = read_bytes(Path(name))
        if content is not None and digest in ("", hashlib.sha256(content).hexdigest()):
            actor.remove(Path(name))


def _take_block_out(path: Path, kind: str, actor: Actor) -> None:
    content = read_bytes(path)
    if content is None:
        return
    before, _, after = split_block(content.decode(errors="surrogateescape"))
    if not before:
        # `within` puts an empty line between its block and what follows.
        after = after.removeprefix("\n")
    rest = before + after
    if kind == "whole" and not rest.strip():
        actor.remove(path)
    else:
        actor.write(path, rest.encode(errors="surrogateescape"), path.stat().st_mode & 0o7777)


def _restore(memory: Manifest, actor: Actor) -> None:
    for path, backup in memory.kept.items():
        if memory.made.get(path, ("login", ""))[0] != "login":
            continue
        former = read_bytes(memory.path.parent / "before" / backup)
        if former is None:
            raise CncpError(f"the former {path} is lost: its copy is gone", "make it again by hand")
        actor.write(Path(path), former, memory.modes.get(path, 0o600))
    for path, mode in memory.modes.items():
        folder = Path(path)
        if path not in memory.kept and folder.is_dir() and folder.stat().st_mode & 0o7777 != mode:
            with contextlib.suppress(PermissionError):
                actor.chmod(folder, mode)


def folders(memory: Manifest, home: Path, actor: Actor) -> list[str]:
    """Remove ``home``, and the folders we made if they are empty; return what others have in those that are not."""
    made = [Path(path) for path, (owner, kind) in memory.made.items() if (owner, kind) == ("login", "directory")]
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(home)
    there = [path for path in sorted(made, reverse=True) if path != home and path.is_dir()]
    left = [path for path in there if not actor.rmdir(path)]
    return sorted(foreign for path in left for foreign in _foreign(path, left))


def _foreign(folder: Path, left: Collection[Path]) -> list[str]:
    """Name what is in a folder of ours that we did not put there: a file of each, and how many more there are."""
    try:
        others = [path for path in sorted(folder.iterdir()) if path not in left]
    except OSError:
        return [str(folder)]
    shown = [_first_file(other) for other in others[:3]]
    return [*shown, *([f"{folder}: {len(others) - 3} more"] if len(others) > 3 else [])]


def _first_file(path: Path) -> str:
    if path.is_dir() and not path.is_symlink():
        for at, _, names in os.walk(path):
            if names:
                return os.path.join(at, min(names))
    return str(path)


def remembered(
    home: Path, own: Path, ipython: Collection[Path], notebooks: Path, warn: Callable[[str], None] = lambda _: None
) -> Manifest:
    """Return what was written where; what can be recognised as ours, with a warning, where nothing says so any more."""
    memory = manifest.load(home / "manifest.json")
    if manifest.whole(memory.path):
        return memory
    found = recognised(memory, home, own, ipython, notebooks)
    if found.made != memory.made:
        warn(
            f"{memory.path} is lost, in which stood what was written: what can be recognised as this cluster's goes; "
            "what else was made or closed further for it is not known"
        )
    return found


def recognised(memory: Manifest, home: Path, own: Path, ipython: Collection[Path], notebooks: Path) -> Manifest:
    """Return a memory of what can be seen to be ours, where the one that was kept is lost.

    ``own`` is the account's home, ``ipython`` the folders in which profiles may be, ``notebooks``
    those of the code. What stood in a place before us is known by its copy, if there is one.
    """
    made: dict[str, str] = {}
    command = own / ".local" / "bin" / "cncp"
    text = read_bytes(command) or b""
    if COMMAND_MARK.encode() in text and os.fsencode(str(home)) in text:
        made.update({str(command): "file", str(command.parent): "directory"})
    for folder in ipython:
        for profile in folder.glob("profile_*"):
            made.update(_of_profile(profile, home))
        if any(Path(path).parent == folder for path in made):
            made[str(folder)] = "directory"
    copies = {}
    for original in notebooks.glob("*.ipynb"):
        copy = own / "cncp-notebooks" / original.name
        if (content := read_bytes(copy)) is not None and content == original.read_bytes():
            copies[str(copy)] = hashlib.sha256(content).hexdigest()
            made[str(copy.parent)] = "directory"
    for path in _units(own):
        made[str(path)] = "directory" if path.is_dir() and not path.is_symlink() else "file"
    kept = {path: name for path, kind in made.items() if kind == "file" and (name := _before(path, home))}
    all_made = {**memory.made, **{path: ("login", kind) for path, kind in made.items()}}
    return Manifest(memory.path, all_made, kept, {}, copies)


def _before(path: str, home: Path) -> str:
    """Return the name of the copy of what stood in a place before us; "" where there is none, or it is ours."""
    name = hashlib.sha256(path.encode()).hexdigest()[:16]
    former = read_bytes(home / "before" / name)
    return "" if former is None or COMMAND_MARK.encode() in former or former == read_bytes(Path(path)) else name


def _of_profile(profile: Path, home: Path) -> dict[str, str]:
    if not any(path.exists() for path in (profile / "cncp.json", profile / "security" / _SECRETS[0])):
        return {}
    if cluster_file.home(profile) not in ("", str(home)):
        # Another cluster's of the same account.
        return {}
    made = {str(profile): "directory", **{str(profile / name): "directory" for name in _OF_PROFILE}}
    files = [profile / "cncp.json", *(profile / "security" / name for name in _SECRETS)]
    made.update({str(path): "file" for path in files if path.exists()})
    for path in profile.glob("ip*_config.py"):
        if BEGIN.encode() in (read_bytes(path) or b""):
            made[str(path)] = "whole"
    return made


def _units(own: Path) -> Iterator[Path]:
    """Yield units of the user's systemd with our names, their drop-ins and links."""
    folder = own / ".config" / "systemd" / "user"
    for path in (*folder.glob("cncp*"), *folder.glob("*.wants/cncp*")):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from path.iterdir()
