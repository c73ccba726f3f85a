"""ssh keys of programs: made without a passphrase, which nobody could be asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cncp.run import run


def make(path: Path, comment: str) -> None:
    """Make an ed25519 key pair beside and move it into place, the private one last. Raises CncpError."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".key-") as beside:
        made = Path(beside) / path.name
        # "-N" stands on the command line with the empty passphrase alone.
        run(["ssh-keygen", "-q", "-t", "ed25519", "-C", comment, "-N", "", "-f", made])
        made.with_suffix(".pub").replace(path.with_suffix(".pub"))
        made.replace(path)
