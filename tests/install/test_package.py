"""The package: what is built holds all of the code, and what is installed does what a checkout does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp import __version__
from cncp.install import source_code

from .server import IndexServer
from .support import ROOT, Site, entries, said

BACKEND = ("hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers")
"""What builds the package, as it is locked with what the tests need."""


def hatch(target: str, source: Path, folder: Path) -> Path:
    """Build a wheel or an sdist of a folder; return the file."""
    argv = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(argv, cwd=source, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this checkout."""
    return hatch("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def backend(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheels of what builds a package, the pinned ones."""
    folder = tmp_path_factory.mktemp("backend")
    wanted = folder / "backend.txt"
    wanted.write_text(entries((ROOT / "bootstrap" / "locks" / "dev.txt").read_text(), BACKEND))
    argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d", str(folder), "-r"]
    subprocess.run([*argv, str(wanted)], check=True, env=dict(os.environ))
    return folder


@pytest.fixture
def uvx(wheelhouse: Path, tmp_path: Path) -> Path:
    """Return the uvx of the locked uv."""
    (packed,) = wheelhouse.glob("uv-*.whl")
    shutil.unpack_archive(packed, tmp_path / "uv", "zip")
    (program,) = (tmp_path / "uv").glob("*/scripts/uvx")
    for file in program.parent.iterdir():
        file.chmod(0o755)
    return program


@pytest.fixture
def near(site: Site) -> Iterator[Site]:
    """Return a home whose path is short enough for supervisord's socket."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        site.home = Path(folder)
        yield site


def installed(site: Site, wheel: Path, folder: Path) -> Path:
    """Install the package with pip into a virtualenv of its own; return its bin folder."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    done = said([str(folder / "bin" / "pip"), "install", "-q", str(wheel)], site.environment, site.home)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_the_wheel_holds_the_code_as_it_is(wheel: Path) -> None:
    """What clusters and hosts are given by a package is to the byte and mode what a checkout gives them."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            info.filename: (archive.read(info), 0o755 if info.external_attr >> 16 & 0o111 else 0o644)
            for info in archive.infolist()
        }
    code = {name.removeprefix("cncp/_code/"): file for name, file in packed.items() if name.startswith("cncp/_code/")}
    assert code == dict(source_code.code(ROOT))
    own = {name: content for name, (content, _) in packed.items() if name.startswith("cncp/") and "/_code/" not in name}
    assert own == {
        name.removeprefix("bootstrap/"): content for name, (content, _) in code.items() if "bootstrap/cncp/" in name
    }
    assert "cncp/py.typed" in own


def test_an_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """What is published can be built by others, who have no repository and no git."""
    with tarfile.open(hatch("sdist", ROOT, tmp_path / "sdist")) as archive:
        # Our own archive; Debian 12's Python has no filters yet.
        archive.extractall(tmp_path / "unpacked")  # noqa: S202
    (source,) = (tmp_path / "unpacked").iterdir()
    again = hatch("wheel", source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
        assert {name: first.read(name) for name in first.namelist()} == {
            name: second.read(name) for name in second.namelist()
        }


def test_an_editable_installation_runs_from_the_checkout(tmp_path: Path) -> None:
    """`pip install --editable .` puts the checkout on the path, and nothing that could stand in for it."""
    with zipfile.ZipFile(hatch("wheel:editable", ROOT, tmp_path / "built")) as archive:
        (path, *others) = sorted(archive.namelist())
        assert path == "_cncp.pth"
        assert archive.read(path).decode() == f"{ROOT / 'bootstrap'}"
        assert all(".dist-info/" in name for name in others)


def test_uvx_runs_what_is_there(site: Site, index: IndexServer, backend: Path, uvx: Path) -> None:
    """`uvx --from .` builds and runs it, and builds it anew once the code has been edited."""
    for file in backend.glob("*.whl"):
        if not (index.folder / file.name).exists():
            shutil.copy(file, index.folder)
    checkout = site.home / "checkout"
    checkout.mkdir()
    for name in source_code.CODE:
        path = ROOT / name
        shutil.copytree(path, checkout / name) if path.is_dir() else shutil.copy(path, checkout / name)
    for name in ("pyproject.toml", "README.rst", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, checkout)
    settings = {"UV_DEFAULT_INDEX": index.url, "UV_PYTHON_DOWNLOADS": "never", "UV_PYTHON": sys.executable}
    environment = {**site.environment, **settings, "UV_CACHE_DIR": str(site.home / "uv-cache")}
    run = [str(uvx), "--from", ".", "cncp", "--version"]
    first = said(run, environment, checkout)
    assert first.stdout.startswith(f"cncp {__version__}\n"), first.stderr
    assert "/_code" in first.stdout
    script = checkout / "bootstrap" / "cncp" / "tasks" / "helptext.py"
    script.write_text(script.read_text().replace('f"cncp {__version__}"', 'f"cncp {__version__} edited"'))
    assert said(run, environment, checkout).stdout.startswith(f"cncp {__version__} edited\n")


def test_it_makes_a_cluster_that_outlives_it(near: Site, wheel: Path, tmp_path: Path) -> None:
    """`pip install`, `cncp up`; the cluster goes on without the package, and follows it to another version."""
    bin_folder = installed(near, wheel, tmp_path / "venv")
    program, own = str(bin_folder / "cncp"), str(near.home / ".local" / "bin" / "cncp")
    environment = near.environment

    def cncp(*words: str, by: str = program, status: int = 0) -> str:
        done = said([by, *words], environment, near.home)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert cncp("--version").startswith(f"cncp {__version__}\n")
    assert cncp("--help").startswith("usage: cncp VERB")
    refused = cncp("status", status=1)
    assert [line.partition(":")[0] for line in refused.splitlines()] == ["error", "hint"]
    try:
        words = ["--engines=1", "--converge=embedded", "--service-manager=supervisor"]
        assert "1/1 engines answer" in cncp("up", *words)
        assert "nothing to change" in cncp("up")
        kept = source_code.kept(near.state)
        files = dict(source_code.code(kept))
        files.pop(source_code.DIGEST, None)
        assert files == dict(source_code.code(ROOT))
        assert f"code: {kept}\n" in cncp("--version", by=own)
        assert cncp("scale", "2", by=own).count("2/2 engines answer") == 1
        # As an earlier version left it.
        (kept / source_code.DIGEST).write_text("0" * 64)
        hint = "hint: bring this one's over: cncp up\n"
        assert cncp("scale", "1", status=1).endswith(hint)
        assert "engine-1" in cncp("status")
        cncp("up")
        assert "1/1 engines answer" in cncp("scale", "1")
        shutil.rmtree(bin_folder.parent)
        assert "idle" in cncp("status", by=own)
    finally:
        if os.path.exists(own):
            cncp("uninstall", by=own)
    assert not (near.home / ".local").exists()


def test_there_is_one_version() -> None:
    """Package and cookbook have one number, and the package needs what clusters are given."""
    metadata = (ROOT / "cookbooks" / "cncp" / "metadata.rb").read_text()
    assert re.findall(r"^version '(.*)'$", metadata, re.MULTILINE) == [__version__]
    project = (ROOT / "pyproject.toml").read_text()
    block = project.partition("\ndependencies = [\n")[2].partition("\n]")[0]
    # What is there with a bound is another package's need, held to what others take.
    lock = (ROOT / "bootstrap/locks/compute.in").read_text()
    wanted = set(re.findall(r"^[a-z-]+(?=[ ;]|$)", lock, re.MULTILINE))
    assert set(re.findall(r'^    "([a-z-]+)', block, re.MULTILINE)) == wanted
