"""Configuration files of traitlets as data: what they assign, without executing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from cncp.errors import UsageError


def assignments(source: str, name: str, notes: list[str]) -> Iterator[tuple[str, str, Any, int]]:
    """Yield (class, trait, value, line) of every ``c.Class.trait = literal``. Raises UsageError."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UsageError(f"{name}{line}: this is not Python", "name a configuration file of ipyparallel") from None
    lines = source.splitlines()
    for node in tree.body:
        if _harmless(node):
            continue
        shown = _short(lines, node)
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        key = None
        if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
            # c.SSHEngineSetLauncher.engines["gold1"] = 4
            key, target = target.slice.value, target.value
        words = _dotted(target)
        if not isinstance(node, ast.Assign) or len(words) != 3 or words[0] != "c":
            notes.append(f"{name}, line {node.lineno}: not read: {shown}")
            continue
        try:
            value = ast.literal_eval(node.value)
            # What cannot be shown again, as numbers of thousands of digits, is nothing that people write.
            repr((key, value))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            notes.append(f"{name}, line {node.lineno}: computed, and so not read: {shown}")
            continue
        yield words[1], words[2], {key: value} if key is not None else value, node.lineno


def _dotted(node: ast.expr | None) -> list[str]:
    """Return the names of c.Class.trait, no more than one of them too many; [] where it is none such."""
    words: list[str] = []
    while isinstance(node, ast.Attribute) and len(words) < 3:
        words.append(node.attr)
        node = node.value
    return [*reversed([*words, node.id])] if isinstance(node, ast.Name) else []


def _harmless(node: ast.stmt) -> bool:
    """Tell whether a statement says nothing: a docstring, an import, ``c = get_config()``."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    called = node.value.func if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) else None
    return isinstance(called, ast.Name) and called.id == "get_config"


def _short(lines: Sequence[str], node: ast.stmt) -> str:
    """Return a statement's first line, or as much as is needed to find it."""
    text = " ".join(lines[node.lineno - 1].split()) if node.lineno <= len(lines) else ""
    return text if len(text) <= 70 and node.end_lineno == node.lineno else text[:67] + "..."
