"""What a machine is left for its tunnels: a key made once, the others' host keys, and the command line of ssh."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from cncp import attributes
from cncp.errors import UsageError
from cncp.fleet import authorized, tunnels
from cncp.fleet.ssh import Local
from cncp.inventory import LOCAL, HostSpec
from cncp.keys import ENGINE_CHANNELS
from cncp.machine.tunnels import Tunnel, command, deliver, folder, key, label, load

GOLD = Tunnel("gold2_example_org", "gold2.example.org", ("ssh-ed25519 AAAA",), (20000, 20001), "127.0.0.1", True)
SILVER = dataclasses.replace(GOLD, name="silver", host="silver", user="ada", port=2222, jump="gate", reverse=False)


def content(home: Path) -> dict[str, tuple[int, bytes]]:
    """Return all files of the folder, with their modes."""
    return {one.name: (one.stat().st_mode & 0o777, one.read_bytes()) for one in folder(home).iterdir()}


def test_delivered_once_and_taken_away(tmp_path: Path) -> None:
    """The key stays, a second delivery of the same changes nothing, others are kept by name; then all goes."""
    first = deliver(tmp_path, [GOLD])
    assert first["changed"]
    assert first["public"].startswith("ssh-ed25519 ")
    assert load(tmp_path) == (GOLD,)
    before = content(tmp_path)
    assert {name: mode for name, (mode, _) in before.items()} == {
        "key": 0o600,
        "key.pub": 0o644,
        "known_hosts": 0o600,
        "tunnels.json": 0o600,
    }
    assert folder(tmp_path).stat().st_mode & 0o777 == 0o700
    assert deliver(tmp_path, [GOLD]) == {"changed": False, "public": first["public"]}
    assert content(tmp_path) == before
    assert deliver(tmp_path, [SILVER], keep=[GOLD.name]) == {"changed": True, "public": first["public"]}
    assert load(tmp_path) == (GOLD, SILVER)
    known = (folder(tmp_path) / "known_hosts").read_text()
    assert known == "gold2_example_org ssh-ed25519 AAAA\nsilver ssh-ed25519 AAAA\n"
    # A new way to a host takes the place of the former one.
    moved = dataclasses.replace(GOLD, address="10.0.0.2")
    deliver(tmp_path, [moved], keep=[GOLD.name])
    assert load(tmp_path) == (moved,)
    assert deliver(tmp_path, []) == {"changed": True, "public": first["public"]}
    assert not folder(tmp_path).exists()
    assert deliver(tmp_path, []) == {"changed": False, "public": ""}


def test_ssh_accepts_the_command_line(tmp_path: Path) -> None:
    """What ssh makes of it, as it says itself: these ports, this key, this host, and no question."""
    home = tmp_path / "a 100% home"
    home.mkdir()
    deliver(home, [SILVER])
    words = command(home, SILVER)
    assert words[-2:] == ["--", "silver"]
    assert words.count("-L") == 2
    assert command(home, GOLD).count("-R") == 2
    shown = subprocess.run(["ssh", "-G", *words[1:]], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "localforward [127.0.0.1]:20001 [127.0.0.1]:20001" in shown
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
    file.write_text("ssh-ed25519 BBBB mine\n")
    here = Local(HostSpec(LOCAL))
    identity = tunnels.let_in(here, "ssh-ed25519 AAAA a comment", GOLD)
    assert identity == "ssh-ed25519 AAAA"
    listens = 'permitlisten="127.0.0.1:20000",permitlisten="127.0.0.1:20001"'
    assert file.read_text().splitlines() == [
        "ssh-ed25519 BBBB mine",
        f'restrict,port-forwarding,command="/bin/false",{listens},permitopen="127.0.0.1:9" {identity} cncp tunnel',
    ]
    before = file.stat().st_mtime_ns
    tunnels.let_in(here, "ssh-ed25519 AAAA a comment", GOLD)
    assert file.stat().st_mtime_ns == before
    tunnels.let_in(here, "ssh-ed25519 AAAA a comment", dataclasses.replace(SILVER, bound="10.0.0.1"))
    mine, other = file.read_text().splitlines()
    assert mine == "ssh-ed25519 BBBB mine"
    assert 'permitlisten="127.0.0.1:9",permitopen="10.0.0.1:20000",permitopen="10.0.0.1:20001"' in other
    authorized.remove(here, identity)
    assert file.read_text() == "ssh-ed25519 BBBB mine\n"


def test_what_engines_behind_a_tunnel_dial() -> None:
    """Their own loopback, whatever address the controller has."""
    secret = {"interface": "tcp://10.0.0.1", "location": "gold1", **dict.fromkeys(ENGINE_CHANNELS, 7)}
    behind = tunnels.behind(secret)
    assert (behind["interface"], behind["location"]) == ("tcp://127.0.0.1", "127.0.0.1")


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
    former = attributes.Kept({})
    assert attributes.gather(file=path, environment={}, flags={}, former=former).listen == listen


def test_another_way_is_refused(tmp_path: Path) -> None:
    """A word that is none of the three is named with those that are."""
    path = tmp_path / "cluster.toml"
    path.write_text(FILE.format("direct", "tunnel"))
    with pytest.raises(UsageError, match=r"host\.gold2: connect = 'tunnel' is not possible") as caught:
        attributes.read(path)
    assert caught.value.hint == "connect must be direct, forward or reverse"
