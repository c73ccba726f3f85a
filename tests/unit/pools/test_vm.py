"""Virtual machines: what is refused, how qemu is called, and what is written for ssh, cloud-init and cncp."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cncp.config import sources
from cncp.config.inventory import HostSpec
from cncp.config.variables import VM_VARIABLES
from cncp.errors import CncpError
from cncp.pools.vm import box, image, seed, vagrant
from cncp.pools.vm.guest import Folder, Machine, command
from cncp.pools.vm.qemu import Qemu, guest, planned
from cncp.pools.vm.site import Wanted, cluster_toml, know
from cncp.process import run
from cncp.ssh import keypair

from ..refusal import ROOT, answered, cncp_refused

FIRST = Machine("cncp-vm1", 1, 768, 2, 2201, tuple(range(20000, 20018)), 30000, "ssh-ed25519 AAAA")
SECOND = Machine("cncp-vm2", 2, 768, 2, 2202, (), 30000, "ssh-ed25519 BBBB")

LINES = [
    "vm.up --count 0",
    "vm.up --count 33",
    "vm.up --count few",
    "vm.up --count -1",
    "vm.up --count",
    "vm.up --count 1.5",
    "vm.up --memory x",
    "vm.up --memory 2097152",
    "vm.up --cores 257",
    "vm.up --cores two",
    "vm.up --provider ''",
    "vm.up --provider QEMU",
    "vm.up --engines 2",
    "vm.status extra",
    "vm.status --name cncp-vm1",
    "vm.down --force",
    "vm.destroy cncp-vm1",
    "vm.ssh --name",
    "vm.package --output",
    "vm.box extra",
    "vm.up --memory 100",
    "vm.up --cores 0",
    "vm.up extra",
    "vm.ssh a",
    "vm.package a",
    "vm.up --image",
    "vm.up --provider frobnicate",
    "vm.box --output cluster.toml",
    "vm.frobnicate",
]

LATER = {
    "vm.up": "there is no image",
    "vm.ssh": "there are no machines",
    "vm.ssh --name cncp-vm9": "there are no machines",
    "vm.up --image nowhere.qcow2": "there is no image",
    "vm.package": "there are no machines",
    "vm.package --name cncp-vm9": "there are no machines",
}
"""Well said, but something is not there yet."""


@pytest.fixture
def home(home: Path) -> Path:
    """A home with a cluster.toml, which is not to be taken for an image."""
    (home / "cluster.toml").write_text("engines = 1\n")
    return home


@pytest.mark.parametrize("line", LINES)
def test_refused(line: str, home: Path) -> None:
    """What makes no sense is refused before anything is made."""
    answered(home, line.split(" "))


@pytest.mark.parametrize("line", list(LATER))
def test_not_yet(line: str, home: Path) -> None:
    """What is missing is named, with how to get it."""
    assert LATER[line] in answered(home, line.split(" "), 1)


def test_by_a_program_of_its_own(home: Path) -> None:
    """So is it by the command as users start it."""
    cncp_refused(home, ["vm.up", "--count", "0"])


def test_ports_of_loopback_lead_in() -> None:
    """Ssh's and the controller's, from this machine's loopback alone; machines of a cluster see one another."""
    words = command(FIRST)
    outer = next(word for word in words if word.startswith("user,"))
    assert outer.count("hostfwd=tcp:127.0.0.1:") == outer.count("hostfwd=") == 19
    assert "hostfwd=tcp:127.0.0.1:2201-:22" in outer
    assert "hostfwd=tcp:127.0.0.1:20017-:20017" in outer
    groups = {word for machine in (FIRST, SECOND) for word in command(machine) if "mcast" in word}
    assert groups == {"socket,id=inner,mcast=239.93.7.1:30000,localaddr=127.0.0.1"}
    assert len({*FIRST.macs, *SECOND.macs}) == 4
    assert FIRST.address != SECOND.address


def test_the_file_names_them_as_hosts(tmp_path: Path) -> None:
    """What cncp reads: the controller on the first, alone, on the ports that lead in; engines on the others."""
    path = tmp_path / "cluster.toml"
    path.write_text(cluster_toml([guest(FIRST), guest(SECOND)]))
    settings, hosts = sources.read(path)
    assert settings == {"listen": "all", "ports": "20000-20017"}
    assert hosts is not None
    assert hosts.controller.name == "cncp-vm1"
    assert [host.settings for host in hosts.hosts] == [{"engines": 0}, {}]
    way = HostSpec("cncp-vm2", user="cncp", port=2202, address="127.0.0.1", offline=True)
    assert hosts.hosts[1] == way
    path.write_text(cluster_toml([guest(FIRST)]))
    alone = sources.read(path)[1]
    assert alone is not None
    assert [host.settings for host in alone.hosts] == [{}]


