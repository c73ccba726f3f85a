"""What a hosting service and Git are told of this project: it parses, and what it names exists."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Invoke reads its own configuration with it; a parser of our own would need a package more.
from invoke.vendor import yaml

from cncp.config.sources import SOURCE

from .source import nodes

GITHUB = SOURCE / ".github"

FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))

PAGES = [SOURCE / "SECURITY.md", SOURCE / "CODE_OF_CONDUCT.md", GITHUB / "PULL_REQUEST_TEMPLATE.md"]

SAYS_NOTHING = re.compile(
    "[a-z]|anything|each|everything|it|its|obj|of|one|something|stuff|that|these|things?|this|those|what|which|who"
)
"""Names of variables that say nothing of what is in them."""

KEPT = {"bootstrap/cncp/serve/lab_cluster.py: d"}
"""What a library calls an argument that it hands over."""


def read(path: Path) -> dict[Any, Any]:
    """Return what a YAML file holds."""
    found: Any = yaml.safe_load(path.read_text(encoding="utf-8"))  # type: ignore[no-untyped-call]
    assert isinstance(found, dict)
    return found


def jobs() -> dict[str, dict[str, Any]]:
    """Return the jobs of all workflows by name."""
    workflows = [read(path) for path in sorted((GITHUB / "workflows").iterdir())]
    return {name: job for workflow in workflows for name, job in workflow["jobs"].items()}


def commands() -> list[str]:
    """Return all that the hooks and workflows run."""
    hooks = [hook for repo in read(SOURCE / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    steps = [step for job in jobs().values() for step in job["steps"]]
    return [*(hook["entry"] for hook in hooks), *(step["run"] for step in steps if "run" in step)]


def test_hooks_and_workflows_run_what_is_there() -> None:
    """Scripts, folders and options of theirs exist; the linters, the unit tests and the lab are all run."""
    named = [word for text in commands() for word in re.findall(r"(?<![\w/])(?:tests|\.ci)/[\w/.-]+", text)]
    assert {"tests/run", "tests/unit", ".ci/subject"} <= set(named)
    assert all((SOURCE / name).exists() for name in named)
    script = (SOURCE / "tests" / "run").read_text(encoding="utf-8")
    options = [option for text in commands() for option in re.findall(r"tests/run (--[a-z]+)", text)]
    assert "--lint" in options
    assert all(f" = {option} ]" in script or option == "--ignore" for option in options)
    assert set(jobs()) == {"lint", "unit", "lab"}


def test_a_workflow_may_read_and_nothing_else() -> None:
    """What a pull request brings is run with no right to write, on actions of a fixed version."""
    for path in (GITHUB / "workflows").iterdir():
        workflow = read(path)
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"]
            for step in job["steps"]:
                assert re.fullmatch(r"actions/[a-z-]+@v[0-9]+", step.get("uses", "actions/checkout@v4"))
                assert "${{" not in step.get("run", ""), "what others write is no part of a script"


def test_the_unit_tests_run_on_every_python() -> None:
    """From the oldest that is supported to the newest that baremetal.sh looks for, without a gap."""
    pythons = jobs()["unit"]["strategy"]["matrix"]["python"]
    lowest = re.search(r'^requires-python = ">=(3\.\d+)"$', (SOURCE / "pyproject.toml").read_text(), re.MULTILINE)
    assert lowest
    first = int(lowest[1].split(".")[1])
    tried = [
        int(minor) for minor in re.findall(r"python3\.(\d+)", (SOURCE / "baremetal.sh").read_text(encoding="utf-8"))
    ]
    assert pythons == [f"3.{minor}" for minor in range(first, max(tried) + 1)]
    for job in jobs().values():
        for step in job["steps"]:
            version = step.get("with", {}).get("python-version", pythons[0])
            assert version in (*pythons, "${{ matrix.python }}")


@pytest.mark.parametrize("path", [path for path in FORMS if path.name != "config.yml"], ids=lambda path: path.stem)
def test_an_issue_form_is_one(path: Path) -> None:
    """It has what forms need, and no question twice; that of a bug asks for what is needed to help."""
    form = read(path)
    assert form["name"]
    assert form["description"]
    questions = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in questions}) == len(questions)
    assert all(part["type"] == "textarea" and part["attributes"]["label"] for part in questions)
    if path.stem == "bug":
        needed = [part["attributes"]["label"] for part in questions if part.get("validations", {}).get("required")]
        assert {command for label in needed for command in re.findall('"(.*?)"', label)} == {
            "cncp check",
            "cncp --version",
        }


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """What a page links to is in the repository, or in the web by https."""
    links = re.findall(r"\]\((.*?)\)", path.read_text(encoding="utf-8"))
    assert links
    assert all(link.startswith("https://") or (path.parent / link).is_file() for link in links)
    assert "Security" in (SOURCE / "README.rst").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("What it changes\n\nWhy it does.\n", ""),
        ("x" * 72 + "\n\nWhy.", ""),
        ("ü" * 72 + "\n\nWhy.\n# what Git writes below\n", ""),
        ("x" * 73 + "\n\nWhy.\n", "the subject has 73 characters"),
        ("", "the commit has no subject"),
        ("# what Git writes below\n", "the commit has no subject"),
        ("What it changes\nand more of it\n", "the second line is not empty"),
        ("What it changes\n", "the reason is missing"),
        ("What it changes\n\n\n# what Git writes below\n", "the reason is missing"),
    ],
)
def test_a_commit_says_what_and_why(message: str, wrong: str, tmp_path: Path) -> None:
    """The hook lets a message pass that does, and says of others what is wrong."""
    file = tmp_path / "message"
    file.write_text(message, encoding="utf-8")
    argv = ["bash", str(SOURCE / ".ci" / "subject"), str(file)]
    done = subprocess.run(argv, capture_output=True, check=False, text=True)
    assert done.returncode == (1 if wrong else 0)
    assert done.stderr.partition("\n")[0] == (f"error: {wrong}" if wrong else "")


def test_the_layout_is_the_tree_s() -> None:
    """CONTRIBUTING names no file that is not there, and leaves out no package and no file of the ground."""
    text = (SOURCE / "CONTRIBUTING.rst").read_text()
    code = SOURCE / "bootstrap" / "cncp"
    roots = (SOURCE, SOURCE / "bootstrap", code, code / "machine", code / "config")
    named = {name for name in re.findall(r"[\w./-]+/[\w.-]+\.(?:py|sh|json|rst|txt)\b", text) if "KIND" not in name}
    assert [name for name in sorted(named) if not any((root / name).exists() for root in roots)] == []
    there = {path.name for path in code.glob("*.py")} | {f"{path.parent.name}/" for path in code.glob("*/__init__.py")}
    layout = text[text.index("Layout\n------") : text.index("Five questions")]
    assert {name for name in there if name not in layout} <= {"__init__.py", "__main__.py"}


def says_nothing(name: str) -> bool:
    """Tell whether a name could stand for whatever there is."""
    return bool(SAYS_NOTHING.fullmatch(name.strip("_")))


def variables(path: Path) -> Iterator[str]:
    """Yield what a module gives values to, but for fields of classes: some are in files and answers by these names."""
    bodies = [part for node in nodes(path) if isinstance(node, ast.ClassDef) for part in node.body]
    fields = {id(part.target) for part in bodies if isinstance(part, ast.AnnAssign)}
    for node in nodes(path):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name


def test_variables_are_called_what_they_hold() -> None:
    """`one` is a host, a line, a path; of single letters there are only those of types."""
    files = [path for folder in ("bootstrap", "tests", "docs") for path in (SOURCE / folder).rglob("*.py")]
    found = {f"{path.relative_to(SOURCE)}: {name}" for path in files for name in variables(path) if says_nothing(name)}
    assert "\n".join(sorted(found - KEPT)) == ""
