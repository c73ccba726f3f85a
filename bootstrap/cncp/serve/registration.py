"""Which engines the hub has, and under which ids: ours by their places, others beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from ipyparallel.controller.hub import Hub

from cncp.field_types import Matching
from cncp.files import read_bytes, to_json, write_atomic
from cncp.ipp.engine_uuid import former_uuid, slot
from cncp.records import Misfit, Others, Record
from cncp.serve.engine_ids import Places

Message = dict[str, Any]
_Id = Annotated[str, Matching("[0-9]{1,9}", "a number")]


def guard(hub: Hub, places: Places) -> None:
    """Have a hub give places their ids, end nobody in another's name, and say at once what is lost."""
    register = hub.query_handlers["registration_request"]
    unregister = hub.unregister_engine
    lost: dict[str, list[str]] = {}

    def register_in_place(idents: list[bytes], message: Message) -> Any:
        content = message["content"]
        place = slot(content.get("uuid", ""))
        # Engines of several hosts ask for the same ids: what counts is the one it had here.
        if place is not None:
            replace_predecessor(hub, content["uuid"])
            content["id"] = places.take(place, place[1], _taken(hub))
        else:
            content["id"] = places.beside(content.get("id"), _taken(hub))
        return register(idents, message)

    def unregister_only_itself(ident: Any, message: Message) -> None:
        content = message["content"]
        number = content.get("id")
        engine = hub.engines.get(number)
        # A late goodbye must not end the engine that has taken the place since.
        if engine is None or content.get("uuid") in (None, engine.uuid):
            if engine is not None:
                lost[engine.uuid] = list(hub.queues[number])
            unregister(ident, message)
            if engine is not None:
                strand(number, engine.uuid)

    def strand(number: int, uuid: str) -> None:
        # ipyparallel asks for this later, by id, when another engine may have it and tasks of its own.
        tasks = lost.pop(uuid, [])
        if tasks:
            current = hub.queues[number]
            hub.queues[number] = [task for task in tasks if task in hub.pending]
            Hub._handle_stranded_msgs(hub, number, uuid)  # noqa: SLF001
            hub.queues[number] = [task for task in current if task not in tasks]

    hub.query_handlers["registration_request"] = register_in_place
    hub.query_handlers["unregistration_request"] = unregister_only_itself
    hub.unregister_engine = unregister_only_itself
    hub._handle_stranded_msgs = strand  # noqa: SLF001


def _taken(hub: Hub) -> set[int]:
    return {int(registration.id) for registration in hub.incoming_registrations.values()} | set(hub.engines)


def replace_predecessor(hub: Hub, uuid: str) -> None:
    """Unregister the engine whose place an engine with this uuid takes.

    After a crash the hub holds the old one for as long as the tolerance lasts, and would give
    the new one another id. Only engines that cncp started have a place; the same host and number
    cannot run twice, because the service manager sees to that.
    """
    place = slot(uuid)
    if place is None:
        return
    for number, engine in list(hub.engines.items()):
        if slot(engine.uuid) == place and engine.uuid != uuid:
            hub.log.warning("engine %s comes back: taking the place of %s", uuid, engine.uuid)
            hub.unregister_engine(engine.ident, {"content": {"id": number}})
    for heart, engine in list(hub.incoming_registrations.items()):
        if slot(engine.uuid) == place and engine.uuid != uuid:
            del hub.incoming_registrations[heart]


def save_engines(hub: Hub, places: Places) -> None:
    """Write which engines are registered, and whose ids are whose, for the next start of the controller.

    A controller of before 0.1 reads ``engines`` and not ``uuids``: it keeps ids for engines whose uuids it
    understands. ``next_id`` is beyond all of them, whatever the hub's counter is: while it reads the table it
    counts from 0, and writes the table.
    """
    if hub.engine_state_file:
        engines = {number: engine.uuid for number, engine in hub.engines.items()}
        beyond = max(hub._idcounter, *(number + 1 for number in (-1, *engines, *places.ids)))  # noqa: SLF001
        former = {number: former_uuid(uuid) for number, uuid in engines.items()}
        content = {"engines": former, "next_id": beyond, "places": places.rows, "uuids": engines}
        write_atomic(Path(hub.engine_state_file), to_json(content), 0o600)


@dataclass(frozen=True)
class Table(Record):
    """The hub's own engine table: uuids by id, the next id; beside it their whole uuids, and what is ours."""

    engines: Mapping[_Id, str]
    next_id: int
    uuids: Mapping[_Id, str]
    others: Others

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Take engines for whole uuids, where an earlier version has written none beside them."""
        return {"uuids": members.get("engines"), **members}


def prune(path: Path, wanted: Callable[[str], bool]) -> None:
    """Have a saved table name the engines that are wanted, by their own uuids, before a client meets others.

    Those went while there was no controller to say goodbye to. A table that cannot be read, with which the
    controller could not start, is removed.
    """
    try:
        content = read_bytes(path)
        table = None if content is None else Table.from_json(content, str(path))
    except (OSError, Misfit):
        path.unlink(missing_ok=True)
        return
    if table is not None:
        kept = {number: uuid for number, uuid in table.uuids.items() if wanted(uuid)}
        if kept != table.engines:
            write_atomic(path, to_json(replace(table, engines=kept)), 0o600)
