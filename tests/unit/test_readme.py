"""The documents say what the code does: what they name exists, and what they have people type can be read."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
import shlex
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from docutils.core import publish_string
from invoke.collection import Collection
from invoke.parser.context import ParserContext
from invoke.parser.parser import Parser

from cncp.config import sources
from cncp.config.settings import SETTINGS
from cncp.config.sources import SOURCE
from cncp.config.variables import OTHER_VARIABLES, VM_VARIABLES
from cncp.release.installer import options
from cncp.tasks import guide, line
from cncp.tasks.verbs import task

from .source import syntax

README = (SOURCE / "README.rst").read_text(encoding="utf-8")
CONTRIBUTING = (SOURCE / "CONTRIBUTING.rst").read_text(encoding="utf-8")

DOCS = {
    str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in sorted((SOURCE / "docs").rglob("*.rst"))
}
USERS = {"README.rst": README, **DOCS}
"""What users read, by its path."""

OF_OTHERS = {"--block", "--extra-index-url", "--restart"}
"""Options in the documents that are another program's, cidcapt's among them."""


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the blocks of code in a language, each with the page it is in."""
    pattern = rf"^( *)\.\. code-block:: {language}\n(?:\1   :.*\n)*\n((?:\1   .*\n|\n)+)"
    return [
        (name, textwrap.dedent(found[2]))
        for name, text in USERS.items()
        for found in re.finditer(pattern, text, re.MULTILINE)
    ]


def lines() -> list[str]:
    """Return all that users are told to type into a shell, and the whole commands of ours in sentences."""
    typed = [found for text in USERS.values() for found in re.findall(r"^ *\$ (.*)", text, re.MULTILINE)]
    as_root = [found for _, text in blocks("console") for found in re.findall(r"^# (.*)", text, re.MULTILINE)]
    inline = [
        " ".join(found.split())
        for text in USERS.values()
        for found in re.findall(r"``(cncp [a-z.]+\s[^`]*)``", text)
        if not re.search(r"\b[A-Z]{2,}\b", found)
    ]
    return sorted({re.sub(r"\s\s+# .*", "", line) for line in (*typed, *as_root, *inline)})


def tasks() -> set[str]:
    """Return the names of all tasks that `invoke` has in a checkout."""
    spec = importlib.util.spec_from_file_location("project_tasks", SOURCE / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    collection: Collection = module.ns
    return {name for task, others in collection.task_names.items() for name in (task, *others)}


@pytest.mark.parametrize("name", [*USERS, "CONTRIBUTING.rst"])
def test_what_is_named_exists(name: str) -> None:
    """Variables, options and tasks in the documents are those of the code."""
    text = USERS.get(name, CONTRIBUTING)
    settings = {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"\bCNCP_[A-Z_]*[A-Z]\b", text)) <= settings | set(OTHER_VARIABLES) | set(VM_VARIABLES)
    known = options()
    for script in re.findall(r"baremetal\.sh(?: +[^\s`]+)*", text):
        for flag in re.findall(r"--[a-z-]+", script):
            assert flag == "--help" or f"  {flag}" in known, script
    assert set(re.findall(r"\binvoke ([a-z]+\.[a-z]+)", text)) <= tasks()
    verbs = set(re.findall(r"(?:``|\$ )cncp ([a-z]+(?:\.[a-z]+)?)", text))
    assert verbs <= tasks()


def test_options_in_sentences_exist() -> None:
    """An option is one of a verb, or of the installation."""
    known = {flag for name in guide.VERBS for flag in line.context(name, task(name)).flags}
    known |= set(re.findall(r"--[a-z-]+", options())) | OF_OTHERS | {"--help", "--list", "--version"}
    for name, text in USERS.items():
        said = {flag for words in re.findall(r"``(--[^`]*)``", text) for flag in re.findall(r"--[a-z-]+", words)}
        assert said <= known, name


def test_modules_in_the_architecture_exist() -> None:
    """It is drawn from the code."""
    text = DOCS["docs/explanation/architecture.rst"]
    named = set(re.findall(r"(?<![\w/.-])(?:\w+/)+(?:\w+\.py)?|\w+\.py", text))
    roots = (SOURCE, SOURCE / "bootstrap" / "cncp")
    assert len(named) > 15
    assert [name for name in sorted(named) if not any((root / name).exists() for root in roots)] == []


