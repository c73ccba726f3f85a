"""Keys and connection files on one machine: asked for, handed out, written, told apart."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pexpect
import pytest

from cncp.client import connect, connect_state, idle, show
from cncp.client.connect_state import Connected
from cncp.client.profile import Profile
from cncp.config.inventory import LOCAL, HostSpec
from cncp.errors import CncpError
from cncp.files import to_json
from cncp.ipp import keys
from cncp.ipp.connection_file import ClientFile
from cncp.ssh import authorized_keys
from cncp.ssh.askpass import Desk, asks_for_password
from cncp.ssh.connection import Local
from cncp.ssh.user_key import PublicKey

ROOT = Path(__file__).resolve().parents[3]
KEY = PublicKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIGxvbmcgZW5vdWdo", "cncp laptop")


def document(secret: str = "k" * 64) -> ClientFile:
    """Return a client file as cncp writes it."""
    identity = keys.Identity.new(secret, (b"p" * 40, b"s" * 40), tuple(range(20000, 20018)))
    return keys.connection_files(identity, listen="0.0.0.0", location="gold1", encryption=True)[0]


def changed(**members: Any) -> bytes:
    """Return the content of one in which something is otherwise."""
    return to_json({**document().to_json(), **members})


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("ada@gold1's password: ", True),
        ("(ada@gold1) Password: ", True),
        ("Password:", True),
        ("(ada@gold1) Passwort: ", True),
        ("Enter passphrase for key '/home/ada/.ssh/password': ", False),
        ("Enter passphrase for /home/ada/.ssh/id_ed25519: ", False),
        ("Are you sure you want to continue connecting (yes/no/[fingerprint])? ", False),
        ("(ada@gold1) Verification code: ", False),
        ("Confirm user presence for key ED25519-SK", False),
        ("", False),
    ],
)
def test_only_passwords_are_answered(prompt: str, wanted: bool) -> None:
    """What asks for a passphrase, a code, or yes or no does not get the password."""
    assert asks_for_password(prompt) == wanted


def test_a_password_is_handed_out_once_to_each_ssh() -> None:
    """The program prints it for the first question of a process, and not for a second; then it is gone."""
    with Desk("correct horse") as desk:
        assert "correct" not in Path(desk.program).read_text()
        assert Path(desk.program).stat().st_mode & 0o777 == 0o700
        assert Path(desk.program).parent.stat().st_mode & 0o777 == 0o700
        asked = [subprocess.run([desk.program, "a@b's password: "], capture_output=True, check=False) for _ in "12"]
        assert [(answer.stdout, answer.returncode) for answer in asked] == [(b"correct horse\n", 0), (b"", 1)]
    assert not Path(desk.program).parent.exists()


@pytest.mark.parametrize("before", [None, "", "# mine", "# mine\nssh-rsa AAAA other\n"])
def test_a_key_is_added_once_and_taken_out_again(before: str | None, home: Path) -> None:
    """What stood in authorized_keys stays as it was; the file is 0600, and nothing is left beside it."""
    here = Local(HostSpec(LOCAL))
    file = home / ".ssh" / "authorized_keys"
    if before is not None:
        file.parent.mkdir()
        file.write_text(before)
    assert authorized_keys.add(here, KEY.identity, KEY.line) == authorized_keys.ADDED
    assert authorized_keys.add(here, KEY.identity, KEY.line) == authorized_keys.THERE
    lines = (before or "").splitlines()
    assert file.read_text().splitlines() == [*lines, KEY.line]
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(file.parent) == ["authorized_keys"]
    assert authorized_keys.remove(here, KEY.identity) == authorized_keys.REMOVED
    assert authorized_keys.remove(here, KEY.identity) == authorized_keys.ABSENT
    assert file.read_text().splitlines() == lines
    assert os.listdir(file.parent) == ["authorized_keys"]


def test_a_line_with_options_is_ours_too_and_a_comment_is_not(home: Path) -> None:
    """Restrictions that somebody put before our key are not undone; what is commented out does not count."""
    file = home / ".ssh" / "authorized_keys"
    file.parent.mkdir()
    file.write_text(f"# {KEY.line}\n")
    here = Local(HostSpec(LOCAL))
    assert authorized_keys.add(here, KEY.identity, KEY.line) == authorized_keys.ADDED
    file.write_text(f'# {KEY.line}\nfrom="10.0.0.0/8" {KEY.line}\n')
    assert authorized_keys.add(here, KEY.identity, KEY.line) == authorized_keys.THERE
    assert authorized_keys.remove(here, KEY.identity) == authorized_keys.REMOVED
    assert file.read_text() == f"# {KEY.line}\n"


def test_many_hosts_of_one_home_add_one_line(home: Path) -> None:
    """Hosts that share a home write it at the same time, through a link even; the line is there once."""
    (home / ".ssh").mkdir()
    (home / "kept").write_text("# mine\n")
    (home / ".ssh" / "authorized_keys").symlink_to(home / "kept")
    with ThreadPoolExecutor(8) as pool:
        said = set(pool.map(lambda _: authorized_keys.add(Local(HostSpec(LOCAL)), KEY.identity, KEY.line), range(16)))
    assert said <= {authorized_keys.ADDED, authorized_keys.THERE}
    assert (home / "kept").read_text() == f"# mine\n{KEY.line}\n"
    assert (home / ".ssh" / "authorized_keys").is_symlink()


@pytest.fixture
def agent(home: Path) -> Iterator[str]:
    """Run an ssh-agent; give its socket."""
    path = home / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # it speaks once it listens
    yield str(path)
    process.terminate()
    process.wait(10)
    process.stdout.close()


def generate(home: Path, answers: list[str], **variables: str) -> tuple[int, str]:
    """Run keys.generate on a terminal and answer what ssh asks."""
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "cncp", "keys.generate"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "bootstrap"), "HOME": str(home), **variables},
        encoding="utf-8",
        timeout=30,
    )
    said = ""
    for answer in answers:
        terminal.expect("assphrase.*: ")
        said += str(terminal.before)
        terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    said += str(terminal.before)
    terminal.close()
    return int(terminal.exitstatus or 0), said


def test_the_key_is_made_with_a_passphrase_and_given_to_the_agent(home: Path, agent: str) -> None:
    """ssh-keygen asks for it; the agent has it afterwards; the key is never made a second time."""
    status, said = generate(home, ["secret words"] * 3, SSH_AUTH_SOCK=agent)
    assert status == 0, said
    assert "the ssh-agent holds it" in said
    key = home / ".ssh" / "cncp_ed25519"
    before = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(os.listdir(key.parent)) == ["cncp_ed25519", "cncp_ed25519.pub"]
    unlocked = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", str(key)], capture_output=True, check=False)
    assert unlocked.returncode != 0
    status, said = generate(home, [], SSH_AUTH_SOCK=agent)
    assert (status, key.read_bytes()) == (0, before)
    assert "was there already" in said


def test_no_passphrase_by_mistake(home: Path) -> None:
    """An empty answer makes no key: that has to be said."""
    status, said = generate(home, ["", ""], SSH_AUTH_SOCK="")
    assert status == 1
    assert "--no-passphrase" in said
    assert not os.listdir(home / ".ssh")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        changed(registration=0),
        changed(mux="22"),
        changed(task=True),
        changed(interface="ipc:///tmp/x"),
        changed(curve_serverkey="short"),
        changed(key=7),
        changed(location=["x"]),
    ],
)
def test_what_is_no_client_file_is_refused(content: bytes) -> None:
    """What a host hands out is checked before anything here relies on it."""
    with pytest.raises(CncpError, match="x on y is"):
        ClientFile.read(content, "x on y")


def test_a_client_file_never_starts_ssh() -> None:
    """The field that has ipyparallel run ssh by itself is dropped; what cncp does not know is, too."""
    found = ClientFile.read(changed(ssh="evil", other="x"), "x")
    assert found.ssh == ""
    assert "other" not in found.to_json()
    assert found.at("10.0.0.7").interface == "tcp://10.0.0.7"


def test_profiles_keep_other_clusters_keys(home: Path) -> None:
    """Another key is refused or kept beside; the own cluster's profile is never written to."""
    profile = Profile(home / ".ipython", "p")
    assert profile.write(document())
    assert not profile.write(document())
    other = document("o" * 64)
    with pytest.raises(CncpError, match=other.fingerprint):
        profile.check(other, force=False)
    profile.check(other, force=True)
    backup = profile.keep_former(other)
    assert backup is not None
    assert backup.stat().st_mode & 0o777 == 0o600
    assert ClientFile.read(backup.read_bytes(), "it") == document()
    (profile.client.parent / "cncp-identity.json").touch()
    with pytest.raises(CncpError, match="cluster on this machine"):
        profile.check(document(), force=True)


