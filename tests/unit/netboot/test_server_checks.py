"""What `netboot.up` holds before it changes anything, each with what is wrong and what to do."""

from __future__ import annotations

import os
import socket
import sys
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from cncp import ports
from cncp.errors import PreflightError, UsageError
from cncp.netboot.service import server_checks
from cncp.netboot.service.dhcp_probe import Offer
from cncp.netboot.service.dnsmasq_conf import PROGRAM
from cncp.netboot.service.server_settings import Network, ServerSettings

NETWORK = Network("lo", IPv4Interface("127.0.0.1/8"), (IPv4Address("127.0.0.5"), IPv4Address("127.0.0.9")))


def test_who_is_not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told how."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PreflightError, match=r"netboot.up needs root") as caught:
        server_checks.insist_on_root("netboot.up")
    assert "login of root's" in caught.value.hint


def test_packages_are_named(tmp_path: Path) -> None:
    """Those that are missing, and no others."""
    with pytest.raises(PreflightError) as caught:
        server_checks.insist_on_packages(tmp_path)
    assert caught.value.hint == "as root: apt install dnsmasq-base ipxe"
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/dnsmasq").touch()
    with pytest.raises(PreflightError) as caught:
        server_checks.insist_on_packages(tmp_path)
    assert caught.value.hint == "as root: apt install ipxe"
    (tmp_path / "usr/lib/ipxe").mkdir(parents=True)
    for name in ("undionly.kpxe", "snponly.efi"):
        (tmp_path / "usr/lib/ipxe" / name).touch()
    server_checks.insist_on_packages(tmp_path)


def test_an_owner_that_there_is_not() -> None:
    """The scheduler's account is to be there before its file is."""
    with pytest.raises(UsageError, match="there is no account nobody-here"):
        server_checks.insist_on_owner("nobody-here")


def test_ports() -> None:
    """The same twice, and one that another program has; what runs already has its own."""
    with pytest.raises(UsageError, match="both 5"):
        server_checks.insist_on_ports(ServerSettings("lo", port=5, plain_port=5), NETWORK, {67, 69})
    first, second = ports.free_block(2)
    settings = ServerSettings("lo", port=first, plain_port=second)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", second))
        taken.listen()
        with pytest.raises(PreflightError, match=f"port {second} cannot be had"):
            server_checks.insist_on_ports(settings, NETWORK, {67, 69})
        server_checks.insist_on_ports(settings, NETWORK, {67, 69, second})


@pytest.mark.parametrize(
    ("dhcp", "found", "said"),
    [
        ("", {Offer("10.0.0.9", True)}, "gives addresses on lo already"),
        ("127.0.0.5-127.0.0.9", {Offer("127.0.0.1", True), Offer("10.0.0.9", True)}, "10.0.0.9 gives"),
        ("", {Offer("10.0.0.9", False)}, "what to boot already"),
        ("proxy", {Offer("10.0.0.9", True), Offer("10.0.0.8", False)}, "10.0.0.8 tells machines"),
    ],
)
def test_another_server_answers(dhcp: str, found: set[Offer], said: str) -> None:
    """Two that give addresses, or say what to boot, are one too many."""
    with pytest.raises(PreflightError, match=said):
        server_checks.insist_on_peace(found, ServerSettings("lo", dhcp=dhcp), NETWORK)


@pytest.mark.parametrize(
    ("dhcp", "found"), [("", set()), ("", {Offer("127.0.0.1", True)}), ("proxy", {Offer("9.9.9.9", True)})]
)
def test_nobody_is_in_the_way(dhcp: str, found: set[Offer]) -> None:
    """Nobody answers, or it is our own, or the one that gives addresses while we say what to boot."""
    server_checks.insist_on_peace(found, ServerSettings("lo", dhcp=dhcp), NETWORK)


def test_the_administrators_own_lines(tmp_path: Path) -> None:
    """Dnsmasq itself says what is wrong with them."""
    if not Path(PROGRAM).exists():
        pytest.skip("there is no dnsmasq")
    own = tmp_path / "own"
    content = f"port=0\nconf-dir={own},*.conf\n"
    server_checks.insist_on_words(content, tmp_path, own)
    own.mkdir()
    server_checks.insist_on_words(content, tmp_path, own)
    (own / "mine.conf").write_text("dhcp-optoin=3\n")
    with pytest.raises(UsageError, match="bad option"):
        server_checks.insist_on_words(content, tmp_path, own)


def test_a_python_that_others_can_run(tmp_path: Path) -> None:
    """One in a closed folder is none, however well it runs."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python3").write_bytes(b"")
    with pytest.raises(PreflightError, match="no Python"):
        server_checks.python([str(closed / "python3"), "/nonexistent"])
    assert server_checks.python([str(closed / "python3"), "/usr/bin/python3"]) == os.path.realpath("/usr/bin/python3")
    assert sys.version_info >= (3, 10)
