"""What a user shard keeps of its shoppers for the rules of their lists: what they bought, what was shown in vain."""

from __future__ import annotations

import numpy as np

from operators.cold_tier import BACK, ColdTier
from operators.goods import Goods
from operators.kernels import list_rules as kernels
from operators.kernels.held_items import (
    BOUGHT_A_CHUNK,
    BOUGHT_CHUNK,
    ENTRY_WORDS,
    SHOWN_A_CHUNK,
    SHOWN_CHUNK,
)
from operators.kernels.list_rules import RULED, Rules
from operators.kernels.slabs import Slab, slab_of
from operators.list_settings import RuleSettings
from state.metrics import Metrics
from state.table import Table

CHAINS_ROW = np.dtype([("heads", "i8", (2, 4))], align=True)
"""Of the slabs bought and shown: rows begun, first free row plus one, free rows."""


class HeldItems:
    """Chains of items that the LIST_ROWs of a shard refer to, by the fields `bought` and `shown`, their last word.

    Only who bought something, or was shown something and has not acted upon it, pays for that: 88 bytes for up to four
    items bought, 112 for up to eight shown; of each shopper at most BOUGHT_MAX and SHOWN_MAX. What gave way to newer
    ones is counted in `evictions`.
    """

    def __init__(self, settings: RuleSettings, goods: Goods, metrics: Metrics) -> None:
        self._bought, self._shown, self._chains = Table(BOUGHT_CHUNK), Table(SHOWN_CHUNK), Table(CHAINS_ROW, 1)
        self._chains.extend(1)
        self.tables = {"bought": self._bought, "shown": self._shown, "chains": self._chains}
        self._goods = goods
        self._rules = settings.rules()
        self._by_category = settings.minutes_by_category()
        self._evictions = [metrics.evictions.labels(component) for component in ("bought", "shown")]

    @property
    def size(self) -> int:
        """Chunks in use."""
        heads = self._chains.rows["heads"][0]
        return int((heads[:, 0] - heads[:, 2]).sum())

    def take(self, profiles: np.ndarray, marks: np.ndarray, lists: Table) -> None:
        """Keep what PROFILEs were told (MARK rows by place), and forget those who are new or go."""
        if len(marks) == 0 and self.size == 0:
            return
        gave_way = np.zeros(2, np.int64)
        bought, shown = self._slabs(len(marks), len(marks))
        goods = self._goods.table
        kernels.take_marks(
            profiles, marks, lists.rows, lists.dirty, bought, shown, self._rules, *self._by_category, goods, gave_way
        )
        self._settle()
        for counter, count in zip(self._evictions, gave_way.tolist(), strict=True):
            if count:
                counter.inc(count)

    def rules(self, profiles: np.ndarray, list_rows: np.ndarray, count: int, lists: Table) -> Rules:
        """What holds for `count` lists of PROFILEs; `list_rows` int32[n] gives the list of each, or -1."""
        starts, ruled = np.zeros(count + 1, np.int64), np.empty(0, RULED)
        goods = self._goods.table
        if count and self.size:
            bought, shown = self._slabs(0, 0)
            rows = profiles["row"][list_rows >= 0].astype(np.int64)
            ruled = np.empty(kernels.count_held(rows, lists.rows, bought, shown), RULED)
            kernels.tell_ruled(
                profiles, list_rows, lists.rows, bought, shown, self._rules, *self._by_category, goods, ruled, starts
            )
        limits = np.array([self._goods.out, self._rules["category_max"][0]], np.int64)
        return Rules(ruled, starts, goods, limits)

    def bring_back(self, cold: ColdTier, profiles: np.ndarray, lists: Table) -> np.ndarray:
        """Take up what was put aside for shoppers who are back (PROFILE rows with `fresh` 2), into LIST_ROWs that are
        there for each; the PROFILE rows, no longer fresh where something was."""
        back = np.flatnonzero(profiles["fresh"] == BACK)
        if len(back) == 0:
            return profiles
        profiles = profiles.copy()
        found, starts, words = cold.take(profiles["user"][back])
        rows = profiles["row"][back[found]].astype(np.int64)
        chunks = len(words) // ENTRY_WORDS
        slabs = self._slabs(chunks // BOUGHT_A_CHUNK + len(rows), chunks // SHOWN_A_CHUNK + len(rows))
        kernels.unpack_held(rows, lists.words, *slabs, words, starts)
        lists.dirty[rows] = 1
        self._settle()
        profiles["fresh"][back] = np.where(found, 0, 1)
        return profiles

    def send_away(self, cold: ColdTier, left: np.ndarray, lists: Table) -> None:
        """Put the rows of shoppers who left (uint64[k, 2]: hash, row) aside with all they refer to, and clear them."""
        left = left[left[:, 1] < lists.size]
        rows, slabs = left[:, 1].astype(np.int64), self._slabs(0, 0)
        items = int(kernels.count_held(rows, lists.rows, *slabs))
        words = np.empty(len(rows) * lists.words.shape[1] + items * ENTRY_WORDS, np.uint64)
        starts = np.empty(len(rows) + 1, np.int64)
        kernels.pack_held(rows, lists.words, *slabs, words, starts)
        lists.dirty[rows] = 1
        self._settle()
        cold.put(left[:, 0].copy(), starts, words)

    def _slabs(self, bought: int, shown: int) -> tuple[Slab, Slab]:
        """Both as kernels see them, with room for so many more chunks."""
        self._bought.reserve(bought)
        self._shown.reserve(shown)
        heads = self._chains.rows["heads"][0]
        return slab_of(self._bought, heads[0]), slab_of(self._shown, heads[1])

    def _settle(self) -> None:
        """After kernels have taken chunks in use: let the tables know."""
        for table, begun in zip((self._bought, self._shown), self._chains.rows["heads"][0, :, 0].tolist(), strict=True):
            if begun > table.size:
                table.extend(begun - table.size)
        self._chains.dirty[0] = 1
