"""Rows of tables that kernels take in use and give back themselves; and chains of cells made of them."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from state.compiled import kernel
from state.profile_table import CELLS_A_CHUNK
from state.table import Table

Slab = namedtuple("Slab", ["rows", "words", "dirty", "head"])
"""A table as kernels see it.

`rows` records[capacity] with a field `next`; `words` the same bytes as uint64[capacity, w]; `dirty` uint8[capacity];
`head` int64[4]: rows begun, first free row plus one, free rows, what there was no room for in a row since it was last
counted. There must be room behind the rows begun for all that a call may take. References to a row are its number plus
one, 0 for none.
"""

Slabs = namedtuple(
    "Slabs", ["cells", "decisions", "carts", "attributes", "pending", "rule_states", "values", "prices", "facts"]
)
"""Every slab of a shard, in the order of `state.profile_table.SLABS`."""


def slab_of(table: Table, head: np.ndarray | None = None) -> Slab:
    """A table as kernels see it, with its head (a new one for tables whose rows kernels do not take)."""
    return Slab(table.rows, table.words, table.dirty, np.zeros(4, np.int64) if head is None else head)


@kernel
def take_row(slab):
    """A zeroed row, marked as changed: its number."""
    free = slab.head[1]
    if free > 0:
        r = free - 1
        slab.head[1] = slab.rows[r].next
        slab.head[2] -= 1
        slab.rows[r].next = 0
    else:
        r = slab.head[0]
        slab.head[0] += 1
    slab.dirty[r] = 1
    return r


@kernel
def give_back(slab, r):
    """Zero row `r` and chain it to the free ones."""
    slab.words[r, :] = np.uint64(0)
    slab.rows[r].next = slab.head[1]
    slab.head[1] = r + 1
    slab.head[2] += 1
    slab.dirty[r] = 1


@kernel
def find_cell(cells, chain, tag, key):
    """Where the cell of (tag, key) is in a chain: (chunk, place), chunk -1 where there is none."""
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            if chunk.keys[k] == key and chunk.tags[k] == tag:
                return c, k
        c = np.int64(chunk.next) - 1
    return np.int64(-1), 0


@kernel
def push_cell(cells, chain, tag, key, amount):
    """Put a new cell into a chain (only its first chunk may have room); the chain's first chunk plus one."""
    c = np.int64(chain) - 1
    if c < 0 or cells.rows[c].count == CELLS_A_CHUNK:
        fresh = take_row(cells)
        cells.rows[fresh].next = c + 1
        c = fresh
    chunk = cells.rows[c]
    k = chunk.count
    chunk.keys[k] = key
    chunk.tags[k] = tag
    chunk.amounts[k] = amount
    chunk.count = k + 1
    cells.dirty[c] = 1
    return c + 1


@kernel
def add_cell(cells, chain, tag, key, amount):
    """Add to the cell of (tag, key), made where there is none; the chain's first chunk plus one."""
    c, k = find_cell(cells, chain, tag, key)
    if c < 0:
        return push_cell(cells, chain, tag, key, amount)
    cells.rows[c].amounts[k] += amount
    cells.dirty[c] = 1
    return np.int64(chain)


@kernel
def remove_cell(cells, chain, c, k):
    """Take the cell at (chunk, place) out of a chain: the last one of the first chunk takes its place. The chain's
    first chunk plus one."""
    head = np.int64(chain) - 1
    first = cells.rows[head]
    last = first.count - 1
    chunk = cells.rows[c]
    chunk.keys[k] = first.keys[last]
    chunk.tags[k] = first.tags[last]
    chunk.amounts[k] = first.amounts[last]
    cells.dirty[c] = 1
    cells.dirty[head] = 1
    first.keys[last] = 0
    first.tags[last] = 0
    first.amounts[last] = 0
    first.count = last
    if last > 0:
        return head + 1
    after = np.int64(first.next)
    give_back(cells, head)
    return after


@kernel
def free_chain(cells, chain):
    """Give all chunks of a chain back."""
    c = np.int64(chain) - 1
    while c >= 0:
        after = np.int64(cells.rows[c].next) - 1
        give_back(cells, c)
        c = after


def cells_of(rows: np.ndarray, chain: int) -> dict[tuple[int, int], int]:
    """The plain reading of a chain: (tag, key) -> amount."""
    found: dict[tuple[int, int], int] = {}
    while chain:
        chunk = rows[chain - 1]
        tags, keys, amounts = (chunk[name][: chunk["count"]].tolist() for name in ("tags", "keys", "amounts"))
        found.update(zip(zip(tags, keys, strict=True), amounts, strict=True))
        chain = int(chunk["next"])
    return found
