"""The profiles on this machine that hold a way to a cluster elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from cncp import accounts
from cncp.errors import CncpError, UsageError
from cncp.files import read_bytes, to_json, write_atomic
from cncp.ipp import keys
from cncp.ipp.connection_file import CLIENT, ClientFile
from cncp.ipp.keys import SECRET
from cncp.records import Misfit

IDENTITY = keys.IDENTITY.name


def folder(environment: Mapping[str, str]) -> Path:
    """Return IPython's folder of whoever runs this. Raises UsageError under sudo.

    What is written here, and the ssh keys used for it, are that person's own.
    """
    account = accounts.account(environment)
    if account.uid != os.geteuid():
        raise UsageError(f"this would use root's keys for {account.name}", "run it as yourself, without sudo")
    return accounts.ipython_folder(environment, account)


class Profile:
    """One profile of this machine, there or not."""

    def __init__(self, ipython: Path, name: str) -> None:
        self.name = name
        self.path = ipython / f"profile_{name}"
        self.client = self.path / "security" / CLIENT

    def stored(self) -> bytes | None:
        """Return the client file as it is, None where there is none."""
        return read_bytes(self.client)

    def check(self, document: ClientFile, *, force: bool) -> None:
        """Raise CncpError where another cluster's keys would be lost; ``force`` allows that for a copy."""
        if (self.client.parent / IDENTITY).exists():
            raise CncpError(
                f"profile {self.name} is that of the cluster on this machine", "choose another name: --as NAME"
            )
        former = self.stored()
        if former is None or force:
            return
        try:
            known = ClientFile.read(former, str(self.client))
        except CncpError:
            raise CncpError(
                f"{self.client} is there, and is no connection file", "choose another name: --as NAME, or --force"
            ) from None
        if not known.same_cluster(document):
            raise CncpError(
                f"profile {self.name} holds the key {known.fingerprint}, which is not that of {document.fingerprint}",
                "another cluster: --as NAME. The same one after keys.rotate: --force, which keeps the former file",
            )

    def write(self, document: ClientFile) -> bool:
        """Write the client file, in a profile that is made if missing; tell whether it changed."""
        content = to_json(document)
        if self.stored() == content and self.client.stat().st_mode & 0o7777 == SECRET:
            return False
        self.client.parent.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.client.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(self.client, content, SECRET)
        return True

    def keep_former(self, document: ClientFile) -> Path | None:
        """Copy a file with other keys beside; return where that is, None where there is none to keep."""
        former = self.stored()
        if former is None:
            return None
        known: ClientFile | None = None
        with contextlib.suppress(Misfit):
            known = ClientFile.read(former, str(self.client))
        if known and known.same_cluster(document):
            return None
        path = self.client.with_name(f"{CLIENT}.{known.fingerprint if known else 'former'}")
        write_atomic(path, former, SECRET)
        return path
