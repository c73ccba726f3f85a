"""Engines of a real controller that are let go while tasks stream through a load-balanced view: none is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from contextlib import AbstractContextManager

from cncp.ipp.connection_file import CLIENT, ClientFile
from cncp.ipp.engine_uuid import slot
from cncp.ipp.hub import Hub
from cncp.ports import connections
from cncp.waiting import wait_until

from .support import Site, client_of, said

STREAM = """
import collections, sys, time
import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=60)
client.wait_for_engines(3, timeout=60)
def work(number):
    import time
    time.sleep(0.05)
    return number
results = client.load_balanced_view().map_async(work, range(int(sys.argv[1])), chunksize=1, ordered=False)
while results.progress < 20:
    time.sleep(0.01)
print("at work", flush=True)
results.wait(120)
print(collections.Counter(status for status in results.status).most_common(), flush=True)
sys.stdin.read()
"""


def streaming(site: Site, count: int) -> AbstractContextManager[subprocess.Popen[str]]:
    """Have a client send tasks, of which some have ended."""
    return client_of(site, STREAM, str(count), "at work")


def ended(client: subprocess.Popen[str]) -> Counter[str]:
    """Return what became of all tasks."""
    assert client.stdout is not None
    return Counter(dict(json.loads(client.stdout.readline().replace("(", "[").replace(")", "]").replace("'", '"'))))


def pid(site: Site, name: str) -> int:
    """Return the process of a service."""
    status = said([str(site.home / ".local/bin/cncp"), "status", "--json"], site.environment, site.home)
    return int(next(row["pid"] for row in json.loads(status.stdout) if row["name"] == name))


def kill(site: Site, *names: str) -> None:
    """End engines as the end of their machine does."""
    for process in [pid(site, name) for name in names]:
        os.kill(process, signal.SIGKILL)


def test_no_task_is_lost(cluster: Site) -> None:
    """Drained, two engines end what they have and get no more; their end costs nothing. Without that it would."""
    file = cluster.home / ".ipython" / "profile_cncp" / "security" / CLIENT
    document = ClientFile.read(file.read_bytes(), str(file))
    own = pid(cluster, "controller")
    assert connections(document.task, own) == 0
    with Hub(document) as hub, streaming(cluster, 600) as client:
        assert connections(document.task, own) == 1
        going = [uuid for uuid in hub.engines().values() if (slot(uuid) or ("", 0))[1] in (0, 1)]
        assert len(going) == 2
        assert set(hub.drain(going, 60)) == set(going)
        assert wait_until(lambda: not any(hub.drain(going, 60).values()), 20, 0.05)
        before = hub.work()
        kill(cluster, "engine-0", "engine-1")
        assert ended(client) == {"ok": 600}
        assert before.unassigned > 100
        # They are others now, which nobody has drained.
        assert wait_until(lambda: len(set(hub.engines().values()) - set(going)) == 3, 60, 0.2)
    assert wait_until(lambda: not connections(document.task, own), 20, 0.2)
    with streaming(cluster, 300) as client:
        kill(cluster, "engine-0", "engine-1")
        found = ended(client)
        assert found["error"]
        assert found["ok"] + found["error"] == 300
