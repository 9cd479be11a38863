"""What the lists of one process know of items: one catalogue, shared by all of its user shards.

Every user shard hears every `item` event, tells it here, and keeps what it told in its tables, from where it comes here
when the shard is resumed. Categories that acts alone told are a memory and no state: after a start they come back as
shoppers act, and of several processes each knows those of its own shoppers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from operators.kernels import goods as kernels
from operators.kernels.goods import CHANGES, GAVE_WAY, GOOD, LEFT_OUT, OUT, SIZE
from state.metrics import Metrics

_SLOTS_MIN = 64


class Goods:
    """Item -> its category, and whether it is not to be shown.

    `items_max` bounds the items (64 to 128 bytes each). Past it an item that is not to be shown takes the place of one
    that may be; if there is none, and for all other new items, there is no room. What gave way or found no room is
    counted in `evictions{component="goods"}`, has no category and is shown.
    `of_acts`: categories that acts tell are wanted.
    """

    def __init__(self, items_max: int = 1_000_000, of_acts: bool = True, metrics: Metrics | None = None) -> None:
        self.table = np.zeros(_SLOTS_MIN, GOOD)
        self._items_max = items_max
        self._of_acts = of_acts
        self._counts = np.zeros(6, np.int64)
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

    def restore(self, facts: np.ndarray, counted: bool = True) -> None:
        """Take in all that a shard's FACT_ROWs tell. What finds no room is `counted` or not: all tell the same."""
        self._put(kernels.put_facts, facts, counted)

    def hear(self, events: np.ndarray, counted: bool = True) -> None:
        """Take in what the `item` events among EVENT rows tell, which every shard hears; `counted` as in `restore`."""
        self._put(kernels.put_told, events, counted)

    def hear_acts(self, touches: np.ndarray) -> None:
        """Take in the categories that acts (TOUCH rows) told."""
        if self._of_acts and len(touches):
            self._put(kernels.put_categories, touches, True)

    def find(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of items uint64[n]: the keys of their categories uint32[n] (0: not known), and bool[n]: not to be shown."""
        categories, out = np.empty(len(items), np.uint32), np.empty(len(items), np.uint8)
        kernels.find_goods(self.table, np.ascontiguousarray(items), categories, out)
        return categories, out.view(bool)

    def _put(self, kernel: Callable[..., int], rows: np.ndarray, counted: bool) -> None:
        """Have a kernel take rows in, and make room where it stops for want of it."""
        at = 0
        while (at := kernel(self.table, self._counts, rows, at, self._items_max)) < len(rows):
            larger = np.zeros(2 * len(self.table), GOOD)
            kernels.refill(self.table, larger)
            self.table = larger
        lost = int(self._counts[GAVE_WAY] + self._counts[LEFT_OUT] * counted)
        if lost and self._evictions:
            self._evictions.inc(lost)
        self._counts[[GAVE_WAY, LEFT_OUT]] = 0
