"""The prompt in an engine, as far as it can be held without one."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from cncp.errors import UsageError
from cncp.machine import prompt


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
    assert prompt.finished(TransformerManager().check_complete, lines) is whole  # type: ignore[no-untyped-call]


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
    prompt.run(view, "cell", out, lambda: stopped.append(True))
    assert out.getvalue() == "ablast<Figure>\nHelp\n42\n"
    assert stopped == [True]


@pytest.mark.parametrize("name", ["", "controller", "engine-", "engine-x", "engine-1/2", "0", "engine--1"])
def test_only_engines_have_a_prompt(name: str) -> None:
    """Other names are refused before the controller is asked."""
    with pytest.raises(UsageError):
        prompt.find(SimpleNamespace(host="here"), name)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["exit", "quit", "exit()", " quit ( ) ;"])
def test_leaving_does_not_end_the_engine(text: str) -> None:
    """The words that would end a kernel end the prompt."""
    assert prompt._LEAVING.fullmatch(text)
    assert not prompt._LEAVING.fullmatch("exit_code")
