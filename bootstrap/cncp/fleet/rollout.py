"""`cncp up` for a cluster of several machines: all hosts at once, ended when the engines answer."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from cncp.config.inventory import LOCAL, REVERSE, HostSpec
from cncp.config.settings import Value
from cncp.console import Console
from cncp.errors import PreflightError, UsageError, plural
from cncp.fleet import deploy, registry, tunnel_grants
from cncp.fleet.controller_host import Controller
from cncp.fleet.model import Done, Fleet, Survey, Surveyed
from cncp.fleet.phases import tunnels
from cncp.fleet.phases.await_engines import await_engines
from cncp.fleet.phases.prepare import Preparation
from cncp.fleet.phases.start import Start
from cncp.fleet.phases.survey import SameMachine, survey
from cncp.fleet.registry import Placed
from cncp.fleet.tunnel_grants import Gate
from cncp.machine.services import logs
from cncp.ssh.connection import Host, Local
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Crew, Outcome, at_once, stopping


def up(fleet: Fleet, here: Controller | None, console: Console) -> Done:
    """Bring all hosts to what the settings say, and wait until their engines answer.

    ``here`` is the controller, where that is on this machine. Raises PreflightError where nothing can be gone
    on with; what fails on some hosts is in the answer.
    """
    done = Done()
    head = fleet.inventory.controller
    remote = [] if head.local else [head]
    console.phase(f"connecting to {plural(len(fleet.hosts) + len(remote), 'host')}")
    with Crew([*remote, *fleet.hosts], strict=fleet.strict) as crew:
        seen = survey(crew.hosts, [] if remote else [Local(HostSpec(LOCAL))])
        _refuse_twice(seen)
        done.fail({**crew.failures, **seen.failures}, console)
        hosts = {spec.name: seen.hosts[spec.name] for spec in fleet.hosts if spec.name in seen.hosts}
        if not hosts and fleet.hosts:
            raise PreflightError("no host can be gone on with", "mend what is said above, then run this again")
        if remote and head.name not in seen.hosts:
            raise PreflightError(f"the controller's host {head.name} cannot be gone on with", "mend it first")
        _note(fleet, seen.hosts)
        for name in registry.forgotten(fleet.inventory, fleet.home):
            console.warn(f"[{name}] is set up, but no longer in the file; take it down: cncp uninstall --limit {name}")
        ours = deploy.code()
        prepare = Preparation(fleet, ours, console)
        controller = here or prepare.controller(seen.hosts[head.name])
        prepared = _with_controller(controller, hosts, prepare, done, fleet)
        done.fail(prepared.failures, console)
        ready = {name: one for name, one in hosts.items() if name in prepared.results}
        secret = controller.engine_file()
        keys = _open_tunnels(fleet, controller, ready, secret, done, console)
        ready = {name: one for name, one in ready.items() if one.host.spec.connect != REVERSE or name in keys}
        console.phase(f"starting engines on {plural(len(ready), 'host')}")
        start = Start(fleet, controller, secret, prepared.results, prepare, done)
        started = at_once(ready, start)
        done.reports.update(started.results)
        done.fail(started.failures, console)
        opened = {
            *(Gate(name, name, key) for name, key in keys.items()),
            *(Gate(head.name, name, key) for name, key in start.keys.items()),
        }
        _close_others(fleet, opened, started.results, seen.hosts, done, console)
        console.phase("waiting for answers")
        try:
            await_engines(controller, {name: ready[name] for name in started.results}, start, done, console)
        except HostError as error:
            done.fail({head.name: error}, console)
        silent = {name: one for name, one in seen.hosts.items() if done.silent(name)}
        done.endings.update(at_once(silent, lambda one: _ending(one, done.silent(one.name)[0])).results)
    return done


def _refuse_twice(seen: Survey) -> None:
    """Raise UsageError where a machine has two names: each would start the same engines, and end the other's."""
    twice = [error for error in seen.failures.values() if isinstance(error, SameMachine)]
    if twice:
        named = ", ".join(f"{one.host} and {one.first}" for one in twice)
        raise UsageError(f"the same machine is named twice: {named}", f"{twice[0].hint}; nothing was changed")


def _ending(one: Surveyed, number: int) -> str:
    """Return what the log of a host's engine ends with, to be added to an error."""
    name = f"engine-{number}"
    argv = Placed.of(one).command("logs", f"--name={name}", f"--lines={logs.TAIL}")
    said = one.host.run(argv, check=False).stdout.decode(errors="replace").splitlines()
    return logs.ends_with([line.removeprefix(f"[{name}] ") for line in said])


def _note(fleet: Fleet, found: Mapping[str, Surveyed]) -> None:
    """Keep where things are before they are there: what is cut off can be taken away again."""
    now = {name: Placed.of(one) for name, one in found.items()}
    registry.save(fleet.home, {**registry.load(fleet.home), **now})


def _close_others(
    fleet: Fleet,
    opened: Collection[Gate],
    started: Collection[str],
    seen: Mapping[str, Surveyed],
    done: Done,
    console: Console,
) -> None:
    """Keep which keys are let in where, and shut out those that the hosts that were started no longer use.

    Machines that are not of the cluster any more are shut when they are uninstalled.
    """
    noted = tunnel_grants.load(fleet.home)
    tunnel_grants.save(fleet.home, noted.union(opened))
    stale = {one for one in noted.difference(opened) if one.engines in (*started, fleet.inventory.controller.name)}
    reach: dict[str, Host] = {LOCAL: Local(HostSpec(LOCAL)), **{name: one.host for name, one in seen.items()}}
    try:
        tunnel_grants.close(fleet.home, stale, registry.load(fleet.home), lambda name: nullcontext(reach.get(name)))
    except HostError as error:
        done.fail({error.host: error}, console)


def _open_tunnels(
    fleet: Fleet,
    controller: Controller,
    ready: Mapping[str, Surveyed],
    secret: Mapping[str, Any],
    done: Done,
    console: Console,
) -> Mapping[str, str]:
    """Have the controller's machine keep an ssh to hosts that are to be reached so; return their keys."""
    wanted = [spec.name for spec in fleet.inventory.hosts if spec.connect == REVERSE]
    if not wanted and not controller.has_tunnels:
        return {}
    console.phase(f"connecting the controller to {plural(len(wanted), 'host')}")
    hosts = {name: one for name, one in ready.items() if name in wanted}
    again, let = tunnels.keep_open(controller, hosts, [name for name in wanted if name not in hosts], secret)
    done.fail(let.failures, console)
    if again:
        done.reports[fleet.inventory.controller.name] = {**controller.up(), "changed": True}
    return let.results


def _with_controller(
    controller: Controller,
    hosts: Mapping[str, Surveyed],
    prepare: Preparation,
    done: Done,
    fleet: Fleet,
) -> Outcome[dict[str, Value]]:
    """Bring the controller up while the hosts are installed; return each host's settings."""
    name = fleet.inventory.controller.name
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool, stopping(pool):
        waiting = pool.submit(prepare.all, hosts)
        done.reports[name] = controller.up()
        done.seconds[name] = time.monotonic() - began
        return waiting.result()
