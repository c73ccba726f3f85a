"""What `cncp pip install` notes, and that nothing is noted of what cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cncp import accounts
from cncp.errors import CncpError, UsageError
from cncp.machine import added_packages
from cncp.machine.actor import Actor


def test_packages_are_noted_by_name() -> None:
    """A package stands once, however its name is written; the newest wish counts."""
    lines = added_packages.changed([], "install", ["numpy", "Mpi4Py==4.0", "x[a,b] >= 1; python_version > '3'"])
    assert lines == ["numpy", "Mpi4Py==4.0", "x[a,b] >= 1; python_version > '3'"]
    lines = added_packages.changed(lines, "install", ["numpy<2", "mpi4py", "pkg @ https://example.org/pkg.zip"])
    assert lines == ["x[a,b] >= 1; python_version > '3'", "numpy<2", "mpi4py", "pkg @ https://example.org/pkg.zip"]
    assert added_packages.changed(lines, "uninstall", ["NumPy", "x"]) == ["mpi4py", "pkg @ https://example.org/pkg.zip"]


@pytest.mark.parametrize(
    "package", ["-r", "--target=/x", "./here", "/abs.whl", "a b c", "a\nb", "", "ü", "git+https://x/y"]
)
def test_what_is_no_package(package: str) -> None:
    """Options, paths and lines are refused, with the file that has room for them."""
    with pytest.raises(UsageError, match="is not the name of a package"):
        added_packages.changed([], "install", [package])


def test_nothing_is_noted_that_was_not_installed(tmp_path: Path) -> None:
    """A package that cannot be had leaves the note as it was; one that can stays noted."""
    actor = Actor(accounts.account(os.environ))
    with added_packages.noted(tmp_path, actor, "install", ["a"], "none") as setting:
        assert setting == str(added_packages.path(tmp_path))
    assert added_packages.path(tmp_path).read_text() == "a\n"

    def fail(setting: str) -> None:
        raise CncpError(f"no b in {setting}", "x")

    with pytest.raises(CncpError), added_packages.noted(tmp_path, actor, "install", ["b"], setting) as named:
        fail(named)
    assert added_packages.path(tmp_path).read_text() == "a\n"
    with pytest.raises(UsageError, match="was not installed by cncp pip"):
        added_packages.noted(tmp_path, actor, "uninstall", ["b"], setting).__enter__()
    with pytest.raises(UsageError, match=r"packages are in /home/r\.txt"):
        added_packages.noted(tmp_path, actor, "install", ["b"], "/home/r.txt").__enter__()
    with added_packages.noted(tmp_path, actor, "uninstall", ["a"], setting) as named:
        assert named == "none"
    assert added_packages.path(tmp_path).read_text() == ""
