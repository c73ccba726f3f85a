"""What runs inside the services, as far as it can be held without a cluster."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from ipyparallel.controller.app import IPController

from cncp import pidfile
from cncp.ipp.engine_uuid import slot, uuid_of
from cncp.serve import controller
from cncp.serve.controller import wanted
from cncp.serve.engine_connections import Queues
from cncp.serve.engine_ids import Places
from cncp.serve.heartbeat import expect_hearts
from cncp.serve.registration import guard, prune, replace_predecessor, save_engines

CODE = Path(__file__).resolve().parents[3] / "bootstrap"


def python(code: str) -> str:
    """Run code in a Python of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CODE, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_an_engine_has_no_debugger_but_a_task_can() -> None:
    """Ipykernel finds no debugpy when the engine is made; a task that imports it gets the real one."""
    lean = "import cncp.serve.engine, ipykernel.debugger as d; print(d._is_debugpy_available); "
    assert python(lean + "import debugpy; print(debugpy.__name__)").split() == ["False", "debugpy"]


def test_an_engine_loads_of_ipyparallel_what_it_needs() -> None:
    """Clients and launchers come when a task asks for them; the package is then what it is everywhere."""
    lean = "import cncp.serve.engine, sys; print('ipyparallel.cluster' in sys.modules); import ipyparallel; "
    whole = "print(ipyparallel.Client.__name__, ipyparallel.__version__, type(ipyparallel), *vars(ipyparallel))"
    late, here = python(lean + whole).splitlines()
    assert late == "False"
    assert {*python("import ipyparallel; " + whole).split()} <= {*here.split()}
    assert python(lean + "print(hasattr(ipyparallel, 'nothing'))").split() == ["False", "False"]
    assert python(lean + "from ipyparallel import *; print(Client.__name__)").split() == ["False", "Client"]


def test_uuids_tell_the_place_of_an_engine() -> None:
    """Host and number can be read back; engines that others started have no place."""
    assert slot(uuid_of("node-7.example.org", 12, os.getpid())) == ("node-7-example-org", 12)
    assert uuid_of("n", 1, os.getpid()) == uuid_of("n", 1, os.getpid()) != uuid_of("n", 1, os.getppid())
    assert slot("b2a3c1d0-cafe") is None
    # uuid4, jupyter_client's new_id
    assert slot("0c8d6a0e-1f2e-4a3b-8123-0123456789ab") is None
    assert slot("b2a3c1d0-012345678901234567890123") is None
    # What was made before an upgrade is still in the controller's table.
    assert slot("node-7.12.0123456789ab") == ("node-7", 12)


@pytest.mark.parametrize("host", ["a.b", "node_7", "größe", "x y", "UPPER-1"])
def test_uuids_can_be_part_of_a_name_of_a_variable(host: str) -> None:
    """The kernel makes a name of the id of a broadcast message, which ends with an engine's uuid."""
    assert f"_{uuid_of(host, 3, os.getpid()).replace('-', '_')}_".isidentifier()


def test_an_engine_that_comes_back_takes_its_place() -> None:
    """Its predecessor is unregistered; neighbours and strangers stay."""
    uuids = {3: uuid_of("a", 1, os.getpid()), 4: uuid_of("a", 2, os.getpid()), 5: "stranger"}
    gone: list[int] = []
    hub: Any = SimpleNamespace(
        engines={number: SimpleNamespace(uuid=uuid, ident=uuid.encode()) for number, uuid in uuids.items()},
        incoming_registrations={},
        unregister_engine=lambda _, message: gone.append(message["content"]["id"]),
        log=SimpleNamespace(warning=lambda *_: None),
    )
    replace_predecessor(hub, uuid_of("a", 1, os.getppid()))
    replace_predecessor(hub, uuid_of("b", 1, os.getpid()))
    replace_predecessor(hub, "another stranger")
    assert gone == [3]


