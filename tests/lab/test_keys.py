"""From passwords to keys to a client that works: ssh keys, connection files, rotation, revocation."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from .host import Host
from .laptop import Laptop
from .site import Site, until
from .sites import MakeSite

SECURITY = ".ipython/profile_cncp/security"
PASSWORD = "correct horse"


@dataclass(frozen=True)
class Net:
    """A laptop, the controller's machine, and one that is to run engines; bob on all of them."""

    laptop: Laptop
    gold1: Site
    gold2: Site


@pytest.fixture(scope="module")
def net(make_host: Callable[..., Host], make_site: MakeSite) -> Net:
    """Boot three machines; on the second a cluster that listens to others."""
    hosts = [
        make_host(name, "bookworm", ("cron", "python3-venv"), users=("bob",)) for name in ("laptop", "gold1", "gold2")
    ]
    for host in hosts:
        host.boot()
    gold1, gold2 = (make_site(host, "bob") for host in hosts[1:])
    made_there = make_site(hosts[0], "bob")
    laptop = Laptop(made_there.host, "bob")
    laptop.prepare(*hosts[1:])
    gold1.baremetal("--engines=2", "--listen=all")
    return Net(laptop, gold1, gold2)


def authorized(site: Site) -> list[str]:
    """Return the lines of a user's authorized_keys."""
    return site.host.read(f"{site.home}/.ssh/authorized_keys").splitlines()


def test_without_a_key_or_terminal_nothing_is_done(net: Net) -> None:
    """Errors name what to do: make a key, use a terminal; the hosts are as before."""
    lacking = net.laptop.task("keys.authorize", "--hosts", "gold[1-2]", check=False)
    assert lacking.returncode == 2
    assert "cncp keys.generate" in lacking.stderr
    net.laptop.task("keys.generate", "--no-passphrase")
    refused = net.laptop.task("keys.authorize", "--hosts", "gold[1-2]", check=False)
    assert refused.returncode == 3
    assert refused.stderr.count("no terminal to ask on") == 2
    assert not net.gold1.host.exists(f"{net.gold1.home}/.ssh/authorized_keys")


def test_one_password_for_all_hosts(net: Net) -> None:
    """It is asked for once, opens all hosts, and is not asked for again."""
    status, said = net.laptop.task_on_tty("keys.authorize", "--hosts", "gold[1-2]", answers={"password.*: ": "wrong"})
    assert status == 3
    assert said.count("the password was not accepted") == 2
    net.gold1.host.exec(["mkdir", "-p", f"{net.gold1.home}/.ssh"])
    # An editor that ends no last line must not have two keys melt into one.
    net.gold1.host.write(f"{net.gold1.home}/.ssh/authorized_keys", "# mine", "bob", 0o644)
    net.gold1.host.exec(["chown", "bob:", f"{net.gold1.home}/.ssh"])
    status, said = net.laptop.task_on_tty("keys.authorize", "--hosts", "gold[1-2]", answers={"password.*: ": PASSWORD})
    assert status == 0, said
    assert said.count("password on") == 1
    assert "[gold1] added" in said
    key = net.laptop.host.read(f"{net.laptop.home}/.ssh/cncp_ed25519.pub").strip()
    assert authorized(net.gold1) == ["# mine", key]
    assert authorized(net.gold2) == [key]
    assert net.gold1.host.exec(["stat", "-c", "%a", f"{net.gold1.home}/.ssh/authorized_keys"]).stdout == "600\n"
    again = net.laptop.task("keys.authorize", "--hosts", "gold[1-2]", "--json")
    assert json.loads(again.stdout) == {"done": {"gold1": "there already", "gold2": "there already"}, "failed": {}}


def test_copy_and_use(net: Net) -> None:
    """A client on the laptop works right after the copy; a second copy changes nothing."""
    copied = json.loads(net.laptop.task("keys.copy", "--host", "gold1", "--json").stdout)
    assert copied["changed"]
    assert copied["address"] == "gold1"
    assert sorted(net.laptop.ask_engines()) == ["0", "1"]
    mode = net.laptop.host.exec(["stat", "-c", "%a", f"{net.laptop.home}/{SECURITY}/ipcontroller-client.json"]).stdout
    assert mode == "600\n"
    assert "nothing to change" in net.laptop.task("keys.copy", "--host", "gold1").stdout


