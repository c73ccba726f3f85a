"""Blancmange's whole way from a key to a disk that boots, on this machine's kernel, with the real cidd: and its faults.

The node is a mount namespace: this machine's files under those of the initramfs, and a file in the place of the disk.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.files import lock
from cncp.netboot import cidcapt, cidkid
from cncp.netboot.blancmange import debian_packages, top_config
from cncp.netboot.blancmange.cpio_archive import Member
from cncp.netboot.blancmange.debian_packages import get_packages
from cncp.netboot.blancmange.initramfs_image import SIGNED_FOR
from cncp.netboot.blancmange.initramfs_tree import Reach, build_packages, node_settings
from cncp.netboot.blancmange.unpacked_tree import UnpackedTree
from cncp.netboot.image_store import Blob, Manifest, Role
from cncp.netboot.minisign import SigningKey
from cncp.waiting import wait_until
from tests.lab.base import cache_dir

from .esp_reader import loader
from .loop_disk import REREAD, LoopDisk, loop_disk
from .loopback_site import Site
from .pxe_site import write_layout
from .tiny_image import KERNEL, MODULES

IMAGE, OTHER = "small-1-0", "small-1-1"
NEEDED = ("busybox", "minisign", "zstd", "unshare", "partx", "qemu-system-x86_64")

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.getuid() != 0, reason="mounts are root's"),
    pytest.mark.skipif(
        not all(shutil.which(name) for name in NEEDED), reason=f"one of {', '.join(NEEDED)} is not here"
    ),
]

_ENTER = """
mount --make-rprivate /
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" node "$1/node"
for folder in dev proc sys; do mount --rbind "/$folder" "$1/node/$folder"; done
mount --bind "$1/cmdline" "$1/node/proc/cmdline"
mount -t tmpfs tmp "$1/node/tmp"
mount -t tmpfs mnt "$1/node/mnt"
exec chroot "$1/node" busybox sh /usr/bin/provision
"""

HARDWARE = "mac=52:54:00:00:00:01&uuid=00000001-0000-0000-0000-000000000000"

_INSTEAD = f"""
{REREAD}
# Not all of the machine that this is run on.
sync() {{ :; }}
# Whichever it is of that.
by_uefi() {{ grep -q uefi=yes /proc/cmdline; }}
"""

# A node whose power is to be cut in a state waits for that there: it may last no longer than a question.
_CUT = r"""
state() {
    told "$@" || return
    ! grep -q "cut=$1\$" /proc/cmdline || while :; do sleep 1; done
}
"""


@functools.cache
def blancmange() -> dict[str, Member]:
    """Return what is in an initramfs, but for what is one site's own."""
    cache = cache_dir() / "netboot/blancmange"
    cache.mkdir(parents=True, exist_ok=True)
    config = replace(top_config.read(), kernel=KERNEL, modules=(*MODULES, "ext4"))
    with lock(cache / "lock", "a test", 600):
        packages = get_packages(config.packages, config.kernel, cache)
        tree = UnpackedTree(debian_packages.unpacked(packages, cache))
        return build_packages(tree, config, Reach("https://h:1", "0" * 64, "http://h:2", "key"), "")


