"""What is said of an image beside it: which one it is, and what code its instances find in it."""

from __future__ import annotations

from dataclasses import dataclass

from cncp.records import Record
from cncp.state_files import StateFile


@dataclass(frozen=True)
class About(Record):
    """The SHA-256 of an image, and of the bundle that is in it, "" where it has none."""

    image: str
    code: str = ""


ABOUT = StateFile("cncp-compute.json", About, "make the image anew: cncp vm.package", mode=0o644)
"""In the folder of an image."""
