"""image.make and its like, with real tar, zstd and squashfs: what is in an image is what was in the tree."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cncp.config.sources import SOURCE
from cncp.netboot.cidd import Place
from cncp.netboot.node_db import Event, NodeDb
from cncp.process import MOUNTING, PIPE, begin
from cncp.waiting import wait_until
from tests.unit.netboot.small_tree import VERSION, plant
from tests.unit.netboot.test_node_states import node
from tests.unit.refusal import ran

_MISSING = [program for program in ("tar", "zstd", "mksquashfs") if shutil.which(program) is None]
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="files of an image belong to root"),
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
]

ODD = b"caf\xe9\xff"
KEPT = ("images.lock", "signing.key", "signing.pub")
LONG = "/".join(["d" * 120] * 12)


def said(folder: Path, *words: str) -> str:
    """Return what a verb says that does what it is to."""
    done = ran(folder, [*words, "--folder", str(folder / "place")])
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(folder: Path, *words: str) -> str:
    """Return what a verb says that does not, in two lines, and leaves all as it was."""
    place = folder / "place"
    before = sorted(place.rglob("*"))
    done = ran(folder, [*words, "--folder", str(place)])
    assert done.returncode != 0
    error = [line for line in done.stderr.splitlines() if not line.startswith("==>")]
    assert [line.partition(":")[0] for line in error] == ["error", "hint"], done.stderr
    assert [path for path in sorted(place.rglob("*")) if path not in before and path.name not in KEPT] == []
    return done.stderr


def difficult(root: Path) -> Path:
    """Plant a tree with all that an archive may lose."""
    plant(root)
    (root / "usr/bin/ping").write_bytes(b"\x7fELF")
    (root / "usr/bin/ping").chmod(0o4755)
    # Version 2 of what capabilities(7) has, for cap_net_raw.
    os.setxattr(root / "usr/bin/ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.setxattr(root / "usr/bin/ping", "user.note", b"ours")
    # Of a machine that labels its files, and of a container's overlay: nobody else's.
    os.setxattr(root / "usr/bin/ping", "security.selinux", b"system_u:object_r:container_file_t:s0")
    os.setxattr(root / "usr/lib", "trusted.overlay.opaque", b"y")
    os.link(root / "usr/bin/ping", root / "usr/bin/ping6")
    os.mknod(root / "usr/lib/null", 0o666 | 0o020000, os.makedev(1, 3))
    os.mkfifo(root / "usr/lib/pipe")
    os.chown(root / "usr/lib/pipe", 123456, 654321)
    (root / "usr/lib" / os.fsdecode(ODD)).write_text("odd")
    (root / LONG).mkdir(parents=True)
    (root / LONG / "file").write_text("far down")
    (root / "usr/lib/-x --y").write_text("no option")
    (root / "usr/lib/dangling").symlink_to("/nowhere")
    (root / "var").mkdir()
    with (root / "var/sparse").open("wb") as sparse:
        sparse.truncate(1 << 27)
        sparse.seek(1 << 26)
        sparse.write(b"in the middle")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(root / "usr/lib/s"))
    return root


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A difficult tree, made an image of each kind, and what a node would have of the first."""
    folder = tmp_path_factory.mktemp("mkimg")
    difficult(folder / "tree")
    said(folder, "image.make", "compute-1-0", "--tree", str(folder / "tree"))
    said(folder, "image.make", "compute-1-1", "--tree", str(folder / "tree"), "--format", "squashfs")
    images = Place(folder / "place").images()
    for name in images.names():
        root = images.blob(images.read(name).blobs[-1].sha256)
        (folder / name).mkdir()
        if name == "compute-1-0":
            words: list[str | Path] = [
                "tar",
                "--zstd",
                "-xpf",
                root,
                "--xattrs",
                "--xattrs-include=*",
                "-C",
                folder / name,
            ]
        else:
            words = ["unsquashfs", "-q", "-n", "-f", "-d", folder / name, root]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return folder


