"""What a machine is left for its tunnels: a key made once, the others' host keys, and the command line of ssh."""

from __future__ import annotations

import base64
import dataclasses
import subprocess
from pathlib import Path

import pytest

from cncp.config import sources
from cncp.config.inventory import LOCAL, HostSpec
from cncp.errors import CncpError, UsageError
from cncp.fleet import tunnel_grants, tunnel_setup
from cncp.machine.tunnels import Delivered, Tunnel, command, deliver, folder, forwards, key, label, load
from cncp.records import Misfit
from cncp.ssh import authorized_keys
from cncp.ssh.connection import Local
from cncp.ssh.rpc import HostKeys

from .facts import SECRET

KEYS = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + letter * 43 for letter in "AB"]
"""Public keys in form: 51 bytes, of which the last 32 are the key."""

GOLD = Tunnel("gold2_example_org", "gold2.example.org", (KEYS[0],), (20000, 20001), "127.0.0.1", True)
SILVER = dataclasses.replace(GOLD, name="silver", host="silver", user="ada", port=2222, jump="gate", reverse=False)


def content(home: Path) -> dict[str, tuple[int, bytes]]:
    """Return all files of the folder, with their modes."""
    return {path.name: (path.stat().st_mode & 0o777, path.read_bytes()) for path in folder(home).iterdir()}


def test_delivered_once_and_taken_away(tmp_path: Path) -> None:
    """The key stays, a second delivery of the same changes nothing, others are kept by name; then all goes."""
    first = deliver(tmp_path, [GOLD])
    assert first.changed
    assert first.public.startswith("ssh-ed25519 ")
    assert load(tmp_path) == (GOLD,)
    before = content(tmp_path)
    assert {name: mode for name, (mode, _) in before.items()} == {
        "key": 0o600,
        "key.pub": 0o644,
        "known_hosts": 0o600,
        "tunnels.json": 0o600,
    }
    assert folder(tmp_path).stat().st_mode & 0o777 == 0o700
    assert deliver(tmp_path, [GOLD]) == Delivered(False, first.public)
    assert content(tmp_path) == before
    assert deliver(tmp_path, [SILVER], keep=[GOLD.name]) == Delivered(True, first.public)
    assert load(tmp_path) == (GOLD, SILVER)
    known = (folder(tmp_path) / "known_hosts").read_text()
    assert known == f"gold2_example_org {KEYS[0]}\nsilver {KEYS[0]}\n"
    # A new way to a host takes the place of the former one.
    moved = dataclasses.replace(GOLD, address="10.0.0.2")
    deliver(tmp_path, [moved], keep=[GOLD.name])
    assert load(tmp_path) == (moved,)
    assert deliver(tmp_path, []) == Delivered(True, first.public)
    assert not folder(tmp_path).exists()
    assert deliver(tmp_path, []) == Delivered(False, "")


