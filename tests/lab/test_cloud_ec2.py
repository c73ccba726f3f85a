"""From nothing to engines on EC2 and back: moto answers the calls, and its instances are hosts with real cloud-init."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..cloud import moto_ec2
from .cloud import Region
from .fleets import ASK, await_engines, differences
from .host import Host
from .laptop import Laptop
from .nspawn import Lab, LabTimeoutError
from .site import ROOT, Site, until
from .sites import MakeSite, fetch_locked

CLUSTER = """
listen = "all"
[[pool]]
provider = "ec2"
instances = {count}
image = "{image}"
flavor = "t3.micro"
engines = 1
price = 0.25
"""

STREAM = """
import collections, json, os, sys
import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=20)
def work(number):
    import time
    time.sleep(0.1)
    return number
view = client.load_balanced_view()
results, ended = [], False
while not ended:
    results.append(view.map_async(work, range(40), chunksize=1))
    results[-1].wait(60)
    open(sys.argv[1], "w").close()
    ended = os.path.exists(sys.argv[2])
errors = {str(result.exception(1)) for result in results} - {"None"}
statuses = collections.Counter(status for result in results for status in result.status)
print(json.dumps([statuses, sorted(errors)]))
"""

CONNECTED = """
# only connected
import ipyparallel, time
client = ipyparallel.Client(profile="cncp", timeout=20)
time.sleep(600)
"""

AWS = "[default]\nregion = eu-west-1\nendpoint_url = {endpoint}\naws_access_key_id = t\naws_secret_access_key = t\n"


@dataclass
class Owner:
    """Somebody with a controller's machine, and a region to have instances in."""

    gold: Site
    region: Region

    def write(self, count: int | str, more: str = "") -> None:
        """Say in the file how many instances there are to be, and more of them."""
        text = CLUSTER.format(count=json.dumps(count), image=self.region.image()) + more
        self.gold.host.write(f"{self.gold.home}/cluster.toml", text, self.gold.user)

    def cncp(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb; up has minutes for instances to come."""
        program = f"{self.gold.home}/.local/bin/cncp"
        try:
            done = self.gold.host.run([program, *words], self.gold.user, check=False, timeout=240)
        except LabTimeoutError as error:
            consoles = {host.name: host.machine.tail() for host in self.region.hosts.values()}
            pytest.fail(f"{error}; {self.region.errors}; {consoles}")
        assert not self.region.errors, (self.region.errors, done.stdout, done.stderr)
        assert not check or not done.returncode, (done.stdout, done.stderr)
        return done

    @property
    def groups(self) -> list[str]:
        """Return the security groups that are ours."""
        found = self.region.client.describe_security_groups()["SecurityGroups"]
        return [group["GroupName"] for group in found if group["GroupName"].startswith("cncp-")]

    def code(self) -> int:
        """Return how many bundles lie where the controller's machine serves them."""
        return len(list(self.gold.host.root.glob("home/bob/.local/share/cncp/rendezvous/objects/cncp/v1/*/bundles/*")))

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Have a client send tasks all the time; each has ended, and well, by the end of the block."""
        begun, over = (f"{self.gold.home}/{name}" for name in ("begun", "over"))
        self.gold.host.exec(["rm", "-f", begun, over])
        with ThreadPoolExecutor(1) as threads:
            client = threads.submit(self.gold.python, STREAM, begun, over)
            try:
                until(lambda: client.done() or (self.gold.host.root / begun[1:]).exists(), 60, "tasks that end")
                yield
            finally:
                self.gold.host.exec(["touch", over])
        statuses, errors = json.loads(client.result().stdout)
        if errors:
            print(self.cncp("logs", "controller", "--lines", "60", check=False).stdout)
            print(self.cncp("logs", "rendezvous", "--lines", "30", check=False).stdout)
        assert statuses.keys() == {"ok"}, errors

    def engines(self) -> list[str]:
        """Return the hosts that engines compute on."""
        done = self.gold.python(ASK, "cncp", check=False)
        return sorted(json.loads(done.stdout)) if not done.returncode else []


@contextmanager
def owning(gold: Site, lab: Lab) -> Iterator[Owner]:
    """Make a controller's machine of a site that has our code, and a region that it finds, as what measures does."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in moto_ec2.KEYS.items():
            patch.setenv(name, value)
        with moto_ec2.serving(lab.address) as endpoint, Region(lab, endpoint, "eu-west-1") as region:
            gold.host.write(f"{gold.home}/.aws/config", AWS.format(endpoint=endpoint), gold.user, 0o600)
            gold.baremetal("--engines=0", "--listen=all")
            gold.cncp("pip", "install", "boto3")
            yield Owner(gold, region)


@pytest.fixture(scope="module")
def owner(lab: Lab, make_host: Callable[..., Host], make_site: MakeSite, wheelhouse: Path) -> Iterator[Owner]:
    """Boot the controller's machine, with boto3 installed as its hint says."""
    fetch_locked(wheelhouse, ROOT / "bootstrap" / "locks" / "ec2.txt")
    host = make_host("gold", "bookworm", ("cron", "python3-venv"), users=("ada", "bob"))
    host.boot()
    gold = make_site(host, "bob")
    with owning(gold, lab) as found:
        yield found


def test_from_nothing_to_engines_and_back(owner: Owner) -> None:
    """`up` ends when two instances compute; scale, list, sweep and down do what they say; nothing is left."""
    owner.write(2)
    done = owner.cncp("up", "--file", f"{owner.gold.home}/cluster.toml")
    print(done.stdout, done.stderr)
    names = sorted(host.name for host in owner.region.hosts.values())
    assert owner.engines() == names
    assert len(names) == 2
    again = owner.cncp("up")
    assert len(owner.region.running) == 2, again.stderr
    status = json.loads(owner.cncp("status", "--json").stdout)
    assert all(name in json.dumps(status) for name in names)
    listed = json.loads(owner.cncp("cloud.list", "--json").stdout)
    assert sorted(instance["name"] for instance in listed) == names
    assert {(instance["price"], instance["orphan"]) for instance in listed} == {(0.25, "")}
    owner.cncp("scale", "3")
    await_engines(owner.gold, 3)
    with owner.streaming():
        assert "busy" in owner.cncp("scale", "1", check=False).stderr
        assert len(owner.region.running) == 3
        owner.cncp("scale", "1", "--wait", "60")
        assert len(owner.region.running) == 1
    [left] = owner.region.running.values()
    stray = owner.region.client.run_instances(
        ImageId=owner.region.image(), InstanceType="t3.micro", MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [
            {**tag, "Value": "f" * 16} if tag["Key"] == "cncp-cluster" else tag for tag in left["Tags"]
        ]}],
    )["Instances"][0]["InstanceId"]  # fmt: skip
    assert "its cluster is not known here" in owner.cncp("cloud.list").stdout
    asked = owner.cncp("cloud.sweep", check=False)
    assert asked.returncode == 2
    assert stray in owner.region.running
    owner.cncp("cloud.sweep", "--yes")
    assert list(owner.region.running) == [left["InstanceId"]]
    with owner.streaming():
        assert "would lose" in owner.cncp("down", "--wait", "1", check=False).stderr
        assert list(owner.region.running) == [left["InstanceId"]]
    assert owner.code() == 1
    owner.cncp("down")
    assert owner.region.running == {}
    assert owner.groups == []
    assert owner.code() == 0


