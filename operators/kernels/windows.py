"""Windows of one shopper: sums by tile and measure, in tiles that grow coarser as they age.

A cell's key is the number of the first 5-minute tile of its tile. While an act is in the hour of the shopper's newest
act its tile is 5 minutes, in the last 24 hours an hour, in the last 30 days a UTC day; what is older is dropped. A
window as of now begins no earlier than one as of the newest act, so no cell that is too coarse for a window lies in it,
and every window is exact to its own tile. What is kept depends on the acts alone, not on their order.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.slabs import add_cell, find_cell, remove_cell
from state.compiled import kernel
from state.profile_table import MEASURE_TAGS

TILE_MS = 300_000
HOUR_TILES, DAY_TILES = 12, 288
WINDOWS = 4
CUSTOM_TAG = 1 << 31


@kernel
def coarsened(tile, head):
    """The key of 5-minute tile `tile` when the newest act is in tile `head`; -1 when it is older than every window."""
    if tile > head - 12:
        return tile
    hour = tile // HOUR_TILES
    if hour > head // HOUR_TILES - 24:
        return hour * HOUR_TILES
    day = tile // DAY_TILES
    if day > head // DAY_TILES - 30:
        return day * DAY_TILES
    return np.int64(-1)


@kernel
def roll(cells, chain, head):
    """Bring the cells of a chain to the tiles they belong to now that the newest act is in tile `head`: those of one
    tile become one, those too old go. The chain's first chunk plus one."""
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        after = np.int64(chunk.next) - 1
        k = 0
        while k < chunk.count:
            key = coarsened(np.int64(chunk.keys[k]), head)
            if key == chunk.keys[k]:
                k += 1
                continue
            if key >= 0:
                found, place = find_cell(cells, chain, np.int64(chunk.tags[k]), key)
                if found < 0:
                    chunk.keys[k] = key
                    cells.dirty[c] = 1
                    k += 1
                    continue
                cells.rows[found].amounts[place] += chunk.amounts[k]
                cells.dirty[found] = 1
            chain = remove_cell(cells, chain, c, k)
        c = after
    return np.int64(chain)


@kernel
def count(cells, row, key, tag, amount):
    """Add to a measure's cell of a shopper's row."""
    row.cells = add_cell(cells, np.int64(row.cells), np.int64(tag), key, np.int64(amount))


@kernel
def custom_tag(name, of_value):
    """The tag of a custom event's count, or of the sum of its values, by the hash of its name."""
    return np.int64(CUSTOM_TAG) | (np.int64(name & np.uint64(0x3FFFFFFF)) << 1) | of_value


@kernel
def window_sums(cells, chain, now, sums):
    """Sums as of `now` (ms): `sums` int64[MEASURE_TAGS, WINDOWS] is filled; the number of days with an act of 30."""
    sums[:, :] = 0
    tile = now // TILE_MS
    hour, day = tile // HOUR_TILES, tile // DAY_TILES
    days = np.int64(0)
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            key, tag, amount = np.int64(chunk.keys[k]), np.int64(chunk.tags[k]), chunk.amounts[k]
            age = day - key // DAY_TILES
            if age < 30:
                days |= np.int64(1) << age
                if tag < MEASURE_TAGS:
                    sums[tag, 3] += amount
                    if age < 7:
                        sums[tag, 2] += amount
                        if key // HOUR_TILES > hour - 24:
                            sums[tag, 1] += amount
                            if key > tile - 12:
                                sums[tag, 0] += amount
        c = np.int64(chunk.next) - 1
    active = np.int64(0)
    while days != 0:
        active += days & 1
        days >>= 1
    return active


@kernel
def next_change_ms(cells, chain, now):
    """The first time after `now` (ms) at which a cell leaves a window; a year later than `now` where there is none."""
    soonest = now + np.int64(365 * 86_400_000)
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            key = np.int64(chunk.keys[k])
            hour, day = key // HOUR_TILES, key // DAY_TILES
            at = (key + 12) * TILE_MS
            if at <= now:
                at = (hour + 24) * (HOUR_TILES * TILE_MS)
            if at <= now:
                at = (day + 7) * (DAY_TILES * TILE_MS)
            if at <= now:
                at = (day + 30) * (DAY_TILES * TILE_MS)
            if now < at < soonest:
                soonest = at
        c = np.int64(chunk.next) - 1
    return soonest


SIZES_MS = (TILE_MS, TILE_MS * HOUR_TILES, TILE_MS * DAY_TILES, TILE_MS * DAY_TILES)
LENGTHS = (12, 24, 7, 30)


def window_reference(acts: list[tuple[int, int]], window: int, now_ms: int) -> int:
    """The sum over a list of (time ms, amount) of a window (0: 1 h, 1: 24 h, 2: 7 d, 3: 30 d) as of `now_ms`, which is
    no earlier than the newest act."""
    size, n = SIZES_MS[window], LENGTHS[window]
    return sum(amount for ts, amount in acts if now_ms // size - n < ts // size)
