"""The layout of a node's disk: read as systemd-repart reads it (repart.d), written as the table that a node goes by."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import UsageError
from cncp.netboot.blancmange import esp_image

_TYPES = {
    "linux-generic": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "swap": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "21686148-6449-6e6f-744e-656564454649": "21686148-6449-6E6F-744E-656564454649",
}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MIB = 1 << 20
_KEYS = {"type", "label", "format", "sizeminbytes", "sizemaxbytes"}
_BEFORE = ["grub", "blancmange", "swap"]
ESP = "esp"
"""The partition that UEFI reads; a layout for none but machines with a BIOS has it not."""

_HINT = "see Blancmange's own folder repart.d"


@dataclass(frozen=True)
class Partition:
    """A partition: sizes in MiB; ``most`` is 0 where it shares what is left of the disk with others such."""

    name: str
    kind: str
    least: int
    most: int
    format: str


def read(folder: Path) -> list[Partition]:
    """Return the partitions that the files of a folder describe, in the order of their names. Raises UsageError."""
    found = [_partition(path) for path in sorted(folder.glob("*.conf"))]
    names = [partition.name for partition in found]
    # GRUB goes by the numbers of the first two; an image's programs by that of the last before the slots.
    slots = [f"slot{number}" for number in range(len(names) - len(_BEFORE) - (ESP in names))]
    if not slots or names != [*_BEFORE, *slots, *([ESP] if ESP in names else [])]:
        raise UsageError(
            f"the layout in {folder} has {', '.join(names) or 'no partition'}",
            "it is to have grub, blancmange, swap, then slot0, slot1 and so on, and for UEFI at its end esp",
        )
    return found


def _partition(path: Path) -> Partition:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text())
        section = dict(parser["Partition"])
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError) as error:
        raise UsageError(f"{path} describes no partition: {type(error).__name__}", _HINT) from None
    if unknown := section.keys() - _KEYS:
        raise UsageError(f"{path} says {', '.join(sorted(unknown))}, which Blancmange does not know", _HINT)
    kind, name = section.get("type", ""), section.get("label", "")
    if kind not in _TYPES or not re.fullmatch(r"[a-z0-9]{1,16}", name):
        raise UsageError(f"{path} has the type {kind!r} and the label {name!r}", _HINT)
    least, most = (_mib(section.get(key, "0"), path) for key in ("sizeminbytes", "sizemaxbytes"))
    if (most and most < least) or not least:
        raise UsageError(f"{path} says no size, or at most {most} MiB and at least {least}", _HINT)
    if name == ESP and (kind != ESP or most < esp_image.MIB):
        raise UsageError(
            f"{path} has the type {kind!r} and at most {most} MiB", f"esp is of that type, from {esp_image.MIB}M on"
        )
    return Partition(name, _TYPES[kind], most or least, most, section.get("format", "-"))


def _mib(text: str, path: Path) -> int:
    size = re.fullmatch(r"([0-9]{1,12})([KMGT]?)", text)
    if size is None or (found := int(size[1]) * _UNITS[size[2]]) % _MIB:
        raise UsageError(f"{path} has the size {text!r}", "give MiB such as 256M, or 2G")
    return found // _MIB


def table(partitions: list[Partition]) -> str:
    """Return the lines by which a node makes the layout: name, type, least and most MiB, format."""
    return "".join(f"{part.name} {part.kind} {part.least} {part.most} {part.format}\n" for part in partitions)
