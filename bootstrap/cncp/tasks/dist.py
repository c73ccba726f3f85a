"""dist.*: what is given away."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context

from cncp.console import Console
from cncp.release import installer
from cncp.tasks.task import command


@command(
    {
        "url": "where a copy of the script gets the code: https, ssh or file URL, HOST:PATH, or a path",
        "ref": "branch, tag or commit; the default branch without",
        "output": "file to write",
    }
)
def script(context: Context, url: str, ref: str = "", output: str = "dist/baremetal.sh") -> None:
    """Write a copy of baremetal.sh that gets its code from a URL: one file to hand on."""
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    installer.stamp(url, ref, path)
    Console().say(str(path))


@command()
def options(context: Context) -> None:
    """Bring the help text in baremetal.sh up to date with the table of settings."""
    Console().say("changed" if installer.write_options() else "nothing to change")


__all__ = ["options", "script"]
