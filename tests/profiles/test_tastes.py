"""Fading weights: exact until their last bits go, a bounded number of values of each kind, prices and their median."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY
from slab_maker import make_slab, record

from operators.kernels.features import focus_of
from operators.kernels.slabs import cells_of
from operators.kernels.tastes import (
    CENTS_MAX,
    LOG_UNIT,
    fade,
    fading_weight,
    fading_weight_reference,
    favour,
    like,
    median_price,
    number_of,
    price_bin,
)
from state.profile_table import (
    BRAND,
    CATEGORY,
    CELL_CHUNK,
    PRICE_BINS,
    PRICE_LOG,
    PRICES_ROW,
    PROFILE_ROW,
    UNPRICED,
    VALUE_ROW,
    VALUES_KEPT,
)
from state.table import HashIndex

HALF_LIFE_MS = 14 * DAY
EXACT_MS = 7 * HALF_LIFE_MS
"""Likings no older than that have lost no bit."""

Liking = tuple[int, int, int, int]  # time, category, brand, price
LIKINGS = st.lists(
    st.tuples(
        st.integers(BEGIN_MS, BEGIN_MS + EXACT_MS),
        st.integers(-1, VALUES_KEPT - 1),
        st.integers(-1, 3),
        st.sampled_from([-1, 0, 1, 50, 99, 100, 150, 5_000, 99_950, 12_345_678, 10**13]),
    ),
    max_size=40,
)


class Likes:
    """A row that likings are taken into, as `take_in` does it."""

    def __init__(self) -> None:
        self.cells, self.values, self.prices = make_slab(CELL_CHUNK), make_slab(VALUE_ROW), make_slab(PRICES_ROW)
        self.values.rows["hash"][:64] = random.Random(5).sample(range(1, 2**63), 64)
        self.row = record(PROFILE_ROW)
        self.newest = 0

    def take(self, ts: int, category: int, brand: int, price: int) -> None:
        if ts > self.newest:
            fade(self.cells, self.row, ts // HALF_LIFE_MS)
            self.row["period"] = ts // HALF_LIFE_MS
            self.newest = ts
        weight = fading_weight(ts, HALF_LIFE_MS, int(self.row["period"]))
        like(self.cells, self.values, self.prices, self.row, category, brand, price, weight)

    def kept(self) -> dict[tuple[int, int], int]:
        return cells_of(self.cells.rows, int(self.row["tastes"]))


@settings(deadline=None)
@given(st.integers(0, 2**41), st.integers(1, 40 * DAY), st.integers(0, 70))
def test_a_weight_is_the_one_defined(ts: int, half_life_ms: int, later: int) -> None:
    """Halved for each whole half-life since; 0 in the end, and never less."""
    period = ts // half_life_ms + later
    assert fading_weight(ts, half_life_ms, period) == fading_weight_reference(ts, half_life_ms, period)


def _weighty(cells: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """The logarithm of a price of 0.0001 is 0: its cell says nothing, and may go."""
    return {key: amount for key, amount in cells.items() if amount}


@settings(max_examples=150, deadline=None)
@given(LIKINGS)
def test_weights_are_the_sums_of_those_of_all_likings(likings: list[Liking]) -> None:
    """In any order, to the last bit: categories, brands, prices; and the counts that medians are made of."""
    taken = Likes()
    for liking in likings:
        taken.take(*liking)
    period = max((ts for ts, *_ in likings), default=0) // HALF_LIFE_MS
    wanted: dict[tuple[int, int], int] = {}
    price_sum = price_weight = 0
    bins: dict[int, list[int]] = {}
    for ts, category, brand, price in likings:
        weight = fading_weight_reference(ts, HALF_LIFE_MS, period)
        logs = weight * round(LOG_UNIT * math.log2(price)) if price > 0 else 0
        told = [(BRAND, brand, weight), (CATEGORY, category, weight)]
        told += [(UNPRICED, category, weight) if price <= 0 else (PRICE_LOG, category, logs)]
        if price > 0:
            price_sum += weight * min(round(Fraction(price, 100)), CENTS_MAX)
            price_weight += weight
            bins.setdefault(category, [0] * PRICE_BINS)[int(price_bin(price))] += 1
        for tag, key, amount in told:
            if key >= 0:
                wanted[tag, key] = wanted.get((tag, key), 0) + amount
    bins.pop(-1, None)
    assert _weighty(taken.kept()) == _weighty(wanted)
    assert (int(taken.row["price_sum"]), int(taken.row["price_weight"])) == (price_sum, price_weight)
    numbers = taken.values.rows["prices"]
    found = {c: taken.prices.rows["counts"][numbers[c] - 1].tolist() for c in range(64) if numbers[c]}
    assert found == bins
    of_category = [amount for (tag, _), amount in wanted.items() if tag == CATEGORY]
    focus = max(of_category) / sum(of_category) if of_category else 0.0
    assert focus_of(taken.cells, taken.row, CATEGORY) == focus


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 1000)), max_size=80))
def test_of_each_kind_the_heavy_ones_are_kept(told: list[tuple[int, int]]) -> None:
    """Space-Saving: never too small, too great by an eighth of the total at most; another kind is not touched."""
    taken = Likes()
    favour(taken.cells, taken.values, taken.row, BRAND, 3, 7)
    exact = dict.fromkeys(range(21), 0)
    for key, weight in told:
        favour(taken.cells, taken.values, taken.row, CATEGORY, key, weight)
        exact[key] += weight
    kept = {key: amount for (tag, key), amount in taken.kept().items() if tag == CATEGORY}
    total = sum(exact.values())
    assert len(kept) == min(VALUES_KEPT, sum(weight > 0 for weight in exact.values()))
    assert sum(kept.values()) == total
    assert all(exact[key] <= amount <= exact[key] + total / VALUES_KEPT for key, amount in kept.items())
    assert {key for key, weight in exact.items() if weight > total / VALUES_KEPT} <= kept.keys()
    assert taken.kept()[BRAND, 3] == 7


def test_a_category_that_goes_takes_its_prices_along() -> None:
    """Nothing is left of the value whose place a ninth one takes, but its weight, which has no price."""
    taken = Likes()
    for category in range(VALUES_KEPT + 1):
        taken.take(BEGIN_MS + category, category, -1, 500)
    kept = taken.kept()
    priced, liked = ({key for tag, key in kept if tag == of} for of in (PRICE_LOG, CATEGORY))
    assert priced == liked and len(priced) == VALUES_KEPT and VALUES_KEPT in priced
    weight = fading_weight_reference(BEGIN_MS, HALF_LIFE_MS, BEGIN_MS // HALF_LIFE_MS)
    assert {key: amount for (tag, key), amount in kept.items() if tag == UNPRICED} == {VALUES_KEPT: weight}


def test_prices_of_a_category_do_not_outlast_its_weight() -> None:
    """Their logarithms are the greater numbers: they go with the last of the weight that came with a price."""
    taken = Likes()
    taken.take(BEGIN_MS, 0, -1, 10_000)
    taken.take(BEGIN_MS, 1, -1, 10_000)
    for halvings in range(1, 40):
        taken.take(BEGIN_MS + halvings * HALF_LIFE_MS, 1, -1, -1)
        kept = taken.kept()
        priced = {key for tag, key in kept if tag == PRICE_LOG}
        assert priced == {key for key in (0, 1) if kept.get((CATEGORY, key), 0) > kept.get((UNPRICED, key), 0)}
    assert not priced and set(kept) == {(CATEGORY, 1), (UNPRICED, 1)}


@pytest.mark.parametrize("halvings", [1, 8, 21, 62, 63, 500])
def test_what_has_faded_to_nothing_goes(halvings: int) -> None:
    """A cell of weight 0 takes no place; the others are halved so often."""
    taken = Likes()
    taken.row["period"] = 10
    for key in range(VALUES_KEPT):
        favour(taken.cells, taken.values, taken.row, CATEGORY, key, 1 << 2 * key)
    taken.row["price_sum"], taken.row["price_weight"] = 1 << 40, 3
    fade(taken.cells, taken.row, 10 + halvings)
    wanted = {(CATEGORY, key): 1 << 2 * key - halvings for key in range(VALUES_KEPT) if 2 * key >= halvings}
    assert taken.kept() == wanted
    assert (int(taken.row["price_sum"]), int(taken.row["price_weight"])) == ((1 << 40) >> halvings, 3 >> halvings)
    assert int(taken.row["period"]) == 10 + halvings
    fade(taken.cells, taken.row, 5)
    assert taken.kept() == wanted, "time does not go back"


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), max_size=60), st.integers(0, 12))
def test_values_are_numbered_as_they_come(told: list[int], most: int) -> None:
    """As a dict would; past the bound new ones are refused and counted."""
    values, index, found = make_slab(VALUE_ROW), HashIndex(), np.zeros(2, np.int64)
    numbers: dict[int, int] = {}
    refused = 0
    for value in told:
        h = np.uint64(value << 24)
        if value not in numbers and len(numbers) < most:
            numbers[value] = len(numbers)
        refused += value not in numbers
        number = number_of(values, index.slot_hashes, index.slot_rows, h, most, found)
        assert number == numbers.get(value, -1)
    assert found.tolist() == [len(numbers), refused]
    assert values.rows["hash"][: len(numbers)].tolist() == [value << 24 for value in numbers]


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**14), min_size=1, max_size=50))
def test_a_median_is_within_a_quarter_octave(prices: list[int]) -> None:
    """Of the prices' own; those below 0.01 count as of the first quarter octave, the dearest as of the last."""
    counts = np.zeros(PRICE_BINS, np.uint32)
    for price in prices:
        counts[price_bin(price)] += 1
    first = math.log2(100)
    logs = sorted(min(max(math.log2(price), first), first + (PRICE_BINS - 0.01) / 4) for price in prices)
    low, high = logs[(len(logs) - 1) // 2], logs[len(logs) // 2]
    assert low - 0.2501 <= median_price(counts) <= high + 0.2501


def test_a_median_known_by_hand() -> None:
    """Two prices in one quarter octave: its middle. One in each of two: the border between them."""
    counts: Any = np.zeros(PRICE_BINS, np.uint32)
    counts[4] = 2
    assert median_price(counts) == math.log2(100) + 4.5 / 4
    counts[4], counts[5] = 1, 1
    assert median_price(counts) == math.log2(100) + 5 / 4
