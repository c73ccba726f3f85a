"""Settings reach the engines, people's own files survive, and verbs do what they say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host
from .site import Site, until
from .sites import MakeSite

ENVIRONMENT = """
import json, os, ipyparallel
names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
client = ipyparallel.Client(profile="cncp")
read = lambda names: {name: __import__("os").environ.get(name) for name in names}
print(json.dumps(client[:].apply_sync(read, names)))
"""

BUSY = """
import sys, time, ipyparallel
client = ipyparallel.Client(profile="cncp")
tasks = [client[int(number)].apply_async(time.sleep, 600) for number in sys.argv[1:]]
while any(client.queue_status(int(number))["queue"] == 0 for number in sys.argv[1:]):
    pass
print("busy", flush=True)
time.sleep(600)
"""

COLLECT = """
import sys, ipyparallel
client = ipyparallel.Client(profile="cncp")
if len(sys.argv) > 1:
    print(client.get_result(sys.argv[1]).get(timeout=20))
else:
    task = client[0].apply_async(pow, 2, 70)
    task.get(timeout=20)
    print(task.msg_ids[0])
"""


@pytest.fixture(scope="module")
def site(bare: Host, make_site: MakeSite) -> Site:
    """A plain user with supervisord."""
    return make_site(bare, "bob")


@pytest.fixture
def gone(site: Site) -> Iterator[Site]:
    """The same, for a test that begins and ends with nothing installed."""
    site.cncp("uninstall", check=False)
    yield site
    site.cncp("uninstall", check=False)


def test_threads_and_gpus(site: Site) -> None:
    """Each engine has its number of threads, and with gpus its own GPU."""
    site.baremetal("--engines=gpus", "--threads=3", CUDA_VISIBLE_DEVICES="4,GPU-7")
    seen = json.loads(site.python(ENVIRONMENT).stdout)
    assert [engine["CUDA_VISIBLE_DEVICES"] for engine in seen] == ["4", "GPU-7"]
    assert {engine[name] for engine in seen for name in engine if name.endswith("THREADS")} == {"3"}
    # Half of an engine's cost would be a debugger that nobody attaches to.
    loaded = "import ipyparallel; print(ipyparallel.Client(profile='cncp')[:].apply_sync(eval, CODE))"
    code = "'debugpy.server' in __import__('sys').modules"
    assert site.python(loaded.replace("CODE", repr(code))).stdout.strip() == "[False, False]"


def test_results_outlive_client_and_controller(site: Site) -> None:
    """With the sqlite database a result is collected by another client, after the controller was restarted."""
    site.baremetal("--engines=2", "--database=sqlite")
    task = site.python(COLLECT).stdout.strip()
    assert site.python(COLLECT, task).stdout.strip() == str(2**70)
    site.cncp("restart", "--name", "controller")
    assert site.python(COLLECT, task).stdout.strip() == str(2**70)


def test_scaling_leaves_busy_engines(site: Site) -> None:
    """Idle engines go first; a busy one goes only when forced; the others keep their processes."""
    site.baremetal("--engines=4", "--database=memory")
    before = {name: service["pid"] for name, service in site.status().items()}
    argv = [*site.host.ssh_command(site.user), f"{site.state}/venv/bin/python", "-u", "-", "1", "3"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(BUSY)
        client.stdin.close()
        assert client.stdout.readline().strip() == "busy"
        assert site.status()["engine-3"]["state"] == "busy"
        site.cncp("scale", "2")
        after = {name: service["pid"] for name, service in site.status().items()}
        assert after == {name: before[name] for name in ("controller", "engine-1", "engine-3")}
        refused = site.cncp("scale", "1", check=False)
        assert refused.returncode == 1
        assert "error: engine-3 is busy" in refused.stderr
        site.cncp("scale", "1", "--force")
        assert sorted(site.status()) == ["controller", "engine-1"]
        client.kill()
    before = site.status()["engine-1"]["pid"]
    site.cncp("scale", "3", "--quiet")
    assert site.status()["engine-1"]["pid"] == before
    assert sorted(site.status()) == ["controller", "engine-0", "engine-1", "engine-2"]
    # A plain run keeps what scale said.
    assert "nothing to change" in site.baremetal().stdout


def test_down_stays_down(site: Site) -> None:
    """What was taken down stays down over a reboot, until the next up."""
    site.cncp("down")
    assert {service["state"] for service in site.status().values()} == {"down"}
    site.host.reboot()
    running = site.host.exec(["pgrep", "-u", site.user, "-f", "cncp.remote serve"], check=False).stdout
    assert running == ""
    site.cncp("up")
    assert sorted(site.ask_engines()) == ["0", "1", "2"]


def test_supervisord_ends_with_the_session(site: Site) -> None:
    """At shutdown it is sent SIGTERM and SIGHUP at once, and ends; a SIGHUP alone restarts nothing."""
    site.baremetal("--engines=2", "--service-manager=supervisor")
    daemon = site.host.read(f"{site.state}/run/supervisord.pid").strip()
    before = {name: service["pid"] for name, service in site.status().items()}
    # Sent to a suspended process, all signals are there when it goes on.
    for signal in ("STOP", "HUP", "CONT"):
        site.host.exec(["kill", f"-{signal}", daemon])
    assert {name: service["pid"] for name, service in site.status().items()} == before
    for signal in ("STOP", "HUP", "TERM", "CONT"):
        site.host.exec(["kill", f"-{signal}", daemon])
    until(
        lambda: site.host.exec(["pgrep", "-u", site.user, "-f", "supervisord -c"], check=False).stdout == "",
        30,
        "its end",
    )
    until(
        # What tells the hub of an engine's end is done a moment later.
        lambda: site.host.exec(["pgrep", "-u", site.user, "-f", "cncp.remote serve"], check=False).stdout == "",
        30,
        "the end of what it kept",
    )
    site.cncp("up")
    assert sorted(site.ask_engines()) == ["0", "1"]
    # Nothing stays blocked in what it runs.
    engine = site.status()["engine-0"]["pid"]
    assert "SigBlk:\t0000000000000000" in site.host.read(f"/proc/{engine}/status")


def test_why_an_engine_died(site: Site) -> None:
    """Exit codes and signals are told; memory as systemd records it (the lab cannot enforce limits)."""
    site.baremetal("--engines=2", "--service-manager=systemd")
    site.python("import ipyparallel, os; ipyparallel.Client(profile='cncp')[1].apply_async(os._exit, 7).wait(15)")
    shown = until(
        lambda: site.status().get("engine-1") if site.status()["engine-1"]["restarts"] else None, 20, "a restart"
    )
    assert shown["last_exit"] == "exit code 7"
    record = [f"{site.state}/libexec/record-exit", f"{site.state}/run/engine-0.exits"]
    told = {"SERVICE_RESULT": "oom-kill", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
    site.host.run(record, site.user, env=told)
    assert site.status()["engine-0"]["last_exit"] == "out of memory"
    site.baremetal("--memory=512M")
    unit = ["systemctl", "--user", "show", "-p", "MemoryMax,OOMPolicy", "cncp-engine@0"]
    assert "MemoryMax=536870912" in site.host.run(unit, site.user).stdout


def test_the_doctor(site: Site) -> None:
    """What is wrong is found and explained."""
    site.baremetal("--memory=none", "--service-manager=supervisor")
    assert site.cncp("check").stdout.strip() == "all is well"
    assert site.cncp("plan", "--heartbeat=300", "--detailed-exitcode", check=False).returncode == 5
    security = f"{site.home}/.ipython/profile_cncp/security"
    site.host.exec(["chmod", "0644", f"{security}/ipcontroller-client.json"])
    site.host.exec(["sed", "-i", "s/tcp:/udp:/", f"{security}/ipcontroller-engine.json"])
    done = site.cncp("check", check=False)
    assert done.returncode == 1
    assert "ipcontroller-client.json is open to other users" in done.stdout
    assert "the connection files do not fit" in done.stdout
    site.baremetal()
    assert site.cncp("check").stdout.strip() == "all is well"


def test_a_profile_made_by_hand_is_taken_over(gone: Site) -> None:
    """Own lines stay and win; own files come back at the end, byte for byte and mode for mode."""
    profile = f"{gone.home}/.ipython/profile_cncp"
    own = {
        f"{profile}/ipcontroller_config.py": "c = get_config()\nc.DictDB.record_limit = 77\n",
        f"{profile}/ipengine_config.py": "# nothing yet\r\n",
        f"{profile}/security/ipcontroller-client.json": '{"of": "another cluster"}',
        f"{profile}/startup/00-mine.py": "mine = 1\n",
        f"{gone.home}/.local/bin/cncp": "#!/bin/sh\necho mine\n",
    }
    for path, content in own.items():
        gone.host.write(path, content, "bob", 0o640)
    gone.host.exec(["chown", "-R", "bob:bob", f"{gone.home}/.ipython", f"{gone.home}/.local"])
    before = gone.tree()
    gone.baremetal("--engines=1")
    assert sorted(gone.ask_engines()) == ["0"]
    assert (
        gone.python(
            "import ipyparallel; c = ipyparallel.Client(profile='cncp'); c[0].execute('x = mine'); print(c[0]['x'])"
        ).stdout
        == "1\n"
    )
    text = gone.host.read(f"{profile}/ipcontroller_config.py")
    assert text.endswith("\n" + own[f"{profile}/ipcontroller_config.py"])
    gone.cncp("uninstall")
    assert gone.tree() == before
    gone.host.exec(["rm", "-rf", f"{gone.home}/.ipython", f"{gone.home}/.local"])


def test_logs_stay_bounded(gone: Site) -> None:
    """A log is rotated at its size and only so many old ones are kept."""
    gone.baremetal("--engines=1", "--log-size=1", "--log-keep=2", "--service-manager=systemd")
    code = "import ipyparallel\nc = ipyparallel.Client(profile='cncp')\n"
    code += "for n in range(9000): c[0].apply_async(abs, n)\nc.wait()"
    gone.python(code)
    sizes = gone.host.exec(
        ["find", f"{gone.home}/.ipython/profile_cncp/log", "-name", "*.log*", "-printf", "%f %s\n"]
    ).stdout
    found = {name: int(size) for name, size in (line.split() for line in sizes.splitlines())}
    assert {name for name in found if name.startswith("controller")} == {
        "controller.log",
        "controller.log.1",
        "controller.log.2",
    }
    assert max(found.values()) <= 1_000_000
    assert len(gone.cncp("logs", "--name", "controller", "--lines", "5").stdout.splitlines()) == 5


def test_paths_that_need_quoting(gone: Site) -> None:
    """A home with spaces, quotes, percent and dollar signs works under every service manager."""
    home = f"""{gone.home}/it's 50% "$x" é"""
    for manager in ("systemd", "supervisor", "tmux", "screen"):
        gone.baremetal("--engines=1", f"--service-manager={manager}", CNCP_HOME=home)
        argv = [
            f"{home}/venv/bin/python",
            "-c",
            "import ipyparallel as i; print(i.Client(profile='cncp')[:].apply_sync(abs, -3))",
        ]
        assert gone.host.run(argv, gone.user).stdout.strip() == "[3]"
    gone.cncp("uninstall")
    assert not gone.host.exists(home)


