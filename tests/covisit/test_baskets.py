"""What is bought together: the pairs of orders, the rows they fill, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bought_together import Exact, judged
from operators.baskets import TOLD_AT_ONCE, Baskets
from operators.kernels.baskets import BASKET_MAX, basket_pairs_reference
from operators.kernels.neighbours import DOUBT
from operators.profile_workspace import baskets_of
from state.batches import ADD_TO_CART, EVENT, NEIGHBOURS, PAIR, PURCHASE, VIEW
from state.metrics import Metrics
from state.models import BoughtTogether

FOR_EVER = 1e15
Lines = list[tuple[int, float]]

lines = st.lists(st.tuples(st.integers(1, 12), st.sampled_from([1.0, 3.0, 0.5, -1.0])), min_size=1, max_size=9)
orders = st.lists(lines, max_size=12)


def events_of(told: list[tuple[int, Lines]]) -> np.ndarray:
    """EVENT rows: of each (kind, lines) a head and its further rows."""
    rows = np.zeros(sum(len(of) for _, of in told), EVENT)
    flat = [(kind, item, value, k == 0) for kind, of in told for k, (item, value) in enumerate(of)]
    for row, (kind, item, value, head) in zip(rows, flat, strict=True):
        row["kind"], row["item"], row["value"], row["head"] = kind, item, value, head
    return rows


def pairs_of(*of: Lines) -> np.ndarray:
    return baskets_of(events := events_of([(PURCHASE, one) for one in of]), np.ones(len(events), bool))


def step(items_max: int = 1000, metrics: Metrics | None = None, half_life: float = FOR_EVER) -> Baskets:
    return Baskets(3, half_life, items_max, 10, metrics or Metrics())


def lists(told: list[BoughtTogether]) -> dict[int, dict[int, float]]:
    """Item -> neighbour -> share."""
    return {
        item: dict(zip(row["items"][: row["count"]].tolist(), row["scores"].tolist(), strict=False))
        for one in told
        for item, row in zip(one.items.tolist(), one.rows, strict=True)
    }


def restored_copy(of: Baskets) -> Baskets:
    copy = step()
    for name, table in of.tables.items():
        into = copy.tables[name]
        into.extend(table.size - into.size)
        into.rows[: table.size] = table.rows[: table.size]
    copy.restored()
    return copy


@given(
    told=st.lists(st.tuples(st.sampled_from([PURCHASE, PURCHASE, VIEW, ADD_TO_CART]), lines, st.booleans()), max_size=9)
)
@settings(max_examples=200, deadline=None)
def test_every_two_items_of_an_order_that_was_taken_in_are_a_pair(told: list[tuple[int, Lines, bool]]) -> None:
    """Beside the plain reference, among other events, with lines sent back and said twice, and refused orders."""
    events = [(kind, of if kind == PURCHASE else of[:1]) for kind, of, _ in told]
    taken = [good for (_, of), (*_, good) in zip(events, told, strict=True) for _ in of]
    found = baskets_of(events_of(events), np.array(taken, bool))
    good_orders = [of for kind, of, good in told if kind == PURCHASE and good]
    expected = basket_pairs_reference(good_orders)
    assert found.tolist() == [(a, b, pytest.approx(weight, rel=1e-6)) for a, b, weight in expected]


def test_of_a_very_large_order_only_the_first_items_are_paired() -> None:
    pairs = pairs_of([(item, 1.0) for item in range(1, 3 * BASKET_MAX)])
    assert len(pairs) == BASKET_MAX * (BASKET_MAX - 1) and pairs["other"].max() == BASKET_MAX


@given(orders=orders, half_life=st.sampled_from([FOR_EVER, 50.0, 2.0]))
@settings(max_examples=150, deadline=None)
def test_what_is_told_are_shares_of_what_orders_brought_together(orders: list[Lines], half_life: float) -> None:
    """Weighed once more in a dictionary, where every pair makes all before it count less; no row is full here."""
    baskets = step(half_life=half_life)
    weights: dict[int, dict[int, float]] = {}
    for order in orders:
        baskets.learn(pairs_of(order))
        for a, b, weight in basket_pairs_reference([order]):
            row = weights.setdefault(a, {})
            row[b] = row.get(b, 0.0) + weight
            for known in weights.values():
                for other in known:
                    known[other] *= 0.5 ** (1.0 / half_life)
    found = lists(baskets.tell_all())
    assert found.keys() == weights.keys()
    for item, row in weights.items():
        expected = {b: w / (sum(row.values()) + DOUBT) for b, w in row.items()}
        assert found[item] == pytest.approx(expected, rel=1e-3, abs=1e-12)
        assert list(found[item].values()) == sorted(found[item].values(), reverse=True)
    assert baskets.tell_all() == []


def test_shares_are_of_all_that_was_bought_with_an_item_also_of_what_gave_way() -> None:
    """A hundred things once each, of which a row keeps 32; and after a long time only what came last."""
    baskets = step()
    baskets.learn(pairs_of(*[[(1, 1.0), (2, 1.0)]] * 10, *[[(1, 1.0), (item, 1.0)] for item in range(3, 103)]))
    told = lists(baskets.tell_all())[1]
    assert len(told) == NEIGHBOURS and told[2] == pytest.approx(10 / (110 + DOUBT))
    fading = step(half_life=2.0)
    fading.learn(pairs_of([(1, 1.0), (2, 1.0)], *[[(8, 1.0), (9, 1.0)]] * 200, [(1, 1.0), (3, 1.0)]))
    assert lists(fading.tell_all())[1] == pytest.approx({3: 0.5 / (0.5 + DOUBT), 2: 0.0}, rel=1e-3, abs=1e-6)


@given(orders=orders, cuts=st.lists(st.integers(1, 11), unique=True, max_size=5))
@settings(max_examples=50, deadline=None)
def test_the_rows_do_not_depend_on_how_orders_were_cut_into_calls(orders: list[Lines], cuts: list[int]) -> None:
    whole, cut = step(half_life=40.0), step(half_life=40.0)
    whole.learn(pairs_of(*orders))
    for a, b in pairwise([0, *sorted(cuts), len(orders) + 11]):
        cut.learn(pairs_of(*orders[a:b]))
        cut.learn(np.empty(0, PAIR))
    for name, table in whole.tables.items():
        assert table.rows[: table.size].tobytes() == cut.tables[name].rows[: cut.tables[name].size].tobytes()


def test_what_was_bought_together_long_ago_gives_way() -> None:
    """After four half-lives of other orders the newer of two companions, told half as often, stands first."""
    baskets = step(half_life=20.0)
    baskets.learn(pairs_of(*[[(1, 1.0), (2, 1.0)]] * 4, *[[(8, 1.0), (9, 1.0)]] * 40, *[[(1, 1.0), (3, 1.0)]] * 2))
    assert list(lists(baskets.tell_all())[1]) == [3, 2]


def test_a_part_is_told_at_a_time_and_a_start_knows_what_is_left() -> None:
    """What changed longest ago is told first; what has been told and has not changed since is not told again."""
    baskets = step(items_max=10_000)
    first = range(1, 2 * TOLD_AT_ONCE + 1)
    for item in first:
        baskets.learn(pairs_of([(item, 1.0), (item + 5000, 1.0)]))
    told = lists(baskets.tell())
    assert list(told) == [name for item in first[: TOLD_AT_ONCE // 2] for name in (item, item + 5000)]
    baskets.learn(pairs_of([(1, 1.0), (7000, 1.0)]))
    copy = restored_copy(baskets)
    left = lists(copy.tell_all())
    assert left.keys() == lists(baskets.tell_all()).keys()
    assert left.keys() == {*first, *(item + 5000 for item in first), 7000} - told.keys() | {1}
    assert restored_copy(copy).tell() == []


def test_rows_are_bounded_and_those_written_longest_ago_give_way() -> None:
    """What has moved and was not told yet is told all the same."""
    metrics = Metrics()
    baskets = step(items_max=4, metrics=metrics)
    baskets.learn(pairs_of([(1, 1.0), (2, 1.0)]))
    baskets.learn(pairs_of([(3, 1.0), (4, 1.0)]))
    baskets.learn(pairs_of([(1, 1.0), (5, 1.0)]))
    told = lists(baskets.tell_all())
    assert told.keys() == {1, 3, 4, 5} and told[1].keys() == {2, 5}
    assert metrics.evictions.labels("baskets")._value.get() == 1.0
    for item in range(6, 6 + 2 * NEIGHBOURS):
        baskets.learn(pairs_of([(1, 1.0), (item, 1.0)]))
    assert len(lists(baskets.tell_all())[1]) == NEIGHBOURS


class _Remembers:
    """Tells the order it learned last."""

    def __init__(self) -> None:
        self.last: list[int] = []

    def learn(self, order: list[int]) -> None:
        self.last = order

    def tell(self, items: Sequence[int]) -> list[list[int]]:
        return [[other for other in self.last if other != item] for item in items]


def test_the_benchmark_judges_an_order_before_it_learns_it() -> None:
    """Who can only repeat the last order is right where orders come twice, and at the first place."""
    fresh = [[2 * n, 2 * n + 1] for n in range(40)]
    twice = [order for order in fresh for _ in range(2)]
    none, half = judged(_Remembers(), fresh, 0), judged(_Remembers(), twice, 0)
    assert (none["cases"], none["hr"], none["mrr"], none["precision"]) == (56, 0.0, 0.0, 0.0)
    assert (half["cases"], half["hr"], half["mrr"], half["precision"]) == (112, 0.5, 0.5, pytest.approx(0.05))


def test_the_exact_peers_count_orders() -> None:
    """1 is bought with 2 ten times, of fifty that hold 2; with 3 nine times, of nine; with 4 once."""
    orders = [[1, 2]] * 10 + [[2, 5]] * 40 + [[1, 3]] * 9 + [[1, 4]]
    told = {}
    for score in ("count", "cosine", "lift"):
        exact = Exact(score)
        for order in orders:
            exact.learn(order)
        told[score] = exact.tell([1])[0]
    assert told == {"count": [2, 3, 4], "cosine": [3, 2, 4], "lift": [3, 2]}
