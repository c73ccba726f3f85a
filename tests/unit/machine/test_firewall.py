"""Firewall rules: the ports that are dialled from outside, for those who dial them."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from cncp.config.inventory import HostSpec
from cncp.errors import UsageError
from cncp.fleet import host_addresses
from cncp.ipp.connection_file import CLIENT, ENGINE
from cncp.ipp.keys import Identity, connection_files
from cncp.machine.firewall import KINDS, Opening, firewalld, nftables, openings, ranges, ufw

BLOCK = Identity.new("k", (b"p", b"s"), tuple(range(20000, 20018)))
SCATTERED = Identity.new("k", (b"p", b"s"), tuple(range(20000, 20072, 4)))
HOSTS = ["10.1.2.3", "10.1.2.4"]


def dialled(name: str, identity: Identity) -> set[int]:
    """Return the ports in a connection file."""
    files = connection_files(identity, listen="0.0.0.0", location="here", encryption=True)
    members = dict(zip((CLIENT, ENGINE), files, strict=True))[name].to_json().values()
    found = [value if isinstance(value, list) else [value] for value in members]
    return {port for value in found for port in value if isinstance(port, int)}


@pytest.mark.parametrize("identity", [BLOCK, SCATTERED])
def test_what_is_opened_is_what_is_dialled(identity: Identity) -> None:
    """Nine ports for engines, seven for clients, as the connection files have them; internal ones never."""
    engines, clients = openings(identity, "0.0.0.0", HOSTS, [])
    assert set(engines.ports) == dialled(ENGINE, identity)
    assert set(clients.ports) == dialled(CLIENT, identity)
    assert (len(engines.ports), len(clients.ports)) == (9, 7)
    for kind in KINDS:
        text = "\n".join(KINDS[kind]([engines, clients]))
        numbers = [tuple(map(int, re.split("[-:]", span))) for span in re.findall(r"\b2\d{4}(?:[-:]2\d{4})?\b", text)]
        opened = {port for span in numbers for port in range(span[0], span[-1] + 1)}
        assert opened == set(engines.ports) | set(clients.ports)


def test_ranges() -> None:
    """What follows one another is one range."""
    assert ranges([5, 1, 2, 3, 9, 3]) == [(1, 3), (5, 5), (9, 9)]


@pytest.mark.parametrize("identity", [BLOCK, SCATTERED])
@pytest.mark.parametrize("listen", ["0.0.0.0", "10.1.2.9"])
@pytest.mark.parametrize("sources", [[], HOSTS, ["192.168.7.0/24"]])
def test_nft_takes_its_rules(identity: Identity, listen: str, sources: list[str]) -> None:
    """The file is accepted by nft itself."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if nft is None:
        pytest.skip("there is no nft")
    text = "\n".join(nftables(openings(identity, listen, sources, sources))) + "\n"
    # In a network of its own, so that the machine's rules do not count.
    unshare = ["unshare", "--net"] if subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0 else []
    done = subprocess.run([*unshare, nft, "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip("nft may not look at the kernel's rules here")
    assert done.returncode == 0, done.stderr


def test_rules_of_the_others() -> None:
    """A rule a source, and to the one address where the controller listens on one."""
    opened = [Opening("engines", (20000, 20001, 20009), tuple(HOSTS), "10.1.2.9")]
    assert list(ufw(opened)) == [
        f"ufw allow proto tcp from {host} to 10.1.2.9 port 20000:20001,20009 comment 'cncp engines'" for host in HOSTS
    ]
    assert next(firewalld(opened)) == (
        """firewall-cmd --permanent --add-rich-rule='rule family="ipv4" source address="10.1.2.3" """
        """destination address="10.1.2.9" port port="20000-20001" protocol="tcp" accept'"""
    )
    assert list(firewalld(opened))[-1] == "firewall-cmd --reload"
    assert " from any to any " in next(ufw([Opening("clients", (20000,))]))


def test_addresses_of_hosts() -> None:
    """Numbers stay, this machine needs none, names without an address are named."""
    specs = [
        HostSpec("localhost"),
        HostSpec("10.1.2.3"),
        HostSpec("gold2", address="10.1.2.4"),
        HostSpec("no-such-host.invalid"),
    ]
    assert host_addresses.of_hosts(specs) == (HOSTS, ["no-such-host.invalid"])


@pytest.mark.parametrize("text", ["gold1", "10.1.2.300", "10.1.2.3/33", "10.1.2.3/8", "::1", "10.1.2.3;ls"])
def test_clients_are_addresses(text: str) -> None:
    """What is no address or network would become part of a command, and is refused."""
    with pytest.raises(UsageError):
        host_addresses.networks(text, "--clients")
    assert host_addresses.networks("10.1.2.3, 192.168.7.0/24", "--clients") == ["10.1.2.3", "192.168.7.0/24"]
