"""One contract for all stores: the memory of unit tests, a shared folder, and an object store that is real.

SeaweedFS comes from the package index as one binary, and refuses what S3 refuses: other keys, changed, expired and
anonymous requests.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.rendezvous.fetching import Answer, fetch
from cncp.rendezvous.places import opened
from cncp.rendezvous.store import Exists, Store, StoreError
from cncp.rendezvous.stores.folder import FolderStore
from cncp.rendezvous.stores.memory import MemoryStore
from cncp.waiting import wait_until
from tests.lab.weed import SECRET, Weed

KEY = "cncp/v1/0123456789abcdef/joins/1.json"


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """Run an object store."""
    made = Weed(tmp_path_factory.mktemp("weed"))
    yield made
    made.close()


@dataclass(frozen=True)
class Kind:
    """A store, and how its URLs are fetched."""

    store: Store
    get: Callable[..., Answer] = fetch


@pytest.fixture(params=["memory", "folder", "objects"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """Each kind of store in turn, empty."""
    if request.param == "memory":
        memory = MemoryStore()
        return Kind(memory, memory.get_url)
    if request.param == "folder":
        return Kind(FolderStore(tmp_path))
    found: Weed = request.getfixturevalue("weed")
    return Kind(found.store(f"s3://lab/{tmp_path.name.replace('_', '-')}".lower(), found.credentials))


def test_objects(kind: Kind) -> None:
    """Written over, read, listed by prefix, taken away."""
    store = kind.store
    assert store.get(KEY) is None
    store.put(KEY, b"one")
    store.put(KEY, b"two")
    store.put("cncp/v1/fedcba9876543210/lease-1.json", b"other")
    assert store.get(KEY) == b"two"
    assert store.keys("cncp/v1/0123456789abcdef/") == [KEY]
    store.delete(KEY)
    store.delete(KEY)
    assert store.get(KEY) is None
    assert store.keys("cncp/v1/0123456789abcdef/") == []


def test_create_only(kind: Kind) -> None:
    """The first wins, and is what lies there."""
    kind.store.create(KEY, b"one")
    with pytest.raises(Exists):
        kind.store.create(KEY, b"two")
    assert kind.store.get(KEY) == b"one"


def test_urls(kind: Kind) -> None:
    """A GET alone: what is there, what is not there yet, what has not changed, what has."""
    url = kind.store.url(KEY, 600)
    assert kind.get(url).verdict == "not yet"
    kind.store.put(KEY, b"one")
    found = kind.get(url)
    assert (found.verdict, found.body) == ("found", b"one")
    assert found.etag
    assert kind.get(url, found.etag).verdict == "unchanged"
    kind.store.put(KEY, b"two")
    assert kind.get(url, found.etag).body == b"two"


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a//b", "A", "a b", "", "a/../b", ".hidden"])
def test_keys(kind: Kind, key: str) -> None:
    """What is a path in one store and something else in another is none."""
    for act in (lambda: kind.store.put(key, b""), lambda: kind.store.get(key), lambda: kind.store.url(key, 60)):
        with pytest.raises(ValueError, match="is no key"):
            act()


@pytest.mark.parametrize("lifetime", [0, -1, 7 * 86400 + 1])
def test_lifetimes(kind: Kind, lifetime: int) -> None:
    """No store signs for longer than seven days."""
    with pytest.raises(ValueError, match="cannot be good for"):
        kind.store.url(KEY, lifetime)


def test_what_a_url_does_not_open(weed: Weed) -> None:
    """Another object, another method, nothing after its time, nothing once it was touched."""
    store = weed.store("s3://lab/urls", weed.credentials)
    store.put(KEY, b"one")
    store.put("other.json", b"other")
    url = store.url(KEY, 600)
    assert fetch(url).body == b"one"
    assert fetch(url[:-2] + ("00" if url[-2:] != "00" else "11")).verdict == "clock"
    assert fetch(url.replace(KEY, "other.json")).verdict == "clock"
    assert fetch(url.partition("?")[0]).verdict == "not yet"
    for method in ("PUT", "DELETE"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(urllib.request.Request(url, data=b"evil", method=method), timeout=10)
    assert store.get(KEY) == b"one"
    short = store.url(KEY, 1)
    answer = wait_until(lambda: fetch(short), 10, 0.2, lambda seen: seen.verdict != "found")
    assert answer.verdict == "expired"
    assert "403" in answer.why


def test_who_may_not(weed: Weed, tmp_path: Path) -> None:
    """Wrong keys, none, no such bucket and nobody there are errors of two lines without a secret."""
    wrong = weed.store("s3://lab/urls", weed.keys(tmp_path, "owner", "wrongsecret"))
    nowhere = opened("s3://lab", {"endpoint": "http://127.0.0.1:9", "credentials": weed.credentials})
    for store, said in ((wrong, "403 SignatureDoesNotMatch"), (nowhere, "onnect")):
        with pytest.raises(StoreError, match=said) as refused:
            store.put(KEY, b"one")
        assert SECRET not in refused.value.message
        assert len(refused.value.message) < 300
    assert fetch(wrong.url(KEY, 60)).verdict == "clock"


def test_credentials_are_ours_alone(weed: Weed, tmp_path: Path) -> None:
    """A file that others can read, that is not there or says something else is refused before anything is asked."""
    path = Path(weed.keys(tmp_path, "owner", SECRET))
    path.chmod(0o644)
    with pytest.raises(CncpError, match="read by others"):
        weed.store("s3://lab", str(path))
    with pytest.raises(CncpError, match="cannot be read"):
        weed.store("s3://lab", str(tmp_path / "none"))
    path.chmod(0o600)
    path.write_text("ownersecret\n")
    with pytest.raises(CncpError, match="other words") as refused:
        weed.store("s3://lab", str(path))
    assert SECRET not in str(refused.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Is named, with what to give instead."""
    for url in ((tmp_path / "none").as_uri(), "file://host/x", "file://"):
        with pytest.raises(CncpError, match="no folder of this machine"):
            opened(url, {})
