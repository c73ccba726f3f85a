"""A cluster of virtual machines under qemu, from the image to a client on the machine they run on.

Where KVM does not run guests they are emulated, which takes minutes: these tests run on demand,
with `-m vm`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cncp.vm import image

from .base import cache_dir
from .host import Host
from .site import Site
from .sites import MakeSite

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

PACKAGES = ("cron", "python3-venv", "qemu-system-x86", "qemu-utils", "genisoimage")
ASK = """
import ipyparallel, socket
client = ipyparallel.Client(profile="cncp", timeout=30)
print(sorted(client[:].apply_async(socket.gethostname).get(timeout=60)))
"""


@pytest.fixture(scope="session")
def base() -> Path:
    """Make the image once for this recipe, and keep it for the next run."""
    recipe = hashlib.sha256(Path(image.__file__).read_bytes()).hexdigest()[:12]
    path = cache_dir() / f"vm-{recipe}.qcow2"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        image.build(path, "bookworm", "", lambda _: None)
    return path


@pytest.fixture(scope="module")
def bob(make_host: Callable[..., Host], make_site: MakeSite, base: Path) -> Site:
    """Give a plain user qemu, the image, a key and our packages; no root, and no KVM."""
    host = make_host("hall", "bookworm", PACKAGES, users=("bob",))
    host.boot()
    site = make_site(host, "bob")
    site.baremetal(CNCP_INSTALL_ONLY="true")
    host.run(["mkdir", "-p", f"{site.home}/.local/share/cncp-vm"], "bob")
    host.put(base, f"{site.home}/.local/share/cncp-vm/base.qcow2", "bob")
    return site


def task(bob: Site, *words: str, timeout: float = 1800) -> str:
    """Run a task as `invoke` in the checkout would."""
    python = f"{bob.home}/.local/share/cncp/venv/bin/python"
    argv = ["env", f"PYTHONPATH={bob.work}/bootstrap", python, "-m", "cncp", *words]
    return bob.host.run(argv, "bob", timeout=timeout).stdout


def test_a_cluster_of_two(bob: Site) -> None:
    """One command makes them; a client on this machine computes on the engines of the second."""
    assert task(bob, "vm.status") == "there are no machines\n"
    task(bob, "keys.generate", "--no-passphrase")
    before = bob.tree()
    said = task(bob, "vm.up", "--count", "2", "--memory", "768")
    assert "1/1 engines answer" in said
    task(bob, "keys.copy", "--host", "cncp-vm1")
    assert bob.python(ASK).stdout == "['cncp-vm2']\n"
    shown = json.loads(task(bob, "vm.status", "--json"))
    assert [(one["machine"], one["state"]) for one in shown] == [("cncp-vm1", "running"), ("cncp-vm2", "running")]
    listening = [line.split()[3] for line in bob.host.exec(["ss", "-Hltn"]).stdout.splitlines()]
    wide = [one for one in listening if not one.startswith("127.")]
    assert [one.rpartition(":")[2] for one in wide if not one.endswith(":22")] == []
    engines = json.loads(task(bob, "status", "--json"))
    assert [one["host"] for one in engines] == ["cncp-vm1", "cncp-vm2"]

    assert "cncp-vm1, cncp-vm2" in task(bob, "vm.down")
    assert {one["state"] for one in json.loads(task(bob, "vm.status", "--json"))} == {"off"}
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
