"""Which tasks a command line has: all that it names, and all there are where it names none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cncp.tasks import collection

EVERY = sorted(collection().task_names)


@pytest.mark.parametrize("name", EVERY)
def test_a_task_is_there_when_it_is_named(name: str) -> None:
    """Each task is found by its name, among options and after another task."""
    assert name in collection([name, "--host", "x"]).task_names
    assert name in collection(["--echo", "up", name]).task_names


@pytest.mark.parametrize(
    "words",
    [[], ["--list"], ["up", "--list"], ["-l"], ["--help"], ["stauts"], ["--complete", "--", "cncp", "up", "ke"]],
    ids=" ".join,
)
def test_all_are_there_for_lists_help_and_mistakes(words: list[str]) -> None:
    """What names no task is answered from all of them."""
    assert sorted(collection(words).task_names) == EVERY


def test_what_is_not_used_is_not_imported() -> None:
    """The job of another machine's cluster does without Invoke, `status` without the other tasks."""
    code = "import sys, cncp.machine.main; sys.exit('invoke' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code = "import sys; from cncp.tasks import collection; collection(['status']); sys.exit('cncp.vm' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
