"""An instance boots with real cloud-init, joins unattended, keeps nothing secret, and ends when it is told to."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import pytest

from cncp.install.bundle_reader import sha256
from cncp.pools.cloud.user_data import progress, user_data
from cncp.pools.vm import image
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
    file: Path
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
    bundle.make(folder / "cncp.tar", "", "3.11", os.environ, engines_only=True)
    host = make_host("gold", "bookworm", ("cron", "python3-venv"), users=("bob",))
    host.boot()
    gold = make_site(host, "bob")
    gold.baremetal("--engines=0", "--listen=all")
    with cloud.serving(folder, lab.address) as url:
        yield Ground(gold, folder / "cncp.tar", f"{url}/cncp.tar", sha256(folder / "cncp.tar"))


def console(host: Host) -> str:
    """Return what an instance has written to its console."""
    return host.machine.console.read_text(errors="replace")


def test_from_boot_to_engines(ground: Ground, make_host: Callable[..., Host]) -> None:
    """It joins, its metadata is for root alone, nothing secret is left, and it powers off when its cluster is gone."""
    seed = ground.seed("--engines=2")
    text = user_data(seed)
    assert len(text) < 4096
    made = cloud.instance(make_host, "ip-10-0-0-5", text)
    # Of an image with another version's code, which is not what is wanted.
    former = made.root / HAS[1:]
    former.parent.mkdir()
    former.write_bytes(b"other")
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


HAS = "/var/lib/cncp-image/cncp.tar"


def packaged(make_host: Callable[..., Host], ground: Ground, name: str, text: str) -> Host:
    """Make an instance of an image as vm.package leaves one: installed, and its account may do all."""
    made = cloud.instance(make_host, name, text)
    lab = made.root / "etc/cloud/cloud.cfg.d/99-lab.cfg"
    plain = json.loads(lab.read_text())
    del plain["datasource_list"]
    lab.write_text(json.dumps(plain) + "\n")
    (made.root / "etc/cloud/cloud.cfg.d/10_cncp.cfg").write_text(image._CLOUD_CFG)
    (made.root / "etc/cloud/ds-identify.cfg").write_text(image._IDENTIFY)
    seed = made.root / "var/lib/cloud/seed/nocloud"
    aside = seed.rename(seed.with_name("aside"))
    # With no seed in any of these places cloud-init does its work all the same, and at once.
    made.boot(cloud.BOOTS)
    assert "DataSourceNone" in made.read("/run/cloud-init/result.json")
    made.exec(["useradd", "--create-home", "--shell", "/bin/bash", "cncp"])
    made.write("/etc/sudoers.d/90-cloud-init-users", "cncp ALL=(ALL) NOPASSWD:ALL\n")
    made.put(ground.file, HAS)
    made.exec(["chmod", "-R", "a+rX", str(Path(HAS).parent)])
    made.write("/srv/baremetal.sh", made.exec(["tar", "-xOf", HAS, "code/baremetal.sh"]).stdout)
    words = ["bash", "/srv/baremetal.sh", "--install-only", "--role=engine", f"--offline={HAS}"]
    made.exec(["env", "CNCP_USER=cncp", *words], timeout=300)
    unit = resources.files("cncp.pools.vm").joinpath("first-boot.service").read_text()
    made.write("/etc/systemd/system/cncp-first-boot.service", unit)
    made.exec(["systemctl", "enable", "cncp-first-boot.service"])
    made.exec(["touch", "/var/lib/cncp-first-boot"])
    made.exec(["cloud-init", "clean", "--logs"])
    made.power_off()
    aside.rename(seed)
    return made


def test_an_image_that_has_it_all(ground: Ground, make_host: Callable[..., Host]) -> None:
    """What it has is what is wanted: nothing is fetched or installed, and no cluster of its own is made."""
    seed = ground.seed("--engines=2")
    made = packaged(make_host, ground, "ip-10-0-0-8", user_data(replace(seed, bundle=f"{ground.bundle}.none")))
    made.boot(cloud.BOOTS)
    log = made.read("/var/log/cncp-boot.log")
    assert progress(console(made)) == ("joined", ""), log
    assert "waiting: " not in log
    assert "installing the locked packages" not in log
    assert ground.engines().count("ip-10-0-0-8") == 2
    assert not made.exists("/var/lib/cncp-first-boot")
    assert (
        made.exec(["systemctl", "show", "-P", "ExecMainStartTimestamp", "cncp-first-boot.service"]).stdout.strip() == ""
    )
    assert made.exec(["runuser", "-u", "cncp", "--", "sudo", "-n", "true"], check=False).returncode
    made.power_off()


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
