"""What is set around us reaches a program that we start only where it says where things come from."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cncp import surroundings
from cncp.errors import CncpError
from cncp.install import environment, http, packages
from cncp.process import CommandError, Completed, error_line, run
from tests.unit.source import nodes

CODE = Path(__file__).resolve().parents[3] / "bootstrap" / "cncp"

HOSTILE = {
    "python3": ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONSAFEPATH", "PYTHONNOUSERSITE", "VIRTUALENV_CLEAR"],
    "/h/tools/bin/uv": [
        *("UV_EXCLUDE_NEWER", "UV_OFFLINE", "UV_CACHE_DIR", "UV_OVERRIDE", "UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"),
        *(
            "UV_RESOLUTION",
            "UV_PRERELEASE",
            "UV_NO_BINARY",
            "UV_CONFIG_FILE",
            "UV_LINK_MODE",
            "VIRTUAL_ENV",
            "PIP_USER",
        ),
    ],
    "git": ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG", "GIT_TRACE", "GIT_TEMPLATE_DIR"],
    "tar": ["TAR_OPTIONS"],
    "tmux": ["TMUX", "TMUX_TMPDIR"],
    "screen": ["SCREENDIR", "SCREENRC"],
    "sh": ["BASH_ENV", "ENV", "CDPATH", "POSIXLY_CORRECT", "GREP_OPTIONS", "BASH_FUNC_cd%%"],
}

MEANT = {
    "python3": ["PATH", "LANG", "HOME", "https_proxy", "SSL_CERT_FILE", "CNCP_HOME"],
    "uv": [
        "UV_INDEX",
        "UV_DEFAULT_INDEX",
        "UV_INDEX_OURS_PASSWORD",
        "UV_INDEX_URL",
        "UV_KEYRING_PROVIDER",
        "HTTPS_PROXY",
    ],
    "git": ["GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "SSH_AUTH_SOCK"],
    "tmux": ["TERM", "PATH"],
    "ssh": ["SSH_AUTH_SOCK", "PYTHONPATH"],
}


@pytest.mark.parametrize("program", HOSTILE)
def test_what_does_not_count(program: str) -> None:
    """No setting for the user's own use of a program reaches it, started directly or through another."""
    around = dict.fromkeys(HOSTILE[program], "x")
    assert surroundings.without([program, "--version"], around) == {}
    assert surroundings.without(["sudo", "-n", "env", "A=b", program], around) == {}


@pytest.mark.parametrize("program", MEANT)
def test_what_counts(program: str) -> None:
    """Where things come from, and what is for every program, stays."""
    around = dict.fromkeys(MEANT[program], "x")
    assert surroundings.without([program], around) == around


