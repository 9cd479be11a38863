"""What lists show of the shop: the counting kernels against plain Python, and what coverage and novelty are."""

from __future__ import annotations

import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.list_tally import ITEM_TALLY, tally_acts, tally_lists, tally_reference
from operators.list_tally import TALLY_SLOTS, ListTally
from state.batches import ACT, LIST_LENGTH
from state.metrics import Metrics, read_samples
from state.rungs import BESIDE, POPULAR, RUNG_BITS, RUNGS

Listed = list[tuple[int, int]]
"""Items of a list and their rungs."""


def acts_on(*items: int) -> np.ndarray:
    return np.array([(0, item, 0) for item in items], ACT)


def lists_of(lists: list[Listed]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, counts and rungs as `rank` writes them."""
    items, counts = np.zeros((len(lists), LIST_LENGTH), np.uint64), np.zeros(len(lists), np.uint8)
    rungs = np.zeros(len(lists), np.uint64)
    for n, one in enumerate(lists):
        items[n, : len(one)], counts[n] = [item for item, _ in one], len(one)
        rungs[n] = sum(rung << RUNG_BITS * k for k, (_, rung) in enumerate(one))
    return items, counts, rungs


ITEMS = st.integers(1, 2**64 - 1) | st.integers(1, 30)
LISTS = st.lists(st.lists(st.tuples(ITEMS, st.integers(0, len(RUNGS) - 1)), max_size=LIST_LENGTH), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(ITEMS, max_size=30), LISTS)
def test_items_are_counted_as_in_plain_python(acts: list[int], lists: list[Listed]) -> None:
    """Acts, items of lists, and the rungs these came from; slots are shared where hashes end alike."""
    slots, listed = np.zeros(16, ITEM_TALLY), np.zeros(len(RUNGS), np.int64)
    tally_acts(acts_on(*acts), slots)
    tally_lists(*lists_of(lists), slots, listed)
    expected = tally_reference(acts, lists, 16)
    for found, counts in zip((slots["acts"], slots["listed"], listed), expected, strict=True):
        assert {k: n for k, n in enumerate(found.tolist()) if n} == counts


def test_novelty_is_the_mean_of_what_an_act_on_a_listed_item_would_tell() -> None:
    """By the shares of all acts; an item without one counts as one with a single act."""
    tally = ListTally(1024)
    assert tally.novelty_bits() is None and tally.items_listed() == 0 and tally.by_rung() == {}
    tally.note_acts(acts_on(*[1] * 4, *[2] * 2, 3, 4))
    assert tally.novelty_bits() is None, "nothing is listed"
    tally.note_lists(*lists_of([[(1, BESIDE), (3, POPULAR)], [(1, BESIDE), (9, BESIDE)]]))
    assert tally.novelty_bits() == pytest.approx((2 * -math.log2(4 / 8) + 2 * -math.log2(1 / 8)) / 4)
    assert tally.items_listed() == 3
    assert tally.by_rung() == {
        "neighbours": {"listed": 3, "share": 0.75, "hits": 0},
        "popular": {"listed": 1, "share": 0.25, "hits": 0},
    }


@pytest.mark.parametrize("items", [100, 100_000, 1_000_000])
def test_the_number_of_items_listed_is_right_within_a_third_of_a_per_cent(items: int) -> None:
    """Though they share slots."""
    tally = ListTally(TALLY_SLOTS)
    hashes = np.random.default_rng(7).integers(1, 2**64 - 1, (items // LIST_LENGTH, LIST_LENGTH), dtype=np.uint64)
    full = np.full(len(hashes), LIST_LENGTH, np.uint8)
    tally.note_lists(hashes, full, np.zeros(len(hashes), np.uint64))
    assert tally.items_listed() == pytest.approx(items, rel=0.003)


def test_what_several_processes_counted_adds_up() -> None:
    """An item that two of them listed is one item; counts pass through JSON."""
    parts, whole = [ListTally(64), ListTally(64)], ListTally(64)
    for tally in (parts[0], whole):
        tally.note_acts(acts_on(1, 2, 3))
        tally.note_lists(*lists_of([[(1, BESIDE), (2, POPULAR)]]))
    for tally in (parts[1], whole):
        tally.note_acts(acts_on(1))
        tally.note_lists(*lists_of([[(1, POPULAR), (5, BESIDE)]]))
        tally.hits[BESIDE] += 2
    together = ListTally(64)
    for tally in parts:
        together.add(orjson.loads(orjson.dumps(tally.packed(), option=orjson.OPT_SERIALIZE_NUMPY)))
    assert (together.items_listed(), together.novelty_bits()) == (whole.items_listed(), whole.novelty_bits())
    assert together.items_listed() == 3 and together.by_rung() == whole.by_rung()


def test_metrics_tell_what_was_added_since_they_were_told() -> None:
    """Counters only grow, however often they are set."""
    tally, metrics = ListTally(64), Metrics()
    for times in (1, 2, 2):
        if tally.listed.sum() < 2 * times:
            tally.note_acts(acts_on(1, 2))
            tally.note_lists(*lists_of([[(1, BESIDE), (2, POPULAR)]]))
            tally.hits[POPULAR] += 1
        tally.observe(metrics)
        items, hits = (read_samples(m, "rung") for m in (metrics.rung_items, metrics.rung_hits))
        assert items == {**dict.fromkeys(RUNGS, 0.0), "neighbours": times, "popular": times}
        assert hits == {**dict.fromkeys(RUNGS, 0.0), "popular": times}
    assert read_samples(metrics.listed_items) == {"": 2.0} and read_samples(metrics.novelty) == {"": 1.0}
