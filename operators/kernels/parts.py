"""What each part of the ranking gave to the items of a list: the features that its weights are learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from operators.kernels.candidates import GIFT, GIFTS_MAX, RECENT_FETCHED, SLOT_NEIGHBOURS, WALKS, gather
from state.batches import RECENT_ITEMS
from state.compiled import borrowed, kernel
from state.rungs import COMING_BACK, SECOND_STEP

PARTS = ("current", "earlier", "second_step", "coming_back")
"""The neighbours of the current item, those of the items before it, a second step, what was looked at before."""

CURRENT, EARLIER, SECOND, BACK = range(len(PARTS))


@kernel
def parts_of(beside, last, weights, remembered, lists, wanted, out):
    """Fill `out` float32[m, LIST_LENGTH, PARTS]: what each part gave to each item of the lists `wanted` int64[m].

    The others as for `operators.kernels.ranking.rank`; 0 for what filled a list up. An item's score is the sum of its
    parts, before the rules of the shop.
    """
    beside, last, weights, remembered, lists = borrowed((beside, last, weights, remembered, lists))
    gifts = np.empty(GIFTS_MAX, GIFT)
    for i in range(len(wanted)):
        n = wanted[i]
        out[i] = 0.0
        recent, known = last.items[n], np.int64(last.known[n])
        given = gather(beside.items[n], beside.scores[n], beside.counts[n], recent, known, weights, remembered, gifts)
        for g in range(given):
            rung = gifts[g].source // RECENT_ITEMS
            part = CURRENT
            if rung == SECOND_STEP:
                part = SECOND
            elif rung == COMING_BACK:
                part = BACK
            elif gifts[g].source % RECENT_ITEMS > 0:
                part = EARLIER
            for k in range(lists.counts[n]):
                if lists.items[n, k] == gifts[g].item:
                    out[i, k, part] += gifts[g].score


def parts_of_reference(
    neighbours: Sequence[Sequence[tuple[int, float]]],
    recent: Sequence[int],
    weights: np.ndarray,
    remembered: Mapping[int, Sequence[tuple[int, float]]],
    listed: Sequence[int],
) -> list[list[float]]:
    """The plain reference of `parts_of` for one list: what each of PARTS gave to each item of it."""
    w = weights[0]
    parts = {item: [0.0] * len(PARTS) for item in listed}

    def give(item: int, part: int, score: float) -> None:
        if item in parts:
            parts[item][part] += score

    for slot, pairs in enumerate(neighbours[: min(RECENT_FETCHED, len(recent))]):
        if recent[slot] not in recent[:slot]:
            for item, score in pairs[: SLOT_NEIGHBOURS[slot]]:
                give(item, EARLIER if slot else CURRENT, score * float(w["slots"][slot]))
    for item, score in neighbours[0][:WALKS] if recent else ():
        for other, further in remembered.get(item, ()):
            if other != recent[0]:
                give(other, SECOND, score * float(w["second_step"]) * further)
    for slot, item in enumerate(recent):
        if slot >= w["leave_out"] and item not in recent[:slot]:
            give(item, BACK, float(w["returns"][slot]))
    return [parts[item] for item in listed]
