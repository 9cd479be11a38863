"""What may stand in a shopper's list and what speaks for it: gifts of scores, and their sums by item."""

from __future__ import annotations

import numpy as np

from operators.kernels.remembered import REMEMBERED_NEIGHBOURS
from state.batches import NEIGHBOURS, RECENT_ITEMS
from state.compiled import inlined, kernel
from state.rungs import BESIDE, COMING_BACK, SECOND_STEP

RECENT_FETCHED = 4
"""For how many of a shopper's last items the neighbours are asked."""

SLOT_NEIGHBOURS = np.array([NEIGHBOURS >> slot for slot in range(RECENT_FETCHED)])
"""How many of the neighbours of the newest item, the one before, ... are taken, best first."""

WALKS = 4
"""From how many of the current item's best neighbours a second step is made, where their rows are remembered."""

TRIED = 8
"""Where rungs of the ladder are measured, each has one in so many of the places it fills for sure."""

WEIGHTS = np.dtype(
    [
        ("slots", "f4", (RECENT_FETCHED,)),  # of the neighbours of the newest item, the one before, ...
        ("second_step", "f4"),
        ("returns", "f4", (RECENT_ITEMS,)),  # for the newest item, the one before, ... in shares of a row of neighbours
        ("leave_out", "i8"),  # so many of the last items stay out of the list
    ],
    align=True,
)
"""What each part counts in a score: `operators.list_settings` gives it."""

GIFTS_MAX = int(SLOT_NEIGHBOURS.sum()) + WALKS * REMEMBERED_NEIGHBOURS + RECENT_ITEMS  # 100
GIFT = np.dtype([("item", "u8"), ("score", "f4"), ("source", "i4")], align=True)
"""A score that speaks for an item, from `source`: rung * RECENT_ITEMS + place among the last items."""

SLOTS = 256
"""Of the table of candidates, a power of two well above GIFTS_MAX."""
CANDIDATE = np.dtype(
    [("item", "u8"), ("score", "f4"), ("most", "f4"), ("source", "i4"), ("category", "u4")], align=True
)
"""The gifts of one item added up, the largest of them and its source; item 0: the slot is free. The key of its category
is looked up only where it counts."""


@kernel
def listed(hashes, n, wanted):
    """Is `wanted` one of the first n hashes?"""
    found = False
    for k in range(n):
        found |= hashes[k] == wanted
    return found


@inlined
def gather(items, scores, counts, last, known, weights, remembered, gifts):
    """Write what speaks for each item of one shopper to `gifts` GIFT[GIFTS_MAX]; how many.

    `items`, `scores` [RECENT_FETCHED, NEIGHBOURS] and `counts` [RECENT_FETCHED] are the neighbours of the first of the
    `known` last items `last`; `weights` WEIGHTS[1]; `remembered` REMEMBERED[rows].
    """
    given = 0
    w = weights[0]
    for slot in range(min(RECENT_FETCHED, known)):
        if listed(last, slot, last[slot]):
            continue
        for k in range(min(counts[slot], SLOT_NEIGHBOURS[slot])):
            gifts[given].item = items[slot, k]
            gifts[given].score = scores[slot, k] * w.slots[slot]
            gifts[given].source = BESIDE * RECENT_ITEMS + slot
            given += 1
    if known > 0:
        places = np.uint64(len(remembered) - 1)
        for k in range(min(WALKS, counts[0])):
            row = remembered[items[0, k] & places]
            if row.item == items[0, k]:
                share = scores[0, k] * w.second_step
                for j in range(REMEMBERED_NEIGHBOURS):
                    other = row.items[j]
                    if other != 0 and other != last[0]:
                        gifts[given].item = other
                        gifts[given].score = share * row.scores[j]
                        gifts[given].source = SECOND_STEP * RECENT_ITEMS
                        given += 1
    for slot in range(min(w.leave_out, known), known):
        if not listed(last, slot, last[slot]):
            gifts[given].item = last[slot]
            gifts[given].score = w.returns[slot]
            gifts[given].source = COMING_BACK * RECENT_ITEMS + slot
            given += 1
    return given


@inlined
def add_up(gifts, given, table, used):
    """Add the first `given` gifts up by item, in `table` CANDIDATE[SLOTS], all free before, by open addressing; `used`
    int64[GIFTS_MAX] tells the slots taken, in order of appearance. How many."""
    mask = np.uint64(SLOTS - 1)
    candidates = 0
    for g in range(given):
        item, score = gifts[g].item, gifts[g].score
        s = item & mask
        while table[s].item != 0 and table[s].item != item:
            s = (s + np.uint64(1)) & mask
        if table[s].item == 0:
            table[s].item = item
            table[s].score = score
            table[s].most = score
            table[s].source = gifts[g].source
            used[candidates] = s
            candidates += 1
        else:
            table[s].score += score
            if score > table[s].most:
                table[s].most = score
                table[s].source = gifts[g].source
    return candidates
