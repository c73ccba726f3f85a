"""Clusters of virtual machines under qemu and libvirt, from the image to a client on the machine they run on.

Where KVM does not run guests they are emulated, which takes minutes: these tests run on demand,
with `-m vm`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cncp.pools.vm import box, image

from .base import cache_dir
from .chef import to_lend
from .host import Host
from .site import Site, until
from .sites import MakeSite

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

PACKAGES = (
    *("cron", "python3-venv", "qemu-system-x86", "qemu-utils", "genisoimage"),
    *("vagrant", "vagrant-libvirt", "libvirt-daemon-system", "libvirt-daemon-driver-qemu", "dnsmasq-base", "rsync"),
)
ASK = """
import ipyparallel, socket
client = ipyparallel.Client(profile="cncp", timeout=30)
print(sorted(client[:].apply_async(socket.gethostname).get(timeout=60)))
"""


def image_of(name: str, *parts: str) -> Path:
    """Make the image once for this recipe, and keep it for the next run."""
    recipe = hashlib.sha256("\n".join([Path(image.__file__).read_text(), *parts]).encode()).hexdigest()[:12]
    path = cache_dir() / f"{name}-{recipe}.qcow2"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        image.check()
        image.build(path, "bookworm", "", lambda _: None)
    return path


@pytest.fixture(scope="session")
def base() -> Path:
    """Make the image that all but one of these tests use."""
    return image_of("vm")


@pytest.fixture(scope="module")
def bob(make_host: Callable[..., Host], make_site: MakeSite, base: Path) -> Site:
    """Give a plain user qemu, the image, a key and our packages; no root, and no KVM."""
    host = make_host("hall", "bookworm", PACKAGES, users=("bob",))
    host.boot()
    site = make_site(host, "bob")
    site.baremetal(CNCP_INSTALL_ONLY="true")
    host.run(["mkdir", "-p", f"{site.home}/.local/share/cncp-vm"], "bob")
    host.put(base, f"{site.home}/.local/share/cncp-vm/base.qcow2", "bob")
    host.run(invoke(site, "keys.generate", "--no-passphrase"), "bob")
    return site


def invoke(bob: Site, *words: str) -> list[str]:
    """Return the command of a task."""
    python = f"{bob.home}/.local/share/cncp/venv/bin/python"
    return ["env", f"PYTHONPATH={bob.work}/bootstrap", python, "-m", "cncp", *words]


def task(bob: Site, *words: str, timeout: float = 1800) -> str:
    """Run a task as `invoke` in the checkout would."""
    return bob.host.run(invoke(bob, *words), "bob", timeout=timeout).stdout


def refused(bob: Site, *words: str) -> str:
    """Run a task that is refused, and return the reason."""
    done = bob.host.run(invoke(bob, *words), "bob", check=False)
    assert done.returncode in (1, 2)
    return done.stderr


def test_a_cluster_of_two(bob: Site) -> None:
    """One command makes them; a client on this machine computes on the engines of the second."""
    assert task(bob, "vm.status") == "there are no machines\n"
    before = bob.tree()
    said = task(bob, "vm.up", "--count", "2", "--memory", "768")
    assert "1/1 engines answer" in said
    task(bob, "keys.copy", "--host", "cncp-vm1")
    assert bob.python(ASK).stdout == "['cncp-vm2']\n"
    shown = json.loads(task(bob, "vm.status", "--json"))
    assert [(machine["machine"], machine["state"]) for machine in shown] == [
        ("cncp-vm1", "running"),
        ("cncp-vm2", "running"),
    ]
    listening = [line.split()[3] for line in bob.host.exec(["ss", "-Hltn"]).stdout.splitlines()]
    wide = [listener for listener in listening if not listener.startswith("127.")]
    assert [listener.rpartition(":")[2] for listener in wide if not listener.endswith(":22")] == []
    engines = json.loads(task(bob, "status", "--json"))
    assert [engine["host"] for engine in engines] == ["cncp-vm1", "cncp-vm2"]

    assert "cncp-vm1, cncp-vm2" in task(bob, "vm.down")
    assert {machine["state"] for machine in json.loads(task(bob, "vm.status", "--json"))} == {"off"}
    again = task(bob, "vm.up", "--count", "2", "--memory", "768")
    assert "1/1 engines answer" in again
    assert "nothing to change" in again
    assert bob.python(ASK).stdout == "['cncp-vm2']\n"

    task(bob, "vm.destroy")
    assert task(bob, "vm.status") == "there are no machines\n"
    assert bob.host.exec(["pgrep", "-c", "qemu"], check=False).stdout == "0\n"
    left = {path for path in set(bob.tree()) - set(before) if "/.local/share/cncp/" not in path}
    assert {path for path in left if ".ipython" not in path and ".local/bin" not in path} == {
        f"{bob.home}/.local/share/cncp-vm/lock"
    }


POOL = """
[[pool]]
provider = "vm"
memory = 768
engines = 1
"""


def test_a_pool_of_them(bob: Site) -> None:
    """A cluster.toml asks for machines beside a controller here: made, shown, shut down, started, and taken away."""
    bob.host.write(f"{bob.home}/cluster.toml", POOL, "bob")
    assert "[vm] make cncp-vm1 of 768 MiB, cores: 1" in task(bob, "plan")
    assert "1/1 engines answer" in task(bob, "up")
    assert bob.python(ASK).stdout == "['cncp-vm1']\n"
    assert "nothing to change" in task(bob, "plan")
    task(bob, "down")
    shown = {(row["host"], row["name"]): row["state"] for row in json.loads(task(bob, "status", "--json"))}
    assert shown == {("localhost", "controller"): "down", ("cncp-vm1", "member"): "ended"}
    assert "[vm] start cncp-vm1" in task(bob, "plan")
    assert "1/1 engines answer" in task(bob, "up")
    task(bob, "uninstall")
    assert bob.host.exec(["pgrep", "-c", "qemu"], check=False).stdout == "0\n"
    bob.host.exec(["rm", f"{bob.home}/cluster.toml"])
    assert bob.host.exec(["ls", f"{bob.home}/.local/share/cncp-vm"]).stdout.split() == ["base.qcow2", "lock"]
    bob.baremetal(CNCP_INSTALL_ONLY="true")


HOG = """
import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=30)
client[1].apply_async(lambda: len(b"x" * (400 * 2**20))).wait(timeout=60)
"""


def test_an_engine_out_of_memory(bob: Site) -> None:
    """Limits count where a kernel of one's own enforces them: the engine is started again, the others never knew."""
    task(bob, "vm.up", "--memory", "1024", "--cores", "2")
    task(bob, "up", "--memory", "200M")
    task(bob, "keys.copy", "--force", "--host", "cncp-vm1")
    before = {service["name"]: service for service in json.loads(task(bob, "status", "--json"))}
    bob.python(HOG)

    def killed() -> dict[str, dict[str, object]]:
        shown = {service["name"]: service for service in json.loads(task(bob, "status", "--json"))}
        return shown if shown["engine-1"]["state"] == "idle" and shown["engine-1"]["restarts"] else {}

    after = until(killed, 120, "the engine to be started again")
    assert after["engine-1"]["last_exit"] == "out of memory"
    assert after["engine-1"]["id"] == before["engine-1"]["id"]
    assert [after[name]["pid"] for name in ("controller", "engine-0")] == [
        before[name]["pid"] for name in ("controller", "engine-0")
    ]
    task(bob, "vm.destroy")


