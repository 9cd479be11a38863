"""The rows of one item shard: a table of ITEM_ROW with an index by item, bounded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from prometheus_client import Counter

from operators.kernels.neighbours import ITEM_ROW
from state.table import HashIndex, Table

GIVEN_UP_SHARE = 1 / 32
"""Where there is no room, so large a part of the rows is given up at once: to find the lightest takes a look at all."""


class ItemRows:
    """Rows by item, at most `items_max`; where there is no room, the items with the least `popularity` give way.

    What gives way is counted in `evictions`. Rows move then, and `moved` is called: row numbers from before are void.
    """

    def __init__(self, items_max: int, evictions: Counter, moved: Callable[[], None]) -> None:
        self.table = Table(ITEM_ROW)
        self._index = HashIndex()
        self._items_max = items_max
        self._evictions = evictions
        self._moved = moved

    @property
    def nbytes(self) -> int:
        """Bytes held in memory: the rows and their index."""
        return self.table.nbytes + self._index.nbytes

    def restored(self) -> None:
        """Rebuild the index from the table."""
        self._index.rebuild(self.table.rows["item"][: self.table.size])

    def find(self, items: np.ndarray) -> np.ndarray:
        """Rows int32[n] of items uint64[n]; -1 where unknown."""
        return self._index.find(np.ascontiguousarray(items))

    def find_or_add(self, items: np.ndarray) -> np.ndarray:
        """The same, new ones taken in, in order of appearance; -1 where there is no item, or more are asked for at once
        than there may be."""
        items = np.ascontiguousarray(items)
        if self._items_max - self.table.size >= len(items) and items.all():
            return self._add(items)
        rows = self.find(items)
        unknown = items[(rows < 0) & (items != 0)]
        if len(unknown) == 0:
            return rows
        new = unknown[np.sort(np.unique(unknown, return_index=True)[1])]
        missing = len(new) - (self._items_max - self.table.size)
        if missing > 0:
            self._give_way(missing, rows[rows >= 0])
        room = self._items_max - self.table.size
        self._add(new[:room])
        if len(new) > room:
            self._evictions.inc(len(new) - room)
        return self.find(items)

    def _add(self, items: np.ndarray) -> np.ndarray:
        rows, added = self._index.find_or_add(items, self.table.size)
        if added:
            new = rows >= self.table.extend(added)
            new_rows = rows[new]
            self.table.rows["item"][new_rows] = items[new]
            self.table.rows["price"][new_rows] = -1
            self.table.rows["popularity"][new_rows] = -np.inf
        return rows

    def _give_way(self, count: int, spared: np.ndarray) -> None:
        """Give the lightest rows up, `count` and some more, but none of the rows `spared`: those behind the new end
        take their places."""
        table, size = self.table, self.table.size
        weights = table.rows["popularity"][:size].copy()
        weights[spared] = np.inf
        count = min(max(count, int(size * GIVEN_UP_SHARE)), int(np.count_nonzero(weights < np.inf)))
        if count == 0:
            return
        order = np.lexsort((table.rows["item"][:size], weights))
        goes = np.zeros(size, bool)
        goes[order[:count]] = True
        end = size - count
        free = np.flatnonzero(goes[:end])
        last = end + np.flatnonzero(~goes[end:])
        table.rows[free] = table.rows[last]
        table.dirty[free] = 1
        table.resize(end)
        self.restored()
        self._evictions.inc(count)
        self._moved()
