"""The controller's machine keeps an ssh to each host that is to be reached so."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cncp.fleet.controller_host import Controller
from cncp.fleet.model import Surveyed
from cncp.fleet.tunnel_grants import let_in
from cncp.fleet.tunnel_setup import by
from cncp.machine.tunnels import label
from cncp.ssh.pool import Outcome, at_once


def keep_open(
    controller: Controller, hosts: Mapping[str, Surveyed], others: Collection[str], secret: Mapping[str, Any]
) -> tuple[bool, Outcome[str]]:
    """Have the controller's machine keep an ssh to each of these hosts, and to ``others`` as before.

    Returns whether it is to be brought up again for that, and the key that each host lets in.
    """
    found = at_once(hosts, lambda one: by(controller.way_to(one), one.host, secret, reverse=True))
    left = controller.leave(list(found.results.values()), [label(name) for name in others])
    able = {name: hosts[name] for name in found.results}
    let = at_once(able, lambda one: let_in(one.host, left["public"], found.results[one.name]))
    return left["changed"], Outcome(let.results, {**found.failures, **let.failures})
