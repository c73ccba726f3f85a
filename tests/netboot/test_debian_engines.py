"""Engines on a machine that boots by PXE: from a bundle in an image of Debian to tasks, to another image and back.

The commands are those of docs/howto/netbooted-engines.rst, by an account with a home of its own on this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cncp.netboot import cidcapt
from cncp.netboot.messages import Wish
from cncp.waiting import wait_until
from tests.install.support import Site, said
from tests.lab.serve import serve_directory
from tests.lab.sites import fetch_wheels

from .pxe_site import NEEDS, PxeSite
from .tiny_image import KERNEL

IMAGE, OTHER = "compute-1-0", "tiny-1-0"
PATIENCE = 1200  # s for a boot of Debian and an installation in it, emulated on a machine that does much else

FILE = f"""\
listen = "all"
service_manager = "supervisor"
converge = "embedded"

[[pool]]
provider = "netboot"
nodes = ["n1"]
image = "{IMAGE}"
access = "cidcapt.json"
engines = "cores"
"""

ASK = """
import ipyparallel, json, socket
client = ipyparallel.Client(profile="cncp", timeout=60)
print(json.dumps(client[:].apply_async(socket.gethostname).get(timeout=60)))
"""

TASKS = """
import ipyparallel, json, sys
from pathlib import Path
def rest(seconds):
    import time
    time.sleep(seconds)
    return seconds
client = ipyparallel.Client(profile="cncp", timeout=60)
answers = [client.load_balanced_view().apply_async(rest, seconds) for seconds in (0, 20, 1, 2)]
# An engine gets a task when it has done the one before.
answers[0].get(timeout=60)
Path(sys.argv[1]).touch()
print(json.dumps([answer.get(timeout=1200) for answer in answers]))
"""
"""Sends tasks of which one is being done when the file is there, and others wait; without retries."""

pytestmark = [
    *NEEDS,
    pytest.mark.slow(
        held="tests/lab/test_netboot_pool.py, whose node is a host, test_pxe.py that nodes come into images"
    ),
    pytest.mark.timeout(4 * PATIENCE),
]


class Controller:
    """The account whose cluster it is, and the machines."""

    def __init__(self, account: Site, machines: PxeSite) -> None:
        self.account, self.machines = account, machines

    def cncp(self, *words: str) -> str:
        """Run a verb, with machines that were reset begun anew meanwhile; return what it tells."""
        with self._begun(self.account.state / "venv/bin/cncp", *words) as command:
            status = self.machines.ended(command, PATIENCE)
            assert status == 0, self.said()
            return command.communicate()[0]

    def python(self, code: str, *words: str | Path) -> subprocess.Popen[str]:
        """Begin code of a user of the cluster."""
        return self._begun(self.account.state / "venv/bin/python", "-c", code, *words)

    def _begun(self, *argv: str | Path) -> subprocess.Popen[str]:
        with (self.account.home / "complaints").open("a") as log:
            return subprocess.Popen(
                argv,
                env=self.account.environment,
                cwd=self.account.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def said(self) -> str:
        """Return what everything has written, for a test that fails."""
        return f"{(self.account.home / 'complaints').read_text()[-6000:]}\n{self.machines.said()}"

    def engines(self) -> str:
        """Return the hosts that engines compute on, "" where they do not."""
        with self.python(ASK) as command:
            return command.communicate()[0].strip()

    def member(self) -> tuple[str, str]:
        """Return the node's name and state, as they are shown."""
        [shown] = [row for row in json.loads(self.cncp("status", "--json")) if row["name"] == "member"]
        return shown["host"], shown["state"]


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    """Install for an account, make its bundle and of that an image; then be in a network with a cidd."""
    monkeypatch.setenv("PYTHONPATH", str(Path(cidcapt.__file__).parents[2]))
    wheels = tmp_path / "wheels"
    fetch_wheels(wheels)
    # A short path: supervisord's socket lies in it.
    with tempfile.TemporaryDirectory(prefix="cncp-") as folder, serve_directory(wheels, "127.0.0.1") as index:
        account = Site(Path(folder), variables={"PIP_INDEX_URL": index})
        account.install()
        cncp = str(account.state / "venv/bin/cncp")
        bundle = [cncp, "bundle.make", "--engines-only", "--pythons", "3.11", "--output", "cncp.tar"]
        done = said(bundle, account.environment, account.home)
        assert done.returncode == 0, done.stderr
        site = PxeSite(tmp_path, {OTHER: "tar.zst"}, slot="700M", memory=1024)
        site.image_make(IMAGE, "--suite", "bookworm", "--packages", KERNEL, "--bundle", f"{folder}/cncp.tar")
        with site.running():
            try:
                shutil.copy(site.place.access, account.home)
                (account.home / "cluster.toml").write_text(FILE)
                yield Controller(account, site)
            finally:
                said([cncp, "uninstall", "--quiet"], account.environment, account.home)


def test_from_bare_machine_to_tasks_to_another_image_and_back(controller: Controller) -> None:
    """`up` ends when its engines answer; what they work on comes to its end before they leave; `down` lets it go."""
    site = controller.machines
    site.accept(site.machine("2G"))
    assert f"put n1 into {IMAGE}" in controller.cncp("plan", "--file", "cluster.toml")
    controller.cncp("up", "--file", "cluster.toml")
    assert controller.engines() == '["n1"]', controller.said()
    assert controller.member() == ("n1", "joined")
    begun = controller.account.home / "begun"
    with controller.python(TASKS, begun) as tasks:
        assert wait_until(begun.exists, 120), controller.said()
        site.client.want(str(site.nodes()["n1"]["job"]), Wish(("n1",), OTHER, PATIENCE, hold=True))
        away = wait_until(lambda: site.nodes()["n1"]["image"] == OTHER, PATIENCE, 0.5)
        assert away, controller.said()
        assert controller.member() == ("n1", "installing")
        controller.cncp("up")
        assert tasks.communicate()[0].strip() == "[0, 20, 1, 2]", controller.said()
    assert controller.engines() == '["n1"]', controller.said()
    states = [state for state, _ in site.trace("n1")]
    assert (states.count("draining"), states.count("unpack"), states.count("alive")) == (2, 2, 3)
    controller.cncp("down")
    assert wait_until(lambda: not site.nodes()["n1"]["job"], 60), controller.said()
