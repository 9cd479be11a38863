"""The catalogue of the lists against a plain dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.goods import Goods
from operators.kernels.goods import category_key, goods_reference
from state.batches import EVENT, ITEM, TOUCH, VIEW
from state.hashing import hash_text
from state.metrics import Metrics, read_samples
from state.profile_table import AVAILABLE, FACT_ROW, UNAVAILABLE

ITEMS = [hash_text(f"i{n}") for n in range(150)]
CATEGORIES = [0, *(hash_text(f"c{n}") for n in range(3)), 5]
"""One of them has no upper half."""

Told = tuple[str, int, int, int, int]


def tellings(items: list[int]) -> st.SearchStrategy[Told]:
    """Something that is told of one of some items."""
    available = st.sampled_from([0, AVAILABLE, UNAVAILABLE])
    of_items = st.tuples(
        st.just("item"), st.sampled_from(items), st.sampled_from(CATEGORIES), st.integers(1, 4), available
    )
    of_acts = st.tuples(st.just("act"), st.sampled_from(items), st.sampled_from(CATEGORIES), st.just(0), st.just(0))
    return of_items | of_acts


def tell(goods: Goods, told: list[Told]) -> None:
    """Tell goods one after the other; of events between others, for these alone are passed over."""
    for what, item, category, ts, available in told:
        if what == "act":
            touches = np.zeros(1, TOUCH)
            touches["item"], touches["category"] = item, category
            goods.hear_acts(touches)
            continue
        events = np.zeros(2, EVENT)
        events["kind"], events["item"], events["category"], events["ts"] = (VIEW, ITEM), (ITEMS[0], item), category, ts
        events["value"] = {0: -1, AVAILABLE: 1, UNAVAILABLE: 0}[available]
        goods.hear(events)


def facts_of(told: list[Told]) -> np.ndarray:
    """FACT_ROWs of what was told, and one of nothing."""
    facts = np.zeros(1 + len(told), FACT_ROW)
    for fact, (_, item, category, ts, available) in zip(facts, told, strict=False):
        fact["item"], fact["category"], fact["ts"], fact["available"] = item, category, ts, available
        fact["available_ts"] = ts if available else 0
    return facts


def content(goods: Goods) -> dict[int, tuple[int, bool]]:
    """All that goods know."""
    items = goods.table["item"][goods.table["item"] != 0]
    categories, out = goods.find(items)
    return dict(zip(items.tolist(), zip(categories.tolist(), out.tolist(), strict=True), strict=True))


@given(st.lists(tellings(ITEMS), max_size=200) | st.lists(tellings(ITEMS[:3]), max_size=30))
@settings(max_examples=150, deadline=None)
def test_goods_know_what_they_were_told(told: list[Told]) -> None:
    """By one shard and by another that comes after it; the table grows with what it knows."""
    goods = Goods()
    tell(goods, told)
    assert content(goods) == (expected := goods_reference(told))
    tell(goods, [one for one in told if one[0] == "item"])
    assert content(goods) == expected
    assert (goods.size, goods.out) == (len(expected), sum(out for _, out in expected.values()))
    assert goods.nbytes <= max(64, 4 * goods.size) * 32


@given(st.lists(tellings(ITEMS[:12]), max_size=100), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_past_their_bound_what_is_not_to_be_shown_takes_the_place_of_what_may_be(
    told: list[Told], items_max: int
) -> None:
    """Of each thing told, whether its item was known, found room, took another's place, or was left out and counted."""
    metrics = Metrics()
    goods = Goods(items_max, metrics=metrics)
    told_of: dict[int, list[Told]] = {}
    lost = 0
    for one in told:
        what, item, category, _, available = one
        before = content(goods)
        tell(goods, [one])
        after = content(goods)
        gone = before.keys() - after.keys()
        if what == "act" and not category:
            assert after == before
        elif item in before or len(before) < items_max:
            assert after.keys() == before.keys() | {item}
        elif available == UNAVAILABLE and not all(out for _, out in before.values()):
            (goes,) = gone
            assert after.keys() == before.keys() - gone | {item} and not before[goes][1]
            del told_of[goes]
            lost += 1
        else:
            assert after == before
            lost += 1
        if item in after:
            told_of.setdefault(item, []).append(one)
        assert after == goods_reference([one for its in told_of.values() for one in its])
        assert (goods.size, goods.out) == (len(after), sum(out for _, out in after.values()))
    assert read_samples(metrics.evictions, "component").get("goods", 0) == lost


