"""A verb that a service runs once a minute: when, and what is told of it."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from cncp.serve.errands import EVERY, HALF_A_SEED, Errand
from cncp.waiting import wait_until


def test_only_where_it_is_wanted(tmp_path: Path) -> None:
    """Nothing is run while no pool asks for it."""
    errand = Errand(tmp_path, logging.getLogger("errand"))
    errand.look(0.0)
    assert errand._running is None
    errand.end()


def test_a_seed_that_is_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is looked at when half of its time is over, and not each minute."""
    (tmp_path / "cloud").mkdir()
    seed = tmp_path / "cloud" / "seed-netboot.state"
    seed.touch()
    errand = Errand(tmp_path, logging.getLogger("errand"))
    errand.look(0.0)
    assert caplog.text == ""
    old = time.time() - HALF_A_SEED - 1
    os.utime(seed, (old, old))
    errand.look(EVERY)
    assert "No such file" in caplog.text


def test_a_seed_that_goes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pool lets its nodes go: the service that looks goes on."""
    folder = tmp_path / "cloud"
    monkeypatch.setattr(Path, "glob", lambda _, form: [folder / form.replace("*", "gone")] if "seed" in form else [])
    errand = Errand(tmp_path, logging.getLogger("errand"))
    errand.look(0.0)
    assert errand._running is None


def test_one_after_the_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next begins a minute after one has ended; what it complains of stands in the log."""
    for folder in ("cloud", "venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "cloud" / "load-ec2.state").touch()
    caplog.set_level(logging.INFO)
    errand = Errand(tmp_path, logging.getLogger("errand"))
    errand.look(0.0)
    assert "No such file" in caplog.text
    cncp = tmp_path / "venv" / "bin" / "cncp"
    cncp.write_text('#!/bin/sh\necho "error: $1 cannot" >&2\n')
    cncp.chmod(0o755)
    errand.look(EVERY - 1)
    assert errand._running is None
    errand.look(EVERY)
    first = errand._running
    assert first is not None
    assert wait_until(lambda: first.poll() is not None, 20)
    errand.look(EVERY + 7)
    assert "error: cloud.tend cannot" in caplog.text
    errand.look(2 * EVERY + 6)
    assert errand._running is None
    # More than a pipe holds does not hold it up.
    cncp.write_text("#!/bin/sh\nseq 100000 >&2\n")
    errand.look(2 * EVERY + 7)
    long = errand._running
    assert long is not None
    assert wait_until(lambda: long.poll() is not None, 20)
    errand.look(3 * EVERY)
    assert "100000" in caplog.text
    cncp.write_text("#!/bin/sh\nexec sleep 60\n")
    errand.look(4 * EVERY)
    second = errand._running
    assert second is not None
    errand.end()
    assert second.poll() is not None
