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
    room_for,
    session_figure,
    slot_of,
)
from operators.kernels.windows import DAY_TILES, HOUR_TILES, LENGTHS, SIZES_MS, WINDOWS
from state.compiled import borrowed, inlined, kernel

NEVER = np.int64(2**62)
_MS_MAX = 2.0**53
"""Times beyond it (the year 287,000) are not told apart by floats, and do not come."""

Thresholds = namedtuple("Thresholds", ["starts", "values", "tile_ms", "by_session", "growing"])
"""What the numbers of a plan are compared with: values[starts[k]:starts[k + 1]] for number k, `starts` int64[k + 1],
`values` float64. A nan stands for every value: any change is told. Of the numbers that are compared: `tile_ms` is the
shortest tile of their windows (0: there are none), `by_session` whether some are of the newest session, `growing`
int64[g] which of them grow with the time."""


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
    begins_hour, begins_day = now // SIZES_MS[1] - LENGTHS[1] + 1, now // SIZES_MS[2] + 1
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            key = np.int64(chunk.keys[k])
            day = key // DAY_TILES - begins_day  # below 0: whole days back
            at = day + LENGTHS[3]
            if at < 0:  # the longest window: no other has it either
                continue
            days[min(at, LENGTHS[3] - 1)] = 1
            slot = slot_of(plan, np.int64(chunk.tags[k]))
            if slot < 0:
                continue
            amount = chunk.amounts[k]
            tiles[slot, 3, min(at, LENGTHS[3] - 1)] += amount
            at = day + LENGTHS[2]
            if at >= 0:
                tiles[slot, 2, min(at, LENGTHS[2] - 1)] += amount
            at = key // HOUR_TILES - begins_hour
            if at >= 0:
                tiles[slot, 1, min(at, LENGTHS[1] - 1)] += amount
            at = key - (now // SIZES_MS[0] - LENGTHS[0] + 1)
            if at >= 0:
                tiles[slot, 0, min(at, LENGTHS[0] - 1)] += amount
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
def stays(numbers, s, now, until, gap_ms, plan, thresholds):
    """Is it certain that no number of a shopper with these `numbers` float64[k] as of `now` (no earlier than the newest
    act), and SESSION_ROW `s`, crosses a threshold after now and up to `until`? No cell is looked at for it."""
    if thresholds.tile_ms > 0 and now // thresholds.tile_ms != until // thresholds.tile_ms:
        return False
    if thresholds.by_session and s.open > 0 and now <= s.end[0] + gap_ms < until:
        return False
    for g in range(len(thresholds.growing)):
        f = thresholds.growing[g]
        x = numbers[f]
        unit_ms = DAY_MS if plan.kinds[f] == RECENCY else MINUTE_MS
        for j in range(thresholds.starts[f], thresholds.starts[f + 1]):
            t = thresholds.values[j]
            # With a millisecond to spare, for the value was rounded.
            if np.isnan(t) or (0.0 <= x <= t and (t - x) * unit_ms <= until - now + 1):
                return False
    return True


@inlined
def crossing_of(row, s, slabs, now, gap_ms, plan, thresholds, room):
    """One of `next_crossing_ms`: of a shopper's PROFILE_ROW and SESSION_ROW as of `now`; `room` Room of the plan."""
    at = NEVER
    since = np.int64(-1)
    spread = False
    ends = s.end[0] + gap_ms + 1 if s.open > 0 and now <= s.end[0] + gap_ms else NEVER
    for f in range(len(plan.kinds)):
        if thresholds.starts[f] == thresholds.starts[f + 1]:
            continue
        kind, first = plan.kinds[f], plan.first[f]
        if kind == WINDOW or kind == ACTIVE_DAYS:
            if not spread:
                spread = True
                _spread_tiles(slabs.cells, row.cells, now, plan, room.tiles, room.days)
            if kind == WINDOW:
                slot, window = first // WINDOWS, first % WINDOWS
                at = _emptying_until(thresholds, f, room.tiles[slot, window], window, plan.second[f], now, at)
            else:
                at = _emptying_until(thresholds, f, room.days, 3, 1, now, at)
        elif kind == RECENCY:
            if row.newest[first] != 0:
                at = _growing_until(thresholds, f, row.newest[first], DAY_MS, now, at)
        elif SESSION_EVENTS <= kind <= SESSION_ORDERS:
            if ends < at and _crosses(thresholds, f, session_figure(s, kind), 0.0):
                at = ends
        elif kind == CART_MINUTES:
            if since < 0:
                since = _cart_since(slabs, row, room.cart[0], room.held)
            if since != 0:
                at = _growing_until(thresholds, f, since, MINUTE_MS, now, at)
    return at


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
    profiles, sessions, slabs, plan, thresholds = borrowed((profiles, sessions, slabs, plan, thresholds))
    room = room_for(plan)
    for i in range(n):
        row, s = profiles.rows[who[i]], sessions.rows[who[i]]
        out[i] = crossing_of(row, s, slabs, as_of[i], gap_ms, plan, thresholds, room)
    room.cart[0].count = 0  # a record does not keep its array alive: used to the end, it is not freed before
