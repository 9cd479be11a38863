"""Samples are learned in one order, whatever way they come from the shards."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.learn.sample_order import SampleOrder
from state.samples import Lessons

SHARDS = 3

Sample = tuple[int, int, int]
"""When it was known, its shard, its number in the shard."""


def _lessons(samples: list[Sample], told: dict[int, int]) -> Lessons:
    known = np.array([known for known, _, _ in samples], np.int64)
    numbers = np.array([number for _, _, number in samples], np.int64)
    told_ts = np.array([told.get(shard, 0) for shard in range(SHARDS)], np.int64)
    x = numbers.astype(np.float32)[:, None]
    return Lessons("churn", x, np.ones(len(x), np.uint8), known - 5, known, _shards(samples), told_ts)


def _shards(samples: list[Sample]) -> np.ndarray:
    return np.array([shard for _, shard, _ in samples], np.int64)


def _learned(order: SampleOrder, lessons: list[Lessons]) -> list[tuple[int, int]]:
    """Time of the decision and number of what is handed on."""
    now = order.take(lessons)
    return list(zip(now[2].tolist(), now[0][:, 0].astype(int).tolist(), strict=True)) if now else []


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_order_does_not_depend_on_how_shards_are_read(data: st.DataObject) -> None:
    """Any interleaving of shards, in any cuts, with a restart anywhere: the samples by time known, shard and number."""
    streams = {s: sorted(data.draw(st.lists(st.integers(1, 30), max_size=15))) for s in range(SHARDS)}
    samples = {s: [(known, s, 100 * s + k) for k, known in enumerate(times)] for s, times in streams.items()}
    order, found = SampleOrder(), []
    at = dict.fromkeys(range(SHARDS), 0)
    for _ in range(data.draw(st.integers(1, 20))):
        shard = data.draw(st.integers(0, SHARDS - 1))
        part = samples[shard][at[shard] :][: data.draw(st.integers(0, 6))]
        at[shard] += len(part)
        left = samples[shard][at[shard] :]
        # All known before the first one left have been told.
        found += _learned(order, [_lessons(part, {shard: left[0][0] if left else 99})])
        if data.draw(st.booleans()):
            state = deepcopy(order.state())
            order = SampleOrder()
            order.restore(state)
    rest = [one for shard in samples for one in samples[shard][at[shard] :]]
    found += _learned(order, [_lessons(rest, dict.fromkeys(range(SHARDS), 99))])
    expected = sorted(one for of_shard in samples.values() for one in of_shard)
    assert found == [(known - 5, number) for known, _, number in expected]
    assert len(order) == 0


def test_samples_wait_for_the_slowest_shard() -> None:
    """And for one that has not been heard of yet; what comes in spite of a promise goes on at once."""
    order = SampleOrder()
    assert _learned(order, [_lessons([(4, 0, 1), (9, 0, 2)], {0: 10, 1: 10})]) == []
    assert _learned(order, [_lessons([], {2: 9})]) == [(-1, 1)]
    assert len(order) == 1
    assert _learned(order, [_lessons([(3, 1, 3)], {})]) == [(-2, 3)]
    rest = order.rest()
    assert rest is not None and rest[0][:, 0].tolist() == [2.0] and len(order) == 0
    assert order.rest() is None


def test_no_more_wait_than_there_is_room_for() -> None:
    """The oldest go on without the slowest shard."""
    order = SampleOrder(most=3)
    assert _learned(order, [_lessons([(k, 0, k) for k in range(1, 6)], {0: 5})]) == [(-4, 1), (-3, 2)]
    assert len(order) == 3


def test_sample_without_its_outcome_is_an_error() -> None:
    """Outcomes come one to a sample."""
    lessons = _lessons([(k, 0, k) for k in range(10)], {})
    lessons.y = lessons.y[:4]
    with pytest.raises(ValueError, match="10 churn samples came with 4 outcomes"):
        SampleOrder().take([lessons])
