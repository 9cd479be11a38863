"""Rows of neighbours that passed by: what stood beside the items that shoppers of this process looked at last.

A list is made from the neighbours of a shopper's last items, and these rows come from the item shards. The neighbours
of those neighbours would take another round to all item shards for each list. Instead, every row that is answered is
remembered, its first REMEMBERED_NEIGHBOURS, in a table of fixed size, where a row takes the place of whatever lies
there: an item that is visited at all was answered for not long ago. It is no state: after a restart it fills anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from state.compiled import kernel

REMEMBERED_NEIGHBOURS = 8

REMEMBERED = np.dtype(
    [("item", "u8"), ("items", "u8", (REMEMBERED_NEIGHBOURS,)), ("scores", "f4", (REMEMBERED_NEIGHBOURS,))], align=True
)
"""An item (0: nothing lies here) and its best neighbours, best first, 0 past their end: 104 bytes."""

REMEMBERED_ROWS = 1 << 17
"""How many rows one process remembers, a power of two: 13.6 MB."""


def nothing_remembered(rows: int = REMEMBERED_ROWS) -> np.ndarray:
    """A table REMEMBERED[rows], a power of two, without a row in it."""
    assert rows & (rows - 1) == 0
    return np.zeros(rows, REMEMBERED)


@kernel
def remember_rows(answers, recent, list_rows, remembered):
    """Remember the rows of neighbours that were answered.

    `answers` ANSWER[n]; `list_rows` int32 gives the list of each place (-1: none is made) and `recent`
    uint64[lists, RECENT_ITEMS] its last items, of which `slot` was asked for; written: `remembered` REMEMBERED[rows].
    """
    for i in range(len(answers)):
        p = list_rows[answers[i].position]
        if p < 0 or answers[i].count == 0:
            continue
        item = recent[p, answers[i].slot]
        row = remembered[item & np.uint64(len(remembered) - 1)]
        row.item = item
        for k in range(REMEMBERED_NEIGHBOURS):
            told = k < answers[i].count
            row.items[k] = answers[i].items[k] if told else np.uint64(0)
            row.scores[k] = answers[i].scores[k] if told else np.float32(0.0)


def remember_rows_reference(
    rows: Sequence[tuple[int, Sequence[tuple[int, float]]]], size: int
) -> dict[int, tuple[int, list[tuple[int, float]]]]:
    """The plain reference of `remember_rows`: by place, the item and its best neighbours (item, score), of rows as they
    were answered, (item, neighbours)."""
    return {item % size: (item, list(row[:REMEMBERED_NEIGHBOURS])) for item, row in rows if row}
