"""What a shopper likes and where they are: fading weights of categories, brands, devices and the like.

Weights are fixed-point integers that halve together whenever the shopper's newest act enters a new half-life
(forward decay, Cormode et al., ICDE 2009), so that the order of adding does not matter until the last bits fade. Of
each kind VALUES_KEPT values are kept: a further one takes the lightest one's place and weight (Space-Saving, Metwally
et al., ICDT 2005), so a weight is never too small, and too great by an eighth of the total at most.
"""

from __future__ import annotations

import math

import numpy as np

from operators.kernels.slabs import find_cell, push_cell, remove_cell, take_row
from state.compiled import kernel
from state.profile_table import BRAND, CATEGORY, PRICE_BINS, PRICE_LOG, UNPRICED, VALUES_KEPT
from state.table import home_slot

WEIGHT_BITS, GUARD_BITS = 12, 8
LOG_UNIT = 256
"""Logarithms of prices are kept in steps of 1/256 octave."""

CENTS_MAX = 10**8
SUM_MAX = 1 << 61
TOLD_TAG = 1 << 31
_FREE = -1
_PRICE_FIRST = math.log2(100)  # a price of 0.01 in ten-thousandths


@kernel
def fading_weight(ts, half_life_ms, period):
    """The weight of a liking at `ts` (ms) for figures faded to `period` (int64)."""
    whole = ts // half_life_ms
    part = (ts - whole * half_life_ms) / half_life_ms
    weight = np.int64(np.round(2.0 ** (WEIGHT_BITS + part))) << GUARD_BITS
    return weight >> min(max(period - whole, 0), 62)


@kernel
def told_tag(name):
    """The tag of the cells of a circumstance (device, a name of context ...), by the hash of its name."""
    return np.int64(TOLD_TAG) | np.int64(name & np.uint64(0x7FFFFFFF))


@kernel
def _weight_of(cells, row, tag, key):
    c, k = find_cell(cells, np.int64(row.tastes), tag, key)
    return cells.rows[c].amounts[k] if c >= 0 else np.int64(0)


@kernel
def _priced(cells, row, category):
    """The weight of a category's likings that had a price."""
    liked = _weight_of(cells, row, np.int64(CATEGORY), category)
    return liked - _weight_of(cells, row, np.int64(UNPRICED), category)


@kernel
def fade(cells, row, period):
    """Bring a row's fading figures to a later half-life; what has faded to nothing goes, and of a category without
    weight the logarithms of its prices, which are the greater numbers."""
    halvings = period - np.int64(row.period)
    if halvings <= 0:
        return
    row.period = period
    halvings = min(halvings, 62)
    row.price_sum >>= halvings
    row.price_weight >>= halvings
    c = np.int64(row.tastes) - 1
    while c >= 0:
        chunk = cells.rows[c]
        cells.dirty[c] = 1
        for k in range(chunk.count):
            chunk.amounts[k] >>= halvings
        c = np.int64(chunk.next) - 1
    c = np.int64(row.tastes) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            if chunk.tags[k] == PRICE_LOG and _priced(cells, row, np.int64(chunk.keys[k])) <= 0:
                chunk.amounts[k] = 0
        c = np.int64(chunk.next) - 1
    c = np.int64(row.tastes) - 1
    while c >= 0:
        chunk = cells.rows[c]
        after = np.int64(chunk.next) - 1
        k = 0
        while k < chunk.count:
            if chunk.amounts[k] == 0:
                row.tastes = remove_cell(cells, row.tastes, c, k)
            else:
                k += 1
        c = after


@kernel
def number_of(values, slot_hashes, slot_rows, value, values_max, found):
    """The number of a value in the shard's dictionary, taken in where it is new; -1 where there is no room.

    `found` int64[2] is added to: values taken in, values refused. The index must have room.
    """
    mask = np.uint64(len(slot_rows) - 1)
    s = home_slot(value, len(slot_rows))
    while slot_rows[s] != _FREE:
        if slot_hashes[s] == value:
            return np.int64(slot_rows[s])
        s = (s + np.uint64(1)) & mask
    if values.head[0] >= values_max:
        found[1] += 1
        return np.int64(-1)
    r = take_row(values)
    values.rows[r].hash = value
    slot_hashes[s] = value
    slot_rows[s] = r
    found[0] += 1
    return np.int64(r)


@kernel
def _drop(cells, row, tag, key):
    c, k = find_cell(cells, np.int64(row.tastes), tag, key)
    if c >= 0:
        row.tastes = remove_cell(cells, row.tastes, c, k)


