"""What is done on all hosts at once: a command, files there and back, a look at the hardware."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from cncp.config.inventory import HostSpec
from cncp.console import Console
from cncp.errors import CncpError
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Crew, Outcome, SomeHostsFailed
from cncp.ssh.stream import lines

T = TypeVar("T")


@dataclass(frozen=True)
class Ran:
    """What a command did on one host: its exit status, and the lines it wrote."""

    status: int
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]


def everywhere(specs: tuple[HostSpec, ...], work: Callable[[Host], T], *, strict: bool) -> Outcome[T]:
    """Do something on all hosts at the same time; hosts that cannot be reached are among the failures."""
    with Crew(specs, strict=strict) as crew:
        outcome = crew.each(work)
    failures = {**crew.failures, **outcome.failures}
    # In the order of the inventory, whatever failed first.
    return Outcome(outcome.results, {spec.name: failures[spec.name] for spec in specs if spec.name in failures})


def run(host: Host, argv: list[str], timeout: float, console: Console, speak: threading.Lock, *, quiet: bool) -> Ran:
    """Run a command on a host, its lines prefixed with the host's name as they come."""
    out: list[str] = []
    err: list[str] = []
    name = host.spec.name

    def said(text: str) -> None:
        out.append(text)
        if not quiet:
            with speak:
                console.say(f"[{name}] {text}")

    def complained(text: str) -> None:
        err.append(text)
        if not quiet:
            with speak:
                console.complain(f"[{name}] {text}")

    return Ran(lines(host, argv, timeout, said, complained), tuple(out), tuple(err))


def run_everywhere(
    specs: tuple[HostSpec, ...], argv: list[str], timeout: float, console: Console, *, strict: bool, quiet: bool
) -> Outcome[Ran]:
    """Run a command on all hosts. Hosts on which it does not exit with 0 are in both results and failures."""
    speak = threading.Lock()
    outcome = everywhere(specs, lambda spec: run(spec, argv, timeout, console, speak, quiet=quiet), strict=strict)
    failures: dict[str, CncpError] = dict(outcome.failures)
    for name, ran in outcome.results.items():
        if ran.status:
            failures[name] = HostError(name, f"exited with {ran.status}", f"try it by hand: ssh {name}")
    return Outcome(outcome.results, {spec.name: failures[spec.name] for spec in specs if spec.name in failures})


def conclude(failures: Mapping[str, CncpError], total: int, console: Console) -> None:
    """Say a line for every host that failed. Raises SomeHostsFailed where there is one."""
    for name, error in failures.items():
        console.complain(f"[{name}] failed: {error.message} ({error.hint})")
    if failures:
        raise SomeHostsFailed(failures, total)
