"""The netboot server on a real host: services, a machine that boots, a reboot, changed settings, and gone again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cncp.netboot.cidcapt import USAGE
from tests.netboot.pxe_client import BIOS, UEFI, Answer, PxeClient, tftp

from .host import Host
from .nspawn import Lab
from .site import Site, until
from .sites import MakeSite

UNITS = ("cncp-netboot-cidd.service", "cncp-netboot-dnsmasq.service")

WITHOUT_SYSTEMD = """
mount -t tmpfs none /run/systemd
cncp=$1
$cncp netboot.up --no-build
kill -KILL $(pgrep -f 'serve cidd')
for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    ! $cncp netboot.status || break
    sleep 1
done
$cncp node.list
crontab -l
$cncp netboot.down
! pgrep -f 'cncp.remote (serve|supervisord)'
! crontab -l
"""
"""What stands in for systemd: it starts anew what ends, is in root's crontab, and is gone with all that it keeps."""


@pytest.fixture(scope="module")
def site(make_host: Callable[..., Host], make_site: MakeSite) -> Site:
    """Boot a host with what nodes boot by, and with cncp; root runs no cluster there."""
    host = make_host("netboot", "bookworm", ("cron", "dnsmasq-base", "ipxe", "python3-venv"))
    host.boot()
    made = make_site(host, "root")
    made.baremetal("--install-only")
    return made


def cncp(site: Site, *words: str, check: bool = True) -> str:
    """Run the command as root; return what it says."""
    # With the umask of careful administrators: what is made is for other accounts all the same.
    strict = ["sh", "-c", 'umask 077; exec "$0" "$@"', f"{site.state}/venv/bin/cncp"]
    done = site.host.run([*strict, *words], check=check, timeout=300)
    return done.stdout + done.stderr


def status(site: Site) -> dict[str, Any]:
    """Return what `netboot.status` says."""
    asked = [f"{site.state}/venv/bin/cncp", "netboot.status", "--json"]
    return dict(json.loads(site.host.run(asked, check=False).stdout))


def pids(site: Site) -> dict[str, int]:
    """Return the processes of the services."""
    return {row["name"]: row["pid"] for row in status(site)["services"]}


def offered(client: PxeClient, **how: Any) -> Answer:
    """Return what a client is offered."""
    found = client.discover(**how)
    assert found is not None
    return found


def test_from_nothing_to_a_script_and_back(lab: Lab, site: Site) -> None:
    """Checked, brought up, asked by firmware and by iPXE; nothing of it is there in the end but what is kept."""
    refused = site.host.run([f"{site.state}/venv/bin/cncp", "netboot.up", "--interface", "eth9"], check=False)
    assert refused.returncode == 2
    assert "there is no interface eth9" in refused.stderr
    assert not Path(site.host.root / "var/lib/cncp").exists()

    said = cncp(
        site,
        "netboot.up",
        "--no-build",
        "--interface",
        "host0",
        "--dhcp",
        f"10.77.{lab.record.octet}.200-10.77.{lab.record.octet}.210",
    )
    assert "new: cidd, dnsmasq" in said
    assert "nothing had to change" in cncp(site, "netboot.up", "--no-build")
    for unit in UNITS:
        assert site.host.exec(["systemctl", "is-active", unit], check=False).stdout == "active\n", site.host.journal(
            "-u", unit
        )
    # Nobody but root writes what root runs, and cidd has no rights.
    accounts = site.host.exec(["ps", "-o", "user=", "-p", str(pids(site)["cidd"])]).stdout.split()
    assert accounts == ["cncp-netboot"]
    key = site.host.exec(["stat", "-c", "%U %a", "/var/lib/cncp/netboot/signing.key", "/etc/cncp/cidcapt.json"]).stdout
    assert key.splitlines() == ["root 600", "root 600"]

    bios = PxeClient(lab.bridge.name, bytes.fromhex("5254004d0001"), BIOS)
    first = offered(bios)
    assert re.fullmatch(rf"10\.77\.{lab.record.octet}\.2(0[0-9]|10)", first.address)
    assert tftp(site.host.address, first.file) == (site.host.root / "usr/lib/ipxe/undionly.kpxe").read_bytes()
    uefi = PxeClient(lab.bridge.name, bytes.fromhex("5254004d0002"), UEFI)
    assert offered(uefi).file == "snponly.efi"
    # Whatever asks by this card, under whatever name, gets the same address.
    again = offered(bios, ipxe=True, client_id=b"\xff another name")
    assert again.address == first.address
    assert 3 not in again.options
    script = bios.script(again)
    assert f"echo node-{bios.card.hex()} is unknown" in script
    assert f"?mac={bios.mac}&" in script, "iPXE asks again for the card that it came up by, whichever that is"

    assert bios.mac in cncp(site, "node.list")
    cncp(site, "node.accept", f"node-{bios.card.hex()}", "--name", "n1")
    assert [word for word in cncp(site, "node.trace", "n1").split() if word == "ready"]
    done = site.host.exec(["env", "-i", "/var/lib/cncp/bin/cidcapt", "-j1", "-nn1", "-icompute-1-0"], check=False)
    assert (done.returncode, "there is no image compute-1-0" in done.stderr) == (USAGE, True), done.stderr