KINDS = ("compute-1-0", "compute-1-1")


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_archive_may_lose(unpacked: Path, kind: str) -> None:
    """Capabilities, attributes, links, devices, owners, names of any bytes and any length, holes."""
    root = unpacked / kind
    ping = root / "usr/bin/ping"
    assert os.getxattr(ping, "security.capability") == os.getxattr(
        unpacked / "tree/usr/bin/ping", "security.capability"
    )
    assert os.getxattr(ping, "user.note") == b"ours"
    assert set(os.listxattr(ping)) == {"security.capability", "user.note"}
    assert os.listxattr(root / "usr/lib") == []
    assert ping.stat().st_ino == (root / "usr/bin/ping6").stat().st_ino
    assert ping.stat().st_mode & 0o7777 == 0o4755
    device, pipe = (root / "usr/lib/null").stat(), (root / "usr/lib/pipe").stat()
    assert (device.st_mode & 0o170000, device.st_rdev) == (0o020000, os.makedev(1, 3))
    assert (pipe.st_mode & 0o170000, pipe.st_uid, pipe.st_gid) == (0o010000, 123456, 654321)
    assert (root / "usr/lib" / os.fsdecode(ODD)).read_text() == "odd"
    assert (root / LONG / "file").read_text() == "far down"
    assert (root / "usr/lib/-x --y").read_text() == "no option"
    assert str((root / "usr/lib/dangling").readlink()) == "/nowhere"
    assert str((root / "bin").readlink()) == "usr/bin"
    with (root / "var/sparse").open("rb") as sparse:
        assert os.fstat(sparse.fileno()).st_size == 1 << 27
        sparse.seek(1 << 26)
        assert sparse.read(13) == b"in the middle"
    assert (root / "var/sparse").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_in_it(unpacked: Path, kind: str) -> None:
    """Nothing secret or of one machine, nothing that is left out; kernel and initrd are parts of their own."""
    root = unpacked / kind
    for name in ("etc/ssh/ssh_host_ed25519_key", "etc/cncp/cidkid.json", "etc/hostname", "tmp/left"):
        assert not (root / name).exists(), name
    assert (root / "etc/ssh/sshd_config").exists()
    assert (root / "tmp").is_dir()
    assert list((root / "boot").iterdir()) == []
    assert "$" not in (root / "etc/shadow").read_text()
    assert (root / "etc/cncp/cidkid.d/drain").stat().st_mode & 0o777 == 0o755


def test_the_tree_is_as_it_was(unpacked: Path) -> None:
    """What was taken out of the image is still in the folder."""
    assert (unpacked / "tree/etc/hostname").read_text() == "node7\n"
    assert (unpacked / "tree/etc/cncp/cidkid.json").read_text() == "secret"
    assert "$y$" in (unpacked / "tree/etc/shadow").read_text()


@pytest.mark.parametrize("form", ["tar.zst", "squashfs"])
def test_the_same_bytes(unpacked: Path, form: str) -> None:
    """Made again, elsewhere and from a copy of the tree, it is the same image."""
    place = unpacked / f"other-{form}"
    (place / "tree").mkdir(parents=True)
    copied = "tar -C tree --xattrs --xattrs-include='*' --sparse --format=posix -cf - . 2>/dev/null | "
    copied += f"tar -C {place}/tree --xattrs --xattrs-include='*' -xpf -"
    subprocess.run(["sh", "-c", copied], check=True, cwd=unpacked)
    name = KINDS[form == "squashfs"]
    said(place, "image.make", name, "--tree", str(place / "tree"), "--format", form)
    assert Place(place / "place").images().read(name).blobs == Place(unpacked / "place").images().read(name).blobs


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    """It takes the place of the usual one; secrets stay out whatever it says."""
    plant(tmp_path / "tree")
    (tmp_path / "list").write_text("# no documents\n/etc/motd\n")
    (tmp_path / "tree/etc/motd").write_text("hello")
    said(tmp_path, "image.make", "compute-1-0", "--tree", str(tmp_path / "tree"), "--exclude", str(tmp_path / "list"))
    images = Place(tmp_path / "place").images()
    root = images.blob(images.read("compute-1-0").blobs[-1].sha256)
    listed = subprocess.run(["tar", "--zstd", "-tf", root], check=True, capture_output=True, text=True).stdout.split()
    assert "./tmp/left" in listed
    assert not {"./etc/motd", "./etc/ssh/ssh_host_ed25519_key", "./etc/cncp/cidkid.json"} & set(listed)


