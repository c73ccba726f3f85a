"""The cluster for programs that know ipyparallel's ``Cluster``, as the lab's extension: to see and to use.

``ipyparallel.Cluster.from_file`` makes one from the profile's security/cluster-.json. Starting and
stopping is left to the service manager, which would undo what anybody else does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from ipyparallel import Client, Cluster
from tornado.web import HTTPError

from cncp.errors import CncpError
from cncp.hub import Hub, NoAnswer
from cncp.machine import connection
from cncp.machine.node import installed
from cncp.serve import record


class Running(Cluster):  # type: ignore[misc]  # ipyparallel has no types
    """The cluster that cncp keeps running in a profile."""

    home = Path()

    @classmethod
    def from_dict(cls, d: dict[str, Any], **named: Any) -> Running:
        """Make one from what stands in its file."""
        made = cls(profile_dir=d["cluster"]["profile_dir"], cluster_id="", **named)
        made.shutdown_atexit = False
        made.home = Path(d["home"])
        return made

    def to_dict(self) -> dict[str, Any]:
        """Describe it as the lab's extension reads it: engines of all machines, while the controller runs."""
        profile = {"class": f"{__name__}.{type(self).__name__}", "cluster_id": "", "profile_dir": self.profile_dir}
        found: dict[str, Any] = {"cluster": profile, "engines": {"class": "cncp", "sets": {}}}
        try:
            node = installed(self.home)
            document = connection.client(node)
        except CncpError:
            return found
        pid = record.read(node.run_dir, "controller").pid
        if pid and document is not None:
            found["controller"] = {"class": "cncp", "state": {"state": "running", "pid": pid}}
            try:
                with Hub(document, connection.local_address(node)) as hub:
                    found["engines"]["sets"]["cncp"] = {"n": len(hub.engines(timeout=0.5))}
            except NoAnswer:
                pass
        return found

    def _is_running(self) -> bool:
        return "controller" in self.to_dict()

    def update_cluster_file(self) -> None:
        """Leave the file as it is: cncp wrote it, and takes it away."""

    async def connect_client(self, **named: Any) -> Client:
        """Return a client that is connected to the cluster."""
        return Client(profile_dir=self.profile_dir, **named)

    async def start_controller(self, **_: Any) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def start_engines(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        self._refuse()

    async def stop_cluster(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise HTTPError(409, "cncp keeps this cluster running; in a terminal: cncp up, cncp down, cncp scale N")
