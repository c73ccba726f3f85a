"""A machine that joins a cluster elsewhere: from a seed to engines that are registered there.

    read the seed -> fetch its document -> open it -> dial the controller -> keep what is known -> cncp up

Up to the last but one nothing is changed but for the seed itself, which waits in the home, 0600, until it has served.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cncp import accounts, files
from cncp.config.asked import Request
from cncp.config.sources import Kept
from cncp.console import Console
from cncp.errors import CncpError
from cncp.ipp.connection_file import EngineFile
from cncp.ipp.engine_uuid import host_in, slot
from cncp.ipp.hub import asked
from cncp.machine import connection_files, seeds
from cncp.machine.node import Node
from cncp.machine.ops import main
from cncp.machine.ops.apply import Outcome
from cncp.machine.services.processes import running
from cncp.rendezvous import member_record
from cncp.rendezvous.documents import AGAIN, Body, Seed, damaged
from cncp.rendezvous.fetching import await_document
from cncp.rendezvous.member_record import Membership
from cncp.rendezvous.sealing import opened
from cncp.waiting import wait_until

_DIAL = 3.0  # s
_LISTENS = 15.0  # s that a controller which has just been started may take to listen
_ANSWER = 3.0  # s
_REGISTERS = 90.0  # s that engines have to reach the controller


@dataclass(frozen=True)
class Joined:
    """What came of joining: which cluster, where its controller is, how many of the engines are registered there."""

    node: Node
    outcome: Outcome
    known: Membership
    controller: str
    registered: int


def join(seed: Seed, flags: Mapping[str, str], environment: Mapping[str, str], console: Console) -> Joined:
    """Join the cluster of a seed; ``flags`` are settings that count more than the cluster's. Raises CncpError."""
    home = accounts.home(environment)
    known = seeds.insist(seed, home)
    console.phase(f"looking for the cluster {seed.cluster}")
    content = await_document(seed.join, seed.deadline, console.phase)
    now, seen = time.time(), known.joined if known else 0
    body = opened(
        content,
        "join",
        seed.batch,
        seed.key,
        cluster=seed.cluster,
        now=now,
        seen=seen,
        ipyparallel=version("ipyparallel"),
    )
    engine = EngineFile.from_json(body.content.engine, "the join document", AGAIN)
    at = dial(engine)
    if known is None:
        insist_on_name(engine, socket.gethostname())
    files.make_home(home)
    _keep(home, body, member_record.of_join(body, now, known, instance=seed.instance))
    # Cut off from here on, it goes on with what is kept.
    settings = {name: str(value) for name, value in body.content.settings.items()}
    wanted = {**settings, "profile": body.content.profile, **flags, "role": "engine"}
    node, outcome = main.converge(Request(environment, None, wanted, Kept({})), console, ["join"])
    console.phase(f"waiting for the controller at {at}")
    registered = await_registration(node)
    if registered < node.engines:
        raise CncpError(
            f"{registered}/{node.engines} engines have registered with the controller at {at}",
            "look at: cncp status, cncp logs --name engine-0; they go on trying",
        )
    seeds.path(home).unlink(missing_ok=True)
    found = member_record.load(home)
    if found is None:
        raise damaged("the membership", "it is gone")
    return Joined(node, outcome, found, at, registered)


def _keep(home: Path, body: Body, known: Membership) -> None:
    files.write_atomic(connection_files.delivered(home), files.to_json(dict(body.content.engine)), 0o600)
    member_record.save(home, known)


def dial(engine: EngineFile) -> str:
    """Return the address at which the controller's port answers. Raises CncpError: engines would only wait.

    What refuses is asked again for a while: the document of a cluster that starts may be there before its controller.
    """
    port = engine.registration
    tried = dict.fromkeys((engine.dialled, *engine.names))

    def look() -> tuple[str, list[Exception]]:
        errors: list[Exception] = []
        for host in tried:
            try:
                socket.create_connection((host, port), _DIAL).close()
            except (OSError, UnicodeError) as error:
                errors.append(error)
            else:
                return host, []
        return "", errors

    def settled(seen: tuple[str, list[Exception]]) -> bool:
        return not any(isinstance(error, ConnectionRefusedError) for error in seen[1])

    found, errors = wait_until(look, _LISTENS, 0.3, settled)
    if found:
        return f"{found}:{port}"
    why = getattr(errors[-1], "strerror", None) or errors[-1]
    raise CncpError(
        f"the controller cannot be reached from here: port {port} of {', '.join(tried)}: {why}",
        "let this machine through to it: cncp firewall on the controller's machine says which ports",
    )


def insist_on_name(engine: EngineFile, host: str) -> None:
    """Raise CncpError where the cluster has engines of a machine of our name: ours would be taken for theirs."""
    registered = asked(engine, lambda hub: hub.engines(_ANSWER).values()) or ()
    if any(place[0] == host_in(host) for place in map(slot, registered) if place):
        raise CncpError(
            f"the cluster has engines of a machine that is called {host} as well",
            "give this one another name (hostnamectl set-hostname NAME), then join; if that was this one: wait 30 s",
        )


def await_registration(node: Node) -> int:
    """Return how many of a node's engines the controller knows, once it knows all or the time is over."""

    def known() -> int:
        uuids = {process.uuid for process in running(node).values() if process.uuid}
        registered = asked(connection_files.engine(node), lambda hub: hub.engines().values())
        return len(uuids.intersection(registered or ()))

    return wait_until(known, _REGISTERS, 0.3, lambda count: count >= node.engines)
