"""Named features of many shoppers as columns: what a FeaturePlan asks for, and no work for what it does not.

The plain reference is `operators.profile_features.features`. Every figure is equal to it to the last bit: quotients of
integers round once (`exact.divide`), the sum of `price_level` is the correctly rounded one (`exact.exact_sum` for
`math.fsum`), and its power is the same function of the C library on both sides (`exp2`).
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from operators.kernels.carts import load, play
from operators.kernels.exact import divide, exact_sum
from operators.kernels.profile_parts import gap_mean, gap_spread
from operators.kernels.tastes import GUARD_BITS, LOG_UNIT, median_of
from operators.kernels.windows import LENGTHS, SIZES_MS, TILE_MS, WINDOWS
from state.batches import MONEY_UNIT
from state.compiled import borrowed, inlined, kernel
from state.hashing import hash_text
from state.profile_table import (
    CART,
    CART_ACTS,
    CATEGORY,
    MEASURE_TAGS,
    PIECE_UNIT,
    PRICE_LOG,
    UNPRICED,
    VALUES_KEPT,
)

Plan = namedtuple(
    "Plan",
    [
        "kinds",
        "first",
        "second",
        "named",
        "text_kinds",
        "text_slots",
        "text_named",
        "window_tags",
        "measure_slots",
        "taste_tags",
        "share_slots",
        "share_values",
        "needs",
    ],
)
"""A FeaturePlan as kernels see it.

Of number k: `kinds` int64[k] its code below, `first` and `second` int64[k] its arguments, `named` uint64[k] the hash
of an attribute's name. Of text m: `text_kinds`, `text_slots` int64[m], `text_named` uint64[m]. `window_tags` int64[t]
the tags of cells that are summed, measures first; `measure_slots` int64[MEASURE_TAGS] the place of a measure in it, or
-1; `taste_tags` int64[d] those of tastes; `share_slots` int64[s], `share_values` uint64[s] which taste's value (its
hash) a share is of. `needs` uint8[5]: which parts of a shopper are worked upon at all.
"""

N_WINDOWS, N_DAYS, N_TASTES, N_PRICES, N_CART = range(5)
"""Places in `needs`."""

(
    WINDOW,  # first: slot in window_tags times WINDOWS, plus the window; second: the unit it is counted in
    ACTIVE_DAYS,
    EVENTS,
    ORDERS,
    ITEMS,
    SPEND_TOTAL,
    RETURNS,
    RETURNED,
    RETURNED_SHARE,
    ORDER_VALUE,
    GAP_MEAN,
    GAP_SPREAD,
    DAYS_KNOWN,
    RECENCY,  # first: place in `newest`
    HOURS,  # first, second: from and up to which hour
    WEEKDAY,  # first: from Monday
    SESSIONS,
    SESSION_EVENTS,
    SESSION_MINUTES,
    SESSION_DEPTH,
    SESSION_DWELL,
    SESSION_CARTS,
    SESSION_ORDERS,
    MEAN_PRICE,
    PRICE_LEVEL,
    FOCUS,  # first: slot in taste_tags
    SHARE,  # first: place in share_slots
    CART_ITEMS,
    CART_LINES,
    CART_VALUE,
    CART_MINUTES,
    ATTRIBUTE,
) = range(32)
"""Codes of numbers."""

FAVOURITE, TEXT_ATTRIBUTE = range(2)
"""Codes of texts."""

DAY_MS = 86_400_000
MINUTE_MS = 60_000
EMPTY_TEXT = np.uint64(hash_text(""))
TILES_MAX = max(LENGTHS)
_TEXT, _NUMBER, _BOOL = range(3)


@kernel
def slot_of(plan, tag):
    """The place of a window cell's tag in `plan.window_tags`; -1 where it is not asked for."""
    if tag < MEASURE_TAGS:
        return plan.measure_slots[tag]
    for t in range(len(plan.window_tags)):
        if plan.window_tags[t] == tag:
            return np.int64(t)
    return np.int64(-1)


