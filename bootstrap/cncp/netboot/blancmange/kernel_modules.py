"""The kernel's modules that an initramfs has: those that are named, and all that they need."""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cncp.errors import CncpError
from cncp.netboot.blancmange.cpio_archive import Member, file
from cncp.process import run

_HINT = "see modules in Blancmange's top_config.toml"


def chosen(modules: Path, busybox: Path, names: Iterable[str]) -> dict[str, Member]:
    """Return the files of modules, with the lists by which modprobe finds them.

    ``modules`` is lib/modules/VERSION of a kernel, ``names`` are modules, or folders of theirs such as
    kernel/drivers/ata. A module that is built into the kernel is there already. Raises CncpError.
    """
    wanted = _with_needed(_needs(modules, busybox), names, modules)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "lib/modules" / modules.name
        for name in wanted:
            content = (modules / name).read_bytes()
            path = copy / name.removesuffix(".xz")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(lzma.decompress(content) if name.endswith(".xz") else content)
        copy.mkdir(parents=True, exist_ok=True)
        for name in ("modules.builtin", "modules.order"):
            (copy / name).write_bytes((modules / name).read_bytes())
        _depmod(busybox, Path(temporary), modules.name)
        return {
            f"usr/lib/modules/{modules.name}/{path.relative_to(copy)}": file(path.read_bytes())
            for path in copy.rglob("*")
            if path.is_file()
        }


def _depmod(busybox: Path, root: Path, version: str) -> None:
    run([busybox, "depmod", "-b", root, version], hint=_HINT)


def _needs(modules: Path, busybox: Path) -> dict[str, list[str]]:
    """Return what each module needs, as depmod finds it."""
    if not (modules / "modules.dep").exists():
        _depmod(busybox, modules.parents[2], modules.name)
    lines = (modules / "modules.dep").read_text().splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.removeprefix(f"/lib/modules/{modules.name}/"): needed.split() for name, _, needed in pairs}


def _with_needed(needs: dict[str, list[str]], names: Iterable[str], modules: Path) -> set[str]:
    built_in = {_name(line) for line in (modules / "modules.builtin").read_text().splitlines()}
    by_name = {_name(path): path for path in needs}
    found, left = set[str](), list[str]()
    for name in names:
        if "/" in name and not name.endswith(".ko"):
            left += [path for path in needs if path.startswith(f"{name}/")]
        elif _name(name) in by_name:
            left.append(by_name[_name(name)])
        elif _name(name) not in built_in:
            raise CncpError(f"the kernel {modules.name} has no module {name}", _HINT)
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += needs[path]
    return found


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")