def test_two_accounts_cannot_share_system_units(bare: Host, make_site: MakeSite) -> None:
    """The second is told whose the units are, and what to do."""
    root, bob = make_site(bare, "root"), make_site(bare, "bob")
    root.baremetal("--engines=1")
    argv = ["env", "SUDO_USER=bob", "bash", f"{bob.work}/baremetal.sh", "--engines=1"]
    done = bare.run(argv, "root", check=False, timeout=240)
    assert done.returncode == 1
    assert "is another cluster's: Rendered by cncp for root" in done.stderr
    bare.run([*argv, "--profile=second"], "root", timeout=240)
    assert sorted(bob.ask_engines("second")) == ["0"]
    assert sorted(root.ask_engines()) == ["0"]
    bare.run(["env", "SUDO_USER=bob", f"{bob.home}/.local/bin/cncp", "uninstall"], "root")
    root.cncp("uninstall")
    assert not Path(bare.root / "etc/systemd/system/cncp.target").exists()


def test_logs_in_the_journal(bare: Host, make_site: MakeSite) -> None:
    """With logs = journal no file is written, and `logs` shows what systemd has."""
    site = make_site(bare, "root")
    site.baremetal("--engines=1", "--logs=journal")
    shown = site.cncp("logs", "--name", "engine-0").stdout
    assert "Completed registration" in shown
    assert "Completed registration" in bare.journal("-u", "cncp-engine@0.service")
    assert bare.exec(["find", f"{site.home}/.ipython/profile_cncp/log", "-name", "*.log"]).stdout == ""
    site.cncp("uninstall")
