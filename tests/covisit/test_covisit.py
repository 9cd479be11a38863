"""What the co-visitation step promises to the steps around it, and how good its lists are on a real log."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.covisit import DAY_MS, Covisit, CovisitSettings
from operators.kernels import neighbours
from operators.kernels.candidates import RECENT_FETCHED
from operators.learn import LearnSettings
from operators.learn.popular import PopularLearner
from operators.list_maker import ListMaker, ListMemory
from operators.list_settings import ListSettings
from state.batches import (
    FETCH,
    PAIR,
    RECENT_ITEMS,
    TOUCH,
    AnswerBatch,
    FetchBatch,
    VisitBatch,
)
from state.hashing import hash_text
from state.metrics import Metrics
from state.models import CATEGORY_ITEMS, PopularModel, ShardPopularity
from state.table import Table

BEGIN_MS = 1_700_000_000_000
SETTINGS = CovisitSettings(item_shards=1, half_lives_events=(200.0, 20.0), popular_n=5, popular_every_batches=4)
DATA = Path(__file__).parents[2].parent / "shared" / "data"


class Sessions:
    """What the step before does: each shopper's last items, and from each event its pairs and its touch."""

    def __init__(self, shoppers: int) -> None:
        self.recent = np.zeros((shoppers, RECENT_ITEMS), np.uint64)
        self.recent_n = np.zeros(shoppers, np.uint8)

    def act(self, shopper: int, item: int, pairs: np.ndarray, at: int) -> int:
        """Write the pairs of an event to `pairs` from `at`; the next free place."""
        recent, n = self.recent[shopper], int(self.recent_n[shopper])
        end: int = neighbours.pairs_of(np.uint64(item), recent, n, 1.0, pairs, at)
        recent[1:] = recent[:-1].copy()
        recent[0] = item
        self.recent_n[shopper] = min(n + 1, RECENT_ITEMS)
        return end

    def visit(self, events: Sequence[tuple[int, int, int]]) -> VisitBatch:
        """Events (shopper, item, ts) as a batch for one item shard."""
        pairs, at = np.zeros(len(events) * neighbours.PAIRS_PER_ACT_MAX, PAIR), 0
        for shopper, item, _ in events:
            at = self.act(shopper, item, pairs, at)
        return VisitBatch(pairs[:at], np.array([(item, 0, ts, -1, 1.0) for _, item, ts in events], TOUCH))


def touches(*rows: tuple[int, int, int, int, float]) -> VisitBatch:
    return VisitBatch(np.empty(0, PAIR), np.array(list(rows), TOUCH))


def question(*items: int, shard: int = 0, sequence: int = 0) -> VisitBatch:
    rows = np.array([(item, p, 0) for p, item in enumerate(items)], FETCH)
    return VisitBatch(np.empty(0, PAIR), np.empty(0, TOUCH), [FetchBatch(shard, sequence, rows)])


def answers(out: list[AnswerBatch | ShardPopularity]) -> list[AnswerBatch]:
    return [value for value in out if isinstance(value, AnswerBatch)]


def popularity(out: list[AnswerBatch | ShardPopularity]) -> list[ShardPopularity]:
    return [value for value in out if isinstance(value, ShardPopularity)]


def content(step: Covisit) -> dict[str, bytes]:
    return {name: table.rows[: table.size].tobytes() for name, table in step.tables.items()}


def random_events(seed: int, count: int, shoppers: int = 12, items: int = 90) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    late = rng.integers(-3_600_000, 1, count)
    item = rng.zipf(1.3, count) % items + 1
    return [
        (int(s), int(i), BEGIN_MS + 60_000 * n + int(late[n]))
        for n, (s, i) in enumerate(zip(rng.integers(0, shoppers, count), item, strict=True))
    ]


def restored_copy(step: Covisit) -> Covisit:
    """A new step with the tables of another, as after a restart."""
    copy = Covisit(step.shard, Metrics(), step.settings)
    for name, table in step.tables.items():
        into: Table = copy.tables[name]
        if table.size > into.size:
            into.extend(table.size - into.size)
        into.rows[: table.size] = table.rows[: table.size]
    copy.restored()
    return copy


@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(1, 249), unique=True, max_size=40),
    calls=st.integers(1, 5),
)
@settings(max_examples=40, deadline=None)
def test_the_tables_do_not_depend_on_how_events_were_cut_into_batches(seed: int, cuts: list[int], calls: int) -> None:
    """Any cut into batches, and any grouping of batches into calls, gives the same tables byte for byte."""
    events = random_events(seed, 250)
    whole, cut = Covisit(0, Metrics(), SETTINGS), Covisit(0, Metrics(), SETTINGS)
    whole.process([Sessions(12).visit(events)])
    sessions, edges = Sessions(12), [0, *sorted(cuts), len(events)]
    batches = [sessions.visit(events[a:b]) for a, b in pairwise(edges)]
    for first in range(0, len(batches), calls):
        cut.process(batches[first : first + calls])
    assert content(cut) == content(whole)


