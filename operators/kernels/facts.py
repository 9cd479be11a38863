"""What `item` events told of items: category, brand and price, for acts that do not; and what is available."""

from __future__ import annotations

import numpy as np

from operators.kernels.slabs import take_row
from state.compiled import kernel
from state.profile_table import AVAILABLE, UNAVAILABLE
from state.table import home_slot

_FREE = -1


@kernel
def fact_of(slot_hashes, slot_rows, item):
    """The row of an item; -1 where nothing was told of it."""
    mask = np.uint64(len(slot_rows) - 1)
    s = home_slot(item, len(slot_rows))
    while slot_rows[s] != _FREE and slot_hashes[s] != item:
        s = (s + np.uint64(1)) & mask
    return np.int64(slot_rows[s])


@kernel
def tell(facts, slot_hashes, slot_rows, event, facts_max, found):
    """Take an `item` event in: a newer one overrides what it tells, an older one fills what is not known.

    `found` int64[2] is added to: items taken in, items there was no room for.
    """
    r = fact_of(slot_hashes, slot_rows, event.item)
    if r < 0:
        if facts.head[0] >= facts_max:
            found[1] += 1
            return
        r = take_row(facts)
        mask = np.uint64(len(slot_rows) - 1)
        s = home_slot(event.item, len(slot_rows))
        while slot_rows[s] != _FREE:
            s = (s + np.uint64(1)) & mask
        slot_hashes[s] = event.item
        slot_rows[s] = r
        found[0] += 1
        facts.rows[r].item = event.item
        facts.rows[r].price = -1
    fact = facts.rows[r]
    newer = event.ts >= fact.ts
    if event.category != 0 and (newer or fact.category == 0):
        fact.category = event.category
    if event.told[0] != 0 and (newer or fact.brand == 0):
        fact.brand = event.told[0]
    if event.price >= 0 and (newer or fact.price < 0):
        fact.price = event.price
    if event.value >= 0 and (newer or fact.available == 0):
        fact.available = AVAILABLE if event.value > 0 else UNAVAILABLE
    fact.ts = max(fact.ts, event.ts)
    facts.dirty[r] = 1
