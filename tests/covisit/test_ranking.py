"""The ranking kernel against plain Python, and what a list promises."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ranked_lists import RandomShop, ranked, ranked_by_rung

from operators.kernels.candidates import RECENT_FETCHED, SLOT_NEIGHBOURS, WALKS
from operators.kernels.ranking import rank_reference
from operators.kernels.remembered import (
    REMEMBERED_NEIGHBOURS,
    nothing_remembered,
    remember_rows,
    remember_rows_reference,
)
from operators.list_settings import LEAVE_OUT_RECENT, ListSettings
from state.batches import ANSWER, LIST_LENGTH, NEIGHBOURS, RECENT_ITEMS
from state.rungs import BESIDE, CATEGORY, COMING_BACK, CONTEXT, POPULAR, RUNG_BITS, RUNGS, SECOND_STEP, SEGMENT

WEIGHTS = ListSettings().weights()[0]


@given(
    seed=st.integers(0, 2**32 - 1),
    tried=st.sampled_from([0, 4, 8]),
    size=st.integers(1, 200),
    leave_out=st.sampled_from([0, 1, LEAVE_OUT_RECENT]),
    second_step=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_rank_says_what_the_plain_reference_says(
    seed: int, tried: int, size: int, leave_out: int, second_step: float
) -> None:
    """Items, scores, reasons and rungs are exactly the reference's, for many shoppers in one call."""
    shop = RandomShop.drawn(np.random.default_rng(seed), size)
    chosen = ListSettings(leave_out=leave_out, second_step=second_step)
    weights = chosen.weights()
    expected = [
        rank_reference(*one, weights, shop.beside, shop.ladder_of(n), tried) for n, one in enumerate(shop.shoppers)
    ]
    assert shop.ranked(chosen, tried) == expected
    assert LIST_LENGTH * RUNG_BITS <= 64 and len(RUNGS) <= 1 << RUNG_BITS


def test_an_item_is_of_the_rung_that_gave_most() -> None:
    """A neighbour, one of a second step, one that comes back, one that is popular; a neighbour that would come back too
    is of whichever gave more."""
    beside = {7: [(8, 0.5), (9, 0.5)]}
    for share, rung in ((0.25, BESIDE), (0.1, COMING_BACK)):
        [found] = ranked_by_rung([([[(7, 1.0), (8, 0.75), (2, share)]], [1, 2, 3])], [(4, 1.0)], beside=beside)
        rungs = {item: rung for item, _, _, rung in found}
        assert rungs == {7: BESIDE, 8: BESIDE, 9: SECOND_STEP, 2: rung, 3: COMING_BACK, 4: POPULAR}


def test_an_item_seen_beside_several_adds_up_and_names_its_strongest_reason() -> None:
    """Scores of all places are summed by the places' weights; `because` is the place that gave most."""
    [found] = ranked([([[(7, 0.25), (8, 0.5)], [(7, 1.0)]], [100, 200])])
    second = float(WEIGHTS["slots"][1])
    assert found == [(7, 0.25 + second, 200), (8, 0.5, 100), (200, float(WEIGHTS["returns"][1]), 200)]


def test_the_current_item_is_never_shown() -> None:
    """Neither as a neighbour of an earlier item nor as a popular one."""
    [found] = ranked([([[(2, 1.0)], [(1, 1.0)]], [1, 2])], popular=[(1, 9.0), (3, 1.0)])
    assert [item for item, *_ in found] == [2, 3]


def test_recent_items_are_left_out_on_request() -> None:
    """All of a shopper's last items, also those whose neighbours were not asked for."""
    history = list(range(1, RECENT_ITEMS + 1))
    [found] = ranked(
        [([[(8, 1.0), (50, 0.5)]], history)],
        popular=[(5, 3.0), (60, 1.0)],
        settings=ListSettings(leave_out=LEAVE_OUT_RECENT),
    )
    assert [item for item, *_ in found] == [50, 60]


def test_a_shopper_without_history_gets_what_is_popular() -> None:
    """The list is the popular items by share, for the reason 0."""
    [found] = ranked([([], [])], popular=[(4, 3.0), (5, 1.0)])
    assert found == [(4, 0.75, 0), (5, 0.25, 0)]


def test_a_popular_item_never_scores_above_the_item_before_it() -> None:
    """A list is best first from end to end."""
    [found] = ranked([([[(7, 0.125)]], [1])], popular=[(4, 3.0), (5, 1.0)])
    assert found == [(7, 0.125, 1), (4, 0.125, 0), (5, 0.125, 0)]


def test_what_is_free_is_filled_up_by_category_favourite_segment_context_and_shop() -> None:
    """In this order, each item once, for the reason of the first rung that has it."""
    [found] = ranked_by_rung(
        [([[(7, 0.125)]], [1])],
        popular=[(14, 2.0), (7, 1.0), (15, 1.0)],
        who=[(30, 31, 5, 2**40 + 3)],
        categories={30: [(1, 3.0), (7, 2.0), (11, 2.0)], 31: [(11, 1.0), (12, 1.0)], 32: [(99, 1.0)]},
        segments={5: [(12, 2.0), (13, 2.0)], 6: [(98, 1.0)]},
        contexts={2**40 + 3: [(16, 2.0), (13, 1.0)], 3: [(97, 1.0)]},
    )
    entries = [(item, why, rung) for item, _, why, rung in found]
    assert entries == [
        (7, 1, BESIDE), (11, 30, CATEGORY), (12, 31, CATEGORY), (13, 5, SEGMENT), (16, 2**40 + 3, CONTEXT),
        (14, 0, POPULAR), (15, 0, POPULAR),
    ]  # fmt: skip


