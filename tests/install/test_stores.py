"""One contract for all stores: the memory of unit tests, a shared folder, object stores that speak S3 and Swift.

SeaweedFS comes from the package index as one binary, and refuses what S3 refuses: other keys, changed, expired and
anonymous requests. Swift is a stub here; ``tests/lab/test_cloud_openstack.py`` holds the same against a real one.
"""

from __future__ import annotations

import os
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
from cncp.rendezvous.stores.swift import SwiftStore
from cncp.waiting import wait_until
from tests.cloud import stub_swift
from tests.cloud.stub_swift import Container, StubSwift
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


@pytest.fixture
def swift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubSwift]:
    """A Swift with the empty container lab, which openstacksdk finds by the name lab in a clouds.yaml."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    with stub_swift.serving() as stub:
        file = tmp_path / "clouds.yaml"
        file.write_text(stub_swift.clouds(stub.address))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
        stub.containers["lab"] = Container()
        yield stub


@pytest.fixture(params=["memory", "folder", "objects", "swift"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """Each kind of store in turn, empty."""
    if request.param == "memory":
        memory = MemoryStore()
        return Kind(memory, memory.get_url)
    if request.param == "folder":
        return Kind(FolderStore(tmp_path))
    if request.param == "swift":
        request.getfixturevalue("swift")
        return Kind(opened("swift://lab/some/prefix", {"cloud": "lab"}))
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
    assert store.has(KEY)
    assert store.keys("cncp/v1/0123456789abcdef/") == [KEY]
    store.delete(KEY)
    store.delete(KEY)
    assert store.get(KEY) is None
    assert not store.has(KEY)
    assert store.keys("cncp/v1/0123456789abcdef/") == []
    for key in sorted(found := [f"cncp/v1/{number}/x" for number in range(5)], reverse=True):
        store.put(key, key.encode(), 3600)
    assert store.keys("cncp/v1/")[:5] == found
    assert store.get(found[0]) == found[0].encode()


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


# Swift's own ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def swift_store(swift: StubSwift) -> Store:
    """The store in a container of it."""
    return opened("swift://lab/cncp", {"cloud": "lab"})


def test_swift_urls(swift_store: Store) -> None:
    """Signed by a key of the container's own; another object, method or time is not served."""
    store = swift_store
    store.put(KEY, b"one")
    store.put("other.json", b"other")
    url = store.url(KEY, 600)
    assert f"/lab/cncp/{KEY}?temp_url_sig=" in url
    assert fetch(url).body == b"one"
    for method in ("PUT", "DELETE", "POST"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(urllib.request.Request(url, data=b"evil", method=method), timeout=10)
    # Swift does not say what is wrong with a URL, and says so as well when it cannot find its keys.
    assert fetch(url.replace("temp_url_sig=", "temp_url_sig=0")).verdict == "not yet"
    assert fetch(url.replace(KEY, "other.json")).verdict == "not yet"
    short = store.url(KEY, 1)
    late = wait_until(lambda: fetch(short), 5, 0.2, lambda seen: seen.verdict != "found")
    assert (late.verdict, late.why) == ("expired", "HTTP 401")


def test_the_key_of_a_container(swift: StubSwift) -> None:
    """One is made where there is none, and never written over, whichever of the two it is."""
    headers = swift.containers["lab"].headers
    store = opened("swift://lab", {"cloud": "lab"})
    made = dict(headers)
    assert [len(key) for key in made.values()] == [64]
    url = store.url(KEY, 600)
    assert opened("swift://lab", {"cloud": "lab"}).url(KEY, 600)[-90:-40] == url[-90:-40]
    assert headers == made
    headers.clear()
    headers["x-container-meta-temp-url-key-2"] = "somebody's"
    store = opened("swift://lab", {"cloud": "lab"})
    store.put(KEY, b"one")
    assert fetch(store.url(KEY, 60)).body == b"one"
    assert headers == {"x-container-meta-temp-url-key-2": "somebody's"}


def test_a_key_that_is_not_known_everywhere_yet(swift: StubSwift) -> None:
    """Swift remembers containers for a minute: URLs are given to nobody before they are served."""
    swift.puzzled = 2
    store = opened("swift://lab", {"cloud": "lab"})
    assert swift.puzzled == 0
    assert fetch(store.url(KEY, 60)).why == "HTTP 404"


def test_swift_takes_objects_away(swift_store: Store) -> None:
    """By itself, where it is told when; what is written over it without a time stays."""
    store = swift_store
    store.put(KEY, b"one", 1)
    store.put("other.json", b"one", 1)
    store.put("other.json", b"two")
    assert wait_until(lambda: not store.has(KEY), 5, 0.2)
    assert (store.get(KEY), store.get("other.json")) == (None, b"two")


def test_lists_that_lag(swift: StubSwift) -> None:
    """What a list still has is not there for that; taking it away once more does no harm."""
    swift.containers["lab"].listed.add(KEY)
    store = opened("swift://lab", {"cloud": "lab"})
    assert store.keys("") == [KEY]
    assert (store.has(KEY), store.get(KEY)) == (False, None)
    store.delete(KEY)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (202, "written by a clock that is ahead"),
        (403, "may not PUT"),
        (404, "no such container"),
        (413, "no room"),
        (503, "PUT .* failed: HTTP 503"),
    ],
)
def test_what_swift_refuses(swift: StubSwift, status: int, said: str) -> None:
    """Each in two lines; what it has taken as older than what is there is no success."""
    store = opened("swift://lab", {"cloud": "lab"})
    swift.status = status
    with pytest.raises(CncpError, match=said) as refused:
        store.put(KEY, b"one")
    assert refused.value.hint