def test_a_restored_step_goes_on_as_if_it_had_never_stopped() -> None:
    """Nothing that answers, tables or popularity depend on lives outside the tables."""
    sessions, first = Sessions(12), Covisit(0, Metrics(), SETTINGS)
    first.process([sessions.visit(random_events(1, 300))])
    second = restored_copy(first)
    later = sessions.visit(random_events(2, 300))
    for step in (first, second):
        step.process([later])
    assert content(first) == content(second)
    asked = question(*range(1, 91))
    assert answers(first.process([asked]))[0].rows.tobytes() == answers(second.process([asked]))[0].rows.tobytes()
    [a], [b] = popularity(first.finish()), popularity(second.finish())
    assert (a.items.tolist(), a.scores.tolist(), a.ts) == (b.items.tolist(), b.scores.tolist(), b.ts)


def test_changed_rows_and_only_those_are_marked() -> None:
    """The journal sees what a call touched, and nothing when it only asked."""
    step = Covisit(0, Metrics(), SETTINGS)
    step.process([Sessions(12).visit(random_events(4, 200))])
    before = content(step)
    for table in step.tables.values():
        table.dirty[:] = 0
    step.process([question(1, 2, 3)])
    assert content(step) == before and not any(t.dirty.any() for t in step.tables.values())
    known = step.items.rows["item"][:2].tolist()
    step.process([touches((known[1], 0, BEGIN_MS, -1, 1.0))])
    assert np.flatnonzero(step.items.dirty).tolist() == [1] and step.state.dirty[0] == 1


def test_every_question_is_answered_in_order_even_for_unknown_items() -> None:
    """One AnswerBatch for each FetchBatch, one row for each fetch, also of an empty question."""
    step = Covisit(0, Metrics(), SETTINGS)
    visit = Sessions(1).visit([(0, 5, BEGIN_MS), (0, 6, BEGIN_MS)])
    out = answers(
        step.process([question(404, 5, shard=3, sequence=8), visit, question(shard=1), question(6, 405, 6, shard=2)])
    )
    assert [(a.shard, a.sequence, len(a.rows)) for a in out] == [(3, 8, 2), (1, 0, 0), (2, 0, 3)]
    assert [a.rows["count"].tolist() for a in out] == [[0, 1], [], [1, 0, 1]]
    assert out[0].rows["items"][1, 0] == 6 and out[2].rows["position"].tolist() == [0, 1, 2]


def test_an_answer_knows_every_pair_of_its_call() -> None:
    """All of a call is learned before any of its questions is answered."""
    step = Covisit(0, Metrics(), SETTINGS)
    [answer] = answers(
        step.process([question(1), Sessions(1).visit([(0, 1, BEGIN_MS), (0, 2, BEGIN_MS), (0, 3, BEGIN_MS)])])
    )
    assert answer.rows["items"][0, :2].tolist() == [2, 3]


def test_past_the_bound_the_least_popular_give_way_and_are_counted() -> None:
    """More than there may be at once: the last of them are left out."""
    metrics = Metrics()
    step = Covisit(0, metrics, CovisitSettings(item_shards=1, items_max=3))

    def counted() -> float | None:
        return metrics.registry.get_sample_value("coterie_evictions_total", {"component": "items"})

    step.process([Sessions(1).visit([(0, item, BEGIN_MS) for item in (1, 1, 2, 3, 3)])])
    step.process([Sessions(1).visit([(0, 4, BEGIN_MS)])])
    assert sorted(step.items.rows["item"][: step.items.size].tolist()) == [1, 3, 4] and counted() == 1
    [answer] = answers(step.process([question(1, 2, 3)]))
    assert set(answer.rows["items"][0, :2].tolist()) == {2, 3} and answer.rows["count"].tolist() == [2, 0, 2]
    step.process([touches(*[(item, 0, BEGIN_MS, -1, 1.0) for item in (5, 6, 7, 8)])])
    assert step.items.rows["item"][: step.items.size].tolist() == [5, 6, 7] and counted() == 5


def test_one_event_of_years_later_leaves_the_others_in_their_order() -> None:
    """What it makes of them is next to nothing, and yet more or less."""
    step = Covisit(0, Metrics(), SETTINGS)
    later = BEGIN_MS + 2 * 365 * DAY_MS
    step.process([touches(*[(item, 0, BEGIN_MS, -1, float(item)) for item in (2, 5, 3, 4)], (9, 0, later, -1, 1.0))])
    [told] = popularity(step.finish())
    assert told.items.tolist() == [9, 5, 4, 3, 2] and (np.diff(told.scores) < 0).all()
    merged = PopularLearner(LearnSettings(popular_n=4)).learn([told])
    assert merged[0].items.tolist() == [9, 5, 4, 3]