class Node:
    """A machine with a disk, which has done nothing yet."""

    def __init__(self, site: Site, folder: Path, disk: LoopDisk) -> None:
        self._site, self._folder, self._disk, self.device = site, folder, disk, disk.device
        self.log = folder / "node.log"
        self._boot: subprocess.Popen[bytes] | None = None
        self.uefi = False
        """Whether this is what boots it."""
        for name in ("upper", "work", "node"):
            (folder / name).mkdir()
        layout = str(folder / "repart.d")
        self._config = replace(top_config.read(), disk=self.device, layout=layout, arguments="console=ttyS0")
        self._reach = Reach(site.access.url, site.access.fingerprint, self.cidd, site.place.signing_key().public)
        self._lay(blancmange())
        self.has_layout("esp")
        with (folder / "upper/usr/lib/cncp/disk.sh").open("a") as functions:
            functions.write(_INSTEAD)
        report = folder / "upper/usr/lib/cncp/report.sh"
        report.write_text(report.read_text().replace("\nstate() {", "\ntold() {") + _CUT)

    def _lay(self, members: Mapping[str, Member]) -> None:
        for path, member in members.items():
            there = self._folder / "upper" / path
            if path.startswith(("etc/cncp/", "usr/lib/cncp/", "usr/bin/provision", "usr/lib/grub/")):
                there.parent.mkdir(parents=True, exist_ok=True)
                if stat.S_ISLNK(member.mode):
                    there.symlink_to(member.content.decode())
                else:
                    there.write_bytes(member.content)

    def has_layout(self, *more: str) -> None:
        """Have Blancmange be one whose layout has more partitions."""
        shutil.rmtree(self._config.layout, ignore_errors=True)
        Path(self._config.layout).mkdir()
        sizes = {"blancmange": "16M", "swap": "4M", "slot0": "16M", "slot1": "16M", **dict.fromkeys(more, "33M")}
        write_layout(Path(self._config.layout), sizes)
        self._lay(node_settings(self._config, self._reach, ""))

    @property
    def cidd(self) -> str:
        """Where nodes reach cidd."""
        return f"http://127.0.0.1:{self._site.ports[1]}"

    def script(self, hardware: str = HARDWARE) -> str:
        """Return what iPXE gets."""
        with urllib.request.urlopen(f"{self.cidd}/v1/boot?{hardware}", timeout=20) as answer:
            text: str = answer.read().decode()
        return text

    def boot(self, arguments: str = "", cut_in: str = "") -> subprocess.Popen[bytes]:
        """Begin what the network boots, with a new key, or with other arguments of the kernel, as far as a state."""
        found = re.search(r"initrd=initramfs (.*) \|\|", script := "" if arguments else self.script())
        assert arguments or found, script
        self.arguments = arguments or (found[1] if found else "")
        (self._folder / "cmdline").write_text(f"{self.arguments} uefi={'yes' if self.uefi else 'no'} cut={cut_in}\n")
        self._disk.know()
        with self.log.open("ab") as log:
            argv = ["unshare", "--mount", "sh", "-euc", _ENTER, "sh", str(self._folder)]
            self._boot = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        return self._boot

    def ended(self, arguments: str = "") -> int:
        """Boot, and return how that ended."""
        return self.boot(arguments).wait(120)

    def cut_in(self, state: str) -> None:
        """Boot, and cut the power in a state."""
        self.boot(cut_in=state)
        assert wait_until(lambda: self._site.states()["n1"] == state, 60), self.said()
        self.cut()

    def cut(self) -> None:
        """Cut the power, if it is on."""
        if self._boot is not None and self._boot.poll() is None:
            os.killpg(self._boot.pid, signal.SIGKILL)
            self._boot.wait(20)

    def said(self) -> str:
        """Return what it and cidd have written."""
        return f"{self.log.read_text(errors='replace')}\n{self._site.log()[-3000:]}"

    def names(self) -> list[str]:
        """Return what the disk's partitions are called."""
        dump = subprocess.run(["sfdisk", "--dump", self.device], capture_output=True, text=True, check=False).stdout
        return re.findall(r'name="([^"]*)"', dump)

    def esp(self) -> bytes | None:
        """Return what UEFI boots of the disk, or None where it finds nothing."""
        self._disk.know()
        return loader(Path(f"{self.device}p{self.names().index('esp') + 1}").read_bytes())

    def read(self, partition: int, commands: str) -> str:
        """Return what commands print in a partition."""
        self._disk.know()
        inside = f"mount {self.device}p{partition} /mnt && cd /mnt && {commands}"
        done = subprocess.run(["unshare", "--mount", "sh", "-euc", inside], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def add_image(site: Site, folder: Path, name: str, mib: int = 1) -> Manifest:
    """Have a small image be there, with a capability, a file of random bytes and an account's file."""
    tree = folder / name
    tree.mkdir()
    (tree / "random").write_bytes(os.urandom(mib << 20))
    (tree / "owned").write_text("7\n")
    os.chown(tree / "owned", 7, 7)
    os.setxattr(tree / "owned", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    packed = folder / f"{name}.tar"
    subprocess.run(["tar", "-C", tree, "-I", "zstd", "--xattrs", "--xattrs-include=*", "-cf", packed, "."], check=True)
    images, blobs = site.place.images(), list[Blob]()
    roles: tuple[Role, ...] = ("root", "kernel", "initrd")
    for role in roles:
        path = packed if role == "root" else folder / role
        if role != "root":
            path.write_text(f"{role} of {name}\n")
        with path.open("rb") as content:
            blobs.append(images.add_blob(role, content))
    manifest = Manifest(name, "tar.zst", 1.0, tuple(blobs))
    images.add(manifest, site.place.signing_key())
    return manifest


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A cidd with two images and a Blancmange, which a node of the test's is known to as n1."""
    monkeypatch.setenv("PYTHONPATH", str(Path(cidcapt.__file__).parents[2]))
    folder = tmp_path / "cidd"
    folder.mkdir()
    made = Site(folder)
    for name in (IMAGE, OTHER):
        add_image(made, tmp_path, name)
    files = {"kernel": b"Blancmange's kernel", "initramfs": b"Blancmange's initramfs"}
    sums = "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in files.items()).encode()
    made.place.blancmange.mkdir()
    for name, text in {**files, "sums": sums, "sums.minisig": made.place.signing_key().sign(sums, SIGNED_FOR)}.items():
        (made.place.blancmange / name).write_bytes(text)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def node(site: Site, tmp_path: Path) -> Iterator[Node]:
    """A node with 96 MiB that is to be in the image."""
    with node_with(site, tmp_path / "node", 96) as made:
        yield made


@contextlib.contextmanager
def node_with(site: Site, folder: Path, mib: int) -> Iterator[Node]:
    """Have a node with so many MiB that is to be in the image, and whose power is cut in the end."""
    folder.mkdir()
    with loop_disk(folder / "disk", mib) as disk:
        made = Node(site, folder, disk)
        try:
            accept(site, made)
            yield made
        finally:
            made.cut()


def accept(site: Site, node: Node) -> None:
    """Have a node be known and wanted in the image."""
    assert "is unknown" in node.script()
    site.client.ask("POST", "/v1/nodes/node-525400000001?name=n1")
    want(site, "1", IMAGE)


def want(site: Site, job: str, image: str) -> None:
    """Have a job want the node in an image."""
    site.client.ask("PUT", f"/v1/jobs/{job}", {"nodes": ["n1"], "image": image, "timeout": 600})


def alive(site: Site, node: Node) -> None:
    """Have the image on the disk say that it runs, with the key that it finds there."""
    names = node.names()
    me = node.read(
        names.index(next(name for name in names if name.startswith("small"))) + 1, "cat etc/cncp/cidkid.json"
    )
    path = site.place.folder / "me.json"
    path.write_text(me)
    cidkid.Agent(cidkid.Me.read(path), lambda *_: None, lambda _: None).announce()
    assert site.states()["n1"] == "alive"


def test_an_image_is_put_on_the_disk(site: Site, node: Node) -> None:
    """With all that it was packed with, who it is, how it is booted; a second one goes into another slot."""
    assert node.ended() == 0, node.said()
    assert node.names() == ["grub", "blancmange", "swap", IMAGE, "slot1", "esp"]
    assert (node.esp() or b"").startswith(b"MZ")
    listed = node.read(
        4, "stat -c '%u %a %n' owned etc/cncp/cidkid.json; cat etc/hostname boot/cncp/kernel boot/cncp/initrd"
    )
    assert listed.splitlines() == [
        *("7 644 owned", "0 600 etc/cncp/cidkid.json", "n1", f"kernel of {IMAGE}", f"initrd of {IMAGE}"),
    ]
    capability = "import os; print(len(os.getxattr('owned', 'security.capability')))"
    assert node.read(4, f'{sys.executable} -c "{capability}"') == "20\n"
    assert "access denied" not in node.read(4, "ls -a etc/cncp/cidkid.d")
    entry, environment = node.read(2, "cat grub/slot0.cfg; echo ==; head -c 200 grub/grubenv").split("==")
    assert f"linux /boot/cncp/kernel root=LABEL=slot0 rw cncp.image={IMAGE} $fresh_argument console=ttyS0" in entry
    assert "saved_entry=slot0" in environment
    assert re.search(r"cidd_key=[0-9a-f]", environment) is None
    assert node.read(2, "cat kernel initramfs") == "Blancmange's kernelBlancmange's initramfs"
    alive(site, node)
    want(site, "2", OTHER)
    site.client.ask("POST", "/v1/nodes/n1/again")
    assert node.ended() == 0, node.said()
    assert node.names()[3:5] == [IMAGE, OTHER]
    assert [state for state in site.trace("n1") if state == "partition"] == ["partition"] * 2


@pytest.mark.parametrize("state", ["partition", "fetch", "verify", "unpack"])
def test_the_power_is_cut(site: Site, node: Node, state: str) -> None:
    """The next boot begins anew, and an image that was half there is none."""
    node.cut_in(state)
    assert IMAGE not in node.names()
    assert state == "partition" or node.esp() is None, "UEFI goes on with the network"
    site.client.ask("POST", "/v1/nodes/n1/again")
    assert node.ended() == 0, node.said()
    assert node.names()[3:5] == [IMAGE, "slot1"]
    alive(site, node)


def test_cidd_is_gone_while_a_node_fetches(site: Site, node: Node, tmp_path: Path) -> None:
    """What has arrived is not fetched again, and it goes on once cidd is back."""
    add_image(site, tmp_path, "large-1-0", 6)
    want(site, "1", IMAGE)
    site.client.ask("DELETE", "/v1/jobs/1")
    process = node.boot()
    assert wait_until(lambda: site.states()["n1"] == "fetch", 60, 0.005), node.said()
    site.cidd.kill()
    site.cidd.wait()
    site.begin()
    assert process.wait(120) == 0, node.said()
    alive(site, node)


def reason(site: Site) -> str:
    """Return what cidd says that is wrong with the node."""
    (known,) = json.loads(site.client.ask("GET", "/v1/nodes"))
    return str(known["reason"])


def test_a_flipped_bit_in_a_blob(site: Site, node: Node) -> None:
    """Nothing of it is unpacked; the node tries again, and has failed after the third time."""
    blob = site.place.images().read(IMAGE).blobs[0]
    path = site.place.images().blob(blob.sha256)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    assert [node.ended() for _ in range(3)] == [2, 2, 1], node.said()
    assert (site.states()["n1"], reason(site)) == ("failed", f"a part of {IMAGE} is not what its manifest says")
    assert node.names()[3:5] == ["slot0", "slot1"]
    assert "n1 is failed" in node.script()


def test_an_image_that_somebody_else_signed(site: Site, node: Node) -> None:
    """It is not even fetched."""
    manifest = site.place.images().read(IMAGE)
    folder = site.place.folder / "store/images" / IMAGE
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.minisig").write_bytes(SigningKey.made().sign(content, manifest.name))
    assert node.ended() == 2, node.said()
    assert "the signature of small-1-0 does not hold" in reason(site)
    # That of another image of ours is none either.
    shutil.copy(site.place.folder / "store/images" / OTHER / "manifest.json", folder)
    shutil.copy(site.place.folder / "store/images" / OTHER / "manifest.minisig", folder)
    assert node.ended() == 2, node.said()
    assert "what is signed is small-1-1, not small-1-0" in reason(site)


def test_a_key_that_was_used(site: Site, node: Node) -> None:
    """Whoever has read it from a command line, or recorded what was sent, can do nothing with it."""
    assert node.ended() == 0, node.said()
    assert node.ended(node.arguments) == 2
    assert site.states()["n1"] == "boot"
    alive(site, node)
    assert node.ended(node.arguments) == 2
    assert site.states()["n1"] == "alive"


def test_a_stranger(site: Site, node: Node) -> None:
    """Another card, or another board, gets no key and is only noted; a key of its own making says nothing."""
    for hardware in (HARDWARE.replace(":01&", ":02&"), HARDWARE.replace("00000001-", "00000009-")):
        assert "key=" not in node.script(hardware)
        assert "is unknown" in node.script(hardware)
    before = site.states()
    assert node.ended(f"cidd={node.cidd} node=n1 key={'0' * 32}") == 2
    assert site.states() == before


def test_a_disk_of_before_there_was_an_esp(site: Site, node: Node) -> None:
    """It goes on with what it has, by its BIOS; where UEFI boots it, it is said that it cannot, and nothing is lost."""
    node.has_layout()
    assert node.ended() == 0, node.said()
    alive(site, node)
    node.has_layout("esp")
    want(site, "2", OTHER)
    site.client.ask("POST", "/v1/nodes/n1/again")
    assert node.ended() == 0, node.said()
    whole = ["grub", "blancmange", "swap", IMAGE, OTHER]
    assert node.names() == whole
    assert node.read(4, "cat etc/hostname") == "n1\n"
    site.client.ask("POST", "/v1/nodes/n1/again")
    node.uefi = True
    assert node.ended() == 2, node.said()
    assert reason(site).startswith("this machine boots by UEFI, for which its disk has no partition")
    assert node.names() == whole


def test_a_disk_that_is_too_small(site: Site, tmp_path: Path) -> None:
    """What is told has both sizes, and nothing is written."""
    with node_with(site, tmp_path / "node", 40) as node:
        assert node.ended() == 2, node.said()
        assert reason(site) == "the disk has 40 MiB, the layout needs 89"
        assert not any((tmp_path / "node/disk").read_bytes())


def test_an_image_that_is_too_large(site: Site, node: Node, tmp_path: Path) -> None:
    """It is said that the slot is full; what was there before is still booted."""
    assert node.ended() == 0, node.said()
    alive(site, node)
    add_image(site, tmp_path, "large-1-0", 60)
    want(site, "2", "large-1-0")
    site.client.ask("POST", "/v1/nodes/n1/again")
    assert node.ended() == 2, node.said()
    assert re.fullmatch(r"its slot of \d+ MiB is too small for this image", reason(site)), node.said()
    assert node.names()[3:5] == [IMAGE, "slot1"]
    assert "saved_entry=slot0" in node.read(2, "head -c 200 grub/grubenv")
