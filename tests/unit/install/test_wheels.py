"""Locks, markers, and which wheel runs where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cncp.install import markers, wheels
from cncp.install.wheels import Target

LOCKS = sorted((Path(__file__).resolve().parents[3] / "bootstrap" / "locks").glob("*.txt"))

DEBIAN = Target((3, 11), "x86_64", "glibc", (2, 36))
OLD = Target((3, 13), "aarch64", "glibc", (2, 17))
ALPINE = Target((3, 12), "x86_64", "musl", (1, 2))


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("a-1-py3-none-any.whl", [DEBIAN, OLD, ALPINE]),
        ("a-1-py2.py3-none-any.whl", [DEBIAN, OLD, ALPINE]),
        ("a-1-py2-none-any.whl", []),
        ("a-1-py312-none-any.whl", [OLD, ALPINE]),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", [DEBIAN]),
        ("a-1-cp39-abi3-manylinux2014_aarch64.whl", [OLD]),
        ("a-1-cp39-abi3-manylinux_2_28_aarch64.whl", []),
        ("a-1-cp312-abi3-manylinux_2_5_x86_64.whl", []),
        ("a-1-cp312-cp312-musllinux_1_2_x86_64.whl", [ALPINE]),
        ("a-1-1-cp313-cp313t-manylinux2014_aarch64.whl", []),
        ("a-1-py3-none-manylinux1_x86_64.whl", [DEBIAN]),
        ("a-1-py3-none-linux_x86_64.whl", [DEBIAN, ALPINE]),
        ("a-1-cp311-cp311-win_amd64.whl", []),
        ("a-1-cp311-cp311-macosx_11_0_arm64.whl", []),
    ],
)
def test_which_wheel_fits(name: str, fitting: list[Target]) -> None:
    """Tags are read as PEP 425, 600 and 656 have them."""
    assert [target for target in (DEBIAN, OLD, ALPINE) if wheels.fits(name, target)] == fitting


def test_the_closest_wheel_is_chosen() -> None:
    """Compiled for this Python, else for any Python 3, else for everything."""
    names = ["a-1-py3-none-any.whl", "a-1-cp38-abi3-manylinux1_x86_64.whl", "a-1-cp311-cp311-manylinux1_x86_64.whl"]
    assert wheels.choose(names, DEBIAN) == names[::-1]


@pytest.mark.parametrize(
    ("marker", "true"),
    [
        ("python_full_version < '3.11'", False),
        ('python_version >= "3.9" and sys_platform == "linux"', True),
        ("(os_name == 'nt' or platform_machine == 'x86_64') and implementation_name != 'pypy'", True),
        ("python_version not in '3.10 3.12'", True),
        ("'3.12' <= python_full_version", False),
    ],
)
def test_markers(marker: str, true: bool) -> None:
    """Versions compare as versions, the rest as text."""
    assert markers.holds(marker, DEBIAN.environment) is true


@pytest.mark.parametrize("marker", ["__import__('os')", "no_such == 'x'", "python_version", "python_version <"])
def test_a_marker_that_is_none(marker: str) -> None:
    """Nothing in a marker is executed; what is not understood is refused."""
    with pytest.raises(ValueError, match="is not understood"):
        markers.holds(marker, DEBIAN.environment)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.stem))
def test_locks(lock: Path) -> None:
    """Every line has hashes, and for every Python there is one version of each project."""
    lines = [line for line in lock.read_text().splitlines() if line and not line.startswith((" ", "#"))]
    packages = set()
    for minor in range(10, 15):
        for machine in ("x86_64", "aarch64"):
            found = wheels.read_lock(lock, markers.of((3, minor), machine))
            assert len({package.name for package in found}) == len(found)
            assert all(package.hashes for package in found)
            packages.update(found)
    # What a bundle takes is chosen for 3.11, not for each of its releases.
    assert not re.search(r"python_full_version [<>=!]+ '3\.\d+\.[1-9]", lock.read_text())
    elsewhere = [line for line in lines if any(f"'{platform}'" in line for platform in ("win32", "darwin", "pypy"))]
    assert len(lines) - len(elsewhere) <= len(packages) <= len(lines)


def test_locks_agree() -> None:
    """What Jupyter, clouds and the tests share with every installation is the same there, for every Python."""
    for minor in range(10, 15):
        environment = markers.of((3, minor), "x86_64")
        locked = {
            lock.stem: {package.name: package.version for package in wheels.read_lock(lock, environment)}
            for lock in LOCKS
            if lock.stem != "bootstrap"
        }
        for group in ("jupyter", "dev", "ec2", "openstack", "store"):
            shared = locked["compute"].keys() & locked[group].keys()
            assert {name: locked[group][name] for name in shared} == {name: locked["compute"][name] for name in shared}