def test_restored_engines_without_a_heartbeat_are_given_up() -> None:
    """Of the engines in the table, those that beat stay; those that never do are unregistered."""
    beaten: list[bytes] = []
    stopped: list[bytes] = []
    hub: Any = SimpleNamespace(
        engines={number: SimpleNamespace(ident=ident) for number, ident in enumerate((b"a", b"b", b"c"))},
        hearts={b"a": 0, b"b": 1},
        handle_new_heart=beaten.append,
        handle_stopped_heart=stopped.append,
        log=SimpleNamespace(warning=lambda *_: None),
    )
    give_up = expect_hearts(hub)
    hub.handle_new_heart(b"a")
    give_up()
    # c has left by itself meanwhile.
    assert (beaten, stopped) == ([b"a"], [b"b"])


def test_a_record_is_of_a_process_not_of_a_number(tmp_path: Path) -> None:
    """A record whose process has ended, or whose number another process has now, is of nobody."""
    pidfile.write(tmp_path, "engine-0", "digest", "uuid")
    assert pidfile.read(tmp_path, "engine-0").uuid == "uuid"
    path = tmp_path / "engine-0.json"
    path.write_text(path.read_text().replace('"started": ', '"started": 1'))
    assert pidfile.read(tmp_path, "engine-0") == pidfile.GONE
    path.write_text("{half")
    assert pidfile.read(tmp_path, "engine-0") == pidfile.GONE
    assert pidfile.read(tmp_path, "engine-1") == pidfile.GONE


@pytest.mark.parametrize(
    "content",
    [
        '{"engines": {',
        "[]",
        '{"engines": []}',
        '{"engines": {"a": 1}}',
        '{"engines": {}, "next_id": "x"}',
        "[" * 100_000,
    ],
)
def test_a_damaged_engine_table_is_dropped(tmp_path: Path, content: str) -> None:
    """A table that is not what the hub reads would keep the controller from starting."""
    table = tmp_path / "engines.json"
    table.write_text(content)
    prune(table, lambda _: True)
    assert not table.exists()
    prune(table, lambda _: True)


def test_engines_that_are_not_wanted_are_taken_out_of_the_table(tmp_path: Path) -> None:
    """Of this machine's engines those stay that have a number here; other machines' stay, and so do ids."""
    node: Any = SimpleNamespace(host="node.a", engine_ids=(0, 3))
    uuids = [made("node.a", number) for number in range(5)]
    uuids += [made("node.b", 4), "b2a3c1d0-012345678901234567890123", "node-a.4.0123456789ab"]
    table = tmp_path / "engines.json"
    engines = {str(number): uuid for number, uuid in enumerate(uuids)}
    table.write_text(json.dumps({"engines": engines, "next_id": 8, "places": [["node-a", 4, 4]]}))
    prune(table, lambda uuid: wanted(node, uuid))
    left = json.loads(table.read_text())
    assert set(left["engines"]) == {"0", "3", "5", "6"}
    assert (left["next_id"], left["places"]) == (8, [["node-a", 4, 4]])


def test_a_place_keeps_its_id(tmp_path: Path) -> None:
    """An engine gets the id its place had, however long it was away, and nobody else gets that id."""
    places = Places(tmp_path / "none")
    assert places.take(("a", 0), 0, set()) == 0
    assert places.take(("b", 0), 0, {0}) == 1
    assert places.take(("b", 1), 1, {0, 1}) == 2
    # a is away: what it had is free at the hub, but not for others.
    assert places.take(("c", 0), 0, {1, 2}) == 3
    stored = tmp_path / "engines.json"
    stored.write_text(json.dumps({"engines": {}, "next_id": 4, "places": places.rows}))
    again = Places(stored)
    assert again.take(("a", 0), 0, {1, 2, 3}) == 0
    # An engine that is none of ours may have taken it meanwhile.
    assert again.take(("b", 0), 0, {0, 1, 2, 3}) == 4
    # An engine without a place gets nobody's.
    assert [again.beside(asked, {7}) for asked in (None, 0, 2, 7, 6, -1, "2")] == [8, 8, 8, 8, 6, 8, 8]
    stored.write_text("damaged")
    assert Places(stored).beside(None, ()) == 0
    assert Places(stored).rows == []


