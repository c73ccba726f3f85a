"""cidcapt -j JOB -n NODES -i IMAGE: what a scheduler's prolog calls; it ends when every node is alive in the image."""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, TypeVar

from cncp.config.hostlist import expand, fold
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.field_types import Matching
from cncp.files import to_json
from cncp.netboot.cidkid import WAIT, CiddError, Server, pause
from cncp.netboot.image_name import checked
from cncp.netboot.messages import CaptureState, Wish
from cncp.netboot.node_states import JOB_FORM, Node
from cncp.records import Misfit, Record, read
from cncp.rendezvous.documents import Seed

T = TypeVar("T")

DONE, FAILED, USAGE, LATE, UNREACHABLE, CANCELLED = 0, 1, 2, 3, 4, 130
"""Exit codes: all nodes are alive; one has failed; the request is refused; time is over; no cidd; a signal."""

_SEPARATORS = re.compile(r"[\s+:,]+(?![^\[]*\])")
_WRITTEN_AGAIN = "have it written again: cncp netboot.up"
_MOST_UNANSWERED = 10  # times that cidd, restarted perhaps, may not answer one after the other


def node_names(text: str) -> tuple[str, ...]:
    """Return the nodes of a list as schedulers write it: separated by commas, pluses, colons or blanks, with brackets.

    A name that stands more than once, as for each of a node's processors, counts once. Raises UsageError.
    """
    words = [word for word in _SEPARATORS.split(text.strip()) if word]
    names = tuple(dict.fromkeys(name for word in words for name in expand(word, "-n")))
    if not names:
        raise UsageError("no node is named", "give -n node1+node2, or node[1-16]")
    return names


@dataclass(frozen=True)
class Access(Record):
    """How cidd is reached: a file of those who may, 0600. ``fingerprint`` is that of its certificate."""

    url: str
    fingerprint: Annotated[str, Matching(r"[0-9a-f]{64}", "a SHA-256")]
    token: Annotated[str, Matching(r"[!-~]{1,1024}", "a token")]


class RefusedError(CncpError):
    """cidd does not do what it was asked to; ``final`` where it has understood it."""

    def __init__(self, error: CiddError) -> None:
        super().__init__(str(error), error.hint or "see whether cidd runs, and what its log says")
        # One that ends, or has a fault of its own, may answer as asked once it is begun anew.
        self.final = 0 < error.status < 500


class CiddClient:
    """What jobs and people ask cidd. All of it raises RefusedError: with what cidd says, or that it is no answer."""

    def __init__(self, access: Access) -> None:
        """Nothing is asked yet. Raises CncpError where that is no address."""
        try:
            self._server = Server(access.url, access.fingerprint)
        except CiddError as error:
            raise CncpError(str(error), _WRITTEN_AGAIN) from None
        self._token = access.token

    def ask(self, method: str, target: str, body: object = None) -> bytes:
        """Return cidd's answer."""
        content = b"" if body is None else to_json(body)
        try:
            return self._server.ask(method, target, content, Authorization=f"Bearer {self._token}")
        except CiddError as error:
            raise RefusedError(error) from None

    def want(self, job: str, wish: Wish) -> CaptureState:
        """Have nodes be put into an image for a job."""
        return self._told(CaptureState, "the job", "PUT", _job(job), wish.to_json())

    def changed(self, state: CaptureState, seconds: float) -> CaptureState:
        """Return how far a job is, once that is another than this, or after so many s."""
        wait = math.ceil(max(0, min(seconds, WAIT)))
        return self._told(CaptureState, "the job", "GET", f"{_job(state.job)}?known={state.tag}&wait={wait}")

    def cancel(self, job: str) -> None:
        """Let a job's nodes go."""
        self.ask("DELETE", _job(job))

    def meet(self, job: str, seed: Seed) -> None:
        """Have the engines of a job's nodes join by a seed."""
        self.ask("PUT", f"{_job(job)}/rendezvous", asdict(seed))

    def nodes(self) -> list[Node]:
        """Return all nodes."""
        return self._told(list[Node], "nodes", "GET", "/v1/nodes")

    def images(self) -> list[str]:
        """Return the names of the images."""
        return self._told(list[str], "images", "GET", "/v1/images")

    def _told(self, kind: type[T], subject: str, method: str, target: str, body: object = None) -> T:
        """Return cidd's answer as what it has to be."""
        try:
            return read(kind, self.ask(method, target, body), f"what cidd says of {subject}")
        except Misfit as error:
            raise RefusedError(CiddError(error.message, hint=error.hint)) from None