OF_THE_MAKER = ("left-in-a-history", "left-in-a-log")
BOOT = """
import sys
from pathlib import Path
from cncp.pools.vm import seed
from cncp.pools.vm.guest import Folder, Machine

folder, image, port = Path(sys.argv[1]).absolute(), Path(sys.argv[2]).absolute(), int(sys.argv[3])
folder.mkdir()
told = {"meta-data": {"instance-id": "mine"}, "user-data": seed.account(seed.keys(Path.home()))}
seed.disk(told, folder / "seed.iso")
Folder(folder).make_disk(image)
Folder(folder).start(Machine("mine", 9, 768, 2, port, (), port + 1))
"""
"""What the manual of a packaged machine would have anybody do who has qemu and no cncp, in fewer words."""
WHO = """
tr -d '{}", ' < .ipython/profile_cncp/security/ipcontroller-client.json | sed -n 's/^key://p'
sudo cut -d ' ' -f 2 /etc/ssh/ssh_host_ed25519_key.pub
sudo sed -n 3p /etc/ssh/ssh_host_ed25519_key
cat /etc/machine-id
"""
"""Prints the key of a cluster, of its machine's sshd in both halves, and the machine's id."""


def inside(bob: Site, port: int, script: str, *, check: bool = True) -> str:
    """Run a script on a machine that nothing but ssh knows of."""
    key = ["-i", f"{bob.home}/.ssh/cncp_ed25519", "-o", "BatchMode=yes"]
    # A host key that was never seen is what this is about.
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    argv = ["ssh", *key, *options, "-p", str(port), "cncp@127.0.0.1", script]
    return bob.host.run(argv, "bob", check=check, timeout=300).stdout