def fingerprint(site: Site, profile: str = "cncp") -> str:
    """Return the fingerprint of the client file that a user has."""
    task = site.task if isinstance(site, Laptop) else site.cncp
    shown = json.loads(task("keys.show", "--profile", profile, "--json").stdout)
    return str(next(entry["key"] for entry in shown if entry["holds"].startswith("client")))


def test_shown_without_a_secret(net: Net) -> None:
    """keys.show tells clusters apart, and prints nothing that stands in a file of keys."""
    text = net.gold1.host.read(f"{net.gold1.home}/{SECURITY}/cncp-identity.json")
    identity = json.loads(text)
    assert fingerprint(net.laptop) == fingerprint(net.gold1)
    said = net.gold1.cncp("keys.show").stdout + net.laptop.task("keys.show", "--json").stdout
    assert "cluster of this machine" in said
    for name in ("key", "curve_secretkey", "curve_publickey"):
        assert identity[name] not in said


def test_another_cluster_s_key_is_not_lost(net: Net) -> None:
    """A copy over another cluster's file is refused with both fingerprints; with --force that is kept."""
    net.gold2.baremetal("--engines=1", "--listen=all", "--encryption=false")
    before = fingerprint(net.laptop)
    refused = net.laptop.task("keys.copy", "--host", "gold2", check=False)
    assert refused.returncode == 1
    other = fingerprint(net.gold2)
    assert before in refused.stderr
    assert other in refused.stderr
    assert fingerprint(net.laptop) == before
    # Beside, under another name, it works; so does a cluster that encrypts nothing.
    net.laptop.host.run(["mkdir", "-p", f"{net.laptop.home}/.ipython/profile_two"], "bob")
    net.laptop.host.write(f"{net.laptop.home}/.ipython/profile_two/ipython_config.py", "# mine\n", "bob")
    net.laptop.task("keys.copy", "--host", "gold2", "--as", "two")
    assert list(net.laptop.ask_engines("two")) == ["0"]
    assert net.laptop.host.read(f"{net.laptop.home}/.ipython/profile_two/ipython_config.py") == "# mine\n"
    forced = json.loads(net.laptop.task("keys.copy", "--host", "gold2", "--force", "--json").stdout)
    assert forced["backup"].endswith(before)
    assert list(net.laptop.ask_engines()) == ["0"]
    net.gold2.cncp("uninstall")
    net.laptop.task("keys.copy", "--host", "gold1", "--force")


TASKS = """
import json, os, sys, time
import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=20)
client.wait_for_engines(3, timeout=30)
def work(number):
    import time
    time.sleep(0.02)
    return number, "x" * 20000
sent = client.load_balanced_view().map_async(work, range(1000), chunksize=1)
print("sent", flush=True)
got = sorted(number for number, _ in sent.get(timeout=120))
print(got == list(range(1000)), flush=True)
try:
    client.close()
    ipyparallel.Client(profile="cncp", timeout=5)
except Exception as error:
    print(type(error).__name__, flush=True)
"""

BUSY = """
import time
import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=20)
client[:].apply_async(time.sleep, 600)
print("sent", flush=True)
time.sleep(600)
"""

REFUSED = """
import sys
import ipyparallel
try:
    ipyparallel.Client(sys.argv[1], timeout=5)
    print("let in")
except Exception as error:
    print(type(error).__name__)
"""


CLUSTER = """
listen = "all"
[[pool]]
hosts = ["localhost"]
engines = 2
[[pool]]
hosts = ["gold2"]
engines = 1
"""


@pytest.fixture
def with_engines(net: Net) -> None:
    """Have gold2 run an engine of gold1, which may log in there and has that in its cluster.toml."""
    gold1, gold2 = net.gold1, net.gold2
    hosts = gold1.host.read("/etc/hosts")
    gold1.host.write("/etc/hosts", f"{hosts}\n{gold2.host.address} gold2\n")
    gold1.cncp("keys.generate", "--no-passphrase")
    public = gold1.host.read(f"{gold1.home}/.ssh/cncp_ed25519.pub")
    had = gold2.host.read(f"{gold2.home}/.ssh/authorized_keys")
    gold2.host.write(f"{gold2.home}/.ssh/authorized_keys", had + public, "bob", 0o600)
    gold1.host.write(f"{gold1.home}/cluster.toml", CLUSTER, "bob")
    assert "3/3 engines answer" in gold1.baremetal("--forget").stdout


