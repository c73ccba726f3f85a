"""The ssh key that cncp logs in with: one of its own, made once and never overwritten."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError, UsageError
from cncp.files import read_bytes
from cncp.process import run
from cncp.ssh.connection import KEY


@dataclass(frozen=True)
class Made:
    """A key pair: where it is, its fingerprint, whether it is new, and whether an agent holds it."""

    path: Path
    fingerprint: str
    new: bool
    in_agent: bool


def has_terminal() -> bool:
    """Tell whether there is a terminal on which somebody can be asked."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def public_part(private: Path) -> Path:
    """Return where the public key of a private one is."""
    return private.with_name(private.name + ".pub")


def generate(environment: Mapping[str, str], *, passphrase: bool, say: Callable[[str], None]) -> Made:
    """Make the key where there is none, and hand it to a running agent. Raises CncpError.

    ssh-keygen asks for the passphrase itself, on the terminal; ``passphrase`` False makes a key without.
    """
    path = Path.home() / KEY
    new = not path.exists()
    if new:
        if public_part(path).exists():
            raise CncpError(
                f"{public_part(path)} is there without its private key", "move it away, then run this again"
            )
        if passphrase and not has_terminal():
            raise UsageError(
                "there is no terminal on which to ask for a passphrase",
                "run this in a terminal, or leave it out on purpose: --no-passphrase",
            )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        say(f"making {path}")
        _make(path, passphrase)
    return Made(path, fingerprint(public_part(path)), new, _in_agent(path, environment, say))


def _make(path: Path, passphrase: bool) -> None:
    """Make a key pair beside and move it into place: cut off, it leaves nothing that looks like a key."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".cncp-") as folder:
        made = Path(folder) / path.name
        comment = f"cncp {socket.gethostname()}"
        # "-N" stands on the command line with the empty passphrase alone.
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-C", comment, "-f", str(made)]
        run(words if passphrase else [*words, "-N", ""], capture=not passphrase)
        if passphrase and run(["ssh-keygen", "-y", "-P", "", "-f", made], check=False).ok:
            raise CncpError("no passphrase was given, so no key was made", "if that is meant, say --no-passphrase")
        try:
            # Unlike a rename, a link never replaces what somebody else has just made.
            os.link(made, path)
            os.link(public_part(made), public_part(path))
        except FileExistsError:
            raise CncpError(f"{path} has just been made by somebody else", "run this again to use it") from None


def fingerprint(public: Path) -> str:
    """Return the fingerprint of a public key as ssh shows it. Raises CncpError."""
    shown = run(["ssh-keygen", "-l", "-f", public], check=False)
    words = shown.stdout.split()
    if not shown.ok or len(words) < 2:
        private = public.with_suffix("")
        raise CncpError(f"{public} is no public key", f"make it again: ssh-keygen -y -f {private} > {public}")
    return words[1]


def _in_agent(path: Path, environment: Mapping[str, str], say: Callable[[str], None]) -> bool:
    """See to it that a running agent holds the key; tell whether one does."""
    if not environment.get("SSH_AUTH_SOCK"):
        return False
    listed = run(["ssh-add", "-l"], check=False)
    if listed.status == 2:
        return False
    if fingerprint(public_part(path)) in listed.stdout:
        return True
    say("adding it to the ssh-agent")
    return run(["ssh-add", "-q", path], check=False, capture=not has_terminal()).ok


@dataclass(frozen=True)
class PublicKey:
    """A public key as it stands in a file: what identifies it, and its comment."""

    kind: str
    blob: str
    comment: str

    @property
    def identity(self) -> str:
        """Kind and key, as they stand in every authorized_keys that has it, whatever is around them."""
        return f"{self.kind} {self.blob}"

    @property
    def line(self) -> str:
        """The line for authorized_keys."""
        return f"{self.identity} {self.comment}".strip()


def public_key(named: str = "") -> PublicKey:
    """Read a public key; ours where none is named. Raises UsageError."""
    path = Path(named).expanduser() if named else public_part(Path.home() / KEY)
    content = read_bytes(path)
    if content is None:
        hint = "name a public key, such as ~/.ssh/id_ed25519.pub" if named else "make one: cncp keys.generate"
        raise UsageError(f"there is no public key {path}", hint)
    words = content.decode(errors="replace").split(maxsplit=2)
    if b"PRIVATE KEY" in content:
        raise UsageError(f"{path} is a private key, which never leaves this machine", f"name {path}.pub")
    if len(words) < 2 or not words[1].startswith("AAAA") or len(content.strip().splitlines()) != 1:
        raise UsageError(f"{path} is no public key", "name a file with one line, as ssh-keygen writes it")
    return PublicKey(words[0], words[1], words[2].strip() if len(words) > 2 else "")


def usable() -> bool:
    """Tell whether our key can be used without a question: an agent holds it, or it has no passphrase."""
    path = Path.home() / KEY
    if not path.exists():
        return False
    listed = run(["ssh-add", "-l"], check=False)
    held = listed.ok and fingerprint(public_part(path)) in listed.stdout
    return held or run(["ssh-keygen", "-y", "-P", "", "-f", path], check=False).ok
