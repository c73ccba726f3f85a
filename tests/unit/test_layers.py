"""The architecture, held: dependencies point downwards and in no circle; stage0 needs nothing but Python."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.source import nodes, written

CODE = Path(__file__).resolve().parents[2] / "bootstrap" / "cncp"

LAYERS = (
    (
        "accounts",
        "command_log",
        "console",
        "errors",
        "extensions",
        "files",
        "inheritance",
        "interrupted",
        "managed_block",
        "patches",
        "pidfile",
        "ports",
        "process",
        "remote",
        "field_types",
        "records",
        "state_files",
        "supervisord",
        "surroundings",
        "waiting",
    ),
    ("config",),
    ("ipp",),
    ("ssh",),
    ("install",),
    ("rendezvous",),
    ("release",),
    ("machine",),
    ("serve",),
    ("pools.base", "pools.counts", "pools.former_pools"),
    ("fleet",),
    ("netboot",),
    ("pools",),
    ("client",),
    ("api", "tasks", "__main__"),
)
"""Lower layers first: the ground, then a package each. What stands in one may use its own and the lower ones.

A module that stands here by itself is the interface to a package above, for those that know nothing of what is in it.
"""

ALONE = {
    "command_log.py": {"process"},
    "config/parsers.py": set[str](),
    "config/settings.py": {"config", "errors"},
    "console.py": {"errors", "records"},
    "errors.py": set[str](),
    "interrupted.py": set[str](),
    "inheritance.py": set[str](),
    "patches.py": set[str](),
    "process.py": {"errors", "surroundings"},
    "remote.py": set[str](),
    "field_types.py": {"errors", "records"},
    "records.py": {"errors"},
    "waiting.py": set[str](),
}
"""What the lowest modules may use of ours."""

FILES = sorted(str(path.relative_to(CODE)) for path in CODE.rglob("*.py"))


def module(file: str) -> str:
    """Return the name of a file's module, within cncp."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module(file) for file in FILES}


def imports(file: str) -> Iterator[str]:
    """Yield the modules of cncp that a file imports, wherever it does, but for those that only types need."""
    left: list[ast.AST] = [nodes(CODE / file)[0]]
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        left.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cncp":
            package = (node.module or "").removeprefix("cncp").lstrip(".")
            for alias in node.names:
                full = f"{package}.{alias.name}".lstrip(".")
                if full in MODULES or package:
                    yield full if full in MODULES else package


def part(name: str) -> str:
    """Return what of LAYERS a module is in."""
    return name if any(name in names for names in LAYERS) else name.partition(".")[0]


@pytest.mark.parametrize("file", FILES)
def test_dependencies_point_downwards(file: str) -> None:
    """No module uses a layer above its own."""
    if file == "__init__.py":
        return
    level = next(number for number, names in enumerate(LAYERS) if part(module(file)) in names)
    allowed = {name for names in LAYERS[: level + 1] for name in names}
    assert {part(name) for name in imports(file)} <= ALONE.get(file, allowed)


def test_no_two_files_need_each_other() -> None:
    """What imports what has an order: each file can be read after those that it uses."""
    left = {module(file): {name for name in imports(file) if name != module(file)} for file in FILES}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert left == {}


STARTS = {
    "process.py": "the one place",
    "fleet/hardware.py": "its source is sent to hosts and run there, where nothing else of ours is",
    "inheritance.py": "takes its own place, before anything else of ours is imported",
    "netboot/cidkid.py": "stands alone in an image",
    "netboot/engine_host.py": "stands alone in an image",
    "machine/ops/main.py": "takes its own place, with other packages",
}
"""Files that start programs by themselves, and why."""

_STARTING = re.compile(r"exec[lv]p?e?|spawn[lv]p?e?|posix_spawnp?|system|popen")


def test_programs_are_started_in_one_place() -> None:
    """Time-outs, environments, errors and what is written of commands are the same for all of them."""
    found = {}
    for file in FILES:
        for node in nodes(CODE / file):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if "subprocess" in (*names, getattr(node, "module", "")):
                found[file] = "subprocess"
            of_os = re.match(r"os\.(\w+)$", written(node))
            if of_os and _STARTING.fullmatch(of_os[1]):
                found[file] = of_os[0]
    assert found.keys() == STARTS.keys()


SLEEPS = {
    "waiting.py": "the one place",
    "client/idle.py": "wants several quiet looks in a row",
    "console.py": "shows a page every so often",
    "fleet/phases/await_engines.py": "compares two looks",
    "machine/ops/readiness.py": "starts what is lost while it waits",
    "netboot/cidkid.py": "tries again after a random time, by itself in an image",
    "rendezvous/fetching.py": "waits longer from try to try",
    "serve/engine.py": "asks as long as it lives, not all at once",
    "serve/tunnel.py": "waits longer from try to try",
    "ssh/pool.py": "tries again after a random time",
}
"""Files that sleep by themselves, and why."""


