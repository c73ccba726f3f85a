"""How many instances there is work for: facts in, a decision out."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cncp.pools.cloud.idle_policy import RETRY, WAITS, Decision, Load, Memory, Policy, decide

POLICY = Policy(low=1, high=10, idle=1800.0)
NOW = 1_800_000_000.0


def load(now: float = NOW, tasks: dict[str, int] | None = None, **more: Any) -> Load:
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
    later, memory = decide(POLICY, load(NOW + 2 * WAITS, queued=9, coming=3), memory)
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


def test_as_many_stay_as_tasks_wait_for() -> None:
    """They may be for those in a moment; one that cannot begin does not keep forty of them (ray#21870, ray#30991)."""
    idle = {f"i{number:02}": 0 for number in range(40)}
    memory = Memory(dict.fromkeys(idle, 1.0))
    found, memory = decide(Policy(1, 40, 1800.0), load(tasks=idle, queued=1), memory)
    assert (found.count, len(found.end)) == (1, 39)
    for minute in range(600):
        now = NOW + 60 * minute
        found, memory = decide(Policy(0, 40, 1800.0), load(now, tasks={"i39": 0}, queued=1), memory)
        assert found == Decision(1)
    found, _ = decide(Policy(0, 40, 1800.0), load(tasks={"a": 0, "b": 0}, queued=5), Memory({"a": 1.0, "b": 1.0}))
    assert found.end == ()


def test_fewer_than_there_are_to_be() -> None:
    """Those that were lost are replaced at once."""
    assert decide(Policy(3, 10, 60.0), load(tasks={"a": 0}), Memory())[0] == Decision(3, why="there are to be 3")


def days(policy: Policy, loads: Callable[[int, int], Load], minutes: int, there: int = 1) -> list[int]:
    """Return how many instances there were each minute, where all that are wanted come at once."""
    memory, found = Memory(), []
    for minute in range(minutes):
        decision, memory = decide(policy, loads(minute, there), memory)
        there = decision.count
        found.append(there)
    return found


def names(count: int, tasks: int) -> dict[str, int]:
    """Return instances that each have so many tasks."""
    return {f"i{number:02}": tasks for number in range(count)}


def test_tasks_of_hours() -> None:
    """Two hours of work each: more are made although none has ended yet, and no more than tasks (distributed#3627)."""
    found = days(
        Policy(5, 10, 1800.0),
        lambda minute, there: Load(NOW + 60 * minute, names(there, 1), there, 0, max(0, 8 - there)),
        120,
        there=5,
    )
    assert found[0] == 5
    assert set(found[2:]) == {8}


def test_three_tasks_need_no_ten() -> None:
    """As many engines as there are tasks, whatever these take (distributed#4108, ray#36926)."""
    found = days(
        Policy(0, 10, 1800.0),
        lambda minute, there: Load(NOW + 60 * minute, names(there, int(there <= 3)), there, 0, max(0, 3 - there)),
        60,
        there=0,
    )
    assert max(found) == found[-1] == 3


def test_thousands_of_short_tasks() -> None:
    """A queue that is done before an instance could come has none made; one that stays gets all (ray#19785)."""
    quick = days(
        Policy(1, 40, 1800.0),
        lambda minute, there: Load(NOW + 60 * minute, names(there, 4), 4 * there, 0, 3000 >> 2 * minute),
        6,
    )
    assert set(quick) == {1}
    long = days(
        Policy(1, 40, 1800.0),
        lambda minute, there: Load(NOW + 60 * minute, names(there, 4), 4 * there, 0, 3000 - 100 * minute),
        6,
    )
    assert long == [1, 40, 40, 40, 40, 40]


def test_up_and_down_at_once() -> None:
    """Work for half of the engines has them neither come nor go with each look (distributed#1604, ray#2317)."""
    found = days(
        Policy(1, 10, 600.0),
        lambda minute, there: Load(
            NOW + 60 * minute, {**names(2, 4), **{f"z{number}": 0 for number in range(there - 2)}}, 4 * there, 0, 0
        ),
        600,
        there=6,
    )
    assert sorted(set(found)) == [2, 6]
    assert found.index(2) == 10
    assert set(found[10:]) == {2}


def test_a_long_last_task() -> None:
    """The others go when only one still computes, and none is made for it (dask-jobqueue#190)."""
    found = days(
        Policy(1, 200, 600.0),
        lambda minute, there: Load(NOW + 60 * minute, {**names(there, 0), "i00": 1}, there, 0, 0),
        60,
        there=200,
    )
    assert found[:10] == [200] * 10
    assert set(found[10:]) == {1}


def test_all_are_lost() -> None:
    """The lower bound is had again at once, also where there is no work (dask-jobqueue#611, distributed#6679)."""
    assert decide(Policy(6, 100, 1800.0), load(tasks={}), Memory())[0] == Decision(6, why="there are to be 6")


def test_those_that_never_join() -> None:
    """They count for a while, so that a broken image is not paid for each minute (ray#11714), and then no more.

    Then their places are had again (ray#45195, ray#45775: they counted for ever).
    """
    memory, policy = Memory(), Policy(2, 10, 1800.0)
    for minute in range(15):
        found, memory = decide(policy, load(NOW + 60 * minute, tasks={"a": 1}, stuck=["b"]), memory)
        assert found == Decision(2)
    found, memory = decide(policy, load(NOW + RETRY, tasks={"a": 1}, stuck=["b"]), memory)
    assert found == Decision(2, why="there are to be 2", dead=("b",))
    found, memory = decide(policy, load(NOW + RETRY + 60, tasks={"a": 1}, coming=1), memory)
    assert found == Decision(2)
    assert memory.stuck == {}


def test_none_can_be_had() -> None:
    """A cloud without capacity is not asked each minute, but again after a while (ray#20774)."""
    memory, asked = Memory(), []
    for minute in range(60):
        found, memory = decide(Policy(2, 10, 1800.0), load(NOW + 60 * minute, tasks={"a": 1}), memory)
        asked += [minute] if found.why else []
    assert asked == [0, 15, 30, 45]
    # What works again is not held up by a try that has failed before.
    found, memory = decide(Policy(2, 10, 1800.0), load(NOW + 3700, tasks={"a": 1, "b": 1}, queued=9), memory)
    found, memory = decide(Policy(2, 10, 1800.0), load(NOW + 3700 + WAITS, tasks={"a": 1, "b": 1}, queued=9), memory)
    assert found.count > 2


def test_no_client_for_a_time() -> None:
    """All end, whatever the queue says, and none is made until somebody is there again."""
    policy, memory = Policy(2, 10, 1800.0, alone=3600.0), Memory()
    found, memory = decide(policy, load(clients=0, queued=99), memory)
    assert not found.alone
    _, memory = decide(policy, load(NOW + 3599, clients=0), memory)
    found, _ = decide(policy, load(NOW + 3600, clients=0, queued=99), memory)
    assert found == Decision(0, why="no client for 3600 s", alone=True)
    _, between = decide(policy, load(NOW + 3600, clients=1), memory)
    assert between.alone == 0.0
    found, memory = decide(policy, load(NOW + 9999, tasks={}, clients=0, queued=99), memory)
    assert found.alone
    found, memory = decide(policy, load(NOW + 10059, tasks={}, clients=1), memory)
    assert found == Decision(2, why="there are to be 2")
    # Without the setting nobody looks, and with it alone the work does not count.
    assert not decide(POLICY, load(clients=0), Memory(alone=1.0))[0].alone
    plain = Policy(0, 3, 0.0, alone=3600.0)
    assert decide(plain, load(tasks={"a": 0}, queued=99), Memory({"a": 1.0}, waiting=1.0))[0] == Decision(1)


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
