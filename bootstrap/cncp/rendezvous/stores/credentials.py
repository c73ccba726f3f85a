"""Who we are to an object store: a file of words NAME=VALUE, such as a shell would read."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from cncp.errors import UsageError


def said(credentials: str, families: Collection[str]) -> dict[str, str]:
    """Return the variables of ``families``, such as AWS for AWS_..., in a file that others must not be able to read.

    Without a file there are none. Raises UsageError.
    """
    if not credentials:
        return {}
    file = Path(credentials).expanduser()
    try:
        if file.stat().st_mode & 0o077:
            raise UsageError(f"{file} can be read by others, and holds credentials", f"chmod 600 {file}")
        words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}", f"name the file with {' or '.join(families)}_... words"
        ) from None
    except ValueError as error:
        raise UsageError(f"{file} cannot be read: {error}", "write NAME=VALUE lines into it") from None
    pairs = [word.removeprefix("export ").partition("=") for word in words if word != "export"]
    if not all(equals for _, equals, _ in pairs):
        raise UsageError(f"{file} holds other words than NAME=VALUE", "write NAME=VALUE lines into it")
    return {name: value for name, _, value in pairs if name.partition("_")[0] in families}
