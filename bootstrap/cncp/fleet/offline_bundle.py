"""Hosts that reach no package index: one bundle for all of them, made here and sent."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from cncp.files import make_home
from cncp.fleet.model import Surveyed
from cncp.release import bundle

_OLDEST = "2_17"
"""glibc of the oldest wheels (PEP 600 calls it manylinux2014): for hosts that say nothing of theirs."""


def provide(
    hosts: Collection[Surveyed], home: Path, code: str, environment: Mapping[str, str], say: Callable[[str], None]
) -> bytes:
    """Return the bundle that all of these hosts install from; made once and kept in ``home``.

    A bundle this machine was itself told to install from (CNCP_OFFLINE) serves the others as well.
    ``code`` is the digest of our code. Raises CncpError where a package cannot be had for one of them.
    """
    named = environment.get("CNCP_OFFLINE")
    if named:
        return Path(named).read_bytes()
    platforms = ",".join(sorted({platform(host) for host in hosts}))
    pythons = ",".join(sorted({".".join(map(str, host.facts.version[:2])) for host in hosts}))
    key = hashlib.sha256(f"{code} {platforms} {pythons}".encode()).hexdigest()[:16]
    path = home / f"offline-{key}.tar"
    if not path.exists():
        make_home(home)
        say(f"making a bundle for {platforms} and Python {pythons}")
        bundle.make(path, platforms, pythons, environment)
        for former in home.glob("offline-*.tar"):
            if former != path:
                former.unlink(missing_ok=True)
    return path.read_bytes()


def platform(surveyed: Surveyed) -> str:
    """Return a host's platform as wheels name it (PEP 600, PEP 656)."""
    name, version = surveyed.facts.libc
    match = re.match(r"(\d+)\.(\d+)", version) if name == "glibc" else None
    return f"manylinux_{f'{match[1]}_{match[2]}' if match else _OLDEST}_{surveyed.facts.processor}"


def needed(surveyed: Surveyed) -> bool:
    """Tell whether a host is to be served from here."""
    return surveyed.host.spec.offline or bool(os.environ.get("CNCP_OFFLINE"))
