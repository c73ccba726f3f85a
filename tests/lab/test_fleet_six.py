"""Six hosts, homes shared and not, nothing on them but accounts with passwords: to 24 engines, and every verb."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from .fleets import Fleet, MakeFleet, await_engines
from .laptop import Laptop

NAMES = [f"six{number}" for number in range(1, 7)]
PASSWORD = "correct horse"

TASK = """
import json, os, socket, ipyparallel
client = ipyparallel.Client(profile="gold", timeout=20)
found = {}
for number in client.ids:
    found[number] = client[number].apply_async(lambda: (__import__("socket").gethostname(), 6 * 7)).get(timeout=20)
print(json.dumps(found))
"""


def tasks(fleet: Fleet) -> Counter[str]:
    """Run a task on each engine by itself; return how many each host ran."""
    found = json.loads(fleet.master.python(TASK).stdout)
    assert {value for _, value in found.values()} == {42}
    return Counter(host for host, _ in found.values())


@pytest.mark.slow(held="test_fleet.py with fewer hosts, test_fleet_homes.py, test_keys.py with their passwords")
def test_six_hosts(make_fleet: MakeFleet, tmp_path: Path) -> None:
    """Passwords first and keys after; `up` from nothing ends with 24/24; each verb acts on the whole."""
    home = tmp_path / "homes"
    home.mkdir()
    fleet = make_fleet("six", 6, shared=(1, 2, 3), home=home, trusted=False)
    master = fleet.master
    laptop = Laptop(master.host, "bob")
    laptop.prepare(*(site.host for site in fleet.hosts.values()))
    laptop.task("keys.generate", "--no-passphrase")
    status, said = laptop.task_on_tty("keys.authorize", "--hosts", "six[1-6]", answers={"password.*: ": PASSWORD})
    assert status == 0, said
    assert said.count("password on") == 1

    fleet.file('profile = "gold"\n[[pool]]\nhosts = ["six[1-6]"]\nengines = 4\nthreads = 1\n')
    done = master.baremetal()
    assert "24/24 engines answer" in done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("six")] == [
        [name, "4/4"] for name in NAMES
    ]
    assert tasks(fleet) == dict.fromkeys(NAMES, 4)
    assert Counter(service["state"] for service in fleet.status().values()) == {"idle": 24, "up": 1}
    assert "all is well" in master.cncp("check", "--from-hosts").stdout
    shown = master.cncp("logs", "--name", "engine-3", "--lines", "1", "--limit", "six[1-6]").stdout
    assert [line.split("]")[0] for line in shown.splitlines()] == [f"[{name}" for name in NAMES]
    master.cncp("scale", "2", "--limit", "six[1,5]")
    assert tasks(fleet) == {**dict.fromkeys(NAMES, 4), "six1": 2, "six5": 2}
    before = fleet.status()
    master.cncp("restart", "--limit", "six2", "--name", "engine-1")
    await_engines(fleet.master, 20, profile="gold")
    anew = {name for name, service in fleet.status().items() if service["pid"] != before[name]["pid"]}
    assert anew == {"six2 engine-1"}
    master.cncp("down")
    assert {service["state"] for service in fleet.status().values()} == {"down"}
    assert "24/24 engines answer" in master.cncp("up").stdout
    master.cncp("uninstall")
    for site in fleet.hosts.values():
        assert not site.host.exists(f"{site.home}/.local")
    assert os.listdir(home / "bob" / ".ssh") == ["authorized_keys"]
