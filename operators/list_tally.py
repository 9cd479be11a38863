"""How good the lists of a process are besides being hit: how much of the shop they show, how far from what everybody
looks at, and where their items came from.

Coverage and novelty as in Vargas and Castells, "Rank and relevance in novelty and diversity metrics for recommender
systems" (RecSys 2011); items are counted by how many slots they fill, Whang et al., "A linear-time probabilistic
counting algorithm for database applications" (TODS 1990).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from operators.kernels.list_tally import ITEM_TALLY, tally_acts, tally_lists
from state.metrics import Metrics
from state.rungs import RUNGS

TALLY_SLOTS = 1 << 19
"""Slots of 16 bytes, a power of two: 8.4 MB a process. Items share one where their hashes end alike: of 10,000 items
one in a hundred does, of 100,000 a sixth. The number of items listed is right within 0.3 % up to two millions; items
that share a slot share their acts, which tells novelty somewhat too low."""


class ListTally:
    """Counts of this run, shared by the user shards of a process; no state.

    `slots` ITEM_TALLY[TALLY_SLOTS] by the end of an item's hash; `listed` and `hits` int64[RUNGS]: items of lists that
    were made, and of them those that were turned to next, by where they came from.
    """

    def __init__(self, slots: int = TALLY_SLOTS) -> None:
        self.slots = np.zeros(slots, ITEM_TALLY)
        self.listed = np.zeros(len(RUNGS), np.int64)
        self.hits = np.zeros(len(RUNGS), np.int64)
        self._told = np.zeros((2, len(RUNGS)), np.int64)

    def note_acts(self, acts: np.ndarray) -> None:
        """Count the items of ACT[n]."""
        tally_acts(acts, self.slots)

    def note_lists(self, items: np.ndarray, counts: np.ndarray, rungs: np.ndarray) -> None:
        """Count the items of lists as `ListMaker.make` gives them."""
        tally_lists(items, counts, rungs, self.slots, self.listed)

    def items_listed(self) -> int:
        """How many different items stood in a list."""
        filled = int(np.count_nonzero(self.slots["listed"]))
        free = max(len(self.slots) - filled, 1)
        return round(len(self.slots) * math.log(len(self.slots) / free))

    def novelty_bits(self) -> float | None:
        """Mean over all that was listed of -log2 of the share of all acts that fell on the item; None without any.

        An item of lists that nobody has acted upon in this run counts as one with a single act.
        """
        used = self.slots[np.flatnonzero(self.slots["listed"] > 0)]
        listed, acts = used["listed"].astype(np.float64), int(self.slots["acts"].sum())
        if len(used) == 0 or acts == 0:
            return None
        return float(math.log2(acts) - (np.log2(np.maximum(used["acts"], 1)) @ listed) / listed.sum())

    def observe(self, metrics: Metrics) -> None:
        """Tell what is counted so far."""
        metrics.listed_items.set(self.items_listed())
        novelty = self.novelty_bits()
        if novelty is not None:
            metrics.novelty.set(novelty)
        now = np.array([self.listed, self.hits])
        for metric, more in zip((metrics.rung_items, metrics.rung_hits), (now - self._told).tolist(), strict=True):
            for rung, count in zip(RUNGS, more, strict=True):
                metric.labels(rung).inc(count)
        self._told = now

    def packed(self) -> dict[str, Any]:
        """What `add` takes, for JSON: the slots that are in use, and the counts by rung."""
        used = np.flatnonzero((self.slots["listed"] > 0) | (self.slots["acts"] > 0))
        columns = {name: np.ascontiguousarray(self.slots[name][used]) for name in ITEM_TALLY.names or ()}
        return {"used": used, **columns, "by_rung": np.array([self.listed, self.hits])}

    def add(self, packed: dict[str, Any]) -> None:
        """Take another process's counts in, of as many slots."""
        used = np.array(packed["used"], np.int64)
        for name in ITEM_TALLY.names or ():
            self.slots[name][used] += np.array(packed[name], np.int64)
        listed, hits = np.array(packed["by_rung"], np.int64)
        self.listed += listed
        self.hits += hits

    def by_rung(self) -> dict[str, dict[str, float]]:
        """Of each rung that gave anything: items listed, their share of all, and hits."""
        total = max(int(self.listed.sum()), 1)
        told = zip(RUNGS, self.listed.tolist(), self.hits.tolist(), strict=True)
        return {r: {"listed": n, "share": round(n / total, 4), "hits": hits} for r, n, hits in told if n or hits}
