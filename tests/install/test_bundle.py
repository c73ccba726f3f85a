"""Bundles: made the same twice, checked, and enough for a machine that reaches nothing."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.install import bundle_reader, wheels
from cncp.release import bundle

from .server import IndexServer
from .support import ROOT, Site

NOTHING = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "PIP_INDEX_URL"), "http://127.0.0.1:9")
"""An environment in which whatever is asked of the network fails at once."""


def manifest(path: Path) -> dict[str, object]:
    """Return what a bundle says of itself."""
    with tarfile.open(path) as archive:
        first = archive.next()
        assert first is not None
        stream = archive.extractfile(first)
        assert (first.name, stream is None) == ("manifest.json", False)
        return dict(json.load(stream))  # type: ignore[arg-type]  # just seen not to be None


def test_what_is_in_it(bundle_file: Path, index: IndexServer, tmp_path: Path) -> None:
    """The same again byte for byte, from another index; every member is in the manifest; no bytecode, no git."""
    again = tmp_path / "again.tar"
    bundle.make(again, "", "", {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "HOME": str(tmp_path)})
    assert again.read_bytes() == bundle_file.read_bytes()
    members = manifest(again)["members"]
    with tarfile.open(again) as archive:
        sums = {
            member.name: hashlib.sha256(stream.read()).hexdigest()
            for member in archive.getmembers()[1:]
            if (stream := archive.extractfile(member))
        }
        assert archive.getmember("code/baremetal.sh").mode == 0o755
    assert sums == members
    tops = {name.split("/")[1] for name in sums if name.startswith("code/")}
    assert tops == {"baremetal.sh", "bootstrap", "cookbooks", "notebooks", "roles"}
    assert not [name for name in sums if name.endswith(".pyc") or "/.git" in name]


def test_other_machines(index: IndexServer, tmp_path: Path) -> None:
    """Each Python and platform has its wheels by its markers; what has none is named."""
    environment = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "HOME": str(tmp_path)}
    targets = bundle.targets("x86_64,musllinux_1_2_aarch64", "3.10,3.13")
    assert [str(target) for target in targets] == [
        f"Python {python} on {name}"
        for python in ("3.10", "3.13")
        for name in ("manylinux_2_28_x86_64", "musllinux_1_2_aarch64")
    ]
    with pytest.raises(CncpError, match=r"have no wheel of .* for Python 3\.13 on musllinux_1_2_aarch64"):
        bundle.make(tmp_path / "x.tar", "musllinux_1_2_aarch64", "3.13", environment)
    for platforms, pythons in (("win32", ""), ("manylinux_x86_64", ""), ("", "3"), ("", "3.9"), ("", "4.1"), (",", "")):
        if platforms != "win32":
            with pytest.raises(UsageError):
                bundle.make(tmp_path / "x.tar", platforms, pythons, environment)
    assert list(tmp_path.glob("*.tar")) == []


def test_a_lone_script_with_a_bundle(bundle_file: Path, home: Path) -> None:
    """One script and one file are all it takes; a new bundle brings its code; a second run does nothing."""
    lone = home / "a folder"
    lone.mkdir()
    shutil.copy(ROOT / "baremetal.sh", lone)
    site = Site(home, code=lone, variables=NOTHING)
    assert "installed in" in site.install("--offline", str(bundle_file))
    assert site.works()
    assert (site.state / "code" / "bootstrap" / "stage0.py").is_file()
    assert {path.name for path in site.state.iterdir()} == {
        *("cache", "cncp.log", "code", "code.lock", "install.lock", "parents", "tools", "venv")
    }
    assert site.install("--offline", str(bundle_file)) == ""
    assert {path.name for path in home.iterdir()} == {".local", "a folder"}


UNLOADED = {
    # What makes the virtualenv.
    *("distlib", "filelock", "packaging", "platformdirs", "python-discovery", "virtualenv"),
    # What IPython and ipyparallel load when somebody's code first asks for it.
    *("asttokens", "decorator", "executing", "ipython-pygments-lexers", "matplotlib-inline", "nest-asyncio2"),
    *("prompt-toolkit", "pure-eval", "pycparser", "stack-data", "tqdm", "wcwidth"),
    "supervisor",  # has the engines where there is no systemd
}
LOADED = """
import sys
import cncp.serve.engine, cncp.tasks.join, cncp.rendezvous.sealing, ipyparallel
from IPython.core.interactiveshell import InteractiveShell
from importlib import metadata
shell = InteractiveShell()
for line in ("!true", "x = [1", "1 / 0", "%time 1"):
    shell.run_cell(line)