def _without(swift: StubSwift) -> None:
    swift.serves = False


@pytest.mark.parametrize(
    "content", ["{}", "[1]", '[{"bytes": 1}]', '[{"name": 1}]', '[{"name": "other"}]', "<html>", ""]
)
def test_a_list_that_is_none(swift: StubSwift, content: str) -> None:
    """Is told to be, whatever a proxy in between has put there."""
    store = opened("swift://lab/cncp", {"cloud": "lab"})
    swift.page = content.encode()
    with pytest.raises(StoreError, match="what should be a list is none"):
        store.keys("")


def _public(swift: StubSwift) -> None:
    swift.containers["lab"].headers["x-container-read"] = ".r:-bad.example.org, .r:*,.rlistings"


def _stranger(swift: StubSwift) -> None:
    swift.owner = False


def _plain(swift: StubSwift) -> None:
    swift.tempurl = False
    swift.containers["lab"].headers["x-container-meta-temp-url-key"] = "known"


def _broken(swift: StubSwift) -> None:
    swift.status = 500


@pytest.mark.parametrize(
    ("spoil", "url", "options", "said"),
    [
        (None, "swift://none/x", {"cloud": "lab"}, "the container none of OpenStack lab: there is no such container"),
        (None, "swift://lab", {"cloud": "else"}, "else"),
        (None, "swift://lab", {"cloud": "lab", "region": "Two"}, "Region Two is not a valid region"),
        (_without, "swift://lab", {"cloud": "lab"}, "OpenStack lab has no object store"),
        (_public, "swift://lab", {"cloud": "lab"}, "is public"),
        (_stranger, "swift://lab", {"cloud": "lab"}, "may not POST what is there: HTTP 403"),
        (_plain, "swift://lab", {"cloud": "lab"}, "temporary URLs are not served: HTTP 401"),
        (_broken, "swift://lab", {"cloud": "lab"}, "HTTP 500"),
    ],
)
def test_no_swift_for_us(
    swift: StubSwift, spoil: Callable[[StubSwift], None] | None, url: str, options: dict[str, str], said: str
) -> None:
    """Told before anything is written, with what to do."""
    if spoil:
        spoil(swift)
    with pytest.raises(CncpError) as refused:
        opened(url, options)
    assert said in refused.value.message
    assert refused.value.hint
    assert all(not container.objects for container in swift.containers.values())


def test_who_we_are_to_swift(swift: StubSwift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of OS_ words says all of it; without any, and without a clouds.yaml, there is nobody."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(CncpError) as refused:
        opened("swift://lab", {})
    assert refused.value.hint
    odd = tmp_path / "odd.yaml"
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(odd))
    for content in ("clouds: [", "[]", '{"clouds": {"lab": 3}}', '{"clouds": {"lab": {"auth_type": "odd"}}}'):
        odd.write_text(content)
        with pytest.raises(CncpError):
            opened("swift://lab", {"cloud": "lab"})
    file = tmp_path / "openrc"
    words = {
        "AUTH_URL": f"{swift.address}/v3", "USERNAME": "ada", "PASSWORD": "x", "PROJECT_NAME": "lab",
        "USER_DOMAIN_NAME": "Default", "PROJECT_DOMAIN_NAME": "Default", "REGION_NAME": "One",
    }  # fmt: skip
    file.write_text("".join(f"export OS_{name}='{value}'\n" for name, value in words.items()))
    file.chmod(0o600)
    monkeypatch.setenv("OS_AUTH_URL", "http://127.0.0.1:9/v3")
    store = opened("swift://lab", {"credentials": str(file)})
    assert isinstance(store, SwiftStore)
    store.put(KEY, b"one")
    assert swift.containers["lab"].objects.keys() == {KEY}
    file.chmod(0o644)
    with pytest.raises(CncpError, match="read by others"):
        opened("swift://lab", {"credentials": str(file)})