@pytest.mark.parametrize("monitor", ["PromptMonitor", "HeartMonitor"])
def test_a_new_heart_waits_for_no_beat(tmp_path: Path, monitor: str) -> None:
    """A heart that connects after a beat is told to the hub before the next; by ipyparallel it is not."""
    code = f"""
import multiprocessing
import zmq
from ipyparallel.controller import heartmonitor
from ipyparallel.controller.heartmonitor import HeartMonitor
from traitlets.config import Config
from cncp.serve.heartbeat import PromptMonitor
heartmonitor.HeartMonitor = {monitor}
ping, pong, told = (f"ipc://{tmp_path}/{{name}}" for name in ("ping", "pong", "told"))
hub = zmq.Context.instance().socket(zmq.SUB)
hub.subscribe(b"")
hub.bind(told)
multiprocessing.get_context("fork").Process(
    target=heartmonitor.start_heartmonitor,
    kwargs=dict(ping_url=ping, pong_url=pong, monitor_url=told, config=Config(HeartMonitor=dict(period=2000))),
    daemon=True,
).start()
beat = zmq.Context.instance().socket(zmq.SUB)
beat.subscribe(b"")
beat.connect(ping)
# A socket learns of peers when it is asked. The newcomer comes just after a beat: the next is 2 s away.
while not (beat.poll(0) and float(first := beat.recv())):
    hub.poll(10)
heartmonitor.Heart(ping, pong, heart_id=b"newcomer").start()
while b"newcomer" not in hub.recv_multipart()[-1]:
    pass
beats = set()
while beat.poll(0):
    beats.add(beat.recv())
print(len(beats - {{first}}))
"""
    beats = int(python(code))
    assert (beats == 0) == (monitor == "PromptMonitor")


def test_queues_are_awaited() -> None:
    """An engine's heart waits until every queue has its connection, for each of its sockets."""
    context = zmq.Context()
    try:
        held, late, never = (context.socket(kind) for kind in (zmq.ROUTER, zmq.SUB, zmq.ROUTER))
        ports = [socket.bind_to_random_port("tcp://127.0.0.1") for socket in (held, late, never)]
        late.unbind(f"tcp://127.0.0.1:{ports[1]}")
        never.unbind(f"tcp://127.0.0.1:{ports[2]}")

        def queues_at(*ports: int) -> Queues:
            queues, shell, output = Queues(), context.socket(zmq.ROUTER), context.socket(zmq.PUB)
            connect = queues.watched(lambda socket, port: socket.connect(f"tcp://127.0.0.1:{port}"))
            for socket, port in zip((shell, shell, output), ports, strict=True):
                connect(socket, port)
            return queues

        assert not queues_at(ports[0], ports[2], ports[1]).wait(0.2)
        patient = queues_at(ports[0], ports[0], ports[1])
        late.bind(f"tcp://127.0.0.1:{ports[1]}")
        assert patient.wait(30)
    finally:
        context.destroy(linger=0)


class Table:
    """What of ipyparallel's hub its registration is made of."""

    def __init__(self, file: Path) -> None:
        from ipyparallel.controller import hub

        upstream: Any = hub.Hub
        self.engine_state_file = str(file)
        self._idcounter = 0
        self.engines: dict[int, Any] = {}
        self.queues: dict[int, list[str]] = {}
        self.incoming_registrations: dict[bytes, Any] = {}
        self.pending: set[str] = set()
        self.all_completed: set[str] = set()
        self.ended: list[tuple[str, str]] = []
        self.db = SimpleNamespace(update_record=lambda task, record: self.ended.append((task, record["engine_uuid"])))
        self.log = SimpleNamespace(warning=lambda *_: None, error=lambda *_: None)
        self.query_handlers: dict[str, Any] = {
            "registration_request": self.register,
            "unregistration_request": self.leave,
        }
        self.unregister_engine = self.leave
        self.new_engine_id: Any = lambda asked: upstream.new_engine_id(self, asked)
        self.later: list[Any] = []
        self._handle_stranded_msgs: Any = None

    def register(self, _: object, message: dict[str, Any]) -> int:
        """Register at once: hearts are another matter."""
        number = self.new_engine_id(message["content"].get("id"))
        self.engines[number] = SimpleNamespace(uuid=message["content"]["uuid"], id=number, ident=b"")
        self.queues[number] = []
        return int(number)

    def leave(self, _: object, message: dict[str, Any]) -> None:
        """Unregister, and look at its tasks later, as the hub does."""
        number = message["content"]["id"]
        uuid = self.engines.pop(number).uuid
        self.later.append(lambda: self._handle_stranded_msgs(number, uuid))


