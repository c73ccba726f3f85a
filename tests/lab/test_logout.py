"""Where logind ends what a session leaves (KillUserProcesses=yes): a cluster outlives the logout, or it says not."""

from __future__ import annotations

import pytest

from .host import Host
from .site import Site, until
from .sites import MakeSite

KILL = "[Login]\nKillUserProcesses=yes\n"

SAID = {
    "supervisor": "logind ends all with your session (KillUserProcesses=yes)",
    "tmux": "logind ends all with your session (KillUserProcesses=yes)",
    "screen": "logind ends all with your session (KillUserProcesses=yes)",
    "systemd": "all ends with your last session",
}
"""What is said where nothing can be done about it."""


@pytest.fixture(scope="module")
def bob(bare: Host, make_site: MakeSite) -> Site:
    """A plain user of a host whose logind ends what sessions leave."""
    bare.exec(["mkdir", "-p", "/etc/systemd/logind.conf.d"])
    bare.write("/etc/systemd/logind.conf.d/kill.conf", KILL)
    bare.exec(["systemctl", "restart", "systemd-logind"])
    return make_site(bare, "bob")


def services(site: Site) -> list[str]:
    """Return the processes of the services, as root sees them without a session of the user's."""
    return site.host.exec(["pgrep", "-u", site.user, "-f", "cncp.remote serve"], check=False).stdout.split()


def log_out(site: Site) -> None:
    """End the user's session, and wait until logind is done with it."""
    site.host.logout(site.user)
    until(
        lambda: site.user not in site.host.exec(["loginctl", "--no-legend", "list-sessions"]).stdout,
        30,
        f"the end of {site.user}'s sessions",
    )


SESSIONS = [
    pytest.param(manager, marks=pytest.mark.slow(held="that with supervisor, which logind ends in the same way"))
    for manager in ("tmux", "screen")
]


@pytest.mark.parametrize("manager", ["supervisor", *SESSIONS, "systemd"])
def test_it_is_said_or_it_goes_on(bob: Site, manager: str) -> None:
    """Without lingering `up` and `check` say that all ends, and it does; with it, as they advise, all goes on."""
    host = bob.host
    host.exec(["loginctl", "disable-linger", "bob"])
    up = bob.baremetal("--engines=1", f"--service-manager={manager}")
    assert SAID[manager] in up.stderr
    check = bob.cncp("check", check=False)
    assert check.returncode == 1
    assert SAID[manager] in check.stdout
    assert "loginctl enable-linger bob" in check.stdout
    assert services(bob)
    log_out(bob)
    until(lambda: not services(bob), 60, "the end of what the session leaves")
    host.exec(["loginctl", "enable-linger", "bob"])
    bob.cncp("down")
    assert "session" not in bob.cncp("up").stderr
    assert "all is well" in bob.cncp("check").stdout
    before = services(bob)
    assert before
    log_out(bob)
    assert services(bob) == before
    assert bob.await_engines(1)
    assert services(bob) == before
    bob.cncp("uninstall")
