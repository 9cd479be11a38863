"""What happens because nothing happens: carts left behind, visits without an order, shoppers who stay away.

A trigger follows from its cause (a cart act, a session, an act) and from nothing coming in between until its time `at`.
Mostly that can be read off the row as it stands. Where a later act takes the cause's place before the watermark has
passed `at`, the trigger goes to a short list of those that wait; a late act that came in between takes it off again.
It fires when the watermark has passed `at` by the lateness. So what fires depends on the events, not on how they were
batched, or on when anybody looked.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.carts import load, pieces_after
from operators.kernels.slabs import give_back, take_row
from state.batches import BROWSED, CART_ABANDONED, LAPSED, TRIGGER
from state.compiled import kernel
from state.profile_table import CART_ACTS, PENDING_MAX

NEVER = np.int64(2**62)

(
    GAP,
    LATENESS,
    PURCHASE_HORIZON,
    CHURN_HORIZON,
    HALF_LIFE,
    SAMPLE_EVERY,
    CART_MS,
    DEPTH_MIN,
    LAPSED_MS,
    TTL,
    VALUES_MAX,
    FACTS_MAX,
) = range(12)
"""Places in the array of limits (int64; times in ms) that the kernels of the profile step are given."""


@kernel
def _take_off(pending, row, k):
    p = pending.rows[row.pending - 1]
    n = np.int64(p.count) - 1
    for j in range(k, n):
        p.cause[j] = p.cause[j + 1]
        p.at[j] = p.at[j + 1]
        p.trigger[j] = p.trigger[j + 1]
    p.cause[n] = 0
    p.at[n] = 0
    p.trigger[n] = 0
    p.count = n
    pending.dirty[row.pending - 1] = 1
    if n == 0:
        give_back(pending, row.pending - 1)
        row.pending = 0


@kernel
def _wait(pending, row, trigger, cause, at):
    """Put a trigger on the list of those that wait; with no room the one that has waited longest is given up."""
    if row.pending == 0:
        row.pending = take_row(pending) + 1
    p = pending.rows[row.pending - 1]
    if p.count == PENDING_MAX:
        _take_off(pending, row, 0)
        pending.head[3] += 1
    n = np.int64(p.count)
    p.cause[n] = cause
    p.at[n] = at
    p.trigger[n] = trigger
    p.count = n + 1
    pending.dirty[row.pending - 1] = 1


@kernel
def _came_between(pending, row, trigger, ts):
    """Something at `ts` that keeps a trigger from following from what was before it."""
    if row.pending == 0:
        return
    k = np.int64(pending.rows[row.pending - 1].count) - 1
    while k >= 0:
        p = pending.rows[row.pending - 1]
        if p.trigger[k] == trigger and p.cause[k] < ts <= p.at[k]:
            _take_off(pending, row, k)
            if row.pending == 0:
                return
        k -= 1


@kernel
def _is_waiting(pending, row, trigger, cause):
    if row.pending > 0:
        p = pending.rows[row.pending - 1]
        for k in range(np.int64(p.count)):
            if p.trigger[k] == trigger and p.cause[k] == cause:
                return True
    return False


@kernel
def _is_left(cart, k, told, until, cart_ms, held):
    """Is the cart left behind after its act at place k, nothing else coming before `until`?"""
    after = cart.ts[k - 1] if k > 0 else until
    ts = cart.ts[k]
    return ts > told and min(after, until) > ts + cart_ms and pieces_after(cart, k, held) > 0


@kernel
def _wait_for_carts(slabs, row, cart, until, limits, held):
    """Acts of the cart are about to go: what was left behind after those up to `until` waits from now on."""
    for k in range(np.int64(cart.count) - 1, -1, -1):
        ts = cart.ts[k]
        if ts <= until and _is_left(cart, k, row.cart_told, until, limits[CART_MS], held):
            if not _is_waiting(slabs.pending, row, CART_ABANDONED, ts):
                _wait(slabs.pending, row, CART_ABANDONED, ts, ts + limits[CART_MS])


@kernel
def before_act(slabs, row, ts, limits):
    """An act at `ts` is about to be taken in: what it overtakes waits from now on."""
    if row.last_ts > 0 and ts > row.last_ts + limits[LAPSED_MS] and row.last_ts > row.lapsed_told:
        _wait(slabs.pending, row, LAPSED, row.last_ts, row.last_ts + limits[LAPSED_MS])
    _came_between(slabs.pending, row, LAPSED, ts)


@kernel
def before_closing(slabs, row, s, limits):
    """The oldest open session is about to be closed for good."""
    k = np.int64(s.open) - 1
    if _bought_nothing(s, k, limits):
        _wait(slabs.pending, row, BROWSED, s.end[k], s.end[k] + limits[GAP])


@kernel
def before_cart_act(slabs, row, cart, ts, limits, held):
    """A cart act at `ts` is about to be taken in; `cart` (CART) is the shopper's."""
    _came_between(slabs.pending, row, CART_ABANDONED, ts)
    if row.cart > 0:
        if cart.count == CART_ACTS and ts > cart.ts[CART_ACTS - 1]:  # its oldest goes, on which later ones may build
            _wait_for_carts(slabs, row, cart, ts, limits, held)


