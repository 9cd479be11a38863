"""What is bought together: of each item of one item shard, what else stood in the orders it was bought with.

The rows and their kernels are those of co-visits (`operators.kernels.neighbours`), but only orders write to them, and
every two lines of an order make a pair, however far apart they stand (`operators.kernels.baskets`).
"""

from __future__ import annotations

from itertools import islice

import numpy as np

from operators.item_rows import ItemRows
from operators.kernels import neighbours
from operators.kernels.neighbours import SHARD_ROW
from state.batches import ANSWER, FETCH
from state.metrics import Metrics
from state.models import BoughtTogether
from state.table import Table

TOLD_AT_ONCE = 256
"""Of so many items it is told at a time; of others the next time."""


class Baskets:
    """The rows of one shard's items that were ever bought with another; other items have none.

    `told_n` neighbours are told of an item. After `half_life_pairs` pairs of the shard a pair counts half. There are at
    most `items_max` rows; for further ones those give way that were written longest ago (counted in
    `evictions{component="baskets"}`). As long as none has to, the tables depend on the order of pairs alone, but for
    what has been told.
    """

    def __init__(self, shard: int, half_life_pairs: float, items_max: int, told_n: int, metrics: Metrics) -> None:
        self._shard, self._told_n = shard, told_n
        self._rows = ItemRows(items_max, metrics.evictions.labels("baskets"), self._find_untold)
        self._state = Table(SHARD_ROW, 1)
        self._state.extend(1)
        self._state.rows["growth"][0] = 1.0
        self.tables = {"baskets": self._rows.table, "baskets_shard": self._state}
        self._rates = np.full(neighbours.SCALES, 2.0 ** (1.0 / half_life_pairs))
        self._untold: dict[int, None] = {}  # rows, in the order in which they changed, as far as it is known

    def restored(self) -> None:
        """Take up from the tables: the index, and which rows have changed since they were told."""
        self._rows.restored()
        self._find_untold()

    def learn(self, pairs: np.ndarray) -> None:
        """Take PAIR rows in."""
        if len(pairs) == 0:
            return
        rows = self._rows.find_or_add(pairs["row"])
        table, before = self._rows.table, self._state.rows["pairs"][0]
        neighbours.update(table.rows, table.dirty, rows, pairs, self._state.rows, self._rates)
        self._state.dirty[0] = 1
        there = np.flatnonzero(rows >= 0)
        changed = rows[there]
        table.rows["untold"][changed] = 1
        table.rows["popularity"][changed] = before + there  # of several pairs of a row the last one's stays
        self._untold.update(dict.fromkeys(changed.tolist()))

    def beside(self, items: np.ndarray) -> np.ndarray:
        """ANSWER[n] of items uint64[n]: what is bought with each, in shares of all that was (count 0: nothing)."""
        out = np.zeros(len(items), ANSWER)
        rows = self._rows.find(items)
        neighbours.answer(self._rows.table.rows, rows, np.zeros(len(items), FETCH), self._state.rows, 0.0, True, out)
        return out

    def _find_untold(self) -> None:
        table = self._rows.table
        self._untold = dict.fromkeys(np.flatnonzero(table.rows["untold"][: table.size]).tolist())

    def tell(self, most: int = TOLD_AT_ONCE) -> list[BoughtTogether]:
        """What is bought together with those items whose rows changed longest ago, at most so many of them."""
        rows = np.array(list(islice(self._untold, most)), np.int32)
        if len(rows) == 0:
            return []
        for row in rows.tolist():
            del self._untold[row]
        table = self._rows.table
        table.rows["untold"][rows] = 0
        table.dirty[rows] = 1
        items = table.rows["item"][rows]
        return [BoughtTogether(self._shard, items, self.beside(items), self._told_n)]

    def tell_all(self) -> list[BoughtTogether]:
        """What has not been told yet."""
        return self.tell(len(self._untold))
