"""`invoke X`: cncp's tasks from a checkout, and the project's own chores."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "bootstrap"), str(ROOT)]

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from cncp.tasks import collection


@task(auto_shortflags=False, help={"count": "how many hosts", "suite": "Debian release: bookworm or trixie"})
def up(context: Context, count: int = 1, suite: str = "bookworm") -> None:
    """Boot hosts with real systemd and sshd on this machine, to try a cluster on (root only)."""
    from tests.lab import cli

    cli.up(count, suite)


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


@task
def cloud(context: Context) -> None:
    """Be a cloud of EC2's kind until interrupted, whose instances are hosts of a lab (root only)."""
    from tests.lab import cli

    cli.cloud()


@task(
    help={"quick": "one repetition, few engines and hosts", "only": "this point alone", "json": "file for all samples"}
)
def bench(context: Context, quick: bool = False, only: str = "", json: str = "") -> None:
    """Measure cncp beside what one would use without it: start, cost, noop, cold, fleet, hosts, ssh."""
    from tests.bench import run

    words = ["--quick"] if quick else []
    words += [f"--only={only}"] if only else []
    words += [f"--json={json}"] if json else []
    raise Exit(code=run.main(words))


ns = collection()
ns.add_task(bench)
ns.add_collection(Collection("lab", up, down, status, cloud))

__all__ = ["ns"]
