"""What tells the hub that an engine has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

CODE = Path(__file__).resolve().parents[3] / "bootstrap"

ENGINE = """
import os, signal, subprocess, sys, time
from pathlib import Path
import cncp.serve.death as death
how = sys.argv[2]
# The program is run isolated, and finds the code by the virtualenv's path file: not so in these tests.
death.sys = type("sys", (), {"executable": sys.argv[3]})
watch = death.tell(Path(sys.argv[1]), "host_0_0123456789ab", None)
print(watch.pid, flush=True)
child = os.fork()
if child == 0:
    # What a task leaves behind.
    os.execlp("sleep", "sleep", "60") if how == "exec" else time.sleep(60)
    os._exit(0)
print(child, flush=True)
sys.stdin.readline()
if how == "close":
    os.closerange(3, 256)
    sys.stdin.readline()
if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "group":
    os.killpg(0, signal.SIGKILL)
if how == "term":
    # Once the shell has come to ignore it (proc(5), SigIgn).
    while not int(Path(f"/proc/{watch.pid}/status").read_text().partition("SigIgn:")[2].split()[0], 16) & 1 << 14:
        time.sleep(0.01)
    os.kill(watch.pid, signal.SIGTERM)
os._exit(3)
"""

WORDS = {"signature_scheme": "hmac-sha256", "pack": "json", "unpack": "json"}
"""What stands in every connection file."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[zmq.Socket[bytes], Path]]:
    """Yield a socket where the hub would be, and its connection file."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        port = server.bind_to_random_port("tcp://127.0.0.1")
        file = tmp_path / "engine.json"
        file.write_text(
            json.dumps({"interface": "tcp://127.0.0.1", "registration": port, "key": "", "location": "h", **WORDS})
        )
        yield server, file
        server.linger = 0


def asked(server: zmq.Socket[bytes], patience: int = 20_000) -> str:
    """Return what the hub is asked next."""
    if not server.poll(patience):
        return ""
    frames = server.recv_multipart()
    header, content = json.loads(frames[3]), json.loads(frames[6])
    kind = str(header["msg_type"])
    if kind == "connection_request":
        engines = {"4": "host_0_0123456789ab", "5": "host_1_0123456789ab"}
        parts = [{"msg_type": "connection_reply"}, header, {}, {"status": "ok", "engines": engines}]
        server.send_multipart([frames[0], b"<IDS|MSG>", b"", *(json.dumps(part).encode() for part in parts)])
    return kind if kind == "connection_request" else f"{kind} {content['id']} {content['uuid']}"


@pytest.fixture
def isolated(tmp_path: Path) -> Path:
    """Return a Python that finds the code although it is isolated."""
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={CODE} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("how", ["exit", "kill", "group", "exec", "term", "close"])
def test_the_hub_is_told_of_an_engine_s_end(hub: tuple[zmq.Socket[bytes], Path], isolated: Path, how: str) -> None:
    """At once, however it ended and whatever it leaves behind; and not before."""
    server, file = hub
    argv = [sys.executable, "-c", ENGINE, str(file), how, str(isolated)]
    engine = subprocess.Popen(
        argv, cwd=CODE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        int(engine.stdout.readline())
        child = int(engine.stdout.readline())
        try:
            engine.stdin.write("\n")
            engine.stdin.flush()
            if how == "close":
                # The pipe is closed, and the engine lives: nothing is said of it.
                assert asked(server, 500) == ""
                engine.stdin.write("\n")
                engine.stdin.flush()
            said = [asked(server), asked(server), asked(server)]
        finally:
            if how != "group":
                os.kill(child, signal.SIGKILL)
    assert said == ["connection_request", "unregistration_request 4 host_0_0123456789ab", "connection_request"]
