"""What Blancmange is built from: its configuration, Debian's packages, modules, the layout, the archive."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.blancmange import (
    cpio_archive,
    debian_packages,
    disk_layout,
    initramfs_base,
    kernel_modules,
    top_config,
)
from cncp.netboot.blancmange.unpacked_tree import UnpackedTree
from cncp.process import Completed


def test_the_configuration_that_is_shipped() -> None:
    """It is read, has what the programs of a node call, and every line of it is explained."""
    config = top_config.read()
    assert {"/usr/bin/busybox", "/usr/bin/minisign", "/usr/sbin/dropbear", "/usr/sbin/sfdisk"} <= set(config.programs)
    assert config.arguments == config.disk == config.layout == ""
    text = (top_config.HERE / "top_config.toml").read_text()
    for block in text.split("\n\n"):
        assert block.startswith("# "), block


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kernel = 7", "kernel"),
        ('kernel = "linux image"', "kernel"),
        ('modules = "ext4"', "modules"),
        ('arguments = "a;reboot"', "arguments"),
        ('arguments = "a\\nb"', "arguments"),
        ('disk = "sda"', "disk"),
        ('layout = "here"', "layout"),
        ('programs = ["busybox"]', "programs"),
        ('colour = "pink"', "an object of"),
        ("kernel =", "no value|not TOML"),
    ],
)
def test_configurations_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    """What is wrong is named."""
    path = tmp_path / "top_config.toml"
    path.write_text(text)
    with pytest.raises(CncpError, match=said):
        top_config.read(path)


def test_what_is_not_said_is_as_in_ours(tmp_path: Path) -> None:
    """A file of the user's may hold one line."""
    path = tmp_path / "top_config.toml"
    path.write_text('arguments = "console=ttyS0,115200"')
    assert top_config.read(path).arguments == "console=ttyS0,115200"
    assert top_config.read(path).packages == top_config.read().packages


SHOWN = "Package: {0}\nVersion: 1.0-1\nDepends: libc6 (>= 2.34), linux-image-6.1.0-9-amd64 (= 6.1)\nSHA256: {1}\n\n"


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An apt that knows every package but "nothing", each with the content "deb"; what was fetched."""
    fetched: list[str] = []
    digest = hashlib.sha256(b"deb").hexdigest()

    def run(argv: list[str], cwd: str = "", **_: object) -> Completed:
        if argv[0] == "apt-cache":
            known = "".join(SHOWN.format(name, digest) for name in argv[3:] if name != "nothing")
            return Completed(tuple(argv), 0, known.encode(), "")
        fetched.append(argv[-1])
        Path(cwd, "a.deb").write_bytes(b"odd" if "damaged" in argv[-1] else b"deb")
        return Completed(tuple(argv), 0, b"", "")

    monkeypatch.setattr(debian_packages, "run", run)
    return fetched


def test_packages_are_fetched_once(apt: list[str], tmp_path: Path) -> None:
    """With the kernel that the kernel's package needs; what was taken is recorded with version and SHA-256."""
    for _ in range(2):
        found = debian_packages.get_packages(["zstd"], "linux-image-amd64", tmp_path)
    assert [package.name for package, _ in found] == ["zstd", "linux-image-6.1.0-9-amd64"]
    assert apt == ["zstd=1.0-1", "linux-image-6.1.0-9-amd64=1.0-1"]
    assert hashlib.sha256(b"deb").hexdigest() in (tmp_path / "packages").read_text()
    found[0][1].write_bytes(b"damaged on the disk")
    debian_packages.get_packages(["zstd"], "linux-image-amd64", tmp_path)
    assert apt[2:] == ["zstd=1.0-1"]
    debian_packages.get_packages([], "linux-image-amd64", tmp_path)
    assert [*tmp_path.glob("*.deb")] == [found[1][1]], "those of before are of no more use"


@pytest.mark.parametrize(
    ("name", "said"), [("nothing", "apt knows no package nothing"), ("damaged", "not what apt's index says")]
)
def test_packages_that_cannot_be_had(apt: list[str], tmp_path: Path, name: str, said: str) -> None:
    """They are named, and nothing that is not right is kept."""
    with pytest.raises(CncpError, match=said):
        debian_packages.get_packages([name], "linux-image-amd64", tmp_path)
    assert list(tmp_path.glob("*.deb")) == []