@pytest.mark.usefixtures("with_engines")
def test_rotation_loses_nothing_and_shuts_out(net: Net) -> None:
    """1000 tasks of a client are all done and fetched first; then the old key opens nothing, on no host."""
    former = net.laptop.host.read(f"{net.laptop.home}/{SECURITY}/ipcontroller-client.json")
    net.laptop.host.write("/home/bob/former.json", former, "bob", 0o600)
    with net.laptop.client(TASKS) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "sent\n"
        done = net.gold1.cncp("keys.rotate", "--json")
        assert client.stdout.readline() == "True\n"
    rotated = json.loads(done.stdout)
    assert rotated["before"] != rotated["after"]
    assert rotated["engines"] == 3
    assert rotated["hosts"] == {"localhost": 2, "gold2": 1}
    assert net.laptop.python(REFUSED, "/home/bob/former.json").stdout == "TimeoutError\n"
    # The file is now another cluster's as far as anybody can tell.
    refused = net.laptop.task("keys.copy", "--host", "gold1", check=False)
    assert rotated["before"] in refused.stderr
    assert rotated["after"] in refused.stderr
    net.laptop.task("keys.copy", "--host", "gold1", "--force")
    assert len(net.laptop.ask_engines()) == 3
    assert "nothing to change" in net.gold1.baremetal().stdout
    # Engine hosts have the engine's file, and the client's never.
    held = net.gold2.host.exec(["find", net.gold2.home, "-name", "ipcontroller-*", "-printf", "%m %f\n"]).stdout
    assert set(held.splitlines()) == {"600 ipcontroller-engine.json"}


def test_rotation_waits_only_so_long(net: Net) -> None:
    """Tasks that do not end in time keep the keys as they are; revoke goes on in spite of them."""
    before = fingerprint(net.gold1)
    with net.laptop.client(BUSY) as client:
        assert client.stdout is not None
        client.stdout.readline()
        until(lambda: "busy" in net.gold1.cncp("status").stdout, 20, "the tasks to begin")
        late = net.gold1.cncp("keys.rotate", "--wait", "1", check=False)
        assert late.returncode == 1
        assert "3 tasks not done after 1 s; nothing was changed" in late.stderr
        assert fingerprint(net.gold1) == before
        asked = net.gold1.cncp("keys.revoke", check=False)
        assert asked.returncode == 2
        assert "--yes" in asked.stderr
        done = net.gold1.cncp("keys.revoke", "--yes", "--json")
    assert json.loads(done.stdout)["engines"] == 3
    assert fingerprint(net.gold1) != before
    client_file = f"/home/bob/{SECURITY}/ipcontroller-client.json"
    assert net.laptop.python(REFUSED, client_file).stdout == "TimeoutError\n"


def test_our_ssh_key_is_taken_out(net: Net) -> None:
    """With --host, revoke removes the one line, and the host lets us in no more."""
    said = net.laptop.task("keys.revoke", "--host", "gold1").stdout
    assert said == "[gold1] removed\n"
    assert authorized(net.gold1) == ["# mine"]
    refused = net.laptop.task("keys.copy", "--host", "gold1", check=False)
    assert "lets us in with none of our keys" in refused.stderr


POOLS = """
[[pool]]
hosts = ["gold1"]
[[pool]]
hosts = ["gold2"]
jump = "bob@gold1"
"""


def test_a_host_behind_another(net: Net) -> None:
    """One password opens a host that only a jump host reaches, and then our key does, through both."""
    net.laptop.host.exec(["rm", "-f", f"{net.laptop.home}/.ssh/known_hosts"])
    net.laptop.task("keys.revoke", "--host", "gold2")
    net.gold1.host.exec(["sh", "-c", f"echo {net.gold2.host.address} gold2 >> /etc/hosts"])
    rule = ["to", net.gold2.host.address, "prohibit"]
    net.laptop.host.exec(["ip", "rule", "add", *rule])
    net.laptop.host.write(f"{net.laptop.home}/pools.toml", POOLS, "bob")
    try:
        words = ["keys.authorize", "--file", f"{net.laptop.home}/pools.toml"]
        status, said = net.laptop.task_on_tty(*words, answers={"password.*: ": PASSWORD})
        assert status == 0, said
        assert said.count("password on") == 1
        assert "[gold1] added" in said
        assert "[gold2] added" in said
        ran = net.laptop.task("hosts.run", "--file", f"{net.laptop.home}/pools.toml", "--", "hostname")
        assert sorted(ran.stdout.splitlines()) == ["[gold1] gold1", "[gold2] gold2"]
    finally:
        net.laptop.host.exec(["ip", "rule", "del", *rule])