def test_a_reboot_and_changed_settings(lab: Lab, site: Site) -> None:
    """All is back with the nodes it knew; what is set anew restarts what it concerns alone."""
    site.host.reboot()
    until(lambda: all(row["running"] for row in status(site)["services"]) and status(site)["answers"], 60, "services")
    assert status(site)["nodes"] == {"ready": 1}
    before = pids(site)
    octet = lab.record.octet
    assert "new: dnsmasq" in cncp(site, "netboot.up", "--no-build", "--dhcp", f"10.77.{octet}.220-10.77.{octet}.230")
    after = pids(site)
    assert (after["cidd"], after["dnsmasq"] == before["dnsmasq"]) == (before["cidd"], False)
    assert "new: cidd" in cncp(site, "netboot.up", "--no-build", "--at-once", "4")
    assert (pids(site)["dnsmasq"], pids(site)["cidd"] == after["cidd"]) == (after["dnsmasq"], False)
    site.host.exec(["kill", "-KILL", str(pids(site)["cidd"])])
    until(lambda: status(site)["answers"], 30, "cidd is back")
    # The address of the nodes' network comes late: what needs it waits for it.
    site.host.exec(["ip", "addr", "del", f"{site.host.address}/24", "dev", "host0"])
    site.host.exec(["systemctl", "restart", *UNITS])
    site.host.exec(["ip", "addr", "add", f"{site.host.address}/24", "dev", "host0"])
    until(lambda: status(site)["answers"], 30, "cidd has its address")
    offered(PxeClient(lab.bridge.name, bytes.fromhex("5254004d0003"), BIOS))


def test_it_leaves_nothing_that_runs(site: Site) -> None:
    """Down keeps nodes and keys, and brings all back; to remove it leaves no file and no account."""
    assert "stopped cidd, dnsmasq" in cncp(site, "netboot.down")
    shown = site.host.exec(["systemctl", "list-units", "--all", "cncp-*", "--plain", "--no-legend"]).stdout
    assert shown == ""
    assert "no netboot server runs" in cncp(site, "netboot.status", check=False)
    said = site.host.run(
        ["unshare", "--mount", "sh", "-es", f"{site.state}/venv/bin/cncp"], input=WITHOUT_SYSTEMD, timeout=300
    ).stdout
    assert "new: cidd, dnsmasq" in said
    assert "cidd     up" in said
    assert "n1    ready" in said
    assert "@reboot /var/lib/cncp/server/venv/bin/python" in said
    cncp(site, "netboot.up", "--no-build")
    assert status(site)["nodes"] == {"ready": 1}
    cncp(site, "netboot.down", "--remove")
    there = ("/etc/cncp", "/var/lib/cncp", "/usr/local/bin/cidcapt", "/etc/systemd/system/cncp-netboot.target")
    assert site.host.exec(["ls", "-d", *there], check=False).stdout == ""
    assert site.host.exec(["getent", "passwd", "cncp-netboot"], check=False).returncode == 2
