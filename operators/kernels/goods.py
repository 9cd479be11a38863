"""What the lists of a process have to know of items: their categories, and which are not to be shown.

A table by open addressing, GOOD[slots] with a power of two of slots, at most half of them taken.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from operators.kernels.facts import fact_of
from state.batches import ITEM
from state.compiled import kernel
from state.profile_table import UNAVAILABLE
from state.table import home_slot

GOOD = np.dtype([("item", "u8"), ("ts", "i8"), ("category", "u4"), ("available", "u1")], align=True)
"""An item (0: nothing lies here), the newest `item` event that told of it (0: only acts did), the upper half of the
hash of its category (0: nobody told), and AVAILABLE, UNAVAILABLE or 0: 24 bytes."""

SIZE, OUT, LEFT_OUT, CHANGES = range(4)
"""Of the counts int64[4] of a table: items in it, those that are not to be shown, what there was no room for since it
was last counted, and how often an item has come to be shown or not."""


@kernel
def category_key(category):
    """The upper half of a category's hash, as GOOD keeps it: never 0 but for none."""
    return np.uint32(category >> np.uint64(32)) | np.uint32(category != np.uint64(0))


@kernel
def slot_of(goods, item):
    """Where an item lies in GOOD[slots], or where it would."""
    mask = np.uint64(len(goods) - 1)
    s = home_slot(item, len(goods))
    while goods[s].item != np.uint64(0) and goods[s].item != item:
        s = (s + np.uint64(1)) & mask
    return s


@kernel
def _taken_in(goods, counts, item, items_max):
    """The slot of an item, which is taken in where there is room; -1."""
    s = slot_of(goods, item)
    if goods[s].item == np.uint64(0):
        if counts[SIZE] >= items_max:
            counts[LEFT_OUT] += 1
            return np.int64(-1)
        goods[s].item = item
        counts[SIZE] += 1
    return np.int64(s)


@kernel
def _put_fact(goods, counts, fact, items_max):
    """An item as a shard knows it. What a newer event told stays."""
    s = _taken_in(goods, counts, fact.item, items_max)
    if s < 0 or fact.ts < goods[s].ts:
        return
    good = goods[s]
    good.ts = fact.ts
    if fact.category != np.uint64(0):
        good.category = category_key(fact.category)
    if fact.available != 0 and fact.available != good.available:
        counts[OUT] += np.int64(fact.available == UNAVAILABLE) - np.int64(good.available == UNAVAILABLE)
        counts[CHANGES] += 1
        good.available = fact.available


@kernel
def put_facts(goods, counts, facts, items_max):
    """Take in FACT_ROW[n] as a shard keeps them, into GOOD[slots] with room for all; `counts` int64[4] are added to.
    Rows without an item are passed over; past `items_max` new items are left out."""
    for i in range(len(facts)):
        if facts[i].item != np.uint64(0):
            _put_fact(goods, counts, facts[i], items_max)


@kernel
def put_told(goods, counts, facts, slot_hashes, slot_rows, events, items_max):
    """Take in what the `item` events among EVENT[n] have made of a shard's FACT_ROWs, found by an index of
    them."""
    for i in range(len(events)):
        if events[i].kind == ITEM:
            f = fact_of(slot_hashes, slot_rows, events[i].item)
            if f >= 0:
                _put_fact(goods, counts, facts[f], items_max)


@kernel
def put_categories(goods, counts, touches, items_max):
    """Categories that acts told (TOUCH[n]) of items of which no `item` event told one: the newest counts."""
    for i in range(len(touches)):
        if touches[i].category != np.uint64(0):
            s = _taken_in(goods, counts, touches[i].item, items_max)
            if s >= 0 and (goods[s].ts == 0 or goods[s].category == 0):
                goods[s].category = category_key(touches[i].category)


@kernel
def find_goods(goods, items, categories, out):
    """Of items uint64[n] the category's key (uint32[n], 0: not known), and whether they are not to be shown (uint8[n]):
    written."""
    for i in range(len(items)):
        good = goods[slot_of(goods, items[i])]
        categories[i] = good.category
        out[i] = good.available == UNAVAILABLE


@kernel
def refill(goods, larger):
    """Put all of GOOD[slots] into an empty, larger table."""
    for k in range(len(goods)):
        if goods[k].item != np.uint64(0):
            larger[slot_of(larger, goods[k].item)] = goods[k]


def goods_reference(
    told: Iterable[tuple[str, int, int, int, int]], items_max: int
) -> tuple[dict[int, tuple[int, bool]], int]:
    """The plain reference of a table that was told, one after the other, ("fact", item, category, ts, available) or
    ("act", item, category, 0, 0): of each item (category key, is it not to be shown), and how often there was no
    room."""
    known: dict[int, tuple[int, int, int]] = {}
    left_out = 0
    for what, item, category, ts, available in told:
        if what == "act" and not category:
            continue
        if item not in known and len(known) >= items_max:
            left_out += 1
            continue
        newest, its_category, its_available = known.get(item, (0, 0, 0))
        key = (category >> 32) | (category != 0)
        if what == "fact" and ts >= newest:
            known[item] = (ts, key or its_category, available or its_available)
        elif what == "act" and (newest == 0 or its_category == 0):
            known[item] = (newest, key, its_available)
        else:
            known[item] = (newest, its_category, its_available)
    return {item: (key, available == UNAVAILABLE) for item, (_, key, available) in known.items()}, left_out
