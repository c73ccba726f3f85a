"""The architecture, held: dependencies point downwards, and stage0 needs nothing but Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CODE = Path(__file__).resolve().parents[2] / "bootstrap" / "cncp"

LAYERS = (
    (
        "errors",
        "interrupted",
        "remote",
        "surroundings",
        "run",
        "console",
        "shape",
        "files",
        "ports",
        "keypair",
        "cluster",
        "openssh",
        "patches",
    ),
    ("inventory", "attributes", "hub", "keys"),
    ("install", "machine", "serve", "supervisord", "bundle", "dist"),
    ("fleet",),
    ("access", "vm"),
    ("tasks", "__main__"),
)
"""Lower layers first; what stands in one layer may use its own and the lower ones."""

ALONE = {
    "cluster": {"errors"},
    "errors": set[str](),
    "interrupted": set[str](),
    "patches": set[str](),
    "run": {"errors", "surroundings"},
    "shape": set[str](),
    "console": {"errors"},
}
"""What the lowest modules may use of ours."""


def imports(path: Path) -> set[str]:
    """Return the parts of cncp that a module imports, by their first name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cncp":
            parts = node.module.split(".")
            found.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(CODE.rglob("*.py")), ids=lambda path: str(path.relative_to(CODE)))
def test_dependencies_point_downwards(path: Path) -> None:
    """No module uses a layer above its own."""
    part = path.relative_to(CODE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    level = next(number for number, names in enumerate(LAYERS) if part in names)
    allowed = {name for names in LAYERS[: level + 1] for name in names}
    assert imports(path) <= ALONE.get(part, allowed)


def test_stage0_is_standard_library_only() -> None:
    """stage0, and all that it imports of ours once it runs, works with no site packages, environment or user folder."""
    later = sorted(
        f"{node.module}.{alias.name}" if (CODE.parent / node.module.replace(".", "/")).is_dir() else node.module
        for node in ast.walk(ast.parse((CODE.parent / "stage0.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cncp"
        for alias in node.names
    )
    assert "cncp.machine.convergence" in later
    code = f"import sys; sys.path.insert(0, {str(CODE.parent)!r}); import stage0, {', '.join(later)}"
    subprocess.run([sys.executable, "-S", "-I", "-c", code], check=True)
