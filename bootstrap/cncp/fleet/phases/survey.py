"""Preflight of all hosts: what they are, what they lack, which of them share a home. Changes nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from cncp.config.inventory import LOCAL, HostSpec
from cncp.errors import CncpError, PreflightError, UsageError
from cncp.fleet.model import HOME, SHARED, Surveyed
from cncp.fleet.phases.base import Phase, Report, Run
from cncp.ssh.connection import Host, Local
from cncp.ssh.host_errors import HostError
from cncp.ssh.pool import Outcome, at_once
from cncp.ssh.rpc import MARK, MARKS, UNMARK, Facts, call, probe

_ROOM = 500 * 2**20  # bytes: the virtualenv takes about 200 MB, and twice that while it is made
_ROOM_AFTER = 50 * 2**20
_SKEW = 300  # s; beyond it certificates and the ages of files are not to be relied on


class Survey(Phase):
    """All hosts are looked at, and those that lack something left out. Changes nothing."""

    name: ClassVar = "survey"

    def run(self, run: Run, report: Report) -> None:
        """Look; where the controller is here, its home counts for sharing as well.

        Raises UsageError where a machine has two names, PreflightError where there is nothing left to go on with.
        """
        seen = survey(run.pool.hosts, [Local(HostSpec(LOCAL))] if run.head.local else [])
        _refuse_two_names(seen.failures.values())
        report.fail({**run.pool.failures, **seen.failures})
        report.surveyed = seen.results
        if run.fleet.hosts and not report.ready(run.fleet):
            raise PreflightError("no host can be gone on with", "mend what is said above, then run this again")
        if not run.head.local and run.head.name not in report.surveyed:
            raise PreflightError(f"the controller's host {run.head.name} cannot be gone on with", "mend it first")


def _refuse_two_names(failures: Collection[CncpError]) -> None:
    """Raise UsageError where a machine has two names: each would start the same engines, and end the other's."""
    twice = [error for error in failures if isinstance(error, SameMachine)]
    if twice:
        named = ", ".join(f"{error.host} and {error.first}" for error in twice)
        raise UsageError(f"the same machine is named twice: {named}", f"{twice[0].hint}; nothing was changed")


class SameMachine(HostError):
    """A machine is there under another name as well, ``first``."""

    def __init__(self, host: str, first: str) -> None:
        hint = f"name every machine once; the one this runs on is {LOCAL}"
        super().__init__(host, f"it is the same machine as {first}", hint)
        self.first = first


def survey(hosts: Mapping[str, Host], apart: Sequence[Host] = ()) -> Outcome[Surveyed]:
    """Look at all hosts at once. ``apart`` are hosts whose home counts for sharing and nothing else."""
    everyone = {**hosts, **{host.spec.name: host for host in apart}}
    probed = at_once(everyone, _probe)
    failures = dict(probed.failures)
    facts = {name: seen.facts for name, seen in probed.results.items()}
    _refuse_twice(facts, failures)
    groups = _homes(probed.results)
    found: dict[str, Surveyed] = {}
    for name in hosts:
        if name not in facts or name in failures:
            continue
        made = replace(probed.results[name], shared=groups.get(name, ()))
        try:
            _check(made)
        except HostError as error:
            failures[name] = error
        else:
            found[name] = made
    return Outcome(found, failures)


def _probe(host: Host) -> Surveyed:
    began = time.time()
    facts = probe(host, HOME, SHARED, timeout=30)
    # Half of the way there and back is taken for the way back, as NTP does.
    return Surveyed(host, facts, skew=facts.clock - (began + time.time()) / 2)


def _refuse_twice(facts: Mapping[str, Facts], failures: dict[str, CncpError]) -> None:
    """Refuse the same machine under two names, and two that would be taken for one another."""
    machines: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, known in facts.items():
        first = machines.setdefault(known.machine, name)
        called = names.setdefault(known.host, name)
        if first != name:
            failures[name] = SameMachine(name, first)
        elif called != name:
            failures[name] = HostError(
                name,
                f"it calls itself {known.host}, and so does {called}",
                "give every machine a host name of its own: hostnamectl set-hostname NAME",
            )


def _homes(surveyed: Mapping[str, Surveyed]) -> dict[str, tuple[str, ...]]:
    """Return, for every host whose home others have as well, the names of all of them.

    Only homes that look the same from outside are tried, by a mark that the others would see.
    """
    alike: dict[object, list[str]] = {}
    for name, known in surveyed.items():
        alike.setdefault((known.facts.home, known.facts.home_id), []).append(name)
    candidates = {name: surveyed[name].host for group in alike.values() if len(group) > 1 for name in group}
    if not candidates:
        return {}
    nonce = secrets.token_hex(8)
    try:
        at_once(candidates, lambda host: call(host, MARK, nonce, host.spec.name))
        seen = at_once(candidates, lambda host: call(host, MARKS, nonce).names).results
    finally:
        at_once(candidates, lambda host: call(host, UNMARK, nonce))
    return {name: names for name, names in seen.items() if len(names) > 1}


def _check(surveyed: Surveyed) -> None:
    """Raise HostError on what a host lacks."""
    facts, name = surveyed.facts, surveyed.name
    installed = facts.code[SHARED if surveyed.shared else HOME]
    needed = _ROOM_AFTER if installed else _ROOM
    if not facts.writable:
        raise HostError(name, f"{facts.home} is not writable", "mend the permissions there")
    if facts.free < needed:
        raise HostError(
            name,
            f"{facts.home} has {facts.free // 2**20} MB free, {needed // 2**20} are needed",
            "make room there",
        )
    if abs(surveyed.skew) > _SKEW:
        raise HostError(name, f"its clock is {surveyed.skew:+.0f} s off ours", "set it: timedatectl set-ntp true")