def part(name: str, least: str = "8M", most: str = "", kind: str = "", more: str = "") -> str:
    """Return the text of a partition's file."""
    kinds = {"grub": "21686148-6449-6e6f-744e-656564454649", "swap": "swap", "esp": "esp"}
    kind = kind or kinds.get(name, "linux-generic")
    text = f"[Partition]\nType={kind}\nLabel={name}\nSizeMinBytes={least}\n{more}"
    return text + (f"SizeMaxBytes={most}\n" if most else "")


GOOD = (
    part("grub", "2M", "2M"),
    part("blancmange", "64M", "64M"),
    part("swap", "1G", "1G"),
    part("slot0"),
    part("slot1"),
)


def layout(folder: Path, parts: tuple[str, ...]) -> list[disk_layout.Partition]:
    """Write a layout and read it."""
    for number, text in enumerate(parts, 10):
        (folder / f"{number}.conf").write_text(text)
    return disk_layout.read(folder)


def test_a_layout(tmp_path: Path) -> None:
    """It is read in the order of its files; what has no largest size shares what is left."""
    lines = disk_layout.table(layout(tmp_path, GOOD)).splitlines()
    assert lines[0] == "grub 21686148-6449-6E6F-744E-656564454649 2 2 -"
    assert [line.split()[0] for line in lines] == ["grub", "blancmange", "swap", "slot0", "slot1"]
    assert [line.split()[2:4] for line in lines[2:]] == [["1024", "1024"], ["8", "0"], ["8", "0"]]
    with_esp = disk_layout.table(layout(tmp_path, (*GOOD, part("esp", "40M", "40M")))).splitlines()
    assert with_esp == [*lines, "esp C12A7328-F81F-11D2-BA4B-00A0C93EC93B 40 40 -"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((), "no partition"),
        (GOOD[:3], "it is to have|has grub, blancmange, swap"),
        (GOOD[1:], "has blancmange"),
        ((*GOOD[:3], part("slot1"), part("slot0")), "slot1, slot0"),
        ((*GOOD, part("home")), "home"),
        ((*GOOD, part("slot2", kind="ntfs")), "ntfs"),
        ((*GOOD, part("slot 2")), "slot 2"),
        ((*GOOD, part("slot2", "8.5M")), "8.5M"),
        ((*GOOD, part("slot2", "8K")), "8K"),
        ((*GOOD, part("slot2", "0")), "no size"),
        ((*GOOD, part("slot2", "8M", "4M")), "at most 4 MiB"),
        ((*GOOD, part("slot2", more="Encrypt=tpm2\n")), "encrypt"),
        ((*GOOD, part("esp", "40M", "40M"), part("slot2")), "at its end esp|slot1, esp, slot2"),
        ((*GOOD, part("esp", "32M", "32M")), "at most 32 MiB"),
        ((*GOOD, part("esp", "40M")), "at most 0 MiB"),
        ((*GOOD, part("esp", "40M", "40M", kind="swap")), "type 'swap'"),
        ((*GOOD, "Label=slot2"), "describes no partition"),
        ((*GOOD, "[Disk]\nLabel=slot2"), "describes no partition"),
    ],
)
def test_layouts_that_are_none(tmp_path: Path, parts: tuple[str, ...], said: str) -> None:
    """What Blancmange would make otherwise than it is written is refused."""
    with pytest.raises(CncpError, match=said):
        layout(tmp_path, parts)


