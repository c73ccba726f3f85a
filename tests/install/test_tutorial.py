"""The tutorial, word for word: every command in it is typed, and says what the page says it does.

So are those of the page about everyday use, which have to succeed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .support import ROOT, Site, said

DOCS = ROOT / "docs"
TUTORIAL = (DOCS / "tutorial" / "first-cluster.rst").read_text(encoding="utf-8")
DAILY = (DOCS / "howto" / "daily.rst").read_text(encoding="utf-8")

NOT_TYPED = {"cncp logs engine-0 --follow", "cncp console engine-1", "cncp run ipython"}
"""What does not end by itself, which tests/lab has, and what leaves files of its own behind."""

_END = "\x1e"


@dataclass(frozen=True)
class Command:
    """A command, and the lines that the page shows below it."""

    words: str
    shown: Sequence[str]


def blocks(page: str, language: str) -> Iterator[tuple[str, str]]:
    """Yield the blocks of code of a language in a page: the caption, and the text."""
    pattern = rf"^\.\. code-block:: {language}\n(?:   :caption: (.*)\n)?\n((?:   .*\n|\n)+)"
    for found in re.finditer(pattern, page, re.MULTILINE):
        yield found[1] or "", textwrap.dedent(found[2]).strip("\n") + "\n"


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of a page in order."""
    for _, text in blocks(page, "console"):
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            words, *shown = part.splitlines()
            yield Command(re.sub(r"\s\s+#.*", "", words), shown)


def agree(shown: Sequence[str], said: Sequence[str], *, exact: bool) -> bool:
    """Tell whether a program said what the page shows; ... stands for any lines.

    Widths of columns are no matter and, unless ``exact``, numbers, folders and the name of the machine.
    """
    pattern = "".join("(?:.*\n)*?" if line == "..." else f"{_line(line, exact=exact)}\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{' '.join(line.split())}\n" for line in said)) is not None


def _line(line: str, *, exact: bool) -> str:
    words = [re.escape(word) for word in line.split()]
    if not exact:
        variable = [word.startswith("/") or word == "node7" for word in words]
        words = [
            r"\S+" if any_ else re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", word)
            for any_, word in zip(variable, words, strict=True)
        ]
    return " ".join(words)


def test_word_for_word(near: Site, tmp_path: Path) -> None:
    """From the clone to the last step each command does what stands below it, and nothing is left."""
    origin = tmp_path / "origin"
    left_out = shutil.ignore_patterns(".git", ".test-env", "dist", "*_cache", "__pycache__")
    shutil.copytree(ROOT, origin, ignore=left_out)
    git = ["git", "-C", str(origin), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    for name, text in blocks(TUTORIAL, "python"):
        (near.home / name).write_text(text, encoding="utf-8")
    *before, last = commands(TUTORIAL)
    daily = [Command(command.words, []) for command in commands(DAILY) if command.words not in NOT_TYPED]
    typed = [*before, *daily, Command("cncp scale 3", []), last]
    script = "".join(f"{command.words}\nprintf '{_END}%s{_END}' $?\n" for command in typed)
    script = script.replace("ADDRESS", str(origin))
    near.variables |= {"CNCP_CONVERGE": "embedded", "CNCP_SERVICE_MANAGER": "supervisor"}
    try:
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{script}"],
            cwd=near.home,
            env={**near.environment, "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        program = near.home / ".local" / "bin" / "cncp"
        if program.exists():
            said([str(program), "uninstall"], near.environment, near.home)
    outputs = done.stdout.split(_END)
    for command, output, status in zip(typed, outputs[::2], outputs[1::2], strict=False):
        assert status == "0", (command.words, output)
        exact = command.words.startswith("cncp run")
        assert not command.shown or agree(command.shown, output.splitlines(), exact=exact), (command.words, output)
    assert len(outputs) == 2 * len(typed) + 1
    left = {path.name for path in near.home.iterdir()}
    assert left == {"cncp", "ids.json", *(name for name, _ in blocks(TUTORIAL, "python"))}
