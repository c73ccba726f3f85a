"""Virtual machines as a pool: as many as are wanted are made, started, shut down and taken away, whoever makes them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from cncp.config.inventory import HostSpec, PoolTable
from cncp.errors import CncpError, UsageError
from cncp.pools import counts
from cncp.pools.base import Member, State
from cncp.pools.providers import pools
from cncp.pools.vm import machines
from cncp.pools.vm.machines import Machines
from cncp.pools.vm.site import Guest, Row, Say, Site, Wanted, know

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43


class Maker:
    """What makes machines, in memory."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.wanted: list[Wanted] = []

    def check(self, wanted: Wanted) -> None:
        if wanted.count < len(self.states):
            raise CncpError("machines there already", "take them away")
        if wanted.memory > 4096:
            raise CncpError("no such memory", "--memory MIB")

    def up(self, wanted: Wanted, authorized: tuple[str, ...], say: Say) -> list[Guest]:
        assert authorized == (KEY,)
        self.wanted.append(wanted)
        names = [f"cncp-vm{number}" for number in range(1, wanted.count + 1)]
        say(f"starting {len(names)}")
        self.states.update(dict.fromkeys(names, "running"))
        return [Guest(HostSpec(name, user="cncp", port=2200, address="127.0.0.1"), (20000,)) for name in names]

    def machines(self) -> list[Row]:
        return [Row(name, state, 1, 1024) for name, state in self.states.items()]

    def down(self, names: Collection[str] | None = None) -> list[str]:
        gone = [name for name in self.states if names is None or name in names]
        self.states.update(dict.fromkeys(gone, "off"))
        return gone

    def destroy(self) -> None:
        self.states.clear()


