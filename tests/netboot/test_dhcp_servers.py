"""Several DHCP servers on one network: seen before ours begins, and ours beside one that gives the addresses."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from cncp.errors import PreflightError
from cncp.netboot.service import dhcp_probe, dnsmasq_conf, server_checks
from cncp.netboot.service.dhcp_probe import Offer
from cncp.netboot.service.server_settings import Network, ServerSettings
from cncp.waiting import wait_until

from .loopback_site import started
from .pxe_client import BIOS, UEFI, Answer, PxeClient
from .pxe_site import OWN, SERVER, dnsmasq, network

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.getuid() != 0, reason="a network of its own is root's"),
    pytest.mark.skipif(shutil.which("dnsmasq", path="/usr/sbin") is None, reason="dnsmasq is not here"),
]

OTHER = "10.78.9.254"
WIRE = Network("wire", OWN, None)
PLAIN = ["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--pid-file=", "--log-facility=-"]


Start = Callable[[Sequence[str | Path]], Path]


@pytest.fixture
def start(other: list[str], tmp_path: Path) -> Iterator[Start]:
    """Return what starts a server, and returns its log; they end with the test, which dnsmasq does not by itself."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(argv: Sequence[str | Path]) -> Path:
        log = tmp_path / f"log{len(running)}"
        running.append(started(argv, log))
        return log

    yield begin
    for process in running:
        process.terminate()
        process.wait(30)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[list[str]]:
    """Be in a network with another machine on it; return what runs a program there."""
    with network():
        machine = started(["unshare", "--net", "sleep", "600"], tmp_path / "log")
        inside = ["nsenter", f"--net=/proc/{machine.pid}/ns/net"]
        apart = os.readlink("/proc/thread-self/ns/net")
        assert wait_until(lambda: os.readlink(f"/proc/{machine.pid}/ns/net") != apart, 20)
        for words in (
            ["ip", "link", "add", "far", "type", "veth", "peer", "name", "near", "netns", str(machine.pid)],
            ["ip", "link", "set", "far", "master", "wire", "up"],
            ["ip", "link", "add", "plug", "type", "veth", "peer", "name", "card"],
            ["ip", "link", "set", "plug", "master", "wire", "up"],
            ["ip", "link", "set", "card", "up"],
            [*inside, "ip", "addr", "add", f"{OTHER}/24", "dev", "near"],
            [*inside, "ip", "link", "set", "near", "up"],
        ):
            subprocess.run(words, check=True)
        try:
            yield inside
        finally:
            machine.kill()
            machine.wait()


def seen(*offers: Offer) -> bool:
    """Tell whether the probe comes to find just these."""
    return bool(wait_until(lambda: dhcp_probe.offers("wire", 1) == set(offers), 30, 0.1))


def test_another_that_gives_addresses(other: list[str], start: Start, tmp_path: Path) -> None:
    """It is seen, and ours refuses to give addresses too; beside it, ours says what to boot, to either firmware."""
    assert dhcp_probe.offers("wire", 0.5) == set()
    leases = "--dhcp-range=10.78.9.100,10.78.9.120,1h"
    theirs = start([*other, "dnsmasq", *PLAIN, leases, "--dhcp-leasefile=/dev/null"])
    assert seen(Offer(OTHER, gives_address=True)), theirs.read_text()
    with pytest.raises(PreflightError, match=f"{OTHER} gives addresses"):
        server_checks.insist_on_peace(dhcp_probe.offers("wire", 1), ServerSettings("wire"), WIRE)
    server_checks.insist_on_peace(dhcp_probe.offers("wire", 1), ServerSettings("wire", dhcp="proxy"), WIRE)

    ours = start(dnsmasq(tmp_path, WIRE, 38009))

    def offered(client: PxeClient, *, ipxe: bool = False) -> Answer:
        found = client.discover(ipxe=ipxe, server=SERVER)
        assert found is not None, ours.read_text()
        return found

    bios = PxeClient("card", bytes.fromhex("5254004d0001"), BIOS)
    uefi = PxeClient("card", bytes.fromhex("5254004d0002"), UEFI)
    assert [offered(client).address for client in (bios, uefi)] == ["0.0.0.0", "0.0.0.0"]
    answer = offered(bios, ipxe=True)
    assert (answer.file, answer.server) == (dnsmasq_conf.chain(SERVER, 38009), SERVER), "iPXE wants both"


def test_another_that_says_what_to_boot(other: list[str], start: Start) -> None:
    """Two of those never go together."""
    proxy = ["--dhcp-range=10.78.9.0,proxy", "--pxe-service=x86PC,theirs,theirs.0"]
    theirs = start([*other, "dnsmasq", *PLAIN, *proxy])
    assert seen(Offer(OTHER, gives_address=False)), theirs.read_text()
    for dhcp in ("", "proxy"):
        with pytest.raises(PreflightError, match="what to boot already"):
            server_checks.insist_on_peace(dhcp_probe.offers("wire", 1), ServerSettings("wire", dhcp=dhcp), WIRE)
