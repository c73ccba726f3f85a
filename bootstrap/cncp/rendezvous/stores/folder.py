"""A store that is a folder which all machines share, such as a home on a file server."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cncp.errors import UsageError
from cncp.files import read_bytes, sync_folder, write_atomic
from cncp.rendezvous.store import Exists, StoreError, check_key, insist_on_lifetime


class FolderStore:
    """Objects as files. What is sealed may be read by all; a path is good for as long as its file is there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def at(cls, url: str) -> FolderStore:
        """Return the store of file:///FOLDER. Raises UsageError."""
        parts = urlsplit(url)
        if parts.netloc or not parts.path.startswith("/") or not Path(unquote(parts.path)).is_dir():
            raise UsageError(
                f"rendezvous: store = {url!r} is no folder of this machine",
                "give the path of a folder that all machines share: file:///home/shared/cncp",
            )
        return cls(Path(unquote(parts.path)))

    def _path(self, key: str) -> Path:
        return self._folder / check_key(key)

    def put(self, key: str, content: bytes, lifetime: int = 0) -> None:
        """Write an object."""
        with _failures():
            self._path(key).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._path(key), content)

    def create(self, key: str, content: bytes) -> None:
        """Write an object that is not there yet."""
        path = self._path(key)
        with _failures():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
            try:
                with open(descriptor, "wb") as stream:
                    stream.write(content)
                    os.fchmod(stream.fileno(), 0o644)
                # One step, on file servers too, that another's file is never lost by.
                os.link(beside, path)
            except FileExistsError:
                raise Exists(f"{path} is there already", "use another name") from None
            finally:
                os.unlink(beside)
            sync_folder(path.parent)

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""
        with _failures():
            return read_bytes(self._path(key))

    def has(self, key: str) -> bool:
        """Tell whether an object is there."""
        with _failures():
            return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """Take an object away."""
        with _failures():
            self._path(key).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._path(key).parent.rmdir()

    def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin so."""
        with _failures():
            found = (path.relative_to(self._folder) for path in self._folder.rglob("*") if path.is_file())
            return sorted(str(key) for key in found if str(key).startswith(prefix) and not key.name.startswith("."))

    def url(self, key: str, lifetime: int) -> str:
        """Return where it can be fetched from for a while."""
        insist_on_lifetime(lifetime)
        return self._path(key).as_uri()


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{error.filename}: {error.strerror}", "is the shared folder mounted, and may this account write there?"
        ) from None
