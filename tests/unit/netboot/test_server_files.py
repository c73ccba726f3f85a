"""What the server leaves for others: cidcapt for prologs, the access file, and what its services are restarted for."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from cncp.machine.desired import service_home
from cncp.machine.services.kinds import KINDS
from cncp.netboot.cidcapt import Access
from cncp.netboot.service.cidcapt_command import install_command, remove_command
from cncp.netboot.service.server_node import SERVICES, digests, server_node
from cncp.netboot.service.server_paths import Paths

ACCESS = Access("https://10.1.0.1:38008", "0" * 64, "token")
ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return those of a machine in a folder."""
    made = Paths(tmp_path)
    made.home.mkdir(parents=True)
    return made


def test_what_a_prolog_calls(paths: Paths) -> None:
    """A script that needs no environment, a file for its owner alone, a link for people; again it changes nothing."""
    install_command(paths, ACCESS, ME)
    before = {path: path.stat().st_mtime_ns for path in (paths.command, paths.access)}
    install_command(paths, ACCESS, ME)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert stat.S_IMODE(paths.access.stat().st_mode) == 0o600
    assert Access.from_json(paths.access.read_bytes(), "") == ACCESS
    assert paths.command.read_text().splitlines()[-1].endswith('-m cncp.remote cidcapt "$@"')
    assert os.access(paths.command, os.X_OK)
    assert paths.on_path.resolve() == paths.command
    remove_command(paths)
    assert not paths.command.exists()
    assert not os.path.lexists(paths.on_path)


def test_a_command_of_somebody_elses(paths: Paths) -> None:
    """What is there by that name stays, as it was."""
    paths.on_path.parent.mkdir(parents=True)
    paths.on_path.write_text("theirs")
    install_command(paths, ACCESS, ME)
    remove_command(paths)
    assert paths.on_path.read_text() == "theirs"


def test_a_change_restarts_what_it_concerns(paths: Paths) -> None:
    """A setting of cidd is nothing to dnsmasq, and the other way round; a line of the administrator's is dnsmasq's."""
    before = digests(paths)
    paths.cidd_settings.write_text("{}")
    after = digests(paths)
    assert (after["cidd"] == before["cidd"], after["dnsmasq"]) == (False, before["dnsmasq"])
    paths.own_lines.mkdir(parents=True)
    (paths.own_lines / "a.conf").write_text("x")
    last = digests(paths)
    assert (last["cidd"], last["dnsmasq"] == after["dnsmasq"]) == (after["cidd"], False)


@pytest.mark.parametrize("systemd", [True, False])
def test_what_keeps_them(paths: Paths, systemd: bool) -> None:
    """Systemd where it runs the machine, else what stands in for it; nothing of either is in root's own home."""
    if systemd:
        (paths.root / "run/systemd/system").mkdir(parents=True)
    node = server_node(paths)
    assert node.services == SERVICES
    assert set(SERVICES) <= KINDS.keys()
    assert (node.manager, node.scope) == (("systemd", "system") if systemd else ("supervisor", "user"))
    assert node.prefix == "cncp-netboot"
    assert all(resource.path.startswith(str(paths.home)) for resource in service_home(node))
