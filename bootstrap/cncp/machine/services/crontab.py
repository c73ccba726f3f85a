"""One line in the user's crontab: what brings services back after a reboot without systemd."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cncp.machine.node import Node

if TYPE_CHECKING:
    from cncp.machine.actor import Actor


def _mark(node: Node) -> str:
    return f"# cncp {node.prefix}"


def _others(actor: Actor, node: Node) -> list[str]:
    listed = actor.run(["crontab", "-l"], check=False)
    lines = listed.stdout.splitlines() if listed.ok else []
    return [line for line in lines if not line.endswith(_mark(node))]


def _install(actor: Actor, lines: list[str]) -> None:
    # crontab(1) goes by the real user id, in which a program has to be the user's altogether.
    actor.run(["crontab", "-"], input="\n".join(lines) + "\n")


def add(actor: Actor, node: Node, argv: Sequence[str]) -> str:
    """Have cron run ``argv`` at boot. Return "" or why that cannot be."""
    if shutil.which("crontab") is None:
        return "nothing here starts it again after a reboot; install the package cron, or run cncp up then"
    # cron ends a command at the first % (crontab(5)).
    line = f"@reboot {shlex.join(argv)} ".replace("%", "\\%") + _mark(node)
    others = _others(actor, node)
    listed = actor.run(["crontab", "-l"], check=False).stdout.splitlines()
    if line not in listed:
        _install(actor, [*others, line])
    return ""


def remove(actor: Actor, node: Node) -> None:
    """Take our line out again; a crontab that then is empty goes too."""
    if shutil.which("crontab") is None:
        return
    listed = actor.run(["crontab", "-l"], check=False)
    others = _others(actor, node)
    if not listed.ok or others == listed.stdout.splitlines():
        return
    if others:
        _install(actor, others)
    else:
        actor.run(["crontab", "-r"], check=False)
