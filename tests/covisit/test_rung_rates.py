"""Which rung of the ladder goes first, by what shoppers turned to."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.rung_rates import (
    COMPARED_MAX,
    best_first,
    compare_rungs,
    compare_rungs_reference,
    no_rates,
)
from state.rungs import BESIDE, CATEGORY, CONTEXT, POPULAR, RUNG_BITS, RUNGS, SECOND_STEP, SEGMENT

Case = tuple[int, list[int]]


def compared(cases: list[Case], rates: np.ndarray) -> None:
    """Add cases (rank, rung of each place of the list) to rates."""
    ranks, counts = np.array([r for r, _ in cases], np.int8), np.array([len(c) for _, c in cases], np.uint8)
    rungs = np.array([sum(rung << RUNG_BITS * k for k, rung in enumerate(one)) for _, one in cases], np.uint64)
    compare_rungs(ranks, counts, rungs, rates)


@st.composite
def standing(draw: st.DrawFn) -> Case:
    filled = draw(st.integers(0, 20))
    beside = draw(st.lists(st.sampled_from([BESIDE, SECOND_STEP]), max_size=20 - filled))
    rungs = beside + draw(
        st.lists(st.sampled_from([CATEGORY, SEGMENT, POPULAR, CONTEXT]), min_size=filled, max_size=filled)
    )
    return draw(st.integers(-1, len(rungs))), rungs


@settings(max_examples=100, deadline=None)
@given(st.lists(standing(), min_size=1, max_size=30))
def test_rungs_are_compared_as_the_plain_reference_does(cases: list[Case]) -> None:
    """Two places of each, in lists that the ladder filled up by eight places and more."""
    rates = no_rates()
    compared(cases, rates)
    expected = compare_rungs_reference(cases)
    assert rates.tolist() == [list(map(float, expected.get(rung, [0, 0]))) for rung in range(len(RUNGS))]


def test_what_was_long_ago_counts_less() -> None:
    """When there are enough of one rung, hits and places of all are halved."""
    rates = no_rates()
    rates[CATEGORY], rates[POPULAR] = (8.0, COMPARED_MAX - 1), (4.0, 1000.0)
    compared([(0, [CATEGORY] * 10)], rates)
    assert rates[CATEGORY].tolist() == [4.0, COMPARED_MAX / 2 + 1] and rates[POPULAR].tolist() == [2.0, 500.0]


def test_the_rung_that_is_hit_most_often_goes_first() -> None:
    """To begin with as they are told; then by hits a place, each with one of a thousand before."""
    rates = no_rates()
    assert best_first([CATEGORY, SEGMENT, POPULAR], rates).tolist() == [CATEGORY, SEGMENT, POPULAR]
    rates[POPULAR], rates[CATEGORY] = (30.0, 9000.0), (20.0, 9000.0)
    assert best_first([CATEGORY, SEGMENT, POPULAR], rates).tolist() == [POPULAR, CATEGORY, SEGMENT]
    rates[SEGMENT] = 1.0, 0.0
    assert best_first([CATEGORY, SEGMENT], rates).tolist() == [CATEGORY, SEGMENT]
    assert best_first([POPULAR, SEGMENT], rates).tolist() == [POPULAR, SEGMENT]
