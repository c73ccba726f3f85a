"""Blancmange's own programs, by the busybox that a node has, on a file in the place of its disk."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import os
import random
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cncp.netboot import messages
from cncp.netboot.blancmange import disk_layout, esp_image
from cncp.netboot.blancmange.top_config import HERE
from cncp.netboot.cidkid import signature
from cncp.netboot.image_store import Blob, ImageStore, Manifest
from cncp.netboot.minisign import SigningKey
from tests.lab.serve import by_http

from .esp_reader import loader
from .loop_disk import REREAD, LoopDisk, loop_disk

pytestmark = [
    pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox-static is not here"),
    pytest.mark.skipif(shutil.which("minisign") is None, reason="minisign is not here"),
]

PARTS = (
    "initramfs/report",
    "initramfs/network",
    "initramfs/disk",
    "initramfs/slots",
    "initramfs/grub",
    "initramfs/fetch",
    "cidkid.d/grubenv",
)
LAYOUT = (
    "grub 21686148-6449-6E6F-744E-656564454649 2 2 -\n"
    "blancmange 0FC63DAF-8483-4772-8E79-3D69D8477DE4 16 16 ext4\n"
    "swap 0657FD6D-A4AB-43C4-84E5-0933C84B4F4F 4 4 swap\n"
    + "".join(f"slot{number} 0FC63DAF-8483-4772-8E79-3D69D8477DE4 8 0 -\n" for number in range(3))
)
ESP = "esp C12A7328-F81F-11D2-BA4B-00A0C93EC93B 4 4 vfat\n"


def sh(commands: str, *arguments: str | Path, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Run commands with all of Blancmange's functions."""
    text = "".join(f". {HERE}/{part}.sh\n" for part in PARTS)
    text += 'fail() { echo "failed: $1" >&2; exit 3; }\nlayout=${layout_file:-}\n' + commands
    around = {"PATH": os.environ["PATH"], **{name: str(value) for name, value in variables.items()}}
    argv = ["busybox", "sh", "-euc", text, "sh", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=around, timeout=120)


def good(commands: str, *arguments: str | Path, **variables: str | Path) -> str:
    """Return what commands print that succeed."""
    done = sh(commands, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


NETWORK = """
ip() { [ "$1" != addr ] || cat "$place/addresses"; }
timeout() { shift; "$@"; }
wget() { grep -q 'inet ' "$place/addresses"; }
udhcpc() { echo "$*" >> "$place/asked"; echo '    inet 10.0.0.5/24 scope global eth0' >> "$place/addresses"; }
cards=$place/net
network http://10.0.0.1
"""


def test_a_router_of_ipv6_is_not_the_way_to_cidd(tmp_path: Path) -> None:
    """A card that has an address of its own making is asked by DHCP all the same, whichever came first."""
    card = tmp_path / "net" / "eth0"
    card.mkdir(parents=True)
    (card / "carrier").write_text("1\n")
    (tmp_path / "addresses").write_text("    inet6 fd99::5054:ff:fe78:902/64 scope global dynamic mngtmpaddr\n")
    good(NETWORK, place=tmp_path)
    assert (tmp_path / "asked").read_text() == "-q -n -f -t 4 -T 1 -i eth0 -s /etc/cncp/udhcpc.sh\n"


def test_a_report_is_signed_as_cidkid_signs() -> None:
    """For keys of each length that there is, and for what is in a message: quotes, lines, bytes."""
    for size in (1, 16, 32):
        key = secrets.token_hex(size)
        body = '{"state": "failed", "reason": "50 % of \\\\ $HOME `x` \'y\'\n"}'
        mine = good('use_key "$key"; printf "POST\\n%s\\n%s\\n%s" "$1" "$2" "$3" | hmac', "/v1/n", "7", body, key=key)
        assert mine.strip() == signature(key.encode(), "POST", "/v1/n", 7, body.encode())
    whole = bytes(range(256))
    bytewise = subprocess.run(
        ["busybox", "sh", "-euc", f". {HERE}/initramfs/report.sh; use_key abc; hmac"],
        input=whole,
        capture_output=True,
        check=True,
    ).stdout
    assert bytewise.decode().strip() == hmac.new(b"abc", whole, hashlib.sha256).hexdigest()


def test_the_key_of_an_image_is_cidds() -> None:
    """Blancmange derives it from the key of its boot as cidd does."""
    key = secrets.token_hex(16)
    made = good('use_key "$key"; printf "session %s" compute-1-0 | hmac', key=key)
    assert made.strip().encode() == messages.session_key(key.encode(), "compute-1-0")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"verb": "install", "image": "compute-1-0", "seconds": 0.0, "key": ""}', "install compute-1-0 0.0"),
        ('{"verb": "wait", "image": "", "seconds": 5.5, "key": ""}', "wait  5.5"),
        ('{"seconds":5,"verb":"wait","image":"a-1-0"}', "wait a-1-0 5"),
        ('{"verb": "none"}', "none  "),
        ("", "  "),
    ],
)
def test_answers(answer: str, said: str) -> None:
    """Whatever the order and the blanks; what is not there is empty."""
    commands = 'echo "$(member verb "$1") $(member image "$1") $(member seconds "$1")"'
    assert good(commands, answer) == f"{said}\n"


