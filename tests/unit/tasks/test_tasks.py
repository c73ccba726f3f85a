"""Which tasks a command line has: all that it names, and all there are where it names none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cncp.tasks import collection

ROOT = Path(__file__).parents[3]

EVERY = sorted(collection().task_names)


@pytest.mark.parametrize("name", EVERY)
def test_a_task_is_there_when_it_is_named(name: str) -> None:
    """Each task is found by its name, among options and after another task."""
    assert name in collection([name, "--host", "x"]).task_names
    assert name in collection(["--echo", "up", name]).task_names


@pytest.mark.parametrize(
    "words",
    [[], ["--list"], ["-l"], ["--help"], ["stauts"], ["--complete", "--", "cncp", "ke"]],
    ids=" ".join,
)
def test_all_are_there_for_lists_help_and_mistakes(words: list[str]) -> None:
    """What names no task is answered from all of them."""
    assert sorted(collection(words).task_names) == EVERY


@pytest.mark.parametrize(
    ("code", "unused"),
    [
        ("import cncp.machine.ops.main", "invoke"),
        ("from cncp.tasks import collection; collection(['status'])", "cncp.pools.vm"),
        ("from cncp.tasks import collection; collection(['status'])", "cncp.fleet.rollout"),
        ("from cncp.tasks import collection; collection(['status'])", "urllib.request"),
        ("from cncp.tasks import collection; collection(['status'])", "cncp.fleet.remote_machine"),
        ("from cncp.tasks import collection; collection(['firewall'])", "cncp.tasks.cluster"),
        ("from cncp.tasks.program import run; run(['--help'])", "cncp.tasks.cluster"),
        ("from cncp.tasks.program import run; run(['--list'])", "cncp.tasks.cluster"),
    ],
)
def test_what_is_not_used_is_not_imported(code: str, unused: str) -> None:
    """The job of another machine's cluster does without Invoke, `status` without the other tasks."""
    ask = f"import sys; sys.path.insert(0, {str(ROOT / 'bootstrap')!r}); {code}; print({unused!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
