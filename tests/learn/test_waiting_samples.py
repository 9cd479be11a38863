"""Samples are learned in the order of their decisions, whatever came of them."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest

from operators.learn.waiting import RELEASED_MAX, Lesson, WaitingSamples

HORIZON = 1_000


def _arrivals(seed: int, n: int, share: float = 0.4) -> list[tuple[np.ndarray, int, int]]:
    """(inputs, outcome, time of the decision) of decisions once a time unit, in the order in which outcomes came: 1 at
    some time within the horizon, 0 after it."""
    rng = np.random.default_rng(seed)
    came = (rng.random(n) < share).astype(int)
    known = np.arange(n) + np.where(came, rng.integers(0, HORIZON, n), HORIZON)
    order = np.argsort(known, kind="stable")
    return [(np.full(3, i, np.float32), int(came[i]), int(i)) for i in order.tolist()]


def _taken(waiting: WaitingSamples, arrivals: list[tuple[np.ndarray, int, int]]) -> list[Lesson]:
    return [lesson for one in arrivals for lesson in waiting.take(*one)]


def test_at_any_time_the_learned_have_the_outcomes_of_their_decisions() -> None:
    """The first thousand learned are about the first thousand decided, and the orders among them no more than those."""
    arrivals = _arrivals(1, 6_000)
    came = {ts: outcome for _, outcome, ts in arrivals}
    learned = _taken(WaitingSamples(0, 10_000), arrivals)
    decided = [int(inputs[0]) for inputs, _ in learned]
    assert all(came[ts] == outcome for ts, (_, outcome) in zip(decided, learned, strict=True))
    assert len(set(decided)) == len(decided)
    assert max(abs(place - ts) for place, ts in enumerate(decided)) <= RELEASED_MAX * 2
    assert np.mean([outcome for _, outcome in learned[:1_000]]) == pytest.approx(0.4, abs=0.05)
    assert np.mean([outcome for _, outcome, _ in arrivals[:400]]) > 0.65  # as they come


def test_nothing_is_learned_before_the_first_horizon_has_passed() -> None:
    """Until then only one outcome can be known."""
    waiting = WaitingSamples(0, 10_000)
    assert _taken(waiting, [(np.zeros(3, np.float32), 1, ts) for ts in range(50)]) == []
    assert len(waiting) == 50


def test_one_sample_sets_few_free() -> None:
    """A long wait ends bit by bit."""
    waiting = WaitingSamples(0, 10_000)
    _taken(waiting, [(np.zeros(3, np.float32), 1, ts) for ts in range(50)])
    assert len(waiting.take(np.zeros(3, np.float32), 0, 100)) == RELEASED_MAX + 1
    assert len(waiting.take(np.zeros(3, np.float32), 1, 90)) == RELEASED_MAX + 1


def test_waiting_samples_are_bounded_and_both_outcomes_are_left_out_alike() -> None:
    """With room for a tenth, about a tenth is learned, and its share of orders is that of all; the rest is counted."""
    arrivals = _arrivals(2, 20_000)
    waiting = WaitingSamples(0, 40)
    learned = []
    for one in arrivals:
        learned += waiting.take(*one)
        assert len(waiting) <= 40
    outcomes = Counter(outcome for _, outcome in learned)
    assert 800 < len(learned) < 4_000
    assert outcomes[1] / len(learned) == pytest.approx(0.4, abs=0.06)
    assert waiting.left_out == len(arrivals) - len(learned) - len(waiting)


@pytest.mark.parametrize("most", [10_000, 40])
@pytest.mark.parametrize("at", [0, 700, 3_000])
def test_a_snapshot_changes_nothing(at: int, most: int) -> None:
    """Half, snapshot, restore, the rest: the same samples in the same order."""
    arrivals = _arrivals(3, 5_000)
    whole = _taken(WaitingSamples(0, most), arrivals)
    first = WaitingSamples(0, most)
    found = _taken(first, arrivals[:at])
    second = WaitingSamples(0, most)
    second.restore(pickle.loads(pickle.dumps(first.state())))
    found += _taken(second, arrivals[at:])
    assert [(int(i[0]), o) for i, o in found] == [(int(i[0]), o) for i, o in whole]
