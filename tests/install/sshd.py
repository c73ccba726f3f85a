"""An sshd of the test's own on addresses of loopback, which lets in whoever runs the test."""

from __future__ import annotations

import getpass
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = Path("/usr/sbin/sshd")


@dataclass(frozen=True)
class Server:
    """A server that runs: its port on all of 127.0.0.0/8, its key as known_hosts has it, who may log in."""

    port: int
    host_key: str
    user: str


def key(path: Path) -> str:
    """Make an ssh key; return its public half."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(words, check=True)
    return path.with_name(f"{path.name}.pub").read_text().strip()


@contextmanager
def serving(folder: Path, let_in: str) -> Iterator[Server]:
    """Run sshd for the length of a block; ``let_in`` is the public key that opens it."""
    host_key = key(folder / "host")
    (folder / "authorized_keys").write_text(f"{let_in}\n")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 0.0.0.0\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen(
        [SSHD, "-D", "-e", "-f", folder / "config"], stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stderr is not None
        try:
            assert any("Server listening" in line for line in process.stderr), "sshd has not come up"
            yield Server(port, host_key, getpass.getuser())
        finally:
            process.terminate()
