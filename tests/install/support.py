"""What the tests of the installation share: a copy of the code, wheels of our own, runs of the script."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import os
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def clean(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment in which nothing but ``variables`` tells pip, uv or us anything."""
    hostile = ("PIP_", "UV_", "CNCP_", "XDG_", "GIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hostile)}
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SUDO_USER"):
        kept.pop(name, None)
    for name in [variable for variable in kept if variable.lower().endswith("_proxy")]:
        del kept[name]
    return {**kept, "HOME": str(home), "PIP_CONFIG_FILE": os.devnull, **variables}


@dataclass
class Site:
    """One home, the code it installs, and the environment of its user."""

    home: Path
    code: Path = ROOT
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """CNCP_HOME."""
        return self.home / ".local" / "share" / "cncp"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a run."""
        return clean(self.home, **self.variables)

    def argv(self, *words: str) -> list[str]:
        """Return the command that installs and starts nothing."""
        return ["bash", str(self.code / "baremetal.sh"), "--install-only", *words]

    def install(self, *words: str, status: int = 0) -> str:
        """Install, hold that it ends with ``status``, and return what it said."""
        done = subprocess.run(
            self.argv(*words), env=self.environment, cwd=self.home, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        return done.stderr

    def cncp(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command as the user does."""
        return said([str(self.home / ".local/bin/cncp"), *words], self.environment, self.home)

    def versions(self) -> dict[str, str]:
        """Return what is installed."""
        folders = self.state.glob("venv/lib/python3*/site-packages/*.dist-info")
        return {folder.name.split("-")[0]: folder.name.split("-")[1].removesuffix(".dist") for folder in folders}

    def works(self) -> bool:
        """Tell whether all that controller and engines need can be imported."""
        code = "import ipyparallel, zmq, psutil, supervisor, cncp.tasks"
        python = self.state / "venv" / "bin" / "python"
        return subprocess.run([python, "-s", "-c", code], check=False, cwd="/").returncode == 0


def wheel(
    folder: Path, name: str, version: str, requires: Sequence[str] = (), source: str = "", points: str = ""
) -> Path:
    """Write a wheel of one module that says its version, or has this source; ``points`` are its entry points."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": source or f"version = {version!r}\n",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        **({f"{info}/entry_points.txt": points} if points else {}),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},{_record(text)},{len(text)}\n" for file, text in files.items())
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(file, text)
    return path


@contextmanager
def client_of(site: Site, code: str, argument: str, begins: str) -> Iterator[subprocess.Popen[str]]:
    """Have a client with the cluster's Python, which prints a line once it is where the test wants it."""
    python = str(site.state / "venv" / "bin" / "python")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [python, "-c", code, argument], env=site.environment, cwd=site.home, stdin=pipe, stdout=pipe, text=True
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == f"{begins}\n"
            yield client
        finally:
            client.kill()


@contextmanager
def user_of(site: Site, file: str, requirements: str) -> Iterator[Site]:
    """Have a user with this cluster.toml and these requirements; a cluster that is left is uninstalled."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        site.home = Path(folder)
        (site.home / "cluster.toml").write_text(file)
        (site.home / "requirements.txt").write_text(f"{requirements}\n")
        try:
            yield site
        finally:
            if (site.home / ".local/bin/cncp").exists():
                site.cncp("uninstall")


def _record(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def locked(path: Path) -> str:
    """Return the line of a lock for a wheel."""
    name, version, *_ = path.name.split("-")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def entries(lock: str, names: Collection[str]) -> str:
    """Return what the text of a lock says of these projects."""
    found = re.findall(r"^[a-z].*(?:\n .*)*", lock, re.MULTILINE)
    return "\n".join(entry for entry in found if entry.partition("==")[0] in names)


def authority(folder: Path) -> tuple[Path, Path]:
    """Make a private authority; return its certificate, and that of 127.0.0.1 with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("A private authority", "127.0.0.1")
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    made = []
    for index, extra in ((0, x509.BasicConstraints(ca=True, path_length=0)), (1, alternative)):
        builder = x509.CertificateBuilder(names[0], names[index], keys[index].public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extra, critical=index == 0)
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "authority.pem").write_bytes(made[0])
    (folder / "server.pem").write_bytes(private + made[1])
    return folder / "authority.pem", folder / "server.pem"


def said(argv: Sequence[str], environment: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without a terminal."""
    return subprocess.run(
        argv, env=environment, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