def sleeps(node: ast.AST) -> bool:
    """Tell whether this is a sleep."""
    return written(node) == "time.sleep"


def test_what_is_waited_for_is_so_in_one_place() -> None:
    """A look before the first sleep and after the last, and an end in time, are the same for all of them."""
    found = {file for file in FILES for node in nodes(CODE / file) if sleeps(node)}
    assert found == SLEEPS.keys()


def test_a_file_name_leads_to_one_place() -> None:
    """No two modules share a name, but for verbs, what a verb goes through, and the base of a package."""
    names = Counter(
        Path(file).stem
        for file in FILES
        if not file.startswith(("tasks/", "fleet/phases/")) and Path(file).stem not in ("__init__", "__main__", "base")
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_code_in_strings_names_what_is_there() -> None:
    """What is handed to another Python as text is seen by no checker, and a move would be found out there."""
    texts = [
        node.value
        for path in sorted([*CODE.parent.rglob("*.py"), *CODE.parents[1].glob("tests/**/*.py")])
        for node in nodes(path)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = [
        (package, alias)
        for text in texts
        for package, names in re.findall(r"\bfrom cncp([.\w]*) import ([\w, ]+)", text)
        for alias in names.replace(" ", "").split(",")
    ]
    assert named
    lost = [
        f"from cncp{package} import {name}"
        for package, name in named
        if f"{package}.{name}".lstrip(".") not in MODULES and not re.search(rf"\b{name}\b", source(package.lstrip(".")))
    ]
    assert lost == []


def source(name: str) -> str:
    """Return the text of a module of cncp, "" where there is none of that name."""
    places = (CODE / f"{name.replace('.', '/')}.py", CODE / name.replace(".", "/") / "__init__.py")
    return next((path.read_text() for path in places if path.is_file()), "")


def test_stage0_is_standard_library_only() -> None:
    """stage0, and all that it imports of ours once it runs, works with no site packages, environment or user folder."""
    later = sorted(
        f"{node.module}.{alias.name}" if (CODE.parent / node.module.replace(".", "/")).is_dir() else node.module
        for node in nodes(CODE.parent / "stage0.py")
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cncp"
        for alias in node.names
    )
    assert "cncp.machine.converge.engine_choice" in later
    code = f"import sys; sys.path.insert(0, {str(CODE.parent)!r}); import stage0, {', '.join(later)}"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)


UNTYPED = {
    "api": (2, "options of ipyparallel's client, handed on"),
    "config.ipyparallel_profile": (4, "traits of a profile, which can be anything"),
    "config.pool_tables": (2, "TOML, each key of which has a parser"),
    "config.rendezvous_table": (1, "TOML, each key of which has a parser"),
    "inheritance": (4, "begins before anything else of ours is imported"),
    "install.uv_config": (4, "uv's own settings, handed on"),
    "ipp.connection_file": (1, "arguments of a record"),
    "ipp.keys": (3, "arguments of a record"),
    "machine.ops.repl": (1, "what an ipyparallel result has come to"),
    "pools.base": (1, "keys of a pool's table, each of which has a parser"),
    "pools.cloud.admission": (3, "keys of a pool's table"),
    "pools.cloud.cloud_pool": (1, "keys of a pool's table"),
    "pools.cloud.cloud_table": (3, "keys of a pool's table"),
    "pools.cloud.ec2": (7, "EC2's words and answers"),
    "pools.cloud.ec2_answers": (1, "EC2's answers"),
    "pools.cloud.ec2_images": (6, "EC2's answers"),
    "pools.cloud.openstack": (1, "OpenStack's words"),
    "pools.netboot.netboot_pool": (1, "keys of a pool's table"),
    "pools.netboot.netboot_table": (1, "keys of a pool's table"),
    "pools.hosts": (1, "keys of a pool's table"),
    "rendezvous.stores.objects": (1, "boto's words"),
    "rendezvous.stores.openstack_login": (1, "OpenStack's words"),
    "rendezvous.stores.swift": (2, "OpenStack's words"),
    "serve.jupyter": (1, "Jupyter's configuration"),
    "serve.kernel": (6, "ipykernel's messages"),
    "serve.lab_cluster": (3, "ipyparallel's description of a cluster"),
    "serve.registration": (1, "ipyparallel's messages"),
    "tasks.line": (1, "arguments of a verb, by its own options"),
}
"""How often at most objects of no known members stand in a file, and what they are: nothing that we store or answer."""


def test_what_is_stored_or_sent_has_a_type() -> None:
    """An object of any members is somebody else's, or its parsers are: the rest are records."""
    untyped = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")
    found = {module(file): len(untyped.findall((CODE / file).read_text())) for file in FILES}
    assert {name for name, count in found.items() if count} == UNTYPED.keys()
    assert {name: count for name, count in found.items() if count and count > UNTYPED[name][0]} == {}
