"""How long a cloud is given, and how it is asked again: with a clock that tests can have of their own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from cncp.pools.cloud.provider import Throttled, Unsure
from cncp.waiting import wait_until

T = TypeVar("T")

FIRST, LONGEST = 1.0, 30.0  # s between calls that a cloud does not want: doubled up to the second
_UNCLEAR = 3  # times that a call is made again that was cut off

THROTTLED = 300.0
"""Seconds for which a cloud that wants fewer calls is asked again."""


class Clock:
    """The time, and waiting."""

    def now(self) -> float:
        """Return s since the epoch."""
        return time.time()

    def pause(self, seconds: float) -> None:
        """Wait so long."""
        wait_until(lambda: False, seconds, every=seconds)

    def until(self, look: Callable[[], T], patience: float, every: float) -> T:
        """Return what ``look`` returns once it is true, or last after ``patience`` s."""
        end = self.now() + patience
        while not (seen := look()):
            left = end - self.now()
            if left <= 0:
                break
            self.pause(min(every, left))
        return seen

    def asked(self, call: Callable[[], T]) -> T:
        """Return what a call returns that does no harm when it is made twice: also where there was no clear answer."""
        for _ in range(_UNCLEAR):
            try:
                return self.patiently(call)
            except Unsure:
                self.pause(FIRST)
        return self.patiently(call)

    def patiently(self, call: Callable[[], T]) -> T:
        """Return what a call returns, asked again where the cloud says that there are too many. Raises CncpError."""
        end, wait = self.now() + THROTTLED, FIRST
        while True:
            try:
                return call()
            except Throttled as error:
                pause = max(error.after, wait * random.uniform(0.5, 1.5))  # noqa: S311  # keeps callers apart
                if self.now() + pause > end:
                    raise
                self.pause(pause)
                wait = min(wait * 2, LONGEST)