@kernel
def _sum_windows(cells, chain, now, plan, begins, sums):
    """Sums of the windows asked for as of `now` into `sums` int64[t * WINDOWS]; the number of days with an act of 30.
    `begins` int64[WINDOWS] is written to."""
    sums[:] = 0
    for w in range(WINDOWS):  # the first tile of 5 minutes that is in the window
        begins[w] = (now // SIZES_MS[w] - LENGTHS[w] + 1) * (SIZES_MS[w] // TILE_MS)
    days = np.uint64(0)
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            key = np.int64(chunk.keys[k])
            if key < begins[3]:  # the longest window: no other has it either
                continue
            # All cells are of 30 days: no two of them share a place among 64.
            days |= np.uint64(1) << np.uint64(key // (DAY_MS // TILE_MS) % 64)
            slot = slot_of(plan, np.int64(chunk.tags[k]))
            if slot >= 0:
                for w in range(WINDOWS):
                    if key >= begins[w]:
                        sums[slot * WINDOWS + w] += chunk.amounts[k]
        c = np.int64(chunk.next) - 1
    active = np.int64(0)
    while days != np.uint64(0):
        days &= days - np.uint64(1)
        active += 1
    return active


@kernel
def _weigh_tastes(slabs, chain, plan, totals, heaviest, favourites, shares):
    """Of each taste asked for: the total weight, that of the heaviest value and its hash (of equal ones the smallest);
    and the weight of each value whose share is asked for."""
    totals[:] = 0
    heaviest[:] = 0
    favourites[:] = np.uint64(0)
    shares[:] = 0
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = slabs.cells.rows[c]
        for k in range(chunk.count):
            for d in range(len(plan.taste_tags)):
                if plan.taste_tags[d] == chunk.tags[k]:
                    value, amount = slabs.values.rows[chunk.keys[k]].hash, chunk.amounts[k]
                    totals[d] += amount
                    first = favourites[d] == np.uint64(0) or amount > heaviest[d]
                    if first or (amount == heaviest[d] and value < favourites[d]):
                        heaviest[d] = amount
                        favourites[d] = value
                    for j in range(len(plan.share_slots)):
                        if plan.share_slots[j] == d and plan.share_values[j] == value:
                            shares[j] = amount
                    break
        c = np.int64(chunk.next) - 1


@kernel
def _price_level(slabs, chain, keys, weights, terms, partials):
    """Prices liked over the medians of their categories. Scratch: `keys`, `weights` int64[VALUES_KEPT], `terms`,
    `partials` float64[VALUES_KEPT + 1]."""
    n = 0
    logs = np.int64(0)
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = slabs.cells.rows[c]
        for k in range(chunk.count):
            if chunk.tags[k] == PRICE_LOG:
                keys[n] = chunk.keys[k]
                weights[n] = 0
                logs += chunk.amounts[k]
                n += 1
        c = np.int64(chunk.next) - 1
    weight = np.int64(0)
    c = np.int64(chain) - 1 if n > 0 else np.int64(-1)
    while c >= 0:
        chunk = slabs.cells.rows[c]
        for k in range(chunk.count):
            if chunk.tags[k] == CATEGORY or chunk.tags[k] == UNPRICED:
                for j in range(n):
                    if keys[j] == chunk.keys[k]:
                        amount = chunk.amounts[k] if chunk.tags[k] == CATEGORY else -chunk.amounts[k]
                        weights[j] += amount
                        weight += amount
        c = np.int64(chunk.next) - 1
    if weight < 1 << GUARD_BITS:
        return 1.0
    terms[0] = logs / LOG_UNIT
    for j in range(n):
        prices = np.int64(slabs.values.rows[keys[j]].prices) - 1
        terms[j + 1] = -weights[j] * median_of(slabs.prices.rows[prices].counts)
    return np.exp2(exact_sum(terms, n + 1, partials) / weight)


@kernel
def _of_life(row, kind):
    """A figure over the whole life, of a row alone."""
    if kind == EVENTS:
        return np.float64(row.events)
    if kind == ORDERS:
        return np.float64(row.orders)
    if kind == ITEMS:
        return divide(row.items_bought, PIECE_UNIT)
    if kind == SPEND_TOTAL:
        return divide(row.spend, MONEY_UNIT)
    if kind == RETURNS:
        return np.float64(row.returns)
    if kind == RETURNED:
        return divide(row.returned, MONEY_UNIT)
    if kind == RETURNED_SHARE:
        return divide(row.returned, row.gross) if row.gross > 0 else 0.0
    if kind == ORDER_VALUE:
        return divide(row.spend, MONEY_UNIT) / row.orders if row.orders > 0 else 0.0
    if kind == GAP_MEAN:
        return gap_mean(row)
    if kind == GAP_SPREAD:
        return gap_spread(row)
    if kind == MEAN_PRICE:
        return divide(row.price_sum, row.price_weight) / 100.0 if row.price_weight > 0 else 0.0
    return (row.event_ts - row.first_ts) / DAY_MS


@kernel
def _share_of(counts, begin, end):
    """The share of counts[begin:end] in all."""
    total = part = np.int64(0)
    for h in range(len(counts)):
        total += counts[h]
        if begin <= h < end:
            part += counts[h]
    return part / total if total > 0 else 0.0


@kernel
def session_figure(s, kind):
    """A figure of the newest session (SESSION_ROW), which is under way."""
    if kind == SESSION_EVENTS:
        return np.float64(s.events[0])
    if kind == SESSION_MINUTES:
        return (s.end[0] - s.start[0]) / MINUTE_MS
    if kind == SESSION_DEPTH:
        return np.float64(s.depth[0])
    if kind == SESSION_DWELL:
        return divide(s.dwell_ms[0], np.int64(s.dwells[0])) / 1000.0 if s.dwells[0] > 0 else 0.0
    if kind == SESSION_CARTS:
        return np.float64(s.carts[0])
    return np.float64(s.orders[0])


@kernel
def cart_minutes(since, now):
    """Minutes that there has been something in the cart since `since`; 0 for an empty one."""
    return (now - since) / MINUTE_MS if since != 0 else 0.0


@kernel
def _cart_figure(kind, played, now):
    if kind == CART_ITEMS:
        return divide(played[0], PIECE_UNIT)
    if kind == CART_LINES:
        return np.float64(played[1])
    if kind == CART_VALUE:
        return divide(played[2], MONEY_UNIT)
    return cart_minutes(played[3], now)


@kernel
def _attribute(attributes, row, name):
    """Type, and hash or bits, of an attribute of a shopper; type -1 where there is none."""
    if row.attributes > 0:
        told = attributes.rows[row.attributes - 1]
        for k in range(told.count):
            if told.names[k] == name:
                return np.int64(told.types[k]), told.values[k]
    return np.int64(-1), np.uint64(0)


Room = namedtuple(
    "Room",
    [
        "begins",
        "sums",
        "totals",
        "heaviest",
        "favourites",
        "shares",
        "keys",
        "weights",
        "terms",
        "partials",
        "cart",
        "held",
        "played",
        "bits",
        "tiles",
        "days",
    ],
)
"""What `features_of` and `crossing_of` write to as they work: arrays made once by `room_for`."""


@kernel
def room_for(plan):
    """A Room for a Plan."""
    tastes, shares = len(plan.taste_tags), len(plan.share_slots)
    return Room(
        np.zeros(WINDOWS, np.int64),
        np.zeros(len(plan.window_tags) * WINDOWS, np.int64),
        np.zeros(tastes, np.int64),
        np.zeros(tastes, np.int64),
        np.zeros(tastes, np.uint64),
        np.zeros(shares, np.int64),
        np.zeros(VALUES_KEPT, np.int64),
        np.zeros(VALUES_KEPT, np.int64),
        np.zeros(VALUES_KEPT + 1),
        np.zeros(VALUES_KEPT + 1),
        np.zeros(1, CART),
        np.zeros(CART_ACTS, np.int64),
        np.zeros(4, np.int64),
        np.zeros(1, np.uint64),
        np.zeros((len(plan.window_tags), WINDOWS, TILES_MAX), np.int64),
        np.zeros(TILES_MAX, np.int64),
    )


@inlined
def features_of(row, s, slabs, now, gap_ms, plan, room, numbers, texts):
    """One row of `feature_columns`: of a shopper's PROFILE_ROW and SESSION_ROW as of `now` into `numbers` float64[k]
    and `texts` uint64[m]; `room` Room of the plan is written to."""
    sums, totals, heaviest, favourites, shares = room.sums, room.totals, room.heaviest, room.favourites, room.shares
    played, bits = room.played, room.bits
    as_float = bits.view(np.float64)
    active = np.int64(0)
    level = 1.0
    if plan.needs[N_WINDOWS] or plan.needs[N_DAYS]:
        active = _sum_windows(slabs.cells, row.cells, now, plan, room.begins, sums)
    if plan.needs[N_TASTES]:
        _weigh_tastes(slabs, row.tastes, plan, totals, heaviest, favourites, shares)
    if plan.needs[N_PRICES]:
        level = _price_level(slabs, row.tastes, room.keys, room.weights, room.terms, room.partials)
    if plan.needs[N_CART]:
        played[:] = 0
        if row.cart > 0:
            cart = room.cart[0]
            load(slabs.carts, row.cart, cart)
            played[0], played[1], played[2], played[3] = play(cart, room.held)
    alive = s.open > 0 and now <= s.end[0] + gap_ms
    for f in range(len(plan.kinds)):
        kind, first, second = plan.kinds[f], plan.first[f], plan.second[f]
        if kind == WINDOW:
            x = divide(sums[first], second)
        elif kind == ACTIVE_DAYS:
            x = np.float64(active)
        elif kind <= DAYS_KNOWN or kind == MEAN_PRICE:
            x = _of_life(row, kind)
        elif kind == RECENCY:
            x = (now - row.newest[first]) / DAY_MS if row.newest[first] != 0 else -1.0
        elif kind == HOURS:
            x = _share_of(row.hours, first, second)
        elif kind == WEEKDAY:
            x = _share_of(row.weekdays, first, first + 1)
        elif kind == SESSIONS:
            x = np.float64(np.int64(s.closed) + np.int64(s.open))
        elif kind <= SESSION_ORDERS:
            x = session_figure(s, kind) if alive else 0.0
        elif kind == PRICE_LEVEL:
            x = level
        elif kind == FOCUS:
            x = divide(heaviest[first], totals[first]) if totals[first] > 0 else 0.0
        elif kind == SHARE:
            total = totals[plan.share_slots[first]]
            x = divide(shares[first], total) if total > 0 else 0.0
        elif kind <= CART_MINUTES:
            x = _cart_figure(kind, played, now)
        else:
            x = np.nan
            type_, bits[0] = _attribute(slabs.attributes, row, plan.named[f])
            if type_ == _NUMBER:
                x = as_float[0]
            elif type_ == _BOOL:
                x = 1.0 if as_float[0] != 0.0 else 0.0
        numbers[f] = x
    for f in range(len(plan.text_kinds)):
        if plan.text_kinds[f] == FAVOURITE:
            texts[f] = favourites[plan.text_slots[f]]
        else:
            type_, value = _attribute(slabs.attributes, row, plan.text_named[f])
            texts[f] = np.uint64(0)
            if type_ == _TEXT:
                texts[f] = value if value != np.uint64(0) else EMPTY_TEXT


@kernel
def feature_columns(profiles, sessions, slabs, who, n, as_of, gap_ms, plan, numbers, texts):
    """Fill the columns of a plan for the shoppers of rows who[:n] (int32) as of the times as_of[:n] (int64, ms).

    `profiles`, `sessions` Slab and `slabs` Slabs of a shard; `gap_ms` the session gap; `plan` Plan. Out: `numbers`
    float64[>= n, k], `texts` uint64[>= n, m] hashes. Nothing is changed but these. A row may be named several times; a
    row that was released or is free has the figures of a shopper of whom nothing is known.

    A number is nan where an attribute is absent or a text, and else what `features` gives (bool: 1 or 0; the share of
    a value that is not kept: 0). A text is 0 where there is none or an attribute is no text; an attribute told as the
    empty text has the hash of that.
    """
    profiles, sessions, slabs, plan = borrowed((profiles, sessions, slabs, plan))
    room = room_for(plan)
    for i in range(n):
        row, s = profiles.rows[who[i]], sessions.rows[who[i]]
        features_of(row, s, slabs, as_of[i], gap_ms, plan, room, numbers[i], texts[i])
    room.cart[0].count = 0  # a record does not keep its array alive: used to the end, it is not freed before