def test_all_fail(owner: Owner) -> None:
    """Where no instance can join, `up` ends at once with what their consoles say; they stay to be looked at."""
    owner.gold.host.exec(["tar", "-cf", "/home/bob/bad.tar", "-C", "/etc", "hostname"])
    owner.write(2, 'bundle = "bad.tar"\n')
    done = owner.cncp("up", "--file", f"{owner.gold.home}/cluster.toml", check=False)
    assert done.returncode == 3, (done.stdout, done.stderr)
    # As many as were asked for last: the file says what it said then.
    assert len(owner.region.running) == 1
    assert done.stderr.count("it is failed: its code has no baremetal.sh") == 1
    assert "its code has no baremetal.sh" in owner.cncp("status", check=False).stdout
    # Without its table the pool has what it has all the same.
    owner.gold.host.write(f"{owner.gold.home}/cluster.toml", 'listen = "all"\n', owner.gold.user)
    assert "the pool ec2 is no longer in the file" in owner.cncp("check", check=False).stdout
    owner.cncp("down")
    assert owner.region.running == {}
    assert owner.groups == []


def test_from_a_laptop(owner: Owner, make_host: Callable[..., Host], make_site: MakeSite) -> None:
    """The controller is on another machine, which ssh reaches: all is installed, made and ended there, from here."""
    gold, region = Site(owner.gold.host, "ada"), owner.region
    access = gold.host.read(f"{owner.gold.home}/.aws/config")
    gold.host.write(f"{gold.home}/.aws/config", access, gold.user, 0o600)
    host = make_host("laptop", "bookworm", ("cron", "python3-venv"), users=("bob",))
    host.boot()
    laptop = Laptop(make_site(host, "bob").host, "bob")
    laptop.task_key()
    laptop.let_in(gold)
    before = {"gold": gold.tree(), "laptop": laptop.tree()}
    laptop.prepare(gold.host)
    text = CLUSTER.format(count=1, image=region.image())
    file = f"{laptop.home}/cluster.toml"
    host.write(f"{laptop.home}/more.txt", "boto3\n", laptop.user)
    host.write(file, f'controller = "ada@gold"\nrequirements = "more.txt"\n{text}', laptop.user)
    assert laptop.baremetal("--file", file).stdout.count("1/1 engines answer") == 1
    [instance] = region.hosts.values()
    assert instance.name in laptop.cncp("status").stdout
    laptop.cncp("scale", "2")
    assert len(region.running) == 2
    laptop.cncp("keys.copy", "--host", "ada@gold")
    assert sorted(json.loads(laptop.python(ASK, "cncp").stdout)) == sorted(host.name for host in region.hosts.values())
    assert len(json.loads(laptop.cncp("cloud.list", "--json").stdout)) == 2
    refused = laptop.cncp("cloud.list", "--frobnicate", check=False)
    assert refused.returncode == 2
    laptop.cncp("keys.rotate")
    await_engines(gold, 2)
    laptop.cncp("down")
    assert region.running == {}
    laptop.cncp("up", "--quiet")
    assert len(region.running) == 2, "as many as were asked for last"
    laptop.cncp("uninstall")
    assert region.running == {}
    assert owner.groups == []
    left = differences(before, {"gold": gold.tree(), "laptop": laptop.tree()})
    # The connection file that was copied is the user's, and IPython's folder around it; ssh notes who it knows.
    mine = ("/bob/.ipython", "/bob/cluster.toml", "/bob/more.txt", "/bob/.ssh")
    assert [line for line in left if not any(path in line for path in mine)] == []


