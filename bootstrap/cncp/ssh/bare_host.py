"""What runs on a host before anything of ours is there: looked at, given the code, made to dial.

Constraints: the standard library alone, one file, Python 3.10 or newer. Its source goes over ssh as
an argument of that host's Python (``call``), the answer comes back as one JSON object; nothing is
left behind. ``FIND`` picks the Python.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import platform
import pwd
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

FIND = """
for python in "$1" python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    [ -n "$python" ] || continue
    if command -v "$python" >/dev/null 2>&1 &&
        "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        shift
        exec "$python" -I -c "$@"
    fi
done
exit 97
"""
"""POSIX shell: run the rest of the arguments with the first Python that is new enough, or exit with 97."""

NO_PYTHON = 97

DIGEST = ".digest"
"""In a folder of code: the digest of the archive that it came in."""


def place(home: str) -> Path:
    """Return the folder named relative to the login user's home."""
    return Path.home() / home


def probe(*homes: str) -> dict[str, object]:
    """Say what this machine is, and which code is in the folders ``homes``. Changes nothing."""
    folder = place(homes[0])
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    room = os.statvfs(existing)
    login = Path.home().stat()
    boot = _text("/proc/sys/kernel/random/boot_id")
    name = socket.gethostname()
    return {
        "clock": time.time(),
        "addresses": addresses(),
        "code": {home: _code(place(home)) for home in homes},
        "made_with": {home: _made_with(place(home)) for home in homes},
        "cores": len(os.sched_getaffinity(0)),
        "free": room.f_bavail * room.f_frsize,
        "seen_from": os.environ.get("SSH_CONNECTION", "").partition(" ")[0],
        "home": str(Path.home()),
        # The same folder seen from two machines has both the same; copies of a disk may, too.
        "home_id": [login.st_ino, login.st_ctime_ns],
        "host": name,
        # Containers share the kernel's boot id, clones of a disk the machine's: all of it tells.
        "libc": platform.libc_ver(),
        "machine": hashlib.sha256(f"{boot} {name} {_text('/etc/machine-id')}".encode()).hexdigest()[:16],
        "processor": platform.machine(),
        "python": sys.executable,
        "real_python": os.path.realpath(sys.executable),
        "tunnels": [str(host) for home in homes for host in _with_tunnels(place(home))],
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "version": list(sys.version_info[:3]),
        "writable": os.access(existing, os.W_OK),
    }


def _code(home: Path) -> str:
    """Return the digest of the code in ``home``, where its virtualenv is whole; else nothing."""
    if not (home / "venv" / "cncp-installed.json").exists():
        return ""
    return _text(str(home / "code" / DIGEST))


def _made_with(home: Path) -> str:
    """Return the Python that the virtualenv in ``home`` was made with; "" where there is none."""
    try:
        return str(json.loads(_text(str(home / "venv" / "cncp-installed.json")))["python"])
    except (KeyError, TypeError, ValueError):
        return ""


def _with_tunnels(home: Path) -> list[Path]:
    """Return which of ``home`` and the folders in it, one for each host that shares it, have tunnels."""
    return [path.parent for path in (home / "tunnels", *home.glob("*/tunnels")) if path.is_dir()]


def addresses() -> list[str]:
    """Return this machine's IPv4 addresses but those of the loopback (/proc/net/fib_trie, "host LOCAL")."""
    lines = _text("/proc/net/fib_trie").splitlines()
    pairs = itertools.pairwise(lines)
    own = {line.split()[-1] for line, after in pairs if after.split()[:2] == ["/32", "host"] and "LOCAL" in after}
    return sorted(address for address in own if not address.startswith("127."))


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def mark(nonce: str, name: str) -> dict[str, object]:
    """Leave a mark in the home folder, by which other hosts see whether it is theirs as well."""
    (Path.home() / f".cncp-{nonce}-{name}").touch(mode=0o600)
    return {}


def marks(nonce: str) -> dict[str, object]:
    """Return whose marks are in this home folder."""
    prefix = f".cncp-{nonce}-"
    return {"names": sorted(path.name.removeprefix(prefix) for path in Path.home().glob(prefix + "*"))}