_PROCESSES = itertools.count()


def made(host: str, number: int) -> str:
    """Return the uuid of an engine, each time another's."""
    return uuid_of(host, number, next(_PROCESSES))


def registered(hub: Table, uuid: str, asked: int | None = None) -> int:
    """Have an engine register as it does, and return its id."""
    return int(hub.query_handlers["registration_request"]([], {"content": {"uuid": uuid, "id": asked}}))


def test_engines_that_others_start_take_nobody_s_id(tmp_path: Path) -> None:
    """Asked for or counted, an id of ours goes to none of them: not after restarts, nor while ours is away."""
    file = tmp_path / "engines.json"
    uuid = made("a", 0)
    for life in range(3):
        hub, places = Table(file), Places(file)
        guard(hub, places)
        if life < 2:
            assert registered(hub, uuid, 0) == 0
        guest = registered(hub, f"guest-{life}", 0)
        assert guest > 0
        assert registered(hub, "another") not in (0, guest)
        # While the hub reads its table it counts from 0, and writes it.
        hub._idcounter = 0
        save_engines(hub, places)
        assert json.loads(file.read_text())["next_id"] > guest
    assert registered(hub, made("a", 0), 0) == 0


def test_a_former_controller_knows_whose_the_ids_are(tmp_path: Path) -> None:
    """The table names our engines as versions before 0.1 did; this version finds their own uuids in it again."""
    file = tmp_path / "engines.json"
    hub, places = Table(file), Places(file)
    guard(hub, places)
    uuid = made("node-a", 0)
    assert (registered(hub, uuid, 0), registered(hub, "guest_0")) == (0, 1)
    save_engines(hub, places)
    former = json.loads(file.read_text())["engines"]
    assert re.fullmatch(r"node-a\.0\.[0-9a-f]{12}", former["0"])
    assert former["1"] == "guest_0"
    prune(file, lambda _: True)
    assert json.loads(file.read_text())["engines"] == {"0": uuid, "1": "guest_0"}


def test_a_controller_that_is_told_to_stop_has_not_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is told so while it looks after its children, whose ports then are closed."""
    app: Any = controller.Controller()
    for name in ("_flush", "terminate_children"):
        monkeypatch.setattr(controller.Controller, name, lambda _: None)
    monkeypatch.setattr(controller.Controller, "_processes", lambda _: [])
    monkeypatch.setattr(controller.Controller, "_ports", lambda _: {1})
    monkeypatch.setattr(IPController, "handle_signal", lambda *_: None)
    monkeypatch.setattr(logging, "shutdown", lambda *_: None)
    monkeypatch.setattr(os, "_exit", sys.exit)
    monkeypatch.setattr(controller, "listening", lambda _: set())
    with pytest.raises(SystemExit, match="70"):
        app._check()
    monkeypatch.setattr(controller, "listening", lambda _: app.handle_signal(15, None) or set())
    app._check()


def test_a_lost_engine_s_tasks_end_with_it(tmp_path: Path) -> None:
    """They are known to be lost at once, and those of the engine that has its id then are not."""
    hub, places = Table(tmp_path / "engines.json"), Places(tmp_path / "none")
    guard(hub, places)
    former, later = made("a", 0), made("a", 0)
    assert registered(hub, former, 0) == 0
    hub.queues[0] = ["done", "lost"]
    hub.pending = {"lost", "other"}
    assert registered(hub, later, 0) == 0
    assert hub.ended == [("lost", former)]
    hub.queues[0] = ["other"]
    for callback in hub.later:
        callback()
    assert hub.ended == [("lost", former)]
    assert hub.queues[0] == ["other"]
    assert hub.pending == {"other"}


def test_a_late_goodbye_ends_nobody_else(tmp_path: Path) -> None:
    """What an engine says, or what is said of it, is of its uuid; of the id alone it is the hub's own word."""
    hub = Table(tmp_path / "engines.json")
    guard(hub, Places(tmp_path / "none"))
    uuid = made("a", 0)
    registered(hub, uuid, 0)
    leave = hub.query_handlers["unregistration_request"]
    leave([], {"content": {"id": 0, "uuid": "former"}})
    assert list(hub.engines) == [0]
    leave([], {"content": {"id": 0, "uuid": uuid}})
    assert not hub.engines
