"""The lab's hosts are what they claim to be: real machines to cncp and its tests."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from .fixtures import MakeHost
from .nspawn import CommandError, Host, Lab, LabError, LabTimeoutError, User

LINGER = "/var/lib/systemd/linger/ada"
AWAIT_END = "import os, select, sys; select.select([os.pidfd_open(int(sys.argv[1]))], [], [], 10)"


def uid(host: Host) -> str:
    """Return ada's number, which depends on who else the lab has met before."""
    return host.exec(["id", "-u", "ada"]).stdout.strip()


TRIXIE = pytest.param("trixie", marks=pytest.mark.slow(held="those with bookworm, and test_airgap.py on trixie"))


@pytest.fixture(scope="module", params=["bookworm", TRIXIE])
def booted(request: pytest.FixtureRequest, make_host: MakeHost) -> Host:
    """Boot a host of each suite the project is tested on."""
    made = make_host(f"on-{request.param}", suite=request.param, users=("ada", "bob"))
    made.boot()
    return made


def user_manager_pid(host: Host) -> str:
    """Find the process of ada's user manager, which a new boot must change."""
    shown = host.exec(["systemctl", "show", "--value", "--property=MainPID", f"user@{uid(host)}.service"])
    return shown.stdout.strip()


def test_boots_without_a_failed_unit(booted: Host) -> None:
    """A unit that fails here would hide one that the project breaks."""
    assert booted.exec(["systemctl", "is-system-running"]).stdout.strip() == "running"
    assert booted.suite in booted.read("/etc/os-release")


def test_login_is_a_real_session(booted: Host) -> None:
    """Ssh goes through PAM: logind knows the session and made the runtime folder."""
    said = booted.run(["sh", "-c", 'id -un; loginctl show-session "$XDG_SESSION_ID"'], user="ada")
    assert said.stdout.startswith("ada\n")
    assert "Service=sshd" in said.stdout
    assert booted.run(["printenv", "XDG_RUNTIME_DIR"], user="ada").stdout == f"/run/user/{uid(booted)}\n"


def test_user_manager_runs(booted: Host) -> None:
    """``systemctl --user`` works for a plain login, as per-user services need."""
    state = booted.run(["systemctl", "--user", "is-system-running", "--wait"], user="ada")
    assert state.stdout == "running\n"


def test_arguments_arrive_as_given(booted: Host) -> None:
    """No shell on the way takes an argument, the environment or the input apart."""
    words = ["a b", "$HOME", "'", '"', "", "*", "\n"]
    said = booted.run(["printf", "%s|", *words], user="bob")
    assert said.stdout == "".join(f"{word}|" for word in words)
    assert booted.run(["printenv", "X"], env={"X": "$y 'z'"}).stdout == "$y 'z'\n"
    assert booted.run(["cat"], input="given").stdout == "given"


def test_failure_says_what_and_where(booted: Host) -> None:
    """A command's error names the host, the command and what it printed."""
    with pytest.raises(CommandError, match=rf"{booted.name}: ls /absent ended .* No such file"):
        booted.run(["ls", "/absent"])
    assert booted.run(["false"], check=False).returncode == 1
    with pytest.raises(LabTimeoutError, match="sleep 60"):
        booted.run(["sleep", "60"], timeout=0.5)


def test_sudo_asks_on_a_terminal(booted: Host) -> None:
    """The user ada becomes root with her password; bob may not."""
    with_tty = booted.shell_tty(["sudo", "-k", "id", "-u"], "ada")
    with_tty.expect("password for ada:")
    with_tty.sendline(booted.users["ada"].password)
    with_tty.expect(r"\b0\r\n")
    with_tty.expect_exact(with_tty.delimiter)
    denied = booted.shell_tty(["sudo", "-k", "id", "-u"], "bob")
    denied.expect("password for bob:")
    denied.sendline(booted.users["bob"].password)
    denied.expect("not in the sudoers file")


def test_files_arrive_with_owner_and_mode(booted: Host, tmp_path: Path) -> None:
    """Files can be put where only the host sees, such as its /tmp."""
    booted.write("/run/new/deep/file", "text\n", owner="ada", mode=0o600)
    assert booted.read("/run/new/deep/file") == "text\n"
    told = booted.run(["stat", "-c", "%U %G %a", "/run/new/deep/file", "/run/new/deep"], user="ada")
    assert told.stdout == "ada ada 600\nada ada 755\n"
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one").write_text("1")
    booted.put(tmp_path, "/home/bob/copy", owner="bob")
    assert booted.run(["cat", "copy/inner/one"], user="bob").stdout == "1"


def test_reboot_is_a_new_boot_and_linger_survives_it(booted: Host) -> None:
    """A lingering user's manager comes back with nobody logged in."""
    booted.run(["loginctl", "enable-linger", "ada"])
    assert booted.exists(LINGER)
    boot = booted.read("/proc/sys/kernel/random/boot_id")
    booted.reboot()
    assert booted.read("/proc/sys/kernel/random/boot_id") != boot
    assert booted.exec(["systemctl", "is-active", f"user@{uid(booted)}.service"]).stdout == "active\n"
    assert user_manager_pid(booted) != "0"
    booted.exec(["loginctl", "disable-linger", "ada"])


