"""Engines of machines that joined by themselves, as the controller knows them: nobody can ask those machines."""

from __future__ import annotations

from collections.abc import Collection

from cncp.ipp.engine_uuid import host_in, slot
from cncp.ipp.hub import Hub, NoAnswer
from cncp.machine import connection_files
from cncp.machine.node import Node
from cncp.machine.ops import engine_states
from cncp.machine.ops.status import Status

_ANSWER = 1.0  # s that an engine has to answer


def of(node: Node, known: Collection[str] = (), hosts: Collection[str] = ()) -> list[Status]:
    """Return the engines that are registered and neither ``known`` by uuid nor of these hosts, by host and number."""
    document = connection_files.client(node)
    if document is None or node.rendezvous != "owner":
        return []
    own = {host_in(name) for name in (node.host, *hosts)}
    with Hub(document, node.local_address) as hub:
        try:
            registered = hub.engines(_ANSWER).values()
        except NoAnswer:
            return []
        places = {uuid: place for uuid in registered if uuid not in known and (place := slot(uuid))}
        strangers = [uuid for uuid, (host, _) in places.items() if host not in own]
        seen = engine_states.look(hub, strangers, _ANSWER).engines if strangers else {}
    return [
        Status(
            name=f"engine-{places[uuid][1]}",
            host=places[uuid][0],
            id=engine.id,
            pid=0,
            state=engine.state,
            uptime=0.0,
            memory=0,
            cpu=0.0,
            restarts=0,
            last_exit="",
            uuid=uuid,
            busy=engine.busy,
        )
        for uuid, engine in sorted(seen.items(), key=lambda item: places[item[0]])
    ]