def test_what_is_popular_is_right_after_rows_have_moved() -> None:
    """A catalogue that changes: beside a step that found everything out from the tables anew."""
    step = Covisit(0, Metrics(), replace(SETTINGS, items_max=40))
    rng = np.random.default_rng(8)
    for n in range(60):
        items = (rng.zipf(1.5, 20) % 30 + 3 * n + 1).tolist()
        rows = [(item, item % 4 + 1, BEGIN_MS + 3_600_000 * n, -1, 1.0) for item in items]
        out = popularity(step.process([touches(*rows)]))
        if out:
            [told], [anew] = out, popularity(restored_copy(step).finish())
            assert (told.items.tolist(), told.scores.tolist()) == (anew.items.tolist(), anew.scores.tolist())
            if told.by_category is not None and anew.by_category is not None:
                for column, other in zip(told.by_category, anew.by_category, strict=True):
                    assert column.tolist() == other.tolist()
    assert step.items.size <= 40


def test_facts_are_filled_in_and_not_wiped_out_by_acts_that_give_none() -> None:
    """Category 0 and price -1 say nothing; a price of 0 does."""
    step = Covisit(0, Metrics(), SETTINGS)
    step.process([touches((1, 0, BEGIN_MS, -1, 1.0), (2, 70, BEGIN_MS, 0, 0.0))])
    assert step.items.rows[["category", "price"]][:2].tolist() == [(0, -1), (70, 0)]
    step.process([touches((1, 71, BEGIN_MS, 25_500, 1.0), (2, 0, BEGIN_MS, -1, 1.0))])
    assert step.items.rows[["category", "price"]][:2].tolist() == [(71, 25_500), (70, 0)]


def test_popularity_is_told_first_every_so_many_calls_and_at_the_end() -> None:
    """A restarted worker has its list at once."""
    step = Covisit(7, Metrics(), SETTINGS)
    told = [len(popularity(step.process([touches((1, 0, BEGIN_MS, -1, 1.0))]))) for _ in range(9)]
    assert told == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert [p.shard for p in popularity(step.finish())] == [7]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_popular_items_are_those_of_a_full_count(seed: int) -> None:
    """Each list told equals the one made by adding up all fading touches from the beginning."""
    events = random_events(seed, 240)
    sessions, step = Sessions(12), Covisit(0, Metrics(), SETTINGS)
    for first in range(0, len(events), 10):
        for told in popularity(step.process([sessions.visit(events[first : first + 10])])):
            so_far = [(item, ts, 1.0) for _, item, ts in events[: first + 10]]
            now = max(ts for _, ts, _ in so_far)
            expected = neighbours.touch_reference(so_far, SETTINGS.popularity_half_life_days * DAY_MS, now)
            best = sorted(expected.items(), key=lambda pair: (-pair[1], pair[0]))[: SETTINGS.popular_n]
            assert told.ts == now and told.items.tolist() == [item for item, _ in best]
            assert told.scores.tolist() == pytest.approx([weight for _, weight in best], rel=1e-5)


def told_categories(told: ShardPopularity) -> dict[int, list[tuple[int, float]]]:
    by = told.by_category
    assert by is not None and (np.diff(by.categories.astype(np.float64)) > 0).all()
    spans = pairwise(by.starts.tolist())
    rows = [list(zip(by.items[a:b].tolist(), by.scores[a:b].tolist(), strict=True)) for a, b in spans]
    return dict(zip(by.categories.tolist(), rows, strict=True))


def test_popular_items_of_categories_are_told_more_rarely() -> None:
    """Once in so many tellings of what is popular over all, and at the end; an answer tells the item's category."""
    settings = replace(SETTINGS, categories_every=2)
    step = Covisit(7, Metrics(), settings)
    told = []
    for n in range(20):
        told += popularity(step.process([touches((1 + n % 3, 8 + n % 3 % 2, BEGIN_MS + n, -1, 1.0))]))
    assert [one.by_category is not None for one in told] == [True, True, True, False, True]
    assert {c: [item for item, _ in rows] for c, rows in told_categories(told[2]).items()} == {8: [3, 1], 9: [2]}
    [answered] = answers(step.process([question(1, 99)]))
    assert answered.rows["category"].tolist() == [8, 0]


