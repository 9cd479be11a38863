"""The protocol of the benchmark of recommendations: what is judged, by which list, and by what figures."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.recommendation_costs import BATCH, PAUSE_MS, Shop, costs
from benchmarks.recommendation_peers import HISTORY, LENGTH, LastItem, newest_first
from benchmarks.recommendation_replay import a_second_apart, write_views
from benchmarks.recommendation_sets import SCENARIOS, Cases, Scenario, busier, interleaved, numbered
from benchmarks.recommendations import Contender, Tally, prequential, previous_events, published, remember

PEER = Contender("last item", lambda shoppers, items, out, seed: LastItem(out))
SCENARIO = Scenario("toy", "by hand", (), lambda folder: (numbered([]), None))


def test_the_figures_are_those_of_the_definitions() -> None:
    """A hit at rank 1, one at rank 4, a miss."""
    lists = np.full((3, LENGTH), -1, np.int64)
    lists[0, :2], lists[1, :4], lists[2, :2] = [7, 8], [1, 2, 3, 7], [1, 2]
    tally = Tally()
    tally.judge(lists[:1], np.array([7]))
    tally.judge(lists[1:], np.array([7, 7]))
    assert tally.figures() == pytest.approx((2 / 3, (1 + 1 / 4) / 3, (1 + 1 / math.log2(5)) / 3))
    assert Tally().figures() == (0.0, 0.0, 0.0)


def test_the_event_before_is_the_same_shoppers() -> None:
    """-1 for the first of each."""
    assert previous_events(np.array([4, 2, 4, 4, 2, 0])).tolist() == [-1, -1, 0, 2, 1, -1]
    assert previous_events(np.zeros(0, np.int64)).tolist() == []


def test_a_history_is_newest_first_and_bounded() -> None:
    """Repeats stand in it; what is older than its length falls out."""
    histories = np.full((2, HISTORY), -1, np.int64)
    remember(histories, np.array([1, 0, 1, 1]), np.array([5, 6, 5, 7]))
    assert histories[1, :4].tolist() == [7, 5, 5, -1] and histories[0, :2].tolist() == [6, -1]
    remember(histories, np.zeros(30, np.int64), np.arange(30))
    assert histories[0].tolist() == list(range(29, 29 - HISTORY, -1))
    assert newest_first(range(30)).tolist() == histories[0].tolist()


EVENTS = [
    ("a", 1), ("a", 2),  # learned, not judged
    ("b", 1), ("b", 2),  # 2 stands first beside 1: a hit at rank 1
    ("c", 1), ("c", 1),  # on the item looked at: no case
    ("c", 2),  # a hit at rank 1
    ("d", 3), ("d", 9),  # 9 was never seen: a miss
]  # fmt: skip


def test_predict_then_learn_judges_each_event_by_the_list_before_it() -> None:
    """First events and events on the current item are no cases, and no case knows itself."""
    stream = numbered((shopper, item, float(n)) for n, (shopper, item) in enumerate(EVENTS))
    found = prequential(SCENARIO, PEER, stream, 1, seed=0)
    assert (found.events, found.cases, found.fresh_cases) == (9, 3, 3)
    assert (found.hr, found.mrr) == pytest.approx((2 / 3, 2 / 3))
    assert found.coverage == 0.75, "9 was in no list"


def test_within_a_batch_no_list_is_made() -> None:
    """b's 2 comes in the batch of b's first event: it is judged by what is popular, and is not fresh."""
    people = Scenario("toy", "by hand", (), SCENARIO.load, sessions=False)
    stream = numbered((shopper, item, float(n)) for n, (shopper, item) in enumerate(EVENTS))
    found = prequential(people, PEER, stream, 6, seed=0)
    assert (found.cases, found.fresh_cases) == (3, 1), "c's 2 alone has a list made after c's event before"
    assert found.fresh_hr == 1.0
    # b's list is empty: nothing is popular before the first batch is learned. d's is the popular items: no 9.
    assert found.hr == pytest.approx(1 / 3)


def test_published_cases_are_asked_for_and_not_learned() -> None:
    """Also where the item looked at comes next; whether it may stand in the list is the scenario's."""
    stream = numbered([("a", 10, 0.0), ("a", 11, 1.0), ("b", 10, 2.0), ("b", 11, 3.0)])
    cases = Cases([[0], [0, 0], [0], [5]], [1, 0, 7, 1])
    found = published(SCENARIO, PEER, stream, cases, seed=0)
    assert (found.cases, found.hr) == (4, 0.5), "the first case by co-visits, the last by popularity"
    kept = Scenario("toy", "by hand", (), SCENARIO.load, current_out=False)
    assert published(kept, PEER, stream, cases, seed=0).hr == 0.75


