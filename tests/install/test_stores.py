"""One contract for all stores: the memory of unit tests, a shared folder, and an object store that is real.

SeaweedFS comes from the package index as one binary, and refuses what S3 refuses: other keys, changed, expired and
anonymous requests.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from cncp.errors import CncpError
from cncp.rendezvous.fetching import Answer, fetch
from cncp.rendezvous.places import opened
from cncp.rendezvous.store import Exists, Store, StoreError
from cncp.rendezvous.stores.folder import FolderStore
from cncp.rendezvous.stores.memory import MemoryStore
from cncp.waiting import wait_until

KEY = "cncp/v1/0123456789abcdef/joins/1.json"
SECRET = "ownersecret"
OWNER = {"accessKey": "owner", "secretKey": SECRET}


class Weed:
    """A SeaweedFS with the buckets ``lab`` and ``other``, and who may use them."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            base = min(first.getsockname()[1], 45000)
        self.endpoint = f"http://127.0.0.1:{base}"
        self.credentials = self.keys(folder, "owner", SECRET)
        identity = {"name": "owner", "credentials": [OWNER], "actions": ["Admin", "Read", "Write", "List"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        ports = [
            f"-{name}={base + at}" for at, name in enumerate(("s3.port", "master.port", "volume.port", "filer.port"))
        ]
        argv = [
            str(Path(sys.executable).parent / "weed"),
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={folder}",
            "-master.volumeSizeLimitMB=64",
            "-master.volumePreallocate=false",
            "-master.telemetry=false",
            "-volume.max=50",
            "-s3",
            "-s3.port.iceberg=0",
            f"-s3.config={folder / 's3.json'}",
            *ports,
        ]
        self.log = folder / "weed.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self._process.poll() is not None or self._ready(), 60, 0.2)
        self.make("lab")

    @staticmethod
    def keys(folder: Path, name: str, secret: str) -> str:
        """Write a file of credentials; return its path."""
        path = folder / f"{name}-{len(secret)}.env"
        path.write_text(f"AWS_ACCESS_KEY_ID={name}\nexport AWS_SECRET_ACCESS_KEY='{secret}'\n")
        path.chmod(0o600)
        return str(path)

    def _ready(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint, timeout=1).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def make(self, bucket: str) -> None:
        """Make a bucket, by a PUT that is signed as any other."""
        options: Any = {"client_options": {"allow_http": True}, "virtual_hosted_style_request": False}
        signer = S3Store(
            bucket,
            endpoint=self.endpoint,
            region="us-east-1",
            **options,
            access_key_id="owner",
            secret_access_key=SECRET,
        )
        signed = obstore.sign(signer, "PUT", "", timedelta(seconds=60))
        urllib.request.urlopen(urllib.request.Request(signed, method="PUT"), timeout=30).close()

    def store(self, url: str, credentials: str) -> Store:
        """Return a store with these credentials."""
        return opened(url, {"endpoint": self.endpoint, "credentials": credentials})

    def close(self) -> None:
        """End it; asked to, it takes its time."""
        self._process.kill()
        self._process.wait()


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
