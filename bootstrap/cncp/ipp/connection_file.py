"""The connection files of ipyparallel as records: told apart by fingerprints, made to fit an address.

The fields are those that ipyparallel 9.2 writes and reads (``IPController.init_hub``, ``Client._connect``,
``load_config_from_json``); their form is not ours to change.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from cncp.field_types import Checked, Matching, Port, Sized
from cncp.records import OTHERS, Others, Record

if TYPE_CHECKING:
    from typing_extensions import Self

CLIENT = "ipcontroller-client.json"
ENGINE = "ipcontroller-engine.json"

_HINT = "have the controller write it again: cncp restart, or ipcontroller"

_MAY_BE_EMPTY = ("location", "curve_serverkey", "task_scheme")

_CURVE = 40
"""Characters of a key in Z85, which is 32 bytes: zmq_curve(7)."""

CurveKey = Annotated[str, Checked(lambda key: len(key) == _CURVE and key.isascii(), "a key of CurveZMQ")]
SigningKey = Annotated[str, Matching(r"[\x20-\x7e]{0,1024}", "a key")]
_Scheme = Annotated[str, Matching(r"[\x20-\x7e]{0,255}", "a word")]


@dataclass(frozen=True, kw_only=True)
class ConnectionFile(Record):
    """What both files hold: where the controller is, and the keys, which let their holder run code."""

    channels: ClassVar[tuple[str, ...]] = ("registration",)

    key: SigningKey
    interface: Annotated[str, Matching(r"tcp://[A-Za-z0-9_.:*%\[\]-]{1,255}", "an address of TCP")]
    registration: Port
    signature_scheme: _Scheme
    pack: _Scheme
    unpack: _Scheme
    location: Annotated[str, Matching(r"[A-Za-z0-9_.:%\[\]-]{0,255}", "an address")] = ""
    curve_serverkey: CurveKey | None = None
    ssh: str = ""

    @classmethod
    def read(cls, content: bytes, where: str, hint: str = _HINT) -> Self:
        """Read a file, ours or ipyparallel's own. Raises Misfit without its content."""
        return cls.from_json(content, where, hint)

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Leave out what is empty, and ``ssh``, which would have whoever reads it run ssh."""
        return {key: value for key, value in members.items() if key != "ssh" and (value or key not in _MAY_BE_EMPTY)}

    @property
    def fingerprint(self) -> str:
        """What tells clusters apart: no key follows from it."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]

    @property
    def curve_fingerprint(self) -> str:
        """The same of the controller's public key; "" where nothing is encrypted.

        The public key itself is not shown: with it anybody may connect, though not say anything.
        """
        public = self.curve_serverkey
        return hashlib.sha256(public.encode()).hexdigest()[:16] if public else ""

    def same_cluster(self, other: ConnectionFile) -> bool:
        """Tell whether two files hold the same keys."""
        return (self.key, self.curve_serverkey) == (other.key, other.curve_serverkey)

    @property
    def bound(self) -> str:
        """The address that the controller listens on."""
        return self.interface.partition("://")[2]

    @property
    def on_all_interfaces(self) -> bool:
        """Whether the controller listens on every address of its machine."""
        return self.bound in ("0.0.0.0", "*")

    @property
    def on_loopback(self) -> bool:
        """Whether only programs on the controller's machine reach it."""
        return self.bound == "localhost" or self.bound.startswith("127.")

    @property
    def dialled(self) -> str:
        """The address that a program with this file dials."""
        return self.location if self.on_all_interfaces else self.bound

    def ports_of(self, channels: Iterable[str]) -> list[int]:
        """Return the ports of channels in order, those of an engine's ``broadcast`` one after another."""
        ports = (getattr(self, channel) for channel in channels)
        return [port for value in ports for port in (value if isinstance(value, tuple) else (value,))]

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of all channels in order."""
        return tuple(self.ports_of(self.channels))


@dataclass(frozen=True, kw_only=True)
class ClientFile(ConnectionFile):
    """ipcontroller-client.json. What no client reads is left out."""

    channels = ("registration", "control", "mux", "task", "iopub", "notification", "broadcast")

    control: Port
    mux: Port
    task: Port
    iopub: Port
    notification: Port
    broadcast: Port
    task_scheme: _Scheme = "leastload"

    def at(self, address: str, mapped: tuple[int, ...] = ()) -> ClientFile:
        """Return the file for a client that reaches the controller at ``address``, at other ports if given."""
        ports: dict[str, Any] = dict(zip(self.channels, mapped or self.ports, strict=True))
        return replace(self, interface=f"tcp://{address}", location=address, **ports)


@dataclass(frozen=True, kw_only=True)
class EngineFile(ConnectionFile):
    """ipcontroller-engine.json, which goes on to engines whole."""

    channels = ("registration", "control", "mux", "task", "iopub", "hb_ping", "hb_pong", "broadcast")

    control: Port
    mux: Port
    task: Port
    iopub: Port
    hb_ping: Port
    hb_pong: Port
    broadcast: Annotated[tuple[Port, ...], Sized(1024, 1)]
    others: Others = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Where else the controller may be dialled (``serve.controller_address``)."""
        names = self.others.get("names")
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list | tuple) else ()


_Named = Annotated[str, Matching(r"[A-Za-z0-9][A-Za-z0-9.:-]*", "a name or an address")]
_Json = Literal["json"]


@dataclass(frozen=True, kw_only=True)
class MemberFile(EngineFile):
    """An engines' connection file that came from elsewhere, with what engines read alone.

    Other encodings than JSON would be imported by name. ``names`` are where else the controller can be dialled.
    """

    key: Annotated[str, Matching(r"[\x20-\x7e]{1,1024}", "a key")]
    interface: Annotated[str, Matching(r"tcp://[A-Za-z0-9.:*_\[\]-]+", "an address of TCP")]
    signature_scheme: Annotated[str, Matching("hmac-[a-z0-9]+", "a scheme of signatures")]
    pack: _Json
    unpack: _Json
    location: _Named
    broadcast: tuple[Port, Port]
    others: Annotated[Mapping[Literal["names"], tuple[_Named, ...]], OTHERS] = field(default_factory=dict)  # type: ignore[assignment]  # narrower, and frozen

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Leave out what no engine reads."""
        read = {known.name for known in fields(cls)}
        found = {key: value for key, value in super().upgraded(members).items() if key in read}
        return {**found, **({"names": members["names"]} if members.get("names") else {})}


def is_ipv6(address: str) -> bool:
    """Tell whether an address is one that ipyparallel's URLs cannot hold."""
    try:
        return ipaddress.ip_address(address.strip("[]")).version == 6
    except ValueError:
        return False
