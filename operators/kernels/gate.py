"""What the rules of a shop leave of the items for one shopper's list: factors by item, and a limit by category."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from state.compiled import kernel

RULED_SLOTS = 1024
"""Of the table of a shopper's ruled items, a power of two well above BOUGHT_MAX + SHOWN_MAX."""


@kernel
def _ruled_slot(table, item):
    s = item & np.uint64(RULED_SLOTS - 1)
    while table[s].item != 0 and table[s].item != item:
        s = (s + np.uint64(1)) & np.uint64(RULED_SLOTS - 1)
    return s


@kernel
def factor_of(table, item):
    """What a score of the item is multiplied by."""
    s = _ruled_slot(table, item)
    return table[s].factor if table[s].item == item else np.float32(1.0)


@kernel
def lay_out_ruled(ruled, start, end, table, used):
    """Put ruled[start:end] into `table` RULED[RULED_SLOTS], all free before; of an item that stands there twice, the
    lesser factor. `used` int64[RULED_SLOTS] tells the slots taken; how many."""
    n = 0
    for i in range(start, end):
        s = _ruled_slot(table, ruled[i].item)
        if table[s].item == 0:
            table[s].item = ruled[i].item
            table[s].factor = ruled[i].factor
            used[n] = s
            n += 1
        else:
            table[s].factor = min(table[s].factor, ruled[i].factor)
    return n


@kernel
def last_of(best, size, category, most):
    """The last of `category` among the first `size` of `best`, if there are `most` of them; else -1."""
    found, at = 0, -1
    for k in range(size):
        if best[k].category == category:
            found += 1
            at = k
    return at if found >= most else -1


class Gate(NamedTuple):
    """What the rules of a shop leave of what a list may be filled up with."""

    tired: np.ndarray
    """RULED[RULED_SLOTS]: the shopper's items that are not to be listed, or that they are weary of"""
    ruled: np.ndarray
    """int64[1]: how many these are"""
    goods: np.ndarray
    """GOOD[slots]"""
    limits: np.ndarray
    """int64[2] of Rules"""
    best: np.ndarray
    """CANDIDATE[LIST_LENGTH]: the category of what stands in the list so far"""
