"""What is read of locks and wheels by ourselves, before any package is there, held against the library `packaging`."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from cncp.config.sources import SOURCE
from cncp.install import markers, wheels
from cncp.install.wheels import Target

LOCKS = sorted((SOURCE / "bootstrap" / "locks").glob("*.txt"))

TARGETS = [
    Target((3, minor), machine, libc, version)
    for minor, machine, (libc, version) in itertools.product(
        range(10, 15), ("x86_64", "aarch64"), (("glibc", (2, 17)), ("glibc", (2, 36)), ("musl", (1, 2)))
    )
]

OLD_NAMES = {(2, 5): "manylinux1", (2, 12): "manylinux2010", (2, 17): "manylinux2014"}

INTERPRETERS = [
    "py3-none",
    "py2.py3-none",
    "py2-none",
    "py39-none",
    "py313-none",
    "cp312-none",
    "cp311-cp311",
    "cp310-cp310",
    "cp314-cp314",
    "cp313-cp313t",
    "cp38-abi3",
    "cp312-abi3",
    "cp37-cp37m",
    "pp310-pypy310_pp73",
]

PLATFORMS = [
    "any",
    "linux_x86_64",
    "win_amd64",
    "macosx_11_0_arm64",
    "manylinux1_x86_64",
    "manylinux2010_x86_64",
    "manylinux2014_aarch64",
    "manylinux_2_17_x86_64.manylinux2014_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_39_aarch64",
    "manylinux_3_0_x86_64",
    "musllinux_1_1_x86_64",
    "musllinux_1_2_aarch64",
]


def platforms(target: Target) -> list[str]:
    """Return the platform tags of a target, by PEP 600 and 656."""
    major, newest = target.libc_version
    family = "manylinux" if target.libc == "glibc" else "musllinux"
    found = [f"linux_{target.machine}"]
    for minor in range(newest + 1):
        found.append(f"{family}_{major}_{minor}_{target.machine}")
        if target.libc == "glibc" and (major, minor) in OLD_NAMES:
            found.append(f"{OLD_NAMES[major, minor]}_{target.machine}")
    return found


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_wheels_that_fit(target: Target) -> None:
    """A wheel runs on a target here where it does there."""
    abi = f"cp{target.python[0]}{target.python[1]}"
    tags = {
        *cpython_tags(target.python, [abi], platforms(target)),
        *compatible_tags(target.python, abi, platforms(target)),
    }
    names = [f"a-1-{interpreter}-{platform}.whl" for interpreter in INTERPRETERS for platform in PLATFORMS]
    assert [name for name in names if wheels.fits(name, target)] == [
        name for name in names if parse_wheel_filename(name)[3] & tags
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.stem))
def test_markers_of_the_locks(lock: Path) -> None:
    """Every marker that is locked is true for the same targets."""
    found = set(re.findall(r";\s*(.*?)\s*\\?$", lock.read_text(), re.MULTILINE))
    for marker, target in itertools.product(sorted(found), TARGETS):
        environment = target.environment
        assert markers.holds(marker, environment) is Marker(marker).evaluate(environment), f"{marker} on {target}"


@pytest.mark.parametrize("operator", ["<", "<=", "==", "!=", ">", ">="])
def test_versions(operator: str) -> None:
    """Releases of Python, which are what markers compare, come in the same order."""
    for first, second in itertools.product(("3.9", "3.10", "3.10.0", "3.11.5", "3.14"), repeat=2):
        environment = {**TARGETS[0].environment, "python_full_version": first}
        expected = Version(first) in SpecifierSet(f"{operator}{second}")
        assert markers.holds(f"python_full_version {operator} '{second}'", environment) is expected


@pytest.mark.parametrize("name", ["PyYAML", "ruamel.yaml", "a__b", "zope.-_interface", "types-docutils"])
def test_names(name: str) -> None:
    """Projects have the same one name."""
    assert wheels.normal(name) == canonicalize_name(name)