def test_show_prints_ranges_and_no_key(home: Path) -> None:
    """Ports are shown as ranges, keys as fingerprints."""
    Profile(home, "p").write(document())
    (profile,) = show.show(home)
    assert profile.ports == "20000,20009-20014"
    assert profile.address == "gold1"
    assert len(profile.key) == 16
    assert "k" * 64 not in str(profile)
    assert "p" * 40 not in str(profile)


def test_unsent_bytes_are_those_of_our_ports(tmp_path: Path) -> None:
    """Only what clients on these ports have not acknowledged counts."""
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
        "   0: 0100007F:4E20 0100007F:9C40 01 00000010:00000003 00:00000000 00000000\n"
        "   1: 0100007F:4E21 0100007F:9C41 01 00000100:00000000 00:00000000 00000000\n"
        "   2: 0100007F:9C40 0100007F:4E20 01 00001000:00000000 00:00000000 00000000\n"
    )
    assert idle.unsent({20000, 30000}, [table, tmp_path / "missing"]) == 16


def test_local_ports() -> None:
    """The former ports are taken again, a range is kept to, and a port in use is named."""
    former = connect.choose_ports("", ())
    assert connect.choose_ports("", former) == former
    assert all(20000 <= port < 32768 for port in former)
    low, high = former[0], former[-1]
    assert connect.choose_ports(f"{low}-{high}", ()) == former
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", low))
        taken.listen()
        assert low not in connect.choose_ports("", former)
        with pytest.raises(CncpError, match=f"taken: {low}$"):
            connect.choose_ports(f"{low}-{high}", ())


def test_what_connect_replaces_comes_back(home: Path) -> None:
    """The former file is back at the end, also after a run that was killed half-way."""
    profile = Profile(home, "p")
    profile.write(document())
    local = document().at("127.0.0.1", tuple(range(21000, 21007)))
    last = Connected(1, 0, "p", "gold1", "p", tuple(range(21000, 21007)), connect_state.UP, 0, 0, 0, "")
    with connect.in_place(profile, local, None):
        assert profile.stored() == to_json(local)
    assert profile.stored() == to_json(document())
    # As after SIGKILL: the tunnel's file in place, the former one aside.
    again = document().at("127.0.0.1", tuple(range(22000, 22007)))
    profile.write(local)
    profile.client.with_name(f"{profile.client.name}.before-connect").write_bytes(to_json(document()))
    with connect.in_place(profile, again, last):
        assert profile.stored() == to_json(again)
    assert profile.stored() == to_json(document())
    assert os.listdir(profile.client.parent) == [profile.client.name]
