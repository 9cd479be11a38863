"""Tiled ring windows of one shopper's row: add to a tile, sum the newest tiles."""

from __future__ import annotations

import numpy as np

from state.compiled import kernel
from state.profile_table import DAYS, HOURS, MINUTES, TILE_MS, TILES

M_MS, H_MS, D_MS = TILE_MS
M_N, H_N, D_N = TILES
VIEWS, CLICKS, SEARCHES, CARTS, PURCHASES, ACTS = range(6)
U2_MAX = 65535
I4_MAX = 2**31 - 1
COUNT_RINGS = 6


@kernel
def _advance_minutes(row, tile):
    head = np.int64(row.heads[MINUTES])
    if tile > head:
        for t in range(max(head + 1, tile - M_N + 1), tile + 1):
            k = t % M_N
            for m in range(COUNT_RINGS):
                row.minutes[m, k] = 0
            row.items_minutes[k] = 0
            row.spend_minutes[k] = 0
        row.heads[MINUTES] = tile
        return True
    return tile > head - M_N


@kernel
def _advance_hours(row, tile):
    head = np.int64(row.heads[HOURS])
    if tile > head:
        for t in range(max(head + 1, tile - H_N + 1), tile + 1):
            k = t % H_N
            for m in range(COUNT_RINGS):
                row.hours_counts[m, k] = 0
            row.items_hours[k] = 0
            row.spend_hours[k] = 0
        row.heads[HOURS] = tile
        return True
    return tile > head - H_N


@kernel
def _advance_days(row, tile):
    head = np.int64(row.heads[DAYS])
    if tile > head:
        for t in range(max(head + 1, tile - D_N + 1), tile + 1):
            k = t % D_N
            for m in range(COUNT_RINGS):
                row.days[m, k] = 0
            row.items_days[k] = 0
            row.spend_days[k] = 0
        row.heads[DAYS] = tile
        return True
    return tile > head - D_N


@kernel
def advance(row, ts):
    """Move the rings of a row (a PROFILE_ROW record) on to event time `ts` (ms), emptying the tiles passed over.

    Returns which rings can still take an event of that time in, as bits 1 (minutes), 2 (hours), 4 (days): 0 is late
    for every window.
    """
    alive = 0
    if _advance_minutes(row, ts // M_MS):
        alive |= 1
    if _advance_hours(row, ts // H_MS):
        alive |= 2
    if _advance_days(row, ts // D_MS):
        alive |= 4
    return alive


@kernel
def _more(ring, measure, slot):
    if ring[measure, slot] < U2_MAX:
        ring[measure, slot] += 1


@kernel
def count(row, alive, ts, measure):
    """Count one event of a measure in the tiles of the rings that are alive."""
    if alive & 1:
        _more(row.minutes, measure, (ts // M_MS) % M_N)
    if alive & 2:
        _more(row.hours_counts, measure, (ts // H_MS) % H_N)
    if alive & 4:
        _more(row.days, measure, (ts // D_MS) % D_N)


@kernel
def _clipped(value):
    return min(max(value, -I4_MAX), I4_MAX)


@kernel
def add_amounts(row, alive, ts, pieces, money):
    """Add bought pieces (thousandths) and money (ten-thousandths), both negative for returns, to the tiles alive."""
    if alive & 1:
        k = (ts // M_MS) % M_N
        row.items_minutes[k] = _clipped(np.int64(row.items_minutes[k]) + pieces)
        row.spend_minutes[k] += money
    if alive & 2:
        k = (ts // H_MS) % H_N
        row.items_hours[k] = _clipped(np.int64(row.items_hours[k]) + pieces)
        row.spend_hours[k] += money
    if alive & 4:
        k = (ts // D_MS) % D_N
        row.items_days[k] = _clipped(np.int64(row.items_days[k]) + pieces)
        row.spend_days[k] += money


def window_reference(events: list[tuple[int, int]], tile_ms: int, tiles: int, ring_tiles: int, now_ms: int) -> int:
    """What a ring says of a list of (time ms, amount) taken in in that order, from first principles.

    An event counts when its tile was alive on arrival (newer than the newest tile less the ring's length) and is still
    in the window: among the newest `tiles` tiles at `now_ms` and the newest `ring_tiles` at the newest event.
    """
    kept: list[tuple[int, int]] = []
    head = -(10**9)
    for ts, amount in events:
        tile = ts // tile_ms
        head = max(head, tile)
        if tile > head - ring_tiles:
            kept.append((tile, amount))
    now = now_ms // tile_ms
    return sum(amount for tile, amount in kept if max(now - tiles, head - ring_tiles) < tile <= min(now, head))
