"""What is popular in a category, as an item shard keeps it up, against plain Python, and made anew from the rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.category_popular import (
    CategoryLists,
    categories_of,
    no_categories,
    note_popular,
    note_popular_reference,
)
from operators.kernels.neighbours import ITEM_ROW, SHARD_ROW, touch
from state.batches import TOUCH
from state.models import CATEGORY_ITEMS

HALF_LIFE_MS = 1000.0


def noted(
    touches: list[tuple[int, int, int, float]], categories_max: int, cut: int
) -> tuple[np.ndarray, CategoryLists]:
    """Rows of items 0 to 99 and their lists after touches (item, category, ts, weight), so many in a batch."""
    items, dirty, shard = np.zeros(100, ITEM_ROW), np.zeros(100, np.uint8), np.zeros(1, SHARD_ROW)
    items["item"], items["popularity"] = np.arange(100) + 1, -np.inf
    lists = no_categories(categories_max)
    for begin in range(0, len(touches), cut):
        some = touches[begin : begin + cut]
        rows = np.array([item for item, *_ in some], np.int32)
        batch = np.array([(item + 1, category, ts, -1, weight) for item, category, ts, weight in some], TOUCH)
        touch(items, dirty, rows, batch, shard, HALF_LIFE_MS)
        note_popular(items, rows, batch, HALF_LIFE_MS, lists)
    return items, lists


def by_category(lists: CategoryLists) -> dict[int, list[int]]:
    return {int(lists.categories[k]): lists.rows[k, : lists.counts[k]].tolist() for k in range(int(lists.used[0]))}


@given(seed=st.integers(0, 2**32 - 1), categories=st.integers(1, 6), room=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_lists_of_categories_are_those_of_the_plain_reference(seed: int, categories: int, room: int) -> None:
    """Also where there are more categories than room, so that one takes the place and the weight of another."""
    rng = np.random.default_rng(seed)
    of_item = rng.integers(1, categories + 1, 100)
    ts = np.sort(rng.permutation(20_000)[:300])  # no two touches at one time, so that no two items are equal
    touches = [
        (int(item), int(of_item[item]), int(at), float(rng.integers(1, 4)))
        for item, at in zip((100 * rng.random(300) ** 2).astype(int).tolist(), ts.tolist(), strict=True)
    ]
    expected = note_popular_reference([(i, c, at / HALF_LIFE_MS, w) for i, c, at, w in touches], room)
    _, lists = noted(touches, room, cut=1)
    assert by_category(lists) == expected


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_lists_are_the_best_of_all_rows_of_a_category(seed: int, cut: int) -> None:
    """However touches are cut into batches, and made anew from the rows of the items as after a restart."""
    rng = np.random.default_rng(seed)
    of_item = rng.integers(0, 4, 100)  # 0: not known
    touches = [
        (int(item), int(of_item[item]), int(at), 1.0)
        for item, at in zip(rng.integers(0, 100, 400).tolist(), rng.permutation(40_000)[:400].tolist(), strict=True)
    ]
    items, lists = noted(touches, 8, cut)
    anew = by_category(categories_of(items, 8))
    assert by_category(lists) == anew
    for category in np.unique(of_item[of_item > 0]).tolist():
        rows = np.flatnonzero((items["category"] == category) & (items["popularity"] > -np.inf))
        best = rows[np.argsort(-items["popularity"][rows])][:CATEGORY_ITEMS].tolist()
        assert anew.get(category, []) == best
    assert 0 not in anew


def test_facts_alone_do_not_make_an_item_popular() -> None:
    """An `item` event is a touch without weight."""
    _, lists = noted([(3, 7, 1, 0.0), (4, 7, 2, 1.0)], 4, 1)
    assert by_category(lists) == {7: [4]}


def test_after_a_restart_the_heaviest_categories_are_kept() -> None:
    """Where there is no room for all."""
    touches = [(item, 1 + item // 10, item, 1.0 + (item // 10 in (3, 7))) for item in range(100)]
    items, _ = noted(touches, 16, 7)
    kept = by_category(categories_of(items, 2))
    assert set(kept) < {4, 8, 9, 10} and len(kept) == 2
