"""A command line of cncp is one verb and its own words; what else is said is refused, with what was meant."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
from invoke.config import Config
from invoke.context import Context
from invoke.exceptions import Exit

from cncp.config.settings import parse
from cncp.errors import UsageError
from cncp.tasks import guide, helptext, line
from cncp.tasks.program import answer, run
from cncp.tasks.task import SWITCHES, command
from cncp.tasks.verbs import task

from ..refusal import cncp_refused

NOT_OURS = [
    "-R",
    "--dry",
    "-e",
    "--echo",
    "-d",
    "-w",
    "--warn-only",
    "-p",
    "--pty",
    "-T 5",
    "--command-timeout=5",
    "-f x.yaml",
    "--config=x.yaml",
    "--hide=both",
    "--prompt-for-sudo-password",
    "--write-pyc",
    "-c tasks",
    "--collection=tasks",
    "-r .",
    "--search-root=.",
    "--no-dedupe",
    "-D 1",
    "-F json",
]
"""Options of Invoke's own, which would do nothing to our verbs."""

VERBS = sorted(guide.VERBS)


def refusal(words: list[str]) -> UsageError:
    """Return how a command line is refused."""
    with pytest.raises(UsageError) as caught:
        run(words)
    return caught.value


@pytest.mark.parametrize("option", NOT_OURS)
@pytest.mark.parametrize("order", ["{} down", "down {}", "status {}"])
def test_options_that_would_do_nothing_are_refused(option: str, order: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the verb or after it; `down` is not done."""
    assert answer(order.format(option).split()) == 2
    said = capsys.readouterr().err.splitlines()
    assert [text.partition(":")[0] for text in said] == ["error", "hint"]
    assert option.partition(" ")[0].partition("=")[0] in said[0]


@pytest.mark.parametrize("words", ["--dry down", "up --dry-run", "-n up", "scale 2 --dry"])
def test_a_trial_run_is_plan(words: str) -> None:
    """Who wants to see first what would be done is told how."""
    assert "cncp plan" in refusal(words.split()).hint


@pytest.mark.parametrize("first", VERBS)
@pytest.mark.parametrize("second", ["down", "uninstall"])
def test_verbs_do_not_chain(first: str, second: str) -> None:
    """A second verb is another one's argument, or is refused with what it would have done; it is never done."""
    verb = task(first)
    if verb.verbatim or verb.takes or line.required(line.context(first, verb), verb):
        return
    error = refusal([first, second])
    assert f"cncp {second} would {guide.VERBS[second].brief}" in error.message
    assert "one verb a command line" in error.hint


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("stauts", "cncp status?"),
        ("unistall", "cncp uninstall?"),
        ("key.copy", "cncp keys.copy?"),
        ("keys copy", "cncp keys.copy?"),
        ("hosts", "hosts.run"),
        ("up --thread 2", "--threads 2?"),
        ("plan --service_manager tmux", "--service-manager tmux?"),
        ("logs --folow", "--follow?"),
        ("logs -f", "--follow?"),
        ("status --jsn", "--json?"),
        ("remove", "cncp uninstall"),
        ("delete", "cncp uninstall"),
        ("top", "cncp status"),
        ("dashboard", "cncp status"),
        ("scale", "cncp scale 4"),
        ("status -- x", "cncp status --help"),
        ("logs --lines few", "cncp logs --help"),
        ("logs --lines", "cncp logs --help"),
        ("status --json=yes", "--json alone"),
        ("--quiet up", "the verb comes first"),
        ("frobnicate", "cncp --list"),
        ("--list frob", "cncp --list"),
        ("--print-completion-script ksh", "bash, fish, zsh"),
        ("--print-completion-script=ksh", "bash, fish, zsh"),
    ],
)
def test_what_was_meant_is_said(words: str, hint: str) -> None:
    """A misspelt verb, option or value, and what other programs call our verbs."""
    assert hint in refusal(words.split()).hint


@pytest.mark.parametrize(
    ("key", "value", "hint"), [("engine", "4", "did you mean --engines 4?"), ("engine", "chef", "write converge")]
)
def test_a_value_of_another_setting(key: str, value: str, hint: str) -> None:
    """A value that is none of this setting, but of one that is nearly called so."""
    with pytest.raises(UsageError) as caught:
        parse(key, value, "here")
    assert hint in caught.value.hint
    assert ("did you mean" in caught.value.hint) is (value == "4")


def test_the_same_by_another_name() -> None:
    """The commonest other names of verbs do what is meant."""
    names = {"start": "up", "stop": "down", "ps": "status", "ls": "status", "log": "logs"}
    assert {alias: line.verb_of(alias) for alias in names} == names


