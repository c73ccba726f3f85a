"""What narrows the fields of records, and the fields that many have. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cncp.errors import shown
from cncp.records import LARGEST, Odd, Reader, whole_number


@dataclass(frozen=True)
class Matching:
    """Text that means something to programs: all of it fits, or none is taken."""

    pattern: str
    wanted: str

    def __call__(self, value: Any, plain: Reader) -> str:
        """Read a value."""
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise Odd(self.wanted)
        # A pattern of what is not in it lets through what is no text of Unicode.
        found: str = plain(value)
        return found


@dataclass(frozen=True)
class Shown:
    """Text for people; what a terminal would take for an order is shown as escapes."""

    most: int = 4096

    def __call__(self, value: Any, _: Reader) -> str:
        """Read a value."""
        if not isinstance(value, str) or len(value) > self.most:
            raise Odd(f"text of up to {self.most} characters")
        return shown(value)


@dataclass(frozen=True)
class Within:
    """A number within bounds."""

    least: float
    most: float

    def __call__(self, value: Any, plain: Reader) -> Any:
        """Read a value."""
        whole = plain is whole_number
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not self.least <= value <= self.most
        ):
            raise Odd(f"a {'whole ' if whole else ''}number from {self.least:g} to {self.most:g}")
        return value if whole else float(value)


@dataclass(frozen=True)
class Sized:
    """A list, or an object, of so many members."""

    most: int
    least: int = 0

    def __call__(self, value: Any, plain: Reader) -> Any:
        """Read a value."""
        if not isinstance(value, list | tuple | dict) or not self.least <= len(value) <= self.most:
            raise Odd(f"{self.least} to {self.most} members")
        return plain(value)


@dataclass(frozen=True)
class Checked:
    """What ``holds`` says of it is so, beside its type."""

    holds: Callable[[Any], bool]
    wanted: str

    def __call__(self, value: Any, plain: Reader) -> Any:
        """Read a value."""
        found = plain(value)
        if not self.holds(found):
            raise Odd(self.wanted)
        return found


Name = Annotated[str, Matching(r"[A-Za-z0-9_.:@-]{1,255}", "a name")]
AbsolutePath = Annotated[str, Matching(r"/[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,4095}", "an absolute path")]
Address = Annotated[str, Matching(r"[A-Za-z0-9_.:%-]{1,255}", "an address")]
Digest = Annotated[str, Matching(r"[0-9A-Za-z]{0,128}", "a digest")]
EngineUuid = Annotated[str, Matching(r"[A-Za-z0-9_.-]{0,255}", "the identity of an engine")]
Text = Annotated[str, Shown()]
ShortText = Annotated[str, Shown(255)]
Word = Annotated[str, Shown(64)]
Port = Annotated[int, Within(1, 65535)]
Bytes = Annotated[int, Within(0, LARGEST)]
Number = Annotated[int, Within(0, 2**31)]
Seconds = Annotated[float, Within(0, 1e12)]