@pytest.fixture
def maker(home: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Give what makes machines, and the user a key."""
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "id_ed25519.pub").write_text(f"{KEY} ada\n")
    made = Maker()
    monkeypatch.setattr(machines, "account_home", lambda: home)
    monkeypatch.setattr(machines, "provider_of", lambda *_: made)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return made


def pool_of(home: Path, **values: Any) -> Machines:
    """Return a pool of machines as its table has it."""
    return Machines.read(PoolTable("vm", values, "cluster.toml pool", home), "vm", home / "state")


def test_machines_are_made_and_give_hosts(home: Path, maker: Maker) -> None:
    """A plan names them, acquire has them run; they are described by the table, and a second time nothing is to do."""
    pool, said = pool_of(home, count=2, memory=768, engines=3), list[str]()
    pool.check()
    assert pool.plan() == ["make cncp-vm1 of 768 MiB, cores: 1", "make cncp-vm2 of 768 MiB, cores: 1"]
    assert not pool.hosts()
    assert not pool.observe()
    hosts = pool.acquire(said.append)
    assert said == ["starting 2"]
    assert maker.wanted == [Wanted(2, 768, 1)]
    way = HostSpec("cncp-vm2", user="cncp", port=2200, address="127.0.0.1", settings={"engines": 3})
    assert hosts[1] == way
    # What the first one has in the file of vm.up is not for others.
    assert hosts[0].settings == {"engines": 3}
    assert list(machines.own_site().hosts()) == ["cncp-vm1", "cncp-vm2"]
    assert not pool.plan()
    assert pool.hosts() == hosts
    assert pool.observe() == [Member("cncp-vm1", State.JOINED), Member("cncp-vm2", State.JOINED)]


def test_fewer_and_more(home: Path, maker: Maker) -> None:
    """Those that are more are named, the last first, and stay off once they are let go; the number is kept."""
    pool = pool_of(home, count=3)
    pool.acquire(print)
    pool.scale(1)
    assert pool.surplus() == ["cncp-vm3", "cncp-vm2"]
    assert pool.observe()[1] == Member("cncp-vm2", State.JOINED, "1 are wanted")
    said: list[str] = []
    pool.release(["cncp-vm3", "cncp-vm2"], said.append)
    pool.release(["cncp-vm3"], said.append)
    assert said == ["shutting down cncp-vm2, cncp-vm3"]
    assert [host.name for host in pool.hosts()] == ["cncp-vm1"]
    pool.check()
    pool.acquire(print)
    assert maker.states == {"cncp-vm1": "running", "cncp-vm2": "off", "cncp-vm3": "off"}
    # They can be logged in to again once they run.
    assert list(machines.own_site().hosts()) == ["cncp-vm1", "cncp-vm2", "cncp-vm3"]
    pool.scale(2)
    assert pool.plan() == ["start cncp-vm2"]
    assert pool.observe()[1].cause == "it is off; cncp up starts it"
    with pytest.raises(UsageError, match="count = 33 is not possible"):
        pool.scale(33)


def test_the_number_is_kept_until_the_file_says_another(home: Path, maker: Maker) -> None:
    """What cncp scale has said holds for the runs that follow."""
    from cncp.config.inventory import Inventory

    def read(**values: Any) -> int | None:
        table = PoolTable("vm", values, "cluster.toml pool", home)
        return pools(Inventory((), pools=(table,)), home / "state")[0].count

    pool = pool_of(home, count=2)
    pool.scale(4)
    counts.keep(pool)
    assert (read(count=2), read(count=3), read()) == (4, 3, 1)
    assert (home / "state" / "pools.json").stat().st_mode & 0o777 == 0o600
    for damage in ("{", '{"counts": {"vm": {"count": 99, "written": 2}}}', '{"counts": {"vm": 3}}'):
        (home / "state" / "pools.json").write_text(damage)
        assert read(count=2) == 2


def test_nothing_is_left(home: Path, maker: Maker) -> None:
    """Not of machines, nor in what ssh knows; where there was nothing it is no error."""
    pool, said = pool_of(home), list[str]()
    pool.discard(said.append)
    assert not said
    pool.acquire(print)
    know(home, {"cncp-vm1": KEY})
    pool.discard(said.append)
    assert said == ["taking away cncp-vm1"]
    assert not maker.states
    assert not (home / ".ssh" / "known_hosts").exists()
    assert not Site(machines.own_site().folder).hosts()


def test_what_cannot_be_had_is_said_before(home: Path, maker: Maker) -> None:
    """Memory that is not there, or a user whom no machine could let in."""
    with pytest.raises(CncpError, match="no such memory"):
        pool_of(home, memory=8192).check()
    (home / ".ssh" / "id_ed25519.pub").unlink()
    with pytest.raises(CncpError, match="no ssh key"):
        pool_of(home).check()


def test_an_image_stands_beside_the_file(home: Path, maker: Maker) -> None:
    """A path is taken from the folder of cluster.toml; the name of a box is no path."""
    (home / "own.qcow2").touch()
    pool_of(home, image="own.qcow2").acquire(print)
    pool_of(home, image="cncp-compute").acquire(print)
    assert [wanted.base for wanted in maker.wanted] == [str(home / "own.qcow2"), "cncp-compute"]


BAD: dict[str, dict[str, Any]] = {
    "no machines": {"count": 0},
    "too many": {"count": 33},
    "a number that is a word": {"count": "few"},
    "too little memory": {"memory": 100},
    "memory as engines have it": {"memory": "4G"},
    "no cores": {"cores": 0},
    "another hypervisor": {"hypervisor": "xen"},
    "an image that is a number": {"image": 3},
    "a misspelt key": {"cuont": 2},
    "engines that are none": {"engines": -1},
    "a key of the cluster": {"listen": "all"},
}


@pytest.mark.parametrize("values", BAD.values(), ids=list(BAD))
def test_tables_that_make_no_sense(home: Path, values: dict[str, Any]) -> None:
    """They are refused by the file's name, and nothing is made."""
    with pytest.raises(UsageError) as caught:
        pool_of(home, **values)
    assert caught.value.message.startswith("cluster.toml pool")
    assert not (home / ".local").exists()


def test_who_makes_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qemu, unless another was named or has made those that there are; they live in one folder of the account."""
    monkeypatch.setattr(machines, "account_home", lambda: home)
    assert type(machines.provider_of(machines.own_site())).__name__ == "Qemu"
    assert type(machines.provider_of(machines.own_site(), "libvirt")).__name__ == "Vagrant"
    assert machines.own_site().folder == home / ".local" / "share" / "cncp-vm"
    monkeypatch.setenv("CNCP_VM_HOME", str(home / "machines"))
    assert machines.own_site().folder == home / "machines"
    assert machines.qemu(machines.own_site()).image == home / "machines" / "base.qcow2"
    (home / "machines" / "vagrant").mkdir(parents=True)
    (home / "machines" / "vagrant" / "settings.json").write_text("{}")
    assert type(machines.provider_of(machines.own_site())).__name__ == "Vagrant"
    with pytest.raises(UsageError, match="machines of another provider"):
        machines.provider_of(machines.own_site(), "qemu")
