"""A client of a real controller misses nothing that becomes of engines while it connects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import AbstractContextManager

from cncp.ipp.connection_file import CLIENT, ClientFile
from cncp.ipp.hub import Hub
from cncp.waiting import wait_until

from .support import Site, client_of

HELD = """
import json, os, sys, time
import ipyparallel
from jupyter_client.session import Session
receive = Session.recv
def held(session, *arguments, **named):
    answer = receive(session, *arguments, **named)
    Session.recv = receive
    print("answered", flush=True)
    sys.stdin.readline()
    return answer
Session.recv = held
client = ipyparallel.Client(profile="cncp", timeout=60)
wanted = json.loads(sys.argv[1])
client.wait_for_engines(len(wanted), timeout=30)
end = time.monotonic() + 30
while client.ids != wanted and time.monotonic() < end:
    time.sleep(0.05)
print(json.dumps([client.ids, client[:].apply_async(os.getpid).get(timeout=30)]), flush=True)
"""
"""A client that has the hub's answer, and goes on to subscribe when it is told to; then what it computes with."""


def held(site: Site, wanted: list[int]) -> AbstractContextManager[subprocess.Popen[str]]:
    """Have a client ask which engines there are, and no more until it reads a line."""
    return client_of(site, HELD, json.dumps(wanted), "answered")


def goes_on(client: subprocess.Popen[str]) -> list[list[int]]:
    """Have a client subscribe; return the ids that it has then, and the processes that answered."""
    output, _ = client.communicate("\n", timeout=120)
    ids, pids = json.loads(output)
    return [ids, pids]


def engines(site: Site) -> dict[str, int]:
    """Return the processes of engines by their names."""
    rows = json.loads(site.cncp("status", "--json").stdout)
    return {row["name"]: row["pid"] for row in rows if row["name"].startswith("engine-")}


def test_a_client_that_connects_misses_no_engine(cluster: Site) -> None:
    """One is there anew with its id, one is gone, one has come: all between the hub's answer and the subscription."""
    file = cluster.home / ".ipython" / "profile_cncp" / "security" / CLIENT
    with Hub(ClientFile.read(file.read_bytes(), str(file))) as hub:
        assert wait_until(lambda: len(hub.engines()) == 3, 60, 0.2)
        with held(cluster, [0, 1]) as client:
            former = hub.engines()
            os.kill(engines(cluster)["engine-0"], signal.SIGKILL)
            assert cluster.cncp("scale", "2").returncode == 0
            assert wait_until(lambda: hub.engines().keys() == {0, 1} and hub.engines()[0] != former[0], 60, 0.2)
            assert goes_on(client) == [[0, 1], list(engines(cluster).values())]
        with held(cluster, [0, 1, 2]) as client:
            assert cluster.cncp("scale", "3").returncode == 0
            assert goes_on(client) == [[0, 1, 2], list(engines(cluster).values())]