def test_interleaving_keeps_the_order_within_each_session() -> None:
    """Every event is there, a second after the one before; one open session means one after the other."""
    sessions = [[k, 100 + k, k] for k in range(20)]
    for open_sessions in (1, 7, 100):
        events = interleaved(sessions, open_sessions, seed=3)
        assert [ts for *_, ts in events] == list(range(60))
        assert [[item for number, item, _ in events if number == k] for k in range(20)] == sessions
        first = [next(n for n, event in enumerate(events) if event[0] == k) for k in range(20)]
        last = [max(n for n, event in enumerate(events) if event[0] == k) for k in range(20)]
        opened = [sum(a <= n <= b for a, b in zip(first, last, strict=True)) for n in range(60)]
        assert max(opened) <= open_sessions
    assert interleaved(sessions, 7, seed=3) != interleaved(sessions, 7, seed=4)
    assert [item for _, item, _ in interleaved(sessions, 1, seed=0)] == [item for s in sessions for item in s]


def test_a_busier_shop_has_the_same_sessions() -> None:
    """Shoppers keep their numbers and the order of their items; three open sessions act thrice a minute."""
    stream = numbered((f"s{n % 5}", n * n % 17, float(n)) for n in range(60))
    found = busier(stream, 3, seed=1)
    assert found.ts.tolist() == [20_000 * n for n in range(60)]
    assert len(found) == 60 and (found.shoppers, found.items) == (stream.shoppers, stream.items)
    for shopper in range(5):
        assert found.item[found.shopper == shopper].tolist() == stream.item[stream.shopper == shopper].tolist()


@pytest.mark.parametrize(
    ("name", "events", "items", "cases"),
    [
        ("recommend_rsc15", 83_846, None, None),
        ("recommend_serenade", 116_285, None, None),
        ("recommend_taobao_items", 96_168, 75_384, None),
        ("recommend_taobao_categories", 96_168, None, None),
        ("recommend_diginetica", 250_000, None, None),
        ("published_serenade", 113_601, 18_009, 931),
        ("published_diginetica", 906_140, None, 60_858),
    ],
)
def test_real_logs_are_taken_in_whole(
    name: str, events: int, items: int | None, cases: int | None, data_file: Callable[[str], Path]
) -> None:
    """Every row is an event, in time order; every published case is there."""
    folders = {data_file(file).parent for file in SCENARIOS[name].files}
    stream, tests = SCENARIOS[name].load(folders.pop())
    assert len(stream) == events and (np.diff(stream.ts) >= 0).all()
    assert int(stream.shopper.max()) + 1 <= stream.shoppers and int(stream.item.max()) + 1 <= stream.items
    assert items is None or stream.items == items
    assert (tests is None) == (cases is None) and (tests is None or len(tests.following) == cases)


def test_the_shop_of_costs_visits_every_item_twice_before_it_is_measured() -> None:
    """By two different runs, whatever the size; no run is told to go on with the one before."""
    shop = Shop(400, seed=1)
    visits, ends = np.zeros(400, int), []
    for starts in shop.catalogue():
        steps = shop.runs(starts)
        ends.append((steps[0][2][0], steps[-1][2][0]))
        for shoppers, items, _, histories in steps:
            assert len(set(shoppers.tolist())) == len(items) <= BATCH and (histories[:, 0] == items).all()
            np.add.at(visits, items, 1)
    assert (visits == 2).all()
    assert all(after[0] - before[1] >= PAUSE_MS for before, after in pairwise(ends))
    found = costs(400, batches=1, seed=1)
    assert found["items"] == 400 and found["item_bytes"] >= 560


def test_a_stream_as_a_log_of_views_has_the_same_events_in_order(tmp_path: Path) -> None:
    """A second apart, each with an id of its own."""
    stream = a_second_apart(numbered((shopper, item, 0.0) for shopper, item in EVENTS))
    write_views(stream, tmp_path / "views.jsonl")
    views = [orjson.loads(line) for line in (tmp_path / "views.jsonl").read_bytes().splitlines()]
    assert [int(view["item_id"][1:]) for view in views] == stream.item.tolist()
    assert [int(view["user_id"][1:]) for view in views] == stream.shopper.tolist()
    assert {b["ts"] - a["ts"] for a, b in pairwise(views)} == {1000}
    assert len({view["event_id"] for view in views}) == len(EVENTS)
