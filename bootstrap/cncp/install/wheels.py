"""Locked wheels without pip: from a folder, or from a configured package index.

Only for the few pure Python wheels and the one program that an installation begins with.
"""

from __future__ import annotations

import hashlib
import html.parser
import platform
import re
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Locked:
    """A line of a lock: name, version and the SHA-256 of every file that may stand for it."""

    name: str
    version: str
    hashes: frozenset[str]


def read_lock(path: Path) -> Iterator[Locked]:
    """Yield the requirements of a lock. Markers are not evaluated: more than needed does no harm."""
    for entry in path.read_text().replace("\\\n", " ").splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", entry)
        if match:
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
            yield Locked(match[1], match[2], hashes)


def runs_here(filename: str) -> bool:
    """Tell whether a wheel is for this platform: a pure one, or one for this system and processor."""
    tag = filename.removesuffix(".whl").rpartition("-")[2]
    if tag == "any":
        return True
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return libc in tag and tag.endswith("_" + platform.machine())


def from_folder(lock: Path, folder: Path, target: Path) -> None:
    """Unpack every locked wheel from ``folder``. Raises CncpError when one is missing or differs."""
    for locked in read_lock(lock):
        stem = re.sub(r"[-_.]+", "_", locked.name).lower()
        files = (path for path in folder.glob("*.whl") if path.name.lower().startswith(f"{stem}-{locked.version}-"))
        usable = next((path for path in files if runs_here(path.name)), None)
        if usable is None:
            raise CncpError(
                f"there is no wheel of {locked.name} {locked.version} for this machine in {folder}",
                f"make the bundle for this platform: invoke bundle.make (this is {platform.machine()})",
            )
        _unpack(usable.read_bytes(), locked, usable.name, target)


def from_index(lock: Path, index: str, cert: str | None, target: Path) -> None:
    """Fetch and unpack every locked wheel from a PEP 503 index. Raises CncpError."""
    context = ssl.create_default_context(cafile=cert)
    for locked in read_lock(lock):
        page = index.rstrip("/") + "/" + re.sub(r"[-_.]+", "-", locked.name).lower() + "/"
        links = _Links()
        links.feed(_get(page, context).decode("utf-8", "replace"))
        for link in links.found:
            url = urllib.parse.urljoin(page, link)
            name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
            digest = re.search(r"sha256=([0-9a-f]{64})", url)
            if name.endswith(".whl") and runs_here(name) and digest and digest[1] in locked.hashes:
                _unpack(_get(url, context), locked, name, target)
                break
        else:
            raise CncpError(
                f"the configured index has no wheel of {locked.name} {locked.version} for this machine",
                "name an index that has it in pip's configuration, or use a bundle: --offline FILE",
            )


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _get(url: str, context: ssl.SSLContext) -> bytes:
    """Return what a URL holds. urllib honours the proxy variables; a password in it is sent as such."""
    parts = urllib.parse.urlsplit(url)
    request = urllib.request.Request(url)
    if parts.username:
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
        user = urllib.parse.unquote(parts.username)
        manager.add_password(None, bare, user, urllib.parse.unquote(parts.password or ""), is_authenticated=True)
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPBasicAuthHandler(manager)]
        request = urllib.request.Request(bare)
    else:
        handlers = []
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), *handlers)
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError) as error:
        raise CncpError(
            f"{parts.hostname or 'the index'} did not serve {parts.path}: {error}",
            "check the network and pip's configuration, or use a bundle: --offline FILE",
        ) from None


def _unpack(content: bytes, locked: Locked, name: str, target: Path) -> None:
    if hashlib.sha256(content).hexdigest() not in locked.hashes:
        raise CncpError(f"{name} is not the file that the lock names", "get it again from a source you trust")
    wheel = target / name
    wheel.write_bytes(content)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    wheel.unlink()
    for scripts in target.glob("*.data/scripts"):
        (target / "bin").mkdir(exist_ok=True)
        for script in scripts.iterdir():
            shutil.move(script, target / "bin" / script.name)
            (target / "bin" / script.name).chmod(0o755)


def configured_index(options: Mapping[str, str]) -> str | None:
    """Return the index that pip's configuration names, if it is one we can ask."""
    index = options.get("index-url", "")
    return index if index.startswith(("http://", "https://")) else None