def test_what_cloud_init_is_told(tmp_path: Path) -> None:
    """The disk holds three files of YAML; its private host key fits the one that is returned; nobody else reads it."""
    folder = tmp_path / "vm1"
    folder.mkdir()
    disk = folder / "seed.iso"
    public = seed.write(seed.Seed("vm1", "52:54:00:63:00:01", "52:54:00:63:01:01", "10.93.7.11", ("ssh-x A",)), disk)
    assert disk.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["seed.iso"]
    shown = {
        name: subprocess.run(
            ["isoinfo", "-R", "-i", disk, "-x", f"/{name}"], capture_output=True, text=True, check=True
        ).stdout
        for name in ("user-data", "meta-data", "network-config")
    }
    head, _, document = shown["user-data"].partition("\n")
    assert head == "#cloud-config"
    told = json.loads(document)
    assert told["users"][0]["ssh_authorized_keys"] == ["ssh-x A"]
    assert told["users"][0]["lock_passwd"]
    assert not told["ssh_pwauth"]
    key = tmp_path / "key"
    key.write_text(told["ssh_keys"]["ed25519_private"])
    key.chmod(0o600)
    derived = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
    assert " ".join(derived.split()[:2]) == public
    assert json.loads(shown["network-config"])["ethernets"]["inner"]["addresses"] == ["10.93.7.11/24"]


def test_whose_keys_open_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the user's, in ~/.ssh and in the agent, once each; without any it is said how to make one."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(CncpError, match="no ssh key"):
        seed.keys(tmp_path)
    folder = tmp_path / ".ssh"
    folder.mkdir()
    for name in ("id_ed25519", "other"):
        keypair.make(folder / name, "me@here")
    own, other = (" ".join((folder / f"{name}.pub").read_text().split()[:2]) for name in ("id_ed25519", "other"))
    (folder / "note.pub").write_text("not a key\n")
    (folder / "other.pub").unlink()
    assert seed.keys(tmp_path) == (own,)
    # The agent ends with the command that it runs; its socket is told to that alone.
    script = 'ssh-add -q "$1" "$2" && exec "$3" -c "$4"'
    printed = f"print(*seed.keys(Path({str(tmp_path)!r})), sep='\\n')"
    show = f"from pathlib import Path; from cncp.pools.vm import seed; {printed}"
    argv: list[str | Path] = [
        "ssh-agent",
        "sh",
        "-c",
        script,
        "sh",
        *(folder / name for name in ("id_ed25519", "other")),
    ]
    argv += [sys.executable, show]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "bootstrap")}
    listed = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout
    assert listed.splitlines() == [own, other]


def test_ssh_knows_them_while_they_are_there(tmp_path: Path) -> None:
    """Other lines of known_hosts stay; a machine made anew takes the place of its predecessor."""
    path = tmp_path / ".ssh" / "known_hosts"
    path.parent.mkdir()
    keypair.make(tmp_path / "key", "cncp-vm1")
    former = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    # As ssh itself writes keys that it learns of (UpdateHostKeys and HashKnownHosts, ssh_config(5)).
    path.write_text(f"cncp-vm1 {former}\n")
    run(["ssh-keygen", "-q", "-H", "-f", path])
    path.with_suffix(".old").unlink()
    path.write_text(f"other {former}\n{path.read_text()}cncp-vm1 {former}")
    know(tmp_path, {machine.name: machine.host_key for machine in (FIRST, SECOND)})
    assert path.read_text() == f"other {former}\ncncp-vm1 ssh-ed25519 AAAA\ncncp-vm2 ssh-ed25519 BBBB\n"
    know(tmp_path, dict.fromkeys(("cncp-vm1", "cncp-vm2"), ""))
    assert path.read_text() == f"other {former}\n"
    assert [file.name for file in path.parent.iterdir()] == ["known_hosts"]


def test_a_machine_is_read_as_it_was_kept(tmp_path: Path) -> None:
    """What it is comes back; a folder without it is named."""
    folder = Folder(tmp_path)
    folder.save(FIRST)
    assert folder.load() == FIRST
    assert folder.pid == 0
    with pytest.raises(CncpError, match="holds no machine"):
        Folder(tmp_path / "nothing").load()


def test_what_a_machine_cannot_hold_is_refused(tmp_path: Path) -> None:
    """More memory than is free, or fewer machines than there are, before anything is made."""
    machines = Qemu(tmp_path, tmp_path)
    (tmp_path / "base.qcow2").touch()
    machines.check(Wanted(1, 1, 1))
    with pytest.raises(CncpError, match=r"33554432 MiB are wanted, and \d+ MiB are free"):
        machines.check(Wanted(32, 2**20, 1))
    for machine in (FIRST, SECOND):
        machines.of(machine.name).path.mkdir(parents=True)
        machines.of(machine.name).save(machine)
    machines.check(Wanted(2, 2**20, 1))
    with pytest.raises(CncpError, match="2 machines there already"):
        machines.check(Wanted(1, 768, 1))


