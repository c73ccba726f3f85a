"""The line that is pasted, in the shells that people have, and the options of `cncp invite`."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.errors import UsageError
from cncp.rendezvous.documents import Refused, Seed, new_key
from cncp.tasks import invite

SHELLS = ("sh", "bash", "dash", "zsh", "fish", "tcsh")

SEED = Seed(
    cluster="a" * 16,
    batch="b" * 16,
    join="https://[fe80::1]:8443/a%20b/$HOME/x.json?X-Amz-Signature=a%2Fb&c=~d;(e)*",
    key=new_key(),
    deadline=2**31,
)

READS = """\
[ "$*" = "--join -" ] || exit 2
cat >got
"""


@pytest.mark.parametrize("shell", SHELLS)
def test_the_line_is_the_same_for_every_shell(shell: str, tmp_path: Path) -> None:
    """The script reads the seed as it is, and no program that a list of processes would show had it."""
    program = shutil.which(shell)
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must have {shell}: tests/apt.txt")
        pytest.skip(f"there is no {shell}")
    (tmp_path / "baremetal.sh").write_text(READS)
    planted = tmp_path / "bin" / "echo"
    planted.parent.mkdir()
    planted.write_text("#!/bin/sh\nexit 9\n")
    planted.chmod(0o755)
    done = subprocess.run(
        [program],
        input=invite.pasted(SEED) + "\n",
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": f"{planted.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert Seed.of((tmp_path / "got").read_text()) == SEED


@pytest.mark.parametrize("character", ["'", "!", "\\", " ", "\t", "`", '"', "é", "\u202e"])
def test_no_seed_has_what_shells_change(character: str) -> None:
    """It is refused where it is read, whoever wrote it."""
    with pytest.raises(Refused, match="no URL that can be fetched"):
        Seed.of(replace(SEED, join=f"https://gold1/{character}x").to_json())


@pytest.mark.parametrize("hours", ["", "-1", "1h", "1e3", "٣", "1.00001", "1000"])
def test_hours_are_a_number(hours: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(UsageError, match="--hours"):
        invite.seconds(hours)


def test_a_note_is_one_line() -> None:
    """It stands in a table."""
    assert invite.check_note("the desks in room 12") == "the desks in room 12"
    for note in ("two\nlines", "x" * 81, "\x1b[31m"):
        with pytest.raises(UsageError, match="--note"):
            invite.check_note(note)
