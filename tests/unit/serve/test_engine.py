"""How an engine ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.unit.ipp.test_hub import stranger

CODE = Path(__file__).resolve().parents[3] / "bootstrap"

ENGINE = """
import sys
from cncp.serve.engine import Engine

made = Engine.instance(ident="h_0_0123456789ab", id=0, enable_nanny=False)
made.initialize([f"--profile-dir={sys.argv[1]}", "--IPEngine.timeout=1"])
made.start()
"""

LOOP = """
import asyncio, sys
from types import SimpleNamespace
from cncp.serve.engine import Engine, engine_app

async def start(self):
    if sys.argv[1] == "fails":
        raise RuntimeError("oops")
    self.loop.call_later(0.05, self.loop.stop)
    await asyncio.sleep(60)

engine_app.IPEngine._start = start
made = Engine(ident="h_0_0123456789ab", enable_nanny=False)
made.start()
print("stopped", made.exit_code)
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own."""
    argv = [sys.executable, "-c", code, *arguments]
    return subprocess.run(argv, cwd=CODE, capture_output=True, text=True, check=False, timeout=30)


def test_an_engine_that_nobody_registers_ends(tmp_path: Path) -> None:
    """With the code of something that is worth another try, though what answers takes no goodbye."""
    (tmp_path / "security").mkdir()
    with stranger() as port:
        channels = dict.fromkeys(("control", "mux", "task", "hb_ping", "hb_pong", "iopub", "registration"), port)
        file = {"interface": "tcp://127.0.0.1", "location": "h", "key": "k", "broadcast": [port], "ssh": "", **channels}
        file |= {"pack": "json", "unpack": "json", "signature_scheme": "hmac-sha256"}
        (tmp_path / "security" / "ipcontroller-engine.json").write_text(json.dumps(file))
        done = python(ENGINE, str(tmp_path))
    assert done.returncode == 75
    assert "nobody answered the registration" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_that_is_stopped_has_not_failed() -> None:
    """Its loop is stopped by a signal or a client; what fails in it is still an error."""
    done = python(LOOP, "stops")
    assert (done.returncode, done.stdout) == (0, "stopped 0\n")
    done = python(LOOP, "fails")
    assert done.returncode == 1
    assert "RuntimeError: oops" in done.stderr
