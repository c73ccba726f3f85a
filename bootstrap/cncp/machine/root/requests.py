"""What an account asks root for, and what root answers: records that go over a socket between the two.

A field's type is what root believes of it, and `cncp.machine.root.step` holds names of services, and settings, against
what there is. No field is the path of a file that root opens, a content or a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from cncp.field_types import Matching
from cncp.records import Record

PREFIX = r"cncp(-[A-Za-z0-9][A-Za-z0-9_.-]{0,100})?"
"""What names of our units begin with."""

_HOST = r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}"
# Neither what ends a line of a unit file, nor halves of characters, which no file in UTF-8 can hold.
_IN_LINE = r"[^\x00-\x1f\x7f\ud800-\udfff]"

_Prefix = Annotated[str, Matching(PREFIX, "a prefix of ours")]
_Host = Annotated[str, Matching(_HOST, "the name of a host")]
_Line = Annotated[str, Matching(rf"{_IN_LINE}{{0,65536}}", "a line of UTF-8")]
_AbsolutePath = Annotated[str, Matching(rf"/{_IN_LINE}{{0,65535}}", "an absolute path, in UTF-8")]
_Digest = Annotated[str, Matching("[0-9a-f]{1,64}", "a digest")]

Verb = Literal["start", "stop", "restart", "reset-failed", "daemon-reload"]


@dataclass(frozen=True)
class Request(Record):
    """A step of root's, by the name ``do``."""

    do: ClassVar[str]

    def asked(self) -> dict[str, object]:
        """Return it as it goes over the socket."""
        return {"do": self.do, **self.to_json()}


@dataclass(frozen=True)
class Units(Request):
    """Have exactly the units that services need, which have these digests."""

    do = "units"

    home: _AbsolutePath
    login: _AbsolutePath
    host: _Host
    instance: Annotated[str, Matching(f"({_HOST})?", "the name of a host")]
    profile: _Line
    memory: _Line
    services: Mapping[str, _Digest]


@dataclass(frozen=True)
class Remove(Request):
    """Remove all units of a prefix; with ``all`` root's own copy of the code as well."""

    do = "remove"

    prefix: _Prefix
    all: bool


@dataclass(frozen=True)
class Disable(Request):
    """Take the target of a prefix out of the boot."""

    do = "disable"

    prefix: _Prefix


@dataclass(frozen=True)
class Systemctl(Request):
    """Run systemctl on units of a prefix, without names on its target; or have systemd read all units anew."""

    do = "systemctl"

    verb: Verb
    prefix: _Prefix
    names: tuple[str, ...]


@dataclass(frozen=True)
class Linger(Request):
    """Turn the account's lingering on or off."""

    do = "linger"

    on: bool


@dataclass(frozen=True)
class InstallCinc(Request):
    """Install Cinc, which root itself fetches and checks."""

    do = "cinc"


@dataclass(frozen=True)
class Changed(Record):
    """What was changed, in words."""

    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ran(Record):
    """How a program ended, and the last of what it said."""

    status: int
    said: str


@dataclass(frozen=True)
class Installed(Record):
    """The program that was installed."""

    program: str


@dataclass(frozen=True)
class Refused(Record):
    """Why something was not done, and what to do."""

    error: str
    hint: str
