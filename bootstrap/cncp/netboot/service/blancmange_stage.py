"""Blancmange for this server's nodes: built where there is none, or none that is made of what is wanted now."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cncp.console import Console
from cncp.files import read_bytes, to_json, write_atomic
from cncp.netboot.blancmange import top_config
from cncp.netboot.blancmange.initramfs_image import build
from cncp.netboot.blancmange.initramfs_tree import Reach
from cncp.netboot.blancmange.top_config import HERE, TopConfig
from cncp.netboot.cidcapt import Access
from cncp.netboot.cidd import Place
from cncp.netboot.service.server_paths import Paths


def bring(paths: Paths, access: Access, plain: str, console: Console) -> bool:
    """Have it be there; return whether it was built. Raises CncpError, with what was there as it was.

    ``plain`` is http://HOST:PORT. The administrator's own ``blancmange.toml`` says what it is made of, and
    ``authorized_keys`` beside it who may log in to it: without one, those who may to this server.
    """
    own = paths.etc / "blancmange.toml"
    config = top_config.read(own if own.exists() else None)
    place = Place(paths.folder)
    reach = Reach(access.url, access.fingerprint, plain, place.public_key())
    keys = _authorized(paths)
    wanted, stamp = _digest(config, reach, keys), paths.home / "blancmange.digest"
    if read_bytes(stamp) == wanted and (place.blancmange / "initramfs").exists():
        return False
    console.phase("building Blancmange, of Debian's packages")
    build(place.blancmange, config, reach, place.signing_key(), keys, paths.packages)
    write_atomic(stamp, wanted)
    return True


def _authorized(paths: Paths) -> str:
    places = (paths.etc / "authorized_keys", paths.root / "root/.ssh/authorized_keys")
    found = next((content for path in places if (content := read_bytes(path)) is not None), b"")
    return found.decode(errors="replace")


def _digest(config: TopConfig, reach: Reach, keys: str) -> bytes:
    """Return what tells apart all that it is made of, but for newer packages of Debian's."""
    code = [path.read_bytes() for path in sorted(HERE.rglob("*")) if path.suffix in (".py", ".sh", ".cfg", ".conf")]
    layout = [path.read_bytes() for path in sorted(Path(config.layout_folder).glob("*.conf"))]
    said = [to_json(config.to_json()), repr(reach).encode(), keys.encode(), *code, *layout]
    return hashlib.sha256(b"\0".join(said)).hexdigest().encode()