def test_grubs_environment(tmp_path: Path) -> None:
    """It stays one that GRUB reads, of its size and in its place, whatever is set how often."""
    path = tmp_path / "grubenv"
    path.write_bytes(b"# GRUB Environment Block\n".ljust(1024, b"#"))
    inode = path.stat().st_ino
    for _ in range(3):
        good('env_set "$1" saved_entry=slot1 next_entry= cidd_key=00ff && env_set "$1" next_entry=blancmange', path)
    content = path.read_bytes()
    assert (len(content), path.stat().st_ino) == (1024, inode)
    assert content.startswith(b"# GRUB Environment Block\nsaved_entry=slot1\ncidd_key=00ff\nnext_entry=blancmange\n#")
    assert good('env_get "$1" cidd_key; env_get "$1" nothing', path) == "00ff\n"
    if shutil.which("grub-editenv"):
        read = subprocess.run(["grub-editenv", path, "list"], capture_output=True, text=True, check=True).stdout
        assert "next_entry=blancmange" in read
    assert good('env_used slot0,slot2,slot1 slot2; echo; env_used "" slot0') == "slot0,slot1,slot2\nslot0"


class Disk:
    """A disk with a layout, as Blancmange's functions find it."""

    def __init__(self, loop: LoopDisk, folder: Path) -> None:
        self.path, self.device, self.layout = loop.path, loop.device, folder / "layout"
        self.layout.write_text(LAYOUT)

    def sh(self, commands: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run commands in which $disk is this one."""
        return sh(REREAD + commands, *arguments, disk=self.device, layout_file=self.layout)

    def good(self, commands: str, *arguments: str | Path) -> str:
        """Return what commands print that succeed."""
        done = self.sh(commands, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def digest(self) -> str:
        """That of all its bytes."""
        os.sync()
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 64 MiB."""
    if os.getuid() != 0:
        pytest.skip("devices are root's")
    with loop_disk(tmp_path / "disk", 64) as loop:
        yield Disk(loop, tmp_path)


MAKE = """
mkdir -p "$1"
partition_disk "$disk"
make_swap "$(device "$disk" swap)"
open_blancmange "$disk" "$1"
umount "$1"
"""


def test_the_layout_is_made_once(disk: Disk, tmp_path: Path) -> None:
    """A second time changes no byte; names of images are no other layout; slots share what is left."""
    disk.good(MAKE, tmp_path / "mnt")
    made = disk.good('present "$disk"').splitlines()
    assert [line.split()[3] for line in made] == ["grub", "blancmange", "swap", "slot0", "slot1", "slot2"]
    sizes = [int(line.split()[1]) // 2048 for line in made]
    assert (sizes[:3], len(set(sizes[3:])), 63 - sum(sizes)) == ([2, 16, 4], 1, 2)
    disk.good('name_slot "$disk" slot1 compute-10-12')
    before = disk.digest
    disk.good('partition_disk "$disk"; make_swap "$(device "$disk" swap)"')
    assert disk.digest == before
    assert disk.good('images "$disk"') == '["compute-10-12"]\n'
    disk.good(MAKE, tmp_path / "mnt")
    assert disk.good('held "$disk" slot1') == "compute-10-12\n"


def test_a_partition_that_cannot_be_opened_yet_is_waited_for(disk: Disk, tmp_path: Path) -> None:
    """The kernel tells of one before there is a device of it: nothing is mounted, or made, until there is."""
    disk.good(MAKE, tmp_path / "mnt")
    named = f"{disk.device}p2"
    # Not made by us: the kernel takes away only its own.
    os.rename(named, f"{named}.away")
    with contextlib.ExitStack() as away:
        away.callback(os.rename, f"{named}.away", named)
        found = disk.sh('device "$disk" blancmange')
        assert (found.returncode, found.stdout) == (1, "")
        assert "has no partition 2" in found.stderr
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(disk.good, 'device "$disk" blancmange')
            away.close()
            assert waiting.result() == f"{named}\n"


def test_file_systems_are_such_that_grub_reads_them(disk: Disk, tmp_path: Path) -> None:
    """Whatever the e2fsprogs of a later Debian chooses by itself."""
    choices = tmp_path / "mke2fs.conf"
    choices.write_text("[defaults]\nbase_features = has_journal,extent,metadata_csum,metadata_csum_seed,orphan_file\n")
    disk.good(f"export MKE2FS_CONFIG={choices}\n{MAKE}mkfs -L slot0 $(device $disk slot0)", tmp_path / "mnt")
    for part in (2, 4):
        argv = ["dumpe2fs", "-h", f"{disk.device}p{part}"]
        features = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        assert "metadata_csum" in features
        assert re.search("metadata_csum_seed|orphan_file", features) is None


def test_another_layout_is_made_anew(disk: Disk, tmp_path: Path) -> None:
    """What was on the disk is no image any more, nor is what GRUB was to boot."""
    disk.good(MAKE, tmp_path / "mnt")
    disk.good(
        'name_slot "$disk" slot0 compute-1-0; mount "$(device "$disk" blancmange)" "$1"; touch "$1/old"; umount "$1"',
        tmp_path / "mnt",
    )
    disk.layout.write_text(LAYOUT.replace("slot2", "slot3").replace(" 4 4 swap", " 5 5 swap"))
    left = disk.good(MAKE + 'mount "$(device "$disk" blancmange)" "$1"; ls "$1"; umount "$1"', tmp_path / "mnt")
    assert left.split() == ["lost+found"]
    assert disk.good('images "$disk"') == "[]\n"


def test_a_disk_of_before_there_was_an_esp(disk: Disk, tmp_path: Path) -> None:
    """It stays as it is, with the images that it has, and gets none; one that has none is made with it."""
    disk.good(MAKE, tmp_path / "mnt")
    disk.good('name_slot "$disk" slot1 compute-1-0')
    before = disk.digest
    disk.layout.write_text(LAYOUT + ESP)
    assert disk.good('partition_disk "$disk"; images "$disk"') == '["compute-1-0"]\n'
    assert disk.sh('has_esp "$disk"').returncode == 1
    disk.good('uefi_finds "$disk" slot1')
    assert disk.digest == before
    # Where there is no room for one as well.
    disk.layout.write_text(LAYOUT + ESP.replace(" 4 4 ", " 40 40 "))
    disk.good('partition_disk "$disk"')
    assert disk.digest == before
    disk.layout.write_text(LAYOUT + ESP)
    disk.good(f'/sbin/sfdisk -q --delete "$disk"\n{MAKE}has_esp "$disk"', tmp_path / "mnt")
    assert [line.split()[3] for line in disk.good('present "$disk"').splitlines()][3:] == [
        *("slot0", "slot1", "slot2", "esp")
    ]
    assert disk.good("number slot1") == "5\n", "its number is that on a disk without one"


class EspDisk:
    """A disk with an ESP, and GRUBs to be in it."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._folder = disk, folder
        disk.layout.write_text(LAYOUT + ESP)
        disk.good('partition_disk "$disk"')
        for name in ("old", "new"):
            (folder / name).mkdir()
            for part, content in esp_image.parts(name.encode() * 250_000).items():
                (folder / name / part).write_bytes(content)

    def has(self, grub: str, entry: str = "slot0", more: str = "") -> str | None:
        """Have UEFI find that GRUB; return which it finds then, or None."""
        self._disk.sh(f'esp=$1\n{more}\nuefi_finds "$disk" "$2"', self._folder / grub, entry)
        found = loader(Path(f"{self._disk.device}p7").read_bytes())
        assert found is None or found.rstrip(b"\0") in (b"old" * 250_000, b"new" * 250_000)
        return None if found is None else found[:3].decode()

    def wipe(self) -> None:
        """Have the ESP be of zeros."""
        self._disk.good('dd if=/dev/zero of="$(device "$disk" esp)" bs=1M count=4 conv=fsync 2> /dev/null')

    @property
    def digest(self) -> str:
        """That of all bytes of the disk."""
        return self._disk.digest


@pytest.fixture
def esp_disk(disk: Disk, tmp_path: Path) -> EspDisk:
    """A disk whose ESP has nothing yet."""
    return EspDisk(disk, tmp_path)


def test_what_uefi_finds(esp_disk: EspDisk) -> None:
    """GRUB, where there is something to boot; written where it is another, and once."""
    assert esp_disk.has("old", entry="") is None
    assert esp_disk.has("old") == "old"
    before = esp_disk.digest
    assert esp_disk.has("old") == "old"
    assert esp_disk.digest == before
    for grub in ("new", "old", "new"):
        assert esp_disk.has(grub) == grub
    assert esp_disk.has("new", entry="") is None
    assert esp_disk.has("new") == "new"


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_power_cut_while_grub_for_uefi_is_written(esp_disk: EspDisk, write: int) -> None:
    """UEFI finds the old one or the new one, whole; on a disk that had none, nothing or it. The next time ends it."""
    # Before each write, and in the middle of it but for a sector, which is written wholly or not at all.
    cut = f"""
writes=0
dd() {{
    case "$*" in
        *of=*)
            writes=$((writes + 1))
            [ "$writes" -lt {write} ] || {{ [ -z "$part" ] || busybox dd "$@" count="$part"; exit 9; }}
            ;;
    esac
    busybox dd "$@"
}}
"""
    for part in ("", 1, 700):
        esp_disk.wipe()
        cut_there = f"part={part}{cut}"
        # GRUB, the file system around it, the sector that names it.
        assert esp_disk.has("old", more=cut_there) == ("old" if write == 3 and part else None)
        assert esp_disk.has("old") == "old"
        # The other place for GRUB, the sector.
        assert esp_disk.has("new", more=cut_there) == ("new" if write == 3 or (write == 2 and part) else "old")
        assert esp_disk.has("new") == "new"


def test_a_disk_that_is_too_small(tmp_path: Path, disk: Disk) -> None:
    """It is said with both sizes, and nothing is written."""
    disk.layout.write_text(LAYOUT.replace(" 16 16 ", " 64 64 "))
    before = disk.digest
    done = disk.sh('partition_disk "$disk"')
    assert done.returncode != 0
    assert "the disk has 64 MiB, the layout needs 96" in done.stderr
    assert disk.digest == before


def test_a_power_cut_while_it_is_partitioned(disk: Disk, tmp_path: Path) -> None:
    """Whatever had been written by then, the next time makes the rest."""
    cuts = [":", 'partition_disk "$disk"', 'partition_disk "$disk"; make_swap "$(device "$disk" swap)"']
    for cut in cuts:
        disk.good(cut)
        # Half of the file system of Blancmange's is no file system.
        disk.good(f'{cut}; dd if=/dev/urandom of="$disk" bs=1M seek=3 count=1 conv=notrunc,fsync 2> /dev/null')
        disk.good(MAKE, tmp_path / "mnt")
        disk.good('mount "$(device "$disk" blancmange)" "$1"; umount "$1"', tmp_path / "mnt")
        disk.good('dd if=/dev/zero of="$disk" bs=1M count=1 conv=notrunc,fsync 2> /dev/null; partx -d "$disk" || :')


@pytest.mark.parametrize(
    ("held", "used", "slot"),
    [
        ("slot0 slot1 slot2", "", "slot0"),
        ("a-1-0 slot1 slot2", "slot0", "slot1"),
        ("a-1-0 b-1-0 new-1-0", "slot2,slot0,slot1", "slot2"),
        ("a-1-0 b-1-0 c-1-0", "slot1,slot2,slot0", "slot1"),
        ("a-1-0 b-1-0 c-1-0", "slot0,slot2", "slot1"),
        ("a-1-0 b-1-0 c-1-0", "", "slot0"),
    ],
)
def test_which_slot_is_given_away(tmp_path: Path, held: str, used: str, slot: str) -> None:
    """The image's own, else an empty one, else that which was used longest ago."""
    layout = tmp_path / "layout"
    layout.write_text(LAYOUT)
    commands = 'held() { echo "$names" | tr " " "\\n" | sed -n "$((${2#slot} + 1))p"; }\nslot_for disk new-1-0 "$1"'
    assert good(commands, used, names=held, layout_file=layout) == f"{slot}\n"


def test_which_disk_is_used(tmp_path: Path) -> None:
    """Ours of an earlier time, wherever it is now; else the first with room; none that can be taken out."""
    layout = tmp_path / "layout"
    layout.write_text(LAYOUT)
    for name, mib, removable in (
        ("sr0", 9000, 1),
        ("sda", 9000, 1),
        ("sdb", 10, 0),
        ("sdc", 9000, 0),
        ("sdd", 9000, 0),
    ):
        folder = tmp_path / "block" / name
        folder.mkdir(parents=True)
        for part, text in (("size", mib * 2048), ("removable", removable), ("ro", 0)):
            (folder / part).write_text(f"{text}\n")
    functions = (HERE / "initramfs/disk.sh").read_text().replace("/sys/block", f"{tmp_path}/block")
    choose = f"{functions}\nlayout=$layout_file settings=$settings_folder\nchoose_disk"
    (tmp_path / "disk").write_text("\n")
    assert good(choose, layout_file=layout, settings_folder=tmp_path) == "/dev/sdc\n"
    (tmp_path / "block/sdd/sdd2").mkdir()
    (tmp_path / "block/sdd/sdd2/uevent").write_text("DEVNAME=sdd2\nPARTNAME=blancmange\n")
    assert good(choose, layout_file=layout, settings_folder=tmp_path) == "/dev/sdd\n"
    shutil.rmtree(tmp_path / "block/sdd")
    shutil.rmtree(tmp_path / "block/sdc")
    done = sh(choose, layout_file=layout, settings_folder=tmp_path)
    assert done.returncode != 0
    assert "no disk has the 48 MiB that the layout needs: sda with 9000 MiB, sdb with 10 MiB\n" in done.stderr
    (tmp_path / "disk").write_text("/dev/sdb\n")
    assert good(choose, layout_file=layout, settings_folder=tmp_path) == "/dev/sdb\n"


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, SigningKey]:
    """A manifest with its signature, as cidd gives them away."""
    key = SigningKey.made()
    store = ImageStore(tmp_path / "store", key.public)
    blobs = (Blob("root", "1" * 64, 12345678901), Blob("kernel", "2" * 64, 7), Blob("initrd", "3" * 64, 8))
    store.add(Manifest("compute-1-0", "tar.zst", 1.0, blobs), key)
    for path in (tmp_path / "store/images/compute-1-0").iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path, key


