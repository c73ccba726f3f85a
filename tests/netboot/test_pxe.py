"""From PXE to an image that runs, and to others by the disk alone: real machines but for the emulation, real cidd."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp import ports
from cncp.netboot import cidcapt
from cncp.waiting import wait_until

from .pxe_site import ARGUMENTS, EMULATOR, NEEDS, UEFI, PxeSite

OLD, NEW = "tiny-1-0", "tiny-1-1"

pytestmark = [*NEEDS]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PxeSite]:
    """A network with cidd and two images."""
    monkeypatch.setenv("PYTHONPATH", str(Path(cidcapt.__file__).parents[2]))
    with PxeSite(tmp_path, {OLD: "tar.zst", NEW: "squashfs"}).running() as made:
        yield made


def test_from_pxe_to_alive_and_to_another_image_and_back(site: PxeSite) -> None:
    """One boots its disk first, the other the network by its second card; one changes images by its disk alone."""
    machines = site.machine(first="c"), site.machine(first="n", cards=2)
    site.accept(*machines)
    site.captured("1", "n[1-2]", OLD)
    for job, image in (("2", NEW), ("3", NEW), ("4", OLD)):
        site.captured(job, "n1", image)
    booted = re.findall(r"this is (\S+), (\w+)", machines[0].said())
    # One is unpacked and stays as it was left; the other is packed, and begins anew for each job.
    assert booted == [(OLD, "fresh"), (NEW, "fresh"), (NEW, "fresh"), (OLD, "used")], site.said()
    assert machines[0].said().count("partition") == 2, "later they were in their slots"


@pytest.mark.slow(held="test_provision.py what UEFI finds on a disk, and the rest here with a BIOS")
@pytest.mark.skipif(not UEFI.exists(), reason="ovmf is not here")
def test_uefi(site: PxeSite) -> None:
    """From PXE, with the power cut on the way, to images by the disk's own GRUB; the same disk boots by a BIOS."""
    machine = site.machine(first="c", uefi=True)
    site.accept(machine)
    site.want("1", "n1", OLD)
    assert wait_until(lambda: site.nodes()["n1"]["state"] == "fetch", 240, 0.1), site.said()
    # GRUB would have nothing to boot, and firmware not go on with the network after it.
    machine.cut()
    site.client.ask("POST", "/v1/nodes/n1/again")
    machine.switch_on()
    site.captured("1", "n1", OLD)
    for job, image in (("2", NEW), ("3", OLD)):
        site.captured(job, "n1", image)
    machine.cut()
    machine.uefi = False
    machine.switch_on()
    assert wait_until(lambda: machine.said().count("this is") == 4, 120), site.said()
    booted = re.findall(r"this is (\S+), (\w+)", machine.said())
    assert booted == [(OLD, "fresh"), (NEW, "fresh"), (OLD, "used"), (OLD, "used")]


def test_who_may_log_in_to_blancmange(tmp_path: Path) -> None:
    """Who has a key of those that it was built with, without cidd too; nobody by a password; it holds no secret."""
    for name in ("mine", "strange"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    site = PxeSite(tmp_path, {}, (tmp_path / "mine.pub").read_text())
    packed = site.place.blancmange / "initramfs"
    content = subprocess.run(["zstd", "-dc", packed], capture_output=True, check=True).stdout
    for secret in (site.place.token().encode(), site.place.signing_key().content):
        assert secret not in content
    assert b"root:*:" in content
    port = ports.free_block(1)[0]
    log = tmp_path / "log"
    with subprocess.Popen(
        [
            *(*EMULATOR, "-m", "320", "-serial", f"file:{log}", "-kernel", site.place.blancmange / "kernel"),
            *("-initrd", packed, "-append", f"{ARGUMENTS} cidd=http://10.0.2.9:1 node=n1 key=00"),
            *("-netdev", f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
            *("-device", "virtio-net-pci,netdev=n"),
        ]
    ) as emulator:
        try:

            def ssh(*options: str) -> subprocess.CompletedProcess[str]:
                words = (
                    "-F",
                    "none",
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "StrictHostKeyChecking=no",
                    "-o",
                    "ConnectTimeout=20",
                )
                known = ("-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", "IdentitiesOnly=yes", "-p", str(port))
                argv = ["ssh", *words, *known, *options, "root@127.0.0.1", "cat /proc/cmdline"]
                return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

            let_in = wait_until(lambda: ssh("-i", str(tmp_path / "mine")), 120, 0.5, lambda done: done.returncode == 0)
            assert "node=n1" in let_in.stdout, let_in.stderr + log.read_text(errors="replace")
            for options in (("-i", str(tmp_path / "strange")), ("-o", "PreferredAuthentications=password,none")):
                done = ssh(*options)
                assert done.returncode != 0
                # By keys alone: a password is not even asked for.
                assert "Permission denied (publickey)" in done.stderr
        finally:
            emulator.kill()
