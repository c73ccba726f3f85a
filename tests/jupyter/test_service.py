"""Jupyter as a service: who may in, what it shows of the cluster, how it comes back, what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cncp.machine.converge import chef
from cncp.machine.jupyter import notebooks
from tests.chef.site import ROOT, Site, make, until

from .conftest import _PLAIN
from .support import Lab

CLIENT = """
import ipyparallel as ipp, sys
cluster = ipp.Cluster.from_file(sys.argv[1])
rc = cluster.connect_client_sync()
print(rc.ids, rc[:].apply_sync(pow, 2, 10))
"""


def test_it_is_switched_on_beside_a_running_cluster(site: Site) -> None:
    """From the bundle, without a network; controller and engines go on; a second time there is nothing to do."""
    lab = Lab(site)
    site.cncp("jupyter.down", "--quiet")
    refused = site.cncp("jupyter.open", check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "error: Jupyter is switched off here",
        "hint: switch it on: cncp jupyter.up",
    ]
    before = {name: service["pid"] for name, service in lab.services().items()}
    assert sorted(before) == ["controller", "engine-0", "engine-1"]
    said = site.cncp("jupyter.up").stdout
    assert f"jupyter: {lab.access['url']} · cncp jupyter.open" in said
    after = lab.services()
    assert {name: after[name]["pid"] for name in before} == before
    assert after["jupyter"]["state"] == "up"
    assert "nothing to change" in site.cncp("up").stdout
    assert site.cncp("check").stdout == "all is well\n"
    assert "Jupyter Server" in site.cncp("logs", "--name", "jupyter").stdout


def test_down_leaves_the_rest_and_up_comes_back_the_same(lab: Lab) -> None:
    """Off and on again: the same port and token, the same engines."""
    before, access = lab.services(), lab.access
    lab.site.cncp("jupyter.down", "--quiet")
    assert sorted(lab.services()) == ["controller", "engine-0", "engine-1"]
    assert lab.site.cncp("jupyter.token", check=False).returncode == 1
    lab.site.cncp("jupyter.up", "--quiet")
    after = lab.services()
    assert lab.access == access
    assert {name: service["pid"] for name, service in after.items() if name != "jupyter"} == {
        name: service["pid"] for name, service in before.items() if name != "jupyter"
    }


def test_nobody_gets_in_without_the_token(lab: Lab) -> None:
    """403 on everything that is of any use; the page asks for the token."""
    for path in ("/api/contents", "/api/kernels", "/api/terminals", "/ipyparallel/clusters"):
        assert lab.ask(path, token=False)[0] == 403, path
    assert lab.ask("/api/contents")[0] == 200
    for path in ("/lab", "/files/cncp-notebooks/sweep.ipynb"):
        status, page = lab.ask(path, token=False)
        assert (status, lab.access["token"].encode() in page) == (200, False)
        assert b'type="password"' in page


def test_it_listens_on_loopback_alone(lab: Lab) -> None:
    """Its process has one listening socket, and no kernel or helper listens elsewhere."""
    process = psutil.Process(lab.services()["jupyter"]["pid"])
    for member in (process, *process.children(recursive=True)):
        listening = [socket.laddr for socket in member.net_connections("tcp") if socket.status == psutil.CONN_LISTEN]
        assert {address.ip for address in listening} <= {"127.0.0.1"}
        if member == process:
            assert lab.access["port"] in {address.port for address in listening}


def test_the_token_is_in_no_place_but_its_files(lab: Lab) -> None:
    """No command line, no environment, no log, no output of a verb; and its files are the user's alone."""
    token = lab.access["token"].encode()
    lab.site.cncp("jupyter.open", "--no-browser")
    for pid in psutil.pids():
        for name in ("cmdline", "environ"):
            try:
                assert token not in Path(f"/proc/{pid}/{name}").read_bytes()
            except (OSError, ProcessLookupError):
                continue
    said = [lab.site.cncp(*verb).stdout for verb in (["status"], ["up"], ["up", "--json"], ["logs"], ["jupyter.open"])]
    assert token.decode() not in "".join(said)
    skipped = ("venv", "cache", "tools")
    places = [*lab.site.folder.rglob("*")]
    files = [path for path in places if path.is_file() and path.relative_to(lab.site.folder).parts[1] not in skipped]
    holding = {path for path in files if token in path.read_bytes()}
    assert lab.folder / "access.json" in holding
    assert {path.parent for path in holding} <= {lab.folder, lab.folder / "runtime"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    assert lab.folder.stat().st_mode & 0o777 == 0o700


def test_the_labs_extension_sees_the_cluster(lab: Lab) -> None:
    """As running, with its engines; its button connects; it can neither start nor stop it, and is told why."""
    status, clusters = lab.ask("/ipyparallel/clusters")
    assert status == 200
    ours = [entry for entry in clusters if entry["cluster"]["profile_dir"] == str(lab.site.profile)]
    assert [(entry["id"], entry["engines"]["n"], "controller" in entry) for entry in ours] == [("cncp:", 2, True)]
    python = lab.site.cncp_home / "venv" / "bin" / "python"
    said = lab.site.run(python, "-s", "-c", CLIENT, ours[0]["cluster_file"]).stdout
    assert said.strip() == "[0, 1] [1024, 1024]"
    for method in ("POST", "DELETE"):
        status, refusal = lab.ask("/ipyparallel/clusters/cncp:", method)
        assert status == 409
        assert "cncp keeps this cluster running" in refusal["message"]
    assert {service["state"] for service in lab.services().values()} <= {"up", "idle"}


def test_it_comes_back_with_the_same_port_and_token(lab: Lab) -> None:
    """Killed, it is there again by itself; the others were not touched."""
    before, access = lab.services(), lab.access
    os.kill(before["jupyter"]["pid"], signal.SIGKILL)
    until(lambda: lab.services()["jupyter"]["state"] == "up" and lab.services()["jupyter"]["pid"], 30)
    after = lab.services()
    assert after["jupyter"]["pid"] != before["jupyter"]["pid"]
    assert (after["jupyter"]["restarts"], after["jupyter"]["last_exit"]) == (1, "signal KILL")
    assert after["engine-0"]["pid"] == before["engine-0"]["pid"]
    assert lab.access == access
    assert lab.ask("/api/contents")[0] == 200


def test_settings_of_the_users_own(lab: Lab) -> None:
    """A configuration file in Jupyter's own folder counts, but opens no other way in."""
    own = lab.folder / "config" / "jupyter_server_config.py"
    own.write_text("c.ContentsManager.hide_globs = ['cncp-*']\nc.ServerApp.ip = '0.0.0.0'\n")

    def shown() -> set[str]:
        lab.site.cncp("restart", "--name", "jupyter")
        return {entry["name"] for entry in lab.ask("/api/contents")[1]["content"]}

    try:
        assert "cncp-notebooks" not in shown()
        test_it_listens_on_loopback_alone(lab)
    finally:
        own.unlink()
    assert "cncp-notebooks" in shown()


def test_a_bundle_without_it_says_so(site: Site, tmp_path: Path) -> None:
    """What is missing is said before anything is changed, with the command that makes the right one."""
    bundle = tmp_path / "plain.tar"
    other = make(os.geteuid(), _PLAIN)
    try:
        code = "import os, sys\nfrom cncp.release import bundle\nfrom pathlib import Path\n"
        code += "bundle._wheels = lambda *_: ()\nbundle.make(Path(sys.argv[1]), '', '', os.environ)"
        subprocess.run([sys.executable, "-c", code, str(bundle)], cwd=ROOT / "bootstrap", check=True)
        refused = other.baremetal("--jupyter=true", f"--offline={bundle}", "--python", sys.executable, check=False)
        assert refused.returncode == 4
        assert f"error: {bundle} holds no Jupyter\nhint: make one that does: cncp bundle.make --jupyter" in (
            refused.stderr
        )
        assert not other.cncp_home.exists()
    finally:
        other.remove()


@pytest.mark.parametrize("manager", ["tmux", pytest.param("screen", marks=pytest.mark.slow(held="that with tmux"))])
def test_in_a_session(bundle_with_jupyter: Path, manager: str) -> None:
    """In a session of its own, which can be attached to; an uninstall leaves what was changed, and nothing else."""
    other = make(os.geteuid(), {**_PLAIN, "CNCP_OFFLINE": str(bundle_with_jupyter)})
    try:
        before = sorted(other.folder.rglob("*"))
        said = json.loads(
            other.baremetal("--jupyter=true", "--converge=embedded", f"--service-manager={manager}", "--json").stdout
        )
        lab = Lab(other)
        assert (said["service_manager"], said["jupyter"]) == (manager, lab.access["url"])
        pid = lab.services()["jupyter"]["pid"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: lab.services()["jupyter"]["state"] == "up" and lab.services()["jupyter"]["pid"] != pid, 30)
        place = other.folder / "home" / notebooks.FOLDER
        assert sorted(path.name for path in place.iterdir()) == sorted(
            path.name for path in ROOT.glob("notebooks/*.ipynb")
        )
        mine = place / "first_steps.ipynb"
        mine.write_text("mine")
        said_last = other.cncp("uninstall").stdout
        assert f"left, because it is not ours: {mine}" in said_last
        assert sorted(set(other.folder.rglob("*")) - set(before)) == [place, mine]
    finally:
        other.remove()


@pytest.mark.chef
@pytest.mark.skipif(chef.find() is None, reason="there is neither cinc-solo nor chef-solo on this machine")
def test_both_engines_of_convergence(bundle_with_jupyter: Path) -> None:
    """Chef and the embedded engine install the same for Jupyter, start and stop it, and undo one another's nothing."""
    other = make(os.geteuid(), {**_PLAIN, "CNCP_OFFLINE": str(bundle_with_jupyter)})
    ours = ("cncp/jupyter/share", "cncp/jupyter/config/labconfig", "cncp/supervisor", "home/cncp-notebooks")

    def tree() -> dict[str, object]:
        return {name: content for name, content in other.tree().items() if name.startswith(ours)}

    try:
        before = sorted(other.folder.rglob("*"))
        said = other.baremetal("--converge=chef", "--jupyter=true", "--service-manager=supervisor", "--json").stdout
        assert json.loads(said)["converge"] == "chef"
        lab = Lab(other)
        assert lab.ask("/api/contents")[0] == 200
        engine = lab.services()["engine-0"]["pid"]
        by_chef = tree()
        assert any(name.endswith("jupyter.conf") for name in by_chef)
        assert "nothing to change" in other.cncp("plan", "--detailed-exitcode").stdout
        assert other.chef_over_it() == []
        other.cncp("jupyter.down", "--quiet")
        assert sorted(lab.services()) == ["controller", "engine-0"]
        assert not any(name.endswith("jupyter.conf") for name in tree())
        other.cncp("up", "--converge=embedded", "--jupyter=true", "--quiet")
        assert tree() == by_chef
        assert other.chef_over_it() == []
        assert lab.services()["engine-0"]["pid"] == engine
        other.cncp("uninstall")
        assert sorted(other.folder.rglob("*")) == before
    finally:
        other.remove()
