"""Locked wheels without pip: from the package indexes and folders that pip is configured with."""

from __future__ import annotations

import hashlib
import html.parser
import importlib
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.install import wheels
from cncp.install.http import NotServed, Web
from cncp.install.wheels import Locked, Target


class NoWheel(CncpError):
    """The indexes answered, and have no wheel of a requirement for a target."""


@dataclass(frozen=True)
class Link:
    """A file on offer: its name, where it is, and its SHA-256 where the page gives it."""

    name: str
    url: str
    sha256: str


class Index:
    """All the places that pip would look at, as one."""

    def __init__(self, options: Mapping[str, str], web: Web) -> None:
        self.options = options
        self._web = web
        self._links = options.get("find-links", "").split()
        self._indexes: list[str] = []
        if options.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
            main = options.get("index-url") or _default()
            self._indexes = [url for url in (main, *options.get("extra-index-url", "").split()) if url]

    @property
    def empty(self) -> bool:
        """True when there is no place to look at."""
        return not (self._links or self._indexes)

    def fetch(self, locked: Locked, target: Target) -> tuple[str, bytes]:
        """Return name and content of the wheel of a requirement. Raises NoWheel or NotServed.

        Names on a page only propose; what counts is that the content's hash is in the lock.
        """
        failure: NotServed | None = None
        for place in self._places(locked):
            try:
                offered = {link.name: link for link in self._read(place) if locked.is_wheel(link.name)}
                for name in wheels.choose(offered, target):
                    link = offered[name]
                    if link.sha256 and link.sha256 not in locked.hashes:
                        continue
                    content = self._content(link.url)
                    if hashlib.sha256(content).hexdigest() in locked.hashes:
                        return name, content
            except NotServed as error:
                # One index of several need not have every project.
                if error.status not in (404, 410):
                    failure = failure or error
        if failure is not None:
            raise failure
        raise NoWheel(
            f"the configured indexes have no wheel of {locked.name} {locked.version} for {target}",
            "name an index that has it in pip's configuration, or use a bundle: --offline FILE",
        )

    def _places(self, locked: Locked) -> Iterator[str]:
        yield from self._links
        for index in self._indexes:
            yield f"{index.rstrip('/')}/{wheels.normal(locked.name)}/"

    def _read(self, place: str) -> list[Link]:
        """Return the links of a page (PEP 503), or the files of a folder."""
        if place.startswith(("http://", "https://")):
            return _on_page(place, self._web.get(place))
        folder = _path(place)
        page = folder / "index.html" if folder.is_dir() else folder
        try:
            if page.is_file():
                return _on_page(page.as_uri(), page.read_bytes())
            return [Link(path.name, path.as_uri(), "") for path in folder.glob("*.whl")]
        except OSError as error:
            raise NotServed(f"{page} cannot be read: {error.strerror}", 0) from None

    def _content(self, url: str) -> bytes:
        if url.startswith(("http://", "https://")):
            return self._web.get(url)
        try:
            return _path(url).read_bytes()
        except OSError as error:
            raise NotServed(f"{_path(url)} cannot be read: {error.strerror}", 0) from None


def _path(place: str) -> Path:
    if place.startswith("file:"):
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(place).path))
    return Path(place).expanduser().absolute()


def _default() -> str | None:
    """Return the index that pip uses where none is configured, None where there is no pip to ask."""
    try:
        return str(importlib.import_module("pip._internal.models.index").PyPI.simple_url)
    except (ImportError, AttributeError):
        return None


def _on_page(page: str, content: bytes) -> list[Link]:
    parser = _Anchors()
    parser.feed(content.decode("utf-8", "replace"))
    base = urllib.parse.urljoin(page, parser.base)
    own = urllib.parse.urlsplit(page)
    secret, _, server = own.netloc.rpartition("@")
    found = []
    for reference in parser.found:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, reference))
        digest = re.search(r"\bsha256=([0-9a-f]{64})", parts.fragment)
        if secret and (parts.scheme, parts.netloc) == (own.scheme, server):
            # The files of an index with a password are behind it as well.
            parts = parts._replace(netloc=f"{secret}@{server}")
        name = urllib.parse.unquote(parts.path.rpartition("/")[2])
        found.append(Link(name, parts._replace(fragment="").geturl(), digest[1] if digest else ""))
    return found


class _Anchors(html.parser.HTMLParser):
    """Collects what the anchors of a page refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "href" and value and tag == "a":
                self.found.append(value)
            elif name == "href" and value and tag == "base":
                self.base = value