@kernel
def before_order(slabs, row, cart, ts, limits, held):
    """An order at `ts` is about to empty the cart; `cart` (CART) is the shopper's."""
    _came_between(slabs.pending, row, CART_ABANDONED, ts)
    if row.cart > 0:
        _wait_for_carts(slabs, row, cart, ts, limits, held)


@kernel
def _bought_nothing(s, k, limits):
    return s.told[k] == 0 and s.orders[k] == 0 and s.depth[k] >= limits[DEPTH_MIN]


@kernel
def _emit(out, n, position, trigger, at):
    out[n].position = position
    out[n].kind = TRIGGER
    out[n].before = -1
    out[n].after = trigger
    out[n].at = at
    return n + 1


@kernel
def fire(slabs, row, s, cart, position, watermark, limits, held, out, n):
    """Write the triggers that the watermark has passed to `out` (TRANSITION) from place n on; the next free place.

    There must be room for PENDING_MAX + CART_ACTS + 4 more; `cart` (CART) is written to. The caller
    marks the rows as changed.
    """
    passed = watermark - limits[LATENESS]
    if row.pending > 0:
        k = 0
        while row.pending > 0 and k < pending_count(slabs.pending, row):
            p = slabs.pending.rows[row.pending - 1]
            if p.at[k] <= passed:
                n = _emit(out, n, position, p.trigger[k], p.at[k])
                if p.trigger[k] == CART_ABANDONED:
                    row.cart_told = max(row.cart_told, p.cause[k])
                elif p.trigger[k] == LAPSED:
                    row.lapsed_told = max(row.lapsed_told, p.cause[k])
                _take_off(slabs.pending, row, k)
            else:
                k += 1
    if row.cart > 0:
        load(slabs.carts, row.cart, cart)
        for k in range(np.int64(cart.count) - 1, -1, -1):
            at = cart.ts[k] + limits[CART_MS]
            if at <= passed and _is_left(cart, k, row.cart_told, NEVER, limits[CART_MS], held):
                n = _emit(out, n, position, CART_ABANDONED, at)
                row.cart_told = cart.ts[k]
    for k in range(np.int64(s.open) - 1, -1, -1):
        at = s.end[k] + limits[GAP]
        if at <= passed and _bought_nothing(s, k, limits):
            n = _emit(out, n, position, BROWSED, at)
            s.told[k] = 1
    at = row.last_ts + limits[LAPSED_MS]
    if row.last_ts > row.lapsed_told and at <= passed:
        n = _emit(out, n, position, LAPSED, at)
        row.lapsed_told = row.last_ts
    return n


@kernel
def pending_count(pending, row):
    """How many triggers of a shopper wait."""
    return np.int64(pending.rows[row.pending - 1].count) if row.pending > 0 else np.int64(0)


@kernel
def due_ms(slabs, row, s, cart, limits, held):
    """The watermark at which a shopper is to be looked at next for what follows from absence: a trigger, a decision
    whose time is up, a rule segment that time may change, the end of the row's life. `cart` (CART) is written to."""
    if row.refused:
        return NEVER
    at = NEVER
    for k in range(pending_count(slabs.pending, row)):
        at = min(at, slabs.pending.rows[row.pending - 1].at[k])
    if row.cart > 0:
        load(slabs.carts, row.cart, cart)
        for k in range(np.int64(cart.count)):
            if cart.ts[k] + limits[CART_MS] < at and _is_left(cart, k, row.cart_told, NEVER, limits[CART_MS], held):
                at = cart.ts[k] + limits[CART_MS]
    for k in range(np.int64(s.open)):
        if _bought_nothing(s, k, limits):
            at = min(at, s.end[k] + limits[GAP])
    if row.last_ts > row.lapsed_told:
        at = min(at, row.last_ts + limits[LAPSED_MS])
    at += limits[LATENESS]
    if row.purchase_decision > 0:
        at = min(at, slabs.decisions.rows[row.purchase_decision - 1].due + 1)
    if row.churn_decision > 0:
        at = min(at, slabs.decisions.rows[row.churn_decision - 1].due + 1)
    if row.crossing > 0:
        at = min(at, row.crossing + 1)  # events may come at that very time, and count first
    return min(at, row.event_ts + limits[TTL])
