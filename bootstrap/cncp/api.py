"""A cluster for programs: what the verbs do, as methods. Public as ``cncp.Cluster``.

::

    import cncp

    cluster = cncp.Cluster.from_file("cluster.toml")
    cluster.up(engines=4)
    with cluster.client() as client:
        print(client[:].map_sync(lambda x: x**2, range(8)))
    cluster.down()

These are the verbs' own functions, in this process: what they keep and leave behind is the same, whoever did it.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cncp import __version__, accounts
from cncp.client import connect, connect_state, profile, remote_profile
from cncp.config import sources
from cncp.config.asked import Request, request
from cncp.config.inventory import HostSpec, Inventory
from cncp.config.settings import BY_KEY
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.fleet import operations, rollout
from cncp.fleet.scene import Scene
from cncp.ipp.connection_file import CLIENT
from cncp.machine.node import Node, installed
from cncp.machine.ops import busy_engines, lifecycle
from cncp.machine.ops.status import Status
from cncp.machine.services.kinds import split
from cncp.ssh.connection import Remote
from cncp.ssh.pool import SomeHostsFailed
from cncp.tasks import rollout_report, scenes
from cncp.tasks.options import is_strict

if TYPE_CHECKING:
    from fabric import Group
    from ipyparallel import Client

Setting = str | int | float | bool | Path
"""A value of a setting, as in cluster.toml; a relative path is taken from the working directory."""

_WORDS = {True: "true", False: "false"}


@dataclass(frozen=True)
class Report:
    """What ``up`` did and saw: how many engines there are, how many answer, and whether anything was changed."""

    engines: int
    answering: int
    changed: bool


class Cluster:
    """A cluster as one cluster.toml, or list of hosts, describes it. Made by ``from_file``.

    Whose cluster it is and where its state is say HOME, CNCP_HOME and the other CNCP_* variables, as for ``cncp``.
    All methods raise CncpError, whose ``message`` is what is wrong and whose ``hint`` what to do; SomeHostsFailed
    is one, where some of several hosts failed and ``failures`` says which and why. Bad input is a UsageError, which is
    one too, and changes nothing.
    """

    def __init__(self, file: Path | None, *, progress: bool) -> None:
        """Use ``from_file``."""
        self._file = file
        self._progress = progress

    @classmethod
    def from_file(cls, file: str | os.PathLike[str] | None = None, *, progress: bool = False) -> Cluster:
        """Return the cluster that a file describes; nothing is done yet. Raises UsageError on what makes no sense.

        Without ``file`` it is what ``cncp`` would use: CNCP_FILE, the cluster.toml in the working directory, the one
        used before, and else this machine alone. ``progress`` has what goes on said on standard error.
        """
        path = Path(file).absolute() if file is not None else None
        found = cls(path, progress=progress)
        sources.read(found._request({}).file)
        return found

    def __repr__(self) -> str:
        return f"Cluster.from_file({str(self._file)!r})" if self._file else "Cluster.from_file()"

    def up(
        self,
        *,
        limit: str = "",
        forget: bool = False,
        host_keys: str = "accept-new",
        wait: int = 0,
        force: bool = False,
        **settings: Setting,
    ) -> Report:
        """Make all machines what the file and these settings say; return once all engines answer.

        ``settings`` are those of cluster.toml, such as ``engines=4``, and are kept for later runs, as options of
        ``cncp up`` are; ``forget`` leaves out what was kept. ``limit`` names some of the hosts, ``host_keys`` is
        "accept-new" or "strict". Engines at work that would have to end are waited for, ``wait`` s, or with ``force``
        lose their tasks.
        """
        asked = self._request(_flags(settings), forget=forget)
        self._insist_here(asked)
        wanted = rollout_report.fleet(asked, scenes.inventory(asked), limit=limit, strict=is_strict(host_keys))
        with _manners(wait, force=force):
            done = rollout.up(asked, wanted, self._console(), None)
        rollout_report.insist(done)
        return Report(done.all_engines, done.all_answering, done.changed)

    def status(self, *, limit: str = "") -> list[Status]:
        """Return every service of all hosts, or of those that ``limit`` names: state, id, host, memory and more.

        Raises SomeHostsFailed where a host cannot be asked.
        """
        with self._scene(limit) as scene:
            found = operations.status(scene)
            scene.insist()
        return found

    def scale(self, engines: int | str, *, limit: str = "", pool: str = "", wait: int = 0, force: bool = False) -> None:
        """Run so many engines, of several hosts on each; "+1" and "-1" are so many more or fewer. No other is touched.

        Where a pool of the file has a number of machines, it is that which changes; ``pool`` names one of several.
        Busy engines are not ended: ``wait`` and ``force`` are as for ``up``.
        """
        count = str(engines)
        if isinstance(engines, int) and engines < 0:
            raise UsageError(f"scale {engines} is not possible", f'fewer engines are "{engines}", as text')
        lifecycle.check_count(count)
        with _manners(wait, force=force) as manners, self._scene(limit) as scene:
            found = scene.scalable(pool)
            if found is None:
                operations.scale(scene, count, manners)
            else:
                operations.scale_pool(scene, found, count, manners)
            scene.insist()
        if found is not None:
            self.up(wait=wait, force=force)

    def down(self, *, limit: str = "", wait: int = 0, force: bool = False) -> None:
        """Stop engines and controller until the next ``up``. Busy ones are waited for, ``wait`` s, and then ended."""
        with _manners(wait, force=force) as manners, self._scene(limit) as scene:
            operations.down(scene, manners)
            scene.insist()

    def client(self, *, engines: int | None = None, timeout: float = 60, **options: Any) -> Client:
        """Return an ipyparallel Client that is connected, once all engines are registered with it.

        ``engines`` waits for so many instead, ``timeout`` is how long, in s. ``options`` go to
        ``ipyparallel.Client``. To a controller on another machine it is by ssh: through a ``cncp connect`` that runs,
        else through a tunnel that is open as long as the client is there. Only the first comes back by itself after
        the network was away.
        """
        wanted = self._engines() if engines is None else engines
        made = self._connected(timeout, options)
        try:
            made.wait_for_engines(wanted, timeout=timeout, interactive=False)
        except TimeoutError:
            there = len(made.ids)
            made.close()
            raise CncpError(
                f"{there} of {wanted} engines are registered after {timeout:.0f} s", "look at them: cncp check"
            ) from None
        return made

    def hosts(self, *, limit: str = "") -> Group:
        """Return the cluster's other machines as a ``fabric.Group``, which acts on all at the same time.

        Users, ports, addresses and jump hosts are those of the file. This machine, ``localhost`` in it, is not among
        them. Raises CncpError where Fabric is not installed: it comes with ``cncp[fabric]``.
        """
        from cncp.ssh import fabric_group

        inventory = self._inventory()
        chosen = [host for host in inventory.limited(limit) if not host.local]
        if not chosen:
            raise UsageError("the cluster has no other machines", "name some in cluster.toml: [[pool]] hosts = [...]")
        return fabric_group.group(chosen)

    def _request(self, flags: Mapping[str, str], *, forget: bool = False) -> Request:
        named = str(self._file) if self._file else None
        return request(os.environ, file=named, flags=flags, forget=forget)

    def _inventory(self) -> Inventory:
        return scenes.inventory(self._request({}))

    @staticmethod
    def _insist_here(asked: Request) -> None:
        """Raise UsageError where the controller's machine alone has the cluster."""
        if cluster := scenes.elsewhere(asked):
            raise UsageError(
                f"{cluster.controller.name} makes the pools of this cluster and looks after them",
                "use cncp.Cluster there, or the command here, which asks it: cncp up, cncp status",
            )

    def _scene(self, limit: str) -> Scene:
        self._insist_here(self._request({}))
        return scenes.scene(str(self._file) if self._file else None, limit, self._console())

    @staticmethod
    def _node() -> Node:
        return installed(accounts.home(os.environ))

    def _console(self) -> Console:
        """Return where work is told: what verbs print as their result is nobody's here."""
        return Console(out=io.StringIO(), quiet=not self._progress)

    def _engines(self) -> int:
        return sum(split(service.name)[0] == "engine" for service in self.status())

    def _connected(self, timeout: float, options: Mapping[str, Any]) -> Client:
        """Return a client of the controller, wherever that is. Raises CncpError."""
        import ipyparallel

        inventory = self._inventory()
        try:
            if not inventory.controller.local:
                return self._connected_by_ssh(inventory.controller, timeout, options)
            path = Path(self._node().profile_dir) / "security" / CLIENT
            return ipyparallel.Client(str(path), timeout=timeout, **options)
        except (TimeoutError, OSError) as error:
            raise CncpError(f"the controller cannot be reached: {error}", "is it running? cncp status") from None

    def _connected_by_ssh(self, controller: HostSpec, timeout: float, options: Mapping[str, Any]) -> Client:
        import ipyparallel

        asked = self._request({})
        name = sources.gather(
            file=asked.file, environment=asked.environment, flags=asked.flags, former=asked.former
        ).profile
        for record in connect_state.running(profile.folder(os.environ)):
            if (record.host, record.remote_profile) == (controller.name, name):
                return ipyparallel.Client(profile=record.profile, timeout=timeout, **options)
        remote = Remote(controller)
        with remote:
            document = remote_profile.client_file(remote, remote_profile.look(remote), name)
        tunnel, local = connect.way(remote, document, connect.choose_ports("", ()))
        try:
            connect.open_way(tunnel, local, controller.name)
            made = ipyparallel.Client(connection_info=local.to_json(), timeout=timeout, **options)
        except BaseException:
            tunnel.close()
            raise
        weakref.finalize(made, tunnel.close)
        return made


def _flags(settings: Mapping[str, Setting]) -> dict[str, str]:
    """Return settings as a command line has them. Raises UsageError where there is no such setting."""
    for key in settings:
        if key not in BY_KEY:
            close = difflib.get_close_matches(key, BY_KEY, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(BY_KEY)}"
            raise UsageError(f"up: there is no setting {key!r}", hint)
    return {key: _WORDS[value] if isinstance(value, bool) else str(value) for key, value in settings.items()}


@contextlib.contextmanager
def _manners(wait: int, *, force: bool) -> Iterator[busy_engines.Manners]:
    """Have said what is to become of busy engines for the length of a block: it is handed on in the environment."""
    names = (busy_engines.WAIT, busy_engines.FORCE)
    former = {name: os.environ.get(name) for name in names}
    try:
        yield busy_engines.say(wait=wait, force=force)
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


__all__ = ["Cluster", "CncpError", "Report", "SomeHostsFailed", "Status", "__version__"]
