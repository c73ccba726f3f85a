"""From passwords to keys to a client that works: ssh keys, connection files, rotation, revocation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from .host import Host
from .laptop import Laptop
from .site import Site
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
    assert "invoke keys.generate" in lacking.stderr
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