def test_a_restart_keeps_what_is_popular_in_categories() -> None:
    """The lists are made anew from the rows of the items; one that changed its category stands under the new one."""
    rng = np.random.default_rng(3)
    step = Covisit(0, Metrics(), SETTINGS)
    facts = [(item, 1 + item % 4, BEGIN_MS, -1, 0.0) for item in range(1, 101)]
    acts = [(int(item), 0, BEGIN_MS + 1000 * n, -1, 1.0) for n, item in enumerate(rng.integers(1, 101, 500))]
    step.process([touches(*facts, *acts)])
    [before] = popularity(step.finish())
    other = restored_copy(step)
    [after] = popularity(other.finish())
    assert told_categories(before) == told_categories(after)
    assert [len(rows) for rows in told_categories(after).values()] == [CATEGORY_ITEMS] * 4
    moved = told_categories(after)[1][0][0]
    for one in (step, other):
        one.process([touches((moved, 9, BEGIN_MS, -1, 0.0))])
        [told] = popularity(one.finish())
        assert moved not in [item for item, _ in told_categories(told)[1]]


def test_an_item_known_only_by_its_facts_is_not_popular() -> None:
    """An item of the catalogue that nobody has touched is in no list."""
    step = Covisit(0, Metrics(), SETTINGS)
    [told] = popularity(step.process([touches((1, 9, BEGIN_MS, 100, 0.0))]))
    assert len(told.items) == 0 and len(told.scores) == 0


def test_item_rows_stay_small() -> None:
    """The documented bytes of an item."""
    assert neighbours.ITEM_ROW.itemsize == 560


def rsc15() -> list[tuple[int, int, int]]:
    """The log's clicks as (session, item hash, ts ms), in time order."""
    rows = []
    for part in ("train", "test"):
        with gzip.open(DATA / f"rsc15_{part}.tsv.gz", "rt") as file:
            rows += [
                (float(r["Time"]), int(r["SessionId"]), int(r["ItemId"])) for r in csv.DictReader(file, delimiter="\t")
            ]
    rows.sort()
    numbers = {session: n for n, session in enumerate(dict.fromkeys(s for _, s, _ in rows))}
    hashes = {item: hash_text(str(item)) for _, _, item in rows}
    return [(numbers[s], hashes[i], round(t * 1000)) for t, s, i in rows]


def hit_rate_and_mrr(events: list[tuple[int, int, int]], batch: int) -> tuple[float, float]:
    """HR@20 and MRR@20 of lists made from the tables as before a batch, and from each shopper's history up to the act.

    Acts on the current item again are not asked, and the first 30 % only learn.
    """
    shoppers = 1 + max(s for s, _, _ in events)
    sessions, step = Sessions(shoppers), Covisit(0, Metrics(), CovisitSettings(item_shards=1))
    lists = ListMaker(memory=ListMemory.empty(4096))
    asked, hits, reciprocal_ranks = 0, 0, 0.0
    for first in range(0, len(events), batch):
        part = events[first : first + batch]
        pairs, at = np.zeros(len(part) * neighbours.PAIRS_PER_ACT_MAX, PAIR), 0
        wanted, histories, known = [], [], []
        for n, (s, item, _) in enumerate(part, start=first):
            if n >= 0.3 * len(events) and sessions.recent_n[s] and sessions.recent[s, 0] != item:
                wanted.append(item)
                histories.append(sessions.recent[s].copy())
                known.append(sessions.recent_n[s])
            at = sessions.act(s, item, pairs, at)
        if wanted:
            recent, recent_n = np.array(histories), np.array(known)
            position, slot = np.nonzero(np.arange(RECENT_FETCHED) < recent_n[:, None])
            fetches = np.zeros(len(position), FETCH)
            fetches["item"], fetches["position"], fetches["slot"] = recent[position, slot], position, slot
            out = step.process([VisitBatch(np.empty(0, PAIR), np.empty(0, TOUCH), [FetchBatch(0, 0, fetches)])])
            rows = [answer.rows for answer in answers(out)]
            listed = lists.make(
                *lists.lay_out(rows, np.arange(len(wanted), dtype=np.int32), recent, recent_n), ListSettings().weights()
            ).items
            found, place = np.nonzero(listed == np.array(wanted, np.uint64)[:, None])
            asked, hits, reciprocal_ranks = (
                asked + len(wanted),
                hits + len(found),
                reciprocal_ranks + float((1 / (place + 1)).sum()),
            )
        told = np.array([(item, 0, ts, -1, 1.0) for _, item, ts in part], TOUCH)
        for popular in popularity(step.process([VisitBatch(pairs[:at], told)])):
            lists.popular = PopularModel(0, popular.items, popular.scores.astype(np.float32))
    return hits / asked, reciprocal_ranks / asked


def test_lists_find_the_next_click_of_a_real_shop() -> None:
    """On rsc15 with tables a batch of 64 old, well over half of the next clicks are in the list."""
    if not (DATA / "rsc15_train.tsv.gz").exists() and os.environ.get("CI") != "true":
        pytest.skip(f"no real logs at {DATA}")
    hit_rate, mrr = hit_rate_and_mrr(rsc15(), batch=64)
    assert hit_rate > 0.59 and mrr > 0.265
