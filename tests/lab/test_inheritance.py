"""What engines have of whatever starts them is the same under every service manager, systemd's units included."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from .host import Host
from .site import Site, until
from .sites import MakeSite

SEEN = """
import json, ipyparallel
def look():
    import os, resource, signal, subprocess
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    shell = "grep -E 'SigIgn|SigBlk' /proc/self/status; umask; ulimit -n; cat; command -v ipython"
    return {
        "environment": dict(os.environ),
        "stdin": os.readlink("/proc/self/fd/0"),
        "privileges": status["NoNewPrivs"].strip(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "nice": os.nice(0),
        "oom": int(open("/proc/self/oom_score_adj").read()),
        "folder": os.getcwd(),
        "terminal": open("/proc/self/stat").read().rpartition(")")[2].split()[4],
        "leads": os.getpgrp() == os.getpid(),
        "shell": subprocess.run(["sh", "-c", shell], capture_output=True, text=True).stdout,
    }
print(json.dumps(ipyparallel.Client(profile="cncp")[0].apply_async(look).get(30)))
"""

LEAVE = """
import ipyparallel
def leave():
    import os, signal, subprocess, time
    child = os.fork()
    if not child:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
        os._exit(0)
    return child, subprocess.Popen(["sleep", "3601"], start_new_session=True).pid
print(*ipyparallel.Client(profile="cncp")[0].apply_async(leave).get(30))
"""

HOSTILE = {"FOO": "1", "LD_LIBRARY_PATH": "/opt/evil", "PYTHONSTARTUP": "/evil", "SUPERVISOR_ENABLED": "1"}


def seen(site: Site) -> dict[str, Any]:
    """Return what a task of engine 0 sees, without what is each process's own."""
    found: dict[str, Any] = json.loads(site.python(SEEN).stdout)
    del found["environment"]["CNCP_SERVICE"]
    # Where units of the user's own manager run, there is one; the others may have it as well.
    for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "XDG_DATA_DIRS"):
        found["environment"].pop(name, None)
    return found


def ended(host: Host, pid: str) -> bool:
    """Tell whether a process has ended, its parent having noticed or not."""
    return host.exec(["grep", "-qs", "^State:.[^Z]", f"/proc/{pid}/status"], check=False).returncode != 0


@pytest.mark.parametrize(
    "others",
    [
        ("supervisor", "tmux"),
        pytest.param(("supervisor", "tmux", "screen"), marks=pytest.mark.slow(held="that with tmux")),
    ],
    ids=["some", "all"],
)
def test_the_same_everywhere(bare: Host, make_site: MakeSite, others: tuple[str, ...]) -> None:
    """A task sees the same, and what it leaves behind ends with the engine, whatever keeps that running."""
    site = make_site(bare, "bob")
    found = {}
    hostile: Any = HOSTILE
    for manager in ("systemd", *others):
        site.baremetal("--engines=1", f"--service-manager={manager}", "--environment=MINE='a b'", **hostile)
        found[manager] = seen(site)
        left = site.python(LEAVE).stdout.split()
        site.cncp("restart", "engine-0")
        for pid in left:
            until(partial(ended, bare, pid), 15, f"the end of {left}, {manager}")
    assert found["systemd"]["environment"]["MINE"] == "a b"
    assert not {"FOO", "LD_LIBRARY_PATH", "PYTHONSTARTUP", "SUPERVISOR_ENABLED"} & set(found["systemd"]["environment"])
    assert found["systemd"]["stdin"] == "/dev/null"
    assert found["systemd"]["privileges"] == "0"
    for manager in others:
        assert found[manager] == found["systemd"], manager
    site.cncp("uninstall")


def test_units_of_the_system(bare: Host, make_site: MakeSite) -> None:
    """Engines may gain privileges there too, have the account's PATH, and a stop asked for is no failure."""
    site = make_site(bare, "root")
    site.baremetal("--engines=1")
    found = seen(site)
    assert found["privileges"] == "0"
    assert found["environment"]["PATH"].startswith(f"{site.state}/venv/bin:")
    bare.exec(["systemctl", "stop", "cncp-engine@0.service", "cncp-controller.service"])
    failed = bare.exec(["systemctl", "list-units", "--failed", "--plain", "--no-legend", "cncp-*"]).stdout
    assert failed == ""
    site.cncp("up")
    assert site.status()["engine-0"]["restarts"] == 0
    site.cncp("uninstall")