def test_taken_out_where_it_can_be(net: Net) -> None:
    """A host that cannot be reached costs the others nothing, and is named; another run mends it."""
    net.gold2.host.network(False)
    try:
        done = net.laptop.task("keys.revoke", "--host", "gold[1-2]", check=False)
    finally:
        net.gold2.host.network(True)
    assert done.returncode == 3
    assert done.stdout == "[gold1] removed\n"
    assert "[gold2] " in done.stderr
    assert "1 of 2 hosts failed: gold2" in done.stderr
    assert net.laptop.task("keys.revoke", "--host", "gold2").stdout == "[gold2] removed\n"
    assert authorized(net.gold1) == ["# mine"]


WATCH = """
import glob, os, sys
secrets = [line.rstrip("\\n").encode() for line in open("/root/secrets")]
seen = set()
print("ready", flush=True)
while not os.path.exists("/root/enough"):
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        try:
            content = open(path, "rb").read()
        except OSError:
            continue
        seen.update(path for secret in secrets if secret in content)
print(sorted(seen))
"""


@contextmanager
def watched(host: Host, secrets: list[str]) -> Iterator[None]:
    """Look at all arguments and environments all the time; hold that none of the secrets was seen."""
    host.write("/root/secrets", "".join(f"{secret}\n" for secret in secrets), mode=0o600)
    host.write("/root/watch.py", WATCH)
    argv = [*host.ssh_command("root"), "python3", "-u", "/root/watch.py"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        try:
            yield
        finally:
            host.exec(["touch", "/root/enough"])
        assert watcher.stdout.readline().strip() == "[]"
    host.exec(["rm", "/root/secrets", "/root/watch.py", "/root/enough"])


def secrets_of(site: Site) -> list[str]:
    """Return what of a cluster's identity nobody is to see."""
    identity = json.loads(site.host.read(f"{site.home}/{SECURITY}/cncp-identity.json"))
    return [identity[name] for name in ("key", "curve_secretkey", "curve_publickey")]


def test_no_secret_is_ever_seen(net: Net) -> None:
    """Neither the password nor a key shows in an argument, an environment, an output or another file."""
    laptop, gold1 = net.laptop.host, net.gold1.host
    secrets = [PASSWORD, *secrets_of(net.gold1)]
    said = []
    with watched(laptop, secrets), watched(gold1, secrets):
        status, text = net.laptop.task_on_tty("keys.authorize", "--hosts", "gold1", answers={"password.*: ": PASSWORD})
        assert status == 0, text
        said.append(text)
        for words in (
            ["keys.copy", "--host", "gold1", "--force"],
            ["keys.show"],
            ["connect", "--host", "gold1", "--background", "--json"],
            ["connect", "--status"],
            ["connect", "--stop"],
        ):
            done = net.laptop.task(*words)
            said += [done.stdout, done.stderr]
        rotated = net.gold1.cncp("keys.rotate")
        said += [rotated.stdout, rotated.stderr, gold1.journal(), laptop.journal()]
    after = secrets_of(net.gold1)
    assert not [secret for secret in (*secrets, *after) for text in said if secret in text]
    assert not set(secrets[1:]) & set(after)
    for secret in (*secrets, *after):
        for host in (laptop, gold1, net.gold2.host):
            found = host.exec(["grep", "-rlF", "--", secret, "/home", "/tmp", "/run", "/var/log"], check=False).stdout
            kept = {path.rpartition("/")[2].partition(".json")[0] for path in found.splitlines()}
            assert kept <= {"cncp-identity", "ipcontroller-client", "ipcontroller-engine", "former"}, found


def test_host_keys(net: Net) -> None:
    """A host whose key changed is refused; with strict, so is one that is not known yet."""
    known = f"{net.laptop.home}/.ssh/known_hosts"
    net.laptop.host.exec(["rm", known])
    refused = net.laptop.task("keys.copy", "--host", "gold2", "--host-keys", "strict", check=False)
    assert "its host key is not known" in refused.stderr
    other = net.laptop.host.read("/etc/ssh/ssh_host_ed25519_key.pub")
    net.laptop.host.write(known, f"gold2 {other}", "bob", 0o600)
    refused = net.laptop.task("keys.copy", "--host", "gold2", check=False)
    assert "its host key is not the one known" in refused.stderr