def test_no_port_is_given_twice() -> None:
    """Machines to be made have ports of their own, before any of them listens."""
    made = list(planned([FIRST], Wanted(8, 768, 2)))
    assert made[0] == FIRST
    assert [machine.name for machine in made] == [f"cncp-vm{number}" for number in range(1, 9)]
    ports = [port for machine in made for port in (machine.ssh_port, *machine.forwards)]
    assert len(ports) == len(set(ports)) == 8 + 18
    assert {machine.group for machine in made} == {FIRST.group}
    assert FIRST.group not in ports


def test_a_box_lets_vagrant_in(tmp_path: Path) -> None:
    """The disk is as it was but for one more partition, which cloud-init finds by its label."""
    folder = tmp_path / "made"
    folder.mkdir()
    raw, disk, output = tmp_path / "raw", tmp_path / "disk.qcow2", folder / "made.box"
    content = os.urandom(2**20) + bytes(3 * 2**20)
    raw.write_bytes(content[:0x1BE] + bytes(64) + b"\x55\xaa" + content[0x200:])
    image.compress(raw, disk)
    box.pack(disk, output)
    assert [path.name for path in folder.iterdir()] == ["made.box"]
    with tarfile.open(output) as tar:
        assert tar.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        # Our own archive; Debian 12's Python has no filters yet.
        tar.extractall(tmp_path / "box")  # noqa: S202
    described = json.loads((tmp_path / "box" / "metadata.json").read_text())
    assert described == {"provider": "libvirt", "format": "qcow2", "virtual_size": 1}
    again = tmp_path / "again"
    run(["qemu-img", "convert", "-O", "raw", tmp_path / "box" / "box.img", again])
    before, after = raw.read_bytes(), again.read_bytes()
    assert before[:0x1CE] == after[:0x1CE]
    assert before[0x1DE:] == after[0x1DE : len(before)]
    start, sectors = struct.unpack("<II", after[0x1CE:0x1DE][8:])
    assert (start * 512, (start + sectors) * 512) == (len(before), len(after))
    # ISO 9660's volume descriptor: sector 16, its name 40 bytes on (ECMA-119, 8.4).
    assert after[len(before) + 16 * 2048 + 40 :].startswith(b"cidata ")


def test_what_was_deleted_is_not_in_an_image(tmp_path: Path) -> None:
    """Of a disk with a boot sector and a file system the files are kept, and the blocks of deleted ones are not."""
    raw, disk, output, again = (tmp_path / name for name in ("raw", "disk.qcow2", "output.qcow2", "again"))
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "kept").write_text("what stays " * 1000)
    (tree / "gone").write_text("what goes " * 1000)
    raw.write_bytes(b"boot" + bytes(2**20 - 4))
    with raw.open("r+b") as target:
        target.truncate(2**24)
    size = f"{15 * 2**10}k"
    run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree, "-E", f"offset={2**20}", raw, size])
    run(["/sbin/debugfs", "-w", "-R", "rm gone", f"{raw}?offset={2**20}"])
    assert b"what goes" in raw.read_bytes()
    run(["qemu-img", "convert", "-O", "qcow2", raw, disk])
    image.reduce(disk, output)
    run(["qemu-img", "convert", "-O", "raw", output, again])
    content = again.read_bytes()
    assert (content[:4], len(content)) == (b"boot", 2**24)
    assert b"what goes" not in content
    assert run(["/sbin/debugfs", "-R", "cat kept", f"{again}?offset={2**20}"]).stdout == "what stays " * 1000
    run(["/sbin/e2fsck", "-fn", f"{again}?offset={2**20}"])


WAYS = """\
Host cncp-vm1
  HostName 192.168.121.100
  User cncp
  Port 22
  IdentityFile "/home/a b/private_key"

Host cncp-vm2
  HostName 127.0.0.1
  Port 2200
"""


def test_what_vagrant_says() -> None:
    """Machines, how ssh gets in, and their states are read from what Vagrant prints."""
    found = vagrant.ways(WAYS)
    assert list(found) == ["cncp-vm1", "cncp-vm2"]
    assert found["cncp-vm1"]["IdentityFile"] == "/home/a b/private_key"
    assert (found["cncp-vm2"]["HostName"], found["cncp-vm2"]["Port"]) == ("127.0.0.1", "2200")
    lines = ("1790000000,cncp-vm1,metadata,provider,libvirt", "1790000000,cncp-vm1,state,shutoff", "1790000000,,ui,x")
    assert vagrant.states("\n".join(lines)) == {"cncp-vm1": "shutoff"}


def test_the_settings_of_the_vagrantfile() -> None:
    """It reads, and explains, the variables that cncp knows of."""
    text = (ROOT / "vm" / "compute" / "Vagrantfile").read_text()
    read = {f"CNCP_VM_{name}" for name in re.findall(r"\b(?:setting|number|one_of)\('(\w+)'", text)}
    explained = set(re.findall(r"^#   (CNCP_VM_\w+)", text, re.MULTILINE))
    assert read == explained == set(VM_VARIABLES) - {"CNCP_VM_HOME"}
