"""The cluster for programs that know ipyparallel's ``Cluster``: to see and to use.

``ipyparallel.Cluster.from_file``, ``ipcluster`` and the lab's extension make one from the profile's
security/cluster-.json. Starting and stopping is left to the service manager, which would undo what anybody
else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from ipyparallel import Client, Cluster
from ipyparallel.apps.baseapp import BaseParallelApplication
from ipyparallel.cluster import ClusterManager
from ipyparallel.cluster.launcher import LocalControllerLauncher
from tornado.web import HTTPError
from traitlets.config import Application

from cncp import pidfile
from cncp.errors import CncpError
from cncp.ipp import cluster_file
from cncp.ipp.cluster_file import Listed
from cncp.ipp.hub import Hub, NoAnswer
from cncp.machine import connection_files
from cncp.machine.node import installed

_SENTENCE = "cncp keeps this cluster running; in a terminal: cncp up, cncp down, cncp scale N"

_LAUNCHER = type("cncp", (), {})
"""What ``ipcluster list`` calls who starts the engines."""


class Running(Cluster):  # type: ignore[misc]  # ipyparallel has no types
    """The cluster that cncp keeps running in a profile."""

    home = Path()
    engine_launcher_class = _LAUNCHER

    @classmethod
    def from_dict(cls, d: dict[str, Any], **named: Any) -> Running:
        """Make one from what stands in its file."""
        # Those that the file was found by.
        others = {key: value for key, value in named.items() if key not in ("cluster_id", "profile", "profile_dir")}
        made = cls.described(Listed.from_json(d, cluster_file.NAME, "cncp up writes it again"), **others)
        if getattr(Application._instance, "start_cluster", None):  # noqa: SLF001  # `ipcluster start`
            if made._is_running():  # noqa: SLF001  # it has no other name
                _refuse()
            # ipcluster takes any error for a cluster that was stopped, and starts its own with the profile.
            raise CncpError("cncp's cluster does not run", "plain ipcluster may use the profile until cncp up")
        return made

    @classmethod
    def described(cls, listed: Listed, **named: Any) -> Running:
        """Make one from what stands in its file, whoever asks."""
        made = cls(profile_dir=listed.cluster.profile_dir, cluster_id="", **named)
        made.shutdown_atexit = False
        made.home = Path(listed.home)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Describe it as the lab's extension reads it: engines of all machines, while the controller runs."""
        profile = {"class": f"{__name__}.{type(self).__name__}", "cluster_id": "", "profile_dir": self.profile_dir}
        found: dict[str, Any] = {"cluster": profile, "engines": {"class": "cncp", "sets": {}}}
        try:
            node = installed(self.home)
            document = connection_files.client(node)
        except CncpError:
            return found
        pid = pidfile.read(node.run_dir, "controller").pid
        if pid and document is not None:
            found["controller"] = {"class": "cncp", "state": {"state": "running", "pid": pid}}
            try:
                with Hub(document, node.local_address) as hub:
                    found["engines"]["sets"]["cncp"] = {"n": len(hub.engines(timeout=0.5))}
            except NoAnswer:
                pass
        return found

    @property
    def controller(self) -> SimpleNamespace | None:
        """The controller, where it runs."""
        found = self.to_dict().get("controller")
        return SimpleNamespace(running=True, **found["state"]) if found else None

    @property
    def engines(self) -> Mapping[str, SimpleNamespace]:
        """The engines, as one set."""
        sets = self.to_dict()["engines"]["sets"]
        return {name: SimpleNamespace(state="running", n=engine_set["n"]) for name, engine_set in sets.items()}

    def _is_running(self) -> bool:
        return "controller" in self.to_dict()

    def update_cluster_file(self) -> None:
        """Leave the file as it is: cncp wrote it, and takes it away."""

    async def connect_client(self, **named: Any) -> Client:
        """Return a client that is connected to the cluster."""
        return Client(profile_dir=self.profile_dir, **named)

    async def signal_engines(self, signum: int, *_: object, **__: object) -> None:
        """Send all engines a signal, of whatever machines."""
        client = await self.connect_client()
        try:
            client.send_signal(signum, block=True)
        finally:
            client.close()

    async def start_and_connect(self, *_: object, **__: object) -> Client:
        """Return a client, as a context does; refuse where the cluster does not run."""
        if not self._is_running():
            _refuse()
        return await self.connect_client()

    async def start_cluster(self, *_: object, **__: object) -> NoReturn:
        """Refuse."""
        _refuse()

    async def start_controller(self, **_: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def start_engines(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def restart_engines(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def stop_engines(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        _refuse()

    async def stop_controller(self) -> NoReturn:
        """Refuse."""
        _refuse()

    async def stop_cluster(self) -> NoReturn:
        """Refuse."""
        _refuse()

    def _leave(self) -> None:
        if self._context_client is not None:  # type: ignore[has-type]  # the base class's
            self._context_client.close()  # type: ignore[has-type]
            self._context_client = None

    async def __aexit__(self, *_: object) -> None:
        """Close the client; the cluster goes on."""
        self._leave()

    def __exit__(self, *_: object) -> None:
        """Close the client; the cluster goes on."""
        self._leave()


class Launcher(LocalControllerLauncher):  # type: ignore[misc]  # ipyparallel has no types
    """Starts the controllers of other clusters of our profile, and refuses to start ours."""

    # What a cluster's file calls it; left alone ipyparallel writes a name there that it cannot read again.
    entrypoint_name = f"{__name__}.Launcher"

    def __init__(self, **named: Any) -> None:
        if not named.get("cluster_id") and named.get("profile_dir"):
            listed = cluster_file.read(Path(named["profile_dir"]))
            if listed and Running.described(listed)._is_running():  # noqa: SLF001  # it has no other name
                _refuse()
        super().__init__(**named)


class Clusters(ClusterManager):  # type: ignore[misc]  # ipyparallel has no types
    """What the lab's extension lists: clusters that there are, and none in profiles where nobody asked for one."""

    profile = ""

    def load_clusters(self, **named: Any) -> Any:
        """Look for clusters."""
        return super().load_clusters(**{**named, "init_default_clusters": False})

    def new_cluster(self, **named: Any) -> Any:
        """Make one where a profile is named that is not ours; left alone it would make itself a profile_default."""
        if named.get("profile", self.profile) == self.profile and "profile_dir" not in named:
            _refuse()
        return super().new_cluster(**named)


def _refuse() -> NoReturn:
    """Say who starts and stops this cluster: on `ipcluster`'s command line in a line, to others as an error."""
    if isinstance(Application._instance, BaseParallelApplication):  # noqa: SLF001  # none is made by asking
        raise SystemExit(_SENTENCE)
    raise HTTPError(409, _SENTENCE)
