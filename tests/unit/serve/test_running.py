"""The cluster as ipyparallel's own programs see it, and how they are told who starts and stops it."""

from __future__ import annotations

import contextlib
import gc
import json
from pathlib import Path
from types import SimpleNamespace

import ipyparallel
import pytest
from tornado.web import HTTPError
from traitlets.config import Application

from cncp.machine.desired import desired
from cncp.machine.resources import File
from cncp.serve.lab_cluster import Clusters, Launcher, Running
from tests.unit.machine.test_choices import node


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a profile with our cluster in it, which runs with two engines."""
    folder = tmp_path / "profile_cncp"
    (folder / "security").mkdir(parents=True)
    found = {"cluster": {"class": "cncp.remote.Running", "profile_dir": str(folder)}, "home": str(tmp_path)}
    (folder / "security" / "cluster-.json").write_text(json.dumps(found))
    monkeypatch.setattr(
        "cncp.serve.lab_cluster.installed", lambda _: SimpleNamespace(run_dir=tmp_path, local_address=None)
    )
    monkeypatch.setattr("cncp.machine.connection_files.client", lambda _: {})
    monkeypatch.setattr("cncp.pidfile.read", lambda *_: SimpleNamespace(pid=7))
    hub = SimpleNamespace(engines=lambda timeout: {0: "a", 1: "b"} if timeout else {})
    monkeypatch.setattr("cncp.serve.lab_cluster.Hub", lambda *_: contextlib.nullcontext(hub))
    return folder


@pytest.mark.parametrize("jupyter", [True, False])
def test_a_controller_s_profile_says_that_it_has_a_cluster(jupyter: bool) -> None:
    """With and without Jupyter; a machine of engines has none to find."""
    made = node(jupyter=jupyter)
    files = [
        resource for resource in desired(made, environment="", identity="").resources if isinstance(resource, File)
    ]
    (found,) = (file for file in files if file.path.endswith("/security/cluster-.json"))
    assert json.loads(found.text())["cluster"]["profile_dir"] == made.profile_dir
    assert found.mode == 0o600


def test_ipyparallel_finds_the_cluster(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its file, however that is named; and a context leaves it running."""
    for found in (
        ipyparallel.Cluster.from_file(profile_dir=str(profile)),
        ipyparallel.Cluster.from_file(str(profile / "security" / "cluster-.json")),
        ipyparallel.Cluster.from_file(profile_dir=str(profile), cluster_id=""),
    ):
        assert isinstance(found, Running)
        assert found.controller is not None
        assert (found.controller.pid, found.engines["cncp"].n) == (7, 2)
        assert "engine_sets=['cncp']" in repr(found)
    monkeypatch.setattr("cncp.serve.lab_cluster.Client", lambda **named: SimpleNamespace(**named, close=lambda: None))
    with found as client:
        assert client.profile_dir == str(profile)


def test_nobody_else_starts_and_stops_it(profile: Path) -> None:
    """Every way to do so ends with the sentence that says who does."""
    found = ipyparallel.Cluster.from_file(profile_dir=str(profile))
    ways = [f"{verb}_{target}" for verb in ("start", "stop") for target in ("cluster", "controller", "engines")]
    for way in (*ways, "restart_engines"):
        with pytest.raises(HTTPError, match="cncp keeps this cluster running"):
            getattr(found, f"{way}_sync")()
    with pytest.raises(HTTPError, match="cncp keeps this cluster running"):
        Launcher(profile_dir=str(profile), cluster_id="")
    Launcher(profile_dir=str(profile), cluster_id="another")
    assert (profile / "security" / "cluster-.json").exists()


@pytest.mark.parametrize("kind", ["IPClusterStart", "IPClusterStop"])
def test_on_a_command_line_it_is_one_line(profile: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Without a traceback."""
    from ipyparallel.cluster import app

    monkeypatch.setattr(Application, "_instance", getattr(app, kind)())
    with pytest.raises(SystemExit, match="cncp up, cncp down"):
        ipyparallel.Cluster.from_file(profile_dir=str(profile)).stop_cluster_sync()
    # The task holds the exit, and says so when it is thrown away: here, and not in another test.
    gc.collect()


def test_the_lab_makes_no_profile_that_nobody_named(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new cluster needs the name of another profile; none is offered in profiles without one."""
    monkeypatch.setattr(Clusters, "profile", "cncp")
    clusters = Clusters()
    for body in ({}, {"n": 2}, {"profile": "cncp"}, {"profile": "cncp", "cluster_id": "x"}):
        with pytest.raises(HTTPError, match="cncp keeps"):
            clusters.new_cluster(**body)
    (profile / "security" / "cluster-.json").unlink()
    assert clusters.load_clusters(profile_dirs=[str(profile)], init_default_clusters=True) == {}
