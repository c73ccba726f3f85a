"""All files of our own: whole or an error of ours, never half written, and of a format that is looked at."""

from __future__ import annotations

import ast
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cncp import __version__, pidfile, state_files
from cncp.accounts import Account
from cncp.client import connect_state
from cncp.config import sources
from cncp.config.inventory import HostSpec
from cncp.errors import CncpError
from cncp.fleet import hardware_report, registry, tunnel_grants
from cncp.install import stamp
from cncp.ipp import keys
from cncp.machine import login_environment, manifest, tunnels
from cncp.machine.jupyter import service
from cncp.machine.node import NODE, Node
from cncp.netboot.service import server_settings
from cncp.pools import counts, former_pools
from cncp.pools.cloud import cloud_pool, idle_policy, images, journal
from cncp.pools.netboot import netboot_pool
from cncp.pools.vm import about, guest, vagrant
from cncp.records import Record
from cncp.rendezvous import member_record, owner
from cncp.rendezvous.documents import Access
from cncp.state_files import Damaged, StateFile
from tests.unit.source import nodes, written

CODE = Path(state_files.__file__).parent

TUNNEL = tunnels.Tunnel("a", "b", ("ssh-ed25519 AAAA",), (1, 2), "127.0.0.1", reverse=False)
ADA = Account("ada", 1000, 1000, "/home/ada")
MACHINE = Node(
    *(sources.complete([]), ADA, "vm", "/home/ada/h", "/home/ada/p", "/s", "supervisor", "user", "", True),
    *((0, 1), 1, (), "vm", "", (TUNNEL,)),
)
HARDWARE = hardware_report.Hardware(4, "x", 1, ("A100",), "/", "6.1", 0.5, 2, 1, "Debian", ("3.11.2",), 1, True, ("a",))
BATCH = journal.Batch("b", "ec2", {"region": "eu-1"}, 2, 1000.0, 4600.0)

FILES: list[tuple[StateFile[Any], Record]] = [
    (sources.KEPT, sources.Kept({"engines": 2, "listen": "0.0.0.0"}, "/f")),
    (pidfile.store("engine-0"), pidfile.Started(1, 2, "d", "u")),
    (stamp.STAMP, stamp.Wanted("a", "", "/usr/bin/python3", "/s", "", "none")),
    (keys.IDENTITY, keys.Identity.new("k", (b"p" * 40, b"s" * 40), tuple(range(20000, 20018)))),
    (NODE, MACHINE),
    (manifest.STORE, manifest.ManifestFile({"/a": ("login", "file")}, {"/a": "b"}, {"/a": 448}, {})),
    (tunnels.STORE, tunnels.Tunnels((TUNNEL,))),
    (login_environment.STORE, login_environment.Login(0o022, {"PATH": "/bin"})),
    (service.ACCESS, service.Access(8888, "t")),
    (server_settings.SETTINGS, server_settings.ServerSettings("eth1", "10.1.0.1", "proxy", "slurm", 1, 2, 3)),
    (registry.STORE, registry.Registry({"g": registry.Placed("g", "/r", "/h", {"A": "b"}, ("s",), HostSpec("g"))})),
    (tunnel_grants.STORE, tunnel_grants.Gates((tunnel_grants.Gate("a", "b", "c"),))),
    (hardware_report.store("gold"), HARDWARE),
    (connect_state.STORE, connect_state.Connected(1, 1.0, "p", "h", "p", (1,), "up", 1.0, 0, 2, "")),
    (owner.STORE, owner.Record("c", owner.Place(), "k")),
    (member_record.STORE, member_record.Membership("c", "p", "f", 2, 1, Access("file:///x", "k", 1, 9, 7), 3, 4)),
    (journal.store("0" * 16), journal._Content("c", "ada", (BATCH,))),
    (images.STORE, images._Uploads((images.Upload("d" * 64, {"provider": "ec2"}),))),
    (netboot_pool.seed_store("p"), netboot_pool.Invited({"engines": 2})),
    (cloud_pool.load_store("p"), idle_policy.Memory({"host-1": 1.0}, 2.0)),
    (counts.STORE, counts.Counts({"p": counts.Count(3, 2)})),
    (former_pools.STORE, former_pools.Tables({"p": former_pools.Table("vm", {"count": 2}, "/f")})),
    (about.ABOUT, about.About("d" * 64, "c" * 64)),
    (guest.STORE, guest.Machine("v", 1, 1024, 1, 2222, (1, 2), 3, "k")),
    (vagrant.STORE, vagrant.Settings({"CNCP_VM_COUNT": "1"})),
]
"""Every file, and a record that may be in it."""

