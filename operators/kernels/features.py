"""What the models see of a shopper, computed from the row: the vector x, and the profile rows that carry it on."""

from __future__ import annotations

import math

import numpy as np

from operators.kernels.profile_parts import DAY_MS
from operators.kernels.windows import WINDOWS, window_sums
from state.batches import MONEY_UNIT, RECENT_ITEMS
from state.compiled import kernel
from state.profile_table import (
    CARTS,
    CATEGORY,
    CLICKS,
    ID_CHUNK,
    ITEMS_BOUGHT,
    MEASURE_TAGS,
    ORDERS_KEPT,
    PIECE_UNIT,
    PURCHASES,
    SEARCHES,
    SPEND,
    VIEWS,
)


@kernel
def focus_of(cells, row, tag):
    """The share of the heaviest value of one kind of taste; 0 where there is none."""
    heaviest = total = np.int64(0)
    c = np.int64(row.tastes) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            if chunk.tags[k] == tag:
                total += chunk.amounts[k]
                heaviest = max(heaviest, chunk.amounts[k])
        c = np.int64(chunk.next) - 1
    return heaviest / total if total > 0 else 0.0


@kernel
def favourite_of(cells, values, row, tag):
    """The hash of the heaviest value of one kind, of equally heavy ones the smallest; 0 where there is none."""
    heaviest = np.int64(0)
    favourite = np.uint64(0)
    c = np.int64(row.tastes) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            if chunk.tags[k] == tag and chunk.amounts[k] >= heaviest and chunk.amounts[k] > 0:
                value = values.rows[chunk.keys[k]].hash
                favourite = min(favourite, value) if chunk.amounts[k] == heaviest else value
                heaviest = chunk.amounts[k]
        c = np.int64(chunk.next) - 1
    return favourite


@kernel
def _days_since(ts, now):
    """Days from a time to now; -1 where there was none."""
    return (now - ts) / DAY_MS if ts > 0 else -1.0


@kernel
def _order_gaps(row):
    """Mean and spread of the gaps between orders, in days (`profile_parts.order_gaps`)."""
    gaps = np.int64(row.gap_orders) - 1
    if gaps < 1:
        return 0.0, 0.0
    mean = (row.order_ts[0] - row.gaps_from_ts) / DAY_MS / gaps
    if gaps == 1:
        return mean, 0.0
    squares = row.gap_squares
    for k in range(1, ORDERS_KEPT):
        if row.order_ts[k] > 0:
            squares += ((row.order_ts[k - 1] - row.order_ts[k]) / DAY_MS) ** 2
    return mean, math.sqrt(max(squares / gaps - mean * mean, 0.0))


@kernel
def model_features(row, s, cells, now, gap_ms, x):
    """The models' features of a row (PROFILE_ROW, its SESSION_ROW, the slab of cells) as of `now` (ms), in the order of
    MODEL_FEATURES, into x float32."""
    sums = np.empty((MEASURE_TAGS, WINDOWS), np.int64)
    active = window_sums(cells, row.cells, now, sums)
    x[0] = sums[VIEWS, 1]
    x[1] = sums[VIEWS, 3]
    x[2] = sums[CLICKS, 3]
    x[3] = sums[SEARCHES, 3]
    x[4] = sums[CARTS, 1]
    x[5] = sums[CARTS, 3]
    x[6] = sums[PURCHASES, 3]
    x[7] = sums[ITEMS_BOUGHT, 3] / PIECE_UNIT
    x[8] = sums[SPEND, 3] / MONEY_UNIT
    x[9] = row.spend / MONEY_UNIT / row.orders if row.orders > 0 else 0.0
    x[10] = s.closed + s.open
    x[11] = 0.0
    x[12] = 0.0
    if s.open > 0 and now <= s.end[0] + gap_ms:
        x[11] = s.events[0]
        x[12] = (s.end[0] - s.start[0]) / 60_000.0
    x[13] = active
    x[14] = row.price_sum / row.price_weight / 100.0 if row.price_weight > 0 else 0.0
    x[15] = focus_of(cells, row, CATEGORY)
    total = np.int64(0)
    for h in range(24):
        total += row.hours[h]
    for quarter in range(4):
        x[16 + quarter] = 0.0
    if total > 0:
        for h in range(24):
            x[16 + h // 6] += row.hours[h] / total
    x[20] = sums[PURCHASES, 2]
    x[21] = row.orders
    x[22] = row.spend / MONEY_UNIT
    x[23], x[24] = _order_gaps(row)
    x[25] = _days_since(row.newest[PURCHASES - 1], now)
    x[26] = _days_since(row.newest[CARTS - 1], now)
    x[27] = (row.event_ts - row.first_ts) / DAY_MS
    x[28] = s.carts[0] if x[11] > 0.0 else 0.0


@kernel
def describe(
    profiles,
    sessions,
    cells,
    values,
    ids,
    who,
    places,
    flags,
    flagged,
    now,
    gap_ms,
    out,
    id_bytes,
    fetches,
    fetched_max,
):
    """Write the PROFILE rows of the shoppers in `who`: features, recent items, favourite category (a number of
    `values`), ids; and FETCH rows of the acting ones.

    `flags` int32[places, 3]: events in this batch, fresh, erased. The first `flagged` places acted in this batch (their
    features are as of their newest event), the others were swept (as of `now`). Returns (bytes of ids, fetches).
    """
    at = 0
    n_fetches = 0
    for p in range(places):
        row = profiles.rows[who[p]]
        s = sessions.rows[who[p]]
        one = out[p]
        one.user = row.hash
        one.event_ts = row.event_ts
        one.version = row.events
        one.row = who[p]
        one.user_at = at
        one.user_len = row.id_len
        base = row.id_chunk * ID_CHUNK
        for k in range(row.id_len):
            id_bytes[at + k] = ids[base + k]
        at += row.id_len
        one.acts = flags[p, 0]
        one.fresh = flags[p, 1]
        one.erased = flags[p, 2]
        one.rules = row.rules
        one.recent_n = s.recent_n
        for k in range(RECENT_ITEMS):
            one.recent[k] = s.recent[k]
        one.favourite = favourite_of(cells, values, row, CATEGORY)
        model_features(row, s, cells, row.event_ts if p < flagged else max(now, row.event_ts), gap_ms, one.x)
        if p < flagged and one.acts > 0:
            for k in range(min(np.int64(s.recent_n), fetched_max)):
                fetches[n_fetches].item = s.recent[k]
                fetches[n_fetches].position = p
                fetches[n_fetches].slot = k
                n_fetches += 1
    return at, n_fetches
