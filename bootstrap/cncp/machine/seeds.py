"""The seed that a machine joins with: read, held against what is here, kept until it has served.

Standard library only: it is checked before there is a virtualenv.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cncp.errors import UsageError
from cncp.files import make_home, write_atomic
from cncp.machine.node import NODE
from cncp.rendezvous import documents, member_record
from cncp.rendezvous.documents import Seed
from cncp.rendezvous.fetching import fetch, refuse
from cncp.rendezvous.member_record import Membership

_LARGEST = 2**16  # bytes


def path(home: Path) -> Path:
    """Return where a seed waits until it has served."""
    return home / "seed.json"


def read(named: str, home: Path) -> Seed:
    """Read the seed in a file, from standard input where it is "-", or the one that waits. Raises CncpError."""
    if named == "-":
        if sys.stdin.isatty():
            raise UsageError("the seed is read from standard input, which is a terminal here", "paste the whole line")
        return Seed.of(sys.stdin.buffer.read(_LARGEST))
    file = Path(named) if named else path(home)
    try:
        with file.open("rb") as stream:
            return Seed.of(stream.read(_LARGEST))
    except FileNotFoundError:
        hint = "give it on standard input, or name its file: cncp join FILE"
        raise UsageError(f"there is no seed in {file}", hint) from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", "name the file of a seed") from None


def keep(seed: Seed, home: Path) -> None:
    """Have it wait in the home: an installation begins this process anew, and nobody can paste again."""
    make_home(home)
    write_atomic(path(home), seed.to_json().encode(), 0o600)


def insist(seed: Seed, home: Path) -> Membership | None:
    """Return what is known of an earlier joining. Raises CncpError where nobody can join with this here, now."""
    past, known = NODE.intact(home), member_record.load(home)
    if past is not None and known is None:
        present = "a cluster of its own" if past.controller else "engines that another machine has set up"
        raise UsageError(
            f"this machine has {present} in {home}",
            "join from another folder: CNCP_HOME=~/joined, or remove that one first: cncp uninstall",
        )
    if known is not None and known.cluster != seed.cluster:
        raise UsageError(
            f"this machine has joined the cluster {known.cluster}, and the seed is of {seed.cluster}",
            "leave that one first: cncp uninstall; or have both: CNCP_HOME=~/joined",
        )
    seed.insist(time.time())
    return known


def insist_on_answer(seed: Seed) -> None:
    """Raise Refused where what the seed leads to will never do. What is not there yet may come."""
    answer = fetch(seed.join)
    refuse(answer)
    if answer.verdict == "found":
        documents.read(answer.body, cluster=seed.cluster, kind="join", name=seed.batch)
