"""The compiled heart of the profile step: take events in, one by one, and sweep for what their absence means."""

from __future__ import annotations

import numpy as np

from operators.kernels.features import model_features
from operators.kernels.neighbours import pairs_of
from operators.kernels.windows import ACTS, CARTS, CLICKS, PURCHASES, SEARCHES, VIEWS, add_amounts, advance, count
from state.batches import (
    ADD_TO_CART,
    CLICK,
    CONSENT,
    ERASE,
    KINDS,
    MONEY_UNIT,
    PURCHASE,
    RECENT_ITEMS,
    SEARCH,
    VIEW,
    WISHLIST,
)
from state.compiled import kernel
from state.features import DIMENSIONS
from state.profile_table import CATEGORIES, PIECE_UNIT, SEEN

TAKEN, DUPLICATE, REFUSED, LATE, NO_ROOM = range(5)
"""What became of an event: its status in `take_in`."""

MEASURE_OF = np.full(len(KINDS), -1, np.int8)
"""Which ring counts an event type."""
MEASURE_OF[[VIEW, CLICK, SEARCH, ADD_TO_CART, PURCHASE]] = VIEWS, CLICKS, SEARCHES, CARTS, PURCHASES


@kernel
def _half(elapsed_ms, half_life_ms):
    return np.float32(2.0 ** (-elapsed_ms / half_life_ms))


