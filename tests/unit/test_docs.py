"""The documents are built without a warning, and what is made of the code's tables is all there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cncp import errors
from cncp.config.settings import SETTINGS
from cncp.config.sources import SOURCE
from cncp.config.variables import OTHER_VARIABLES, VM_VARIABLES
from cncp.tasks import guide, helptext


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where documents are built; what was read for one form is not read again for the next."""
    return tmp_path_factory.mktemp("docs")


def built(builder: str, folder: Path) -> Path:
    """Build the documents as `bash tests/run` does; return where they are."""
    words: list[str | Path] = ["-W", "--keep-going", "-n", "-q", "-b", builder]
    folders: list[str | Path] = ["-d", folder / "trees", SOURCE / "docs", folder / builder]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, *folders], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / builder


def squeezed(text: str) -> str:
    """Return text without its line breaks and marks."""
    return " ".join(text.replace('"', "").split())


def test_the_reference_is_whole(folder: Path) -> None:
    """Every setting, verb, option, example, variable and exit code of the code is in it."""
    pages = built("text", folder) / "reference"
    text = {path.stem: squeezed(path.read_text(encoding="utf-8")) for path in pages.glob("*.txt")}
    for setting in SETTINGS:
        assert f"{setting.key} {setting.help} {setting.values}; without, " in text["settings"]
        assert f"Option {setting.flag}, variable {setting.variable}." in text["settings"]
    for verb in guide.VERBS:
        said = helptext.about(verb)
        assert squeezed(f"{said.usage} {said.text}") in text["verbs"]
        for option, meaning in said.options.items():
            assert option in said.settings or squeezed(f"{option} {meaning}") in text["verbs"]
        assert all(f"$ {example}" in text["verbs"] for example in said.examples)
    for variable, meaning in {**OTHER_VARIABLES, **VM_VARIABLES}.items():
        assert f"{variable} {meaning}" in text["variables"]
    for code in (0, errors.FAILED, errors.USAGE, errors.SOME_HOSTS, errors.PREFLIGHT, errors.WOULD_CHANGE):
        assert f" {code} " in text["exit-codes"]


def test_the_man_page(folder: Path) -> None:
    """The reference is also a page that man shows."""
    page = built("man", folder) / "cncp.1"
    assert page.read_text(encoding="utf-8").startswith('.\\" Man page generated from reStructuredText')
    if shutil.which("man") is None:
        pytest.skip("there is no man")
    shown = subprocess.run(
        ["man", "--local-file", "--warnings=w", page],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "MANWIDTH": "100", "PATH": "/usr/bin:/bin"},
    )
    assert "cncp - IPython Parallel clusters" in shown.stdout
    for heading in ("VERBS", "SETTINGS", "ENVIRONMENT VARIABLES", "EXIT CODES"):
        assert f"\n{heading}\n" in shown.stdout
    assert "are named as cncp status shows them" in squeezed(shown.stdout)
    assert shown.stderr == ""
