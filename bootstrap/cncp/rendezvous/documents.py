"""What stands in the documents by which machines find a cluster, and what is refused.

A *seed* is given to a machine: where a join document is, the key that opens it, until when. A *join* says
all that engines need, once; a *lease* says the same to those who have joined, and what has changed since.
Both are sealed (``sealing.py``): who writes to the store can forge nothing, who reads there reads nothing.
Standard library only: a seed is checked before there is a virtualenv.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from cncp import records
from cncp.errors import CncpError
from cncp.records import Misfit

FORMAT = 1

KEY_BYTES = 32  # of ChaCha20-Poly1305: RFC 8439

SKEW = 300
"""Seconds that clocks may differ by."""

Kind = Literal["join", "lease"]

Want = Literal["run", "drain", "stop"]
"""What members are to do: compute, finish what they compute, or nothing."""

AGAIN = "ask for another line: cncp invite, on the controller's machine"

_ID = re.compile(r"[0-9a-f]{16}")
_SCHEMES = ("https", "http", "file")

_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@$&()*+,;=%-]+")
"""RFC 3986, without what shells change between single quotes: another such quote, and ! in tcsh."""


class Refused(CncpError):
    """A document that is not used. ``reason`` is one of those that tests and reports tell apart."""

    def __init__(self, reason: str, message: str, hint: str = AGAIN) -> None:
        super().__init__(message, hint)
        self.reason = reason


def damaged(subject: str, why: object) -> Refused:
    """Return the refusal of what is no document of ours, or not whole."""
    return Refused("damaged", f"{subject} is damaged: {why}")


def new_key() -> str:
    """Return a key in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def secret(text: str) -> bytes:
    """Return a key as bytes. Raises Misfit."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Misfit("its key is not base64") from None
    if len(found) != KEY_BYTES:
        raise Misfit(f"its key has {len(found)} bytes and not {KEY_BYTES}")
    return found


def _identified(name: str, text: str) -> None:
    if not _ID.fullmatch(text):
        raise Misfit(f"its {name} is not 16 hexadecimal digits")


def _located(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Misfit(f"its {name} is no URL") from None
    if parts.scheme not in _SCHEMES or (parts.scheme != "file" and not parts.hostname) or not _URL.fullmatch(url):
        raise Misfit(f"its {name} is no URL that can be fetched")


@dataclass(frozen=True)
class Seed:
    """What a machine is given to join with; whoever has it can join until ``deadline`` (s since 1970).

    ``join`` is where the document is, ``key`` opens it, in base64; ``bundle`` and its ``sha256`` are what to install
    from, where that is said. Only an ``instance`` ends itself when it has lost its cluster.
    """

    cluster: str
    batch: str
    join: str = field(repr=False)
    key: str = field(repr=False)
    deadline: int
    format: int = FORMAT
    bundle: str = field(default="", repr=False)
    sha256: str = ""
    instance: bool = False

    def to_json(self) -> str:
        """Return it on one line, without what says nothing."""
        said = {name: value for name, value in asdict(self).items() if value not in ("", False)}
        return json.dumps(said, separators=(",", ":"))

    @staticmethod
    def of(content: str | bytes) -> Seed:
        """Read what ``to_json`` returned, however it was pasted. Raises Refused."""
        try:
            seed = records.read(Seed, _unwrapped(content), "it")
            if seed.format != FORMAT:
                raise Refused(
                    "version", f"the seed is of format {seed.format}, and this cncp reads {FORMAT}", "get a newer cncp"
                )
            _check(seed)
        except Misfit as error:
            raise damaged("the seed", error) from None
        return seed

    def insist(self, now: float) -> None:
        """Raise Refused where its time is over."""
        if now > self.deadline:
            raise expired("the invitation", now - self.deadline)


def _check(seed: Seed) -> None:
    """Raise Misfit where a seed says what cannot be."""
    _identified("cluster", seed.cluster)
    _identified("batch", seed.batch)
    _located("join", seed.join)
    secret(seed.key)
    if seed.bundle:
        _located("bundle", seed.bundle)
        if not re.fullmatch(r"[0-9a-f]{64}", seed.sha256):
            raise Misfit("its bundle has no SHA-256")


def _unwrapped(content: str | bytes) -> str:
    """Return JSON without the line ends that a terminal or a mail has put in: none stands in a seed itself."""
    try:
        text = content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError:
        raise Misfit("it is no text") from None
    return re.sub(r"[\r\n]+ *", "", text).strip().lstrip("\ufeff")


def expired(subject: str, late: float) -> Refused:
    """Return the refusal of what was for ``late`` s before now."""
    minutes = late / 60
    ago = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    return Refused("expired", f"{subject} expired {ago} ago, as this machine's clock has it")


@dataclass(frozen=True)
class Access:
    """Where the leases of one generation are, and what opens them.

    ``serial`` is that of the lease that was there last; ``url`` is good until ``expires`` (s since 1970); it is asked
    each ``poll`` s; who has had no lease and no controller for ``orphan`` s is lost.
    """

    url: str = field(repr=False)
    key: str = field(repr=False)
    generation: int
    serial: int
    expires: int
    poll: int = 60
    orphan: int = 900


@dataclass(frozen=True)
class Cluster:
    """A cluster as those need it who join: what both kinds of documents say.

    ``engine`` is the engines' connection file, ``addresses`` where the controller can be dialled, ``settings`` those
    of the cluster that engines need; ``ipyparallel`` and ``python`` are versions.
    """

    profile: str
    engine: Mapping[str, object] = field(repr=False)
    addresses: Sequence[str]
    settings: Mapping[str, object]
    ipyparallel: str
    python: str
    fingerprint: str


@dataclass(frozen=True)
class Body:
    """What is sealed in a document. ``serial`` grows with every one of a cluster; times are s since 1970."""

    cluster: str
    serial: int
    issued: int
    not_after: int
    content: Cluster
    lease: Access
    want: Want = "run"


@dataclass(frozen=True)
class Document:
    """A sealed body as it lies in a store; ``name`` is a batch, or a lease's generation."""

    cluster: str
    kind: Kind
    name: str
    serial: int
    nonce: str
    sealed: str = field(repr=False)
    cipher: Literal["chacha20-poly1305"] = "chacha20-poly1305"
    format: int = FORMAT

    @property
    def associated(self) -> bytes:
        """What is outside of the seal and counts: a document cannot be passed off as another one."""
        return associated(self.cluster, self.kind, self.name, self.serial)


