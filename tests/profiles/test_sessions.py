"""Sessions of one shopper, and the last different items liked, against the plain lists."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE
from slab_maker import record

from operators.kernels.sessions import (
    join,
    recent_reference,
    recent_since,
    remember,
    sessions_reference,
    will_close,
)
from state.batches import RECENT_ITEMS
from state.profile_table import OPEN_SESSIONS, SESSION_ROW

GAP_MS = 30 * MINUTE
LATENESS_MS = 10 * MINUTE
STEPS = st.lists(
    st.sampled_from([0, 1, MINUTE, 9 * MINUTE, 10 * MINUTE, 29 * MINUTE, GAP_MS, GAP_MS + 1, 39 * MINUTE, HOUR, DAY]),
    max_size=40,
)


def times_of(steps: list[int]) -> list[int]:
    now, times = BEGIN_MS, list[int]()
    for step in steps:
        now += step
        times.append(now)
    return times


def shuffled(times: list[int], seed: int) -> list[int]:
    """The same times in an order in which none comes after one that is newer by more than the lateness."""
    left, out, chosen_by = sorted(times), list[int](), random.Random(seed)
    while left:
        near = [k for k, ts in enumerate(left) if ts <= left[0] + LATENESS_MS]
        out.append(left.pop(chosen_by.choice(near)))
    return out


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 2**32))
def test_sessions_are_the_runs_of_acts(steps: list[int], seed: int) -> None:
    """In any order within the bounds: how many, and of the newest ones start, end and acts; each is open or closed,
    and one is closed only when a further one begins."""
    times, s = times_of(steps), record(SESSION_ROW)
    for ts in shuffled(times, seed):
        closes, before = bool(will_close(s, ts, GAP_MS)), int(s["closed"])
        place = join(s, ts, GAP_MS)
        assert place >= 0, "within the bounds every act has a session"
        s["events"][place] += 1
        s["depth"][place] += ts % 2
        assert closes == (int(s["closed"]) > before)
        n = int(s["open"])
        assert s["start"][:n].tolist() == sorted(s["start"][:n].tolist(), reverse=True)
    runs = sessions_reference(times, GAP_MS)[::-1]
    assert int(s["open"]) + int(s["closed"]) == len(runs)
    n = int(s["open"])
    found = [s[name][:n].tolist() for name in ("start", "end", "events", "depth")]
    wanted = [
        [r[0] for r in runs],
        [r[-1] for r in runs],
        [len(r) for r in runs],
        [sum(t % 2 for t in r) for r in runs],
    ]
    assert found == [column[:n] for column in wanted]
    assert n >= min(len(runs), OPEN_SESSIONS - 1)
    assert not any(s[name][n:].any() for name in ("start", "end", "events", "depth"))


def test_an_act_between_two_sessions_makes_them_one() -> None:
    """All that was counted of either, and what a trigger told of either, is of the one."""
    s = record(SESSION_ROW)
    for k, ts in enumerate((0, 2 * HOUR, 2 * HOUR + 50 * MINUTE)):
        assert join(s, BEGIN_MS + ts, GAP_MS) == 0
        for name in ("events", "depth", "dwell_ms", "dwells", "carts", "orders"):
            s[name][0] = 10**k
    s["told"][1] = 1
    assert join(s, BEGIN_MS + 2 * HOUR + 25 * MINUTE, GAP_MS) == 0
    assert (int(s["open"]), int(s["closed"]), int(s["told"][0])) == (2, 0, 1)
    for name in ("events", "depth", "dwell_ms", "dwells", "carts", "orders"):
        assert s[name].tolist() == [110, 1, 0], name
    assert s["start"].tolist() == [BEGIN_MS + 2 * HOUR, BEGIN_MS, 0]
    assert s["end"].tolist() == [BEGIN_MS + 2 * HOUR + 50 * MINUTE, BEGIN_MS, 0]


@pytest.mark.parametrize(("at", "place"), [(-HOUR, -1), (HOUR, 2), (-GAP_MS, 2), (9 * HOUR, 0)])
def test_a_very_late_act_finds_its_place_or_none(at: int, place: int) -> None:
    """Older than all that are open, it belongs to none; between them, it begins one, and the oldest is closed."""
    s = record(SESSION_ROW)
    for k in range(OPEN_SESSIONS):
        join(s, BEGIN_MS + 3 * k * HOUR, GAP_MS)
    closes = bool(will_close(s, BEGIN_MS + at, GAP_MS))
    assert join(s, BEGIN_MS + at, GAP_MS) == place
    assert closes == bool(s["closed"]) == (at in (HOUR, 9 * HOUR))
    assert int(s["open"]) == OPEN_SESSIONS


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(BEGIN_MS, BEGIN_MS + 20), st.integers(1, 14)), max_size=50),
    st.integers(BEGIN_MS, BEGIN_MS + 20),
)
def test_the_last_different_items_are_those_of_the_plain_list(likings: list[tuple[int, int]], since: int) -> None:
    """In any order whatever; and how many of them were liked since a time."""
    s = record(SESSION_ROW)
    for ts, item in likings:
        remember(s, item, ts)
    wanted = recent_reference(likings)
    n = int(s["recent_n"])
    assert s["recent"][:n].tolist() == wanted and not s["recent"][n:].any() and n <= RECENT_ITEMS
    newest = {item: max(ts for ts, one in likings if one == item) for item in wanted}
    assert s["recent_ts"][:n].tolist() == [newest[item] for item in wanted]
    assert recent_since(s, since) == sum(ts >= since for ts in newest.values())