def test_what_is_not_available_is_never_lost_while_there_is_room_that_others_take() -> None:
    """A thousand items, every second one not available, and room for half of them."""
    items = [hash_text(f"n{n}") for n in range(1000)]
    goods = Goods(500)
    tell(goods, [("item", item, 5, 1, (AVAILABLE, UNAVAILABLE)[n % 2]) for n, item in enumerate(items)])
    assert (goods.size, goods.out) == (500, 500)
    assert goods.find(np.array(items, np.uint64))[1].tolist() == [False, True] * 500
    assert goods.find(np.array(items, np.uint64))[0].tolist() == [0, 1] * 500


def test_what_all_shards_tell_is_counted_once() -> None:
    """Where there is no room for it, in hearing and in a resume."""
    metrics = Metrics()
    goods = Goods(1, metrics=metrics)
    told: list[Told] = [("item", item, 0, 1, UNAVAILABLE) for item in ITEMS[:3]]
    for shard in range(16):
        goods.restore(facts_of(told), shard == 0)
    assert read_samples(metrics.evictions, "component")["goods"] == 2
    events = np.zeros(3, EVENT)
    events["kind"], events["item"], events["ts"] = ITEM, ITEMS[:3], 1
    for shard in range(16):
        goods.hear(events, shard == 0)
    assert read_samples(metrics.evictions, "component")["goods"] == 4


def test_a_resume_by_many_shards_takes_no_more_room_than_one() -> None:
    """All tell the same items."""
    told: list[Told] = [("item", hash_text(f"n{n}"), 0, 1, UNAVAILABLE) for n in range(1000)]
    goods = Goods()
    for _ in range(16):
        goods.restore(facts_of(told))
    assert goods.size == goods.out == 1000
    assert goods.nbytes == 2048 * 32


@pytest.mark.parametrize("late", [AVAILABLE, UNAVAILABLE])
def test_the_newest_event_that_told_available_counts_however_new_others_are(late: int) -> None:
    """An event that came late, after a newer one of the price; and one that came later still."""
    other = AVAILABLE + UNAVAILABLE - late
    told: list[Told] = [("item", ITEMS[0], 0, 1, other), ("item", ITEMS[0], 0, 3, 0), ("item", ITEMS[0], 0, 2, late)]
    for further in ([], [("item", ITEMS[0], 0, 1, other)]):
        goods = Goods()
        tell(goods, [*told, *further])
        assert content(goods) == {ITEMS[0]: (0, late == UNAVAILABLE)}


def test_the_last_category_an_act_told_counts_until_an_item_event_tells_one() -> None:
    """Also after an `item` event that told another thing."""
    goods = Goods()
    seen = []
    acts: list[Told] = [("act", ITEMS[0], category, 0, 0) for category in CATEGORIES[1:4]]
    for one in (acts[0], ("item", ITEMS[0], 0, 2, AVAILABLE), *acts[1:], ("item", ITEMS[0], 5, 1, 0), acts[0]):
        tell(goods, [one])
        seen.append(content(goods)[ITEMS[0]][0])
    a, b, c = (int(category_key(np.uint64(category))) for category in CATEGORIES[1:4])
    assert seen == [a, a, b, c, 1, 1]


@given(st.lists(tellings(ITEMS[:20]), max_size=60))
@settings(max_examples=50, deadline=None)
def test_facts_tell_what_events_told(told: list[Told]) -> None:
    """Where each item has one fact."""
    by_item = {one[1]: one for one in told if one[0] == "item"}
    heard, restored = Goods(), Goods()
    tell(heard, [*by_item.values()])
    restored.restore(facts_of([*by_item.values()]))
    assert content(restored) == content(heard)


def test_categories_of_acts_are_passed_over_where_no_rule_asks_for_them() -> None:
    """They would cost a look at every act."""
    goods = Goods(of_acts=False)
    tell(goods, [("act", ITEMS[0], CATEGORIES[1], 0, 0)])
    assert goods.size == 0


def test_changes_are_counted_where_an_item_comes_to_be_shown_or_not() -> None:
    """Told the same again, by every shard of a process, it is none."""
    goods = Goods()
    told = [("item", ITEMS[0], 0, ts, available) for ts, available in ((1, 2), (1, 2), (2, 1), (1, 2), (3, 0), (4, 2))]
    seen = []
    for one in told:
        tell(goods, [one])
        seen.append((goods.changes, goods.out))
    assert seen == [(1, 1), (1, 1), (2, 0), (2, 0), (2, 0), (3, 1)]


def test_the_key_of_a_category_is_only_0_for_none() -> None:
    """However its hash begins."""
    assert [int(category_key(np.uint64(c))) for c in (0, 5, 7 << 32, (7 << 32) + 1)] == [0, 1, 7, 7]