def held_against(folder: Path, public: str, name: str) -> subprocess.CompletedProcess[str]:
    (folder / "images.pub").write_text(f"{public}\n")
    commands = f". {folder}/fetch.sh; signed $1/manifest.json $1/manifest.minisig $2"
    text = (HERE / "initramfs/fetch.sh").read_text()
    (folder / "fetch.sh").write_text(text.replace("/etc/cncp", str(folder)).replace("/tmp/said", f"{folder}/said"))
    return sh(commands, folder, name)


def test_a_manifest_that_is_ours(image: tuple[Path, SigningKey]) -> None:
    """Its signature holds, and what is in it is read as it was written."""
    folder, key = image
    assert held_against(folder, key.public, "compute-1-0").returncode == 0
    found = good('blobs "$1"; packed "$1"', folder / "manifest.json").splitlines()
    assert found == [f"root {'1' * 64} 12345678901", f"kernel {'2' * 64} 7", f"initrd {'3' * 64} 8", "tar.zst"]


def test_manifests_that_are_not_ours(image: tuple[Path, SigningKey]) -> None:
    """Of another key, of another image, with a bit flipped anywhere, without a signature."""
    folder, key = image
    done = held_against(folder, SigningKey.made().public, "compute-1-0")
    assert (done.returncode, done.stderr) == (3, "failed: the signature of compute-1-0 does not hold\n")
    done = held_against(folder, key.public, "compute-1-1")
    assert (done.returncode, done.stderr) == (3, "failed: what is signed is compute-1-0, not compute-1-1\n")
    whole, dice = (folder / "manifest.json").read_bytes(), random.Random(1)
    for _ in range(8):
        place = dice.randrange(len(whole))
        damaged = whole[:place] + bytes([whole[place] ^ 1 << dice.randrange(8)]) + whole[place + 1 :]
        (folder / "manifest.json").write_bytes(damaged)
        assert held_against(folder, key.public, "compute-1-0").returncode == 3
    (folder / "manifest.json").write_bytes(whole)
    (folder / "manifest.minisig").write_bytes(b"")
    assert held_against(folder, key.public, "compute-1-0").returncode == 3


