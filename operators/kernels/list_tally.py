"""Counting what is listed and what is acted upon, by item: what coverage and novelty of the lists are told by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from state.compiled import kernel
from state.rungs import RUNG_BITS

ITEM_TALLY = np.dtype([("acts", "i8"), ("listed", "i8")])
"""How often items were acted upon, and stood in a list that was made."""


@kernel
def tally_acts(acts, slots):
    """Count acts, ACT[n], at the slots of their items: `slots` ITEM_TALLY[m], m a power of two."""
    mask = np.uint64(len(slots) - 1)
    for i in range(len(acts)):
        slots[acts[i].item & mask].acts += 1


@kernel
def tally_lists(items, counts, rungs, slots, listed):
    """Count what stands in lists: items uint64[n, 20], counts uint8[n], rungs uint64[n], as `rank` writes them.

    Added to: `slots` ITEM_TALLY[m], m a power of two, and `listed` int64[RUNGS], items by rung.
    """
    mask, of_place = np.uint64(len(slots) - 1), np.uint64((1 << RUNG_BITS) - 1)
    for n in range(len(counts)):
        left = rungs[n]
        for k in range(counts[n]):
            slots[items[n, k] & mask].listed += 1
            listed[left & of_place] += 1
            left >>= np.uint64(RUNG_BITS)


def tally_reference(
    acts: Sequence[int], lists: Sequence[Sequence[tuple[int, int]]], size: int
) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """The plain reference of both kernels: acts by slot of `size`, listings by slot, and listings by rung, of the items
    acted upon and of lists of (item, rung)."""
    acted: dict[int, int] = {}
    listed: dict[int, int] = {}
    by_rung: dict[int, int] = {}
    for item in acts:
        acted[item % size] = acted.get(item % size, 0) + 1
    for item, rung in (entry for one in lists for entry in one):
        listed[item % size] = listed.get(item % size, 0) + 1
        by_rung[rung] = by_rung.get(rung, 0) + 1
    return acted, listed, by_rung
