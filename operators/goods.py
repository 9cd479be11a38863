"""What the lists of one process know of items: one catalogue, shared by all of its user shards.

Every user shard hears every `item` event and keeps what it told in its tables; from there it comes here, when a shard
is resumed and with every further event. Categories that acts alone told are a memory and no state: after a start they
come back as shoppers act, and of several processes each knows those of its own shoppers.
"""

from __future__ import annotations

import numpy as np

from operators.kernels import goods as kernels
from operators.kernels.goods import CHANGES, GOOD, LEFT_OUT, OUT, SIZE
from state.metrics import Metrics

_SLOTS_MIN = 64


class Goods:
    """Item -> its category, and whether it is not to be shown.

    `items_max` bounds the items (48 to 96 bytes each); what finds no room is counted in `evictions{component="goods"}`,
    has no category and is shown. `of_acts`: categories that acts tell are wanted.
    """

    def __init__(self, items_max: int = 1_000_000, of_acts: bool = True, metrics: Metrics | None = None) -> None:
        self.table = np.zeros(_SLOTS_MIN, GOOD)
        self._items_max = items_max
        self._of_acts = of_acts
        self._counts = np.zeros(4, np.int64)
        self._evictions = metrics.evictions.labels("goods") if metrics else None

    @property
    def size(self) -> int:
        """Items it knows."""
        return int(self._counts[SIZE])

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return int(self.table.nbytes)

    @property
    def out(self) -> int:
        """How many items are not to be shown."""
        return int(self._counts[OUT])

    @property
    def changes(self) -> int:
        """How often an item has come to be shown or not: the same as before, if none has."""
        return int(self._counts[CHANGES])

    def restore(self, facts: np.ndarray) -> None:
        """Take in all that a shard's FACT_ROWs tell."""
        self._reserve(len(facts))
        kernels.put_facts(self.table, self._counts, facts, self._items_max)
        self._count_left_out()

    def hear(
        self, events: np.ndarray, items: int, facts: np.ndarray, slot_hashes: np.ndarray, slot_rows: np.ndarray
    ) -> None:
        """Take in what `items` `item` events among EVENT rows have made of a shard's FACT_ROWs, found by an index."""
        self._reserve(items)
        kernels.put_told(self.table, self._counts, facts, slot_hashes, slot_rows, events, self._items_max)
        self._count_left_out()

    def hear_acts(self, touches: np.ndarray) -> None:
        """Take in the categories that acts (TOUCH rows) told."""
        if self._of_acts and len(touches):
            self._reserve(len(touches))
            kernels.put_categories(self.table, self._counts, touches, self._items_max)
            self._count_left_out()

    def find(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of items uint64[n]: the keys of their categories uint32[n] (0: not known), and bool[n]: not to be shown."""
        categories, out = np.empty(len(items), np.uint32), np.empty(len(items), np.uint8)
        kernels.find_goods(self.table, np.ascontiguousarray(items), categories, out)
        return categories, out.view(bool)

    def _reserve(self, count: int) -> None:
        """Make room for so many more items, as far as there may be more."""
        wanted = min(self.size + count, max(self._items_max, self.size))
        slots = len(self.table)
        if 2 * wanted <= slots:
            return
        while 2 * wanted > slots:
            slots *= 2
        larger = np.zeros(slots, GOOD)
        kernels.refill(self.table, larger)
        self.table = larger

    def _count_left_out(self) -> None:
        if self._counts[LEFT_OUT]:
            if self._evictions:
                self._evictions.inc(int(self._counts[LEFT_OUT]))
            self._counts[LEFT_OUT] = 0
