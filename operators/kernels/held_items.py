"""Items kept of a shopper in chains of chunks, each with a time and an amount: what was bought, what was shown in vain.

A shopper's row refers to the first chunk of a chain by its number plus one (0: none); only the first chunk of a chain
may have room. Where a chain may not grow, the item that was renewed longest ago gives way to a new one.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.slabs import give_back, take_row
from state.compiled import kernel

MINUTE_MS = 60_000

BOUGHT_A_CHUNK, SHOWN_A_CHUNK = 4, 8
BOUGHT_MAX, SHOWN_MAX = 256, 64
"""How many items are kept of one shopper."""

BOUGHT_CHUNK = np.dtype(
    [
        ("items", "u8", (BOUGHT_A_CHUNK,)),
        ("amounts", "u8", (BOUGHT_A_CHUNK,)),  # pieces in thousandths, and the key of the category from bit 32 on
        ("minutes", "u4", (BOUGHT_A_CHUNK,)),  # since 1970, when it was last bought
        ("next", "i4"),
        ("count", "i4"),
    ],
    align=True,
)
"""What a shopper has bought and not sent back: 88 bytes."""

SHOWN_CHUNK = np.dtype(
    [
        ("items", "u8", (SHOWN_A_CHUNK,)),
        ("minutes", "u4", (SHOWN_A_CHUNK,)),  # since 1970, when it was last shown
        ("next", "i4"),
        ("count", "i4"),
        ("amounts", "u1", (SHOWN_A_CHUNK,)),  # how often, at most 255
    ],
    align=True,
)
"""What a shopper was shown and has not acted upon since: 112 bytes."""

ENTRY_WORDS = 3
"""Words of an item packed for the cold tier."""


@kernel
def find_item(slab, chain, item):
    """Where an item is in a chain: (chunk, place), chunk -1 where it is not."""
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = slab.rows[c]
        for k in range(chunk.count):
            if chunk.items[k] == item:
                return c, k
        c = np.int64(chunk.next) - 1
    return np.int64(-1), 0


@kernel
def _put(slab, c, k, item, minute, amount):
    chunk = slab.rows[c]
    chunk.items[k] = item
    chunk.minutes[k] = minute
    chunk.amounts[k] = amount
    slab.dirty[c] = 1


@kernel
def add_item(slab, chain, item, minute, amount, keep_minutes, items_max):
    """Put an item that is not in a chain into it: (the chain's first chunk plus one, did another have to give way?).

    Before a chunk is begun, the place of an item is taken that was renewed longest ago, if that is
    `keep_minutes` or more before `minute`, or if there are `items_max` of them.
    """
    first = np.int64(chain) - 1
    if first >= 0 and slab.rows[first].count < len(slab.rows[first].items):
        k = np.int64(slab.rows[first].count)
        _put(slab, first, k, item, minute, amount)
        slab.rows[first].count = k + 1
        return first + 1, False
    n, oldest, at, place = np.int64(0), np.int64(minute), np.int64(-1), 0
    c = first
    while c >= 0:
        chunk = slab.rows[c]
        for j in range(chunk.count):
            if np.int64(chunk.minutes[j]) < oldest or at < 0:
                oldest, at, place = np.int64(chunk.minutes[j]), c, j
        n += chunk.count
        c = np.int64(chunk.next) - 1
    stale = at >= 0 and oldest + keep_minutes <= minute
    if stale or n >= items_max:
        _put(slab, at, place, item, minute, amount)
        return first + 1, not stale
    c = np.int64(take_row(slab))
    slab.rows[c].next = first + 1
    _put(slab, c, 0, item, minute, amount)
    slab.rows[c].count = 1
    return c + 1, False


@kernel
def remove_item(slab, chain, c, k):
    """Take the item at (chunk, place) out of a chain: the last one of the first chunk takes its place. The chain's
    first chunk plus one."""
    first = np.int64(chain) - 1
    last = np.int64(slab.rows[first].count) - 1
    _put(slab, c, k, slab.rows[first].items[last], slab.rows[first].minutes[last], slab.rows[first].amounts[last])
    _put(slab, first, last, 0, 0, 0)
    slab.rows[first].count = last
    if last > 0:
        return first + 1
    after = np.int64(slab.rows[first].next)
    give_back(slab, first)
    return after


@kernel
def count_items(slab, chain):
    """How many items a chain holds."""
    n = np.int64(0)
    c = np.int64(chain) - 1
    while c >= 0:
        n += np.int64(slab.rows[c].count)
        c = np.int64(slab.rows[c].next) - 1
    return n


@kernel
def pack_items(slab, chain, words, at):
    """Append the items of a chain to `words` from `at` on, ENTRY_WORDS each; where they end."""
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = slab.rows[c]
        for k in range(chunk.count):
            words[at] = chunk.items[k]
            words[at + 1] = chunk.minutes[k]
            words[at + 2] = chunk.amounts[k]
            at += ENTRY_WORDS
        c = np.int64(chunk.next) - 1
    return at


@kernel
def unpack_items(slab, words, at, n):
    """A chain of the n items packed from `at` on: its first chunk plus one, and where they end."""
    chain = np.int64(0)
    for _ in range(n):
        first = chain - 1
        if first < 0 or slab.rows[first].count == len(slab.rows[first].items):
            first = np.int64(take_row(slab))
            slab.rows[first].next = chain
            chain = first + 1
        k = np.int64(slab.rows[first].count)
        _put(slab, first, k, words[at], words[at + 1], words[at + 2])
        slab.rows[first].count = k + 1
        at += ENTRY_WORDS
    return chain, at


def items_of(rows: np.ndarray, chain: int) -> dict[int, tuple[int, int]]:
    """The plain reading of a chain: item -> (minute, amount)."""
    found: dict[int, tuple[int, int]] = {}
    while chain:
        chunk = rows[chain - 1]
        columns = (chunk[name][: chunk["count"]].tolist() for name in ("items", "minutes", "amounts"))
        found.update({item: (minute, amount) for item, minute, amount in zip(*columns, strict=True)})
        chain = int(chunk["next"])
    return found
