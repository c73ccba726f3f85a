"""What dnsmasq is told: held by dnsmasq itself where there is one, and by what must and must not stand in it."""

from __future__ import annotations

import subprocess
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from cncp.netboot.service.dnsmasq_conf import PROGRAM, chain, render
from cncp.netboot.service.server_settings import Network

OWN = IPv4Interface("10.1.0.1/24")
RANGE = Network("eth1", OWN, (IPv4Address("10.1.0.5"), IPv4Address("10.1.0.9")))
PROXY = Network("eth1", OWN, None)


def rendered(network: Network, folder: Path) -> list[str]:
    """Return the lines that say something."""
    text = render(network, 38009, folder / "leases", folder / "dnsmasq.d", Path("/usr/lib/ipxe"))
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("network", [RANGE, PROXY])
def test_dnsmasq_takes_it(network: Network, tmp_path: Path) -> None:
    """As it is, with a line of the administrator's own."""
    if not Path(PROGRAM).exists():
        pytest.skip("there is no dnsmasq")
    (tmp_path / "dnsmasq.d").mkdir()
    (tmp_path / "dnsmasq.d" / "own.conf").write_text("dhcp-option=option:router,10.1.0.254\n")
    lines = [line for line in rendered(network, tmp_path) if not line.startswith(("user=", "group="))]
    (tmp_path / "conf").write_text("\n".join([*lines, ""]))
    done = subprocess.run(
        [PROGRAM, "--test", f"--conf-file={tmp_path}/conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("network", [RANGE, PROXY])
def test_it_is_on_that_interface_alone(network: Network, tmp_path: Path) -> None:
    """No name server anywhere, and nothing on loopback or another network."""
    lines = rendered(network, tmp_path)
    assert {"port=0", "interface=eth1", "except-interface=lo", "bind-dynamic", "user=cncp-netboot"} <= set(lines)
    assert [line for line in lines if line.startswith("interface=")] == ["interface=eth1"]


def test_addresses_are_given(tmp_path: Path) -> None:
    """One a card, no route, and each firmware its program of iPXE; iPXE asks cidd."""
    lines = rendered(RANGE, tmp_path)
    assert "dhcp-range=10.1.0.5,10.1.0.9,255.255.255.0,12h" in lines
    assert "dhcp-lease-max=5" in lines
    assert {"dhcp-ignore-clid", "dhcp-option=option:router", "dhcp-authoritative"} <= set(lines)
    assert {"dhcp-boot=tag:!ipxe,tag:!uefi,undionly.kpxe", "dhcp-boot=tag:!ipxe,tag:uefi,snponly.efi"} <= set(lines)
    assert "dhcp-boot=tag:ipxe,http://10.1.0.1:38009/v1/boot?mac=${netX/mac}&uuid=${uuid},,10.1.0.1" in lines


def test_beside_another_server(tmp_path: Path) -> None:
    """No address, no route, nothing of IPv6: only what to boot."""
    lines = rendered(PROXY, tmp_path)
    assert "dhcp-range=10.1.0.0,proxy,255.255.255.0" in lines
    assert not [line for line in lines if line.startswith(("dhcp-option", "enable-ra", "dhcp-authoritative"))]
    assert "pxe-service=tag:!ipxe,x86PC,cncp,undionly.kpxe" in lines


def test_what_ipxe_asks() -> None:
    """By the card that it came up by: net0 may be another."""
    assert chain("10.1.0.1", 1) == "http://10.1.0.1:1/v1/boot?mac=${netX/mac}&uuid=${uuid}"