found = metadata.packages_distributions()
print("loaded:", *{name for top in found if top in sys.modules for name in found[top]})
"""
"""What an engine of ours imports, and what comes with lines as users send them."""


def of_venv(site: Site, code: str) -> str:
    """Return what the Python of a virtualenv prints."""
    python = site.state / "venv" / "bin" / "python"
    return subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True, cwd="/").stdout


def test_for_engines_alone(bundle_file: Path, index: IndexServer, home: Path, tmp_path: Path) -> None:
    """It has half the size, nothing that engines do not load, and is enough for them; a whole cluster is refused."""
    environment = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "HOME": str(tmp_path)}
    lean = tmp_path / "engines.tar"
    names = bundle.make(lean, "", "", environment, engines_only=True)
    assert lean.stat().st_size < 0.5 * bundle_file.stat().st_size
    code = {name for name in manifest(lean)["members"] if name.startswith("code/")}  # type: ignore[attr-defined]
    assert not [name for name in code if "/locks/dev" in name or "/locks/jupyter" in name or "/notebooks/" in name]
    lone = home / "a folder"
    lone.mkdir()
    shutil.copy(ROOT / "baremetal.sh", lone)
    site = Site(home, code=lone, variables=NOTHING)
    said = site.install("--offline", str(lean), status=4)
    assert "holds only what engines need" in said
    assert "--role engine" in said
    assert not (site.state / "venv").exists()
    assert "installed in" in site.install("--offline", str(lean), "--role", "engine")
    assert site.install("--offline", str(lean), "--role", "engine") == ""
    loaded = of_venv(site, LOADED).rpartition("loaded:")[2].split()
    there = {wheels.normal(name.split("-")[0]) for name in names}
    assert {"jedi", "debugpy", "parso", "uv"}.isdisjoint(there)
    assert there - {wheels.normal(name) for name in loaded} <= UNLOADED
    # Nothing is taken away from one that has all, and all comes where the machine is to have a controller.
    site.install("--offline", str(bundle_file))
    assert of_venv(site, "import debugpy, jedi; print(jedi.__name__)").strip() == "jedi"
    assert "installed in" not in site.install("--offline", str(lean), "--role", "engine")
    assert of_venv(site, "import debugpy, jedi; print(jedi.__name__)").strip() == "jedi"
    # A mirror of what this machine fetched may lack what older C libraries need.
    bundle.for_engines(tmp_path / "here.tar", "sparc", "", "", environment)
    assert (tmp_path / "here.tar").read_bytes() == lean.read_bytes()
    with pytest.raises(UsageError, match="exclude each other"):
        bundle.make(tmp_path / "x.tar", "", "", environment, jupyter=True, engines_only=True)


def test_a_checkout_with_a_bundle_and_requirements(bundle_file: Path, home: Path) -> None:
    """The user's requirements come from the bundle as well, or are said not to be there."""
    site = Site(home, variables=NOTHING)
    mine = home / "mine.txt"
    mine.write_text("no-such-thing\n")
    refusal = site.install("--offline", str(bundle_file), "--requirements", "mine.txt", status=1)
    assert "no-such-thing" in refusal
    mine.write_text("tqdm\n")
    site.install(f"--offline={bundle_file}", "--requirements", "mine.txt")
    assert site.works()


def test_a_bundle_for_another_machine(home: Path, tmp_path: Path) -> None:
    """What it is for and what this is are both named, and nothing is written."""
    other = tmp_path / "other.tar"
    site = Site(home, variables=NOTHING)
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for platforms, pythons in ((["manylinux_2_28_sparc"], [here]), ([wheels.here().platform], ["3.9"])):
        content = {"platforms": platforms, "pythons": pythons, "members": {}}
        (tmp_path / "manifest.json").write_text(json.dumps(content))
        with tarfile.open(other, "w") as archive:
            archive.add(tmp_path / "manifest.json", "manifest.json")
        said = site.install("--offline", str(other), "--python", sys.executable, status=4)
        assert f"{other} is for Python {pythons[0]} on {platforms[0]}; this is Python {here} on" in said
        assert platform.machine() in said
        assert list(home.iterdir()) == []


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "text", "missing"])
def test_a_bundle_that_is_damaged(harm: str, bundle_file: Path, home: Path, tmp_path: Path) -> None:
    """Whatever is wrong with the file: two lines, exit 2, no virtualenv."""
    harmed = tmp_path / "harmed.tar"
    content = bundle_file.read_bytes()
    middle = content.index(b"PK\3\4", len(content) // 2) + 2000
    versions = {
        "cut": content[:middle],
        "changed": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": b"",
        "text": b"not a bundle\n" * 1000,
    }
    if harm in versions:
        harmed.write_bytes(versions[harm])
    site = Site(home, variables=NOTHING)
    said = site.install("--offline", str(harmed), status=2).splitlines()
    assert [line.split(":")[0] for line in said[-2:]] == ["error", "hint"]
    assert str(harmed) in said[-2]
    assert not (site.state / "venv").exists()


def test_a_folder_serves_as_well(bundle_file: Path, tmp_path: Path) -> None:
    """A bundle that was unpacked is one still."""
    with tarfile.open(bundle_file) as archive:
        member = archive.next()
        assert member is not None
        archive.extract(member, tmp_path)
    read = bundle_reader.read(tmp_path)
    read.check(wheels.here())
    assert read.unpack(tmp_path / "elsewhere", wheels.here()) == tmp_path / "wheels"
