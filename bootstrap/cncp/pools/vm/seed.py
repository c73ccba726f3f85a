"""What a new machine is told of itself: a disk that cloud-init reads at the first boot (NoCloud).

Its host keys are made here and go in with it, so that nobody has to trust the first answer.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cncp.errors import CncpError
from cncp.process import run
from cncp.ssh import keypair

USER = "cncp"
"""The account of a machine; it may become root without a password, as is usual for machines of one's own."""

FIRST_BOOT = "/var/lib/cncp-first-boot"
"""The mark of a machine that has come out of a package and was never switched on."""


@dataclass(frozen=True)
class Seed:
    """A machine's name, its MAC addresses, its address among the machines, and the keys that open it."""

    name: str
    outer_mac: str
    inner_mac: str
    address: str
    authorized: tuple[str, ...]


def write(seed: Seed, path: Path) -> str:
    """Make a machine's disk; return its public host key. Raises CncpError."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".key-") as folder:
        key = Path(folder, "key")
        keypair.make(key, seed.name)
        private, public = key.read_text(), key.with_suffix(".pub").read_text().strip()
    documents: dict[str, Mapping[str, object]] = {
        "meta-data": {"instance-id": f"{seed.name}-{public.split()[1][-12:]}", "local-hostname": seed.name},
        "user-data": {
            **account(seed.authorized),
            "hostname": seed.name,
            "ssh_keys": {"ed25519_private": private, "ed25519_public": public},
            # A packaged machine would make a cluster of its own.
            "bootcmd": [["rm", "-f", FIRST_BOOT]],
        },
        "network-config": _network(seed),
    }
    disk(documents, path)
    return " ".join(public.split()[:2])


def disk(documents: Mapping[str, Mapping[str, object]], path: Path) -> None:
    """Make a disk that cloud-init finds: ISO 9660 with the label cidata. Raises CncpError."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".seed-") as folder:
        content = Path(folder, "content")
        content.mkdir()
        for name, document in documents.items():
            # JSON is YAML, and quotes by itself.
            head = "#cloud-config\n" if name == "user-data" else ""
            (content / name).write_text(head + json.dumps(document, indent=1) + "\n")
        made = Path(folder, "seed.iso")
        try:
            run(["genisoimage", "-quiet", "-o", made, "-V", "cidata", "-J", "-r", content])
        except CncpError as error:
            raise CncpError(error.message, "apt-get install genisoimage") from None
        # The private host key is in it.
        made.chmod(0o600)
        made.replace(path)


def account(authorized: Sequence[str]) -> dict[str, object]:
    """Return what cloud-init is told of the account, and of who gets into it: nobody by a password."""
    return {
        "users": [
            {
                "name": USER,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": list(authorized),
            }
        ],
        "ssh_pwauth": False,
        "disable_root": True,
        "ssh_deletekeys": True,
        "package_update": False,
    }


def _network(seed: Seed) -> dict[str, object]:
    return {
        "version": 2,
        "ethernets": {
            "outer": {"match": {"macaddress": seed.outer_mac}, "dhcp4": True},
            "inner": {"match": {"macaddress": seed.inner_mac}, "addresses": [f"{seed.address}/24"], "optional": True},
        },
    }


def keys(home: Path) -> tuple[str, ...]:
    """Return the user's public keys: those in ~/.ssh, and those of the ssh agent. Raises CncpError without any."""
    listed = run(["ssh-add", "-L"], check=False) if os.environ.get("SSH_AUTH_SOCK") else None
    agent = listed.stdout.splitlines() if listed is not None and listed.ok else []
    found = [path.read_text(errors="replace").strip() for path in sorted((home / ".ssh").glob("*.pub"))]
    wanted = [" ".join(line.split()[:2]) for line in (*found, *agent) if line.startswith(("ssh-", "ecdsa-", "sk-"))]
    if not wanted:
        raise CncpError("you have no ssh key to log in to machines with", "make one: cncp keys.generate")
    return tuple(dict.fromkeys(wanted))