def test_nothing_is_started_without_asking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The one caller of programs leaves out what does not count; what we say ourselves stays."""
    (tmp_path / "json.py").write_text("raise SystemExit('not the one of Python')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    shown = run([sys.executable, "-c", "import json, os; print(os.environ.get('PYTHONPATH'))"]).stdout
    assert shown == "None\n"
    assert (
        run([sys.executable, "-c", "import os; print(os.environ['PYTHONPATH'])"], env={"PYTHONPATH": "a"}).stdout
        == "a\n"
    )


def test_every_python_of_ours_is_isolated() -> None:
    """Wherever a module or a line of Python is run by a command line of ours, PYTHON stands before it."""
    wrong = []
    for path in CODE.rglob("*.py"):
        for node in nodes(path):
            if not isinstance(node, (ast.List, ast.Tuple)):
                continue
            words = [ast.unparse(word) for word in node.elts]
            for flag in ("'-m'", "'-c'"):
                if flag not in words or not any("python" in word.lower() or "executable" in word for word in words):
                    continue
                before = words[: words.index(flag)]
                if before[-1:] != ["'sh'"] and not {"*PYTHON", "*_PYTHON", "'-I'", "*here()"} & set(before):
                    wrong.append(f"{path.name}:{node.lineno}: {' '.join(words)}")
    # Its PYTHONPATH is the checkout that it runs from, and nothing else.
    assert [line for line in wrong if not line.startswith("background.py")] == []


def test_a_folder_of_any_name_is_found_in_any_locale(tmp_path: Path) -> None:
    """What tells the virtualenv where the code is can be read in a locale that has no such characters."""
    folder = tmp_path / "ñ 'x' \\ \udce9"
    folder.mkdir()
    (folder / "found_it.py").touch()
    site = tmp_path / "site"
    site.mkdir()
    (site / "cncp.pth").write_bytes(environment._on_path(folder))
    code = "import site, sys; site.addsitedir(sys.argv[1]); import found_it"
    for locale in ("C", "C.UTF-8", "en_US.ISO-8859-1"):
        argv = [sys.executable, *surroundings.PYTHON, "-c", code, str(site)]
        done = subprocess.run(argv, env={"LC_ALL": locale}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (locale, done.stderr)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("Error: The minimum number of file descriptors\nFor help, use supervisord.py -h\n", "Error: The minimum"),
        ("warning: x\nfatal: not a repository\nhint: y\n", "fatal: not a repository"),
        ("[2026-11-25T10:00:00] FATAL: Chef failed\nlibarchive is old\n", "[2026-11-25T10:00:00] FATAL: Chef"),
        ("git: error: no such option\nusage: git\n", "git: error: no such option"),
        ("E: Unable to locate package\nmore\n", "E: Unable to locate"),
        ("Traceback (most recent call last):\n  x\nModuleNotFoundError: No module named 'a'\n", "ModuleNotFoundError"),
        ("one\ntwo\n", "two"),
        ("", ""),
    ],
)
def test_a_program_is_quoted_by_its_error(said: str, line: str) -> None:
    """The line that tells the error is shown, not whatever the program said last."""
    assert error_line(said).startswith(line)
    assert error_line(said, "out\n") or not said
    assert line in CommandError(Completed(("x",), 1, said.encode(), "")).message if not said else True
    assert line in CommandError(Completed(("x",), 1, b"", said)).message


@pytest.mark.parametrize(
    ("said", "network"),
    [
        ("error: Failed to fetch: `http://a/`\n  Caused by: error sending request", True),
        ("ERROR: Could not find a version ... HTTPConnectionPool: Max retries exceeded", True),
        ("  x No solution found when resolving dependencies:\n  there is no version of asttokens==3.0.2", False),
        ("error: Failed to initialize cache at `/nonexistent/x`", False),
    ],
)
def test_the_network_is_blamed_only_where_nothing_was_reached(said: str, network: bool) -> None:
    """The hint is about the network where uv or pip reached nobody, and about what it is in all other cases."""
    assert http.unreachable(said) is network


def test_uv_that_fails_by_itself(tmp_path: Path) -> None:
    """A uv that crashes is told from a lock that cannot be had: pip may do the work."""
    target = packages.Packages(tmp_path, (), None, None, packages.Sources({}, {}, None))  # type: ignore[arg-type]
    for status, said, kind in (
        (2, "error: cache", True),
        (-4, "", True),
        (1, "No solution", False),
        (2, "timed out", False),
    ):
        result = Completed(("/k/bin/uv", "pip"), status, b"", said)

        def fail(result: Completed = result) -> None:
            raise CommandError(result)

        with pytest.raises(CncpError) as caught:
            target._carefully(fail)
        assert isinstance(caught.value, packages.Broken) is kind
        assert ("network" in caught.value.hint) is ("timed out" in said)


def test_what_a_virtualenv_has_lost(tmp_path: Path) -> None:
    """A package whose folder is gone is missed, however whole the rest looks."""
    folder = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("zmq", "zmq-1.dist-info"):
        (folder / name).mkdir(parents=True)
    (folder / "zmq-1.dist-info" / "RECORD").write_text("zmq/a.py,,\nzmq-1.dist-info/RECORD,,\n../../../bin/x,,\n")
    assert environment.lacking(tmp_path) == []
    os.rmdir(folder / "zmq")
    assert environment.lacking(tmp_path) == ["zmq"]
    assert environment.lacking(tmp_path / "nowhere") != []
