"""Seeds and documents: whole, of this cluster, in time and the newest, or refused by name; nothing else is read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cncp.errors import CncpError
from cncp.files import to_json
from cncp.ipp.connection_file import MemberFile
from cncp.records import Misfit
from cncp.rendezvous import owner
from cncp.rendezvous.documents import Body, Document, Refused, Seed, new_key
from cncp.rendezvous.owner import Place
from cncp.rendezvous.publishing import join_key, publish_join
from cncp.rendezvous.sealing import opened, seal
from cncp.rendezvous.stores.memory import MemoryStore

from .cluster import ENGINE, IPYPARALLEL, NOW, OFFER

BATCH = "a" * 16


@pytest.fixture
def invited(tmp_path: Path) -> tuple[Seed, bytes]:
    """Invite a batch; give its seed and the document that lies in the store."""
    store = MemoryStore(lambda: NOW)
    with owner.held(tmp_path, "a test"):
        owner.begin(tmp_path, Place())
    seed = publish_join(store, tmp_path, OFFER, BATCH, lifetime=3600, settings={"engines": 2}, now=NOW)
    return seed, store.objects[join_key(seed.cluster, BATCH)]


def join(seed: Seed, content: bytes, *, now: float = NOW + 60, seen: int = 0, version: str = IPYPARALLEL) -> Body:
    """Open a join as a member does."""
    return opened(content, "join", seed.batch, seed.key, cluster=seed.cluster, now=now, seen=seen, ipyparallel=version)


def test_there_and_back(invited: tuple[Seed, bytes]) -> None:
    """What is sealed is what comes out, with the settings of the invitation over the cluster's."""
    seed, content = invited
    body = join(Seed.of(seed.to_json()), content)
    assert body.content.engine == ENGINE
    assert body.content.settings == {"encryption": True, "engines": 2}
    assert body.lease.generation == 1
    assert ENGINE["key"].encode() not in content
    assert b"gold1" not in content
    assert seed.key not in repr(seed)
    assert ENGINE["key"] not in repr(body)


def reason(do: Callable[[], Any]) -> str:
    """Return why something is refused; the message is two lines that a person can use."""
    with pytest.raises(Refused) as refused:
        do()
    assert refused.value.message
    assert refused.value.hint
    return refused.value.reason


def test_what_is_refused(invited: tuple[Seed, bytes]) -> None:
    """Each has its name, and none of it is used."""
    seed, content = invited
    other = replace(seed, cluster="b" * 16)
    assert reason(lambda: join(replace(seed, key=new_key()), content)) == "key"
    assert reason(lambda: join(other, content)) == "foreign"
    assert reason(lambda: join(replace(seed, batch="c" * 16), content)) == "foreign"
    assert reason(lambda: join(seed, content, now=NOW + 3601)) == "expired"
    assert reason(lambda: join(seed, content, now=NOW - 3600)) == "clock"
    assert reason(lambda: join(seed, content, seen=99)) == "stale"
    assert reason(lambda: join(seed, content, version="9.1.0")) == "ipyparallel"
    assert reason(lambda: join(seed, content[:-20])) == "damaged"
    assert reason(lambda: seed.insist(NOW + 4000)) == "expired"


@pytest.mark.parametrize("name", ["cluster", "kind", "name", "serial", "nonce", "sealed", "cipher", "format"])
def test_no_field_outside_the_seal_can_be_changed(invited: tuple[Seed, bytes], name: str) -> None:
    """Who writes to the store can pass nothing off as something else."""
    seed, content = invited
    document = json.loads(content)
    other = {"cluster": "b" * 16, "kind": "lease", "name": "1", "serial": 7, "cipher": "none", "format": 2}
    value = other.get(name) or base64.b64encode(bytes(12)).decode()
    changed = to_json({**document, name: value})
    # Even where the reader asks for what it says it is.
    asked = Document(**json.loads(changed)) if name not in ("cipher", "format") else Document(**document)

    def read() -> Body:
        return opened(
            changed, asked.kind, asked.name, seed.key, cluster=asked.cluster, now=NOW, seen=0, ipyparallel=IPYPARALLEL
        )

    assert reason(read) in ("key", "damaged", "version")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"key": ""}, "no_keys"),
        ({"ssh": "evil@host"}, ""),
        ({"interface": "ipc:///tmp/x"}, "scheme"),
        ({"location": "-oProxyCommand=x"}, "name"),
        ({"names": ["-oX"]}, "names"),
        ({"control": 70000}, "port"),
        ({"broadcast": [1]}, "ports"),
        ({"pack": "pickle"}, "encoding"),
        ({"curve_serverkey": "short"}, "curve"),
        ({"signature_scheme": "none"}, "signatures"),
    ],
)
def test_connection_files_from_elsewhere(changes: dict[str, Any], fault: str) -> None:
    """What an engine would run, import or fail on is not taken, whoever has the key."""
    document = {**ENGINE, **changes}
    if not fault:
        assert MemberFile.from_json(document, "it").ssh == ""
        return
    with pytest.raises(Misfit):
        MemberFile.from_json(document, "it")


@pytest.mark.parametrize("settings", [{"requirements": "/etc/passwd"}, {"engines": -1}, {"role": "controller"}])
def test_settings_from_elsewhere(invited: tuple[Seed, bytes], settings: dict[str, Any]) -> None:
    """A cluster says what its engines are, and nothing of the machine that joins."""
    seed, content = invited
    body = join(seed, content)
    forged = seal(replace(body, content=replace(body.content, settings=settings)), "join", seed.batch, seed.key)
    assert reason(lambda: join(seed, forged)) == "damaged"


@pytest.mark.parametrize(
    "changes",
    [
        {"cluster": "../../etc"},
        {"batch": "A" * 16},
        {"key": "c2hvcnQ="},
        {"key": "%%%"},
        {"join": "ftp://x/y"},
        {"join": "https:///nowhere"},
        {"join": "https://[::1"},
        {"deadline": "soon"},
        {"format": 2},
        {"bundle": "https://x/y"},
        {"join": None},
    ],
)
def test_damaged_seeds(invited: tuple[Seed, bytes], changes: dict[str, Any]) -> None:
    """A seed is checked whole before anything is done with it."""
    assert reason(lambda: Seed.of(json.dumps({**asdict(invited[0]), **changes}))) in ("damaged", "version")


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_cut_off_seeds(invited: tuple[Seed, bytes], cut: int) -> None:
    """What a terminal or a chat has swallowed part of is said to be damaged, not expired or unknown."""
    assert reason(lambda: Seed.of(invited[0].to_json()[:cut])) == "damaged"


def test_wrapped_seeds(invited: tuple[Seed, bytes]) -> None:
    """Lines that a terminal or a mail has broken are one again."""
    text = invited[0].to_json()
    wrapped = "\ufeff" + "\r\n".join(text[at : at + 60] for at in range(0, len(text), 60)) + "\n"
    assert Seed.of(wrapped.encode()) == invited[0]


@given(st.binary(max_size=200))
def test_anything_is_an_error_of_ours(content: bytes) -> None:
    """Whatever lies in a store or is pasted, there is no traceback."""
    for read in (
        lambda: Seed.of(content),
        lambda: opened(content, "join", "x", new_key(), cluster="c", now=0.0, seen=0, ipyparallel="9.2"),
    ):
        with pytest.raises(CncpError):
            read()
