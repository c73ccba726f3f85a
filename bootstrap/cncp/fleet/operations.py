"""The verbs on a cluster of several machines: what each host says of itself, put together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cncp import remote
from cncp.config.inventory import LOCAL, HostSpec, Inventory
from cncp.errors import CncpError
from cncp.files import PARENTS
from cncp.fleet import deploy, registry, tunnel_grants
from cncp.fleet.controller_host import remote_roll_call
from cncp.fleet.model import DIAL, SHARED
from cncp.fleet.registry import Placed
from cncp.ipp.keys import ENGINE_CHANNELS, ports_of
from cncp.machine.connection_files import delivered
from cncp.machine.node import installed
from cncp.machine.ops.engine_states import SILENCE, roll_call
from cncp.process import Completed
from cncp.ssh import answers
from cncp.ssh.answers import Shape
from cncp.ssh.command import Line
from cncp.ssh.connection import Host, Local
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Crew, Outcome, at_once
from cncp.ssh.rpc import call
from cncp.surroundings import here

_TIMEOUT = 300.0  # s for a verb on a host
_REGISTERS = 60.0  # s within which an engine is known to its controller


class Scene:
    """The hosts of a cluster that is there, connected. A context manager.

    ``failures`` has the hosts that cannot be reached, or on which nothing of ours is.
    """

    def __init__(self, inventory: Inventory, home: Path, limit: Sequence[HostSpec], *, strict: bool = False) -> None:
        self.inventory = inventory
        self.home = home
        self.limit = tuple(limit)
        self.places = registry.load(home)
        if not self.places and any(not host.local for host in limit):
            raise CncpError("nothing has been set up on these hosts from here", "set them up: cncp up")
        self._crew = Crew([host for host in limit if host.name in self.places or host.local], strict=strict)
        self.failures: dict[str, CncpError] = {
            host.name: HostError(host.name, "nothing is set up there", f"cncp up --limit {host.name}")
            for host in limit
            if host.name not in self.places and not host.local
        }

    def __enter__(self) -> Scene:  # noqa: PYI034  # no subclasses
        self._crew.__enter__()
        self.failures.update(self._crew.failures)
        return self

    def __exit__(self, *error: object) -> None:
        self._crew.__exit__(*error)

    @property
    def hosts(self) -> Mapping[str, Host]:
        """The hosts that are connected, in the order of the inventory."""
        return self._crew.hosts

    def argv(self, host: Host, *words: str) -> list[str]:
        """Return the command that runs cncp on a host for itself alone; as JSON it is by way of `cncp.remote`."""
        as_json = "--json" in words
        if isinstance(host, Local):
            # What is asked for in words is not asked for as JSON because the user wants JSON of the whole.
            own = ["CNCP_HERE=true", f"CNCP_HOME={self.home}", "CNCP_JSON=", "CNCP_QUIET="]
            return ["env", *own, *here(), *(remote.command("cncp", *words) if as_json else ["-m", "cncp", *words])]
        placed = self.places[host.spec.name]
        return placed.remote("cncp", *words) if as_json else placed.command(*words)

    def ask(
        self, *words: str, names: Sequence[str] | None = None, line: Callable[[str], Line] | None = None
    ) -> Outcome[Completed]:
        """Run a verb on all connected hosts, or those of these names; failures are those of ssh."""

        def work(host: Host) -> Completed:
            hear = line(host.spec.name) if line else None
            return host.run(self.argv(host, *words), timeout=_TIMEOUT, check=False, line=hear)

        chosen = {name: host for name, host in self.hosts.items() if names is None or name in names}
        return at_once(chosen, work)

    def roll_call(self, uuids: Sequence[str], patience: float = 0.0) -> dict[str, Any]:
        """Ask the controller about engines; nothing is known of them where it cannot be asked."""
        head = self.inventory.controller
        if head.local:
            return roll_call(installed(self.home), uuids, patience)
        if head.name not in self.places:
            return SILENCE
        with self.at(head.name) as host:
            return SILENCE if host is None else remote_roll_call(self.places[head.name], host, uuids, patience)

    @contextlib.contextmanager
    def at(self, name: str) -> Iterator[Host | None]:
        """Connect to a machine for the length of a block, if that is to be; None where it fails."""
        known = self.hosts.get(name)
        if known is not None:
            yield known
            return
        placed = {placed: one.spec for placed, one in self.places.items()}
        named = {host.name: host for host in self.inventory.everyone}
        spec = {LOCAL: HostSpec(LOCAL), **placed, **named}.get(name)
        with Crew([spec] if spec else []) as crew:
            yield crew.hosts.get(name)


def status(scene: Scene, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the services of all hosts, or of these, engines with their id and state at the controller."""
    outcome = scene.ask("status", "--json", names=names)
    scene.failures.update(outcome.failures)
    rows: list[dict[str, Any]] = []
    for name, reply in outcome.results.items():
        try:
            rows += [{**one, "host": name} for one in _answer(name, reply, answers.STATUS, reply.status == 0)]
        except HostError as error:
            scene.failures[name] = error
    uuids = [row["uuid"] for row in rows if row["uuid"]]
    known = _known(scene, uuids) if uuids else {}
    for row in rows:
        if known is not None and row["state"] == "running":
            seen = known.get(row["uuid"])
            row.update({"busy": 0.0, **seen} if seen else {"state": "starting"})
    return rows


