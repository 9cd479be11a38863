"""What the shoppers of each segment look at: fading counts, bounded, of the acts that pass through one process.

Which segment a shopper is in is known only where lists are made, and a flow has no loops; so what is popular in a
segment is counted there, by each process of the acts of its own shoppers, in a table of fixed size that all of its user
shards share. Of a segment SEGMENT_ITEMS items are kept: a further one takes the place and the weight of the lightest
(Space-Saving, Metwally et al., "Efficient computation of frequent and top-k elements in data streams", ICDT 2005). It
is no state: after a restart it fills anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from state.compiled import kernel

SEGMENTS_KEPT = 64
"""Of so many segments items are kept; of a further one in place of the one that was acted in least lately."""

SEGMENT_ITEMS = 128


class SegmentItems(NamedTuple):
    """The items of SEGMENTS_KEPT segments, heaviest first: 132 kB."""

    numbers: np.ndarray
    """int32[SEGMENTS_KEPT]: numbers of segments; -1: free"""
    seen: np.ndarray
    """int64[SEGMENTS_KEPT]: which act was the segment's last"""
    counts: np.ndarray
    """int32[SEGMENTS_KEPT]: items kept"""
    items: np.ndarray
    """uint64[SEGMENTS_KEPT, SEGMENT_ITEMS]"""
    weights: np.ndarray
    """float64 likewise: of an act in the present half-life 1 to 2, half as much in the one before"""
    clock: np.ndarray
    """int64[2]: acts so far, the present half-life (event time over its length; -1 before the first act)"""


def no_segment_items() -> SegmentItems:
    """A table that knows nothing."""
    places = (SEGMENTS_KEPT, SEGMENT_ITEMS)
    return SegmentItems(
        np.full(SEGMENTS_KEPT, -1, np.int32),
        np.zeros(SEGMENTS_KEPT, np.int64),
        np.zeros(SEGMENTS_KEPT, np.int32),
        np.zeros(places, np.uint64),
        np.zeros(places),
        np.array([0, -1]),
    )


@kernel
def place_of_segment(table, number):
    """The place of a segment, -1 where nothing of it is kept."""
    place = -1
    for k in range(SEGMENTS_KEPT):
        place = k if table.numbers[k] == number else place
    return place


@kernel
def _make_place(table, number):
    """A place for a segment that has none: a free one, else that of the segment whose last act is longest ago."""
    place = 0
    for k in range(SEGMENTS_KEPT):
        if table.numbers[k] < 0:
            place = k
            break
        if table.seen[k] < table.seen[place]:
            place = k
    table.numbers[place] = number
    table.counts[place] = 0
    return place


@kernel
def note_segment_acts(acts, profiles, scores, half_life_ms, table):
    """Count acts in the segments of their shoppers.

    `acts` ACT[n]; by their positions `profiles` PROFILE[m], whose newest event tells the time, and `scores` SCORE[m];
    `table` SegmentItems. An act counts half a half-life later.
    """
    for n in range(len(acts)):
        p = acts[n].position
        number = scores[p].segment
        if number < 0:
            continue
        ts = profiles[p].event_ts
        period = ts // half_life_ms
        if period > table.clock[1]:
            if table.clock[1] >= 0:
                factor = 2.0 ** -np.float64(min(period - table.clock[1], 1000))
                for s in range(SEGMENTS_KEPT):
                    for k in range(table.counts[s]):
                        table.weights[s, k] *= factor
            table.clock[1] = period
        weight = 2.0 ** (ts / half_life_ms - table.clock[1])
        place = place_of_segment(table, number)
        if place < 0:
            place = _make_place(table, number)
        table.clock[0] += 1
        table.seen[place] = table.clock[0]
        item, count = acts[n].item, table.counts[place]
        at = -1
        for k in range(count):
            at = k if table.items[place, k] == item else at
        if at < 0:
            if count < SEGMENT_ITEMS:
                at = int(count)
                table.counts[place] = count + 1
                table.weights[place, at] = 0.0
            else:
                at = SEGMENT_ITEMS - 1
        weight += table.weights[place, at]
        while at > 0 and table.weights[place, at - 1] < weight:
            table.items[place, at] = table.items[place, at - 1]
            table.weights[place, at] = table.weights[place, at - 1]
            at -= 1
        table.items[place, at] = item
        table.weights[place, at] = weight


def segment_items_reference(
    acts: Sequence[tuple[int, int, int]], half_life_ms: int
) -> dict[int, list[tuple[int, float]]]:
    """The plain reference: by segment, (item, weight as of the present half-life), heaviest first, of acts (segment,
    item, ts). What came to its weight first stands before what came to the same weight later."""
    kept: dict[int, list[tuple[int, float]]] = {}
    now = max((ts // half_life_ms for segment, _, ts in acts if segment >= 0), default=0)
    last: dict[int, int] = {}
    for n, (segment, item, ts) in enumerate(acts):
        if segment < 0:
            continue
        if segment not in kept and len(kept) == SEGMENTS_KEPT:
            kept.pop(min(kept, key=lambda s: last[s]))
        last[segment] = n
        entries = dict(kept.get(segment, []))
        if item not in entries and len(entries) == SEGMENT_ITEMS:
            entries[item] = entries.pop(kept[segment][-1][0])
        entries[item] = entries.get(item, 0.0) + 2.0 ** (ts / half_life_ms - now)
        kept[segment] = sorted(entries.items(), key=lambda entry: -entry[1])
    return kept