def associated(cluster: str, kind: Kind, name: str, serial: int) -> bytes:
    """Return the data that a seal is bound to."""
    return f"cncp/v1 {cluster} {kind} {name} {serial}".encode()


def read(content: bytes, *, cluster: str, kind: Kind, name: str) -> Document:
    """Read a document that should be of this cluster and name. Raises Refused."""
    subject = f"the {kind} document"
    try:
        found = records.read(Document, content, "it")
    except Misfit as error:
        raise damaged(subject, error) from None
    if found.format != FORMAT:
        raise Refused("version", f"{subject} is of format {found.format}, and this cncp reads {FORMAT}", "update cncp")
    if found.cluster != cluster:
        raise Refused(
            "foreign",
            f"{subject} is of the cluster {found.cluster[:16]}, and the seed is of {cluster}",
            "use its own seed",
        )
    if (found.kind, found.name) != (kind, name):
        raise Refused("foreign", f"{subject} is another one: {found.kind} {found.name[:16]}", "use its own seed")
    return found


def check(body: Body, subject: str, *, now: float, seen: int, ipyparallel: str) -> None:
    """Raise Refused where a body that could be opened is not to be used.

    ``seen`` is the highest serial so far, ``ipyparallel`` the version that is here.
    """
    if body.serial < seen:
        raise Refused(
            "stale", f"{subject} is an older one put in its place: serial {body.serial}, and {seen} was there", AGAIN
        )
    if body.issued > now + SKEW:
        raise Refused(
            "clock",
            f"this machine's clock is behind by {(body.issued - now) / 60:.0f} min or more",
            "set the clock (timedatectl set-ntp true), then try again",
        )
    if now > body.not_after:
        raise expired(subject, now - body.not_after)
    ours, theirs = (version.split(".")[:2] for version in (ipyparallel, body.content.ipyparallel))
    if ours != theirs:
        raise Refused(
            "ipyparallel",
            f"the cluster has ipyparallel {body.content.ipyparallel}, and this machine {ipyparallel}",
            "install the cluster's version of cncp here",
        )
