"""The command is killed at any moment, by SIGKILL, while it makes instances of EC2: the next one goes on from there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cncp.pools.cloud.ec2 import Ec2
from cncp.pools.cloud.journal import Journal
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import CLUSTER, Template
from cncp.pools.cloud.reclaim import close

ROOT = Path(__file__).resolve().parents[2]
ID = "0f3a9c1e55aa7b20"
WANTED = 45

UP = """
import sys
from pathlib import Path
from cncp.pools.cloud import journal, reclaim
from cncp.pools.cloud.ec2 import Ec2
from cncp.pools.cloud.launch import Boot, Launcher, Wish
from cncp.pools.cloud.patience import Clock
from cncp.pools.cloud.provider import Template
from cncp.rendezvous.publishing import new_batch
reclaim.GRACE = 3.0  # moto lists at once what it has made
cloud, clock = Ec2({"provider": "ec2"}, Template("ami-03cf127a", "t3.micro")), Clock()
print("begun", flush=True)
with journal.locked(Path(sys.argv[1]), "cncp up"):
    kept = journal.Journal.of(Path(sys.argv[1]), sys.argv[2], "ada@gold")
    for batch in kept.open():
        if batch.stage == "PLANNED":
            reclaim.settled(cloud, kept, batch, clock)
    missing = int(sys.argv[3]) - len(reclaim.census(cloud, kept, clock))
    boot = lambda: Boot(new_batch(), "#!/bin/sh", clock.now() + 3600)
    if missing > 0:
        Launcher(cloud, kept, Wish("ec2", "no", None, boot), clock, lambda _: None).bring(missing)
"""


def begun(home: Path) -> subprocess.Popen[str]:
    """Start the command; return it when it has imported all that it needs."""
    words = [sys.executable, "-c", UP, str(home), ID, str(WANTED)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap")}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow(held="tests/unit/pools/test_launch.py"))])
def test_killed_at_random_moments(ec2: str, tmp_path: Path, kills: int) -> None:
    """There are as many instances as are wanted, and the journal has each."""
    chance = random.Random(kills)
    ended = 0
    for _ in range(kills):
        with begun(tmp_path) as process:
            time.sleep(chance.uniform(0, 1.2))
            process.kill()
        ended += process.returncode == -9
    with begun(tmp_path) as process:
        pass
    assert process.returncode == 0
    assert ended > 0
    cloud, journal = Ec2({"provider": "ec2"}, Template()), Journal.of(tmp_path, ID, "ada@gold")
    there = {instance.id for instance in cloud.instances({CLUSTER: ID}) if instance.costs}
    assert len(there) == WANTED
    assert there == journal.ids
    close(journal, "", lambda _: cloud, Clock(), print)
    assert [instance for instance in cloud.instances({CLUSTER: ID}) if instance.costs] == []
    assert cloud._groups(ID) == []