@kernel
def _add(cells, row, tag, key, amount):
    c, k = find_cell(cells, np.int64(row.tastes), tag, key)
    if c < 0:
        row.tastes = push_cell(cells, np.int64(row.tastes), tag, key, amount)
    else:
        cells.rows[c].amounts[k] += amount
        cells.dirty[c] = 1


@kernel
def favour(cells, values, row, tag, key, weight):
    """Add weight to a value (its number) of one kind."""
    if weight == 0:
        return
    found_chunk = lightest_chunk = np.int64(-1)
    found_place = lightest_place = 0
    n = 0
    c = np.int64(row.tastes) - 1
    while c >= 0 and found_chunk < 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            if chunk.tags[k] != tag:
                continue
            n += 1
            if chunk.keys[k] == key:
                found_chunk, found_place = c, k
                break
            if lightest_chunk >= 0:
                lightest = cells.rows[lightest_chunk]
                amount, least = chunk.amounts[k], lightest.amounts[lightest_place]
                smaller = values.rows[chunk.keys[k]].hash < values.rows[lightest.keys[lightest_place]].hash
                if amount > least or (amount == least and not smaller):
                    continue
            lightest_chunk, lightest_place = c, k
        c = np.int64(chunk.next) - 1
    if found_chunk >= 0:
        cells.rows[found_chunk].amounts[found_place] += weight
        cells.dirty[found_chunk] = 1
    elif n < VALUES_KEPT:
        row.tastes = push_cell(cells, np.int64(row.tastes), tag, key, weight)
    else:
        chunk = cells.rows[lightest_chunk]
        gone, inherited = np.int64(chunk.keys[lightest_place]), chunk.amounts[lightest_place]
        chunk.keys[lightest_place] = key
        chunk.amounts[lightest_place] += weight
        cells.dirty[lightest_chunk] = 1
        if tag == CATEGORY:
            _drop(cells, row, np.int64(UNPRICED), gone)
            _drop(cells, row, np.int64(PRICE_LOG), gone)
            _add(cells, row, np.int64(UNPRICED), key, inherited)


@kernel
def price_bin(price):
    """The quarter octave of a price in ten-thousandths, above 0."""
    return min(max(np.int64(np.floor(4.0 * (np.log2(price) - _PRICE_FIRST))), 0), PRICE_BINS - 1)


@kernel
def like(cells, values, prices, row, category, brand, price, weight):
    """Take a liking in: `category` and `brand` are numbers of values (-1: none), `price` money (0 or less: none)."""
    if price > 0 and weight > 0:
        cents = (price + 49 + price // 100 % 2) // 100  # half to even
        row.price_sum += weight * min(cents, CENTS_MAX)
        row.price_weight += weight
        if row.price_sum > SUM_MAX:  # more than any shop's shopper: the mean stays, its weight does not
            row.price_sum >>= 1
            row.price_weight >>= 1
    if brand >= 0:
        favour(cells, values, row, np.int64(BRAND), brand, weight)
    if category < 0:
        return
    favour(cells, values, row, np.int64(CATEGORY), category, weight)
    if price <= 0:
        if weight > 0:
            _add(cells, row, np.int64(UNPRICED), category, weight)
        return
    if weight > 0:
        _add(cells, row, np.int64(PRICE_LOG), category, weight * np.int64(np.round(LOG_UNIT * np.log2(price))))
    at = np.int64(values.rows[category].prices)
    if at == 0:
        at = take_row(prices) + 1
        values.rows[category].prices = at
        values.dirty[category] = 1
    prices.rows[at - 1].counts[price_bin(price)] += 1
    prices.dirty[at - 1] = 1


@kernel
def median_of(counts):
    """The median price, as log2 of ten-thousandths, of a row of PRICES_ROW in which something is counted."""
    total = np.int64(0)
    for k in range(PRICE_BINS):
        total += counts[k]
    half = total / 2
    before = np.int64(0)
    place = 0
    while before + np.int64(counts[place]) < half:
        before += counts[place]
        place += 1
    within = (half - before) / counts[place]
    return _PRICE_FIRST + (place + within) / 4


def fading_weight_reference(ts: int, half_life_ms: int, period: int) -> int:
    """`fading_weight` from its definition."""
    whole, rest = divmod(ts, half_life_ms)
    weight: int = (round(2.0 ** (WEIGHT_BITS + rest / half_life_ms)) << GUARD_BITS) >> max(period - whole, 0)
    return weight


def median_price(counts: np.ndarray) -> float:
    """`median_of` counts by quarter octave, interpolated within one."""
    total = np.cumsum(counts.astype(np.int64))
    half = total[-1] / 2
    place = int(np.searchsorted(total, half))
    within = (half - (total[place - 1] if place else 0)) / counts[place]
    return float(_PRICE_FIRST + (place + within) / 4)