def client_of(path: Path) -> CiddClient:
    """Return who asks cidd with what an access file says. Raises CncpError, and OSError where it cannot be read."""
    return CiddClient(Access.from_json(path.read_bytes(), str(path), _WRITTEN_AGAIN))


def _job(name: str) -> str:
    return f"/v1/jobs/{urllib.parse.quote(name, safe='')}"


def capture(client: CiddClient, job: str, wish: Wish, console: Console) -> int:
    """Have nodes be in an image and wait for it; return the exit code. Raises RefusedError."""
    deadline = time.monotonic() + wish.timeout
    state, told, unanswered = client.want(job, wish), dict[str, str](), 0
    while True:
        for node in state.nodes:
            now = f"{node.name} {node.state}" + (f" {node.percent} %" if node.percent else "")
            if told.get(node.name) != now:
                told[node.name] = now
                # Why it begins anew, or has failed; on its way again it is another matter.
                why = node.reason if node.state in ("rebooting", "failed") else ""
                console.complain(now + (f": {why}" if why else ""))
        if state.outcome != "waiting":
            return _ended(state, console)
        try:
            state, unanswered = client.changed(state, deadline - time.monotonic()), 0
        except RefusedError as error:
            unanswered += 1
            if error.final or unanswered > _MOST_UNANSWERED:
                raise
            pause(min(unanswered, 5))


def _ended(state: CaptureState, console: Console) -> int:
    if state.outcome == "done":
        return DONE
    late = state.outcome == "late"
    names = ", ".join(fold(node.name for node in state.nodes if node.state != "alive"))
    why = f"{'not there in time' if late else 'failed'}: {names or 'a node that the job has no more'}"
    console.error(CncpError(why, "cncp node.trace NODE says what happened"))
    return LATE if late else FAILED


def job_name(job: str, restart: str) -> str:
    """Return what a job is called that may have been begun anew. Raises UsageError."""
    name = job + (f"~{restart}" if restart not in ("", "0") else "")
    if not job or "~" in job or not re.fullmatch(JOB_FORM, name):
        raise UsageError(f"{name[:70]!r} is no job", "give the scheduler's number of it, such as -j 4711")
    return name


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="cidcapt", description="put nodes into an image, and wait until they are")
    parser.add_argument("-j", "--job", required=True, help="the scheduler's number of the job")
    parser.add_argument("-n", "--nodes", nargs="+", default=[], metavar="NODES", help="node1+node2, or node[1-16]")
    parser.add_argument("-i", "--image", default="", help="NAME-VERSION-SUBVERSION")
    parser.add_argument(
        "--release", action="store_true", help="let the job's nodes go, at its end: nothing else is said"
    )
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS")
    parser.add_argument("--restart", default="", metavar="COUNT", help="how often the job was begun anew")
    parser.add_argument("--access", type=Path, default=Path("/etc/cncp/cidcapt.json"), metavar="FILE")
    return parser.parse_args(argv)


_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _Cancelled(BaseException):
    """Somebody wants it no longer."""


def _cancel(_: int, __: FrameType | None) -> None:
    raise _Cancelled


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    given, console = arguments(argv), Console()
    try:
        return _done(given, console)
    except RefusedError as error:
        console.error(error)
        return USAGE if error.final else UNREACHABLE
    except (CncpError, OSError) as error:
        console.error(error)
        return USAGE


def _done(given: argparse.Namespace, console: Console) -> int:
    job, client = job_name(given.job, given.restart), client_of(given.access)
    if given.release:
        client.cancel(job)
        return DONE
    wanted = {"nodes": node_names(" ".join(given.nodes)), "image": checked(given.image), "timeout": given.timeout}
    wish = Wish.from_json(wanted, "the request", "give up to 1024 nodes, and a time of up to a week")
    return _until_cancelled(client, job, wish, console)


def _until_cancelled(client: CiddClient, job: str, wish: Wish, console: Console) -> int:
    try:
        for number in _ENDING:
            signal.signal(number, _cancel)
        # Slurm begins programs with them blocked, now and then.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        ended = capture(client, job, wish, console)
        if ended != DONE:
            # The job does not begin: what is under way for it is anybody's.
            client.cancel(job)
        return ended
    except _Cancelled:
        # Once is enough: to be told again would keep it from telling cidd.
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        client.cancel(job)
        return CANCELLED


if __name__ == "__main__":
    sys.exit(main())