def test_where_rungs_are_measured_each_has_places_to_be_measured_by() -> None:
    """An eighth each of sixteen free ones, behind the places of the best; the rest is filled by it first."""
    neighbours = [(200 + k, 1.0 - k / 8) for k in range(4)]
    [found] = ranked_by_rung(
        [([neighbours], [1])],
        popular=[(300 + k, 1.0) for k in range(30)],
        who=[(30, 0, 5, 0)],
        categories={30: [(100 + k, 1.0) for k in range(20)]},
        segments={5: [(400 + k, 1.0) for k in range(20)]},
        order=(POPULAR, CATEGORY, SEGMENT),
        tried=8,
    )
    assert [rung for *_, rung in found] == [BESIDE] * 4 + [POPULAR] * 12 + [CATEGORY] * 2 + [SEGMENT] * 2


def test_popular_items_that_have_all_faded_still_fill_the_list() -> None:
    """Scores that are all 0 are shares of nothing, not an error."""
    [found] = ranked([([], [])], popular=[(4, 0.0), (5, 0.0)])
    assert found == [(4, 0.0, 0), (5, 0.0, 0)]


def test_a_list_is_never_longer_than_its_bound() -> None:
    """Of many candidates the best remain."""
    neighbours = [[(1000 * slot + k + 1, 1.0 - k / 64) for k in range(NEIGHBOURS)] for slot in range(RECENT_FETCHED)]
    [found] = ranked([(neighbours, [91, 92, 93, 94, 95])], popular=[(4, 3.0)])
    assert len(found) == LIST_LENGTH
    everything = sorted(
        float(np.float32(s) * WEIGHTS["slots"][slot])
        for slot in range(RECENT_FETCHED)
        for _, s in neighbours[slot][: SLOT_NEIGHBOURS[slot]]
    )
    assert [score for _, score, _ in found] == everything[: -LIST_LENGTH - 1 : -1]


def test_what_was_seen_before_the_current_item_may_come_back() -> None:
    """The sooner left the better, for its own sake and without neighbours; the current one where it may be shown."""
    [found] = ranked([([], [1, 2, 3])])
    assert found == [(2, float(WEIGHTS["returns"][1]), 2), (3, float(WEIGHTS["returns"][2]), 3)]
    [found] = ranked([([], [1, 2, 1])], settings=ListSettings(leave_out=0))
    assert found == [(1, float(WEIGHTS["returns"][0]), 1), (2, float(WEIGHTS["returns"][1]), 2)]
    assert ranked([([], [1, 2, 3])], settings=ListSettings(leave_out=LEAVE_OUT_RECENT)) == [[]]


def test_what_stands_beside_the_neighbours_of_the_current_item_is_found_too() -> None:
    """A second step is made from the best neighbours of the current item alone, for its sake, and not back to it."""
    best = [(item, 0.5) for item in range(10, 10 + WALKS)]
    beside = {
        10: [(77, 0.5), (11, 0.25), (1, 1.0)],
        11: [(77, 0.25)],
        10 + WALKS: [(78, 1.0)],
        20: [(79, 1.0)],
    }
    [found] = ranked([([[*best, (10 + WALKS, 0.125)], [(20, 1.0)]], [1, 1])], beside=beside)
    weight = float(WEIGHTS["second_step"])
    assert found[0] == (11, 0.5 + 0.5 * 0.25 * weight, 1)
    assert (77, 0.5 * 0.75 * weight, 1) in found and not {78, 79, 1} & {item for item, *_ in found}


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_remember_rows_says_what_the_plain_reference_says(seed: int, count: int) -> None:
    """The newest row of each place lies there, cut to its best; an answer of none, or for no list, changes nothing."""
    rng = np.random.default_rng(seed)
    items = rng.integers(1, 2**64, 12, dtype=np.uint64)
    answers, recent = np.zeros(count, ANSWER), rng.choice(items, (5, RECENT_ITEMS))
    answers["position"], answers["slot"] = rng.integers(0, 6, count), rng.integers(0, RECENT_FETCHED, count)
    answers["count"] = rng.integers(0, NEIGHBOURS + 1, count)
    answers["items"], answers["scores"] = (
        rng.integers(1, 2**64, (count, NEIGHBOURS), np.uint64),
        rng.random((count, 32)),
    )
    list_rows, remembered = np.array([0, 1, 2, 3, 4, -1], np.int32), nothing_remembered(8)
    remember_rows(answers, recent, list_rows, remembered)
    rows = []
    for a in answers[answers["position"] < 5]:
        told = zip(a["items"].tolist(), a["scores"].tolist(), strict=True)
        rows.append((int(recent[a["position"], a["slot"]]), list(told)[: int(a["count"])]))
    expected = remember_rows_reference(rows, 8)
    for place, row in enumerate(remembered):
        item, told = expected.get(place, (0, []))
        told = told + [(0, 0.0)] * (REMEMBERED_NEIGHBOURS - len(told))
        assert int(row["item"]) == item
        assert list(zip(row["items"].tolist(), row["scores"].tolist(), strict=True)) == told
