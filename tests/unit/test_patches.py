"""What of ours stands in the place of a library's own: it is in the table, and was read in the version we install."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cncp.patches import PATCHES, Patch
from tests.unit.source import (
    CODE,
    Definition,
    Function,
    Module,
    at,
    bases,
    meant,
    member,
    members,
    module,
    parse,
    resolved,
    written,
)

_NOBODYS = {"_replace"}
"""What looks private and is for all to use: of named tuples."""

_PYTHONS = {"_create_connection", "__code__", "__signature__"}
"""What is Python's own, of things whose class cannot be told from the source."""


@dataclass(frozen=True)
class Finding:
    """A place in our code that needs more of a library than what it offers; with what overrides what."""

    where: str
    key: str
    ours: ast.stmt | None = None
    theirs: Definition | None = None


def foreign(dotted: str) -> bool:
    """Tell whether a name with dots is of a library: neither ours nor Python's."""
    top = dotted.split(".", maxsplit=1)[0]
    return bool(top) and top != "cncp" and top not in sys.stdlib_module_names


def is_private(name: str) -> bool:
    """Tell whether a name says that it is nobody else's."""
    return name.startswith("_") and not name.endswith("__") and name not in _NOBODYS


def _own(tree: ast.Module) -> Iterator[str]:
    """Yield the names that a module itself gives to classes, functions and attributes of ``self``."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, *Function)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and written(node.value) == "self":
            yield node.attr


class Scan(ast.NodeVisitor):
    """Looks through a module of ours for what overrides, replaces or reaches into what a library has.

    Where the owner of a private name cannot be told from the source, the finding's key is ``?.NAME``.
    """

    def __init__(self, here: Module) -> None:
        self.found: list[Finding] = []
        self._here = here
        self._within: list[str] = []
        self._class: Definition | None = None
        self._arguments: dict[str, Definition | None] = {}
        self._own = set(_own(here.tree))
        self.visit(here.tree)

    def _add(self, key: str, *names: str, ours: ast.stmt | None = None, theirs: Definition | None = None) -> None:
        name = ".".join([*self._within, *names])
        self.found.append(Finding(f"{self._here.name}:{name}" if name else self._here.name, key, ours, theirs))

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Note what a class overrides."""
        before, self._class = self._class, Definition(self._here, node.name, node)
        self._within.append(node.name)
        for name, statement in members(node):
            theirs = next(filter(None, (member(base, name) for base in bases(self._class))), None)
            if theirs is not None and foreign(theirs.module.name):
                self._add(theirs.key, name, ours=statement, theirs=theirs)
        self.generic_visit(node)
        self._within.pop()
        self._class = before

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Know what the arguments are."""
        before, self._arguments = self._arguments, dict(self._arguments)
        self._within.append(node.name)
        for number, argument in enumerate((*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)):
            found = resolved(meant(self._here, argument.annotation)) if argument.annotation else None
            own = self._class if number == 0 and argument.arg in ("self", "cls") else None
            self._arguments[argument.arg] = found if isinstance(found, Definition) else own
        self.generic_visit(node)
        self._within.pop()
        self._arguments = before

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # ast's name

    def _owner(self, node: ast.expr) -> Module | Definition | str | None:
        """Return what an expression is: a module or class, the name of one that cannot be read, None if unknown."""
        if isinstance(node, ast.Name) and node.id in self._arguments:
            return self._arguments[node.id]
        dotted = meant(self._here, node)
        return resolved(dotted) or dotted or None

    def _taken(self, owner: ast.expr, name: str) -> None:
        """Note that something gets another value under a name, or that a private name of it is used."""
        holder = self._owner(owner)
        if isinstance(holder, Module):
            if foreign(holder.name):
                self._add(f"{holder.name}:{name}")
        elif isinstance(holder, Definition) and isinstance(holder.node, ast.ClassDef):
            theirs = member(holder, name)
            if theirs is not None and foreign(theirs.module.name) and not _is_settable(theirs):
                self._add(theirs.key)
            elif theirs is None and foreign(holder.module.name):
                self._add(f"{holder.key}.{name}")
        elif isinstance(holder, str):
            if foreign(holder):
                self._add(f"{holder}:{name}")
        elif holder is None and is_private(name) and name not in self._own | _PYTHONS:
            self._add(f"?.{name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note what is given to an attribute, and private ones that are used."""
        if not isinstance(node.ctx, ast.Load) or is_private(node.attr):
            self._taken(node.value, node.attr)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """Note what is put into a table of somebody else's, as if it were another table."""
        if not isinstance(node.ctx, ast.Load) and isinstance(node.value, ast.Attribute):
            if written(node.value) == "sys.modules":
                self._add("sys.modules")
            else:
                self._taken(node.value.value, node.value.attr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Note what is done by the functions for attributes."""
        if isinstance(node.func, ast.Name) and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            name = str(node.args[1].value)
            if node.func.id in ("setattr", "delattr") or (node.func.id in ("getattr", "hasattr") and is_private(name)):
                self._taken(node.args[0], name)
        self.generic_visit(node)


def _is_settable(definition: Definition) -> bool:
    """Tell whether a property has a setter: it may be set by everybody."""
    owner, _, name = definition.name.rpartition(".")
    found = at(f"{definition.module.name}:{owner}")
    assert isinstance(found, Definition)
    assert isinstance(found.node, ast.ClassDef)
    setter = f"{name}.setter"
    functions = (node for known, node in members(found.node) if known == name and isinstance(node, Function))
    return any(written(decorator) == setter for node in functions for decorator in node.decorator_list)


@functools.cache
def findings() -> tuple[Finding, ...]:
    """Return all that our code needs of libraries beyond what they offer."""
    return tuple(_findings())


def _findings() -> Iterator[Finding]:
    for here in ours():
        yield from Scan(here).found


def ours() -> Iterator[Module]:
    """Yield all modules of our code."""
    for path in sorted((CODE / "cncp").rglob("*.py")):
        here = module(".".join(path.relative_to(CODE).with_suffix("").parts).removesuffix(".__init__"))
        assert here is not None
        yield here


def covers(patch: Patch, finding: Finding) -> bool:
    """Tell whether a patch is the one of a finding: what it needs, and who needs it."""
    if not any(finding.where == by or finding.where.startswith((f"{by}.", f"{by}:")) for by in patch.by):
        return False
    name = finding.key.removeprefix("?.")
    return finding.key in ("sys.modules", *patch.read) or (
        name != finding.key and any(key.endswith((f".{name}", f":{name}")) for key in patch.read)
    )


def positional(node: ast.stmt) -> tuple[int, float]:
    """Return how many arguments a method takes by place at least, and at most, itself included."""
    assert isinstance(node, Function)
    most = len(node.args.posonlyargs) + len(node.args.args)
    return most - len(node.args.defaults), float("inf") if node.args.vararg else most


READ = [(patch, key) for patch in PATCHES for key in patch.read]


@pytest.mark.parametrize(("patch", "key"), READ, ids=[f"{patch.name}: {key}" for patch, key in READ])
def test_what_was_read_is_as_it_was(patch: Patch, key: str) -> None:
    """What is patched is there, under its name and with the text that somebody read."""
    found = at(key)
    assert found is not None, f"{key} is gone. {patch.name}: {patch.why}. Look at: {patch.look}"
    known = patch.read[key].split()
    assert not known or found.digest in known, (
        f"{key} is another than in {', '.join(patch.versions)}: read it again, then write {found.digest} into "
        f"patches.py. {patch.name}: {patch.why}. Look at: {patch.look}"
    )


def test_the_versions_that_are_installed_were_read() -> None:
    """Each library of the table was read in every version that a lock has, and in no other."""
    read = {version for patch in PATCHES for version in patch.versions}
    locked = {
        f"{name} {version}"
        for lock in (CODE / "locks").glob("*.txt")
        for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE)
    }
    names = {version.split()[0] for version in read}
    assert read == {version for version in locked if version.split()[0] in names}
    assert {f"{name} {importlib.metadata.version(name)}" for name in names} <= read


def test_a_patch_names_the_libraries_that_it_read() -> None:
    """With a reason, and who in our code depends on it."""
    for patch in PATCHES:
        libraries = {version.split()[0].replace("-", "_") for version in patch.versions}
        assert {key.partition(":")[0].split(".")[0] for key in patch.read} == libraries, patch.name
        assert patch.why, patch.name
        assert patch.look, patch.name
        assert patch.by, patch.name
        assert all(at(by) for by in patch.by), f"{patch.name}: not all of {patch.by} are there"
    assert len({patch.name for patch in PATCHES}) == len(PATCHES)


def test_every_patch_is_in_the_table() -> None:
    """What our code overrides, replaces or uses of a library's private parts was read by somebody."""
    unknown = [finding for finding in findings() if not any(covers(patch, finding) for patch in PATCHES)]
    assert not unknown, "write into patches.py: " + "; ".join(f"{patch.where} needs {patch.key}" for patch in unknown)


def test_the_table_costs_no_start_of_an_engine() -> None:
    """Nothing that runs imports it."""
    assert not [here.name for here in ours() if any("cncp.patches" in name for name, _ in here.imported.values())]


def test_what_is_overridden_can_be_called_as_before() -> None:
    """A method of ours takes as many arguments as the one in whose place it is."""
    for finding in findings():
        if finding.theirs and isinstance(finding.ours, Function) and isinstance(finding.theirs.node, Function):
            (least, most), (their_least, their_most) = positional(finding.ours), positional(finding.theirs.node)
            if not finding.theirs.node.args.vararg:
                assert least <= their_least, finding.where
                assert most >= their_most, finding.where


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("class C(Hub):\n    def _save_engine_state(self): pass", "ipyparallel.controller.hub:Hub._save_engine_state"),
        ("class C(Hub):\n    def go(self): self._idcounter", "ipyparallel.controller.hub:Hub._idcounter"),
        ("def f(hub: Hub): hub.queues[1] = []", "ipyparallel.controller.hub:Hub.queues"),
        ("def f(hub: Hub): hub.no_more = 1", "ipyparallel.controller.hub:Hub.no_more"),
        ("def f(): setattr(Hub, 'engines', {})", "ipyparallel.controller.hub:Hub.engines"),
        ("def f(x): getattr(x, '_hidden')", "?._hidden"),
        ("hub.ZMQStream = None", "ipyparallel.controller.hub:ZMQStream"),
        ("from nowhere import thing\nthing.part = 1", "nowhere.thing:part"),
        ("import sys\nsys.modules['zmq'] = None", "sys.modules"),
        ("import os\ndef f(x): os._exit(x.public)", None),
        ("class C:\n    def __init__(self): self._mine = 1\n    def f(self, o): o._mine", None),
    ],
)
def test_patches_are_found(text: str, key: str | None) -> None:
    """Whichever way they are written."""
    top = "from ipyparallel.controller import hub\nfrom ipyparallel.controller.hub import Hub\n"
    assert [finding.key for finding in Scan(parse("cncp.some", top + text)).found] == ([key] if key else [])
