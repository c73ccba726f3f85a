"""What Blancmange is made of, as ``top_config.toml`` has it, or a file of the user's in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cncp.config.sources import read_toml
from cncp.field_types import AbsolutePath, Matching
from cncp.records import Record

HERE = Path(__file__).parent

Package = Annotated[str, Matching(r"[a-z0-9][a-z0-9+.-]{1,99}", "the name of a package of Debian")]
Module = Annotated[str, Matching(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}", "a module of the kernel")]
Arguments = Annotated[str, Matching(r"[A-Za-z0-9_.,:=/ -]{0,400}", "arguments of a kernel")]


@dataclass(frozen=True)
class TopConfig(Record):
    """See the comments of the file. ``programs`` are paths in a Debian whose /bin is /usr/bin."""

    strict: ClassVar[bool] = True

    kernel: Package
    packages: tuple[Package, ...]
    programs: tuple[AbsolutePath, ...]
    modules: tuple[Module, ...]
    load: tuple[Module, ...]
    arguments: Arguments
    disk: Annotated[str, Matching(r"(/dev/[A-Za-z0-9/_.:-]{1,200})?", "a device such as /dev/sda")]
    layout: AbsolutePath | Literal[""]

    @property
    def layout_folder(self) -> Path:
        """Where the layout of the disk is described."""
        return Path(self.layout) if self.layout else HERE / "repart.d"


def read(path: Path | None = None) -> TopConfig:
    """Return what a file says, and for what it does not say, what ours says. Raises CncpError."""
    ours = HERE / "top_config.toml"
    members = read_toml(ours) | (read_toml(path) if path else {})
    return TopConfig.from_json(members, str(path or ours), "see the comments of Blancmange's top_config.toml")
