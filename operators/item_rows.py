"""The rows of one item shard: a table of ITEM_ROW with an index by item, bounded."""

from __future__ import annotations

import numpy as np
from prometheus_client import Counter

from operators.kernels.neighbours import ITEM_ROW
from state.table import HashIndex, Table


class ItemRows:
    """Rows by item, at most `items_max`: items that come later are left out, counted in `evictions` once a call."""

    def __init__(self, items_max: int, evictions: Counter) -> None:
        self.table = Table(ITEM_ROW)
        self._index = HashIndex()
        self._items_max = items_max
        self._evictions = evictions

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
        """The same, new ones taken in, in order of appearance; -1 where there is no room, or no item."""
        items = np.ascontiguousarray(items)
        first = self.table.size
        room = self._items_max - first
        if room >= len(items) and items.all():
            rows, added = self._index.find_or_add(items, first)
        else:
            rows = self._index.find(items)
            unknown = items[(rows < 0) & (items != 0)]
            new = unknown[np.sort(np.unique(unknown, return_index=True)[1])]
            if len(new) > room:
                self._evictions.inc(len(new) - room)
            added = self._index.find_or_add(new[:room], first)[1]
            rows = self._index.find(items) if added else rows
        if added:
            self.table.extend(added)
            taken = rows >= first
            new_rows = rows[taken]
            self.table.rows["item"][new_rows] = items[taken]
            self.table.rows["price"][new_rows] = -1
            self.table.rows["popularity"][new_rows] = -np.inf
        return rows
