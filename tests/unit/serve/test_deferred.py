"""What a service imports late, and how it imports: packages that run when they are first asked for something."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cncp
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


def test_what_a_submodule_has_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package only hands on is had from where it is; anything else has the package run, and is there."""
    (tmp_path / "handing").mkdir()
    (tmp_path / "handing" / "__init__.py").write_text("from .part import given\nfrom .other import more\nown = 3\n")
    (tmp_path / "handing" / "part.py").write_text("given = 1\n")
    (tmp_path / "handing" / "other.py").write_text("more = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    defer("handing", given="part")
    package = sys.modules["handing"]
    monkeypatch.setitem(sys.modules, "handing", package)
    assert package.given == 1
    assert "handing.other" not in sys.modules
    assert (package.own, package.more, package.given) == (3, 2, 1)


def test_what_an_engine_does_not_use_has_not_run() -> None:
    """And is there for a task that asks for it."""
    code = """
import sys
import cncp.serve.engine
print([name for name in ("ipyparallel", "jupyter_client", "psutil") if type(sys.modules[name]).__name__ != "_Deferred"])
import psutil, jupyter_client, ipyparallel
from jupyter_client import KernelManager
print(psutil.Process().pid > 0, callable(ipyparallel.Client), KernelManager.__name__, psutil.cpu_count() > 0)
"""
    environment = {"PYTHONPATH": str(Path(cncp.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["[]", "True True KernelManager True"]


@pytest.mark.parametrize("module", ["cncp.serve.tunnel", "cncp.serve.none"])
def test_garbage_is_looked_for_again(module: str) -> None:
    """Once a service is imported, and when it cannot be."""
    code = f"""
import contextlib, gc
from cncp.serve.__main__ import imported
with contextlib.suppress(ModuleNotFoundError):
    print(imported({module!r}).__name__)
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""
    environment = {"PYTHONPATH": str(Path(cncp.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[-2:] == ["True", "True"]
    assert (module in done.stdout) == (module == "cncp.serve.tunnel")
