"""Debian as image.make makes it, from packages and from a tree: by PXE to the real cidkid, to others, and back.

Kernel and modules are those that Debian has for every machine, in Blancmange too, as they are without any setting.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.netboot import cidcapt
from cncp.netboot.blancmange import top_config
from cncp.waiting import wait_until

from .pxe_site import NEEDS, PxeSite

PACKED, TREE, SQUASHED = "debian-1-0", "debian-1-1", "debian-2-0"
PATIENCE = 900  # s for a boot of Debian, emulated on a machine that does much else

# What such an image says of itself, on its serial line, once it runs: a script, and what begins it.
SCRIPT = """\
#!/bin/sh
failed=$(systemctl --failed --no-legend --plain)
echo "== $(hostname) $(findmnt -no FSTYPE /) $(touch /written && echo writable) $(stat -c %a /tmp)" \\
    "$(ls /etc/ssh/ssh_host_ed25519_key) $(getcap /usr/local/bin/capable) $(echo "$failed" | grep -c .)" \\
    "$(cat /here-before 2> /dev/null) =="
echo "$failed"
echo before > /here-before
sync
"""
UNIT = """\
[Unit]
After=cidkid.service network-online.target cncp-host-keys.service
[Service]
Type=oneshot
StandardOutput=file:/dev/ttyS0
ExecStart=/usr/local/sbin/report
[Install]
WantedBy=multi-user.target
"""

pytestmark = [
    *NEEDS,
    pytest.mark.slow(held="tests/netboot/test_mkimg.py what is in an image, test_pxe.py that nodes come into one"),
    pytest.mark.timeout(4 * PATIENCE),
]


def tree_of(site: PxeSite, folder: Path) -> Path:
    """Unpack the first image, with its kernel where it was, and have it report."""
    folder.mkdir()
    images = site.place.images()
    kernel, initrd, root = (images.blob(blob.sha256) for blob in images.read(PACKED).blobs)
    subprocess.run(["tar", "--zstd", "-xpf", root, "--xattrs", "--xattrs-include=*", "-C", folder], check=True)
    [version] = [path.name for path in (folder / "usr/lib/modules").iterdir()]
    shutil.copy(kernel, folder / f"boot/vmlinuz-{version}")
    shutil.copy(initrd, folder / f"boot/initrd.img-{version}")
    (folder / "usr/local/sbin/report").write_text(SCRIPT)
    (folder / "usr/local/sbin/report").chmod(0o755)
    (folder / "etc/systemd/system/report.service").write_text(UNIT)
    wanted = folder / "etc/systemd/system/multi-user.target.wants/report.service"
    wanted.symlink_to("/etc/systemd/system/report.service")
    shutil.copy(folder / "usr/bin/true", folder / "usr/local/bin/capable")
    subprocess.run(["setcap", "cap_net_raw=ep", folder / "usr/local/bin/capable"], check=True)
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PxeSite]:
    """A network with cidd and three images."""
    monkeypatch.setenv("PYTHONPATH", str(Path(cidcapt.__file__).parents[2]))
    made = PxeSite(tmp_path, {}, slot="700M", memory=768, blancmange=top_config.read())
    made.image_make(PACKED, "--suite", "bookworm", "--packages", "libcap2-bin")
    tree = tree_of(made, tmp_path / "tree")
    made.image_make(TREE, "--tree", str(tree))
    made.image_make(SQUASHED, "--tree", str(tree), "--format", "squashfs")
    shutil.rmtree(tree)
    with made.running():
        yield made


def reports(site: PxeSite) -> list[list[str]]:
    """Return what images said of themselves, a word each."""
    # A prompt to log in may stand before it.
    return [found.split() for found in re.findall("== (n1 .*) ==", site.machines[0].said())]


def expected(kind: str, *more: str) -> list[str]:
    """Return what one says whose root is of a kind, and that has come up well."""
    host_key, capable = "/etc/ssh/ssh_host_ed25519_key", "/usr/local/bin/capable"
    return ["n1", kind, "writable", "1777", host_key, capable, "cap_net_raw=ep", "0", *more]


def test_from_pxe_through_three_images_and_back(site: PxeSite) -> None:
    """Each is the node's own, by name and host keys, and nothing in it has failed; what was written is there again."""
    machine = site.machine("2G")
    site.accept(machine)

    def captured(job: str, image: str) -> None:
        with site.capture(job, "n1", image, PATIENCE) as command:
            assert site.ended(command, PATIENCE + 20) == 0, site.said()

    captured("1", PACKED)
    captured("2", TREE)
    assert wait_until(lambda: reports(site), 120), site.said()
    assert reports(site) == [expected("ext4")], site.said()
    captured("3", SQUASHED)
    assert wait_until(lambda: len(reports(site)) == 2, 120), site.said()
    assert reports(site)[-1] == expected("overlay"), site.said()
    boots = len([state for state, _ in site.trace("n1") if state == "blancmange"])
    captured("4", TREE)
    assert wait_until(lambda: len(reports(site)) == 3, 120), site.said()
    assert reports(site)[-1] == expected("ext4", "before"), site.said()
    assert len([state for state, _ in site.trace("n1") if state == "blancmange"]) == boots, "it was on the disk"
