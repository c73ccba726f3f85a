"""The README says what the code does: its table of settings is the code's, and what it names exists."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.parser.context import ParserContext
from invoke.parser.parser import Parser

from cncp import errors
from cncp.config.settings import SETTINGS
from cncp.config.sources import OTHER_VARIABLES, SOURCE, STATIC, VM_VARIABLES
from cncp.release.installer import options
from cncp.tasks import cluster, jupyter, line
from cncp.tasks.verbs import task

README = (SOURCE / "README.rst").read_text(encoding="utf-8")
CONTRIBUTING = (SOURCE / "CONTRIBUTING.rst").read_text(encoding="utf-8")


def rows() -> str:
    """Return the rows of the README's table of settings, as the code has them."""
    defaults = json.loads((STATIC / "defaults.json").read_bytes())
    lines = []
    for one in SETTINGS:
        default = defaults[one.key]
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        words = (one.key, one.values, shown, one.flag, one.variable)
        # A word that ends in _ would be a reference.
        cells = [*(f"``{word}``" for word in words), re.sub(r"_(?!\w)", r"\_", one.help)]
        lines += [f"   {'*' if cell is cells[0] else ' '} - {cell}" for cell in cells]
    return "".join(f"{line}\n" for line in lines)


def tasks() -> set[str]:
    """Return the names of all tasks that `invoke` has in a checkout."""
    spec = importlib.util.spec_from_file_location("project_tasks", SOURCE / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    collection: Collection = module.ns
    return {name for task, others in collection.task_names.items() for name in (task, *others)}


def test_the_table_of_settings_is_the_code_s() -> None:
    """Every setting has its row, in order: key, values, default, option, variable, meaning."""
    begin = README.index("   * - Key\n")
    table = README[begin : README.index("\n\n", begin) + 1]
    assert table.partition("     - Meaning\n")[2] == rows()


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_what_is_named_exists(text: str) -> None:
    """Variables, options and tasks in the documents are those of the code."""
    settings = {one.variable for one in SETTINGS}
    assert set(re.findall(r"\bCNCP_[A-Z_]*[A-Z]\b", text)) <= settings | set(OTHER_VARIABLES) | set(VM_VARIABLES)
    known = options()
    for script in re.findall(r"baremetal\.sh(?: +[^\s`]+)*", text):
        for flag in re.findall(r"--[a-z-]+", script):
            assert flag == "--help" or f"  {flag}" in known, script
    assert set(re.findall(r"\binvoke ([a-z]+\.[a-z]+)", text)) <= tasks()
    verbs = set(re.findall(r"(?:``|\$ )cncp ([a-z]+(?:\.[a-z]+)?)", text))
    assert verbs <= tasks()


def test_nothing_is_left_out() -> None:
    """Every verb has its entry, every variable and every exit code its place."""
    for verb in (*cluster.__all__, "plan", "run", "python", "shell"):
        assert re.search(rf"\n(?:``[a-z]+``, )*``{verb}``(?:, ``[a-z]+``)*\n    ", README), verb
    for verb in {getattr(jupyter, name).name for name in jupyter.__all__} - {"lab"}:
        assert f"``jupyter.{verb}``" in README
    for variable in (*OTHER_VARIABLES, *VM_VARIABLES):
        assert f"``{variable}``" in README
    for code in (0, errors.FAILED, errors.USAGE, errors.SOME_HOSTS, errors.PREFLIGHT, errors.WOULD_CHANGE):
        assert f"   * - {code}\n" in README


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


@pytest.mark.parametrize("path", sorted((SOURCE / "bootstrap").rglob("*.py")), ids=lambda path: path.name)
def test_users_read_cncp_in_messages(path: Path) -> None:
    """No message names `invoke`, which is there in checkouts alone."""
    assert [text for text in texts(path) if re.search(r"\binvoke ", text)] == []


@pytest.mark.parametrize("name", ["README.rst", "baremetal.sh", "vm/compute/Vagrantfile", "cookbooks/cncp/README.md"])
def test_users_read_cncp_in_documents(name: str) -> None:
    """Nor does what users read, but for the benchmarks, which are in checkouts alone as well."""
    assert re.findall(r"(?<!test-env/bin/)\binvoke\b.*", (SOURCE / name).read_text(encoding="utf-8")) == []


def test_documented_options_of_chores_exist() -> None:
    """What CONTRIBUTING has `invoke` do, `invoke` can: each command line in it is parsed."""
    spec = importlib.util.spec_from_file_location("project_tasks", SOURCE / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    said = re.findall(r"(?:test-env/bin/)invoke ((?:lab|bench)[^`\n]*)", CONTRIBUTING)
    assert len(said) >= 4
    for words in said:
        Parser(contexts=module.ns.to_contexts(), initial=ParserContext()).parse_argv(words.split())


@pytest.mark.parametrize("words", sorted(set(re.findall(r"^ *\$ (cncp .*)", README, re.MULTILINE))))
def test_command_lines_can_be_read(words: str) -> None:
    """Every command line of ours in the README is one."""
    program, first, *others = shlex.split(words, comments=True)
    assert program == "cncp"
    others = others[: next((at for at, word in enumerate(others) if word in (">", "|")), len(others))]
    name = line.verb_of(first)
    verb = task(name)
    line.read(name, verb, ["--", *others] if verb.verbatim else others)


def test_the_first_script_is_a_script() -> None:
    """What the README has a newcomer save and run is whole; tests/install runs it."""
    compile(first_script(README), "first.py", "exec")


def first_script(text: str) -> str:
    """Return the first script in the README."""
    begin = text.index("``first.py`` may be this::")
    return textwrap.dedent(text[text.index("    import ipyparallel", begin) : text.index("``cncp`` alone", begin)])
