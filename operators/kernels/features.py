"""What the models see of a shopper, computed from the row: the vector x, and the profile rows that carry it on."""

from __future__ import annotations

import numpy as np

from operators.kernels.windows import ACTS, CARTS, CLICKS, D_MS, D_N, H_MS, H_N, PURCHASES, SEARCHES, VIEWS
from state.batches import MONEY_UNIT, RECENT_ITEMS
from state.compiled import kernel
from state.profile_table import CATEGORIES, DAYS, HOURS, ID_CHUNK, PIECE_UNIT


@kernel
def model_features(row, now, x):
    """The models' features of a row (PROFILE_ROW) as of `now` (ms), in the order of MODEL_FEATURES, into x float32.

    One pass over each ring: this code is compiled into every kernel that needs features, and short code compiles fast.
    """
    for k in range(len(x)):
        x[k] = 0.0
    tile = now // H_MS
    head = np.int64(row.heads[HOURS])
    for t in range(max(tile, head) - H_N + 1, min(tile, head) + 1):
        k = t % H_N
        x[0] += row.hours_counts[VIEWS, k]
        x[4] += row.hours_counts[CARTS, k]
    tile = now // D_MS
    head = np.int64(row.heads[DAYS])
    pieces = money = np.int64(0)
    for t in range(max(tile, head) - D_N + 1, min(tile, head) + 1):
        k = t % D_N
        x[1] += row.days[VIEWS, k]
        x[2] += row.days[CLICKS, k]
        x[3] += row.days[SEARCHES, k]
        x[5] += row.days[CARTS, k]
        x[6] += row.days[PURCHASES, k]
        x[13] += row.days[ACTS, k] > 0
        pieces += row.items_days[k]
        money += row.spend_days[k]
    x[7] = pieces / PIECE_UNIT
    x[8] = money / MONEY_UNIT
    x[9] = row.spend / MONEY_UNIT / row.orders if row.orders > 0 else 0.0
    x[10] = row.sessions
    x[11] = row.session_events
    x[12] = max(row.last_ts - row.session_start_ts, 0) / 60_000.0
    x[14] = row.price_mean
    heaviest = np.float32(0.0)
    for c in range(CATEGORIES):
        heaviest = max(heaviest, row.category_weights[c])
    x[15] = heaviest / row.category_total if row.category_total > 0 else 0.0
    total = np.int64(0)
    for h in range(24):
        total += row.hours[h]
    if total > 0:
        for h in range(24):
            x[16 + h // 6] += row.hours[h] / total


@kernel
def describe(rows, ids, who, places, flags, flagged, now, out, id_bytes, fetches, fetched_max):
    """Write the PROFILE rows of the shoppers in `who`: features, recent items, ids; and FETCH rows of the acting ones.

    The first `flagged` places acted in this batch (their features are as of their newest event), the others were swept
    (as of `now`). Returns (bytes of ids, fetches).
    """
    at = 0
    n_fetches = 0
    for p in range(places):
        row = rows[who[p]]
        one = out[p]
        one.user = row.hash
        one.event_ts = row.last_ts
        one.version = row.events
        one.row = who[p]
        one.user_at = at
        one.user_len = row.id_len
        base = row.id_chunk * ID_CHUNK
        for k in range(row.id_len):
            id_bytes[at + k] = ids[base + k]
        at += row.id_len
        acted = p < flagged
        one.acts = flags[p, 0] if acted else 0
        one.fresh = flags[p, 1] if acted else 0
        one.erased = flags[p, 2] if acted else 0
        one.recent_n = row.recent_n
        for k in range(RECENT_ITEMS):
            one.recent[k] = row.recent[k]
        model_features(row, row.last_ts if acted else max(now, row.last_ts), one.x)
        if acted and one.acts > 0:
            for k in range(min(np.int64(row.recent_n), fetched_max)):
                fetches[n_fetches].item = row.recent[k]
                fetches[n_fetches].position = p
                fetches[n_fetches].slot = k
                n_fetches += 1
    return at, n_fetches
