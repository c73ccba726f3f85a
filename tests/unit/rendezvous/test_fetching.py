"""What stores answer, and what is made of it: not yet, never any more, or a clock that is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cncp.rendezvous.documents import Refused
from cncp.rendezvous.fetching import LARGEST, Answer, Clock, Verdict, _ended, await_document, fetch, judge


def error(code: str, message: str = "") -> str:
    """Return what S3 says of an error."""
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'


@pytest.mark.parametrize(
    ("status", "text", "late", "verdict"),
    [
        (304, "", 0, "unchanged"),
        (404, error("NoSuchKey"), 0, "not yet"),
        # S3, of an object that is not there, to who may not list.
        (403, error("AccessDenied", "Access Denied"), 0, "not yet"),
        (403, error("AccessDenied", "Request has expired"), 0, "expired"),
        (403, error("ExpiredToken", "The provided token has expired."), 0, "expired"),
        # Google's words; Azure's are AuthenticationFailed with "Signature not valid in the specified time frame".
        (400, error("ExpiredToken", "Invalid argument."), 0, "expired"),
        (400, error("AccessDenied"), 0, "expired"),
        (401, "Temp URL invalid", 0, "expired"),
        (403, error("AccessDenied", "Request has expired"), 3600, "clock"),
        (401, "Temp URL invalid", -7200, "clock"),
        (403, error("RequestTimeTooSkewed"), 0, "clock"),
        (403, error("SignatureDoesNotMatch"), 0, "clock"),
        (403, error("AccessDenied", "Request is not yet valid"), 0, "clock"),
        (429, "", 0, "not yet"),
        (500, error("InternalError"), 0, "not yet"),
        (503, error("SlowDown"), 0, "not yet"),
        (405, "", 0, "refused"),
        (418, "I'm a teapot", 0, "refused"),
    ],
)
def test_answers(status: int, text: str, late: float, verdict: Verdict) -> None:
    """Status and text are read together."""
    assert judge(status, text, late).verdict == verdict


@pytest.mark.parametrize(
    ("status", "ended", "late", "verdict"),
    [
        (401, True, 0, "expired"),
        # Swift says the same while it cannot find its keys, and Ceph of what is not there.
        (401, False, 0, "not yet"),
        (403, True, 0, "expired"),
        (403, False, 0, "not yet"),
        (404, True, 0, "not yet"),
        (401, True, 3600, "clock"),
        (401, False, 3600, "not yet"),
    ],
)
def test_temporary_urls(status: int, ended: bool, late: float, verdict: Verdict) -> None:
    """Those of Swift: why one is refused is not said, and follows from the time that stands in it."""
    assert judge(status, "Temp URL invalid", late, ended=ended).verdict == verdict


def test_the_time_in_a_url() -> None:
    """By the server's clock, where there is one."""
    url = "http://x/v1/a/c/o?temp_url_sig=0&temp_url_expires=1000"
    assert [_ended(url, now) for now in (999, 1001)] == [False, True]
    assert _ended(f"{url}&temp_url_prefix=o", 1001)
    assert _ended("http://x/y?X-Amz-Expires=1000", 2000) is None
    assert _ended("http://x/y?temp_url_expires=soon", 2000) is None


class Time:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        """As code takes it: chance is in the middle."""
        return Clock(lambda: self.now, self.sleep, lambda: 0.5)


def test_late_documents() -> None:
    """They are waited for, longer from try to try; each reason is said once."""
    time, said = Time(), list[str]()
    answers = iter([*[Answer("not yet", "HTTP 404")] * 7, Answer("found", body=b"here")])
    assert await_document("https://x/y", 2000, said.append, time.clock, lambda _: next(answers)) == b"here"
    assert time.slept == [1, 2, 4, 8, 16, 30, 30]
    assert said == ["waiting for the cluster: HTTP 404"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer("not yet", "HTTP 404"), "deadline"),
        (Answer("expired", "HTTP 403"), "expired"),
        (Answer("clock", "HTTP 403", late=3600), "clock"),
        (Answer("refused", "HTTP 418"), "answer"),
    ],
)
def test_no_document(answer: Answer, reason: str) -> None:
    """What will never come is given up at once, the rest when its time is over."""
    time = Time()
    with pytest.raises(Refused) as refused:
        await_document("https://x/y", 1500, lambda _: None, time.clock, lambda _: answer)
    assert refused.value.reason == reason
    assert (len(time.slept) > 0) == (reason == "deadline")
    assert time.now < 1600


def test_a_shared_folder(tmp_path: Path) -> None:
    """A path is fetched like a URL."""
    path = tmp_path / "a b.json"
    assert fetch(path.as_uri()).verdict == "not yet"
    path.write_bytes(b"one")
    found = fetch(path.as_uri())
    assert (found.verdict, found.body) == ("found", b"one")
    assert found.etag == hashlib.sha256(b"one").hexdigest()
    assert fetch(path.as_uri(), found.etag).verdict == "unchanged"
    path.write_bytes(bytes(LARGEST + 1))
    assert fetch(path.as_uri()).verdict == "refused"
    assert fetch(tmp_path.as_uri()).verdict == "not yet"


def test_nobody_there() -> None:
    """No route is nothing to give up for."""
    answer = fetch("http://127.0.0.1:9/x", timeout=1)
    assert answer.verdict == "not yet"
    assert "refused" in answer.why
