"""The one name by which hosts, units, Chef and the profile's files reach this code, and the version it answers in."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from cncp import remote
from cncp.fleet.deploy import failure
from cncp.ssh import answers
from cncp.ssh.host_errors import HostError

CODE = Path(remote.__file__).parents[1]
ANOTHER = "its cncp is of another version than the one here"


def asked(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb as a host does."""
    argv = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(CODE)!r}); from cncp import remote; remote.main()",
    ]
    return subprocess.run([*argv, *words], input="[]", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", [verb for verb in remote.VERBS if verb != "serve"])
def test_every_verb_has_its_program(verb: str) -> None:
    """Or a move of modules would be found out on a host."""
    assert callable(importlib.import_module(remote.VERBS[verb].module).main)


def test_services_have_theirs() -> None:
    """Importing it begins a service, so it is looked for alone."""
    assert importlib.util.find_spec(remote.VERBS["serve"].module)


def test_classes_of_the_profile_are_found() -> None:
    """By the names in cluster-.json and ipcluster_config.py."""
    assert remote.Running.__name__ == "Running"
    assert remote.Launcher.__name__ == "Launcher"
    with pytest.raises(AttributeError):
        remote.Other  # noqa: B018  # looking is the test


def test_an_answer_begins_with_its_version() -> None:
    """Whatever the verb says then."""
    done = asked("cncp", "--version")
    assert done.stdout.startswith(f"{remote.GREETING} {remote.PROTOCOL}\n")
    assert answers.of_remote("far", done.stdout.encode()).startswith(b"cncp ")


def test_what_is_no_verb_is_refused() -> None:
    """With a line of what is wrong, and one of what there is."""
    for words in ((), ("dance",)):
        done = asked(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "hint: it has chef, cidcapt, cncp" in done.stderr


@pytest.mark.parametrize("raw", [b"", b"{}", b"cncp.remote 2\n{}", b"x cncp.remote 1\n{}", b"cncp.remote \n{}"])
def test_another_version_is_never_misread(raw: bytes) -> None:
    """Its answer may look like ours."""
    with pytest.raises(HostError, match=ANOTHER):
        answers.of_remote("far", raw)


def test_what_comes_before_an_answer_is_left_out() -> None:
    """A login file may print, and a program that has begun anew has said its version twice."""
    assert answers.of_remote("far", b'hello\ncncp.remote 1\ncncp.remote 1\n{"a": 1}\n') == b'{"a": 1}\n'


def test_a_host_from_before_this_name_is_of_another_version() -> None:
    """Its Python says so."""
    assert ANOTHER in str(failure("far", "/v/bin/python: No module named cncp.remote\n", 1))
