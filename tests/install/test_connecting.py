"""A client of a real controller misses nothing that becomes of engines while it connects."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from cncp.ipp.connection_file import CLIENT, ClientFile
from cncp.ipp.hub import Hub
from cncp.waiting import wait_until

from .support import Site, said

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


@contextmanager
def held(site: Site, wanted: list[int]) -> Iterator[subprocess.Popen[str]]:
    """Have a client ask which engines there are, and no more until it reads a line."""
    python = str(site.state / "venv" / "bin" / "python")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [python, "-c", HELD, json.dumps(wanted)],
        env=site.environment,
        cwd=site.home,
        stdin=pipe,
        stdout=pipe,
        text=True,
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "answered\n"
            yield client
        finally:
            client.kill()


def goes_on(client: subprocess.Popen[str]) -> list[list[int]]:
    """Have a client subscribe; return the ids that it has then, and the processes that answered."""
    output, _ = client.communicate("\n", timeout=120)
    ids, pids = json.loads(output)
    return [ids, pids]


def cncp(site: Site, *words: str) -> str:
    """Run a command, which succeeds."""
    done = said([str(site.home / ".local/bin/cncp"), *words], site.environment, site.home)
    assert done.returncode == 0, done.stderr
    return done.stdout


def engines(site: Site) -> dict[str, int]:
    """Return the processes of engines by their names."""
    rows = json.loads(cncp(site, "status", "--json"))
    return {row["name"]: row["pid"] for row in rows if row["name"].startswith("engine-")}


def test_a_client_that_connects_misses_no_engine(cluster: Site) -> None:
    """One is there anew with its id, one is gone, one has come: all between the hub's answer and the subscription."""
    file = cluster.home / ".ipython" / "profile_cncp" / "security" / CLIENT
    with Hub(ClientFile.read(file.read_bytes(), str(file))) as hub:
        assert wait_until(lambda: len(hub.engines()) == 3, 60, 0.2)
        with held(cluster, [0, 1]) as client:
            former = hub.engines()
            os.kill(engines(cluster)["engine-0"], signal.SIGKILL)
            cncp(cluster, "scale", "2")
            assert wait_until(lambda: hub.engines().keys() == {0, 1} and hub.engines()[0] != former[0], 60, 0.2)
            assert goes_on(client) == [[0, 1], list(engines(cluster).values())]
        with held(cluster, [0, 1, 2]) as client:
            cncp(cluster, "scale", "3")
            assert goes_on(client) == [[0, 1, 2], list(engines(cluster).values())]
