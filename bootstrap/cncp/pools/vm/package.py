"""A machine made ready to be given away: an image and a box in which nothing is of the one who made them.

Done on a copy that is switched on: what is installed stays, the cluster and its keys are uninstalled,
the virtualenv is made anew, and what is particular to the machine is taken out by the machine itself
(clean.sh). Its first boot makes a cluster, as large as the machine, with keys of its own; as an instance of a cloud
(`cncp cloud.image`) it joins the one that it is given, and has what it would install from (files/cloud/instance.sh).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

from cncp.config.inventory import HostSpec, Inventory
from cncp.console import Console
from cncp.errors import CncpError
from cncp.fleet import deploy, offline_bundle
from cncp.fleet.model import HOME, Fleet, Surveyed
from cncp.fleet.phases.install import Installer
from cncp.fleet.phases.survey import survey
from cncp.install.bundle_reader import sha256
from cncp.pools.vm import box, image, seed
from cncp.pools.vm.about import ABOUT, About
from cncp.pools.vm.guest import Machine
from cncp.pools.vm.qemu import Qemu
from cncp.pools.vm.site import know, named
from cncp.ports import free_block
from cncp.release import bundle
from cncp.ssh.connection import Remote

IMAGE, BOX, SUMS = "cncp-compute.qcow2", "cncp-compute.box", "SHA256SUMS"
"""The files of a package, besides what is said of it."""

_COPY = "cncp-package"
_UNIT, _SCRIPT = "first-boot.service", "clean.sh"
_THERE, _WHEELS = "/tmp/clean.sh", "/tmp/cncp.tar"  # noqa: S108  # on a machine that is ours alone
_KEPT = "/var/lib/cncp-image/cncp.tar"  # where instance.sh looks
_CLEAN = 600.0  # s, emulated

_UNINSTALL = f"""
python=$HOME/{HOME}/venv/bin/python
if [ -e "$HOME/{HOME}/node.json" ]; then CNCP_HERE=true "$python" -I -Xutf8 -m cncp uninstall --quiet; fi
rm -rf "$HOME/{HOME}"
"""


def files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a package in a folder."""
    return tuple(folder / name for name in (IMAGE, BOX, ABOUT.name, SUMS))


def package(machines: Qemu, source: Machine, folder: Path, home: Path, state: Path, console: Console) -> None:
    """Write the files of a package from a machine that is off. Raises CncpError; nothing is left half done.

    ``home`` is the user's, ``state`` our own folder in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".package-") as beside:
        made = Path(beside)
        with _copy(machines, source, home) as copy:
            console.phase(f"starting a copy of {source.name}")
            code = _clean(machines.start([copy])[0].spec, state, console)
            machines.stop(copy.name)
            console.phase("writing the image")
            image.reduce(machines.of(copy.name).disk, made / IMAGE)
        console.phase("writing the box")
        box.pack(made / IMAGE, made / BOX)
        ABOUT.save(made, About(sha256(made / IMAGE), code))
        sums = "".join(f"{sha256(made / name)}  {name}\n" for name in (IMAGE, BOX, ABOUT.name))
        (made / SUMS).write_text(sums)
        for path in files(made):
            path.replace(folder / path.name)


def _clean(way: HostSpec, state: Path, console: Console) -> str:
    """Have the machine as it is to be given away; return the digest of the code that instances of it find there."""
    with Remote(way, strict=True) as remote:
        console.phase("taking out what is particular to it")
        remote.run(["sh", "-c", _UNINSTALL], timeout=_CLEAN)
        code = _bring_bundle(remote, _install(remote, state, console), console)
        unit, script = (resources.files("cncp.pools.vm").joinpath(name).read_bytes() for name in (_UNIT, _SCRIPT))
        remote.put(script, _THERE, 0o700)
        remote.run(["sudo", "sh", _THERE], input=unit, timeout=_CLEAN)
    return code


def _bring_bundle(remote: Remote, there: Surveyed, console: Console) -> str:
    """Bring what an instance of this image installs from; return its digest, "" where it cannot be had here."""
    python = ".".join(map(str, there.facts.version[:2]))
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "cncp.tar")
            bundle.for_engines(path, there.facts.processor, offline_bundle.platform(there), python, os.environ)
            remote.put(path.read_bytes(), _WHEELS)
            digest = sha256(path)
    except CncpError as error:
        console.warn(f"instances of this image have to fetch what they install from: {error.message}")
        return ""
    remote.run(["sudo", "install", "-D", "-m", "0644", _WHEELS, _KEPT])
    return digest


def source(machines: Qemu, name: str) -> Machine:
    """Return the machine of this name, "" for the first, which must be off. Raises CncpError."""
    known = {machine.name: machine for machine in machines.known()}
    if not known:
        raise CncpError("there are no machines under qemu", "make one: cncp vm.up")
    machine = named(name, known)
    if machines.of(machine.name).pid:
        raise CncpError(f"{machine.name} is running", "shut it down first: cncp vm.down")
    return machine


@contextmanager
def _copy(machines: Qemu, source: Machine, home: Path) -> Iterator[Machine]:
    """Give a machine whose disk stands on another's; it is gone afterwards."""
    ssh_port, group = free_block(2)
    copy = replace(source, name=_COPY, number=0, ssh_port=ssh_port, forwards=(), group=group)
    authorized = seed.keys(home)
    try:
        yield machines.make(copy, authorized, machines.of(source.name).disk)
    finally:
        machines.of(copy.name).destroy()
        know(home, {copy.name: ""})


def _install(remote: Remote, state: Path, console: Console) -> Surveyed:
    """Bring our code and a virtualenv, and start nothing: there are no keys before the first boot."""
    spec = remote.spec
    found = survey({spec.name: remote})
    fleet = Fleet(Inventory((spec,)), {spec.name: {}}, state, (spec,), strict=True)
    installed = Installer(fleet, deploy.code(), console).install_all(found.results)
    for error in (*found.failures.values(), *installed.failures.values()):
        raise error
    return found.results[spec.name]