@kernel
def _local_hour(ts, zone_times, zone_offsets):
    k = np.searchsorted(zone_times, ts, side="right") - 1
    return ((ts + zone_offsets[max(k, 0)]) // 3_600_000) % 24


@kernel
def _take_category(row, category, weight):
    lightest = 0
    for c in range(CATEGORIES):
        if row.categories[c] == category:
            row.category_weights[c] += weight
            return
        if row.category_weights[c] < row.category_weights[lightest]:
            lightest = c
    row.categories[lightest] = category  # Space-Saving: the newcomer inherits what it displaces
    row.category_weights[lightest] += weight


@kernel
def _remember_item(row, item):
    n = np.int64(row.recent_n)
    if n == RECENT_ITEMS:
        n -= 1
    for k in range(n, 0, -1):
        row.recent[k] = row.recent[k - 1]
    row.recent[0] = item
    row.recent_n = n + 1
    if row.session_items < RECENT_ITEMS:
        row.session_items += 1


@kernel
def _keep_sample(x, y, ts, n, features, outcome, at):
    if n < len(x):
        for k in range(len(features)):
            x[n, k] = features[k]
        y[n] = outcome
        ts[n] = at
    return n + 1


@kernel
def close_decision_purchase(row, outcome, horizon_ms, x, y, ts, n):
    """Close a row's open purchase decision: a sample with its outcome; how many samples there are now."""
    n = _keep_sample(x, y, ts, n, row.purchase_x, outcome, row.purchase_due - horizon_ms)
    row.purchase_due = 0
    for k in range(len(row.purchase_x)):
        row.purchase_x[k] = 0
    return n


@kernel
def close_decision_churn(row, outcome, horizon_ms, x, y, ts, n):
    """Close a row's open churn decision: a sample with its outcome; how many samples there are now."""
    n = _keep_sample(x, y, ts, n, row.churn_x, outcome, row.churn_due - horizon_ms)
    row.churn_due = 0
    for k in range(len(row.churn_x)):
        row.churn_x[k] = 0
    return n


@kernel
def _is_duplicate(row, event_id):
    for k in range(SEEN):
        if row.seen[k] == event_id:
            return True
    row.seen[row.seen_at] = event_id
    row.seen_at = (row.seen_at + 1) % SEEN
    return False


@kernel
def _forget(words, row, rows):
    """Zero a row but for its key: the shopper asked to be forgotten."""
    h, chunk, length = rows[row].hash, rows[row].id_chunk, rows[row].id_len
    for k in range(words.shape[1]):
        words[row, k] = np.uint64(0)
    rows[row].hash = h
    rows[row].id_chunk = chunk
    rows[row].id_len = length


@kernel
def _is_order(events, head):
    """Has the purchase that begins at `head` a line that is not a return?"""
    i = head
    while i < len(events) and (i == head or not events[i].head):
        if events[i].value > 0:
            return True
        i += 1
    return False


@kernel
def take_in(
    events,
    row_of,
    rows,
    words,
    dirty,
    shard,
    zone,
    limits,
    measure_of,
    place_of,
    who,
    flags,
    status,
    acts,
    pairs,
    touches,
    samples,
    purchases,
    churns,
):
    """Take a batch of one user shard in, event by event, in order.

    `events` EVENT[n], `row_of` int32[n] their rows (-1: no room); `rows`, `words`, `dirty` the profile table; `shard`
    SHARD_ROW[1]; `zone` (times, offsets) of the shop's clock; `limits` int64: session gap, purchase horizon, churn
    horizon, category half-life (ms), events a sample; `measure_of` int8[kinds] which ring counts a kind (-1: none).
    Out: `place_of` int32[rows] (all -1 on entry) the place of each row touched, `who` int32[n] the rows by place,
    `flags` int32[n, 3] by place: acts, fresh, erased; `status` uint8[n]; `acts` ACT[n], `pairs` PAIR[10 n], `touches`
    TOUCH[n]; `samples`, `purchases`, `churns` each (x, y, ts) arrays. Returns the numbers of places, acts, pairs,
    touches, samples, purchases, churns.
    """
    gap_ms, purchase_ms, churn_ms, half_life_ms, sample_every = limits[0], limits[1], limits[2], limits[3], limits[4]
    sx, sy, st = samples
    px, py, pt = purchases
    cx, cy, ct = churns
    zone_times, zone_offsets = zone
    x = np.empty(DIMENSIONS, np.float32)
    places = n_acts = n_pairs = n_touches = n_samples = n_purchases = n_churns = 0
    state = shard[0]
    skipping = False  # the further lines of an order share the fate of its first
    for i in range(len(events)):
        event = events[i]
        r = row_of[i]
        if r < 0:
            status[i] = NO_ROOM
            continue
        row = rows[r]
        ts = event.ts
        kind = event.kind
        p = place_of[r]
        if p < 0:
            p = places
            place_of[r] = p
            who[p] = r
            flags[p, 0] = 0
            flags[p, 1] = 1 if row.events == 0 and row.refused == 0 else 0
            flags[p, 2] = 0
            places += 1
        dirty[r] = 1
        if event.head:
            skipping = True
            if kind == ERASE:
                _forget(words, r, rows)
                flags[p, 0] = 0
                flags[p, 1] = 0
                flags[p, 2] = 1
                status[i] = TAKEN
                continue
            if row.refused and kind != CONSENT:
                status[i] = REFUSED
                continue
            if _is_duplicate(row, event.event_id):
                status[i] = DUPLICATE
                continue
            skipping = False
            if kind == CONSENT:
                row.refused = 0 if event.value > 0 else 1
        elif skipping:
            status[i] = status[i - 1]
            continue

        order = kind == PURCHASE and event.head and _is_order(events, i)
        measure = measure_of[kind]
        if kind == PURCHASE and not order:
            measure = -1
        if event.head:
            if row.purchase_due > 0 and ((order and ts >= row.purchase_due - purchase_ms) or ts > row.purchase_due):
                bought_in_time = 1 if ts <= row.purchase_due else 0
                n_purchases = close_decision_purchase(row, bought_in_time, purchase_ms, px, py, pt, n_purchases)
            if row.churn_due > 0 and ts >= row.churn_due - churn_ms:
                lapsed = 1 if ts > row.churn_due else 0
                n_churns = close_decision_churn(row, lapsed, churn_ms, cx, cy, ct, n_churns)
        first = row.events == 0
        if first and flags[p, 2]:
            flags[p, 1] = 1  # erased and come back within one batch
        if first:
            row.first_ts = ts
            row.last_ts = ts
            row.session_start_ts = ts
            row.sessions = 1
            row.heads[0] = ts // 300_000
            row.heads[1] = ts // 3_600_000
            row.heads[2] = ts // 86_400_000
        alive = advance(row, ts)
        status[i] = TAKEN if alive else LATE
        elapsed = ts - row.last_ts
        if elapsed > gap_ms:
            row.sessions += 1
            row.session_start_ts = ts
            row.session_events = 0
            row.session_items = 0
        weight = np.float32(1.0)
        if elapsed > 0:
            fade = _half(elapsed, half_life_ms)
            for c in range(CATEGORIES):
                row.category_weights[c] *= fade
            row.category_total *= fade
            row.price_weight *= fade
            row.last_ts = ts
        elif elapsed < 0:
            weight = _half(-elapsed, half_life_ms)
            row.first_ts = min(row.first_ts, ts)
        if event.head:
            row.events += 1
            flags[p, 0] += 1
            if ts >= row.session_start_ts:
                row.session_events += 1
            row.hours[_local_hour(ts, zone_times, zone_offsets)] += 1
            count(row, alive, ts, ACTS)
            if measure >= 0:
                count(row, alive, ts, measure)
        bought = False
        if kind == PURCHASE:
            pieces = np.int64(np.round(event.value * PIECE_UNIT))
            money = np.int64(np.round(event.value * event.price))
            row.items_bought += pieces
            row.spend += money
            add_amounts(row, alive, ts, pieces, money)
            bought = event.value > 0
            if not bought:
                row.returns += 1
            if order:
                row.orders += 1
                row.last_purchase_ts = max(row.last_purchase_ts, ts)

        strength = np.float32(0.0)
        if kind == VIEW or kind == CLICK:
            strength = np.float32(1.0)
        elif kind == WISHLIST:
            strength = np.float32(1.5)
        elif kind == ADD_TO_CART:
            strength = np.float32(2.0)
        elif bought:
            strength = np.float32(3.0)
        item = event.item
        if item != np.uint64(0) and strength > 0:
            before = row.recent[0] if row.recent_n > 0 else np.uint64(0)
            if before != item:
                acts[n_acts].position = p
                acts[n_acts].item = item
                acts[n_acts].previous = before
                n_acts += 1
                n_pairs = pairs_of(item, row.recent, min(row.recent_n, row.session_items), strength, pairs, n_pairs)
                _remember_item(row, item)
            touch = touches[n_touches]
            touch.item = item
            touch.category = event.category
            touch.ts = ts
            touch.price = event.price
            touch.weight = strength
            n_touches += 1
        if event.category != np.uint64(0) and strength > 0:
            _take_category(row, event.category, weight)
            row.category_total += weight
        if event.price > 0 and strength > 0 and weight > 0:
            row.price_weight += weight
            row.price_mean += (np.float32(event.price / MONEY_UNIT) - row.price_mean) * weight / row.price_weight

        state.watermark_ts = max(state.watermark_ts, ts)
        if i + 1 == len(events) or events[i + 1].head:
            state.events += 1
            state.samples_wait -= 1
            if state.samples_wait <= 0:
                state.samples_wait = sample_every
                model_features(row, row.last_ts, x)
                n_samples = _keep_sample(sx, sy, st, n_samples, x, 0, row.last_ts)
                if row.purchase_due == 0:
                    row.purchase_due = row.last_ts + purchase_ms
                    for k in range(len(x)):
                        row.purchase_x[k] = x[k]
                if row.churn_due == 0:
                    row.churn_due = row.last_ts + churn_ms
                    for k in range(len(x)):
                        row.churn_x[k] = x[k]
    return places, n_acts, n_pairs, n_touches, n_samples, n_purchases, n_churns


@kernel
def sweep(rows, dirty, begin, end, now, limits, place_of, who, places, purchases, churns):
    """Look at rows[begin:end] for what happened because nothing happened: decisions whose time has run out.

    Rows not yet in `who` are appended to it (they are re-scored as of `now`). Returns (places, purchases, churns).
    """
    px, py, pt = purchases
    cx, cy, ct = churns
    n_purchases = n_churns = 0
    for r in range(begin, end):
        row = rows[r]
        if row.hash == np.uint64(0) or row.events == 0 or row.refused:
            continue
        if 0 < row.purchase_due < now and n_purchases < len(px):
            n_purchases = close_decision_purchase(row, 0, limits[1], px, py, pt, n_purchases)
            dirty[r] = 1
        if 0 < row.churn_due < now and n_churns < len(cx):
            n_churns = close_decision_churn(row, 1, limits[2], cx, cy, ct, n_churns)
            dirty[r] = 1
        if place_of[r] < 0:
            place_of[r] = places
            who[places] = r
            places += 1
    return places, n_purchases, n_churns
