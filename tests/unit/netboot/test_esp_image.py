"""The ESP of a node: a FAT32 as firmware reads it, in which one sector says what is booted."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot.blancmange import esp_image
from tests.netboot.esp_reader import Esp

GRUB = b"MZ" + bytes(range(1, 256)) * 2000


def esp(named: str, old: bytes = GRUB, new: bytes = GRUB) -> bytes:
    """Return one whose directory names a place, or none."""
    parts = esp_image.parts(old)
    return parts["frame"] + parts[f"directory.{named}"] + parts["grub"] + esp_image.parts(new)["grub"]


def test_it_is_a_fat32() -> None:
    """By the number of its clusters, which alone decides; its table has them all."""
    made = Esp(esp("none"))
    assert 65525 <= made.clusters <= made.per_fat - 2
    assert made.clusters * 512 < esp_image.MIB << 20


@pytest.mark.parametrize(("named", "begins"), [("none", None), ("a", b"old"), ("b", b"new")])
def test_one_sector_names_what_is_booted(named: str, begins: bytes | None) -> None:
    """That of either place, whole, or nothing."""
    found = Esp(esp(named, b"old", b"new")).loader()
    assert (found and found.rstrip(b"\0")) == begins
    assert len(esp_image.parts(GRUB)[f"directory.{named}"]) == 512
    assert found is None or Esp(esp(named)).loader() == GRUB.ljust(1 << 20, b"\0")


@pytest.mark.skipif(shutil.which("fsck.fat", path="/usr/sbin:/sbin") is None, reason="dosfstools is not here")
@pytest.mark.parametrize("named", ["none", "a", "b"])
def test_those_who_check_such_file_systems_find_no_fault(tmp_path: Path, named: str) -> None:
    """Whichever place is named, and there is nothing to mend."""
    path = tmp_path / "esp"
    path.write_bytes(esp(named))
    with path.open("r+b") as disk:
        disk.truncate(esp_image.MIB << 20)
    done = subprocess.run(["/usr/sbin/fsck.fat", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3), done.stdout


def test_a_grub_that_is_too_large() -> None:
    """It is refused where it is built, not cut."""
    with pytest.raises(CncpError, match="larger than its place"):
        esp_image.parts(bytes((1 << 20) + 1))
