"""How the netboot server is set: from a file and a command line to a network, and what makes no sense."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.netboot.service.server_settings import SETTINGS, ServerSettings, gathered, interfaces, network

THERE = {
    "eth0": (),
    "eth1": (IPv4Interface("10.1.0.1/24"), IPv4Interface("192.168.7.1/22")),
    "eth2": (IPv4Interface("10.2.0.200/24"),),
    "eth3": (IPv4Interface("10.3.0.1/32"),),
    "eth4": (IPv4Interface("10.4.0.1/8"),),
    "eth5": (IPv4Interface("10.5.0.1/30"),),
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no interface is named"),
        ({"interface": ""}, "interface is to be the name of an interface"),
        ({"interface": "eth1;reboot"}, "interface"),
        ({"interface": "a" * 16}, "interface"),
        ({"interface": "eth1", "dhcp": "dhcp"}, "dhcp is to be proxy, or FIRST-LAST"),
        ({"interface": "eth1", "dhcp": "10.1.0.5"}, "dhcp"),
        ({"interface": "eth1", "dhcp": "10.1.0.5-10.1.0.9\nport=53"}, "dhcp"),
        ({"interface": "eth1", "address": "server"}, "address"),
        ({"interface": "eth1", "owner": "Slurm User"}, "owner is to be an account"),
        ({"interface": "eth1", "owner": ""}, "owner"),
        ({"interface": "eth1", "port": 0}, "port is to be a whole number"),
        ({"interface": "eth1", "port": 65536}, "port"),
        ({"interface": "eth1", "port": "http"}, "port"),
        ({"interface": "eth1", "plain_port": -1}, "--plain-port is to be"),
        ({"interface": "eth1", "at_once": 0}, "at-once"),
        ({"interface": "eth1", "at_once": 2000}, "at-once"),
    ],
)
def test_a_command_line_that_makes_no_sense(given: dict[str, object], said: str) -> None:
    """It says which option, and what that is to be."""
    with pytest.raises(UsageError, match=said):
        gathered(None, given)


@pytest.mark.parametrize(
    ("interface", "address", "dhcp", "said"),
    [
        ("eth9", "", "", "there is no interface eth9"),
        ("eth0", "", "", "eth0 has no IPv4 address"),
        ("eth1", "10.1.0.2", "", "eth1 has no address 10.1.0.2"),
        ("eth3", "", "", "without room for a node"),
        ("eth1", "", "10.1.0.300-10.1.0.301", "no range of addresses"),
        ("eth1", "", "10.9.0.5-10.9.0.9", "no range within the network 10.1.0.0/24"),
        ("eth1", "", "10.1.0.9-10.1.0.5", "no range within"),
        ("eth1", "", "10.1.0.0-10.1.0.5", "no range within"),
        ("eth1", "", "10.1.0.250-10.1.0.255", "no range within"),
        ("eth1", "", "10.1.0.1-10.1.0.5", "own address"),
        ("eth4", "", "10.5.0.0-10.6.0.0", "more than 4096"),
    ],
)
def test_a_network_that_cannot_be(interface: str, address: str, dhcp: str, said: str) -> None:
    """It says what of the machine does not go with it."""
    with pytest.raises(UsageError, match=said):
        network(ServerSettings(interface, address, dhcp), THERE)


@pytest.mark.parametrize(
    ("interface", "address", "dhcp", "first", "last"),
    [
        ("eth1", "", "", "10.1.0.127", "10.1.0.254"),
        ("eth1", "192.168.7.1", "", "192.168.5.255", "192.168.7.0"),
        ("eth2", "", "", "10.2.0.127", "10.2.0.199"),
        ("eth4", "", "", "10.255.239.255", "10.255.255.254"),
        ("eth5", "", "", "10.5.0.2", "10.5.0.2"),
        ("eth1", "", "10.1.0.5-10.1.0.5", "10.1.0.5", "10.1.0.5"),
    ],
)
def test_which_addresses_are_given(interface: str, address: str, dhcp: str, first: str, last: str) -> None:
    """Those that were named, or the upper half of the network, without the server's own."""
    assert network(ServerSettings(interface, address, dhcp), THERE).lease == (IPv4Address(first), IPv4Address(last))


def test_beside_another_server() -> None:
    """None are given."""
    assert network(ServerSettings("eth1", "", "proxy"), THERE).lease is None


def test_what_was_said_before_holds() -> None:
    """But for what is said anew."""
    kept = gathered(None, {"interface": "eth1", "dhcp": "proxy", "owner": None})
    assert gathered(kept, {"interface": None, "at_once": 4}) == ServerSettings("eth1", "", "proxy", at_once=4)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"interface": 5}', b'{"interface": "eth1", "dchp": "proxy"}', b'{"dhcp": ""}', b"\xff"]
)
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    """It is named, with what to do; a name that is none, too."""
    SETTINGS.path(tmp_path).write_bytes(content)
    with pytest.raises(CncpError, match=r"netboot.json is damaged") as caught:
        SETTINGS.load(tmp_path)
    assert "mend it" in caught.value.hint


def test_this_machine() -> None:
    """Its interfaces, loopback not among them."""
    assert "lo" not in interfaces()
