"""A file for the controller's machine: nothing else of it changes, or it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.config import sources
from cncp.config.handed_file import handed
from cncp.errors import UsageError

LOADS = sources.toml_reader().loads
POOL = '[[pool]]\nprovider = "ec2"\nname = "controller = 3"\nenvironment = "A=1"\n'


@pytest.mark.parametrize(
    "line",
    [
        'controller = "gold1"',
        'requirements = "more.txt"',
        "environment = '@of-engines'",
        "controller='gold1' # here",
        '"controller" = "ada@gold1:22"',
        '  controller="gold1"',
        "",
    ],
)
def test_all_else_stays(tmp_path: Path, line: str) -> None:
    """Comments and spaces as well."""
    file = tmp_path / "cluster.toml"
    before, after = "# controller = 1, of old\nlisten = 'all'\n", f"\n{POOL}"
    file.write_text(f"{before}{line}\n{after}")
    text = handed(file)
    assert text == before + ("" if line else "\n") + after
    assert "controller" not in LOADS(text)


@pytest.mark.parametrize(
    "content",
    [
        f'controller = """\\\ngold1"""\n{POOL}',
        f'controller = "gold1"\nrequirements = """\nmore.txt"""\n{POOL}',
        f'text = """\ncontroller = 1\n"""\ncontroller = "gold1"\n{POOL}',
        f'"c\\u006fntroller" = "gold1"\n{POOL}',
    ],
)
def test_what_would_change_is_refused(tmp_path: Path, content: str) -> None:
    """A value of several lines, a line within a value, a name in escapes."""
    file = tmp_path / "cluster.toml"
    file.write_text(content)
    LOADS(content)
    with pytest.raises(UsageError, match="is not to read cannot be left out"):
        handed(file)
