"""Who can do what in the folder that root makes for cidd, and reads again."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp import files
from cncp.netboot.cidd import Place, Settings
from cncp.netboot.service import bring_up
from cncp.netboot.service.cidd_service import become

ACCOUNT = "nobody"
SETTINGS = Settings("/nonexistent", "10.1.0.1")


@pytest.fixture
def place() -> Iterator[Place]:
    """Return a folder that every account can come to."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        yield Place(Path(above) / "netboot")


def tried(place: Place) -> str:
    """Return what can be changed, and the token that is found."""
    changed = []
    for name in ("token", "server.pem", "server.lock", "signing.pub", "signing.key"):
        path = place.folder / name
        with contextlib.suppress(PermissionError):
            path.rename(place.folder / "other")
            changed.append(f"{name} is another")
        with contextlib.suppress(PermissionError):
            path.chmod(0o666)
            changed.append(f"{name} is everybody's")
    place.database.touch()
    return " ".join([*changed, place.reach(SETTINGS).token])


@pytest.mark.skipif(os.geteuid() != 0, reason="it is root's")
def test_what_root_reads_again_is_roots(place: Place) -> None:
    """The account reads it, and can put nothing else in its place; a second time changes nothing."""
    account = pwd.getpwnam(ACCOUNT)
    access = bring_up.keep(place, SETTINGS, account)
    heard, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            become(ACCOUNT)
            os.write(told, tried(place).encode())
        except BaseException as error:  # noqa: BLE001  # a process of its own
            os.write(told, repr(error).encode())
        finally:
            os._exit(0)
    os.close(told)
    with open(heard) as said:
        assert said.read() == access.token
    os.waitpid(child, 0)
    for name in ("token", "server.pem", "server.lock", "signing.key"):
        seen = (place.folder / name).lstat()
        assert (seen.st_uid, seen.st_mode & stat.S_IRWXO) == (0, 0)
    assert bring_up.keep(place, SETTINGS, account) == access


def test_no_lock_leads_elsewhere(tmp_path: Path) -> None:
    """What a link leads to is not written to."""
    other, path = tmp_path / "other", tmp_path / "lock"
    other.write_text("theirs")
    path.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"), files.lock(path, "test"):
        pass
    assert other.read_text() == "theirs"
