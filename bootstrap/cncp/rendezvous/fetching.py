"""A document fetched by one GET, and what each answer of a store means. Standard library only: there may be no more.

A presigned URL is all that a member has. Stores do not agree on how they say that there is nothing yet and that
the time of a URL is over, so both are read from status and text together.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import random
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urldefrag, urlsplit

from cncp.errors import shown
from cncp.rendezvous.documents import SKEW, Refused, expired

Verdict = Literal["found", "unchanged", "not yet", "expired", "clock", "refused"]

LARGEST = 2**18
"""Bytes of a document; one has some 2 KB."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # s between tries

_TIMEOUT = 20.0  # s
_TEMPURL = 401
"""What Swift answers to a temporary URL whose time is over, or that was changed, and while it cannot find its keys."""


@dataclass(frozen=True)
class Answer:
    """What a store said; ``late`` is by how many s its clock is ahead of ours, where it says."""

    verdict: Verdict
    why: str = ""
    body: bytes = b""
    etag: str = ""
    late: float = 0.0


def judge(status: int, text: str, late: float = 0.0, *, ended: bool | None = None) -> Answer:
    """Return what an answer without a document means.

    403 is also what S3 says of an object that is not there to who may not list; expired is what it calls so. Swift
    and Ceph give no reason: ``ended`` is whether the time that stands in such a URL is over, None where none does.
    """
    code = re.search(r"<Code>(\w+)</Code>", text)
    named = code[1] if code else ""
    said = f"HTTP {status}{' ' + named if named else ''}"
    over = "expired" in text.lower() or named == "ExpiredToken" or (status in (_TEMPURL, 403) and ended)
    if status == 304:
        return Answer("unchanged")
    if named in ("RequestTimeTooSkewed", "SignatureDoesNotMatch") or "not yet valid" in text:
        return Answer("clock", said, late=late)
    if over or status == 400 or (status == _TEMPURL and ended is None):
        # A clock that is far off makes a fresh URL look old.
        return Answer("clock" if abs(late) > SKEW else "expired", said, late=late)
    if status in (_TEMPURL, 403, 404, 408, 425, 429) or status >= 500:
        return Answer("not yet", said)
    return Answer("refused", said)


def is_pinned(url: str) -> bool:
    """Tell whether a URL is one of the controller's machine, which knows when something has changed."""
    return urldefrag(url).fragment.startswith("sha256=")


def fetch(url: str, etag: str = "", timeout: float = _TIMEOUT, wait: int = 0) -> Answer:
    """GET what is at a URL, unless it is still what ``etag`` names. Never raises: what fails is not there yet.

    The part after ``#sha256=`` is the fingerprint of the server's certificate, which then needs no other proof. Such a
    server answers when something has changed, or after ``wait`` s.
    """
    address, fragment = urldefrag(url)
    if urlsplit(address).scheme == "file":
        return _read(Path(unquote(urlsplit(address).path)), etag)
    headers = {"If-None-Match": etag} if etag else {}
    if wait and etag and fragment:
        headers["Prefer"] = f"wait={wait}"
        timeout += wait
    request = urllib.request.Request(address, headers=headers)  # Seed and Access have these schemes alone
    try:
        with _opener(fragment.removeprefix("sha256=")).open(request, timeout=timeout) as answer:
            body = answer.read(LARGEST + 1)
            if len(body) > LARGEST:
                return Answer("refused", "larger than any document")
            return Answer("found", body=body, etag=answer.headers.get("ETag", ""))
    except urllib.error.HTTPError as error:
        with error:
            text, late = error.read(4096).decode(errors="replace"), _late(error.headers.get("Date", ""))
            return judge(error.code, text, late, ended=_ended(address, time.time() + late))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer("not yet", shown(str(getattr(error, "reason", error))))


def _read(path: Path, etag: str) -> Answer:
    try:
        with path.open("rb") as stream:
            body = stream.read(LARGEST + 1)
    except OSError as error:
        return Answer("not yet", f"{path}: {error.strerror}")
    if len(body) > LARGEST:
        return Answer("refused", "larger than any document")
    found = hashlib.sha256(body).hexdigest()
    return Answer("unchanged") if found == etag else Answer("found", body=body, etag=found)


def _late(date: str) -> float:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return 0.0


def _ended(url: str, now: float) -> bool | None:
    """Tell whether the time in a temporary URL of Swift's is over by the server's clock; None where there is none."""
    found = re.search(r"[?&]temp_url_expires=([0-9]{1,12})(?:&|$)", url)
    return now > int(found[1]) if found else None


class _Pinned(http.client.HTTPSConnection):
    """A connection to the one server that has this certificate; nothing is sent to any other."""

    pin = ""

    def connect(self) -> None:
        """Connect, and look who answers."""
        super().connect()
        found = hashlib.sha256(self.sock.getpeercert(binary_form=True) or b"").hexdigest()
        if found != self.pin:
            self.close()
            raise ssl.SSLError("another server answers there: its certificate is not that of the seed")


class _PinnedHandler(urllib.request.HTTPSHandler):
    def __init__(self, pin: str) -> None:
        # The certificate is its own authority, and known before.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        super().__init__(context=context)
        self._connection: Any = type("Pinned", (_Pinned,), {"pin": pin})
        self._own = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a URL on such a connection."""
        return self.do_open(self._connection, req, context=self._own)


def _opener(pin: str) -> urllib.request.OpenerDirector:
    if not pin:
        return urllib.request.build_opener()
    # The controller's machine is dialled as engines dial it: by no proxy.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _PinnedHandler(pin))


@dataclass(frozen=True)
class Clock:
    """The time of day in s since 1970, how to let some pass, and chance: what tests have of their own."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    share: Callable[[], float] = random.random

    def spread(self, seconds: float, part: float) -> float:
        """Return seconds that are a random part more or less, so that many do not ask at once."""
        return seconds * (1 - part + 2 * part * self.share())


def await_document(
    url: str,
    deadline: float,
    say: Callable[[str], None],
    clock: Clock | None = None,
    get: Callable[[str], Answer] = fetch,
) -> bytes:
    """Fetch a document, also one that is published later; give up at ``deadline``, s since 1970. Raises Refused."""
    clock, wait, said = clock or Clock(), FIRST_WAIT, ""
    while True:
        answer = get(url)
        if answer.verdict == "found":
            return answer.body
        refuse(answer)
        if clock.now() > deadline:
            raise Refused(
                "deadline",
                f"nothing was there to join until the invitation's time was over: {answer.why}",
                "is the controller's machine up, and reached from here? Then: cncp invite, there",
            )
        if answer.why != said:
            said = answer.why
            say(f"waiting for the cluster: {said}")
        clock.sleep(clock.spread(wait, 0.5))
        wait = min(2 * wait, LONGEST_WAIT)


def refuse(answer: Answer) -> None:
    """Raise Refused where there is no use in asking again."""
    if answer.verdict == "expired":
        raise expired("the invitation's URL", max(0.0, answer.late))
    if answer.verdict == "clock":
        by = f" by {abs(answer.late) / 60:.0f} min" if answer.late else ""
        raise Refused(
            "clock",
            f"the store takes this machine's clock, or the URL, for wrong{by}: {answer.why}",
            "set the clock (timedatectl set-ntp true); if it is right, the URL was cut off or changed: paste all of it",
        )
    if answer.verdict == "refused":
        raise Refused("answer", f"the store answers what no store should: {answer.why}", "look at the URL in the seed")
