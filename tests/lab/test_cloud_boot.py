"""An instance boots with real cloud-init, joins unattended, keeps nothing secret, and ends when it is told to."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from cncp.install.bundle_reader import sha256
from cncp.pools.cloud.user_data import progress, user_data
from cncp.release import bundle
from cncp.rendezvous.documents import Seed

from . import cloud
from .fleets import ASK
from .host import Host
from .nspawn import Lab
from .site import Site, until
from .sites import MakeSite

METADATA = "169.254.169.254"


@dataclass(frozen=True)
class Ground:
    """A controller's machine, and where instances get their code."""

    gold: Site
    bundle: str
    digest: str

    def seed(self, *words: str) -> Seed:
        """Return what an instance is given."""
        said = json.loads(self.gold.cncp("invite", "--json", "--quiet", *words).stdout)
        plain = Seed.of(json.dumps({key: value for key, value in said.items() if key != "line"}))
        return replace(plain, bundle=self.bundle, sha256=self.digest, instance=True)

    def engines(self) -> list[str]:
        """Return the hosts that engines compute on."""
        done = self.gold.python(ASK, "cncp", check=False)
        return sorted(json.loads(done.stdout)) if not done.returncode else []


@pytest.fixture(scope="module")
def ground(
    lab: Lab, make_host: Callable[..., Host], make_site: MakeSite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """Boot the controller's machine, and serve what instances install from."""
    folder = tmp_path_factory.mktemp("store")
    bundle.make(folder / "cncp.tar", "", "3.11", os.environ)
    host = make_host("gold", "bookworm", ("cron", "python3-venv"), users=("bob",))
    host.boot()
    gold = make_site(host, "bob")
    gold.baremetal("--engines=0", "--listen=all")
    with cloud.serving(folder, lab.address) as url:
        yield Ground(gold, f"{url}/cncp.tar", sha256(folder / "cncp.tar"))


def console(host: Host) -> str:
    """Return what an instance has written to its console."""
    return host.machine.console.read_text(errors="replace")


def test_from_boot_to_engines(ground: Ground, make_host: Callable[..., Host]) -> None:
    """It joins, its metadata is for root alone, nothing secret is left, and it powers off when its cluster is gone."""
    seed = ground.seed("--engines=2")
    text = user_data(seed)
    assert len(text) < 4096
    made = cloud.instance(make_host, "ip-10-0-0-5", text)
    made.boot(cloud.BOOTS)
    assert progress(console(made)) == ("joined", ""), made.read("/var/log/cncp-boot.log")
    assert ground.engines() == ["ip-10-0-0-5"] * 2
    root = made.exec(["ip", "route", "get", METADATA, "uid", "0"], check=False)
    other = made.exec(["ip", "route", "get", METADATA, "uid", "1000"], check=False)
    assert "prohibit" not in root.stderr.lower()
    assert other.returncode, other.stdout
    secrets = {"the key": seed.key, "the URL": seed.join.partition("?")[2].partition("#")[0]}
    encoded = {f"{name} in base64": _inside(text, value) for name, value in secrets.items()}
    for name, value in {**secrets, **encoded}.items():
        words = ["grep", "-rlF", "--binary-files=text", "--", value, "/etc", "/home", "/root", "/run", "/tmp", "/var"]
        found = made.exec(words, check=False).stdout.split()
        assert found == [], f"{name} is in {found}"
        assert value not in console(made), f"{name} is on the console"
    for path in ("/var/log/cloud-init.log", "/var/log/cloud-init-output.log"):
        assert seed.key not in made.read(path)
    made.exec(["touch", "/home/cncp/.local/share/cncp/run/power-off"])
    until(lambda: not made.running, 60, "it to power off")


def _inside(text: str, value: str) -> str:
    """Return what of a value is in the base64 of a text, wherever it begins there."""
    begin = text.index(value)
    begin += -begin % 3
    end = begin + (text.index(value) + len(value) - begin) // 3 * 3
    return base64.b64encode(text[begin:end].encode()).decode()


def test_code_that_is_another(ground: Ground, make_host: Callable[..., Host]) -> None:
    """What does not have its sum is not run; the console says why, nothing is installed, and it ends itself."""
    seed = replace(ground.seed(), sha256="0" * 64, deadline=1)
    made = cloud.instance(make_host, "ip-10-0-0-6", user_data(seed))
    made.boot(cloud.BOOTS)
    step, why = progress(console(made))
    assert step == "failed"
    assert why.startswith("the code could not be fetched")
    assert "its sum is wrong" in console(made)
    assert seed.key not in console(made)
    assert not made.exists("/home/cncp/.local")
    assert made.exists("/run/systemd/shutdown/scheduled")


def test_an_invitation_that_is_over(ground: Ground, make_host: Callable[..., Host]) -> None:
    """The code comes, the join does not: it says so on its console, and ends itself."""
    seed = ground.seed()
    ground.gold.cncp("invite", "--revoke", seed.batch)
    made = cloud.instance(make_host, "ip-10-0-0-7", user_data(replace(seed, deadline=int(seed.deadline) - 86400)))
    made.boot(cloud.BOOTS)
    step, why = progress(console(made))
    assert (step, why.partition(";")[0]) == ("failed", "it could not join")
    assert made.exists("/run/systemd/shutdown/scheduled")
    assert not made.exists("/var/lib/cncp-boot")
