"""What is stamped of a virtualenv, and what of that concerns services that run."""

from __future__ import annotations

from cncp.install.stamp import of_engines


def test_jupyters_packages_are_nothing_to_engines() -> None:
    """Unless requirements of the user's own leave versions open, which may then be others."""
    stamped = {"lock": "l", "jupyter": "j", "requirements": ""}
    assert of_engines(stamped) == {"lock": "l", "requirements": ""}
    assert of_engines({**stamped, "requirements": "r"}) == {"lock": "l", "jupyter": "j", "requirements": "r"}