def test_words_without_options() -> None:
    """Services and hosts are named as words or by their option, several with commas; the last of two options counts."""
    logs = task("logs")
    for words in ("engine-0 engine-1", "--name engine-0,engine-1", "--name=x engine-0,engine-1"):
        assert line.read("logs", logs, words.split())["name"] == "engine-0,engine-1"
    assert line.read("logs", logs, ["--lines=3", "--lines", "4"])["lines"] == 4
    assert line.read("scale", task("scale"), ["-1", "--force"])["count"] == "-1"
    assert line.read("keys.copy", task("keys.copy"), ["node7", "--as", "work"])["as_"] == "work"


def test_nothing_is_read_of_invoke_s_own_settings(home: Path) -> None:
    """A file of Invoke's that is broken, and variables of it that make no sense, are nothing to us."""
    (home / ".invoke.yaml").write_text("{")
    said = cncp_refused(home, ["status"], 1, INVOKE_RUNTIME_CONFIG="/nonexistent", INVOKE_RUN_ECHO="?")
    assert "there is no cluster" in said


def test_the_help_fits_a_screen() -> None:
    """Some 30 lines of 80 columns, every group that is for users, nothing for developers, nothing of Invoke's."""
    text = helptext.overview()
    lines = text.splitlines()
    assert len(lines) <= 32
    assert max(map(len, lines)) <= 80
    for title, group in guide.GROUPS.items():
        assert (title in text) is not group.hidden
        assert all((name in text) is not group.hidden for name in group.verbs)
    assert not re.search("task|Docstring|core-opts", text)


def test_every_verb_has_its_place() -> None:
    """The table has all verbs there are, each with an example or two. New verbs go into tasks/guide.py."""
    from cncp.tasks import collection

    there = {next(iter(others), name) for name, others in collection().task_names.items()}
    assert there == set(guide.VERBS)
    assert set(guide.ALIASES.values()) <= set(guide.VERBS)
    assert not {*guide.ALIASES, *guide.ELSEWHERE} & set(guide.VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_a_verb(name: str) -> None:
    """Its usage, its options with their choices, examples that are command lines of it; nothing of Invoke's."""
    verb = task(name)
    text = helptext.of_verb(name)
    assert text.startswith(f"usage: cncp {name}")
    assert not re.search("STRING|INT$|Docstring|core-opts|other tasks", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80
    assert all(flag in text for flag in line.context(name, verb).flags) or line.required(line.context(name, verb), verb)
    for example in guide.VERBS[name].examples:
        assert example in text
        program, first, *words = shlex.split(example)
        assert program == "cncp"
        assert line.verb_of(first) == name
        line.read(name, verb, ["--", *words] if verb.verbatim else words)


def test_help_by_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    """`cncp`, `help`, `--help` and `-h`, before a verb and after it, show the same."""
    said = []
    for words in ([], ["help"], ["--help"], ["-h"]):
        assert answer(words) == 0
        said.append(capsys.readouterr().out)
    for words in (["help", "logs"], ["--help", "log"], ["logs", "--help"], ["logs", "engine-0", "-h"]):
        assert answer(words) == 0
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 2


def test_the_version_says_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours, Python's, ipyparallel's, where the code is, and what keeps the cluster running."""
    assert answer(["--version"]) == answer(["version"]) == 0
    said = capsys.readouterr().out
    assert [text.split()[0] for text in said.splitlines()[:5]] == ["cncp", "Python", "ipyparallel", "code:", "service"]


@pytest.mark.parametrize("name", VERBS)
def test_switches_are_variables_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CNCP_JSON, CNCP_QUIET and CNCP_FORGET count with every verb that has the option; what is no switch is refused."""
    seen: dict[str, object] = {}
    given = {argument.name: None for argument in line.context(name, task(name)).args.values()}
    mine = [option for option in SWITCHES if option in given]

    def body(context: object, **named: object) -> None:
        seen.update(named)

    body.__signature__ = inspect.signature(task(name).body)  # type: ignore[attr-defined]
    verb = command()(body)
    for value, meant in (("true", True), ("0", False), ("", False)):
        for option in SWITCHES:
            monkeypatch.setenv(SWITCHES[option], value)
        verb(Context(Config(lazy=True)), **dict.fromkeys(mine, False))
        assert {option: seen[option] for option in mine} == dict.fromkeys(mine, meant)
        verb(Context(Config(lazy=True)), **dict.fromkeys(mine, True))
        assert {option: seen[option] for option in mine} == dict.fromkeys(mine, True)
    for option in mine:
        monkeypatch.setenv(SWITCHES[option], "maybe")
        with pytest.raises(Exit) as caught:
            verb(Context(Config(lazy=True)), **dict.fromkeys(mine, False))
        assert caught.value.code == 2
        monkeypatch.delenv(SWITCHES[option])


@pytest.mark.parametrize("words", ["--python 3.12", "--python=3.12", "--offline x.tar", "--install-only"])
def test_options_of_the_installation_are_the_script_s(words: str) -> None:
    """Which Python and from where is said to baremetal.sh, and which one that is."""
    hint = refusal(["up", *words.split()]).hint
    assert re.search(r"bash \S+/baremetal\.sh " + words.replace("=", " ") + "$", hint), hint
