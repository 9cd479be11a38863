"""What the lists of a process have to know of items: their categories, and which are not to be shown.

A table by open addressing, GOOD[slots] with a power of two of slots, at most half of them taken. Kernels that take
items in stop where the table is to grow: they tell how far they came, and are called again for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from state.batches import ITEM
from state.compiled import kernel
from state.profile_table import AVAILABLE, UNAVAILABLE
from state.table import home_slot

GOOD = np.dtype(
    [
        ("item", "u8"),  # 0: nothing lies here
        ("ts", "i8"),  # newest `item` event that told of it; 0: only acts did
        ("available_ts", "i8"),  # newest one that told `available`
        ("category", "u4"),  # upper half of the category's hash; 0: nobody told
        ("available", "u1"),  # AVAILABLE, UNAVAILABLE, or 0: nobody told
        ("told", "u1"),  # 1: the category is that of an `item` event
    ],
    align=True,
)
"""An item: 32 bytes."""

SIZE, OUT, LEFT_OUT, GAVE_WAY, CHANGES, TURN = range(6)
"""Of the counts int64[6] of a table: items in it, those that are not to be shown, what there was no room for and what
gave way since they were last counted, how often an item has come to be shown or not, and the slot with which the next
search for one that may give way begins."""

_NO_ROOM, _GROW = -1, -2


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
def _give_way(goods, counts):
    """Take out the next item in turn that may be shown; there must be one. What was moved on by its slot moves back."""
    mask = np.uint64(len(goods) - 1)
    hole = np.uint64(counts[TURN]) & mask
    while goods[hole].item == np.uint64(0) or goods[hole].available == UNAVAILABLE:
        hole = (hole + np.uint64(1)) & mask
    counts[TURN] = np.int64(hole) + 1
    s = (hole + np.uint64(1)) & mask
    while goods[s].item != np.uint64(0):
        home = home_slot(goods[s].item, len(goods))
        if ((s - home) & mask) >= ((s - hole) & mask):
            goods[hole] = goods[s]
            hole = s
        s = (s + np.uint64(1)) & mask
    empty = goods[hole]
    empty.item = 0
    empty.ts = 0
    empty.available_ts = 0
    empty.category = 0
    empty.available = 0
    empty.told = 0
    counts[SIZE] -= 1
    counts[GAVE_WAY] += 1


@kernel
def _taken_in(goods, counts, item, out, items_max):
    """The slot of an item, which is taken in where there is room; _NO_ROOM, or _GROW. One that is `out`, not to be
    shown, takes the place of one that may be shown."""
    s = slot_of(goods, item)
    if goods[s].item == item:
        return np.int64(s)
    if counts[SIZE] >= items_max:
        if not out or counts[OUT] >= counts[SIZE]:
            counts[LEFT_OUT] += 1
            return np.int64(_NO_ROOM)
        _give_way(goods, counts)
        s = slot_of(goods, item)
    elif 2 * (counts[SIZE] + 1) > len(goods):
        return np.int64(_GROW)
    goods[s].item = item
    counts[SIZE] += 1
    return np.int64(s)


@kernel
def _put(goods, counts, item, ts, category, available, available_ts, items_max):
    """What `item` events told of an item; what newer ones told stays. False: the table is to grow first."""
    s = _taken_in(goods, counts, item, available == UNAVAILABLE, items_max)
    if s < 0:
        return s != _GROW
    good = goods[s]
    if category != np.uint64(0) and (ts >= good.ts or good.told == 0):
        good.category = category_key(category)
        good.told = 1
    good.ts = max(good.ts, ts)
    if available != 0 and (available_ts >= good.available_ts or good.available == 0):
        if available != good.available:
            counts[OUT] += np.int64(available == UNAVAILABLE) - np.int64(good.available == UNAVAILABLE)
            counts[CHANGES] += 1
        good.available = available
        good.available_ts = available_ts
    return True


@kernel
def put_facts(goods, counts, facts, begin, items_max):
    """Take in FACT_ROW[n] as a shard keeps them, from the row `begin` on: how far it came. `counts` int64[6] are added
    to. Rows without an item are passed over; past `items_max` what may be shown gives way to what may not, and other
    new items are left out."""
    for i in range(begin, len(facts)):
        fact = facts[i]
        if fact.item != np.uint64(0) and not _put(
            goods, counts, fact.item, fact.ts, fact.category, fact.available, fact.available_ts, items_max
        ):
            return i
    return len(facts)


@kernel
def put_told(goods, counts, events, begin, items_max):
    """The same of what the `item` events among EVENT[n] tell."""
    for i in range(begin, len(events)):
        event = events[i]
        if event.kind == ITEM:
            available = np.uint8(0)
            if event.value >= 0:
                available = np.uint8(AVAILABLE if event.value > 0 else UNAVAILABLE)
            if not _put(goods, counts, event.item, event.ts, event.category, available, event.ts, items_max):
                return i
    return len(events)


@kernel
def put_categories(goods, counts, touches, begin, items_max):
    """The same of categories that acts told (TOUCH[n]): the last one counts, of items of which no `item` event told
    one."""
    for i in range(begin, len(touches)):
        if touches[i].category != np.uint64(0):
            s = _taken_in(goods, counts, touches[i].item, False, items_max)
            if s == _GROW:
                return i
            if s >= 0 and goods[s].told == 0:
                goods[s].category = category_key(touches[i].category)
    return len(touches)


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


def goods_reference(told: Iterable[tuple[str, int, int, int, int]]) -> dict[int, tuple[int, bool]]:
    """The plain reference of a table with room for all that was told, one after the other, ("item", item, category, ts,
    available) or ("act", item, category, 0, 0): of each item (category key, is it not to be shown). Written from the
    rules of lists in docs/INTERFACES.md and of the catalogue in docs/PROFILES.md."""
    by_item: dict[int, list[tuple[str, int, int, int]]] = {}
    for what, item, category, ts, available in told:
        if what == "item" or category:
            by_item.setdefault(item, []).append((what, category, ts, available))
    known = {}
    for item, its in by_item.items():
        events = [(category, ts, available) for what, category, ts, available in its if what == "item"]
        # A newer event overrides what it tells, an older one only fills what is not known.
        of_events, newest = 0, 0
        for category, ts, _ in events:
            if category and (ts >= newest or not of_events):
                of_events = category
            newest = max(newest, ts)
        # Where they tell none, the last one an act told.
        of_acts = [category for what, category, _, _ in its if what == "act"]
        category = of_events or (of_acts[-1] if of_acts else 0)
        # The newest event that told `available`; of those of one time the last to come.
        availability = sorted(((ts, n, available) for n, (_, ts, available) in enumerate(events) if available))
        out = bool(availability) and availability[-1][2] == UNAVAILABLE
        known[item] = ((category >> 32) | (category != 0), out)
    return known
