"""What services believe of their managers is what those say of themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cncp
from cncp.machine.services.manager_traits import OURS
from cncp.machine.services.managers import MANAGERS


@pytest.mark.parametrize("name", sorted(MANAGERS.ours))
def test_they_are_those_of_the_class(name: str) -> None:
    """None is missing, and none is another."""
    kind = MANAGERS.find(name, "service_manager")
    assert OURS[name]._asdict() == {"keeps_output": kind.keeps_output, "ends_all": kind.ends_all}
    assert OURS.keys() == MANAGERS.ours.keys()


def test_an_engine_reads_no_more_than_it_needs() -> None:
    """Each engine would import it again: what makes files, acts as root, or keeps services stays away."""
    code = "import sys; import cncp.serve.engine; print(*sys.modules)"
    environment = {"PYTHONPATH": str(Path(cncp.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert not set(done.stdout.split()) & {
        "cncp.extensions",
        "cncp.ipp.keys",
        "cncp.machine.actor",
        "cncp.machine.resources",
        "cncp.machine.root.requests",
        "cncp.machine.services.base",
        "cncp.machine.services.supervisor",
    }
