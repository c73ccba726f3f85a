"""Tasks of one's own on the cluster's hosts: `pip install 'cncp[fabric]'`, then `invoke --list` in this folder."""

from pathlib import Path

from invoke import Context, task

import cncp

CLUSTER = cncp.Cluster.from_file(Path(__file__).with_name("cluster.toml"))


@task(help={"limit": "these hosts alone: gold[2-3]"})
def load(context: Context, limit: str = "") -> None:
    """Say how busy each host is, whatever keeps it so."""
    for host, done in CLUSTER.hosts(limit=limit).run("cat /proc/loadavg", hide=True).items():
        print(f"{host.original_host}: {done.stdout.split()[0]}")


@task(help={"path": "a file here; each host has it in its home afterwards"})
def data(context: Context, path: str) -> None:
    """Bring a file to all hosts."""
    CLUSTER.hosts().put(path)


@task
def squares(context: Context) -> None:
    """Compute on all engines, once they are there."""
    CLUSTER.up()
    with CLUSTER.client() as client:
        print(sum(client[:].map_sync(lambda number: number**2, range(100))))
