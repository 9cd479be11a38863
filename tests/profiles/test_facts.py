"""What `item` events told of items, in rows that are bounded, against a plain reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slab_maker import make_slab

from operators.kernels.facts import Told, fact_of, facts_reference, tell
from state.batches import EVENT, ITEM
from state.profile_table import AVAILABLE, FACT_ROW, SHARD_ROW, UNAVAILABLE
from state.table import HashIndex

ITEMS = [n << 24 for n in (1, 2, 3, 4, 127, 128, 129, 255, 256, 257, 1 << 30, 2 << 30, (2 << 30) + 127)]
"""Neighbours in an index of 128 slots, many of them after the same slot, and at its end."""

TOLD = st.builds(
    Told,
    item=st.sampled_from(ITEMS),
    ts=st.integers(1, 5),
    category=st.integers(0, 3),
    brand=st.integers(0, 3),
    price=st.integers(-1, 2),
    available=st.integers(-1, 1),
)
OUT = {0: -1, AVAILABLE: 1, UNAVAILABLE: 0}


class Catalogue:
    """The facts of a shard, with an index that is filled to half."""

    def __init__(self, facts_max: int) -> None:
        self.facts, self.index, self.shard = make_slab(FACT_ROW, facts_max), HashIndex(), np.zeros(1, SHARD_ROW)
        self.facts_max, self.found = facts_max, np.zeros(2, np.int64)

    def tell(self, told: list[Told]) -> None:
        events = np.zeros(len(told), EVENT)
        events["kind"] = ITEM
        for event, one in zip(events, told, strict=True):
            for name in ("item", "ts", "category", "price"):
                event[name] = getattr(one, name)
            event["told"][0], event["value"] = one.brand, one.available
            self.facts.dirty[:] = 0
            index = self.index.slot_hashes, self.index.slot_rows
            tell(self.facts, *index, event, self.facts_max, self.shard, self.found)
            row = fact_of(*index, np.uint64(one.item))
            assert row < 0 or self.facts.dirty[row]

    def known(self) -> dict[int, Told]:
        """All that is known, each item found by the index."""
        out = {}
        for item in ITEMS:
            row = fact_of(self.index.slot_hashes, self.index.slot_rows, np.uint64(item))
            if row >= 0:
                fact = self.facts.rows[row]
                assert fact["item"] == item
                figures = (int(fact[name]) for name in ("ts", "category", "brand", "price"))
                out[item] = Told(item, *figures, OUT[int(fact["available"])])
        assert len(out) == self.facts.head[0] == self.found[0]
        return out


@given(st.lists(TOLD, max_size=60), st.sampled_from([1, 2, 5, 8, 64]))
@settings(max_examples=300, deadline=None)
def test_facts_are_what_item_events_told(told: list[Told], facts_max: int) -> None:
    """A newer event overrides, an older one fills in; past the bound what is not available takes others' places."""
    catalogue = Catalogue(facts_max)
    catalogue.tell(told)
    known, no_room = facts_reference(told, facts_max)
    assert (catalogue.known(), int(catalogue.found[1])) == (known, no_room)
    assert catalogue.shard["facts_out"][0] == sum(one.available == 0 for one in known.values())


@given(st.lists(TOLD, max_size=60), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_no_item_that_is_not_available_is_lost_while_another_has_a_row(told: list[Told], facts_max: int) -> None:
    """After each event, of events in order of time."""
    catalogue, out = Catalogue(facts_max), set[int]()
    for ts, one in enumerate(told, 1):
        one.ts = ts
        catalogue.tell([one])
        out = out - {one.item} if one.available == 1 else out | {one.item} if one.available == 0 else out
        kept = {item for item, known in catalogue.known().items() if known.available == 0}
        assert kept <= out
        assert kept == out or len(kept) == facts_max
        out = kept  # what found no room, all rows being taken by others of its kind, is not heard of again


@pytest.mark.parametrize("late", [0, 1])
def test_whether_an_item_is_available_is_as_the_newest_event_that_told_it_says(late: int) -> None:
    """However new events are that told other things."""
    catalogue = Catalogue(1)
    catalogue.tell(
        [Told(ITEMS[0], 1, available=1 - late), Told(ITEMS[0], 3, price=5), Told(ITEMS[0], 2, available=late)]
    )
    assert catalogue.known() == {ITEMS[0]: Told(ITEMS[0], 3, price=5, available=late)}
    catalogue.tell([Told(ITEMS[0], 1, available=1 - late)])
    assert catalogue.known()[ITEMS[0]].available == late
