"""`invoke X`: cncp's tasks from a checkout, and the project's own chores."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "bootstrap"), str(ROOT)]

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from cncp.tasks import ns


@task(help={"n": "how many hosts", "suite": "Debian release: bookworm or trixie"})
def up(context: Context, n: int = 1, suite: str = "bookworm") -> None:
    """Boot hosts with real systemd and sshd on this machine, to try a cluster on (root only)."""
    from tests.lab import cli

    cli.up(n, suite)


@task
def down(context: Context) -> None:
    """End the hosts of `lab.up` and remove all of them."""
    from tests.lab import cli

    cli.down()


@task
def status(context: Context) -> None:
    """Show the hosts of `lab.up` and how to log in to them."""
    from tests.lab import cli

    cli.status()


ns.add_collection(Collection("lab", up, down, status))

__all__ = ["ns"]