def _known(scene: Scene, uuids: Sequence[str]) -> Mapping[str, Any] | None:
    """Return what the controller knows of engines; None, and a failure of its host, where it cannot be asked."""
    try:
        return dict(scene.roll_call(uuids)["engines"])
    except CncpError as error:
        scene.failures[scene.inventory.controller.name] = error
        return None


def _answer(name: str, reply: Completed, shape: Shape, answered: bool) -> Any:  # a fact of the reply
    """Return what a verb answered as JSON. Raises HostError, with its own words where it has not."""
    if not answered:
        raise deploy.failure(name, reply.stderr, reply.status)
    return answers.read_remote(name, reply.output, shape)


def uninstall(scene: Scene) -> dict[str, Completed]:
    """Take all away, engines first; a home that several share is cleared by the last of them."""
    head = scene.inventory.controller.name
    others = [name for name in scene.hosts if name not in (head, LOCAL)]
    replies: dict[str, Completed] = {}
    for names in (others, [head], [LOCAL] if head != LOCAL else []):
        outcome = scene.ask("uninstall", names=names)
        scene.failures.update(outcome.failures)
        for name, reply in outcome.results.items():
            # What was cut off before anything ran has nothing to uninstall but its folder.
            gone = not reply.status or "there is no cluster in" in reply.stderr or reply.status == 127
            if not gone:
                scene.failures[name] = deploy.failure(name, reply.stderr, reply.status)
                continue
            replies[name] = reply
            if name in scene.places:
                _clear(scene, name)
    return replies


def _clear(scene: Scene, name: str) -> None:
    """Remove a host's folder, and what its home's hosts shared when it was the last of them."""
    stale = {one for one in tunnel_grants.load(scene.home) if name in (one.machine, one.engines)}
    for gate in tunnel_grants.close(scene.home, stale, scene.places, scene.at):
        scene.failures[gate.machine] = HostError(
            gate.machine,
            f"it still lets the tunnel of {gate.engines} in",
            f"take the line with {gate.key[-16:]} out of its authorized_keys",
        )
    mine = scene.places.pop(name)
    shared_by = [placed for placed in scene.places.values() if set(placed.shared) & set(mine.shared)]
    call(scene.hosts[name], "remove", mine.home, PARENTS)
    if mine.shared and not shared_by:
        call(scene.hosts[name], "remove", SHARED, PARENTS)
    registry.save(scene.home, scene.places)


def check(scene: Scene, *, from_hosts: bool) -> list[dict[str, str]]:
    """Return what is wrong on each host; with ``from_hosts`` also what keeps it from the controller."""
    outcome = scene.ask("check", "--json")
    scene.failures.update(outcome.failures)
    found: list[dict[str, str]] = []
    for name, reply in outcome.results.items():
        try:
            # It exits with 1 where it finds something, and where it fails.
            found += [{**one, "host": name} for one in _answer(name, reply, answers.FINDINGS, bool(reply.output))]
        except HostError as error:
            scene.failures[name] = error
    found += _unknown_engines(scene)
    if from_hosts:
        head = scene.inventory.controller.name
        far = {name: host for name, host in scene.hosts.items() if name != head and name in scene.places}
        dialled = at_once(far, lambda host: _way(scene.places[host.spec.name], host))
        scene.failures.update(dialled.failures)
        found += [finding for findings in dialled.results.values() for finding in findings]
    return found


def _unknown_engines(scene: Scene) -> list[dict[str, str]]:
    """Return what is wrong with engines that run on their host, which is all that it can tell by itself."""
    head = scene.inventory.controller.name
    found = []
    for one in status(scene, [name for name in scene.hosts if name != head]):
        name, host = one["name"], one["host"]
        look = f"look at: cncp logs --limit {host} --name {name}"
        if one["state"] == "starting":
            # The controller may have moved; its address is in what `up` brings.
            remedy = "wait a moment" if one["uptime"] < _REGISTERS else f"cncp up --limit {host}; {look}"
            found.append({"host": host, "what": f"{name} runs, but the controller does not know it", "remedy": remedy})
        elif one["state"] == "silent":
            remedy = f"cncp restart --limit {host} --name {name}; {look}"
            found.append({"host": host, "what": f"{name} runs, but does not answer the controller", "remedy": remedy})
    return found


def _way(placed: Placed, host: Host) -> list[dict[str, str]]:
    """Dial every port of the controller from a host, at the address its engines use."""
    secret = answers.read(placed.name, host.get(str(delivered(Path(placed.home)))), answers.ENGINE_FILE)
    wanted, address = ports_of(secret, ENGINE_CHANNELS), str(secret["location"])
    answered = call(host, "dial", [address], wanted, DIAL, timeout=DIAL * 3)["open"][address]
    closed = [port for port in wanted if port not in answered]
    if not closed:
        return []
    named = "no port" if not answered else "port " + ", ".join(map(str, closed))
    what = (
        f"{named} of the controller answers it at {address}"
        if not answered
        else f"{named} of the controller at {address} does not answer it"
    )
    return [{"host": placed.name, "what": what, "remedy": "open the ports to it: cncp firewall prints the rules"}]