def test_listed_checked_and_taken_away(tmp_path: Path) -> None:
    """With what images share, and the nodes that need one: it stays as long as they do."""
    assert "no images yet" in said(tmp_path, "image.list")
    tree = plant(tmp_path / "tree")
    for name in KINDS:
        (tree / "etc/motd").write_text(name)
        said(tmp_path, "image.make", name, "--tree", str(tree))
    found = {image["name"]: image for image in json.loads(said(tmp_path, "image.list", "--json"))}
    assert [image["shared"] for image in found.values()] == [len("kernel") + len("initrd")] * 2
    assert all(image["size"] > image["shared"] for image in found.values())
    assert said(tmp_path, "image.check").count("as it was signed") == 2
    with contextlib.closing(NodeDb(tmp_path / "place/nodes.db")) as db:
        free = node(image="", wanted="")
        for user in (replace(free, image=KINDS[0]), replace(free, wanted=KINDS[0])):
            with db.transaction():
                db.save(user, Event(1.0, "n1", "alive"))
            assert "n1" in said(tmp_path, "image.list")
            assert "is what n1 runs or will run" in refused(tmp_path, "image.remove", KINDS[0])
    said(tmp_path, "image.remove", KINDS[1])
    root = max((tmp_path / "place/store/blobs").iterdir(), key=lambda path: path.stat().st_size)
    root.write_bytes(b"x" + root.read_bytes()[1:])
    assert "is damaged" in refused_after(tmp_path, "image.check")
    assert hashlib.sha256(root.read_bytes()).hexdigest() != root.name


def refused_after(folder: Path, *words: str) -> str:
    """Return all that a verb says that finds something."""
    done = ran(folder, [*words, "--folder", str(folder / "place")])
    assert done.returncode == 1
    return done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("compute",), "no name of an image"),
        (("", "--tree", "tree"), "no name of an image"),
        (("../../etc-1-0", "--tree", "tree"), "no name of an image"),
        (("x-1-0", "--tree", "none"), "no folder with a tree"),
        (("x-1-0", "--tree", "tree", "--host", "n1"), "of packages, of a tree or of a node"),
        (("x-1-0", "--tree", "tree", "--suite", "bookworm"), "of packages, of a tree or of a node"),
        (("x-1-0", "--tree", "tree", "--format", "ext4"), "--format 'ext4' is not possible"),
        (("x-1-0", "--tree", "tree", "--system", "plan9"), "--system 'plan9' is not possible"),
        (("x-1-0", "--system", "darwin"), "darwin with --tree"),
        (("x-1-0", "--tree", "tree", "--system", "darwin"), "no kernel of Darwin"),
        (("x-1-0", "--tree", "tree", "--bundle", "none"), "there is no bundle none"),
        (("x-1-0", "--tree", "tree", "--bundle", "bad"), "is not a bundle"),
        (("x-1-0", "--tree", "tree", "--exclude", "none"), "cannot be read"),
        (("x-1-0", "--tree", "tree", "--exclude", "bad"), "is no path within a tree"),
        (("x-1-0", "--host", "n[1-2]"), "is 2 hosts"),
        (("x-1-0", "--host", "localhost"), "is this machine"),
        (("x-1-0", "--host", "nowhere.invalid"), "nowhere.invalid"),
        (("x-1-0", "--tree", "bare"), "has no kernel"),
        (("x-1-0", "--suite", "no such suite"), ""),
    ],
)
def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str) -> None:
    """It says what is wrong and what to do, and no image comes of it."""
    monkeypatch.chdir(tmp_path)
    plant(tmp_path / "tree")
    (plant(tmp_path / "bare") / f"boot/vmlinuz-{VERSION}").unlink()
    (tmp_path / "bad").write_text("etc")
    assert told in refused(tmp_path, "image.make", *words)


def test_a_full_disk(tmp_path: Path) -> None:
    """It is what is told, and nothing is left on it but what was there."""
    tree, place = plant(tmp_path / "tree"), tmp_path / "place"
    (tree / "usr/lib/large").write_bytes(os.urandom(12 << 20))
    place.mkdir()
    with small_disk(place):
        assert "is full" in refused(tmp_path, "image.make", "x-1-0", "--tree", str(tree))
        (tree / "usr/lib/large").write_bytes(b"")
        said(tmp_path, "image.make", "x-1-0", "--tree", str(tree))
        assert "is full" in refused(tmp_path, "image.make", "x-1-1", "--tree", str(large(tmp_path)))
        assert said(tmp_path, "image.check") == "x-1-0: as it was signed\n"


