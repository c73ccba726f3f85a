"""What goes wrong around a run: the power, the disk, a second run, a stranger on the ports."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import time
from collections.abc import Iterator

import pytest

from .host import Host
from .nspawn import Host as LabHost
from .site import Site, until
from .sites import MakeSite


@pytest.fixture(scope="module")
def fresh(bare: Host, make_site: MakeSite) -> Site:
    """A plain user with the code and nothing else."""
    return make_site(bare, "bob")


@pytest.fixture
def small(fresh: Site) -> Iterator[Site]:
    """The same with a home on a small file system of its own."""
    host = fresh.host
    host.exec(["mount", "-t", "tmpfs", "-o", "size=600m,mode=0700", "tmpfs", fresh.home])
    host.exec(["chown", fresh.user, fresh.home])
    fresh.check_out()
    yield fresh
    fresh.cncp("uninstall", check=False)
    host.logout(fresh.user)
    host.exec(["pkill", "-KILL", "-u", fresh.user], check=False)
    until(lambda: host.exec(["umount", fresh.home], check=False).returncode == 0, 20, "the small disk's end")


def start(site: Site, *words: str) -> subprocess.Popen[str]:
    """Start baremetal.sh in a login of its own and do not wait for it."""
    argv = [*site.host.ssh_command(site.user), "bash", f"{site.work}/baremetal.sh", *words]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_runs_at_once(fresh: Site) -> None:
    """One of two runs does the work; the other says who holds the lock and for how long, or finds nothing to do."""
    runs = [start(fresh, "--engines=2") for _ in range(2)]
    said = [run.communicate(timeout=240)[0] for run in runs]
    codes = [run.returncode for run in runs]
    assert 0 in codes, said
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or "is held by" in text, text
    assert sorted(fresh.ask_engines()) == ["0", "1"]
    assert fresh.cncp("plan").stdout.strip() == "nothing to change"
    fresh.cncp("uninstall")


@pytest.mark.parametrize("cuts", [5, pytest.param(20, marks=pytest.mark.slow(held="that with fewer"))])
def test_power_cut_at_any_moment(fresh: Site, cuts: int) -> None:
    """The power fails at random moments of runs; the next run always repairs what was left."""
    host: LabHost = fresh.host
    began = time.monotonic()
    fresh.baremetal("--engines=1")
    whole = time.monotonic() - began
    fresh.cncp("uninstall")
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for cut in range(cuts):
        run = start(fresh, "--engines=1", f"--heartbeat={200 + cut}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(chance.uniform(0, whole))
        host.power_cut()
        run.wait()
        host.boot()
        if cut % 5 == 4:
            fresh.baremetal("--engines=1", f"--heartbeat={200 + cut}")
            assert sorted(fresh.ask_engines()) == ["0"], seed
            assert fresh.cncp("plan").stdout.strip() == "nothing to change"
            fresh.cncp("uninstall")
            left = host.exec(["find", fresh.home, "-name", "*cncp*", "-not", "-path", f"{fresh.work}/*"]).stdout
            assert left == "", seed


@pytest.mark.parametrize(
    "room",
    [
        (0, 8, 24, 64),
        pytest.param((0, 4, 8, 12, 16, 24, 32, 48, 64), marks=pytest.mark.slow(held="that with fewer steps")),
    ],
    ids=["some", "all"],
)
def test_disk_full(small: Site, room: tuple[int, ...]) -> None:
    """With room for ever fewer bytes a run fails with two lines, keeps what there is, and mends it later."""
    small.baremetal("--engines=1")
    identity = f"{small.home}/.ipython/profile_cncp/security/cncp-identity.json"
    keys = small.host.read(identity)
    failures = 0
    for step, left in enumerate(room):
        fill = f"{small.home}/filler"
        small.host.exec(["dd", "if=/dev/zero", f"of={fill}", "bs=4k"], check=False)
        small.host.exec(["truncate", "-s", f"-{left}k", fill])
        done = small.baremetal("--engines=1", f"--heartbeat={200 + step}", check=False)
        assert done.returncode in (0, 1, 4), done.stderr
        assert "Traceback" not in done.stderr
        if done.returncode:
            failures += 1
            assert "error: " in done.stderr
            assert "hint: " in done.stderr
        small.host.exec(["rm", fill])
        small.baremetal("--engines=1", f"--heartbeat={200 + step}")
        assert sorted(small.ask_engines()) == ["0"]
    assert failures > 0
    assert small.host.read(identity) == keys


def test_ports_taken_by_a_stranger(fresh: Site) -> None:
    """A port that something else listens on is named, with who it is, before anything is started."""
    fresh.baremetal("--engines=1")
    fresh.cncp("down")
    identity = json.loads(fresh.host.read(f"{fresh.home}/.ipython/profile_cncp/security/cncp-identity.json"))
    port = identity["ports"]["all"][3]
    code = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); time.sleep(600)"
    argv = [*fresh.host.ssh_command(fresh.user), "-tt", f'python3 -c "{code}"']
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()
        done = fresh.baremetal(check=False)
        assert done.returncode == 1
        assert f"the controller's ports are taken: {port} (python3, process" in done.stderr
        assert "port" in fresh.cncp("check", check=False).stdout
        stranger.kill()
    until(lambda: fresh.baremetal(check=False).returncode == 0, 60, "the port to be free again")
    fresh.cncp("uninstall")
