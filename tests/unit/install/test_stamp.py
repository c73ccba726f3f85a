"""What is stamped of a virtualenv, and what of that concerns services that run."""

from __future__ import annotations

from dataclasses import replace

from cncp.install.stamp import Wanted, of_engines


def test_jupyters_packages_are_nothing_to_engines() -> None:
    """Unless requirements of the user's own leave versions open, which may then be others."""
    stamped = Wanted(lock="l", jupyter="j")
    assert "jupyter" not in of_engines(stamped)
    assert of_engines(replace(stamped, requirements="r"))["jupyter"] == "j"