def large(folder: Path) -> Path:
    """Plant a tree that fits on the small disk, but not twice."""
    tree = plant(folder / "large")
    (tree / "usr/lib/large").write_bytes(os.urandom(9 << 20))
    return tree


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Have a folder be a disk of 16 MB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "cncp-test", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed(tmp_path: Path, number: signal.Signals) -> None:
    """Whenever it was, the next one makes its image, and nothing of the first is left."""
    tree, place = plant(tmp_path / "tree"), tmp_path / "place"
    (tree / "usr/lib/large").write_bytes(os.urandom(64 << 20))
    words = ["image.make", "x-1-0", "--tree", str(tree), "--folder", str(place)]
    with subprocess.Popen(
        [sys.executable, "-m", "cncp", *words], env={**os.environ, "PYTHONPATH": str(SOURCE / "bootstrap")},
        stderr=subprocess.PIPE, text=True,
    ) as making:  # fmt: skip
        assert wait_until(lambda: [*place.glob(".making-*/root")], 60)
        making.send_signal(number)
        making.wait(30)
        assert making.stderr is not None
        assert "Traceback" not in making.stderr.read()
    assert bool([*place.glob(".making-*")]) == (number == signal.SIGKILL)
    assert Place(place).images().names() == []
    (tree / "usr/lib/large").unlink()
    said(tmp_path, "image.make", "x-1-0", "--tree", str(tree))
    assert len([*(place / "store/blobs").iterdir()]) == 3
    assert not [*place.glob(".making-*")]


def test_what_is_mounted_for_packages(tmp_path: Path) -> None:
    """It is seen there alone, and is gone, with all that was begun, when the first of it is killed."""
    place, script = tmp_path / "dev", 'mount -t tmpfs x "$1" && touch "$1/file" && echo ready && sleep 600 & sleep 600'
    place.mkdir()
    with begin([*MOUNTING, "sh", "-c", script, "sh", place], stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert [*place.iterdir()] == []
        process.kill()
        assert process.stdout.read() == b"", "read to its end: nothing holds it open"
    shutil.rmtree(place)


MKOSI = {
    "mkosi.default": (
        "[Distribution]\nDistribution=debian\nRelease=bookworm\n[Content]\n"
        "Packages=systemd-sysv,dbus,udev,kmod,iproute2,initramfs-tools,zstd,python3,linux-image-cloud-amd64\n"
    ),
    # Of a folder mkosi makes no initrd by itself.
    "mkosi.postinst": '#!/bin/sh -e\n[ "$1" = final ] || exit 0\n${initrd}systemctl enable systemd-networkd.service\n',
    "mkosi.extra/etc/systemd/network/80-dhcp.network": "[Match]\nType=ether\n[Network]\nDHCP=yes\n",
}


@pytest.mark.slow(held="tests/netboot/test_mkimg.py: trees")  # 2 min for each tree
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("mkosi") is None, reason="not installed: mkosi")
def test_a_tree_that_mkosi_made(tmp_path: Path) -> None:
    """As the how-to says; one without an initrd, as it makes them by itself, may be booted by some nodes alone."""
    definition = tmp_path / "compute"
    for name, text in MKOSI.items():
        path = definition / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("${initrd}", "update-initramfs -c -k all\n"))
        path.chmod(0o755)
    # nspawn would ask a systemd that runs this machine for a unit.
    alone = [] if Path("/run/systemd/system").is_dir() else ["--nspawn-keep-unit"]
    made = tmp_path / "made"
    made.mkdir()
    words = [f"--directory={definition}", "--format=directory", f"--output-dir={made}", *alone, "build"]
    subprocess.run(["mkosi", *words], check=True, timeout=600)
    tree = next(made.glob("*/*/boot")).parent
    assert "compute-1-0: " in said(tmp_path, "image.make", "compute-1-0", "--tree", str(tree))
    said(tmp_path, "image.check")
    for initrd in (tree / "boot").glob("initrd.img-*"):
        initrd.unlink()
    done = ran(tmp_path, ["image.make", "compute-1-1", "--tree", str(tree), "--folder", str(tmp_path / "place")])
    assert "it has no initrd" in done.stderr
