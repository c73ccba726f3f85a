"""Both engines of convergence make the same of a machine, and neither finds anything to do after the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import pytest

from .site import ROOT, Site, until

pytestmark = pytest.mark.chef


def test_both_engines_install_the_same(site: Site) -> None:
    """Paths, modes, owners and content are equal; each engine leaves the other's result alone.

    And what Chef installed goes like the rest: an uninstall leaves the home as it was.
    """
    before = sorted(site.folder.rglob("*"))
    said = site.baremetal("--converge", "chef", "--json").stdout
    assert json.loads(said)["converge"] == "chef"
    by_chef = site.tree()
    # What plan compares with is the embedded engine's own view.
    assert "nothing to change" in site.cncp("plan", "--detailed-exitcode").stdout
    site.cncp("uninstall")
    assert sorted(site.folder.rglob("*")) == before

    said = site.baremetal("--converge", "embedded", "--json").stdout
    assert json.loads(said)["converge"] == "embedded"
    assert site.tree() == by_chef
    assert site.chef_over_it() == []
    assert site.tree() == by_chef


def test_dry_run_scaling_and_nothing_to_do(site: Site) -> None:
    """The plan shows Chef's diffs and changes nothing; engines come and go by Chef; a no-op starts none."""
    site.baremetal("--converge", "chef")
    before = site.tree()
    shown = site.cncp("plan", "--engines", "2", "--threads", "1").stdout
    assert "+    1" in shown
    assert "engine-1.conf" in shown
    assert site.tree() == before
    said = json.loads(site.cncp("scale", "2", "--json").stdout)
    assert (said["converge"], said["answering"]) == ("chef", [0, 1])
    assert json.loads(site.cncp("scale", "1", "--json").stdout)["answering"] == [0]
    assert not (site.cncp_home / "supervisor" / "programs" / "engine-1.conf").exists()
    assert site.cncp("check").stdout == "all is well\n"
    log = site.cncp_home / "chef" / "chef.log"
    log.unlink()
    said = json.loads(site.cncp("up", "--json").stdout)
    assert (said["changed"], said["converge"]) == (False, "none")
    assert not log.exists()


def test_an_interrupted_run_is_repaired(site: Site) -> None:
    """Killed while Chef writes files, the next run goes on from there and leaves nothing behind."""
    begun = subprocess.Popen(
        ["bash", str(ROOT / "baremetal.sh"), "--engines", "1", "--converge", "chef"],
        env=site.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until((site.cncp_home / "node.json").exists)
    os.killpg(begun.pid, signal.SIGKILL)
    begun.wait()
    site.baremetal("--converge", "chef")
    assert "nothing to change" in site.cncp("plan", "--detailed-exitcode").stdout
    assert site.chef_over_it() == []
    assert not (site.cncp_home / "chef" / "state").exists()


def test_damage_is_repaired_and_a_failure_is_explained(site: Site) -> None:
    """Files that were lost or changed come back; what Chef cannot do is said in two lines."""
    site.baremetal("--converge", "chef")
    before = site.tree()
    (site.profile / "cncp.json").unlink()
    (site.cncp_home / "libexec" / "keep").write_text("damaged\n")
    (site.cncp_home / "node.json").chmod(0o600)
    site.cncp("up")
    assert site.tree() == before
    programs = site.cncp_home / "supervisor" / "programs"
    shutil.rmtree(programs)
    programs.write_text("in the way\n")
    failed = site.cncp("up", check=False)
    assert failed.returncode == 1
    message, hint = failed.stderr.strip().splitlines()[-2:]
    assert message.startswith(f"error: Chef failed: directory[{programs}]: ")
    assert hint == f"hint: look at {site.cncp_home}/chef/chef.log"
    programs.unlink()
    site.cncp("up")
    assert site.tree() == before
