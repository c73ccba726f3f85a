"""How long to wait for services that start: longer while they are at work, no more when they cannot."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import psutil

from cncp.errors import CncpError
from cncp.machine.node import Node
from cncp.machine.services import logs
from cncp.machine.services.base import ServiceManager, ServiceState, running_process
from cncp.waiting import wait_until

START_TIMEOUT = 60.0
"""Seconds that services may do nothing without an answer: a cold cache on a slow disk takes some of it."""

LOOK = 2.0
"""Seconds between looks: each may ask a service manager."""

WORK = 0.1
"""Of a processor: who uses less does nothing. A service that only waits uses a hundredth."""

_CRASHES = 4  # ends of one service within a wait, after which waiting longer is no use
_AT_MOST = 10  # times the time-out


class Patience:
    """The time that services of a node have to answer: ``timeout`` s in which they do nothing.

    A start takes seconds on most machines and minutes on an emulated one; what is loading uses the
    processor, and what hangs does not. ``working`` are those that did so at the last look, None before one.
    """

    def __init__(self, node: Node, manager: ServiceManager, timeout: float) -> None:
        self._node = node
        self._manager = manager
        self._timeout = timeout
        self._states: Mapping[str, ServiceState] = {}
        self._used: dict[int, float] = {}
        self._since = time.time()
        self.working: set[str] | None = None
        self._began = self._looked = time.monotonic()
        self._deadline = self._began + timeout

    @property
    def spent(self) -> str:
        """How long it has been, for an error: "61 s"."""
        return f"{time.monotonic() - self._began:.0f} s"

    def over(self, silent: Collection[str]) -> bool:
        """Tell whether there is no use in waiting for these services any longer.

        Raises CncpError as soon as one of the node's ends again and again.
        """
        # Not before: most of the time all is well at once, and to ask a service manager takes longer.
        self._states = self._states or self._manager.states()
        now = time.monotonic()
        if now > self._looked + LOOK:
            self._give_up_on_crashes()
            self.working = self._at_work(silent, now - self._looked)
            if self.working:
                self._deadline = now + self._timeout
            self._looked = now
        return now > min(self._deadline, self._began + _AT_MOST * self._timeout)

    def until(self, look: Callable[[], Sequence[str]]) -> Sequence[str]:
        """Wait until ``look`` returns no services that are silent; return those that it is no use to wait for.

        Raises CncpError as `over` does.
        """
        return wait_until(look, math.inf, enough=lambda silent: not silent or self.over(silent))

    def ending(self, name: str) -> str:
        """Return how the log of a service ends, of what it has written in this wait, or since it was started."""
        return logs.ending(self._node, name, min(self._since, began(running_process(self._node, name).pid)))

    def _at_work(self, names: Collection[str], seconds: float) -> set[str]:
        """Return which of these services, with their children, have used the processor in the last ``seconds``."""
        former, self._used = self._used, {}
        found = set()
        for name in names:
            with contextlib.suppress(psutil.Error):
                pid = running_process(self._node, name).pid
                process = psutil.Process(pid) if pid else None
                for child in (process, *process.children(recursive=True)) if process else ():
                    self._used[child.pid] = sum(child.cpu_times()[:2])
                    if self._used[child.pid] - former.get(child.pid, 0.0) > WORK * seconds:
                        found.add(name)
        return found

    def _give_up_on_crashes(self) -> None:
        for name, state in self._manager.states().items():
            known = self._states.get(name)
            if state.restarts - (known.restarts if known else 0) >= _CRASHES:
                raise CncpError(
                    f"{name} ends again and again: {state.last_exit or 'cause unknown'}{self.ending(name)}",
                    f"look at: cncp logs --name {name}",
                )


def began(pid: int) -> float:
    """Return when a process began, s since 1970; the end of time for none."""
    with contextlib.suppress(psutil.Error):
        if pid:
            return float(psutil.Process(pid).create_time())
    return float("inf")