def two_answer(bob: Site, port: int) -> bool:
    """Tell whether two engines of a machine answer."""
    said = inside(bob, port, ".local/bin/cncp status --json", check=False)
    services = json.loads(said) if said.startswith("[") else []
    return [service["state"] for service in services].count("idle") == 2


def test_a_package(bob: Site) -> None:
    """Nothing of its maker is in it; at its first boot it makes keys of its own, and an engine a core."""
    host, home = bob.host, bob.home
    task(bob, "vm.up", "--memory", "768")
    login = ["hosts.run", "--hosts", "cncp-vm1", "--", "sh", "-c"]
    history, log = OF_THE_MAKER
    task(
        bob, *login, f"echo {history} > .bash_history; sudo sh -c 'echo {log} > /var/log/of-mine.log'; echo kept > data"
    )
    maker = [line.partition("] ")[2] for line in task(bob, *login, WHO).splitlines()]
    assert "cncp-vm1 is running" in refused(bob, "vm.package")
    task(bob, "vm.down")
    before = json.loads(task(bob, "vm.status", "--json"))
    task(bob, "vm.package", "--output", "package")
    assert json.loads(task(bob, "vm.status", "--json")) == before
    host.run(["sh", "-c", f"cd {home}/package && sha256sum -c --quiet SHA256SUMS"], "bob")
    about = json.loads(host.read(f"{home}/package/cncp-compute.json"))
    assert "exists" in refused(bob, "vm.package", "--output", "package")
    task(bob, "vm.destroy")

    # The bytes of the whole disk, with what was deleted.
    host.run(
        ["qemu-img", "convert", "-O", "raw", f"{home}/package/cncp-compute.qcow2", f"{home}/raw"], "bob", timeout=600
    )
    assert len(maker) == 4
    for secret in (*OF_THE_MAKER, *maker):
        found = host.exec(["grep", "-c", "--text", "--fixed-strings", secret, f"{home}/raw"], check=False, timeout=600)
        assert found.stdout == "0\n", secret
    host.exec(["rm", f"{home}/raw"])
    box = host.run(["tar", "-tzf", f"{home}/package/cncp-compute.box"], "bob").stdout.split()
    assert box == ["metadata.json", "Vagrantfile", "box.img"]

    made = [maker]
    for name, port in (("one", 2301), ("two", 2401)):
        bob.python(BOOT, f"{home}/{name}", f"{home}/package/cncp-compute.qcow2", str(port))
        until(partial(two_answer, bob, port), 900, "two engines on two cores")
        assert inside(bob, port, "cat data") == "kept\n"
        # What an instance of a cloud would install from, whose digest stands beside the image.
        assert inside(bob, port, "sha256sum /var/lib/cncp-image/cncp.tar").split()[0] == about["code"]
        made.append(inside(bob, port, WHO).splitlines())
    assert [len(set(column)) for column in zip(*made, strict=True)] == [3, 3, 3, 3]
    host.exec(["pkill", "qemu"])


def add_box(bob: Site, disk: Path, name: str) -> None:
    """Give Vagrant a box of an image."""
    made = disk.with_suffix(".box")
    if not made.exists():
        box.pack(disk, made)
    bob.host.put(made, f"{bob.home}/{name}.box", "bob")
    bob.host.run(["vagrant", "box", "add", "--name", name, f"{bob.home}/{name}.box"], "bob", timeout=600)


@pytest.fixture(scope="module")
def vagrant(bob: Site, base: Path) -> Site:
    """Let bob use libvirt, and give Vagrant a box of the same image."""
    bob.host.exec(["usermod", "-aG", "libvirt", "bob"])
    bob.host.logout("bob")
    add_box(bob, base, "cncp-base")
    return bob


