"""The catalogue of the lists against a plain dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.goods import Goods
from operators.kernels.goods import category_key, goods_reference
from state.batches import EVENT, ITEM, TOUCH, VIEW
from state.hashing import hash_text
from state.metrics import Metrics, read_samples
from state.profile_table import AVAILABLE, FACT_ROW, UNAVAILABLE
from state.table import HashIndex

ITEMS = [hash_text(f"i{n}") for n in range(150)]
CATEGORIES = [0, *(hash_text(f"c{n}") for n in range(3)), 5]
"""One of them has no upper half."""

TOLD = st.tuples(
    st.sampled_from(["fact", "act"]),
    st.sampled_from(ITEMS),
    st.sampled_from(CATEGORIES),
    st.integers(1, 4),
    st.sampled_from([0, AVAILABLE, UNAVAILABLE]),
)


def tell(goods: Goods, told: list[tuple[str, int, int, int, int]], hear: bool) -> None:
    """Tell goods one after the other; facts all at once, or as a shard hears them."""
    for what, item, category, ts, available in told:
        if what == "act":
            touches = np.zeros(1, TOUCH)
            touches["item"], touches["category"] = item, category
            goods.hear_acts(touches)
            continue
        facts = np.zeros(2, FACT_ROW)
        for name, value in (("item", item), ("category", category), ("ts", ts), ("available", available)):
            facts[name][1] = value
        if not hear:
            goods.restore(facts)
            continue
        index, events = HashIndex(), np.zeros(3, EVENT)
        index.rebuild(facts["item"])
        events["kind"], events["item"] = (VIEW, ITEM, ITEM), (ITEMS[0], item, 77)
        goods.hear(events, 2, facts, index.slot_hashes, index.slot_rows)


@given(st.lists(TOLD, max_size=200), st.sampled_from([1, 20, 1000]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_goods_know_what_they_were_told(told: list[tuple[str, int, int, int, int]], items_max: int, hear: bool) -> None:
    """A newer `item` event overrides what it tells, acts fill categories in, what finds no room is counted."""
    metrics = Metrics()
    goods = Goods(items_max, metrics=metrics)
    tell(goods, told, hear)
    expected, left_out = goods_reference([one if one[0] == "fact" else (*one[:3], 0, 0) for one in told], items_max)
    categories, out = goods.find(np.array(ITEMS, np.uint64))
    assert categories.tolist() == [expected.get(item, (0, False))[0] for item in ITEMS]
    assert out.tolist() == [expected.get(item, (0, False))[1] for item in ITEMS]
    assert (goods.size, goods.out) == (len(expected), int(out.sum()))
    assert read_samples(metrics.evictions, "component").get("goods", 0) == left_out
    assert goods.nbytes <= max(64, 4 * goods.size) * 24


def test_categories_of_acts_are_passed_over_where_no_rule_asks_for_them() -> None:
    """They would cost a look at every act."""
    goods = Goods(of_acts=False)
    tell(goods, [("act", ITEMS[0], CATEGORIES[1], 0, 0)], hear=False)
    assert goods.size == 0


def test_changes_are_counted_where_an_item_comes_to_be_shown_or_not() -> None:
    """Told the same again, by every shard of a process, it is none."""
    goods = Goods()
    told = [("fact", ITEMS[0], 0, ts, available) for ts, available in ((1, 2), (1, 2), (2, 1), (1, 2), (3, 0), (4, 2))]
    seen = []
    for one in told:
        tell(goods, [one], hear=True)
        seen.append((goods.changes, goods.out))
    assert seen == [(1, 1), (1, 1), (2, 0), (2, 0), (2, 0), (3, 1)]


def test_the_key_of_a_category_is_only_0_for_none() -> None:
    """However its hash begins."""
    assert [int(category_key(np.uint64(c))) for c in (0, 5, 7 << 32, (7 << 32) + 1)] == [0, 1, 7, 7]
