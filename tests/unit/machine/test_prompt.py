"""The prompt in an engine, as far as it can be held without one."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from cncp.errors import CncpError, UsageError
from cncp.ipp.engine_uuid import uuid_of
from cncp.ipp.hub import Said, Task
from cncp.machine.ops import repl
from cncp.machine.ops.interrupt import interrupt


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        (["1 + 1"], True),
        (["for x in y:"], False),
        (["for x in y:", "    print(x)"], False),
        (["for x in y:", "    print(x)", ""], True),
        (["f(1,"], False),
        (["f(1,", "2)"], True),
        (["1 +"], True),
        (["%time x"], True),
    ],
)
def test_a_cell_ends_where_python_wants_no_more(lines: list[str], whole: bool) -> None:
    """Blocks go on to an empty line, brackets to their end; an error is sent and answered."""
    assert repl.finished(TransformerManager().check_complete, lines) is whole  # type: ignore[no-untyped-call]


class Result:
    """A cell that writes in three steps and is interrupted once."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {"stdout": "", "stderr": "", "outputs": []}
        self.steps = iter(["a", KeyboardInterrupt, "b"])

    def wait(self, _timeout: float) -> bool:
        step = next(self.steps, None)
        if step is KeyboardInterrupt:
            raise KeyboardInterrupt
        self.metadata["stdout"] += step or ""
        return step is None

    def wait_for_output(self, _timeout: float) -> None:
        self.metadata["stderr"] = "last"
        self.metadata["outputs"].append({"data": {"text/plain": "<Figure>"}})

    def get(self) -> Any:
        return SimpleNamespace(data={"text/plain": "42"}, _content={"payload": [{"data": {"text/plain": "Help"}}]})


def test_output_comes_once_and_in_order() -> None:
    """What is written while the cell runs is shown then, and not again at its end; Ctrl-C goes to the engine."""
    out, stopped = io.StringIO(), []
    view = SimpleNamespace(execute=lambda *_, **__: Result())

    def stop() -> str:
        stopped.append(True)
        return ""

    engine: Any = SimpleNamespace(busy=lambda: "busy with another's\n", interrupt=stop)
    repl.run(view, "cell", out, engine)
    assert out.getvalue() == "ablast<Figure>\nHelp\n42\n"
    assert stopped == [True]


@pytest.mark.parametrize("name", ["", "controller", "engine-", "engine-x", "engine-1/", "x0", "engine--1"])
def test_only_engines_have_a_prompt(name: str) -> None:
    """Other names are refused before the controller is asked."""
    with pytest.raises(UsageError):
        repl.find(SimpleNamespace(host="here"), name)  # type: ignore[arg-type]


class Hub:
    """A hub with engines of two machines and one that somebody started; the second of this one is busy."""

    silent: tuple[str, ...] = ()

    def __init__(self, *_: object) -> None:
        self.engines_by_id = {0: uuid_of("here", 0, 1), 1: uuid_of("here", 1, 1), 2: uuid_of("there", 1, 1), 3: "own"}
        self.sent: list[str] = []

    def __enter__(self) -> Hub:  # noqa: PYI034  # no subclasses
        return self

    def __exit__(self, *_: object) -> None: ...

    def engines(self, timeout: float) -> dict[int, str]:
        """Return all."""
        return self.engines_by_id if timeout else {}

    def answering(self, idents: list[str], _: float) -> dict[str, Said]:
        """Say of one that it is busy."""
        return {ident: Said(Task(200.0, "s", "ada") if ident == self.engines_by_id[1] else None) for ident in idents}

    def signal(self, idents: list[str], number: int) -> dict[str, Said]:
        """Answer for all but those that are silent."""
        assert number == 2
        return {ident: Said(status="ok") for ident in idents if ident not in self.silent}


FILE: Any = None


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a node whose controller answers as Hub does."""
    monkeypatch.setattr("cncp.machine.ops.interrupt.Hub", Hub)
    monkeypatch.setattr("cncp.machine.ops.repl.Hub", Hub)
    monkeypatch.setattr("cncp.machine.ops.repl.client_file", lambda _: {})
    return SimpleNamespace(host="here")


@pytest.mark.parametrize(
    ("names", "everyone", "done"),
    [
        ("", False, ["engine-1"]),
        ("engine-0", False, ["engine-0"]),
        ("0,there/engine-1", False, ["engine-0", "there/engine-1"]),
        ("id 3", False, ["id 3"]),
        ("", True, ["engine-0", "engine-1", "there/engine-1", "id 3"]),
    ],
)
def test_engines_are_interrupted_by_name(cluster: Any, names: str, everyone: bool, done: list[str]) -> None:
    """Of whatever machine; without a name the one that is busy."""
    assert [interrupted.name for interrupted in interrupt(cluster, names, everyone=everyone)] == done


def test_what_cannot_be_interrupted_is_named(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that are not there, that do not answer, or that are not named where none or several are busy."""
    assert [interrupted.line() for interrupted in interrupt(cluster, "0,1", everyone=False)] == [
        "interrupted engine-0: was idle",
        "interrupted engine-1: its task had run for 3 min",
    ]
    with pytest.raises(CncpError, match="engine-7 is not registered"):
        interrupt(cluster, "engine-7", everyone=False)
    with pytest.raises(UsageError, match="both"):
        interrupt(cluster, "engine-1", everyone=True)
    monkeypatch.setattr(Hub, "answering", lambda *_: {})
    with pytest.raises(UsageError, match="no engine is busy"):
        interrupt(cluster, "", everyone=False)
    monkeypatch.setattr(Hub, "silent", (uuid_of("here", 1, 1),))
    with pytest.raises(CncpError, match="engine-1 did not answer"):
        interrupt(cluster, "", everyone=True)


def test_a_prompt_says_with_whose_task_its_engine_is_busy(cluster: Any) -> None:
    """With another client's, and how long; of its own nothing is said."""
    assert cluster
    uuid = uuid_of("here", 1, 1)
    assert repl.Engine(FILE, uuid, "engine-1", "s").busy() == ""
    assert repl.Engine(FILE, uuid_of("here", 0, 1), "engine-0", "other").busy() == ""
    said = repl.Engine(FILE, uuid, "engine-1", "other").busy()
    assert "engine-1 is busy for 3 min with a task of another client (ada)" in said
    assert "Ctrl-C interrupts that task" in said


@pytest.mark.parametrize("text", ["exit", "quit", "exit()", " quit ( ) ;"])
def test_leaving_does_not_end_the_engine(text: str) -> None:
    """The words that would end a kernel end the prompt."""
    assert repl._LEAVING.fullmatch(text)
    assert not repl._LEAVING.fullmatch("exit_code")
