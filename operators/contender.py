"""One way to make lists, judged on the stream: that in force, and one held against it.

Both are told the same and make a list at the same times; what a shopper turns to is judged by the lists of both that
stood before. Only those of the champion are written. A paired test tells whether the challenger is better beyond noise
(its mean reciprocal rank; one-sided, z of at least 3).
"""

from __future__ import annotations

import math

import numpy as np

from operators.kernels.list_types import Lists
from operators.kernels.lists import find_ranks
from operators.list_settings import ListSettings
from operators.part_weights import PartWeights
from state.batches import LIST_LENGTH
from state.table import Table

CONTENDERS = ("champion", "challenger")
LEADS_AT = 3.0


class Contender:
    """What one way of making lists has in one process: its weights, shared by all user shards."""

    def __init__(self, settings: ListSettings) -> None:
        self.weights = PartWeights(settings)


class Comparison:
    """Reciprocal ranks of two contenders over the same acts, added up: (champion, challenger)."""

    def __init__(self, sums: np.ndarray | None = None) -> None:
        self.sums = np.zeros(7) if sums is None else np.asarray(sums, np.float64)
        """Acts; hits of each; reciprocal ranks of each; their differences, and the squares of these."""

    def add(self, champion: np.ndarray, challenger: np.ndarray) -> None:
        """Take in the ranks of n acts in both lists, int8[n] each: 0 where it is not in the list."""
        first, second = (np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0) for ranks in (champion, challenger))
        gain = second - first
        hits = np.count_nonzero(champion > 0), np.count_nonzero(challenger > 0)
        self.sums += np.array((len(gain), *hits, first.sum(), second.sum(), gain.sum(), gain @ gain))

    @property
    def z(self) -> float:
        """By how many standard errors the challenger's reciprocal rank is better; 0 where nothing differs."""
        n, *_, gain, squares = self.sums.tolist()
        variance = squares - gain * gain / n if n else 0.0
        return gain / math.sqrt(variance) if variance > 0.0 else 0.0

    @property
    def leads(self) -> bool:
        """Is the challenger better beyond noise?"""
        return self.z >= LEADS_AT

    def figures(self) -> dict[str, float]:
        """Hit rates and mean reciprocal ranks of both, and z; empty where nothing was judged."""
        n, *sums = self.sums.tolist()
        if not n:
            return {}
        names = [f"{name}_{figure}_20" for figure in ("hit_rate", "mrr") for name in CONTENDERS]
        shares = {name: value / n for name, value in zip(names, sums, strict=False)}
        return {**shares, "judged": int(n), "z": round(self.z, 2)}


CHALLENGER_ROW = np.dtype([("items", "u8", (LIST_LENGTH,)), ("count", "u1")], align=True)
"""The challenger's list of a shopper."""


class Challenger:
    """The challenger's lists in one user shard, by the shopper's row. A list is forgotten when its shopper goes to the
    cold tier: then the two are not compared by what comes next."""

    def __init__(self, contender: Contender, comparison: Comparison) -> None:
        self.weights = contender.weights
        self.table = Table(CHALLENGER_ROW)
        self._comparison = comparison

    def make_room(self, size: int) -> None:
        """There are so many shoppers' rows now; of those that are new here, as after it was set, no list is known."""
        self.table.extend(max(size - self.table.size, 0))

    def forget(self, rows: np.ndarray) -> None:
        """Forget the lists of shoppers `rows` int32[n]."""
        held = rows[self.table.rows["count"][rows] > 0]
        self.table.rows["count"][held] = 0
        self.table.dirty[held] = 1

    def judge(self, acts: np.ndarray, rows: np.ndarray, champion: np.ndarray) -> None:
        """Compare by ACT[n] of shoppers whose rows are `rows` int32[m]; `champion` int8[n], the ranks in its lists."""
        ranks, held = np.empty(len(acts), np.int8), self.table.rows
        find_ranks(acts, rows, held["items"], held["count"], ranks)
        both = (ranks >= 0) & (champion >= 0) & (held["count"][rows[acts["position"]]] > 0)
        if both.any():
            self._comparison.add(champion[both], ranks[both])

    def keep(self, rows: np.ndarray, lists: Lists) -> None:
        """What stands now of shoppers `rows` int32[n]."""
        self.table.rows["items"][rows] = lists.items
        self.table.rows["count"][rows] = lists.counts
        self.table.dirty[rows] = 1