OF_EARLIER = {"pid/cncp-connect.json", "machine.json", "settings.json", "venv/cncp-installed.json"}
"""Files that earlier versions do not read with a member more: there a later format needs another name."""

DAMAGED = (b"", b'{"a"', b"\x00\xff", "ä".encode("latin-1"), b"null", b"[]", b"5", b'{"a":' * 100_000, b"9" * 10_000)

files = pytest.mark.parametrize(("file", "record"), FILES, ids=[file.name for file, _ in FILES])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a home with the folders that files are in."""
    for file, _ in FILES:
        file.path(tmp_path).parent.mkdir(exist_ok=True)
    return tmp_path


@files
def test_it_is_read_as_it_was_written(file: StateFile[Any], record: Record, folder: Path) -> None:
    """By the account alone, once, with its format; without one, as earlier versions wrote it, it is read alike."""
    assert file.load(folder) is None
    assert file.save(folder, record)
    assert file.load(folder) == file.intact(folder) == record
    path = file.path(folder)
    mode = 0o644 if file in (stamp.STAMP, about.ABOUT, server_settings.SETTINGS) else 0o600
    assert path.stat().st_mode & 0o7777 == mode
    assert not file.save(folder, record)
    path.chmod(0o666)
    assert file.save(folder, record)
    assert path.stat().st_mode & 0o7777 == mode
    written = json.loads(path.read_bytes())
    assert (written.pop("format", None), written.pop("cncp", None)) == (
        (None, None) if file.name in OF_EARLIER else (1, __version__)
    )
    path.write_text(json.dumps(written))
    assert file.load(folder) == record
    assert file.save(folder, None)
    assert not path.exists()


@files
def test_a_damaged_one_is_told_or_none(file: StateFile[Any], record: Record, folder: Path) -> None:
    """The error names the file and says what to do; for what is made again it is as good as not there."""
    path = file.path(folder)
    for content in (*DAMAGED, *altered(json.loads(file.content(record)), type(record))):
        path.write_bytes(content)
        with pytest.raises(Damaged) as caught:
            file.load(folder)
        assert caught.value.message.startswith(str(path)), content
        assert caught.value.hint
        assert file.intact(folder) is None


def altered(good: dict[str, Any], kind: type[Record]) -> Iterator[bytes]:
    """Yield a good content with each of its members missing, if it may not be, and of another type."""
    defaults = getattr(kind, "__dataclass_fields__")  # noqa: B009  # mypy knows no dataclass here
    for name in good.keys() - {"cncp"}:
        yield json.dumps({**good, name: [{"x": []}]}).encode()
        known = defaults.get(name)
        if known and not known.init:
            continue
        without = {key: value for key, value in good.items() if key != name}
        try:
            kind.from_json({key: value for key, value in without.items() if key not in ("cncp", "format")}, "it")
        except CncpError:
            yield json.dumps(without).encode()


@files
def test_what_is_needed_is_missed(file: StateFile[Any], record: Record, folder: Path) -> None:
    """An empty object is damaged, but for files in which all has a default."""
    file.path(folder).write_bytes(b"{}")
    lenient = (
        images.STORE,
        stamp.STAMP,
        tunnels.STORE,
        registry.STORE,
        tunnel_grants.STORE,
        vagrant.STORE,
        counts.STORE,
    )
    if file in lenient or record == idle_policy.Memory({"host-1": 1.0}, 2.0):
        assert file.load(folder) is not None
        return
    with pytest.raises(Damaged):
        file.load(folder)


@files
def test_one_of_a_newer_version_is_refused(file: StateFile[Any], record: Record, folder: Path) -> None:
    """It is not taken for damaged, or what that version has noted would be written over."""
    path = file.path(folder)
    newer = {**json.loads(file.content(record)), "format": 2, "cncp": "9.0", "new": [1]}
    path.write_text(json.dumps(newer))
    for read in (file.load, file.intact):
        with pytest.raises(CncpError, match=r"was written by cncp 9\.0: its format is 2") as caught:
            read(folder)
        assert not isinstance(caught.value, Damaged)
        assert f"rm {path}" in caught.value.hint
    path.write_text(json.dumps({**newer, "cncp": "\x1b]"}))
    with pytest.raises(CncpError, match="written by cncp of a later version"):
        file.load(folder)


@files
def test_what_cannot_be_read_is_told(
    file: StateFile[Any], record: Record, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in its place, or a file that is somebody else's: ours to say so."""
    path = file.path(folder)
    path.mkdir()
    with pytest.raises(CncpError, match="cannot be read: Is a directory") as caught:
        file.intact(folder)
    assert str(path) in caught.value.hint
    path.rmdir()

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(state_files, "read_bytes", refuse)
    with pytest.raises(CncpError, match="cannot be read: Permission denied"):
        file.load(folder)