@pytest.mark.slow(held="tests/unit/pools/test_tending.py")
def test_without_work_they_end(owner: Owner) -> None:
    """The service beside the controller ends instances that have nothing to do, down to the lower bound."""
    owner.write(2)
    owner.cncp("up", "--file", f"{owner.gold.home}/cluster.toml")
    owner.cncp("scale", "2")
    # From here on it looks: while they came, the first would have had nothing to do for a minute.
    owner.write("1-2", 'idle = "1m"\n')
    owner.cncp("up")
    assert len(owner.region.running) == 2
    until(lambda: len(owner.region.running) == 1, 240, "one to be ended")
    await_engines(owner.gold, 1)
    assert json.loads(owner.cncp("status", "--json").stdout)
    owner.cncp("down")
    assert owner.region.running == {}


@pytest.mark.slow(held="tests/unit/pools/test_tending.py")
def test_without_a_client_they_end(owner: Owner) -> None:
    """All of them, a while after the last client has gone, and not before; the next `up` makes them anew."""
    owner.write(1, 'idle_client = "1m"\n')
    with ThreadPoolExecutor(1) as threads:
        owner.cncp("up", "--file", f"{owner.gold.home}/cluster.toml")
        client = threads.submit(owner.gold.python, CONNECTED)
        with pytest.raises(AssertionError, match="it to be ended"):
            until(lambda: not owner.region.running, 150, "it to be ended")
        owner.gold.host.exec(["pkill", "-f", "only connected"])
        client.exception()
        gone = time.monotonic()
    until(lambda: not owner.region.running, 240, "it to be ended")
    assert time.monotonic() - gone > 55
    until(lambda: "no client for" in owner.cncp("logs", "rendezvous").stdout, 60, "a reason in the log")
    owner.cncp("up")
    assert len(owner.engines()) == 1
    owner.cncp("down")
    assert owner.region.running == {}
