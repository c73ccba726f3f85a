"""The machines of a cluster: what is asked of another machine's cncp, and what this one does in its own process."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest

from cncp import remote
from cncp.config.inventory import ALONE, LOCAL, HostSpec, Inventory
from cncp.console import Console
from cncp.errors import CncpError
from cncp.fleet import registry
from cncp.fleet.any_machine import Machine
from cncp.fleet.local_machine import LocalMachine
from cncp.fleet.registry import Placed
from cncp.fleet.remote_machine import RemoteMachine
from cncp.fleet.scene import Scene
from cncp.machine.ops.busy_engines import Manners
from cncp.process import Completed
from cncp.ssh.connection import Host
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import at_once

PLACED = Placed("far", "/r", "/r", {}, (), HostSpec("far"))


class Told(Host):
    """A host that notes what it is told, and answers as it was made to."""

    def __init__(self, status: int = 0, out: str = "", err: str = "") -> None:
        super().__init__(HostSpec("far"))
        self.reply = Completed((), status, out.encode(), err)
        self.words: list[list[str]] = []
        self.timeouts: list[float] = []

    def way(self, argv: Any, told: Any = None) -> Any:
        raise AssertionError(argv, told)

    def run(self, argv: Any, *, timeout: float = 60, **_: Any) -> Completed:
        module = argv.index("-m")
        self.words.append(argv[module + 1 :])
        self.timeouts.append(timeout)
        return self.reply


def console() -> Console:
    return Console(io.StringIO(), io.StringIO())


def test_another_machine_is_asked_in_words_that_older_versions_know() -> None:
    """Those that change something; what is read by us is by way of `cncp.remote`."""
    host = Told(out="did it\n")
    machine = RemoteMachine(PLACED, host, console())
    manners = Manners(60.0, force=True)
    assert machine.logs("engine-0", 3) == ["did it"]
    assert machine.scale("+1", manners, as_json=False) == ["did it"]
    assert machine.restart("", Manners()) == ["did it"]
    assert machine.down(manners) == ["did it"]
    assert machine.interrupt("0", everyone=True) == ["did it"]
    assert machine.uninstall() == ["did it"]
    assert host.words == [
        ["cncp", "logs", "--lines=3", "--name=engine-0"],
        ["cncp", "scale", "+1", "--wait=60", "--force"],
        ["cncp", "restart"],
        ["cncp", "down", "--quiet", "--wait=60", "--force"],
        ["cncp", "interrupt", "--name=0", "--all"],
        ["cncp", "uninstall"],
    ]
    assert host.timeouts[1] == host.timeouts[2] + 60
    host = Told(out=f"{remote.GREETING} {remote.PROTOCOL}\n[]")
    machine = RemoteMachine(PLACED, host, console())
    assert (machine.status(), machine.check()) == ([], [])
    assert [words[0] for words in host.words] == ["cncp.remote"] * 2


def test_another_machines_error_is_told_as_its_own() -> None:
    """With its exit code where it says that what was asked makes no sense; warnings come through."""
    said = "warning: engine-0 is busy\nerror: there is no service x\nhint: name another"
    shown = console()
    with pytest.raises(HostError, match="there is no service x") as failed:
        RemoteMachine(PLACED, Told(2, err=said), shown.of("[far] ")).restart("x", Manners())
    assert (failed.value.host, failed.value.hint, failed.value.exit_code) == ("far", "name another", 2)
    assert isinstance(shown.err, io.StringIO)
    assert shown.err.getvalue() == "warning: [far] engine-0 is busy\n"


@pytest.mark.parametrize(("status", "said"), [(1, "error: there is no cluster in /r"), (127, "env: no such file")])
def test_what_was_cut_off_is_uninstalled(status: int, said: str) -> None:
    """Where nothing of ours runs any more there is nothing to take away but the folder."""
    assert RemoteMachine(PLACED, Told(status, err=said), console()).uninstall() == []
    with pytest.raises(HostError):
        RemoteMachine(PLACED, Told(1, err="error: no"), console()).uninstall()


def test_this_machine_is_asked_in_this_process(tmp_path: Path) -> None:
    """Its errors are its own, and nothing is begun for it."""
    machine: Machine = LocalMachine("", tmp_path / "none", console())
    for ask in (machine.status, machine.check, lambda: machine.down(Manners()), machine.uninstall):
        with pytest.raises(CncpError, match="there is no cluster in"):
            ask()
    assert machine.way() == []


def test_the_work_of_this_machine_is_where_signals_come_to() -> None:
    """While others' is done, in threads; results are in the order asked for."""
    met, threads = threading.Barrier(2, timeout=10), dict[str, bool]()

    def work(name: str) -> str:
        met.wait()
        threads[name] = threading.current_thread() is threading.main_thread()
        return name

    outcome = at_once({"far": "far", LOCAL: LOCAL}, work, LOCAL)
    assert list(outcome.results) == ["far", LOCAL]
    assert threads == {"far": False, LOCAL: True}
    before = threading.active_count()
    assert at_once({LOCAL: 1}, lambda _: threading.active_count(), LOCAL).results == {LOCAL: before}


def test_hosts_that_were_never_set_up(tmp_path: Path) -> None:
    """Are no machines; a machine by itself knows of none, whatever is noted in its home."""
    inventory = Inventory((HostSpec(LOCAL), HostSpec("far"), HostSpec("new")))
    with pytest.raises(CncpError, match="nothing has been set up"):
        Scene(inventory, tmp_path, inventory.everyone, console())
    registry.save(tmp_path, {"far": PLACED})
    scene = Scene(inventory, tmp_path, inventory.everyone, console())
    assert list(scene.failures) == ["new"]
    assert [spec.name for spec in scene._crew.specs] == ["far"]
    alone = Scene(ALONE, tmp_path, ALONE.limited(""), console())
    with alone:
        assert ({name: machine.name for name, machine in alone.machines.items()}, alone.places) == ({LOCAL: ""}, {})