@pytest.fixture
def with_chef(vagrant: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Give Vagrant a box that has the Chef of this machine besides."""
    chef = to_lend()
    prepare = image._prepare

    def prepare_with_chef(tree: Path) -> None:
        place = tree / chef.tree.relative_to("/")
        shutil.copytree(chef.tree, place, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        (tree / chef.link.relative_to("/")).symlink_to(chef.program)
        prepare(tree)

    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, *chef.packages))
    monkeypatch.setattr(image, "_prepare", prepare_with_chef)
    disk = image_of("vm-chef", *chef.packages, str(chef.program.stat().st_mtime_ns))
    add_box(vagrant, disk, "cncp-chef")
    return vagrant


def domains(bob: Site) -> list[str]:
    """Return the machines that libvirt knows."""
    return bob.host.run(["virsh", "-c", "qemu:///system", "list", "--all", "--name"], "bob").stdout.split()


def test_by_way_of_vagrant(vagrant: Site) -> None:
    """Machines of libvirt are a cluster by the same commands, and are gone when they are destroyed."""
    bob = vagrant
    assert "Vagrant has no box cncp-compute" in refused(bob, "vm.up", "--provider", "libvirt")
    said = task(bob, "vm.up", "--provider", "libvirt", "--image", "cncp-base", "--count", "2", "--memory", "768")
    assert "1/1 engines answer" in said
    task(bob, "keys.copy", "--force", "--host", "cncp-vm1")
    assert bob.python(ASK).stdout == "['cncp-vm2']\n"
    assert "machines of another provider" in refused(bob, "vm.up", "--provider", "qemu")
    assert "under qemu" in refused(bob, "vm.package")
    assert "cncp-vm1, cncp-vm2" in task(bob, "vm.down")
    assert {machine["state"] for machine in json.loads(task(bob, "vm.status", "--json"))} == {"shutoff"}
    assert "nothing to change" in task(bob, "vm.up", "--count", "2", "--memory", "768")
    assert bob.python(ASK).stdout == "['cncp-vm2']\n"
    task(bob, "vm.destroy")
    assert domains(bob) == []
    assert task(bob, "vm.status") == "there are no machines\n"


def by_vagrant_alone(bob: Site, **settings: str) -> tuple[str, list[str]]:
    """Make a machine with a cluster, and return what was said and its services' states; then destroy it."""
    if bob.host.exec(["test", "-e", f"{bob.home}/bundle.tar"], check=False).returncode:
        task(bob, "bundle.make", "--output", f"{bob.home}/bundle.tar")
    settings = {"DRIVER": "qemu", "CORES": "2", "BUNDLE": f"{bob.home}/bundle.tar", **settings}
    words = ["env", "-C", f"{bob.work}/vm/compute", *(f"CNCP_VM_{name}={value}" for name, value in settings.items())]
    run = partial(bob.host.run, user="bob", timeout=1800)
    said = run([*words, "CNCP_THREADS=1", "vagrant", "up", "--provider=libvirt"]).stdout
    shown = json.loads(run([*words, "vagrant", "ssh", "-c", ".local/bin/cncp status --json"]).stdout)
    threads = run([*words, "vagrant", "ssh", "-c", "grep -o '\"threads\": [0-9]*' .local/share/cncp/node.json"]).stdout
    assert '"threads": 1' in threads
    run([*words, "vagrant", "destroy", "--force"])
    assert domains(bob) == []
    return said, [service["state"] for service in shown]


def test_by_vagrant_alone(vagrant: Site) -> None:
    """`vagrant up` brings the code by rsync and packages by the bundle, and the machine has a cluster in it."""
    said, states = by_vagrant_alone(vagrant, BOX="cncp-base", MEMORY="768")
    assert "2/2 engines answer" in said
    assert states == ["up", "idle", "idle"]


@pytest.mark.chef
def test_by_vagrant_and_chef(with_chef: Site) -> None:
    """Vagrant's chef_solo runs the cookbook in a box that has Chef: the same cluster."""
    said, states = by_vagrant_alone(with_chef, BOX="cncp-chef", MEMORY="1024", PROVISIONER="chef_solo")
    assert "cncp_engines" in said
    assert states == ["up", "idle", "idle"]