@contextlib.contextmanager
def cutting_server(content: bytes, cuts: list[int]) -> Iterator[tuple[str, list[str]]]:
    """A server that ends a connection after so many bytes, and no more once it has cut each time."""
    ranges: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            ranges.append(asked)
            first = int(asked[6:-1]) if asked else 0
            self.send_response(206 if first else 200)
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            last = first + cuts.pop(0) if cuts else len(content)
            self.wfile.write(content[first:last])

    with by_http(Handler) as address:
        yield address, ranges


def test_a_transfer_that_is_cut_goes_on(tmp_path: Path) -> None:
    """What has arrived is not fetched again, and cidd hears how far it is."""
    content = secrets.token_bytes(300_000)
    with cutting_server(content, [100_000, 0, 50_000]) as (address, ranges):
        told = good(
            'state() { echo "$1 $2" >> "$heard"; }; fetch_large /blob "$1" 300000 700000 1000000; cat "$heard"',
            tmp_path / "blob",
            cidd=address,
            heard=tmp_path / "heard",
        )
    assert (tmp_path / "blob").read_bytes() == content
    assert ranges == ["", "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert told.splitlines()[0].startswith('fetch "percent": ')


def test_blancmange_that_arrives_damaged(tmp_path: Path) -> None:
    """What the disk had is there still, for the next boot: only what holds takes its place."""
    whole = {"kernel": b"new kernel", "initramfs": b"new initramfs"}
    own, served = tmp_path / "own", tmp_path / "served"
    for folder in (own, served):
        folder.mkdir()
        for name in whole:
            (folder / name).write_bytes(b"of before")
    (served / "sums").write_text("".join(f"{hashlib.sha256(whole[name]).hexdigest()}  {name}\n" for name in whole))
    (served / "sums.minisig").touch()
    (served / "kernel").write_bytes(whole["kernel"])
    (served / "initramfs").write_bytes(b"cut")
    text = (HERE / "initramfs/fetch.sh").read_text().replace("/tmp/", f"{tmp_path}/")
    keep = f'{text}\nfetch_small() {{ cp "$served/${{1##*/}}" "$2"; }}\nsigned() {{ :; }}\nkeep_blancmange "$1"'
    done = sh(keep, own, served=served)
    assert (done.returncode, "arrived damaged" in done.stderr) == (3, True)
    assert {(own / name).read_bytes() for name in whole} == {b"of before"}
    (served / "initramfs").write_bytes(whole["initramfs"])
    good(keep, own, served=served)
    assert {name: (own / name).read_bytes() for name in whole} == whole


def test_the_table_of_the_layout_is_that_of_repart() -> None:
    """What is in the package is a layout, and its table is the form that is read here."""
    table = disk_layout.table(disk_layout.read(HERE / "repart.d"))
    assert [line.split()[0] for line in table.splitlines()][3:] == ["slot0", "slot1", "slot2", "slot3", "esp"]
    assert all(len(line.split()) == 5 for line in table.splitlines())
