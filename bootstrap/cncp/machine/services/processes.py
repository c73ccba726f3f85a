"""Processes of ours, known by their command lines: whatever became of their records and of what kept them.

The records in ``run`` and a service manager's socket are files that anybody may remove. What runs is
seen in ``/proc``: a service is ``python -m cncp.remote serve KIND [INSTANCE] --node HOME/node.json``
of the account, and what keeps services is supervisord with our configuration, or ``libexec/keep``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp import pidfile, remote
from cncp.inheritance import MARK
from cncp.ipp.engine_uuid import uuid_of
from cncp.machine.node import Node
from cncp.machine.services.kinds import known, split


@dataclass(frozen=True)
class Found:
    """A process: of the service ``name``, or of what keeps services, where ``name`` is ""."""

    name: str
    pid: int
    parent: int
    digest: str = ""


@dataclass(frozen=True)
class Ours:
    """All processes of a cluster on this machine.

    ``services`` have one entry a service that runs, without what it has forked; ``keepers`` are
    supervisord, or the ``keep`` of sessions. systemd is not among them.
    """

    services: tuple[Found, ...]
    keepers: tuple[Found, ...]

    def unkept(self, pids: Collection[int], keepers: Collection[int]) -> Ours:
        """Return those that no service manager looks after, which knows these services and keepers."""
        return Ours(
            tuple(process for process in self.services if process.pid not in pids and process.parent not in keepers),
            tuple(keeper for keeper in self.keepers if keeper.pid not in keepers),
        )


def ours(node: Node) -> Ours:
    """Look at all processes of the account."""
    services: list[Found] = []
    keepers: list[Found] = []
    for pid in sorted(of_account(node.account.uid)):
        words = command_line(pid)
        name, digest = service(node, words)
        if name:
            services.append(Found(name, pid, _parent(pid), digest))
        elif _keeps(node, words):
            keepers.append(Found("", pid, _parent(pid)))
    # What a service has forked has its command line. Its own process is the one that none of these began.
    names = {process.pid: process.name for process in services}
    tops = [process for process in services if names.get(process.parent) != process.name]
    keeping = {keeper.pid for keeper in keepers}
    return Ours(tuple(tops), tuple(keeper for keeper in keepers if keeper.parent not in keeping))


def running(node: Node) -> dict[str, pidfile.Process]:
    """Return the processes of all services that run, from their records or, where one is lost, as they are seen."""
    recorded = {name: pidfile.read(node.run_dir, name) for name in node.services}
    if all(process.pid for process in recorded.values()):
        return recorded
    seen = {process.name: as_recorded(node, process.pid) for process in ours(node).services}
    return {name: process if process.pid else seen.get(name, pidfile.GONE) for name, process in recorded.items()}


def as_recorded(node: Node, pid: int) -> pidfile.Process:
    """Return what the record of a process says, or said before it was lost; GONE where it is no service of ours."""
    name, digest = service(node, command_line(pid))
    if not name:
        return pidfile.GONE
    kept = pidfile.read(node.run_dir, name)
    if kept.pid == pid:
        return kept
    kind, instance = split(name)
    uuid = uuid_of(node.host, int(instance), pid) if kind == "engine" else ""
    return pidfile.Process(pid, digest, uuid)


def leavings(node: Node, names: Collection[str]) -> list[int]:
    """Return what services have started and left: with a fork's command line, or the mark in its environment.

    None of those that keep services, nor this process and those that it is part of, nor what has still to
    tell the hub that an engine has ended.
    """
    seen = ours(node)
    spared = {keeper.pid for keeper in seen.keepers}
    # A service that is kept runs: what it has started is not left.
    kept = {process.name for process in seen.services if process.parent in spared and process.pid != os.getpid()}
    above = os.getpid()
    while above > 1:
        spared.add(above)
        above = _parent(above)
    found = []
    for pid in of_account(node.account.uid):
        words = command_line(pid)
        if pid in spared or remote.waits_to_tell(words):
            continue
        name = service(node, words)[0] or _marked(node, environment(pid).get(MARK, ""))
        if name in names and name not in kept:
            found.append(pid)
    return found


def _marked(node: Node, mark: str) -> str:
    name, _, rest = mark.partition(" ")
    return name if rest.partition(" ")[2] == node.home else ""


def command_line(pid: int) -> list[str]:
    """Return the words a process was started with, [] where it has ended."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return os.fsdecode(content).removesuffix("\0").split("\0") if content else []


def environment(pid: int) -> Mapping[str, str]:
    """Return the environment a process was started with, {} where it has ended or is another account's."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(word.partition("=")[::2] for word in os.fsdecode(content).split("\0") if "=" in word)


def of_account(uid: int) -> Iterator[int]:
    """Yield the processes of an account."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == uid:
                    yield int(entry.name)
            except OSError:
                continue


def service(node: Node, words: Sequence[str]) -> tuple[str, str]:
    """Return the name and digest of the service of a node that a command line starts; "" where it is none."""
    verb, arguments = remote.verb_of(words)
    if verb != "serve" or "--node" not in arguments[:-1]:
        return "", ""
    if arguments[arguments.index("--node") + 1] != f"{node.home}/node.json":
        return "", ""
    name = "-".join(arguments[: arguments.index("--node")])
    digest = arguments[arguments.index("--digest") + 1] if "--digest" in arguments[:-1] else ""
    return (name, digest) if known(name) else ("", "")


def _keeps(node: Node, words: Sequence[str]) -> bool:
    verb, arguments = remote.verb_of(words)
    if verb == "supervisord":
        return f"{node.home}/supervisor/supervisord.conf" in arguments
    # A shell script: its interpreter comes first.
    return len(words) > 2 and words[1] == f"{node.home}/libexec/keep" and Path(words[2]).parent == node.run_dir


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
