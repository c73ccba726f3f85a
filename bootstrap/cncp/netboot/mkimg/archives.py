"""Trees as streams of GNU tar: copied whole, and packed so that the same tree is the same bytes.

Facts: tar(1), info tar "Reproducibility"; pax headers of GNU sparse format 1.0 have the number of the process in them,
those of 0.0 do not. A capability is the attribute security.capability (capabilities(7)); other attributes of
"security" and "trusted" are of the machine that a tree was made on.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Literal

from cncp.netboot.mkimg.exclude_lists import tar_options
from cncp.process import PIPE, CommandError, Completed, Process, Stream, begin, missing, run

Format = Literal["tar.zst", "squashfs"]

WHOLE = ("--format=posix", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=security.capability",
         "--xattrs-include=user.*", "--sparse")  # fmt: skip
"""What of a file beside its content is kept."""

_SAME = ("--sort=name", "--sparse-version=0.0", "--hole-detection=raw",
         "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")  # fmt: skip
_SQUASHFS = ("-quiet", "-no-progress", "-noappend", "-exit-on-error", "-xattrs", "-comp", "zstd", "-mkfs-time", "0")
_HOURS = 4 * 3600.0  # s
_CHANGED = 1  # tar(1): some files differ, such as logs that grow while they are read


def copying(excluded: Iterable[str]) -> list[str]:
    """Return the command that writes the folders it is given, of the one it runs in, to its standard output."""
    return ["tar", "-c", *WHOLE, "--one-file-system", "--warning=no-file-ignored", *tar_options(excluded)]


def unpacking(folder: Path) -> list[str]:
    """Return the command that makes a folder the tree on its standard input."""
    return ["tar", "-x", "-p", *WHOLE, "--delay-directory-restore", "-C", str(folder)]


def copy(tree: Path, folder: Path, excluded: Iterable[str]) -> None:
    """Copy a tree into an empty folder. Raises CommandError."""
    flow([*copying(excluded), "."], unpacking(folder), cwd=tree)


def pack(tree: Path, output: Path, form: Format) -> None:
    """Write a tree as a file: the same one for the same tree. Raises CommandError."""
    if form == "squashfs":
        run(["mksquashfs", tree, output, *_SQUASHFS], timeout=_HOURS)
        return
    with output.open("wb") as packed:
        words = ["tar", "-c", *WHOLE, *_SAME, "--warning=no-file-ignored", "."]
        flow(words, ["zstd", "-q", "-9", "-T0"], cwd=tree, stdout=packed)


def flow(first: Sequence[str], second: Sequence[str], cwd: Path, stdout: Stream = None) -> None:
    """Run two programs, the second reading what the first writes. Raises CommandError for the one that failed."""
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryFile() as others:
        with (
            _begun(first, cwd, None, PIPE, complaints) as writer,
            _begun(second, cwd, writer.stdout, stdout, others) as reader,
        ):
            assert writer.stdout is not None  # noqa: S101  # a pipe
            writer.stdout.close()
            try:
                reader.wait()
                writer.wait()
            except BaseException:
                reader.kill()
                writer.kill()
                raise
        # Where the second one dies, the first one is told by that.
        insist(second, reader.returncode, others)
        insist(first, 0 if writer.returncode == _CHANGED else writer.returncode, complaints)


def _begun(words: Sequence[str], cwd: Path, stdin: Stream, stdout: Stream, stderr: IO[bytes]) -> Process:
    try:
        return begin(words, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        raise missing(words[0]) from None


def insist(words: Sequence[str], status: int, said: IO[bytes]) -> None:
    """Raise CommandError where a program has failed."""
    if status:
        said.seek(0)
        text = said.read(1 << 16).decode(errors="replace")
        raise CommandError(Completed((words[0], "..."), status, b"", text))
