"""Calling a verb of the agent on a host, and what each of them answers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Generic, TypeVar

from cncp.field_types import AbsolutePath, Address, Bytes, Digest, Matching, Name, Port, ShortText, Sized, Text, Within
from cncp.records import Record
from cncp.ssh import answers, bare_host
from cncp.ssh.command_line import SENT
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.keypair import PublicKey

R = TypeVar("R", bound=Record)

_SOURCE = inspect.getsource(bare_host)
SENT[_SOURCE] = bare_host.__file__

_Libc = Annotated[str, Matching(r"[A-Za-z0-9_.+()/ -]{0,64}", "a word")]
_HomeId = Annotated[int, Within(-(2**80), 2**80)]
_Version = Annotated[int, Within(0, 2**16)]
_User = Annotated[
    str,
    Matching(r"[^\s\x00-\x2d;<>`|(){}\x7f-\x9f][^\s\x00-\x1f\"'&;<>`|(){}\x7f-\x9f]{0,255}", "the name of an account"),
]


@dataclass(frozen=True)
class Nothing(Record):
    """What is answered where all that counts is that it was done."""


@dataclass(frozen=True)
class Facts(Record):
    """What a machine is (``bare_host.probe``). Its clock is in s since the epoch, what is free in bytes.

    ``code`` and ``made_with`` have the digest of the code, and the Python of the virtualenv, of each folder that
    was asked for, "" where there is none.
    """

    addresses: Annotated[tuple[Address, ...], Sized(1024)]
    clock: Annotated[float, Within(0, 1e11)]
    code: Annotated[Mapping[Text, Digest], Sized(16)]
    cores: Annotated[int, Within(1, 2**20)]
    free: Bytes
    home: AbsolutePath
    home_id: tuple[_HomeId, _HomeId]
    host: ShortText
    libc: tuple[_Libc, _Libc]
    machine: Digest
    made_with: Annotated[Mapping[Text, Text], Sized(16)]
    processor: Annotated[str, Matching(r"[A-Za-z0-9_.-]{1,64}", "a kind of processor")]
    python: AbsolutePath
    real_python: AbsolutePath
    seen_from: Annotated[str, Matching(r"[A-Za-z0-9_.:%-]{0,255}", "an address")]
    tunnels: Annotated[tuple[AbsolutePath, ...], Sized(4096)]
    user: _User
    version: tuple[_Version, _Version, _Version]
    writable: bool


@dataclass(frozen=True)
class Marks(Record):
    """Whose marks are in a home."""

    names: Annotated[tuple[Name, ...], Sized(4096)]


@dataclass(frozen=True)
class Dialled(Record):
    """The ports that answer, by address."""

    open: Annotated[Mapping[Address, Annotated[tuple[Port, ...], Sized(4096)]], Sized(4096)]


@dataclass(frozen=True)
class HostKeys(Record):
    """The public keys of an sshd."""

    keys: Annotated[tuple[PublicKey, ...], Sized(64)]


@dataclass(frozen=True)
class Verb(Generic[R]):
    """A verb of the agent, and what it answers."""

    name: str
    answer: type[R]


MARK = Verb("mark", Nothing)
MARKS = Verb("marks", Marks)
UNMARK = Verb("unmark", Nothing)
RECEIVE = Verb("receive", Nothing)
SHARE = Verb("share", Nothing)
REMOVE = Verb("remove", Nothing)
HOST_KEYS = Verb("host_keys", HostKeys)
_PROBE = Verb("probe", Facts)
_DIAL = Verb("dial", Dialled)


def call(host: Host, verb: Verb[R], *arguments: object, stdin: bytes = b"", timeout: float = 60) -> R:
    """Run a verb of the agent with a Python of that host. Raises HostError."""
    words = ["sh", "-c", bare_host.FIND, "sh", host.spec.python, _SOURCE, verb.name, json.dumps(arguments)]
    hint = f"install one there, or name it: python = ... in [pool.host.{json.dumps(host.spec.name)}]"
    return answer(host, words, verb.answer, ("there is no Python 3.10 or newer", hint), stdin, timeout)


def probe(host: Host, *homes: str, timeout: float = 60) -> Facts:
    """Return what a host is, and which code is in the folders ``homes``. Raises HostError."""
    facts = call(host, _PROBE, *homes, timeout=timeout)
    # What was asked for, and nothing else.
    return replace(
        facts,
        code={home: facts.code.get(home, "") for home in homes},
        made_with={home: facts.made_with.get(home, "") for home in homes},
    )


def dial(
    host: Host, addresses: Collection[str], ports: Collection[int], timeout: float, greeting: str = bare_host.ZEROMQ
) -> dict[str, tuple[int, ...]]:
    """Return, for each address, the ports that greet a host within ``timeout`` s. Raises HostError."""
    found = call(host, _DIAL, list(addresses), list(ports), timeout, greeting, timeout=timeout * 3).open
    return {address: found.get(address, ()) for address in addresses}


def answer(
    host: Host, argv: Sequence[str], kind: type[R], no_python: tuple[str, str], stdin: bytes, timeout: float
) -> R:
    """Run a program of ours on a host, which ends with one record as JSON. Raises HostError.

    ``no_python`` is what to say, and the hint, where it exits with NO_PYTHON.
    """
    name = host.spec.name
    result = host.run(argv, input=stdin, timeout=timeout, check=False)
    if result.status == bare_host.NO_PYTHON:
        raise HostError(name, *no_python)
    if not result.ok:
        said = result.stderr.strip().splitlines() or [f"it exited with {result.status}"]
        raise HostError(name, said[-1], f"look at it by hand: ssh {name}")
    return answers.read(name, result.output, kind)
