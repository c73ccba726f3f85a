"""The cookbook alone: `chef-solo -o role[compute]` on a machine with nothing installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .site import Site

pytestmark = pytest.mark.chef


def _settings(site: Site) -> dict[str, object]:
    found: dict[str, object] = json.loads((site.profile / "cncp.json").read_text())
    return found


def test_from_nothing_to_engines(site: Site, program: Path) -> None:
    """A dry run changes nothing, a run makes a cluster that answers, a second one has nothing to do.

    An attribute that does not exist is named, with the one that was probably meant.
    """
    site.solo(program, {}, "--why-run")
    assert not site.cncp_home.exists()
    site.solo(program, {})
    assert "1/1" in site.cncp("restart").stdout
    assert site.solo(program, {})["updated"] == []
    with pytest.raises(AssertionError, match="did you mean heartbeat"):
        site.solo(program, {"hartbeat": 600})


def test_attributes_are_applied(site: Site, program: Path) -> None:
    """A changed attribute changes what it concerns; one that is taken away takes its effect with it."""
    site.solo(program, {"heartbeat": 600, "threads": 1})
    assert _settings(site)["heartbeat"] == 600
    dry = site.solo(program, {"heartbeat": 400, "threads": 1}, "--why-run")
    assert any(line.startswith('+  "heartbeat": 400') for one in dry["updated"] for line in one["lines"])
    assert _settings(site)["heartbeat"] == 600
    site.solo(program, {"engines": 2, "threads": 1})
    assert _settings(site)["heartbeat"] == 500
    assert [one["id"] for one in json.loads(site.cncp("status", "--json").stdout)] == [None, 0, 1]


def test_without_rights(user_site: Site, program: Path) -> None:
    """An unprivileged user gets the same, and everything is theirs."""
    user_site.solo(program, {})
    assert {path.lstat().st_uid for path in (user_site.folder / "home").rglob("*")} == {user_site.user}
    assert user_site.solo(program, {})["updated"] == []
