"""What runs inside the services, as far as it can be held without a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from cncp.serve import record
from cncp.serve.controller import discard_damaged, replace_predecessor
from cncp.serve.hearts import expect_hearts
from cncp.serve.places import Places
from cncp.serve.queues import Queues
from cncp.serve.slots import slot, uuid_of

CODE = Path(__file__).resolve().parents[2] / "bootstrap"


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
    record.write(tmp_path, "engine-0", "digest", "uuid")
    assert record.read(tmp_path, "engine-0").uuid == "uuid"
    path = tmp_path / "engine-0.json"
    path.write_text(path.read_text().replace('"started": ', '"started": 1'))
    assert record.read(tmp_path, "engine-0") == record.GONE
    path.write_text("{half")
    assert record.read(tmp_path, "engine-0") == record.GONE
    assert record.read(tmp_path, "engine-1") == record.GONE


def test_a_damaged_engine_table_is_dropped(tmp_path: Path) -> None:
    """A table cut off in writing would keep the controller from starting."""
    table = tmp_path / "engines.json"
    table.write_text('{"engines": {')
    discard_damaged(table)
    assert not table.exists()
    table.write_text('{"engines": {}}')
    discard_damaged(table)
    assert table.exists()
    discard_damaged(tmp_path / "none")


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
    stored.write_text("damaged")
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
from cncp.serve.hearts import PromptMonitor
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
        ports = [one.bind_to_random_port("tcp://127.0.0.1") for one in (held, late, never)]
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
