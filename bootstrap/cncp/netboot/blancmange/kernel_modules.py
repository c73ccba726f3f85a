"""The kernel's modules that an initramfs has: those that are named, and all that they need.

What a module needs by its code stands in modules.dep. What it asks the kernel for while it runs, such as ext4 for
crc32c, it says of itself (MODULE_SOFTDEP), maybe by an alias; in one kernel that is a module and in another built in.
"""

from __future__ import annotations

import lzma
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from cncp.errors import CncpError
from cncp.netboot.blancmange.cpio_archive import Member, file, link
from cncp.process import run

_HINT = "see modules in Blancmange's top_config.toml"


def chosen(modules: Path, busybox: Path, names: Iterable[str]) -> dict[str, Member]:
    """Return the files of modules, with the lists by which modprobe finds them, and modprobe where the kernel asks it.

    ``modules`` is lib/modules/VERSION of a kernel, ``names`` are modules, or folders of theirs such as
    kernel/drivers/ata. A module that is built into the kernel is there already. Raises CncpError.
    """
    wanted = _Modules(modules, busybox).with_needed(names)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "lib/modules" / modules.name
        for name in wanted:
            path = copy / name.removesuffix(".xz")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content(modules / name))
        copy.mkdir(parents=True, exist_ok=True)
        for name in ("modules.builtin", "modules.order"):
            (copy / name).write_bytes((modules / name).read_bytes())
        _depmod(busybox, Path(temporary), modules.name)
        files = {
            f"usr/lib/modules/{modules.name}/{path.relative_to(copy)}": file(path.read_bytes())
            for path in copy.rglob("*")
            if path.is_file()
        }
        # kernel.modprobe, proc(5).
        return {**files, "usr/sbin/modprobe": link("../bin/busybox")}


def _depmod(busybox: Path, root: Path, version: str) -> None:
    run([busybox, "depmod", "-b", root, version], hint=_HINT)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


class _Modules:
    """The modules of a kernel, as depmod finds them."""

    def __init__(self, folder: Path, busybox: Path) -> None:
        self._folder = folder
        if not (folder / "modules.dep").exists():
            _depmod(busybox, folder.parents[2], folder.name)
        pairs = (line.partition(":") for line in self._lines("modules.dep"))
        self._needs = {name.removeprefix(f"/lib/modules/{folder.name}/"): needed.split() for name, _, needed in pairs}
        self._by_name = {_name(path): path for path in self._needs}
        self._built_in = {_name(line) for line in self._lines("modules.builtin")}
        self._by_alias: dict[str, list[str]] = {}
        for line in self._lines("modules.alias"):
            words = line.split()
            if len(words) == 3 and words[0] == "alias":
                self._by_alias.setdefault(words[1], []).append(words[2])

    def _lines(self, name: str) -> list[str]:
        path = self._folder / name
        return path.read_text().splitlines() if path.exists() else []

    def with_needed(self, names: Iterable[str]) -> set[str]:
        """Return the paths of modules and of all that they need. Raises CncpError for one that there is not."""
        found, left = set[str](), list[str]()
        for name in names:
            if "/" in name and not name.endswith(".ko"):
                left += [path for path in self._needs if path.startswith(f"{name}/")]
            elif _name(name) in self._by_name:
                left.append(self._by_name[_name(name)])
            elif _name(name) not in self._built_in:
                raise CncpError(f"the kernel {self._folder.name} has no module {name}", _HINT)
        while left:
            path = left.pop()
            if path not in found:
                found.add(path)
                left += [*self._needs[path], *self._asked_for(path)]
        return found

    def _asked_for(self, path: str) -> Iterator[str]:
        """Yield the modules that one says it may ask for; what there is none of may be built in."""
        for said in re.findall(rb"\0softdep=([^\0]+)\0", _content(self._folder / path)):
            for word in said.decode(errors="replace").split():
                for name in (word, *self._by_alias.get(word, ())):
                    if _name(name) in self._by_name:
                        yield self._by_name[_name(name)]


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")
