"""Hosts that share a home, and hosts that reach no index."""

from __future__ import annotations

from pathlib import Path

from .fleets import MakeFleet, differences


def test_hosts_that_share_a_home(make_fleet: MakeFleet, tmp_path: Path) -> None:
    """The shared home is installed to once, every host keeps its state apart, and nothing is left in the end."""
    home = tmp_path / "homes"
    home.mkdir()
    fleet = make_fleet("share", 3, shared=(1, 2), home=home)
    fleet.file('[[pool]]\nhosts = ["share[1-3]"]\nengines = 1\n[pool.host.share2]\nengines = 2\n')
    before = fleet.trees()
    done = fleet.master.baremetal()
    assert "4/4 engines answer" in done.stdout
    assert sorted(fleet.ask_engines()) == ["share1", "share2", "share2", "share3"]
    shared = home / "bob" / ".local/share/cncp/shared"
    stamps = [str(path.relative_to(shared)) for path in shared.rglob("cncp-installed.json")]
    assert stamps == ["venv/cncp-installed.json"]
    assert (shared / "share2" / "venv").is_symlink()
    assert "nothing to change" in fleet.master.cncp("up").stdout
    # Each host's services come back by themselves, and none of another's.
    fleet.hosts["share2"].host.reboot()
    fleet.await_engines(["share1", "share2", "share2", "share3"])
    fleet.master.cncp("uninstall")
    assert differences(before, fleet.trees()) == []


def test_a_host_that_reaches_no_index(make_fleet: MakeFleet) -> None:
    """Where a host cannot get packages, the machine in charge gets them and sends one bundle."""
    fleet = make_fleet("cut", 2)
    second = fleet.hosts["cut2"]
    second.host.write("/etc/pip.conf", "[global]\nindex-url = http://192.0.2.1/simple\n")
    fleet.file('[[pool]]\nhosts = ["cut[1-2]"]\nengines = 1\n[pool.host.cut2]\noffline = true\n')
    done = fleet.master.baremetal()
    assert "2/2 engines answer" in done.stdout
    assert "[cut2] sending the bundle" in done.stderr
    assert "[cut1] sending the bundle" not in done.stderr
    assert sorted(fleet.ask_engines()) == ["cut1", "cut2"]
    assert second.host.exec(["find", "/home/bob", "-name", "offline.tar"]).stdout == ""
    again = fleet.master.cncp("up")
    assert "nothing to change" in again.stdout
    assert "bundle" not in again.stderr
