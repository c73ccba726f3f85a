"""Packages that run when they are first asked for something."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from cncp.serve.lazy_package import defer

HALF = """
import threading

begun, go_on = threading.Event(), threading.Event()
begun.set()
assert go_on.wait(60)
late = __name__
"""


def test_other_threads_wait_until_it_has_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads ask a package for what it defines last; the second does so while it runs."""
    (tmp_path / "halfway").mkdir()
    (tmp_path / "halfway" / "__init__.py").write_text(HALF)
    monkeypatch.syspath_prepend(tmp_path)
    defer("halfway")
    package = sys.modules["halfway"]
    monkeypatch.setitem(sys.modules, "halfway", package)
    found: list[object] = []

    def ask() -> None:
        try:
            found.append(package.late)
        except AttributeError as error:
            found.append(error)

    first, second = threading.Thread(target=ask), threading.Thread(target=ask)
    first.start()
    while "begun" not in vars(package) or not vars(package)["begun"].is_set():
        first.join(0.01)
    second.start()
    # It either waits, or has its answer already: the wrong one.
    second.join(0.5)
    vars(package)["go_on"].set()
    first.join()
    second.join()
    assert found == ["halfway", "halfway"]


def test_one_that_failed_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong is told, and the next who asks is not given half a package."""
    (tmp_path / "failing").mkdir()
    (tmp_path / "failing" / "__init__.py").write_text(
        f"from pathlib import Path\nif not Path({str(tmp_path / 'mended')!r}).exists():\n    1 / 0\nlate = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    defer("failing")
    package = sys.modules["failing"]
    monkeypatch.setitem(sys.modules, "failing", package)
    with pytest.raises(ZeroDivisionError):
        _ = package.late
    (tmp_path / "mended").touch()
    assert package.late == 1
