"""Waiting: as long as needed, and no longer than allowed."""

from __future__ import annotations

import math
from operator import not_

import pytest

from cncp import waiting
from cncp.waiting import wait_until


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock in the place of the machine's."""
    made = Clock()
    monkeypatch.setattr(waiting, "time", made)
    return made


def test_it_ends_with_what_is_waited_for(clock: Clock) -> None:
    """At once where it is so already, else with the first look that shows it; there may be no end in time."""
    assert wait_until(lambda: "there", 0) == "there"
    assert clock.now == 0
    assert wait_until(lambda: clock.now >= 100, math.inf, 1.0)
    assert clock.now == 100
    assert wait_until(lambda: [1] if clock.now < 101 else [], 5, 0.5, enough=not_) == []
    assert clock.now == 101


def test_it_ends_in_time(clock: Clock) -> None:
    """With a last look when the time is over, whose result is returned; without any time there is one look."""
    seen: list[float] = []

    def look() -> int:
        seen.append(clock.now)
        return 0

    assert wait_until(look, 1, 0.4) == 0
    assert seen == [0, 0.4, 0.8, 1.0]
    assert wait_until(look, 0) == 0
    assert len(seen) == 5


def test_an_error_ends_it(clock: Clock) -> None:
    """What can no longer come is not waited for."""
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / (2 - clock.now) < 0, math.inf, 1.0)
    assert clock.now == 2
