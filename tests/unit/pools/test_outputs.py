"""Results in a store and back: the same files, and nothing over what is there."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from cncp.config.rendezvous_table import RendezvousTable
from cncp.errors import CncpError, UsageError
from cncp.pools.cloud import outputs
from cncp.rendezvous.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in a folder."""
    (tmp_path / "shared").mkdir()
    return outputs.store(tmp_path, RendezvousTable(store=f"file://{tmp_path}/shared"))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of somebody's."""
    folder = tmp_path / "My Results"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "a.bin").write_bytes(bytes(range(256)))
    (folder / "ü").write_text("text")
    (folder / "link").symlink_to("ü")
    (folder / "out").symlink_to("/etc/passwd")
    return folder


def test_there_and_back(store: Store, results: Path, tmp_path: Path) -> None:
    """Files, folders and links within come back; a link that leads out does not."""
    assert outputs.names(store) == []
    name = outputs.named(results)
    assert name == "my-results"
    assert outputs.save(store, name, results, force=False) > 256
    assert outputs.names(store) == ["my-results"]
    back = outputs.fetch(store, name, tmp_path)
    assert (back / "run" / "a.bin").read_bytes() == bytes(range(256))
    assert (back / "link").read_text() == "text"
    assert not (back / "out").is_symlink()


def test_nothing_is_replaced_unasked(store: Store, results: Path, tmp_path: Path) -> None:
    """Neither in the store nor here."""
    outputs.save(store, "a", results, force=False)
    with pytest.raises(UsageError, match="a is saved already"):
        outputs.save(store, "a", results, force=False)
    (results / "new").write_text("new")
    outputs.save(store, "a", results, force=True)
    made = outputs.fetch(store, "a", tmp_path)
    assert (made / "new").exists()
    with pytest.raises(UsageError, match="exists"):
        outputs.fetch(store, "a", tmp_path)


def test_what_is_not_there(store: Store, tmp_path: Path) -> None:
    """Names, folders and stores that are none are told with what to do."""
    for call, told in (
        (lambda: outputs.fetch(store, "none", tmp_path), "nothing was saved as none"),
        (lambda: outputs.fetch(store, "none", tmp_path / "nowhere"), "is no folder"),
        (lambda: outputs.folder(""), "is no folder"),
        (lambda: outputs.folder(str(tmp_path / "nowhere")), "is no folder"),
        (lambda: outputs.checked("A b"), "is not possible"),
        (lambda: outputs.checked("../a"), "is not possible"),
        (lambda: outputs.store(tmp_path, RendezvousTable()), "has no store"),
    ):
        with pytest.raises(UsageError, match=told):
            call()


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 1024])
def test_a_damaged_one(store: Store, tmp_path: Path, content: bytes) -> None:
    """What somebody else put there is our error, and nothing is left of it."""
    store.put("cncp/v1/outputs/bad.tar", content)
    with pytest.raises(CncpError, match="cannot be unpacked"):
        outputs.fetch(store, "bad", tmp_path)
    assert not (tmp_path / "bad").exists()


def test_one_that_would_write_elsewhere(store: Store, tmp_path: Path) -> None:
    """Whoever can write to the store cannot write to this machine."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name in ("it/good", "../evil", "/tmp/evil-cncp"):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"x"))
    store.put("cncp/v1/outputs/odd.tar", raw.getvalue())
    made = outputs.fetch(store, "odd", tmp_path)
    assert [path.name for path in made.iterdir()] == ["good"]
    assert not (tmp_path / "evil").exists()
    assert not Path("/tmp/evil-cncp").exists()
