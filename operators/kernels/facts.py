"""What `item` events told of items: category, brand and price, for acts that do not; and what is available."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from operators.kernels.slabs import take_row
from state.compiled import kernel
from state.profile_table import AVAILABLE, UNAVAILABLE
from state.table import home_slot

_FREE = -1


@kernel
def _slot_of(slot_hashes, slot_rows, item):
    """Where an item lies in the index, or where it would."""
    mask = np.uint64(len(slot_rows) - 1)
    s = home_slot(item, len(slot_rows))
    while slot_rows[s] != _FREE and slot_hashes[s] != item:
        s = (s + np.uint64(1)) & mask
    return s


@kernel
def fact_of(slot_hashes, slot_rows, item):
    """The row of an item; -1 where nothing was told of it."""
    return np.int64(slot_rows[_slot_of(slot_hashes, slot_rows, item)])


@kernel
def _forget(slot_hashes, slot_rows, item):
    """Take an item out of the index: what was moved on by its slot moves back."""
    mask = np.uint64(len(slot_rows) - 1)
    hole = _slot_of(slot_hashes, slot_rows, item)
    s = (hole + np.uint64(1)) & mask
    while slot_rows[s] != _FREE:
        home = home_slot(slot_hashes[s], len(slot_rows))
        if ((s - home) & mask) >= ((s - hole) & mask):
            slot_hashes[hole] = slot_hashes[s]
            slot_rows[hole] = slot_rows[s]
            hole = s
        s = (s + np.uint64(1)) & mask
    slot_rows[hole] = _FREE


@kernel
def _given_up(facts, slot_hashes, slot_rows, shard):
    """The row, zeroed, of an item that gives way: the next in turn that is not unavailable. There must be one."""
    r = shard[0].facts_turn % facts.head[0]
    while facts.rows[r].available == UNAVAILABLE:
        r = (r + 1) % facts.head[0]
    shard[0].facts_turn = r + 1
    _forget(slot_hashes, slot_rows, facts.rows[r].item)
    facts.words[r, :] = np.uint64(0)
    return r


@kernel
def tell(facts, slot_hashes, slot_rows, event, facts_max, shard, found):
    """Take an `item` event in: a newer one overrides what it tells, an older one fills what is not known. Of whether
    the item is available the newest event that tells it counts.

    Past `facts_max` rows an item that is told not to be available takes the row of one of which that is not known; if
    there is none, and for all other items, there is no room. `shard` SHARD_ROW[1]: `facts_out` and `facts_turn` are
    kept. `found` int64[2] is added to: rows begun, items that gave way or found no room.
    """
    r = fact_of(slot_hashes, slot_rows, event.item)
    if r < 0:
        if facts.head[0] < facts_max:
            r = take_row(facts)
            found[0] += 1
        else:
            found[1] += 1
            if event.value != 0 or shard[0].facts_out >= facts.head[0]:
                return
            r = _given_up(facts, slot_hashes, slot_rows, shard)
        s = _slot_of(slot_hashes, slot_rows, event.item)
        slot_hashes[s] = event.item
        slot_rows[s] = r
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
    if event.value >= 0 and (event.ts >= fact.available_ts or fact.available == 0):
        shard[0].facts_out += np.int64(event.value == 0) - np.int64(fact.available == UNAVAILABLE)
        fact.available = AVAILABLE if event.value > 0 else UNAVAILABLE
        fact.available_ts = event.ts
    fact.ts = max(fact.ts, event.ts)
    facts.dirty[r] = 1


@dataclass
class Told:
    """What an `item` event tells: of category and brand 0, of the price and of whether it is available -1 for nothing
    told."""

    item: int
    ts: int
    category: int = 0
    brand: int = 0
    price: int = -1
    available: int = -1


def facts_reference(events: Iterable[Told], facts_max: int) -> tuple[dict[int, Told], int]:
    """The plain reference of `tell`, event after event: what is known of each item, and how many gave way or found no
    room. The events of an item are kept and gone through anew for each of its fields."""
    rows: list[list[Told]] = []
    turn = no_room = 0

    def is_out(row: list[Told]) -> bool:
        return _known(row).available == 0

    for event in events:
        row = next((row for row in rows if row[0].item == event.item), None)
        if row is not None:
            row.append(event)
        elif len(rows) < facts_max:
            rows.append([event])
        else:
            no_room += 1
            in_turn = [*range(turn, len(rows)), *range(turn)]
            if event.available == 0 and (may_go := [r for r in in_turn if not is_out(rows[r])]):
                rows[may_go[0]] = [event]
                turn = may_go[0] + 1
    return {row[0].item: _known(row) for row in rows}, no_room


def _known(events: list[Told]) -> Told:
    """What some events, in the order they came, make known of their item."""
    known = Told(events[0].item, max(event.ts for event in events))
    for name, nothing in (("category", 0), ("brand", 0), ("price", -1)):
        for n, event in enumerate(events):
            value = getattr(event, name)
            if value != nothing and (getattr(known, name) == nothing or all(event.ts >= one.ts for one in events[:n])):
                setattr(known, name, value)
    told = [event for event in events if event.available >= 0]
    newest = max((event.ts for event in told), default=0)
    for event in told:
        if event.ts == newest:
            known.available = event.available
    return known