def test_ssh_accepts_the_command_line(tmp_path: Path) -> None:
    """What ssh makes of it, as it says itself: these ports, this key and host, and no question."""
    home = tmp_path / "a 100% home"
    home.mkdir()
    deliver(home, [SILVER])
    words = command(home, SILVER, "s")
    assert words[-2:] == ["--", "silver"]
    assert forwards(SILVER) == [
        *("-L", "127.0.0.1:20000:127.0.0.1:20000"),
        *("-L", "127.0.0.1:20001:127.0.0.1:20001"),
    ]
    assert forwards(GOLD).count("-R") == 2
    said = subprocess.run(["ssh", "-G", *words[1:]], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    shown = said.stdout.splitlines()
    assert "hostkeyalias silver" in shown
    assert "stricthostkeychecking true" in shown
    assert "batchmode yes" in shown
    assert "identitiesonly yes" in shown
    # Whether ssh shows them expanded depends on the option and the version.
    files = {line.replace("%%", "%") for line in shown if line.startswith(("identityfile ", "userknownhostsfile "))}
    assert files == {f"identityfile {key(home)}", f"userknownhostsfile {folder(home)}/known_hosts"}
    assert {"user ada", "port 2222", "proxyjump gate"} <= set(shown)


def test_the_line_that_lets_a_key_in(home: Path) -> None:
    """For these ports alone, one line a key however often it changes, and other lines as they were."""
    (home / ".ssh").mkdir()
    file = home / ".ssh" / "authorized_keys"
    mine = f"{KEYS[1]} mine"
    file.write_text(f"{mine}\n")
    here = Local(HostSpec(LOCAL))
    identity = tunnel_grants.let_in(here, f"{KEYS[0]} a comment", GOLD)
    assert identity == KEYS[0]
    listens = 'permitlisten="127.0.0.1:20000",permitlisten="127.0.0.1:20001"'
    assert file.read_text().splitlines() == [
        mine,
        f'restrict,port-forwarding,command="/bin/false",{listens},permitopen="127.0.0.1:9" {identity} cncp tunnel',
    ]
    before = file.stat().st_mtime_ns
    tunnel_grants.let_in(here, f"{KEYS[0]} a comment", GOLD)
    assert file.stat().st_mtime_ns == before
    tunnel_grants.let_in(here, f"{KEYS[0]} a comment", dataclasses.replace(SILVER, bound="10.0.0.1"))
    first, other = file.read_text().splitlines()
    assert first == mine
    assert 'permitlisten="127.0.0.1:9",permitopen="10.0.0.1:20000",permitopen="10.0.0.1:20001"' in other
    authorized_keys.remove(here, identity, tunnel_grants.COMMENT)
    assert file.read_text() == f"{mine}\n"


PREFIX = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"

NO_KEYS = [
    "",
    PREFIX,
    "ssh-ed25519",
    "ssh-ed25519 AAAA",
    f"{KEYS[0]}\n{KEYS[1]}",
    f"{PREFIX}{'A' * 47}",
    f"ssh-rsa {KEYS[0].split()[1]}",
    "ssh-ed25519 " + base64.b64encode(b"\0\0\0\7ssh-rsa" + bytes(40)).decode(),
    f'command="x" {KEYS[0]}',
]


@pytest.mark.parametrize("said", NO_KEYS)
def test_a_host_that_shows_no_key_of_its_own_changes_nothing(home: Path, said: str) -> None:
    """Whatever it answers for its public key, nobody's line of authorized_keys goes, and none comes."""
    file = home / ".ssh" / "authorized_keys"
    file.parent.mkdir()
    file.write_text(f"{KEYS[0]} me\n{KEYS[1]} me\nssh-rsa AAAAB3 me\n")
    before = file.read_bytes()
    here = Local(HostSpec(LOCAL))
    with pytest.raises(CncpError):
        tunnel_grants.let_in(here, Delivered.from_json({"changed": True, "public": said}, "it").public, GOLD)
    if len(said.splitlines()) < 2:
        with pytest.raises(CncpError):
            tunnel_grants.let_in(here, said, GOLD)
    assert file.read_bytes() == before


LINES = [
    f"{KEYS[0]} ada@laptop",
    f'from="10.0.0.1",command="echo {KEYS[0]} cncp tunnel" {KEYS[1]} cncp tunnel',
    f"# {KEYS[0]} cncp tunnel",
    f"{KEYS[0]} not of cncp tunnel",
    f"{KEYS[0]}",
    f"{KEYS[0]}X cncp tunnel",
]
"""What is not the line of the first key's tunnel, however much it looks like that."""


def test_only_the_line_of_a_tunnel_goes(home: Path) -> None:
    """The key has to be the key field, and our comment its end: a host may show another's key as its own."""
    file = home / ".ssh" / "authorized_keys"
    file.parent.mkdir()
    file.write_text("\n".join([*LINES, f'restrict,command="a \\" b" {KEYS[0]}  cncp  tunnel']))
    here = Local(HostSpec(LOCAL))
    assert authorized_keys.remove(here, KEYS[0], tunnel_grants.COMMENT) == authorized_keys.REMOVED
    assert file.read_text().splitlines() == LINES
    assert authorized_keys.remove(here, KEYS[0], tunnel_grants.COMMENT) == authorized_keys.ABSENT
    tunnel_grants.let_in(here, KEYS[0], GOLD)
    assert file.read_text().splitlines()[:-1] == LINES
    assert authorized_keys.add(here, KEYS[0], "never") == authorized_keys.THERE
    # Our own key is known by itself, whatever comment it has got since.
    assert authorized_keys.remove(here, KEYS[0]) == authorized_keys.REMOVED
    assert file.read_text().splitlines() == [LINES[1], LINES[2], LINES[5]]


def test_host_keys_that_are_none_are_not_known(home: Path) -> None:
    """One engine host cannot vouch for another by a newline in its key."""
    with pytest.raises(Misfit):
        HostKeys.from_json({"keys": [f"{KEYS[0]}\nother {KEYS[1]}"]}, "it")
    with pytest.raises(CncpError):
        deliver(home, [dataclasses.replace(GOLD, host_keys=(f"{KEYS[0]}\nother {KEYS[1]}",))])
    assert not (folder(home) / "known_hosts").exists()


def test_what_engines_behind_a_tunnel_dial() -> None:
    """Their own loopback, whatever address the controller has."""
    behind = tunnel_setup.behind(SECRET)
    assert (behind.interface, behind.location) == ("tcp://127.0.0.1", "127.0.0.1")


@pytest.mark.parametrize("name", ["gold2.example.org", "10.0.0.1", "a_b", "x-1"])
def test_names_of_services(name: str) -> None:
    """A host's name is one that systemd, supervisord, tmux and screen can all have."""
    assert set(label(name)) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


FILE = """
[[pool]]
hosts = ["gold[1-2]"]
connect = "{}"
[pool.host.gold2]
connect = "{}"
"""


@pytest.mark.parametrize(
    ("first", "second", "listen"),
    [
        ("direct", "reverse", "0.0.0.0"),
        ("reverse", "forward", "127.0.0.1"),
        ("forward", "direct", "0.0.0.0"),
    ],
)
def test_where_the_controller_listens(tmp_path: Path, first: str, second: str, listen: str) -> None:
    """On loopback, where nobody dials it from elsewhere."""
    path = tmp_path / "cluster.toml"
    path.write_text(FILE.format(first, second))
    former = sources.Kept({})
    assert sources.gather(file=path, environment={}, flags={}, former=former).listen == listen


def test_another_way_is_refused(tmp_path: Path) -> None:
    """A word that is none of the three is named with those that are."""
    path = tmp_path / "cluster.toml"
    path.write_text(FILE.format("direct", "tunnel"))
    with pytest.raises(UsageError, match=r"host\.gold2: connect = 'tunnel' is not possible") as caught:
        sources.read(path)
    assert caught.value.hint == "connect must be direct, forward or reverse"
