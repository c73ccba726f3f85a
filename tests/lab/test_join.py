"""A machine that nobody can log in to joins by a pasted line, and follows its cluster from then on."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from .fleets import ASK, await_engines
from .host import Host
from .site import Site, checkout, until
from .sites import MakeSite

WATCHER = """
import glob, json, os, sys
wanted = [word.encode() for word in json.load(open("/var/wanted.json"))]
found = set()
print("ready", flush=True)
while not os.path.exists("/tmp/enough"):
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        try:
            content = open(path, "rb").read()
        except OSError:
            continue
        found.update(path.rpartition("/")[2] for word in wanted if word in content)
print(sorted(found))
"""
"""Looks at all processes again and again for what stands nowhere but in pipes."""


@dataclass(frozen=True)
class Pair:
    """The controller's machine, and one that is to give engines."""

    gold: Site
    silver: Site

    def invite(self, *words: str) -> dict[str, Any]:
        """Return what an invitation is, and its line."""
        return dict(json.loads(self.gold.cncp("invite", "--json", "--quiet", *words).stdout))

    def seed(self, **changes: object) -> str:
        """Return the seed of an invitation with changes."""
        made = self.invite("--engines", "1")
        return json.dumps({**{name: made[name] for name in made if name != "line"}, **changes})

    def paste(self, line: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Paste a line in a shell of bob's, where the code is."""
        argv = ["bash", "-c", f"cd {self.silver.work} && exec bash -s"]
        return self.silver.host.run(argv, self.silver.user, input=line + "\n", check=check, timeout=240)

    def where(self) -> list[str]:
        """Have every engine say which host it is on; none where the cluster does not answer."""
        done = self.gold.python(ASK, "cncp", check=False)
        return sorted(json.loads(done.stdout)) if not done.returncode else []

    def until(self, *names: str, timeout: float = 60) -> float:
        """Wait until engines on these hosts, and no others, compute; return how many s that took."""
        began = time.monotonic()
        await_engines(self.gold, names, timeout)
        return time.monotonic() - began

    def member(self) -> dict[str, Any]:
        """Return what the member knows."""
        return dict(json.loads(self.silver.host.read(f"{self.silver.state}/member.json")))


@pytest.fixture(scope="module")
def pair(make_host: Callable[..., Host], make_site: MakeSite) -> Pair:
    """Boot two machines with bob on both; on the first a cluster that others can reach."""
    hosts = [
        make_host(name, "bookworm", ("cron", "python3-venv", "nftables", "tcsh"), users=("bob", "cy"))
        for name in ("gold", "silver")
    ]
    for host in hosts:
        host.boot()
    found = Pair(*(make_site(host, "bob") for host in hosts))
    found.gold.baremetal("--engines=1", "--listen=all", "--tolerance=10")
    return found


@contextmanager
def watched(host: Host, *secrets: str) -> Iterator[list[str]]:
    """Look for secrets in the words and variables of all processes of a host; the list is filled at the end."""
    host.write("/var/wanted.json", json.dumps(secrets), mode=0o600)
    host.exec(["rm", "-f", "/tmp/enough"])
    found: list[str] = []
    argv = [*host.ssh_command("root"), "python3", "-u", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(WATCHER)
        process.stdin.close()
        process.stdout.readline()
        try:
            yield found
        finally:
            host.exec(["touch", "/tmp/enough"])
            found.append(process.stdout.readline().strip())


def holders(host: Host, secret: str) -> list[str]:
    """Return the files of a host that hold a secret, with their modes."""
    found = host.exec(
        ["grep", "-rlF", "--", secret, "/home", "/tmp", "/var/log", "/var/lib", "/etc", "/run"], check=False
    ).stdout
    modes = [host.exec(["stat", "-c", "%a %n", path], check=False).stdout.strip() for path in found.splitlines()]
    return [mode for mode in modes if mode]


def test_what_is_no_seed_leaves_nothing(pair: Pair) -> None:
    """On the machine that was to join: it is refused before anything is made."""
    silver = pair.silver
    for text in ("{}", "", '{"cluster": 1}', "x" * 70000):
        refused = silver.host.run(
            ["bash", f"{silver.work}/baremetal.sh", "--join", "-"], "bob", input=text, check=False
        )
        assert refused.returncode == 1, refused.stderr
        assert "error: the seed is damaged" in refused.stderr
    late = pair.seed(deadline=1_700_000_000)
    refused = silver.host.run(["bash", f"{silver.work}/baremetal.sh", "--join", "-"], "bob", input=late, check=False)
    assert "error: the invitation expired" in refused.stderr
    foreign = pair.seed(cluster="f" * 16)
    refused = silver.host.run(["bash", f"{silver.work}/baremetal.sh", "--join", "-"], "bob", input=foreign, check=False)
    assert "of the cluster" in refused.stderr
    lost = silver.baremetal("--join", "/home/bob/none.json", check=False)
    assert "there is no seed" in lost.stderr
    assert not silver.host.exists(silver.state)


def test_a_pasted_line_joins(pair: Pair) -> None:
    """An ordinary account, no ssh, one line; the key is in no list of processes, and in no file afterwards."""
    made = pair.invite("--engines", "2", "--note", "for the test")
    listed = json.loads(pair.gold.cncp("invite", "--list", "--json").stdout)
    assert listed["invitations"][-1]["note"] == "for the test"
    with watched(pair.silver.host, made["key"], made["join"]) as seen:
        done = pair.paste(made["line"])
    assert "joined: 2 engines registered" in done.stdout
    assert seen == ["[]"]
    pair.until("gold", "silver", "silver")
    assert holders(pair.silver.host, made["key"]) == []
    assert [path.split()[0] for path in holders(pair.silver.host, pair.member()["access"]["key"])] == ["600"]
    assert [path.split()[0] for path in holders(pair.gold.host, made["key"])] == ["600"]
    listed = json.loads(pair.gold.cncp("invite", "--list", "--json").stdout)
    assert listed["members"] == {"silver": 2}
    assert "silver" in pair.gold.cncp("status").stdout
    assert pair.silver.status()["rendezvous"]["state"] in ("joined", "held")


def test_new_keys_reach_members(pair: Pair) -> None:
    """A rotation is followed in seconds, with no ssh and no word from anybody."""
    before = pair.member()
    pair.gold.cncp("keys.rotate", "--quiet")
    print(f"engines back {pair.until('gold', 'silver', 'silver'):.1f} s after a rotation")
    after = pair.member()
    assert after["serial"] > before["serial"]
    assert after["fingerprint"] != before["fingerprint"]


def test_a_controller_that_moves_is_followed(pair: Pair) -> None:
    """Other ports come by the lease."""
    pair.gold.baremetal("--ports=31000-31040", "--force")
    print(f"engines back {pair.until('gold', 'silver', 'silver'):.1f} s after other ports")


def test_down_stops_members_and_up_brings_them_back(pair: Pair) -> None:
    """Their engines wait, without memory or processor time."""
    pair.gold.cncp("down")
    until(lambda: pair.silver.status()["engine-0"]["state"] == "parked", 30, "parked engines")
    assert pair.member()["state"] == "stopped"
    pair.gold.cncp("up")
    print(f"engines back {pair.until('gold', 'silver', 'silver'):.1f} s after up")


def test_it_outlives_reboots(pair: Pair) -> None:
    """Of the member, and of the controller's machine."""
    pair.silver.host.reboot()
    pair.until("gold", "silver", "silver")
    pair.gold.host.reboot()
    pair.until("gold", "silver", "silver", timeout=90)


def test_another_clusters_seed(pair: Pair) -> None:
    """Who has joined joins no other cluster by mistake, nor sets up one of its own over it."""
    foreign = pair.seed(cluster="f" * 16)
    refused = pair.silver.host.run(
        [f"{pair.silver.home}/.local/bin/cncp", "join", "-"], "bob", input=foreign, check=False
    )
    assert refused.returncode == 2
    assert "has joined the cluster" in refused.stderr
    gone = pair.gold.host.run([f"{pair.gold.home}/.local/bin/cncp", "join", "-"], "bob", input=foreign, check=False)
    assert "a cluster of its own" in gone.stderr


def test_a_machine_of_the_same_name(pair: Pair) -> None:
    """Engines of both would throw one another out; the second machine, here a second home, is told so."""
    other = pair.silver.host.run(
        ["bash", f"{pair.silver.work}/baremetal.sh", "--join", "-"],
        "bob",
        input=pair.seed(),
        env={"CNCP_HOME": "/home/bob/other"},
        check=False,
        timeout=240,
    )
    assert other.returncode == 1
    assert "engines of a machine that is called silver as well" in other.stderr
    assert pair.where() == ["gold", "silver", "silver"]
    # What it has begun to compile for engines is done a moment later.
    compiles = ["pgrep", "-f", "/home/bob/other/"]
    until(lambda: pair.silver.host.exec(compiles, check=False).returncode == 1, 30, "nothing of it to run")
    pair.silver.host.exec(["rm", "-r", "/home/bob/other"])


def test_a_firewall_in_between(pair: Pair) -> None:
    """Is said, with the port, in place of engines that wait for ever."""
    port = json.loads(pair.gold.host.read(f"{pair.gold.home}/.ipython/profile_cncp/security/ipcontroller-engine.json"))
    rule = f"add rule inet wall in tcp dport {port['registration']} ip saddr {pair.silver.host.address} reject"
    seed = pair.seed()
    for words in ("add table inet wall", "add chain inet wall in { type filter hook input priority 0 ; }", rule):
        pair.gold.host.exec(["nft", words])
    try:
        refused = pair.silver.host.run(
            [f"{pair.silver.home}/.local/bin/cncp", "join", "-"], "bob", input=seed, check=False
        )
    finally:
        pair.gold.host.exec(["nft", "delete", "table", "inet", "wall"])
    assert f"cannot be reached from here: port {port['registration']}" in refused.stderr
    assert "cncp firewall" in refused.stderr
    pair.until("gold", "silver", "silver")


def test_a_line_that_is_taken_back(pair: Pair) -> None:
    """It is void from then on, whoever has kept it."""
    made = pair.invite()
    assert pair.gold.cncp("invite", "--revoke", made["batch"][:6]).stdout == f"taken back: {made['batch']}\n"
    listed = json.loads(pair.gold.cncp("invite", "--list", "--json").stdout)
    assert made["batch"] not in [invitation["batch"] for invitation in listed["invitations"]]


def test_a_revocation_shuts_members_out(pair: Pair) -> None:
    """They hear of no new keys; another invitation lets them in again, also before the controller is up."""
    pair.gold.cncp("keys.revoke", "--yes", "--quiet")
    pair.until("gold")
    made = pair.invite("--engines", "2")
    waits = ["grep", "-qsF", made["batch"], f"{pair.silver.state}/seed.json"]
    pair.gold.cncp("down")
    with ThreadPoolExecutor() as pool:
        early = pool.submit(pair.paste, made["line"])
        # This one: that of a joining that failed lies there as well.
        until(lambda: not pair.silver.host.exec(waits, check=False).returncode, 60, "a seed that waits")
        pair.gold.cncp("up")
        done = early.result()
    assert "waiting for the cluster" in done.stderr
    assert "joined: 2 engines" in done.stdout
    pair.until("gold", "silver", "silver")


def test_leaving(pair: Pair) -> None:
    """An uninstall leaves nothing on the member, and the cluster goes on."""
    pair.silver.cncp("uninstall")
    assert not pair.silver.host.exists(pair.silver.state)
    pair.until("gold")


def test_an_account_that_is_not_well_behaved(pair: Pair, make_site: MakeSite) -> None:
    """Its shell is tcsh and talks; it has the C locale, another Python's modules, few files, closed folders."""
    host = pair.silver.host
    host.exec(["usermod", "--shell", "/bin/tcsh", "cy"])
    site = make_site(host, "cy")
    site.work = f"{site.home}/ñ dir"
    site.check_out()
    for name in ("dataclasses.py", "zmq/__init__.py", "cryptography/__init__.py", "sitecustomize.py"):
        host.write(f"{site.home}/old/{name}", "raise ImportError('a module of another Python')\n")
    said = ("umask 077", "limit descriptors 256", "setenv LC_ALL C", f"setenv PYTHONPATH {site.home}/old")
    host.write(f"{site.home}/.cshrc", "\n".join((*said, 'echo "hello from .cshrc"', "")))
    host.exec(["chown", "-R", "cy", site.home])
    before = site.tree()
    line = pair.invite("--engines", "1")["line"]
    done = host.run(["tcsh"], "cy", input=f"cd '{site.work}'\n{line}\n", timeout=240)
    assert "joined: 1 engine " in done.stdout
    pair.until("gold", "silver")
    pair.gold.cncp("keys.rotate", "--quiet")
    pair.until("gold", "silver")
    assert site.cncp("check").stdout.splitlines()[-1] == "all is well"
    site.cncp("uninstall")
    assert site.tree() == before
    pair.until("gold")


def test_root_joins_for_an_account(pair: Pair) -> None:
    """As an instance of a cloud does: units of the system, which the account follows new keys with all the same."""
    host = pair.silver.host
    host.exec(["mkdir", "-p", "/opt/cncp"])
    host.exec(["tar", "-x", "-C", "/opt/cncp", "--no-same-owner"], input=checkout())
    made = pair.invite("--engines", "1")
    seed = {**{name: made[name] for name in made if name != "line"}, "instance": True}
    host.write("/var/seed.json", json.dumps(seed), mode=0o600)
    argv = ["env", "CNCP_USER=bob", "HOME=/var", "bash", "/opt/cncp/baremetal.sh", "--join", "/var/seed.json"]
    assert "joined: 1 engine " in host.exec(argv, timeout=240).stdout
    assert host.exec(["systemctl", "is-active", "cncp-rendezvous.service"]).stdout == "active\n"
    assert [path.split() for path in holders(host, made["key"])] == []
    pair.gold.cncp("keys.rotate", "--quiet")
    pair.until("gold", "silver")
    pair.gold.cncp("down")
    until(lambda: host.exists(f"{pair.silver.state}/run/power-off"), 30, "an instance that is to end")
    assert pair.member()["state"] == "stopped"
