"""An image of a node that runs: without what is its own, its people's or secret; and the node goes on as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cncp.config.sources import SOURCE
from cncp.netboot.cidd import Place

from .fixtures import MakeHost
from .nspawn import Host, Lab

KEY, KEY_OF_A_SERVICE = "root/.ssh/id_ed25519", "var/lib/slurm/.ssh/id_ecdsa"
WITH_KEYS = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


@pytest.fixture(scope="module")
def node(make_host: MakeHost) -> Host:
    """Boot a node with a kernel, secrets, and what somebody works with."""
    made = make_host("imaged")
    made.boot()
    for name, content in (
        ("/boot/vmlinuz-6.1.0-9-amd64", "kernel"),
        ("/etc/cncp/cidkid.json", "secret"),
        ("/etc/munge/munge.key", "secret"),
        ("/home/ada/results", "hers"),
        (f"/{KEY}", "secret"),
        (f"/{KEY_OF_A_SERVICE}", "secret"),
        ("/var/log/lastlog", ""),
    ):
        made.exec(["mkdir", "-p", str(Path(name).parent)])
        made.exec(["tee", name], input=content)
    made.exec(["truncate", "-s", "300G", "/var/log/lastlog"])
    return made


def image_make(lab: Lab, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Make an image as root of this machine, who has the lab's ssh configuration for as long."""
    own, ours = Path("~root/.ssh").expanduser(), folder / "ssh"
    own.mkdir(mode=0o700, exist_ok=True)
    ours.mkdir(mode=0o700, exist_ok=True)
    (ours / "config").write_text(lab.keys.config.read_text())
    (ours / "config").chmod(0o600)
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", WITH_KEYS, "sh", ours, own, sys.executable, "-m", "cncp", "image.make",
         *words, "--folder", folder / "place"],
        env={**os.environ, "PYTHONPATH": str(SOURCE / "bootstrap")}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_of_a_node(lab: Lab, node: Host, tmp_path: Path) -> None:
    """Root's login is enough; a lastlog of 300 GB keeps nobody waiting."""
    before = node.exec(["sh", "-c", "find /etc /boot -type f | sort | xargs sha256sum"]).stdout
    done = image_make(lab, tmp_path, "compute-1-0", "--host", f"root@{node.name}")
    assert done.returncode == 0, done.stderr
    images = Place(tmp_path / "place").images()
    images.check("compute-1-0")
    root = images.blob(images.read("compute-1-0").blobs[-1].sha256)
    (tmp_path / "tree").mkdir()
    subprocess.run(["tar", "--zstd", "-xpf", root, "-C", tmp_path / "tree"], check=True)
    tree = tmp_path / "tree"
    assert (tree / "etc/os-release").read_text() == node.read("/etc/os-release")
    assert (tree / "etc/systemd/system/multi-user.target.wants/cidkid.service").is_symlink()
    assert "$" not in (tree / "etc/shadow").read_text()
    assert (tree / "etc/machine-id").read_text() == ""
    assert [*(tree / "home").iterdir()] == [*(tree / "proc").iterdir()] == [*(tree / "run").iterdir()] == []
    for name in ("etc/cncp/cidkid.json", "etc/munge/munge.key", KEY, KEY_OF_A_SERVICE, "var/log/lastlog"):
        assert not (tree / name).exists(), name
    assert [*(tree / "etc/ssh").glob("ssh_host_*")] == []
    assert before == node.exec(["sh", "-c", "find /etc /boot -type f | sort | xargs sha256sum"]).stdout


def test_who_may_not_read_it(lab: Lab, node: Host, tmp_path: Path) -> None:
    """One who is not root there, nor may be without a password, is told so; no image comes of it."""
    done = image_make(lab, tmp_path, "compute-1-0", "--host", f"ada@{node.name}")
    assert done.returncode == 1, done.stderr
    assert "its tree could not be read: sudo: a password is required" in done.stderr
    assert "as root" in done.stderr
    assert Place(tmp_path / "place").images().names() == []