def test_power_cut_keeps_the_disk(booted: Host) -> None:
    """Nothing is asked to end, and what was on the disk is there after the next boot."""
    booted.run(["sh", "-c", "echo kept > kept"], user="ada")
    stop = "--property=ExecStop=/usr/bin/touch /root/asked"
    booted.run(["systemd-run", "--unit=probe", stop, "sleep", "infinity"])
    booted.power_cut()
    assert not booted.running
    assert booted.run(["true"], check=False, timeout=10).returncode == 255
    assert booted.read("/home/ada/kept") == "kept\n"  # of a host that is off: its disk
    booted.boot()
    assert booted.run(["cat", "kept"], user="ada").stdout == "kept\n"
    assert not booted.exists("/root/asked")


def test_power_off_and_on(booted: Host) -> None:
    """An orderly end is one that the journal of the next boot calls orderly."""
    booted.power_off()
    assert not booted.running
    booted.boot()
    assert "Reached target" in booted.journal("--boot=-1", "--unit=shutdown.target")


def test_network_cut_and_back(host: Host) -> None:
    """A cut host runs on, cannot be logged in to, and is itself again after it."""
    boot = host.read("/proc/sys/kernel/random/boot_id")
    host.network(up=False)
    failed = host.run(["true"], user="ada", check=False)
    assert failed.returncode == 255
    assert re.search("timed out|No route to host", failed.stderr)
    with pytest.raises(CommandError, match=r"timed out|No route to host"):
        host.run(["true"])
    assert host.exec(["hostname"]).stdout == "host\n"
    host.network(up=True)
    assert host.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout == boot


def test_logout_ends_the_session(host: Host) -> None:
    """A session lasts from the first command to the logout, and not longer."""
    show = ["sh", "-c", 'echo "$XDG_SESSION_ID"; loginctl show-session -p Leader --value "$XDG_SESSION_ID"']
    session, leader = host.run(show, user="ada").stdout.split()
    assert host.run(show, user="ada").stdout.split() == [session, leader]
    host.logout("ada")
    host.exec(["python3", "-c", AWAIT_END, leader], check=False)  # fails when it has ended already
    state = host.exec(["loginctl", "show-session", "-p", "State", "--value", session], check=False)
    assert state.stdout in ("closing\n", "")
    assert host.run(show, user="ada").stdout.split() != [session, leader]


def test_hosts_know_and_reach_each_other(lab: Lab, host: Host, make_host: MakeHost) -> None:
    """One host logs in to another by name; none has a way out."""
    other = make_host("other")
    other.boot()
    lab.give_key(host, "ada")
    command = ["ssh", "-o", "BatchMode=yes", "other", "hostname"]
    assert host.run(command, user="ada").stdout == "other\n"
    assert host.run(["ip", "route", "show", "default"]).stdout == ""


def test_numbers_of_users_agree_and_a_home_can_be_shared(lab: Lab, make_host: MakeHost, tmp_path: Path) -> None:
    """What ada writes on one host is hers on the other, as with NFS."""
    carol = User("carol", False, "s e'c$ret")
    first = make_host("nfs1", users=("ada", carol), shared_home=tmp_path)
    second = make_host("nfs2", users=(carol, "ada"), shared_home=tmp_path)
    lab.boot(first, second)
    first.run(["sh", "-c", "umask 077; echo mine > file"], user="carol")
    assert second.run(["cat", "file"], user="carol").stdout == "mine\n"
    assert second.run(["cat", "/home/carol/file"], user="ada", check=False).returncode == 1


def test_boot_that_hangs_is_reported_and_ended(make_host: MakeHost) -> None:
    """The error has the console's last lines, and nothing is left running."""
    stuck = make_host("stuck")
    stuck.write(
        "/etc/systemd/system/hang.service",
        "[Service]\nType=oneshot\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
    )
    stuck.exec(["systemctl", "enable", "hang.service"])
    start = time.monotonic()
    with pytest.raises(LabTimeoutError, match=r"(?s)stuck did not boot in time.*Starting.*hang\.service"):
        stuck.boot(timeout=3)
    assert time.monotonic() - start < 10
    assert not stuck.running
    assert stuck.machine.group.pids() == set()


def test_host_that_ends_while_booting_is_reported(make_host: MakeHost) -> None:
    """A disk without an init is an error at once, not a time-out."""
    broken = make_host("broken")
    (broken.root / "sbin/init").unlink()
    (broken.root / "lib/systemd/systemd").unlink()
    with pytest.raises(LabError, match="broken ended with status 1 while booting"):
        broken.boot()


def test_limits_are_enforced_where_the_host_says_so(booted: Host) -> None:
    """A test that needs limits can ask first; hardening works in any case."""
    eat = ["python3", "-c", "len(b'a' * 200_000_000)"]
    limits = ["-p", "MemoryMax=50M", "-p", "MemorySwapMax=0"]
    ate = booted.run(["systemd-run", "--wait", *limits, *eat], check=False)
    assert (ate.returncode != 0) == booted.enforces_limits
    strict = ["-p", "ProtectSystem=strict", "-p", "NoNewPrivileges=yes", "-p", "PrivateTmp=yes"]
    refused = booted.run(["systemd-run", "--wait", *strict, "touch", "/etc/new"], check=False)
    assert refused.returncode == 1


def test_variant_with_more_packages(make_host: MakeHost) -> None:
    """The usual host has no python3-venv; one that asks for it has."""
    plain = make_host("plain")
    more = make_host("more", extra=("python3-venv",))
    check = ["python3", "-c", "import ensurepip"]
    assert plain.exec(check, check=False).returncode == 1
    assert more.exec(check, check=False).returncode == 0
