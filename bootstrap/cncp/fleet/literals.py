"""Configuration files of traitlets as data: what they assign, without executing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from cncp.errors import UsageError


def assignments(source: str, name: str, notes: list[str]) -> Iterator[tuple[str, str, Any, int]]:
    """Yield (class, trait, value, line) of every ``c.Class.trait = literal``. Raises UsageError."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UsageError(f"{name}{line}: this is not Python", "name a configuration file of ipyparallel") from None
    for node in tree.body:
        if _harmless(node):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        key = None
        if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
            # c.SSHEngineSetLauncher.engines["gold1"] = 4
            key, target = target.slice.value, target.value
        words = ast.unparse(target).split(".") if isinstance(target, ast.Attribute) else []
        if not isinstance(node, ast.Assign) or len(words) != 3 or words[0] != "c":
            notes.append(f"{name}, line {node.lineno}: not read: {_short(node)}")
            continue
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            notes.append(f"{name}, line {node.lineno}: computed, and so not read: {_short(node)}")
            continue
        yield words[1], words[2], {key: value} if key is not None else value, node.lineno


def _harmless(node: ast.stmt) -> bool:
    """Tell whether a statement says nothing: a docstring, an import, ``c = get_config()``."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    return isinstance(node, ast.Assign) and ast.unparse(node).replace(" ", "") == "c=get_config()"


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 70 else text[:67] + "..."
