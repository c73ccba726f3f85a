"""The one way to wait for what nobody tells: looked at again until it is as wanted, or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T], patience: float, every: float = 0.05, enough: Callable[[T], object] = bool) -> T:
    """Return what ``look`` returns as soon as that is ``enough``, or what it returned last after ``patience`` s.

    It looks at once, then ``every`` so many s, and a last time when the time is over. ``patience`` may be infinite.
    """
    deadline = time.monotonic() + patience
    while not enough(seen := look()):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(every, left))
    return seen
