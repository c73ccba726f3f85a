"""Installing Cinc, the freely licensed build of Chef: fetched over TLS, checked, then installed.

No script of anybody is run, and no licence is accepted: Cinc asks for none.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import socket
import ssl
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cncp.errors import CncpError
from cncp.field_types import Digest, Shown, Word
from cncp.machine.converge import chef
from cncp.process import run
from cncp.records import Misfit, Record

HOST = "omnitruck.cinc.sh"
_RELEASE = "18"
_PATIENCE = 3.0
"""Seconds in which the host must answer: where there is no network, nobody is to wait for it."""

_ENTERPRISE = ("almalinux", "centos", "ol", "rhel", "rocky")
_HINT = "install Cinc by hand, or use --converge embedded"


@dataclass(frozen=True)
class Package(Record):
    """What the download service names: where the package is, and what it is."""

    url: Annotated[str, Shown()]
    sha256: Digest
    version: Word

    @property
    def name(self) -> str:
        """The name of the file."""
        return urllib.parse.urlsplit(self.url).path.rpartition("/")[2]


def refusal(environment: Mapping[str, str], root: bool) -> str:
    """Return why Cinc is not to be installed here, "" where nothing speaks against it.

    ``root``: whether commands can be run as root without anybody being asked.
    """
    if environment.get("CNCP_CHEF_INSTALL") == "no":
        return "there is no Chef, and CNCP_CHEF_INSTALL is no"
    if not root:
        return "there is no Chef, and only root could install it"
    if _installer() is None:
        return "there is no Chef, and neither dpkg nor rpm to install it with"
    if not reachable():
        return f"there is no Chef, and {HOST} does not answer"
    return ""


def reachable(host: str = HOST, port: int = 443, patience: float = _PATIENCE) -> bool:
    """Tell whether a host takes connections within ``patience`` seconds, names being resolved included."""
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout=patience).close()
        except OSError:
            return
        answered.set()

    # The resolver has time limits of its own, longer than ours: it is left to itself.
    asking = threading.Thread(target=connect, daemon=True)
    asking.start()
    asking.join(patience)
    return answered.is_set()


def install(
    say: Callable[[str], None],
    *,
    base: str = f"https://{HOST}",
    context: ssl.SSLContext | None = None,
) -> Path:
    """Install Cinc, as root, and return cinc-solo. Raises CncpError, with nothing installed."""
    context = context or ssl.create_default_context()
    installer = _installer()
    if installer is None:
        raise CncpError("there is neither dpkg nor rpm to install Cinc with", _HINT)
    package = metadata(base, context)
    say(f"installing Cinc {package.version} (set CNCP_CHEF_INSTALL=no to have it left out)")
    with tempfile.TemporaryDirectory(prefix="cncp-cinc.") as folder:
        target = Path(folder) / package.name
        fetch(package.url, package.sha256, target, context)
        run([*installer, str(target)], timeout=600)
    program = chef.find()
    if program is None:
        raise CncpError("Cinc was installed, and yet there is no cinc-solo", _HINT)
    return program


def metadata(base: str, context: ssl.SSLContext) -> Package:
    """Return where the package for this machine is, all of it checked for form."""
    system, version = _platform(platform.freedesktop_os_release())
    query = urllib.parse.urlencode({"p": system, "pv": version, "m": platform.machine(), "v": _RELEASE})
    request = urllib.request.Request(f"{base}/stable/cinc/metadata?{query}", headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            package = Package.from_json(answer.read(1 << 20), "its answer")
    except (OSError, Misfit) as error:
        raise CncpError(f"{base} names no package for {system} {version}: {error}", _HINT) from None
    if not package.url.startswith("https://") or not package.name or len(package.sha256) != 64:
        raise CncpError(f"{base} names a package that is not to be trusted: {package.url}", _HINT)
    return package


def fetch(url: str, sha256: str, target: Path, context: ssl.SSLContext) -> None:
    """Fetch a file and keep it only if its content is the one announced."""
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=60, context=context) as answer, target.open("xb") as stream:
            while piece := answer.read(1 << 20):
                digest.update(piece)
                stream.write(piece)
    except OSError as error:
        raise CncpError(f"{url} cannot be fetched: {error}", _HINT) from None
    if digest.hexdigest() != sha256.lower():
        target.unlink()
        raise CncpError(f"{url} is not what was announced: its SHA-256 differs", _HINT)


def _installer() -> list[str] | None:
    if shutil.which("dpkg"):
        return ["dpkg", "--install"]
    if shutil.which("rpm"):
        return ["rpm", "--upgrade", "--verbose"]
    return None


def _platform(release: Mapping[str, str]) -> tuple[str, str]:
    """Return (platform, version) as the service knows them; clones of one system share a package."""
    system, version = release.get("ID", ""), release.get("VERSION_ID", "")
    if system in _ENTERPRISE:
        return "el", version.partition(".")[0]
    return system, version
