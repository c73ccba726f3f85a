"""Engines behind a firewall: ssh carries the controller's ports to the loopback of their machine.

    venv/bin/python -I -Xutf8 -m cncp.remote tunnels

Either machine may be the one that logs in: that of the engines to the controller's (forward), or
the controller's to that of the engines (reverse). The machine in charge leaves on it what its
services need, by this module: standard input holds a JSON object with ``wanted`` tunnels and the
names of others to ``keep``; the answer has ``changed`` and the ``public`` key that the machine at
the other end is to let in. That key is for these ports alone, so it needs no passphrase, and no
agent has to be there.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp import accounts
from cncp.config.settings import LOOPBACK
from cncp.console import answered
from cncp.errors import CncpError
from cncp.files import read_bytes, write_atomic
from cncp.records import Record
from cncp.ssh import keypair, openssh
from cncp.ssh.keypair import TunnelKey
from cncp.state_files import StateFile

_FOLDER = "tunnels"


@dataclass(frozen=True)
class Tunnel:
    """One ssh: ``name`` is that of its service, and of the host by its ``host_keys``.

    ``ports`` are the controller's for engines, ``bound`` the address on its machine that has them;
    ``reverse`` is a tunnel that the controller's machine keeps to one of engines. The rest is the
    way to the other machine, as in ``inventory.HostSpec``.
    """

    name: str
    host: str
    host_keys: tuple[str, ...]
    ports: tuple[int, ...]
    bound: str
    reverse: bool
    user: str = ""
    port: int = 0
    jump: str = ""
    address: str = ""


@dataclass(frozen=True)
class Tunnels(Record):
    """What a machine is to connect."""

    tunnels: tuple[Tunnel, ...] = ()


STORE = StateFile(f"{_FOLDER}/tunnels.json", Tunnels, "cncp up on the machine in charge writes it again")


@dataclass(frozen=True)
class Request(Record):
    """What the machine in charge asks for: tunnels, and the names of others that stay."""

    wanted: tuple[Tunnel, ...]
    keep: tuple[str, ...] = ()


def label(host: str) -> str:
    """Return a host's name as that of a service; tmux has no dots in the names of sessions."""
    return re.sub(r"[^A-Za-z0-9-]", "_", host)


def folder(home: Path) -> Path:
    """Return the folder of keys and of what is to be connected."""
    return home / _FOLDER


def key(home: Path) -> Path:
    """Return the private key that all tunnels of a machine log in with."""
    return folder(home) / "key"


def _public(home: Path) -> Path:
    return key(home).with_suffix(".pub")


def load(home: Path) -> tuple[Tunnel, ...]:
    """Return what this machine is to connect."""
    return (STORE.intact(home) or Tunnels()).tunnels


def forwards(tunnel: Tunnel) -> list[str]:
    """Return the words by which ssh is asked for the ports of a tunnel."""
    way = "-R" if tunnel.reverse else "-L"
    return [word for port in tunnel.ports for word in (way, f"{LOOPBACK}:{port}:{tunnel.bound}:{port}")]


def command(home: Path, tunnel: Tunnel, socket: str) -> list[str]:
    """Return the argument list of the ssh that is asked for the forwards at ``socket``."""
    # ssh expands percent signs in the names of files (which -i would look for as they stand).
    files = str(folder(home)).replace("%", "%%")
    options = (
        "BatchMode=yes",
        "ConnectTimeout=10",
        "IdentitiesOnly=yes",
        f'IdentityFile="{files}/{key(home).name}"',
        *openssh.settings(),
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "StrictHostKeyChecking=yes",
        f'UserKnownHostsFile="{files}/known_hosts"',
        *openssh.place(port=tunnel.port, user=tunnel.user, address=tunnel.address, alias=tunnel.name),
        *([f"ProxyJump={tunnel.jump}"] if tunnel.jump else []),
    )
    return openssh.carrier(socket, openssh.words(options), tunnel.host)


@dataclass(frozen=True)
class Delivered(Record):
    """Whether what was left is new, and the public key that the other machines are to let in, "" without any."""

    changed: bool
    public: TunnelKey


def deliver(home: Path, wanted: Sequence[Tunnel], keep: Collection[str] = ()) -> Delivered:
    """Leave what the services need, the key made once.

    Tunnels that are here stay if they are among the names ``keep``; without any, all of it goes.
    Raises CncpError where there is no ssh-keygen, or a host's key is none.
    """
    if not all(keypair.is_public(host_key) for tunnel in wanted for host_key in tunnel.host_keys):
        raise CncpError("a tunnel's host has a key that is none", "see /etc/ssh/ssh_host_*_key.pub there")
    tunnels = _with_kept(wanted, load(home), keep)
    return _write(home, tunnels) if tunnels else _remove(home)


def _with_kept(wanted: Sequence[Tunnel], present: Sequence[Tunnel], keep: Collection[str]) -> list[Tunnel]:
    names = {tunnel.name for tunnel in wanted}
    kept = [tunnel for tunnel in present if tunnel.name in keep and tunnel.name not in names]
    return sorted([*wanted, *kept], key=lambda tunnel: tunnel.name)


def _remove(home: Path) -> Delivered:
    former = (read_bytes(_public(home)) or b"").decode().strip()
    shutil.rmtree(folder(home), ignore_errors=True)
    return Delivered(bool(former), former)


def _write(home: Path, tunnels: Sequence[Tunnel]) -> Delivered:
    folder(home).mkdir(mode=0o700, exist_ok=True)
    if not key(home).exists():
        keypair.make(key(home), "cncp tunnel")
    known = "".join(f"{tunnel.name} {host_key}\n" for tunnel in tunnels for host_key in tunnel.host_keys)
    hosts = folder(home) / "known_hosts"
    new = read_bytes(hosts) != known.encode()
    if new:
        write_atomic(hosts, known.encode(), 0o600)
    changed = STORE.save(home, Tunnels(tuple(tunnels)))
    return Delivered(new or changed, _public(home).read_text().strip())


def _answer() -> Delivered:
    given = Request.from_json(sys.stdin.read(), "standard input")
    return deliver(accounts.home(os.environ), given.wanted, given.keep)


def main() -> int:
    """Be the program that the machine in charge runs; return its exit code."""
    return answered(_answer)