def test_messages_that_are_explained_exist() -> None:
    """What the page about troubles quotes, the code says."""
    said = "".join(path.read_text(encoding="utf-8") for path in (SOURCE / "bootstrap").rglob("*.py"))
    said += (SOURCE / "baremetal.sh").read_text(encoding="utf-8")
    quoted = set(re.findall(r"^``([^`]+)``", DOCS["docs/troubleshooting.rst"], re.MULTILINE))
    assert len(quoted) > 10
    for message in quoted - {"cncp: command not found", "ModuleNotFoundError"}:
        # What differs from case to case is left out.
        parts = re.split(r"\.\.\.|engine-0|60 s|\(kept\)", message)
        assert [part for part in parts if part.strip(" =") not in said] == []


@pytest.mark.parametrize("name", ["README.rst", "CONTRIBUTING.rst", "CHANGELOG.rst"])
def test_pages_outside_of_the_site_can_be_read(name: str) -> None:
    """They are reStructuredText as every forge reads it, without a warning."""
    text = (SOURCE / name).read_text(encoding="utf-8")
    publish_string(text, settings_overrides={"halt_level": 2, "report_level": 5, "_disable_config": True})


def test_a_word_of_the_readme() -> None:
    """It is short, and what it names is there."""
    assert README.count("\n") <= 150
    links = re.findall(r"`[^`]* <(?!https:)([^>]*)>`_", README)
    assert len(links) >= 10
    assert [link for link in links if not (SOURCE / link).is_file()] == []
    # What CI runs, and what a newcomer does.
    commands = re.findall(r"^    \$ (bash .*)", README, re.MULTILINE)
    assert commands == ["bash ./baremetal.sh", "bash tests/run"]


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings."""
    tree = syntax(path.read_text(encoding="utf-8"))
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


@pytest.mark.parametrize(
    "path",
    # In patches.py it is the name of a library.
    [path for path in sorted((SOURCE / "bootstrap").rglob("*.py")) if path.name != "patches.py"],
    ids=lambda path: path.name,
)
def test_users_read_cncp_in_messages(path: Path) -> None:
    """No message names `invoke`, which is there in checkouts alone."""
    assert [text for text in texts(path) if re.search(r"\binvoke ", text)] == []


@pytest.mark.parametrize("name", [*USERS, "baremetal.sh", "vm/compute/Vagrantfile", "cookbooks/cncp/README.md"])
def test_users_read_cncp_in_documents(name: str) -> None:
    """Nor does what users read, but for the benchmarks, which are in checkouts alone as well."""
    if name == "docs/changelog.rst":
        return
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


OURS = r"(?:sudo -E ~/\.local/bin/|CNCP_USER=ada bash /opt/cncp/baremetal\.sh )?(cncp [a-z].*)"
"""A command line of ours, maybe as root."""


@pytest.mark.parametrize("words", [found[1] for words in lines() if (found := re.fullmatch(OURS, words))])
def test_command_lines_can_be_read(words: str) -> None:
    """Every command line of ours in the documents is one."""
    _, first, *others = shlex.split(words, comments=True)
    others = others[: next((at for at, word in enumerate(others) if word in (">", "|")), len(others))]
    name = line.verb_of(first)
    verb = task(name)
    line.read(name, verb, ["--", *others] if verb.verbatim else others)


def test_a_shell_can_read_it() -> None:
    """What is to be typed is a command line."""
    done = subprocess.run(["bash", "-n"], input="\n".join(lines()), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "text"), blocks("toml"), ids=itertools.count())
def test_a_cluster_toml_is_one(name: str, text: str, tmp_path: Path) -> None:
    """What the documents have people write into it is taken, values and all."""
    (tmp_path / "gpu-hosts.txt").write_text("dgx1\ndgx2\n")
    file = tmp_path / "cluster.toml"
    file.write_text(text, encoding="utf-8")
    former = sources.Kept({})
    _, hosts = sources.read(file)
    assert sources.gather(file=file, environment={}, flags={}, former=former), name
    for host in hosts.hosts if hosts else ():
        assert sources.for_host(host, file=file, environment={}, flags={}, former=former), name


@pytest.mark.parametrize(("name", "text"), blocks("python"), ids=itertools.count())
def test_a_script_is_one(name: str, text: str) -> None:
    """Python in the documents is Python; tests/install runs that of the tutorial."""
    compile(text, name, "exec")


def test_the_first_script_is_a_script() -> None:
    """What the README has a newcomer save and run is whole; tests/install runs it."""
    compile(first_script(README), "first.py", "exec")


def first_script(text: str) -> str:
    """Return the first script in the README."""
    begin = text.index("``first.py`` may be this::")
    return textwrap.dedent(text[text.index("    import ipyparallel", begin) : text.index("``cncp`` alone", begin)])
