"""Files and folders to hosts and from them: as archives over the open connection, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from cncp.errors import UsageError
from cncp.files import is_special
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.stream import running

_EXISTS, _OTHER_KIND = 17, 18

_PUT = f"""
set -eu
dest=$1 name=$2 kind=$3 force=$4
case $dest in /*) ;; *) dest=./$dest ;; esac
case $dest in */) dest=$dest$name ;; *) if [ -d "$dest" ]; then dest=$dest/$name; fi ;; esac
above=$(dirname -- "$dest")
if [ -e "$dest" ] || [ -L "$dest" ]; then
    [ "$force" = yes ] || exit {_EXISTS}
    if [ -d "$dest" ] && [ ! -L "$dest" ]; then is=folder
    elif [ -e "$dest" ] && [ ! -f "$dest" ]; then is=device
    else is=file; fi
    [ "$is" = "$kind" ] || exit {_OTHER_KIND}
fi
mkdir -p -- "$above"
beside=$(mktemp -d "$above/.cncp-XXXXXX")
trap 'rm -rf -- "$beside"' EXIT
trap 'exit 1' HUP INT TERM PIPE
(cd -- "$beside" && tar -xpof -)
if [ "$kind" = folder ] && [ -d "$dest" ]; then mv -- "$dest" "$beside/former"; fi
mv -f -- "$beside/it" "$dest"
"""
"""Unpack ``it`` from standard input beside its place and move it there in one step."""

_GET = """
set -eu
path=$1
case $path in /*) ;; *) path=./$path ;; esac
[ -e "$path" ] || [ -L "$path" ] || { echo 'there is no such file or folder' >&2; exit 1; }
# What was named is meant, even by a link; links within stay links.
if [ -L "$path" ]; then path=$(readlink -f -- "$path"); fi
cd -- "$(dirname -- "$path")"
exec tar -cf - -- "./$(basename -- "$path")"
"""


def remote_path(text: str) -> str:
    """Return a path on a host as the host is given it, relative to the home there. Raises UsageError."""
    path = text.removeprefix("~/")
    if "\0" in path or not path.strip("/") or posixpath.basename(path.rstrip("/")) in (".", "..", "~"):
        raise UsageError(f"{text!r} names no file or folder on a host", "give a path such as data/input.h5")
    return path


@contextlib.contextmanager
def packed(local: Path) -> Iterator[Path]:
    """Give an archive of a file or folder, as ``it``, to send to many hosts. Raises UsageError."""
    if not local.exists():
        raise UsageError(f"{str(local)!r} does not exist", "name a file or folder of this machine")
    if not (local.is_file() or local.is_dir()):
        raise UsageError(f"{str(local)!r} is neither a file nor a folder", "name a file or folder of this machine")
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        archive = Path(folder) / "it.tar"
        with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
            # What was named is meant, even by a link; links within stay links.
            tar.add(local.resolve(), "it", filter=_ordinary)
        yield archive


def _ordinary(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out sockets and the like, and who owns a file here."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry if entry.isfile() or entry.isdir() or entry.issym() or entry.islnk() else None


def put(host: Host, archive: Path, local: Path, remote: str, timeout: float, *, force: bool) -> None:
    """Unpack an archive of ``packed`` on a host. Raises HostError, with nothing changed there."""
    kind = "folder" if local.is_dir() else "file"
    argv = ["sh", "-c", _PUT, "sh", remote, local.resolve().name, kind, "yes" if force else "no"]
    with archive.open("rb") as source, running(host, argv, timeout, source=source) as command:
        command.output.read()
    name = host.spec.name
    if command.status == _EXISTS:
        raise HostError(name, f"{remote!r} exists there", "name another path, or replace it with --force")
    if command.status == _OTHER_KIND:
        raise HostError(name, f"{remote!r} is there, and no {kind}", "name another path, or remove it there first")
    if command.status:
        raise HostError(
            name, _last(command.said, f"tar exited with {command.status}"), "check the path, rights and room there"
        )


def get(host: Host, remote: str, place: Path, timeout: float, *, force: bool) -> None:
    """Bring a file or folder of a host to ``place``, the copy's own path. Raises HostError."""
    name = host.spec.name
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=place.parent, prefix=".cncp-"))
    try:
        with running(host, ["sh", "-c", _GET, "sh", remote.rstrip("/")], timeout) as command:
            try:
                unpack(command.output, beside)
            except (tarfile.TarError, EOFError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                # A name twice, or a file as a folder: no tar of ours made that.
                damage = str(error)
            else:
                damage = ""
                # tar fills its last block; ending before it does would look like a failure.
                while command.output.read(65536):
                    pass
        if command.status:
            hint = "check the path, and whether you may read it there"
            raise HostError(name, _last(command.said, f"tar exited with {command.status}"), hint)
        if damage:
            raise HostError(name, f"what it sent is no archive: {damage}", f"look at what it prints: ssh {name} true")
        arrived = next(beside.iterdir(), None)
        if arrived is None:
            raise HostError(name, f"{remote!r} is neither a file nor a folder", "name a file or folder")
        _replace(arrived, place, beside, force=force)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace(arrived: Path, place: Path, beside: Path, *, force: bool) -> None:
    if os.path.lexists(place):
        if not force:
            raise UsageError(f"{str(place)!r} exists", "name another folder, or replace it with --force")
        if is_special(place):
            raise UsageError(f"{str(place)!r} is no file", "name another folder")
        place.rename(beside / ".former")
    arrived.rename(place)


def _last(said: list[str], otherwise: str) -> str:
    return next((line for line in reversed(said) if line.strip()), otherwise)


def unpack(stream: IO[bytes], folder: Path) -> None:
    """Unpack an archive that a host sent, which may be anyone's: nothing lands outside of ``folder``.

    Links that lead out of what was copied, by themselves or through others, devices and the like are left out.
    """
    links: list[tuple[Path, str]] = []
    modes: list[tuple[Path, int]] = []
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            target = _inside(folder, member.name)
            if target is None:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                target.mkdir(exist_ok=True)
                modes.append((target, member.mode & 0o777 | 0o700))
            elif member.isfile():
                content = tar.extractfile(member)
                with target.open("xb") as written:
                    shutil.copyfileobj(content, written)  # type: ignore[arg-type]  # a file has content
                    os.fchmod(written.fileno(), member.mode & 0o777)
            elif member.islnk():
                source = _inside(folder, member.linkname)
                if source is not None and source.is_file():
                    os.link(source, target)
            elif member.issym():
                links.append((target, member.linkname))
    # Links last: until then nothing can be written through one.
    _link(folder, links)
    for path, mode in reversed(modes):
        path.chmod(mode)


def _inside(folder: Path, name: str) -> Path | None:
    """Return the place of a member of an archive, None where it would not be in the folder."""
    parts = [part for part in PurePosixPath(name).parts if part != "."]
    return folder.joinpath(*parts) if parts and ".." not in parts and parts[0] != "/" else None


def _link(folder: Path, links: list[tuple[Path, str]]) -> None:
    """Make the links that stay within what was copied, the first component of all its names."""
    named = {target for target, _ in links}
    for target, text in links:
        if _within(folder, target, text, named) and not os.path.lexists(target):
            target.symlink_to(text)


def _within(folder: Path, link: Path, text: str, links: Collection[Path]) -> bool:
    """Tell whether a link leads to a place in its copy, whatever other links there are.

    Down through a link it stays inside, as that link does; where up from one leads, only the link says.
    """
    root = folder / link.relative_to(folder).parts[0]
    place = link.parent
    if os.path.isabs(text) or not place.is_relative_to(root):
        return False
    through = False
    for part in PurePosixPath(text).parts:
        if part == "..":
            if through or place == root:
                return False
            place = place.parent
        else:
            place /= part
            through = through or place in links
    return True
