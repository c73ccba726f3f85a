"""Who sets a cluster up, and what keeps it running: all that go together, on a host with real systemd."""

from __future__ import annotations

import json

import pytest

from .host import Host
from .site import Site, until
from .sites import MakeSite

PASSWORD = "correct horse"
SCREEN = pytest.param("screen", marks=pytest.mark.slow(held="that with tmux"))


@pytest.fixture(scope="module")
def bob(bare: Host, make_site: MakeSite) -> Site:
    """A plain user without sudo."""
    return make_site(bare, "bob")


@pytest.fixture(scope="module")
def ada(bare: Host, make_site: MakeSite) -> Site:
    """A user whose sudo asks for a password."""
    return make_site(bare, "ada")


@pytest.fixture(scope="module")
def root(bare: Host, make_site: MakeSite) -> Site:
    """Root, logged in as such."""
    return make_site(bare, "root")


def hold(site: Site, count: int, manager: str, scope: str) -> None:
    """Hold what every combination must: engines that compute, as the right user, and a second run that is none."""
    assert sorted(site.ask_engines()) == [str(number) for number in range(count)]
    said = site.python(
        "import ipyparallel as i; print(set(i.Client(profile='cncp')[:].apply_sync(__import__('getpass').getuser)))"
    )
    assert said.stdout.strip() == str({site.user})
    done = site.baremetal("--json", "--verbose")
    again = json.loads(done.stdout)
    assert (again["service_manager"], again["scope"]) == (manager, scope)
    assert again["changed"] is False
    assert again["answering"] == list(range(count))
    # Nothing was done but to look; baremetal.sh hands the switch on.
    assert sorted(again["seconds"]) == ["await-engines", "environment", "plan"]
    assert all(f"    {phase}: " in done.stderr for phase in again["seconds"])
    assert site.cncp("plan", "--detailed-exitcode").stdout.strip() == "nothing to change"


def test_plain_user_by_default(bob: Site) -> None:
    """A user who can neither use sudo nor linger gets supervisord, which outlives the session."""
    before = bob.tree()
    done = bob.baremetal("--engines", "2")
    assert "converging with the embedded engine" in done.stderr
    assert "2/2 engines answer · profile cncp · supervisor ·" in done.stdout
    hold(bob, 2, "supervisor", "user")
    bob.host.logout("bob")
    assert bob.await_engines(2)
    bob.host.reboot()
    bob.await_engines(2)
    hold(bob, 2, "supervisor", "user")
    bob.cncp("uninstall")
    assert bob.tree() == before


@pytest.mark.parametrize("manager", ["systemd", "tmux", SCREEN, "supervisor"])
def test_plain_user_chooses(bob: Site, manager: str) -> None:
    """Each manager takes over from the one before, with the same keys; settings that change are applied."""
    bob.baremetal("--engines=2", f"--service-manager={manager}")
    hold(bob, 2, manager, "user")
    running = sorted(name for name, service in bob.status().items() if service["pid"])
    assert running == ["controller", "engine-0", "engine-1"]
    bob.baremetal("--engines=1", "--heartbeat=300")
    hold(bob, 1, manager, "user")


@pytest.mark.parametrize("manager", ["tmux", SCREEN])
def test_plain_user_sessions_survive_a_reboot(bob: Site, manager: str) -> None:
    """Tmux and screen sessions come back at boot, by cron."""
    bob.baremetal("--engines=1", f"--service-manager={manager}")
    bob.host.reboot()
    bob.await_engines(1)


def test_plain_user_may_not_have_system_units(bob: Site) -> None:
    """What needs root is refused where there is no way to it, before anything is changed."""
    bob.cncp("uninstall")
    before = bob.tree()
    done = bob.baremetal("--scope", "system", check=False)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-2].startswith("error: scope = system needs root")
    assert bob.tree() == before


def test_user_with_sudo_on_a_terminal(ada: Site) -> None:
    """With a terminal, sudo asks; the units are the system's and run as the user."""
    before = ada.tree()
    status, said = ada.baremetal_on_tty("--scope=system", "--engines=2", password=PASSWORD)
    assert status == 0, said
    assert "2/2 engines answer · profile cncp · systemd (system)" in said
    assert sorted(ada.ask_engines()) == ["0", "1"]
    for unit in ("cncp-controller", "cncp-engine@0"):
        shown = ada.host.exec(["systemctl", "show", "-p", "User,ActiveState", unit]).stdout
        assert "User=ada" in shown
        assert "ActiveState=active" in shown
    ada.host.reboot()
    ada.await_engines(2)
    terminal = ada.host.shell_tty([f"{ada.home}/.local/bin/cncp", "uninstall"], "ada")
    terminal.expect("assword.*:")
    terminal.sendline(PASSWORD)
    terminal.expect("removed")
    terminal.wait()
    assert ada.tree() == before


def test_user_with_sudo_on_a_terminal_lingers(ada: Site) -> None:
    """With a terminal the user's own systemd is made to linger, and brings all back after a reboot."""
    before = ada.tree()
    status, said = ada.baremetal_on_tty("--engines=2", password=PASSWORD)
    assert status == 0, said
    assert "systemd (user)" in said
    ada.host.reboot()
    # Nobody has logged in: only root looks, from outside.
    until(
        lambda: (
            ada.host.exec(["pgrep", "-u", "ada", "-fc", "cncp.remote serve engine"], check=False).stdout.strip() == "2"
        ),
        30,
        "ada's engines without a login",
    )
    ada.await_engines(2)
    hold(ada, 2, "systemd", "user")
    terminal = ada.host.shell_tty([f"{ada.home}/.local/bin/cncp", "uninstall"], "ada")
    while terminal.expect(["assword.*:", "removed"]) == 0:
        terminal.sendline(PASSWORD)
    terminal.wait()
    assert ada.tree() == before


def test_root(root: Site) -> None:
    """Root gets system units."""
    before = root.tree()
    done = root.baremetal("--engines=2")
    assert "systemd (system)" in done.stdout
    hold(root, 2, "systemd", "system")
    root.host.reboot()
    root.await_engines(2)
    root.cncp("uninstall")
    assert root.tree() == before


def test_root_for_a_user(bob: Site) -> None:
    """Under sudo the cluster is the caller's: files and processes belong to the caller, units to the system."""
    before = bob.tree()
    script = f"{bob.work}/baremetal.sh"
    environment = ["env", "SUDO_USER=bob"]
    done = bob.host.run([*environment, "bash", script, "--engines=1"], "root", timeout=240)
    assert "systemd (system)" in done.stdout
    hold_owner = bob.host.exec(["find", bob.home, "-not", "-user", "bob"]).stdout
    assert hold_owner == ""
    assert sorted(bob.ask_engines()) == ["0"]
    bob.host.run([*environment, f"{bob.home}/.local/bin/cncp", "uninstall"], "root")
    assert bob.tree() == before
