"""From PXE to an image that runs, and to others by the disk alone: real machines but for the emulation, real cidd."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.netboot import cidcapt
from tests.lab.base import cache_dir

from .pxe_site import PxeSite, network

OLD, NEW = "tiny-1-0", "tiny-1-1"

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.getuid() != 0, reason="a network of its own is root's"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu is not here"),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PxeSite]:
    """A network with cidd and two images."""
    monkeypatch.setenv("PYTHONPATH", str(Path(cidcapt.__file__).parents[2]))
    made = PxeSite(tmp_path, cache_dir() / "netboot", {OLD: "tar.zst", NEW: "squashfs"})
    with network():
        try:
            made.begin()
            yield made
        finally:
            made.end()


def test_from_pxe_to_alive_and_to_another_image_and_back(site: PxeSite) -> None:
    """One boots its disk first, the other the network by its second card; one changes images by its disk alone."""
    machines = site.machine(first="c"), site.machine(first="n", cards=2)
    site.accept(*machines)
    site.captured("1", "n[1-2]", OLD)
    for job, image in (("2", NEW), ("3", OLD), ("4", NEW)):
        site.captured(job, "n1", image)
    booted = re.findall(r"this is (\S+), (\w+)", machines[0].said())
    # One is unpacked and stays as it was left; the other is packed, and begins anew whenever it is switched to.
    assert booted == [(OLD, "fresh"), (NEW, "fresh"), (OLD, "used"), (NEW, "fresh")]
    assert machines[0].said().count("partition") == 2, "later they were in their slots"