@files
def test_it_is_never_half_written(
    file: StateFile[Any], record: Record, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is cut off before the name points to the new one leaves the old one, and nothing beside it."""
    path = file.path(folder)
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        assert path.read_bytes() == b"old"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        file.save(folder, record)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name] or path.parent == folder


def calls(*names: str) -> Counter[str]:
    """Return how often any of these is called in each file of the code."""
    return Counter(
        ".".join(path.relative_to(CODE).with_suffix("").parts)
        for path in sorted(CODE.rglob("*.py"))
        for node in nodes(path)
        if isinstance(node, ast.Call) and written(node.func) in names
    )


def test_the_table_is_whole() -> None:
    """Each file that the code knows is in it, and none is stamped that earlier versions would not read then."""
    assert calls("StateFile").total() == len(FILES)
    assert len({file.name for file, _ in FILES}) == len(FILES)
    assert {file.name for file, _ in FILES if not file.stamped} == OF_EARLIER


WRITES = {
    "client.connect": "ipyparallel's connection file",
    "client.profile": "ipyparallel's connection file",
    "config.writer": "strings of TOML",
    "console": "what a program reads that ran cncp",
    "files": "the one way to write JSON; who holds a lock",
    "fleet.deploy": "what a host's cncp is asked",
    "fleet.hardware": "is sent to hosts by itself",
    "fleet.init_file": "strings of TOML",
    "fleet.phases.start_engines": "ipyparallel's connection file",
    "install.uv_config": "strings of TOML",
    "ipp.hub": "messages of Jupyter",
    "machine.connection_files": "ipyparallel's connection files",
    "machine.converge.chef": "what Chef is given",
    "machine.desired": "what the profile's files and ipyparallel's programs read; digests",
    "machine.jupyter.service": "what Jupyter reads; a digest",
    "machine.ops.joining": "ipyparallel's connection file",
    "machine.ops.steps": "a digest",
    "machine.root.authority": "what root is asked",
    "machine.root.step": "what root answers",
    "netboot.cidcapt": "what cidd is asked",
    "netboot.cidd": "what jobs and people are let in with",
    "netboot.cidd_web": "what cidd answers",
    "netboot.cidkid": "what cidd is told, from an image",
    "netboot.image_store": "the manifest of an image, which is signed",
    "netboot.node_db": "rows of cidd's database",
    "netboot.service.blancmange_stage": "a digest",
    "netboot.service.bring_up": "what cidd is told",
    "netboot.service.cidcapt_command": "what jobs and people are let in with",
    "netboot.service.server_node": "a digest",
    "pools.vm.box": "what Vagrant reads",
    "pools.vm.guest": "qemu's protocol",
    "pools.vm.seed": "what cloud-init reads",
    "release.bundle": "a bundle's manifest, which earlier versions read",
    "rendezvous.documents": "what a machine joins with",
    "rendezvous.publishing": "what lies in a store; a digest",
    "rendezvous.sealing": "what lies in a store",
    "serve.registration": "the hub's own table",
    "serve.rendezvous": "ipyparallel's connection file",
    "ssh.bare_host": "is sent to hosts by itself",
    "ssh.rpc": "what it is asked",
    "state_files": "the files of our own",
    "tasks.profile": "a file for another person, with a format of its own",
}
"""Files that write JSON, and what: no other file of ours than those above."""

READS = {
    "inheritance": "begins before anything else of ours is imported",
    "install.uv_config": "what another Python has read of TOML",
    "netboot.cidkid": "stands alone in an image",
    "netboot.engine_host": "stands alone in an image",
    "records": "the one way to read it",
    "ssh.bare_host": "is sent to hosts by itself",
}
"""Files that read JSON otherwise than as records, and why."""


def test_json_is_written_and_read_in_few_places() -> None:
    """What is kept is a state file; what others own, ask or answer stands in the tables, with what it is."""
    assert calls("json.dump", "json.dumps", "to_json", "files.to_json").keys() == WRITES.keys()
    assert calls("json.load", "json.loads").keys() == READS.keys()