def unmark(nonce: str) -> dict[str, object]:
    """Take all marks away."""
    for path in Path.home().glob(f".cncp-{nonce}-*"):
        path.unlink(missing_ok=True)
    return {}


def receive(home: str, digest: str, parents: str) -> dict[str, object]:
    """Unpack code from standard input into the folder ``code`` of ``home``, in one step.

    ``parents`` is the file in which is noted what was made above ``home``, for an uninstall.
    """
    # Not at the top: most verbs do without, and every host pays for what is imported.
    import tarfile
    import tempfile

    folder = place(home)
    missing = [str(parent) for parent in folder.parents if not parent.is_dir()]
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        (folder / parents).write_text("".join(f"{parent}\n" for parent in missing))
    new = Path(tempfile.mkdtemp(prefix="code.", dir=folder))
    try:
        with tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), mode="r:gz") as archive:
            # Old Pythons have no filters; the archive is our own, from a host that may run anything here.
            archive.extractall(new, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]  # noqa: S202
        (new / DIGEST).write_text(digest)
        new.chmod(0o700)
        old = folder / "code.old"
        shutil.rmtree(old, ignore_errors=True)
        if (folder / "code").exists():
            (folder / "code").rename(old)
        new.rename(folder / "code")
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return {}


def share(root: str, name: str) -> dict[str, object]:
    """Make the folder of one host in a home that several have, with the virtualenv they share."""
    folder = place(root) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / "venv"
    if not os.path.lexists(link):
        link.symlink_to(Path("..") / "venv")
    return {}


def remove(root: str, parents: str) -> dict[str, object]:
    """Remove a folder of ours, and those above it that were made for it and are empty now."""
    folder = place(root)
    above = [Path(line) for line in _text(str(folder / parents)).splitlines()]
    shutil.rmtree(folder, ignore_errors=True)
    for parent in sorted(above, reverse=True):
        try:
            parent.rmdir()
        except OSError:
            break
    return {}


def host_keys() -> dict[str, object]:
    """Return the public keys that this machine's sshd shows itself by, where it keeps them as all do."""
    found = [_text(str(path)).split() for path in sorted(Path("/etc/ssh").glob("ssh_host_*_key.pub"))]
    return {"keys": [" ".join(words[:2]) for words in found if len(words) >= 2]}


ZEROMQ = "ff"
"""How a ZeroMQ socket's greeting begins, in hex (ZMTP 3.1, section 3.2)."""

SSH = b"SSH-".hex()
"""How sshd's greeting begins (RFC 4253, section 4.2)."""


def dial(
    addresses: list[str], ports: list[int], timeout: float, greeting: str = ZEROMQ
) -> dict[str, dict[str, list[int]]]:
    """Return, for each address, the ports that answer with a greeting within ``timeout`` seconds."""
    from concurrent.futures import ThreadPoolExecutor

    begins = bytes.fromhex(greeting)
    pairs = [(address, port) for address in addresses for port in ports]
    with ThreadPoolExecutor(max(1, len(pairs))) as pool:
        answers = list(pool.map(lambda pair: _greeted(pair[0], pair[1], timeout, begins), pairs))
    found: dict[str, list[int]] = {address: [] for address in addresses}
    for (address, port), answered in zip(pairs, answers, strict=True):
        if answered:
            found[address].append(port)
    return {"open": found}


def _greeted(address: str, port: int, timeout: float, begins: bytes) -> bool:
    try:
        with socket.create_connection((address, port), timeout=timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(len(begins), socket.MSG_WAITALL) == begins
    except OSError:
        return False


VERBS: dict[str, Callable[..., object]] = {
    "probe": probe,
    "mark": mark,
    "marks": marks,
    "unmark": unmark,
    "receive": receive,
    "share": share,
    "remove": remove,
    "dial": dial,
    "host_keys": host_keys,
}


def main() -> int:
    """Do what the arguments say: a verb, and its arguments as a JSON list."""
    try:
        print(json.dumps(VERBS[sys.argv[1]](*json.loads(sys.argv[2]))))
    except OSError as error:
        sys.stderr.write(f"{error.filename or ''}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
