"""Environment markers of locks ("python_full_version < '3.11'"), for this machine and for others.

pip evaluates markers for the Python it runs in only; a bundle is made for others. A marker is an
expression of Python's own grammar, so Python's parser reads it; nothing in it is executed.
Specification: "Dependency specifiers" of the Python packaging guide.
"""

from __future__ import annotations

import ast
import platform
import re
import sys
from collections.abc import Mapping

_VERSIONS = ("python_version", "python_full_version")


def here(python: tuple[int, int]) -> dict[str, str]:
    """Return the environment of this machine with a Python of version ``python``."""
    return of(python, platform.machine())


def of(python: tuple[int, int], machine: str) -> dict[str, str]:
    """Return the environment of CPython on Linux."""
    version = f"{python[0]}.{python[1]}"
    return {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{version}.0",
        "python_version": version,
        "sys_platform": "linux" if sys.platform.startswith("linux") else sys.platform,
    }


def holds(marker: str, environment: Mapping[str, str]) -> bool:
    """Tell whether a marker is true. Raises ValueError on one that is not understood."""
    try:
        return _holds(ast.parse(marker.strip(), mode="eval").body, environment)
    except (SyntaxError, KeyError) as error:
        raise ValueError(f"the marker {marker!r} is not understood: {error}") from None


def _holds(node: ast.expr, environment: Mapping[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        every = all if isinstance(node.op, ast.And) else any
        return every(_holds(value, environment) for value in node.values)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _compare(node.left, node.ops[0], node.comparators[0], environment)
    raise SyntaxError(ast.unparse(node))


def _compare(left: ast.expr, operator: ast.cmpop, right: ast.expr, environment: Mapping[str, str]) -> bool:
    first, second = _value(left, environment), _value(right, environment)
    if isinstance(operator, (ast.In, ast.NotIn)):
        return (first in second) == isinstance(operator, ast.In)
    if any(isinstance(side, ast.Name) and side.id in _VERSIONS for side in (left, right)):
        low, high = _version(first), _version(second)
        order = (low > high) - (low < high)
    else:
        order = (first > second) - (first < second)
    results = {ast.Eq: order == 0, ast.NotEq: order != 0, ast.Lt: order < 0, ast.LtE: order <= 0}
    results.update({ast.Gt: order > 0, ast.GtE: order >= 0})
    return results[type(operator)]


def _value(node: ast.expr, environment: Mapping[str, str]) -> str:
    if isinstance(node, ast.Name):
        return environment[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise SyntaxError(ast.unparse(node))


def _version(text: str) -> tuple[int, ...]:
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
