"""What modules define, from their source alone: nothing is imported, so what needs other packages is read as well."""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CODE = Path(__file__).resolve().parents[2] / "bootstrap"


def syntax(text: str, feature_version: tuple[int, int] | None = None) -> ast.Module:
    """Return what a source is made of; raises SyntaxError.

    No garbage is looked for meanwhile: a task that ended with an error nobody asked for logs it when it is thrown away,
    its traceback is parsed too, and some Pythons then miscount how deep they are (python/cpython#106905).
    """
    gc.disable()
    try:
        return ast.parse(text, feature_version=feature_version)
    finally:
        gc.enable()


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return all that the source of a file is made of."""
    return tuple(ast.walk(syntax(path.read_text())))


def written(node: ast.AST) -> str:
    """Return an expression such as ``os.path.join`` as it is written, "" for any other."""
    if isinstance(node, ast.Attribute):
        before = written(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def path_of(module: str) -> Path | None:
    """Return the file of a module, None where there is none."""
    top, *parts = module.split(".")
    if top == "cncp":
        folders = [str(CODE / "cncp")]
    else:
        spec = importlib.util.find_spec(top)
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or ())
        if not folders:
            return Path(spec.origin) if spec.has_location and spec.origin and not parts else None
    for folder in folders:
        found = Path(folder, *parts)
        for path in (found / "__init__.py", found.with_suffix(".py")):
            if path.is_file():
                return path
    return None


@dataclass(frozen=True, eq=False)
class Module:
    """The source of a module: its lines, what it defines and what its names mean."""

    name: str
    lines: tuple[str, ...]
    tree: ast.Module
    package: bool

    @functools.cached_property
    def top(self) -> tuple[ast.stmt, ...]:
        """The statements that run when it is imported, those under ``if`` and ``try`` too."""
        return tuple(_flat(self.tree.body))

    @functools.cached_property
    def imported(self) -> dict[str, tuple[str, ast.stmt]]:
        """Everything it imports, in functions too, by the name it has here: what it is, with dots, and the import."""
        found: dict[str, tuple[str, ast.stmt]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    found[alias.asname or top] = (alias.name if alias.asname else top, node)
            elif isinstance(node, ast.ImportFrom):
                origin = self.origin(node)
                for alias in node.names:
                    found[alias.asname or alias.name] = (f"{origin}.{alias.name}", node)
        return found

    def origin(self, node: ast.ImportFrom) -> str:
        """Return the module that an import names."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        base = parts[: len(parts) - node.level + self.package]
        return ".".join([*base, *([node.module] if node.module else [])])

    @property
    def digest(self) -> str:
        """A digest of its source."""
        return _digest("\n".join(self.lines))

    def text(self, node: ast.stmt) -> str:
        """Return the source of a statement, with its decorators."""
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        return "\n".join(self.lines[first - 1 : node.end_lineno])


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try)):
            handlers = [statement for handler in getattr(node, "handlers", ()) for statement in handler.body]
            yield from _flat([*node.body, *node.orelse, *handlers])


@functools.cache
def module(name: str) -> Module | None:
    """Return the source of a module, None where there is none."""
    path = path_of(name)
    return parse(name, path.read_text(), package=path.name == "__init__.py") if path else None


def parse(name: str, text: str, *, package: bool = False) -> Module:
    """Return the source of a module that has this text."""
    return Module(name, tuple(text.splitlines()), syntax(text), package)


def targets(node: ast.stmt) -> list[ast.expr]:
    """Return what a statement gives a value to, or takes away."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        return [
            part
            for target in node.targets
            for part in (target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target])
        ]
    if isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        return [node.target]
    return []


@dataclass(frozen=True, eq=False)
class Definition:
    """Something that a module defines: where, and the statement that does."""

    module: Module
    name: str
    node: ast.stmt

    @property
    def key(self) -> str:
        """What it is called in the table."""
        return f"{self.module.name}:{self.name}"

    @property
    def digest(self) -> str:
        """A digest of its source."""
        return _digest(self.module.text(self.node))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def within(here: Module, name: str) -> Definition | None:
    """Return what a name at the top of a module is defined by: an import, where it is imported."""
    for node in reversed(here.top):
        if isinstance(node, (ast.ClassDef, *Function)) and node.name == name:
            return Definition(here, name, node)
        if any(isinstance(target, ast.Name) and target.id == name for target in targets(node)):
            return Definition(here, name, node)
    return Definition(here, name, here.imported[name][1]) if name in here.imported else None


def resolved(dotted: str) -> Module | Definition | None:
    """Return the module, or what is defined in one, that a name with dots means, through all imports."""
    whole = module(dotted) if dotted else None
    if whole is not None:
        return whole
    parent, _, name = dotted.rpartition(".")
    here = module(parent) if parent else None
    if here is None:
        return None
    definition = within(here, name)
    if definition is not None:
        imported = isinstance(definition.node, (ast.Import, ast.ImportFrom))
        return resolved(here.imported[name][0]) if imported else definition
    stars = [node for node in here.top if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]
    for star in stars:
        found = resolved(f"{here.origin(star)}.{name}")
        if found is not None:
            return found
    return None


def bases(definition: Definition) -> Iterator[Definition]:
    """Yield the classes that a class is made from, as far as they can be read."""
    assert isinstance(definition.node, ast.ClassDef)
    for base in definition.node.bases:
        dotted = meant(definition.module, base)
        found = resolved(dotted) if dotted else None
        if isinstance(found, Definition) and isinstance(found.node, ast.ClassDef):
            yield found


def meant(here: Module, node: ast.expr) -> str:
    """Return with all dots what an expression such as ``app.Kernel`` names, "" where it names nothing at the top."""
    if isinstance(node, ast.Attribute):
        before = meant(here, node.value)
        return f"{before}.{node.attr}" if before else ""
    if not isinstance(node, ast.Name):
        return ""
    if node.id in here.imported:
        return here.imported[node.id][0]
    return f"{here.name}.{node.id}" if within(here, node.id) else ""


@functools.cache
def members(body: ast.ClassDef) -> tuple[tuple[str, ast.stmt], ...]:
    """Return what a class itself defines: in its body, and then what its methods give to ``self``."""
    return tuple(_members(body))


def _members(body: ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    for node in _flat(body.body):
        if isinstance(node, Function):
            yield node.name, node
        for target in targets(node):
            if isinstance(target, ast.Name):
                yield target.id, node
    for statement in (node for node in ast.walk(body) if isinstance(node, ast.stmt)):
        for target in targets(statement):
            if isinstance(target, ast.Attribute) and written(target.value) == "self":
                yield target.attr, statement


def member(definition: Definition, name: str) -> Definition | None:
    """Return what a class has under a name, its own or of a class that it is made from."""
    assert isinstance(definition.node, ast.ClassDef)
    found = next((node for known, node in members(definition.node) if known == name), None)
    if found is not None:
        return Definition(definition.module, f"{definition.name}.{name}", found)
    return next(filter(None, (member(base, name) for base in bases(definition))), None)


def at(key: str) -> Module | Definition | None:
    """Return what is called so in the table: a module, or MODULE:NAME, with a dot before the member of a class."""
    name, _, path = key.partition(":")
    here = module(name)
    if here is None or not path:
        return here
    owner, _, attribute = path.partition(".")
    found = within(here, owner)
    if found is None or not attribute:
        return found
    return member(found, attribute) if isinstance(found.node, ast.ClassDef) else None
