"""Parts of a shopper's row that are worked upon one at a time: orders, attributes, decisions, and the row's end."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from operators.kernels.slabs import free_chain, give_back, take_row
from state.compiled import kernel
from state.profile_table import ATTRIBUTES_MAX, ORDERS_KEPT

DAY_MS = 86_400_000.0


@kernel
def open_place(place_of, who, flags, p, r, fresh):
    """Give row r, which has none yet, place p: in `place_of` int32[rows], `who` int32[places] and `flags`
    int32[places, 3] (acts, fresh, erased)."""
    place_of[r] = p
    who[p] = r
    flags[p, 0] = 0
    flags[p, 1] = fresh
    flags[p, 2] = 0


@kernel
def mark(marks, n, p, what, event, category, pieces):
    """Note at place n what the rules of lists have to know of an event; the next place."""
    one = marks[n]
    one.position = p
    one.what = what
    one.item = event.item
    one.category = category
    one.ts = event.ts
    one.pieces = pieces
    return n + 1


@kernel
def take_order(row, ts):
    """An order at `ts`: to its place among the newest; one older than all of them is left out of the gaps."""
    row.orders += 1
    kept = 0
    while kept < ORDERS_KEPT and row.order_ts[kept] > 0:
        kept += 1
    if kept == ORDERS_KEPT:
        last = row.order_ts[ORDERS_KEPT - 1]
        if ts < last:
            return
        behind = min(row.order_ts[ORDERS_KEPT - 2], ts)
        row.gap_squares += ((behind - last) / DAY_MS) ** 2
        kept -= 1
    if row.gap_orders == 0 or ts < row.gaps_from_ts:
        row.gaps_from_ts = ts
    row.gap_orders += 1
    at = kept
    while at > 0 and row.order_ts[at - 1] < ts:
        row.order_ts[at] = row.order_ts[at - 1]
        at -= 1
    row.order_ts[at] = ts


@kernel
def gap_mean(row):
    """The mean time between orders, in days; 0 before the second."""
    gaps = np.int64(row.gap_orders) - 1
    return (row.order_ts[0] - row.gaps_from_ts) / DAY_MS / gaps if gaps >= 1 else 0.0


@kernel
def gap_spread(row):
    """The population standard deviation of the times between orders, in days; 0 before the third."""
    gaps = np.int64(row.gap_orders) - 1
    if gaps < 2:
        return 0.0
    kept = 0.0
    for k in range(ORDERS_KEPT - 1):
        if row.order_ts[k + 1] != 0:
            days = (row.order_ts[k] - row.order_ts[k + 1]) / DAY_MS
            kept += days * days
    mean = gap_mean(row)
    variance = (row.gap_squares + kept) / gaps - mean * mean
    return math.sqrt(variance) if variance > 0.0 else 0.0


def order_gaps(row: np.void) -> tuple[float, float]:
    """`gap_mean` and `gap_spread` in plain Python, in operations that round alike everywhere: how `sum` and `**` round
    depends on the version of Python and of the C library."""
    kept = [int(ts) for ts in row["order_ts"] if ts]
    gaps = int(row["gap_orders"]) - 1
    if gaps < 1:
        return 0.0, 0.0
    squares = 0.0
    for later, earlier in pairwise(kept):
        days = (later - earlier) / DAY_MS
        squares += days * days
    mean = (kept[0] - int(row["gaps_from_ts"])) / DAY_MS / gaps
    variance = (float(row["gap_squares"]) + squares) / gaps - mean * mean
    return mean, math.sqrt(max(0.0, variance)) if gaps > 1 else 0.0


def gaps_reference(orders: list[int]) -> tuple[float, float]:
    """`order_gaps` of orders at these times, from its definition."""
    times = sorted(orders)
    gaps = [(b - a) / DAY_MS for a, b in pairwise(times)]
    if not gaps:
        return 0.0, 0.0
    mean = sum(gaps) / len(gaps)
    return mean, (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5


@kernel
def _clear_attribute(a, k):
    last = np.int64(a.count) - 1
    for j in range(k, last):
        a.names[j], a.values[j], a.ts[j], a.types[j] = a.names[j + 1], a.values[j + 1], a.ts[j + 1], a.types[j + 1]
    a.names[last], a.values[last], a.ts[last], a.types[last] = 0, 0, 0, 0
    a.count = last


@kernel
def set_attribute(attributes, row, event):
    """An attribute told by a `profile` event (EVENT row: name, value, type): the newest counts; equal times, the
    greatest value. Kept are those with the smallest hashes of names, in that order."""
    if row.attributes == 0:
        row.attributes = take_row(attributes) + 1
    a = attributes.rows[row.attributes - 1]
    attributes.dirty[row.attributes - 1] = 1
    value = event.category
    if event.price != 0:
        value = np.array([event.value]).view(np.uint64)[0]
    k = np.int64(0)
    while k < a.count and a.names[k] < event.item:
        k += 1
    if k < a.count and a.names[k] == event.item:
        if a.ts[k] > event.ts or (a.ts[k] == event.ts and a.values[k] >= value):
            return
    else:
        if k == ATTRIBUTES_MAX:
            return
        if a.count == ATTRIBUTES_MAX:
            _clear_attribute(a, ATTRIBUTES_MAX - 1)
        for j in range(np.int64(a.count), k, -1):
            a.names[j], a.values[j], a.ts[j], a.types[j] = a.names[j - 1], a.values[j - 1], a.ts[j - 1], a.types[j - 1]
        a.count += 1
    a.names[k] = event.item
    a.values[k] = value
    a.ts[k] = event.ts
    a.types[k] = event.price


@kernel
def keep_sample(samples, n, features, outcome, at, known_at):
    """Write a sample taken at `at`, whose outcome was known at `known_at`, to place n, where there is room; the next
    place."""
    x, y, ts, known_ts = samples
    if n < len(x):
        for k in range(len(features)):
            x[n, k] = features[k]
        y[n] = outcome
        ts[n] = at
        known_ts[n] = known_at
    return n + 1


@kernel
def open_decision(decisions, due, x):
    """Keep the features of a decision until its outcome is known; its reference."""
    r = take_row(decisions)
    decisions.rows[r].due = due
    for k in range(len(x)):
        decisions.rows[r].x[k] = x[k]
    return r + 1


@kernel
def close_decision(decisions, reference, outcome, horizon_ms, ts, samples, n):
    """A decision with its outcome, known by `ts`, becomes a sample; how many samples there are now."""
    decision = decisions.rows[reference - 1]
    n = keep_sample(samples, n, decision.x, outcome, decision.due - horizon_ms, min(ts, decision.due))
    give_back(decisions, reference - 1)
    return n


@kernel
def free_slabs(row, slabs):
    """Give back all that a shopper's row refers to."""
    free_chain(slabs.cells, row.cells)
    free_chain(slabs.cells, row.tastes)
    free_chain(slabs.cells, row.sequences)
    if row.purchase_decision > 0:
        give_back(slabs.decisions, row.purchase_decision - 1)
    if row.churn_decision > 0:
        give_back(slabs.decisions, row.churn_decision - 1)
    free_chain(slabs.carts, row.cart)
    if row.attributes > 0:
        give_back(slabs.attributes, row.attributes - 1)
    if row.pending > 0:
        give_back(slabs.pending, row.pending - 1)
    if row.rule_states > 0:
        give_back(slabs.rule_states, row.rule_states - 1)


@kernel
def release(profiles, sessions, slabs, members, r):
    """Zero a row but for its key, and give back all it refers to: the shopper is to be forgotten, and counts no longer
    in `members` (int64[RULES_MAX])."""
    row = profiles.rows[r]
    for k in range(len(members)):
        members[k] -= np.int64(row.rules >> np.uint64(k) & np.uint64(1))
    free_slabs(row, slabs)
    h, chunk, length = row.hash, row.id_chunk, row.id_len
    profiles.words[r, :] = np.uint64(0)
    sessions.words[r, :] = np.uint64(0)
    row.hash = h
    row.id_chunk = chunk
    row.id_len = length
    profiles.dirty[r] = 1
    sessions.dirty[r] = 1
