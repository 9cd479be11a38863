"""What is popular in the categories of the whole shop, from what each item shard tells of its own."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.learn import Learner, LearnSettings
from operators.learn.popular import merged_categories
from state.metrics import Metrics
from state.models import CATEGORY_ITEMS, ByCategory, ShardPopularity

START_MS = 1_700_000_000_000
DAY_MS = 86_400_000
Rows = dict[int, list[tuple[int, float]]]


def told(shard: int, ts: int, rows: Rows | None) -> ShardPopularity:
    """What a shard tells: one item that is popular, and those of its categories, if it does."""
    by_category = None if rows is None else known_as(rows)
    return ShardPopularity(shard, np.array([1 + shard], np.uint64), np.ones(1, np.float32), ts, by_category)


def known_as(rows: Rows) -> ByCategory:
    entries = [entry for category in sorted(rows) for entry in rows[category]]
    starts = np.cumsum([0, *(len(rows[category]) for category in sorted(rows))]).astype(np.int64)
    items, scores = np.array([i for i, _ in entries], np.uint64), np.array([s for _, s in entries], np.float32)
    return ByCategory(np.array(sorted(rows), np.uint64), starts, items, scores)


def known(by: ByCategory) -> Rows:
    bounds = by.starts.tolist()
    items, scores = by.items.tolist(), by.scores.tolist()
    return {
        category: list(zip(items[a:b], scores[a:b], strict=True))
        for category, a, b in zip(by.categories.tolist(), bounds, bounds[1:], strict=False)
    }


@given(seed=st.integers(0, 2**32 - 1), categories_max=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_categories_of_all_shards_meet_at_the_newest_time(seed: int, categories_max: int) -> None:
    """The best items of the heaviest categories; what was told so many days ago counts less."""
    rng = np.random.default_rng(seed)
    of = {shard: START_MS + int(rng.integers(0, 4)) * DAY_MS for shard in range(3)}
    lists: dict[int, Rows] = {}
    for shard in of:
        lists[shard] = {}
        for c in (rng.permutation(5)[: rng.integers(0, 5)] + 1).tolist():
            entries = [(100 * c + 10 * k + shard, float(rng.integers(1, 1000))) for k in range(rng.integers(1, 12))]
            lists[shard][c] = sorted(entries, key=lambda entry: -entry[1])
    merged = merged_categories(
        [(of[shard], known_as(rows)) for shard, rows in lists.items()], float(DAY_MS), categories_max
    )
    newest, expected = max(of.values()), dict[int, list[tuple[int, float]]]()
    for shard, rows in lists.items():
        for category, entries in rows.items():
            faded = [(item, score * 0.5 ** ((newest - of[shard]) / DAY_MS)) for item, score in entries]
            expected[category] = sorted([*expected.get(category, []), *faded], key=lambda e: (-e[1], e[0]))
    best = {category: entries[:CATEGORY_ITEMS] for category, entries in expected.items()}
    kept = sorted(best, key=lambda c: (-sum(s for _, s in best[c]), c))[:categories_max]
    assert known(merged) == {category: best[category] for category in sorted(kept)}


def test_categories_are_merged_when_all_shards_have_told_or_one_twice() -> None:
    """Until then a version has those of before; of each shard the newest counts."""
    learner = Learner("popular", LearnSettings(), Metrics())
    (first,) = learner.process([told(0, START_MS, {7: [(71, 2.0)]}), told(1, START_MS, None)])
    assert first.items.tolist() == [1, 2] and known(first.by_category) == {}
    (second,) = learner.process([told(1, START_MS, {8: [(81, 3.0)]})])
    assert known(second.by_category) == {7: [(71, 2.0)], 8: [(81, 3.0)]}
    assert learner.process([told(0, START_MS, {7: [(72, 2.0)]})]) == []
    (third,) = learner.process([told(0, START_MS, {7: [(73, 2.0)]})])
    assert known(third.by_category) == {7: [(73, 2.0)], 8: [(81, 3.0)]}


def test_a_restart_keeps_what_is_popular_in_categories() -> None:
    """The version there was is told with the first lists, as it is, until all shards have told their categories."""
    learner = Learner("popular", LearnSettings(), Metrics())
    lists = [told(0, START_MS, {7: [(71, 2.0), (72, 1.0)]}), told(1, START_MS, {8: [(81, 3.0)]})]
    (first,) = learner.process(lists)
    resumed = Learner("popular", LearnSettings(), Metrics(), learner.snapshot())
    (again,) = resumed.process(lists[:1])
    assert again.version == first.version and known(again.by_category) == known(first.by_category)
    assert resumed.process(lists[1:]) == []
    (later,) = resumed.process([told(0, START_MS, {9: [(91, 1.0)]}), told(1, START_MS, {8: [(82, 1.0)]})])
    assert known(later.by_category) == {8: [(82, 1.0)], 9: [(91, 1.0)]}


def test_a_shop_without_categories_has_none() -> None:
    """And its popular items all the same."""
    learner = Learner("popular", LearnSettings(), Metrics())
    (model,) = learner.process([told(0, START_MS, {}), told(1, START_MS, {})])
    assert model.items.tolist() == [1, 2] and known(model.by_category) == {}
