"""New code with other packages, brought to a cluster whose engines are at work: asked before anything is changed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from cncp.files import read_bytes
from cncp.install.stamp import stamp_path

from .support import Site, client_of, said

CLIENT = """
import sys, time
import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=60)
def work(path):
    import os, time
    while not os.path.exists(path):
        time.sleep(0.1)
task = client.load_balanced_view().apply_async(work, sys.argv[1])
while not any(queue["tasks"] + queue["queue"] for queue in client.queue_status().values() if isinstance(queue, dict)):
    time.sleep(0.1)
print("at work", flush=True)
task.get()
"""


@pytest.fixture
def cluster(copied: Site) -> Iterator[Site]:
    """Run a cluster of one engine from code of its own; its home is near enough for supervisord's socket."""
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder:
        copied.home = Path(folder)
        words = ("--engines", "1", "--converge", "embedded", "--service-manager", "supervisor")
        started = said(up(copied, *words), copied.environment, copied.home)
        try:
            assert started.returncode == 0, started.stderr
            # What a comment changes in a lock is its digest.
            lock = copied.code / "bootstrap" / "locks" / "compute.txt"
            lock.write_text(f"{lock.read_text()}# of another version\n")
            yield copied
        finally:
            said([str(copied.home / ".local/bin/cncp"), "uninstall"], copied.environment, copied.home)


def up(site: Site, *words: str) -> list[str]:
    """Return the command line of the main job."""
    return ["bash", str(site.code / "baremetal.sh"), *words]


@contextmanager
def task(site: Site) -> Iterator[Path]:
    """Keep the engine at work until the file that is given is there."""
    until = site.home / "done"
    try:
        with client_of(site, CLIENT, str(until), "at work"):
            yield until
    finally:
        until.unlink(missing_ok=True)


def state(site: Site) -> list[bytes | None]:
    """Return what is to stay: packages, the code kept, what runs."""
    files = (stamp_path(site.state), site.state / "code" / ".digest", site.state / "run" / "engine-0.json")
    return [read_bytes(path) for path in files]


def test_it_is_asked_before_packages_are_changed(cluster: Site) -> None:
    """Refused without a terminal; asked on one, where yes is yes for all that follows; waited for; or lost."""
    before = state(cluster)
    assert None not in before
    with task(cluster):
        refused = said(up(cluster), cluster.environment, cluster.home)
        assert refused.returncode == 1
        assert refused.stderr.splitlines() == [
            "error: engine-0 is busy: other packages would lose its task",
            "hint: wait for them: --wait SECONDS, or lose their tasks: --force",
        ]
        assert state(cluster) == before
        program, *words = up(cluster)
        environment = {**os.environ, **cluster.environment}
        asked = pexpect.spawn(program, words, env=environment, cwd=str(cluster.home), timeout=120)
        asked.expect(r"engine-0 is busy; other packages all the same, and lose its task\? \[y/N\] ")
        asked.sendline("n")
        asked.expect(pexpect.EOF)
        asked.close()
        assert (asked.exitstatus, state(cluster)) == (1, before)
        asked = pexpect.spawn(program, words, env=environment, cwd=str(cluster.home), timeout=240)
        asked.expect(r"\[y/N\] ")
        asked.sendline("y")
        # Nobody is asked twice.
        assert asked.expect([r"1/1 engines answer", r"\[y/N\] "]) == 0
        asked.expect(pexpect.EOF)
    assert [new == old for new, old in zip(state(cluster), before, strict=True)] == [False, False, False]


def test_it_is_waited_for(cluster: Site) -> None:
    """As long as is said, and the task ends as it would have."""
    with (
        task(cluster) as until,
        subprocess.Popen(
            up(cluster, "--wait", "600"), env=cluster.environment, cwd=cluster.home, stderr=subprocess.PIPE, text=True
        ) as going,
    ):
        assert going.stderr is not None
        assert going.stderr.readline() == "==> waiting for engine-0: busy\n"
        assert stamp_path(cluster.state).exists()
        until.touch()
        rest = going.stderr.read()
    assert going.returncode == 0, rest
    assert "lost" not in rest
