"""A cluster that an earlier commit's code set up is taken over by this code, handed back, and taken over again."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .fleets import Fleet, MakeFleet, differences
from .host import Host
from .site import CODE, ROOT, Site, checkout
from .sites import LOCKS, MakeSite, fetch_locked

FORMER = "f7083a81345261143c66e583961209b9c9bd686b"
SECURITY = ".ipython/profile_cncp/security"
CONNECTION = "/tmp/connection-of-before.json"
GO = "/tmp/go-on"

STORE = """
import ipyparallel
task = ipyparallel.Client(profile="cncp")[0].apply_async(pow, 2, 70)
task.get(timeout=20)
print(task.msg_ids[0])
"""

BUSY = f"""
import ipyparallel

def work():
    import os, time
    while not os.path.exists("{GO}"):
        time.sleep(0.05)
    return "worked"

client = ipyparallel.Client(profile="cncp")
task = client[1].apply_async(work)
while not client.queue_status(1)["queue"]:
    pass
print(task.msg_ids[0])
"""

COLLECT = """
import json, sys, ipyparallel
client = ipyparallel.Client(sys.argv[1], timeout=20)
client.wait_for_engines(2, timeout=20)
computed = client[:].apply_async(abs, -1).get_dict(timeout=20)
print(json.dumps([sorted(computed), *(client.get_result(task).get(timeout=20) for task in sys.argv[2:])]))
"""


@pytest.fixture(scope="module")
def former(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return an archive of what users checked out then; the index has its wheels, too.

    Skips where this checkout has no such history.
    """
    archive = ["git", "-C", str(ROOT), "archive", FORMER, "--", *CODE]
    made = subprocess.run(archive, capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"this checkout has no commit {FORMER[:7]}: {made.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as code:
        for name in LOCKS:
            stored = code.extractfile(f"bootstrap/locks/{name}.txt")
            assert stored is not None
            lock = tmp_path_factory.mktemp("former") / f"{name}.txt"
            lock.write_bytes(stored.read())
            fetch_locked(wheelhouse, lock)
    return made.stdout


@dataclass(frozen=True)
class Kept:
    """What stays as it is, whichever code keeps a cluster running."""

    ids: dict[str, int | None]
    secrets: dict[str, str]
    listening: list[str]


def kept(site: Site) -> Kept:
    """Look at a cluster from the machine in charge: its engines' ids, its keys, its ports and who listens there."""
    ids = {f"{service['host']} {service['name']}": service["id"] for service in statuses(site)}
    names = ("cncp-identity.json", "ipcontroller-client.json", "ipcontroller-engine.json")
    secrets = {name: site.host.read(f"{site.home}/{SECURITY}/{name}") for name in names}
    ports = {str(port) for port in json.loads(secrets["cncp-identity.json"])["ports"]["all"]}
    listening = [line.split()[3] for line in site.host.exec(["ss", "-Hltn"]).stdout.splitlines()]
    return Kept(ids, secrets, sorted(listener for listener in listening if listener.rpartition(":")[2] in ports))


def statuses(site: Site) -> list[dict[str, Any]]:
    """Return `cncp status --json`."""
    return list(json.loads(site.cncp("status", "--json").stdout))


def services(site: Site) -> set[tuple[str, int]]:
    """Return the processes of all services by host."""
    return {(service["host"], service["pid"]) for service in statuses(site)}


def processes(*sites: Site) -> set[str]:
    """Return all that runs out of the account's folders: host, process, its start and its command line."""
    found = set()
    for site in sites:
        listed = site.host.exec(["ps", "-ww", "-u", site.user, "-o", "pid=,lstart=,args="]).stdout
        found |= {f"{site.host.name} {line}" for line in listed.splitlines() if site.state in line}
    return found


def switch(site: Site, code: bytes) -> None:
    """Give the user other code in the same checkout, as git does."""
    site.host.exec(["rm", "-rf", site.work])
    site.host.exec(["mkdir", site.work])
    site.host.exec(["tar", "-x", "-C", site.work], input=code)
    site.host.exec(["chown", "-R", site.user, site.work])


def collect(site: Site, *tasks: str) -> list[Any]:
    """Have a client that has the connection file of before ask all engines, and collect results of before."""
    return list(json.loads(site.python(COLLECT, CONNECTION, *tasks).stdout))


def begin(site: Site) -> str:
    """Have engine 1 work until it may go on; return its task."""
    return site.python(BUSY).stdout.strip()


def refused(site: Site) -> None:
    """Hold that baremetal.sh ends no work without a word."""
    done = site.baremetal(check=False)
    assert done.returncode == 1
    assert re.search("error: engine-1( of lift1)? is busy", done.stderr), done.stderr


def when_idle(site: Site) -> None:
    """Run baremetal.sh while an engine works, which goes on when that has been noticed."""
    argv = [*site.host.ssh_command(site.user), "bash", f"{site.work}/baremetal.sh", "--wait=100"]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        said = ""
        for line in run.stderr:
            said += line
            if "engine-1: busy" in line:
                site.host.exec(["touch", GO])
        assert run.wait(240) == 0, said
        assert "engine-1: busy" in said


@pytest.mark.parametrize(
    ("user", "manager"),
    [
        pytest.param("bob", "supervisor", marks=pytest.mark.slow(held="test_fleet")),
        ("root", "systemd"),
    ],
)
def test_one_machine(bare: Host, make_site: MakeSite, former: bytes, user: str, manager: str) -> None:
    """Ids, keys, ports and results stay, no work is lost without a word, and nothing is left in the end."""
    site = make_site(bare, user)
    bare.exec(["rm", "-f", GO])
    untouched = site.tree()
    switch(site, former)
    said = site.baremetal("--engines=2", "--database=sqlite").stdout
    assert f"2/2 engines answer · profile cncp · {manager}" in said
    site.host.exec(["cp", "-p", f"{site.home}/{SECURITY}/ipcontroller-client.json", CONNECTION])
    before, old = kept(site), processes(site)
    stored, working = site.python(STORE).stdout.strip(), begin(site)

    switch(site, checkout())
    refused(site)
    assert old <= processes(site)
    when_idle(site)
    assert not old & processes(site)
    assert kept(site) == before
    assert collect(site, stored, working) == [[0, 1], 2**70, "worked"]
    assert "nothing to change" in site.cncp("up").stdout
    assert site.cncp("check").stdout.strip() == "all is well"

    new = services(site)
    switch(site, former)
    site.baremetal()
    assert not new & services(site)
    assert kept(site) == before
    assert collect(site, stored, working) == [[0, 1], 2**70, "worked"]
    assert site.cncp("check").stdout.strip() == "all is well"

    former_services = services(site)
    switch(site, checkout())
    site.baremetal()
    assert not former_services & services(site)
    assert kept(site) == before
    assert collect(site, stored, working) == [[0, 1], 2**70, "worked"]
    site.cncp("uninstall")
    assert processes(site) == set()
    assert site.tree() == untouched


def authorized(fleet: Fleet) -> list[str]:
    """Return who may log in to which machine."""
    return [
        site.host.exec(["cat", f"{site.home}/.ssh/authorized_keys"], check=False).stdout
        for site in (fleet.master, *fleet.hosts.values())
    ]


def test_fleet(make_fleet: MakeFleet, former: bytes) -> None:
    """The same holds where engines are behind a tunnel, and work may be lost; the former code takes all away."""
    fleet = make_fleet("lift", 1)
    master, sites = fleet.master, (fleet.master, *fleet.hosts.values())
    untouched, allowed = fleet.trees(), authorized(fleet)
    fleet.file('database = "sqlite"\n[[pool]]\nhosts = ["lift1"]\nengines = 2\nconnect = "forward"\n')
    switch(master, former)
    assert "2/2 engines answer" in master.baremetal().stdout
    master.host.exec(["cp", "-p", f"{master.home}/{SECURITY}/ipcontroller-client.json", CONNECTION])
    before, old = kept(master), processes(*sites)
    stored = master.python(STORE).stdout.strip()
    begin(master)

    switch(master, checkout())
    refused(master)
    assert old <= processes(*sites)
    master.baremetal("--force")
    assert not old & processes(*sites)
    assert kept(master) == before
    assert collect(master, stored) == [[0, 1], 2**70]
    assert "nothing to change" in master.cncp("up").stdout
    assert master.cncp("check").stdout.strip() == "all is well"

    new = services(master)
    switch(master, former)
    back = master.baremetal(check=False)
    if "STILL_RUNNING" in back.stderr:
        # The former code does not wait for supervisord to start an engine again that ended with the controller.
        back = master.baremetal(check=False)
    assert back.returncode == 0, back.stderr
    assert not new & services(master)
    assert kept(master) == before
    assert collect(master, stored) == [[0, 1], 2**70]
    assert master.cncp("check").stdout.strip() == "all is well"
    master.cncp("uninstall")
    master.host.exec(["rm", f"{master.home}/cluster.toml"])
    assert processes(*sites) == set()
    assert differences(untouched, fleet.trees()) == []
    assert authorized(fleet) == allowed
