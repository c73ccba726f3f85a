"""How many instances there is work for: facts in, a decision out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cncp.pools.cloud.idle_policy import WAITS, Decision, Load, Memory, Policy, decide

POLICY = Policy(low=1, high=10, idle=1800.0)
NOW = 1_800_000_000.0


def load(now: float = NOW, tasks: dict[str, int] | None = None, **more: int) -> Load:
    """Return what is seen of two instances with four engines each."""
    found = {"a": 4, "b": 4} if tasks is None else tasks
    return Load(now, found, **{"engines": 4 * len(found), **more})


def test_work_for_all() -> None:
    """Nothing waits, nobody is idle: nothing to do."""
    assert decide(POLICY, load(), Memory()) == (Decision(2), Memory())


def test_tasks_that_wait() -> None:
    """Only after a while more are made, as many as there is work for, and not again while these come."""
    first, memory = decide(POLICY, load(queued=9), Memory())
    assert first == Decision(2)
    early, memory = decide(POLICY, load(NOW + WAITS - 1, queued=9), memory)
    assert early == Decision(2)
    grown, memory = decide(POLICY, load(NOW + WAITS, queued=9), memory)
    assert grown == Decision(5, why="9 tasks wait for engines")
    later, _ = decide(POLICY, load(NOW + 2 * WAITS, queued=9, coming=3), memory)
    assert later == Decision(5)
    more, _ = decide(POLICY, load(NOW + 2 * WAITS, queued=90, coming=3), memory)
    assert more.count == POLICY.high


def test_tasks_that_wait_although_an_engine_is_free() -> None:
    """They are held for another reason, such as what they depend on: more engines would not help."""
    memory = Memory(waiting=NOW - 3600)
    assert decide(POLICY, load(tasks={"a": 0, "b": 4}, queued=5), memory)[0] == Decision(2)


def test_idle_ones() -> None:
    """Each is ended after its own time, the one that is idle longest first, and never below the lower bound."""
    memory = Memory({"a": NOW - 1800, "b": NOW - 1799, "c": NOW - 9000})
    found, after = decide(POLICY, load(tasks={"a": 0, "b": 0, "c": 0}), memory)
    assert found == Decision(1, ("c", "a"), "no work for 9000 s")
    assert after.idle == memory.idle
    kept, _ = decide(Policy(3, 10, 1800.0), load(tasks={"a": 0, "b": 0, "c": 0}), memory)
    assert kept == Decision(3)


def test_work_in_between_begins_its_time_anew() -> None:
    """One that computed meanwhile is idle from then on."""
    memory = Memory({"a": NOW - 1799})
    _, memory = decide(POLICY, load(tasks={"a": 1, "b": 1}), memory)
    assert memory.idle == {}
    found, memory = decide(POLICY, load(NOW + 1, tasks={"a": 0, "b": 1}), memory)
    assert found == Decision(2)
    assert memory.idle == {"a": NOW + 1}


def test_who_has_not_joined_is_not_idle() -> None:
    """What is booting or installing has not begun yet (skypilot#715), and counts for the bounds."""
    found, _ = decide(POLICY, load(tasks={"a": 0}, coming=3), Memory({"a": NOW - 9999}))
    assert found.end == ("a",)
    assert found.count == 3


def test_nobody_is_ended_while_tasks_wait() -> None:
    """They may be for that one in a moment."""
    assert decide(POLICY, load(tasks={"a": 0, "b": 0}, queued=1), Memory({"a": 1.0, "b": 1.0}))[0].end == ()


def test_fewer_than_there_are_to_be() -> None:
    """Those that were lost are replaced at once."""
    assert decide(Policy(3, 10, 60.0), load(tasks={"a": 0}), Memory())[0] == Decision(3, why="there are to be 3")


@pytest.mark.parametrize("seed", range(5))
def test_a_day_of_bursts(seed: int) -> None:
    """With work that comes in bursts instances come and go with it, and not with each look."""
    chance, memory, there, changes = random.Random(seed), Memory(), 1, 0
    for minute in range(24 * 60):
        burst = minute // 120 % 2 == 0
        work = chance.randint(20, 60) if burst else 0
        tasks = {f"i{number}": 4 if burst else 0 for number in range(there)}
        now = NOW + 60 * minute
        found, memory = decide(POLICY, Load(now, tasks, 4 * there, 0, max(0, work - 4 * there)), memory)
        changes += found.count != there
        there = found.count
        assert POLICY.low <= there <= POLICY.high
        if minute % 240 in (119, 239):
            assert there == (POLICY.high if burst else POLICY.low), minute
    assert changes <= 12 * 3


@given(
    st.integers(0, 5),
    st.integers(0, 20),
    st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(0, 3), max_size=12),
    st.integers(0, 6),
    st.integers(0, 100),
    st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.floats(0, NOW)),
    st.floats(0, NOW),
)
def test_bounds_hold(
    low: int, more: int, tasks: dict[str, int], coming: int, queued: int, idle: dict[str, float], waiting: float
) -> None:
    """Whatever is seen: only who is idle is ended, none below the lower bound, none made above the upper one."""
    policy = Policy(low, low + more, 600.0)
    there = len(tasks) + coming
    found, after = decide(policy, Load(NOW, tasks, 2 * len(tasks), coming, queued), Memory(idle, waiting))
    assert all(tasks[name] == 0 for name in found.end)
    assert found.count >= min(low, there)
    assert found.count <= max(policy.high, there)
    assert found.count == there - len(found.end) or found.count > there
    assert set(after.idle) <= set(tasks)
