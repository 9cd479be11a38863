"""When the passing of time alone takes a shopper's feature across a number it is compared with.

Of the features that depend on the time they are asked for, windows lose tiles, the newest session ends, and the times
since something happened grow. All else waits for an event.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from operators.kernels.carts import load, play
from operators.kernels.exact import divide
from operators.kernels.feature_columns import (
    ACTIVE_DAYS,
    CART_MINUTES,
    DAY_MS,
    MINUTE_MS,
    RECENCY,
    SESSION_EVENTS,
    SESSION_ORDERS,
    WINDOW,
    session_figure,
    slot_of,
)
from operators.kernels.windows import LENGTHS, SIZES_MS, TILE_MS, WINDOWS
from state.compiled import borrowed, kernel
from state.profile_table import CART, CART_ACTS

NEVER = np.int64(2**62)
_TILES_MAX = max(LENGTHS)
_MS_MAX = 2.0**53
"""Times beyond it (the year 287,000) are not told apart by floats, and do not come."""

Thresholds = namedtuple("Thresholds", ["starts", "values"])
"""What the numbers of a plan are compared with: values[starts[k]:starts[k + 1]] for number k, `starts` int64[k + 1],
`values` float64. A nan stands for every value: any change is told."""


@kernel
def _crosses(thresholds, f, before, after):
    """Does a comparison of feature f with one of its thresholds have another outcome for `after` than for `before`?"""
    if before == after:
        return False
    for j in range(thresholds.starts[f], thresholds.starts[f + 1]):
        t = thresholds.values[j]
        if np.isnan(t) or (before < t) != (after < t) or (before > t) != (after > t):
            return True
    return False


@kernel
def _growing_until(thresholds, f, since, unit_ms, now, soonest):
    """The first time after `now`, and before `soonest`, at which (time - since) / unit_ms crosses a threshold; else
    `soonest`."""
    for j in range(thresholds.starts[f], thresholds.starts[f + 1]):
        t = thresholds.values[j]
        if np.isnan(t):
            return min(soonest, now + 1)
        value = (now - since) / unit_ms
        if value > t or t * unit_ms + since > _MS_MAX:
            continue
        at = now + 1
        if value < t:  # a little early, and on to the first at which the quotient is no longer below
            at = max(at, since + np.int64(t * unit_ms) - 4)
            while (at - since) / unit_ms < t:
                at += 1
        soonest = min(soonest, at)
    return soonest


@kernel
def _spread_tiles(cells, chain, now, plan, tiles, days):
    """What leaves the windows asked for, and when: `tiles` int64[t, WINDOWS, n] gets the amounts by tile from the
    oldest in the window on, `days` int64[n] which days of 30 have an act."""
    tiles[:, :, :] = 0
    days[:] = 0
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            key = np.int64(chunk.keys[k])
            slot = slot_of(plan, np.int64(chunk.tags[k]))
            for w in range(WINDOWS):
                at = key // (SIZES_MS[w] // TILE_MS) - (now // SIZES_MS[w] - LENGTHS[w] + 1)
                if at >= 0:
                    at = min(at, LENGTHS[w] - 1)
                    if slot >= 0:
                        tiles[slot, w, at] += chunk.amounts[k]
                    if w == 3:
                        days[at] = 1
        c = np.int64(chunk.next) - 1


@kernel
def _emptying_until(thresholds, f, amounts, window, unit, now, soonest):
    """The first time before `soonest` at which the window's sum over `amounts` int64[n] (by tile), divided by `unit`,
    crosses a threshold; else `soonest`."""
    n, size = LENGTHS[window], SIZES_MS[window]
    left = np.int64(0)
    for k in range(n):
        left += amounts[k]
    before = divide(left, unit)
    for k in range(n):
        if amounts[k] != 0:
            at = (now // size + 1 + k) * size
            if at >= soonest:
                break
            left -= amounts[k]
            if _crosses(thresholds, f, before, divide(left, unit)):
                return at
    return soonest


@kernel
def _cart_since(slabs, row, cart, held):
    """Since when there has been something in the cart; 0 for an empty one."""
    if row.cart == 0:
        return np.int64(0)
    load(slabs.carts, row.cart, cart)
    _, _, _, since = play(cart, held)
    return since


@kernel
def next_crossing_ms(profiles, sessions, slabs, who, n, as_of, gap_ms, plan, thresholds, out):
    """The first time after as_of[i] at which a number of the plan, nothing happening, crosses one of its thresholds for
    the shopper of row who[i]: a comparison (<, <=, ==, >=, >) of the two has another outcome than as of as_of[i].

    `profiles`, `sessions` Slab and `slabs` Slabs of a shard; `who` int32[>= n]; `as_of` int64[>= n] ms, no earlier than
    the shoppers' newest acts; `gap_ms` the session gap; `plan` Plan, `thresholds` Thresholds of its numbers. Out:
    `out` int64[>= n] ms, NEVER (2^62) where nothing will, or not before the year 287,000. It is the very time, neither
    early nor late; of a number with nan among its thresholds, that of its next change (of one that grows with time, the
    next millisecond). Numbers without thresholds cost and tell nothing.
    """
    profiles, sessions, slabs, plan = borrowed((profiles, sessions, slabs, plan))
    tiles = np.zeros((len(plan.window_tags), WINDOWS, _TILES_MAX), np.int64)
    days = np.zeros(_TILES_MAX, np.int64)
    cart_room = np.zeros(1, CART)
    cart = cart_room[0]
    held = np.zeros(CART_ACTS, np.int64)
    wants_tiles = wants_cart = False
    for f in range(len(plan.kinds)):
        if thresholds.starts[f] < thresholds.starts[f + 1]:
            wants_tiles |= plan.kinds[f] == WINDOW or plan.kinds[f] == ACTIVE_DAYS
            wants_cart |= plan.kinds[f] == CART_MINUTES
    for i in range(n):
        row = profiles.rows[who[i]]
        s = sessions.rows[who[i]]
        now = as_of[i]
        at = NEVER
        if wants_tiles:
            _spread_tiles(slabs.cells, row.cells, now, plan, tiles, days)
        since = _cart_since(slabs, row, cart, held) if wants_cart else np.int64(0)
        ends = s.end[0] + gap_ms + 1 if s.open > 0 and now <= s.end[0] + gap_ms else NEVER
        for f in range(len(plan.kinds)):
            if thresholds.starts[f] == thresholds.starts[f + 1]:
                continue
            kind, first = plan.kinds[f], plan.first[f]
            if kind == WINDOW:
                slot, window = first // WINDOWS, first % WINDOWS
                at = _emptying_until(thresholds, f, tiles[slot, window], window, plan.second[f], now, at)
            elif kind == ACTIVE_DAYS:
                at = _emptying_until(thresholds, f, days, 3, 1, now, at)
            elif kind == RECENCY:
                if row.newest[first] != 0:
                    at = _growing_until(thresholds, f, row.newest[first], DAY_MS, now, at)
            elif SESSION_EVENTS <= kind <= SESSION_ORDERS:
                if ends < at and _crosses(thresholds, f, session_figure(s, kind), 0.0):
                    at = ends
            elif kind == CART_MINUTES:
                if since != 0:
                    at = _growing_until(thresholds, f, since, MINUTE_MS, now, at)
        out[i] = at
    cart_room[0].count = 0  # a record does not keep its array alive: used to the end, it is not freed before