def test_the_archive(tmp_path: Path) -> None:
    """The kernel's format, as cpio reads it, with the folders above; the same members make the same bytes."""
    members = {
        "usr/bin/sh": cpio_archive.file(b"#!\n", 0o755),
        "bin": cpio_archive.link("usr/bin"),
        "tmp": cpio_archive.folder(0o700),
        "empty": cpio_archive.file(b""),
    }
    content = cpio_archive.archive(members)
    assert content == cpio_archive.archive(dict(reversed(members.items())))
    if shutil.which("cpio") is None:
        pytest.skip("cpio is not here")
    subprocess.run(["cpio", "-i", "--quiet", "--no-preserve-owner"], input=content, cwd=tmp_path, check=True)
    assert (tmp_path / "usr/bin/sh").read_bytes() == b"#!\n"
    assert stat.S_IMODE((tmp_path / "usr/bin/sh").stat().st_mode) == 0o755
    assert (tmp_path / "bin").readlink() == Path("usr/bin")
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o700


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel with a few modules; what depmod finds is written down here."""
    folder = tmp_path / "usr/lib/modules/6.1.0"
    for name in ("kernel/fs/ext4/ext4.ko", "kernel/fs/jbd2/jbd2.ko", "kernel/net/a-card.ko", "kernel/net/other.ko"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    for name in ("kernel/crypto/crc32c_generic.ko.xz", "kernel/arch/crc32c-intel.ko"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(lzma.compress(b"") if name.endswith(".xz") else b"")
    (folder / "kernel/fs/jbd2/jbd2.ko").write_bytes(b"code\0license=GPL\0softdep=pre: crypto-crc32c zlib\0name=jbd2\0")
    (folder / "modules.alias").write_text(
        "# of depmod\nalias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c_generic\nalias pci:v0* other\n"
    )
    (folder / "modules.dep").write_text(
        "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko\nkernel/fs/jbd2/jbd2.ko:\n"
        "kernel/net/a-card.ko:\nkernel/net/other.ko:\n"
        "kernel/crypto/crc32c_generic.ko.xz:\nkernel/arch/crc32c-intel.ko:\n"
    )
    (folder / "modules.builtin").write_text("kernel/drivers/virtio/virtio.ko\n")
    (folder / "modules.order").write_text("")
    monkeypatch.setattr(kernel_modules, "run", lambda argv, **_: Completed(tuple(argv), 0, b"", ""))
    return folder


@pytest.mark.parametrize(
    ("names", "found"),
    [
        # What it asks for while it runs, by whatever name and of whatever make.
        (("ext4",), {"ext4", "jbd2", "crc32c_generic", "crc32c-intel"}),
        (("kernel/net",), {"a-card", "other"}),
        (("kernel/net/other.ko", "virtio"), {"other"}),
        (("a_card",), {"a-card"}),
        ((), set()),
    ],
)
def test_modules_with_what_they_need(modules: Path, names: tuple[str, ...], found: set[str]) -> None:
    """By their names, in either spelling, or as folders; what is built in is there already."""
    members = kernel_modules.chosen(modules, Path("busybox"), names)
    assert {Path(name).stem for name in members if name.endswith(".ko")} == found
    others = {name for name in members if not name.startswith("usr/lib/modules/6.1.0/")}
    assert others == {"usr/sbin/modprobe"}, "the kernel asks for modules as well"


def test_a_module_that_is_not_there(modules: Path) -> None:
    """It is named: a node without it would not boot, and nobody would know why."""
    with pytest.raises(CncpError, match="no module ext5"):
        kernel_modules.chosen(modules, Path("busybox"), ("ext5",))


def test_what_each_initramfs_begins_with(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Busybox under all its names, modules, and what the first program reads."""
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"program")
    monkeypatch.setattr(initramfs_base, "run", lambda argv, **_: Completed(tuple(argv), 0, b"sh\nls\n", ""))
    members = initramfs_base.members(busybox, modules, ("ext4",), ("ext4", "loop"))
    assert members["usr/bin/busybox"] == cpio_archive.file(b"program", 0o755)
    assert members["usr/bin/sh"] == members["usr/bin/ls"] == cpio_archive.link("busybox")
    assert members["etc/cncp/modules"].content == b"ext4 loop\n"
    assert {"usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko", "usr/lib/cncp/kernel.sh", "usr/sbin/modprobe"} <= set(
        members
    )


@pytest.mark.parametrize(
    "ask", [lambda tree: tree.file("usr/bin/zstd"), lambda tree: tree.run("usr/bin/zstd"), lambda tree: tree.kernel]
)
def test_a_package_that_is_missing(tmp_path: Path, ask: Callable[[UnpackedTree], object]) -> None:
    """What it would have had is named, with where packages are listed."""
    with pytest.raises(CncpError) as caught:
        ask(UnpackedTree(tmp_path))
    assert "top_config.toml" in caught.value.hint
