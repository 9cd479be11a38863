"""The ranking kernel against plain Python, and what a list promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.goods import Goods
from operators.kernels.candidates import (
    BESIDE,
    CATEGORY,
    COMING_BACK,
    POPULAR,
    RECENT_FETCHED,
    RUNGS,
    SECOND_STEP,
    SEGMENT,
    SLOT_NEIGHBOURS,
    WALKS,
)
from operators.kernels.list_rules import RULED, Rules, no_rules
from operators.kernels.list_types import RUNG_BITS, Beside, Ladder, Last, Lists, Popular, Shoppers
from operators.kernels.ranking import rank, rank_reference
from operators.kernels.remembered import (
    REMEMBERED_NEIGHBOURS,
    nothing_remembered,
    remember_rows,
    remember_rows_reference,
)
from operators.kernels.segment_items import SegmentItems, no_segment_items
from operators.list_settings import LEAVE_OUT_RECENT, ListSettings
from state.batches import ANSWER, LIST_LENGTH, NEIGHBOURS, RECENT_ITEMS
from state.models import ByCategory
from state.profile_table import AVAILABLE, FACT_ROW, UNAVAILABLE

WEIGHTS = ListSettings().weights()[0]

Neighbours = list[list[tuple[int, float]]]
Rows = dict[int, list[tuple[int, float]]]
Ranked = list[tuple[int, float, int]]
RankedByRung = list[tuple[int, float, int, int]]


def ranked(
    shoppers: list[tuple[Neighbours, list[int]]],
    popular: list[tuple[int, float]] | None = None,
    settings: ListSettings = ListSettings(),
    beside: Rows | None = None,
) -> list[Ranked]:
    """Lists without the rungs their items came from."""
    return [[entry[:3] for entry in one] for one in ranked_by_rung(shoppers, popular, settings, beside)]


def ranked_by_rung(
    shoppers: list[tuple[Neighbours, list[int]]],
    popular: list[tuple[int, float]] | None = None,
    settings: ListSettings = ListSettings(),
    beside: Rows | None = None,
    who: list[tuple[int, int, int]] | None = None,
    categories: Rows | None = None,
    segments: Rows | None = None,
    order: Sequence[int] = (CATEGORY, SEGMENT, POPULAR),
    tried: int = 0,
    rules: Rules | None = None,
) -> list[RankedByRung]:
    """Run the kernel over shoppers, each given as (neighbours of each recent item, recent items); `beside` are the
    neighbours of other items that are remembered, `who` tells each one's category, favourite one and segment, and
    `categories` and `segments` what is popular there."""
    n = len(shoppers)
    items = np.zeros((n, RECENT_FETCHED, NEIGHBOURS), np.uint64)
    scores = np.zeros((n, RECENT_FETCHED, NEIGHBOURS), np.float32)
    counts = np.zeros((n, RECENT_FETCHED), np.uint8)
    recent, recent_n = np.zeros((n, RECENT_ITEMS), np.uint64), np.zeros(n, np.uint8)
    for i, (neighbours, history) in enumerate(shoppers):
        recent[i, : len(history)], recent_n[i] = history, len(history)
        for slot, pairs in enumerate(neighbours):
            counts[i, slot] = len(pairs)
            for k, (item, score) in enumerate(pairs):
                items[i, slot, k], scores[i, slot, k] = item, score
    remembered = nothing_remembered(4096)
    for item, pairs in (beside or {}).items():
        row = remembered[item % 4096]
        row["item"] = item
        for k, (other, score) in enumerate(pairs):
            row["items"][k], row["scores"][k] = other, score
    popular = popular or []
    popular_items = np.array([item for item, _ in popular], np.uint64)
    popular_scores = np.array([score for _, score in popular], np.float32)
    # What stood in the output before must not show.
    out_items, because = np.full((2, n, LIST_LENGTH), 77, np.uint64)
    out_scores, out_n = np.full((n, LIST_LENGTH), 77, np.float32), np.full(n, 77, np.uint8)
    out_rungs = np.full(n, 77, np.uint64)
    lists = Lists(out_items, out_scores, because, out_n, out_rungs)
    told = np.array(who or [(0, 0, -1)] * n).reshape(n, 3)
    shoppers_told = Shoppers(*(told[:, k].astype(kind) for k, kind in enumerate((np.uint64, np.uint64, np.int32))))
    ladder = Ladder(
        by_category(categories or {}),
        by_segment(segments or {}),
        Popular(popular_items, popular_scores),
        np.array(order, np.int64),
        np.int64(tried),
    )
    neighbours_told = Beside(items, scores, counts)
    rank(
        neighbours_told,
        Last(recent, recent_n),
        shoppers_told,
        settings.weights(),
        remembered,
        ladder,
        rules or no_rules(n),
        lists,
    )
    rungs = (out_rungs[:, None] >> (RUNG_BITS * np.arange(LIST_LENGTH)).astype(np.uint64)) & np.uint64(
        (1 << RUNG_BITS) - 1
    )
    for i in range(n):
        for column in (out_items, out_scores, because, rungs):
            assert not column[i, out_n[i] :].any()
    return [
        list(zip(*(c[i].tolist() for c in (out_items, out_scores, because, rungs)), strict=True))[: out_n[i]]
        for i in range(n)
    ]


def by_category(rows: Rows) -> ByCategory:
    """What is popular in each category, best first."""
    known = sorted(rows)
    items = [item for category in known for item, _ in rows[category]]
    scores = [score for category in known for _, score in rows[category]]
    starts = np.cumsum([0, *(len(rows[category]) for category in known)])
    return ByCategory(np.array(known, np.uint64), starts, np.array(items, np.uint64), np.array(scores, np.float32))


def by_segment(rows: Rows) -> SegmentItems:
    """What is popular in each segment, best first."""
    table = no_segment_items()
    for place, (number, entries) in enumerate(rows.items()):
        table.numbers[place], table.counts[place] = number, len(entries)
        for k, (item, score) in enumerate(entries):
            table.items[place, k], table.weights[place, k] = item, score
    return table


def shopper(rng: np.random.Generator, catalogue: np.ndarray) -> tuple[Neighbours, list[int]]:
    """A random shopper: few distinct items and scores of few values, so that ties and repeats are common."""
    history = rng.choice(catalogue, rng.integers(0, RECENT_ITEMS + 1)).tolist()
    neighbours = []
    for _ in history[:RECENT_FETCHED]:
        others = rng.choice(catalogue, rng.integers(0, min(NEIGHBOURS, len(catalogue)) + 1), replace=False).tolist()
        neighbours.append([(other, float(np.float32(rng.integers(1, 9) / 8))) for other in others])
    return neighbours, history


def some_of(rng: np.random.Generator, catalogue: np.ndarray, most: int) -> list[tuple[int, float]]:
    """Some items, best first."""
    items = rng.choice(catalogue, rng.integers(0, min(most, len(catalogue)) + 1), replace=False).tolist()
    scores = np.sort(rng.integers(1, 500, len(items)))[::-1].astype(np.float32).tolist()
    return list(zip(items, scores, strict=True))


class RandomShop(NamedTuple):
    """Shoppers, the neighbours that are remembered, and a ladder: what is popular, by category and by segment, who the
    shoppers are (known, unknown and none of each), and the order of the rungs."""

    catalogue: np.ndarray
    shoppers: list[tuple[Neighbours, list[int]]]
    beside: Rows
    popular: list[tuple[int, float]]
    categories: Rows
    segments: Rows
    who: list[tuple[int, int, int]]
    order: list[int]

    @classmethod
    def drawn(cls, rng: np.random.Generator, size: int) -> RandomShop:
        """Of at most so many items, whose hashes share their low bits, so that the table of candidates collides."""
        catalogue = np.unique(rng.integers(1, 2**40, size, dtype=np.uint64) << np.uint64(rng.integers(0, 12)))
        places = {item % 4096: item for item in rng.permutation(catalogue).tolist()}
        beside = {
            item: [
                (other, float(np.float32(rng.integers(1, 9) / 8)))
                for other in rng.choice(catalogue, min(len(catalogue), REMEMBERED_NEIGHBOURS), replace=False).tolist()
            ]
            for item in places.values()
        }
        return cls(
            catalogue,
            [shopper(rng, catalogue) for _ in range(8)],
            beside,
            some_of(rng, catalogue, 50),
            {key: some_of(rng, catalogue, 20) for key in (3, 5, 9)},
            {key: some_of(rng, catalogue, 128) for key in (0, 4)},
            [
                (int(rng.choice([0, 3, 5, 6])), int(rng.choice([0, 3, 9])), int(rng.choice([-1, 0, 2, 4])))
                for _ in range(8)
            ],
            rng.permutation([CATEGORY, SEGMENT, POPULAR])[: rng.integers(1, 4)].tolist(),
        )

    def ladder_of(self, n: int) -> list[tuple[int, list[tuple[int, list[tuple[int, float]]]]]]:
        """The rungs as they apply to a shopper."""
        category, favourite, segment = self.who[n]
        found = {
            CATEGORY: [(c, self.categories.get(c, [])) for c in dict.fromkeys((category, favourite))],
            SEGMENT: [(segment, self.segments.get(segment, []))],
            POPULAR: [(0, self.popular)],
        }
        return [(rung, found[rung]) for rung in self.order]

    def ranked(self, chosen: ListSettings, tried: int, rules: Rules | None = None) -> list[RankedByRung]:
        """What the kernel makes of it."""
        ladder = self.who, self.categories, self.segments, self.order, tried
        return ranked_by_rung(self.shoppers, self.popular, chosen, self.beside, *ladder, rules)


@given(
    seed=st.integers(0, 2**32 - 1),
    tried=st.sampled_from([0, 4, 8]),
    size=st.integers(1, 200),
    leave_out=st.sampled_from([0, 1, LEAVE_OUT_RECENT]),
    second_step=st.sampled_from([0.0, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_rank_says_what_the_plain_reference_says(
    seed: int, tried: int, size: int, leave_out: int, second_step: float
) -> None:
    """Items, scores, reasons and rungs are exactly the reference's, for many shoppers in one call."""
    shop = RandomShop.drawn(np.random.default_rng(seed), size)
    chosen = ListSettings(leave_out=leave_out, second_step=second_step)
    weights = chosen.weights()
    expected = [
        rank_reference(*one, weights, shop.beside, shop.ladder_of(n), tried) for n, one in enumerate(shop.shoppers)
    ]
    assert shop.ranked(chosen, tried) == expected
    assert LIST_LENGTH * RUNG_BITS <= 64 and len(RUNGS) <= 1 << RUNG_BITS


def goods_of(categories: dict[int, int], out: set[int]) -> Goods:
    """Goods that were told the categories (hashes) of items, and which are not to be shown."""
    goods, facts = Goods(), np.zeros(len(categories | dict.fromkeys(out, 0)), FACT_ROW)
    for fact, item in zip(facts, categories | dict.fromkeys(out, 0), strict=True):
        fact["item"], fact["category"], fact["ts"] = item, categories.get(item, 0), 1
        fact["available"] = UNAVAILABLE if item in out else AVAILABLE
    goods.restore(facts)
    return goods


def rules_of(factors: list[dict[int, float]], goods: Goods | None = None, category_max: int = 0) -> Rules:
    """Rules for shoppers, each given as factors of items."""
    told = [(item, factor) for one in factors for item, factor in one.items()]
    starts = np.cumsum([0, *map(len, factors)]).astype(np.int64)
    goods = goods or Goods()
    return Rules(np.array(told, RULED), starts, goods.table, np.array([goods.out, category_max], np.int64))


@given(
    seed=st.integers(0, 2**32 - 1),
    tried=st.sampled_from([0, 8]),
    size=st.integers(1, 200),
    category_max=st.integers(0, 4),
    share_out=st.sampled_from([0.0, 0.2, 0.9]),
    share_ruled=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=100, deadline=None)
def test_rank_by_rules_says_what_the_plain_reference_says(
    seed: int, tried: int, size: int, category_max: int, share_out: float, share_ruled: float
) -> None:
    """The same with items that are not to be listed, that sink, and of which there may be only so many in a list."""
    rng = np.random.default_rng(seed)
    shop = RandomShop.drawn(rng, size)
    catalogue = shop.catalogue.tolist()
    told = rng.choice(rng.integers(1, 2**64, 6, dtype=np.uint64), len(catalogue)).tolist()
    categories = {i: c for i, c in zip(catalogue, told, strict=True) if rng.random() < 0.8}
    out = {item for item in catalogue if rng.random() < share_out}
    factors = [
        {item: float(rng.choice([0.0, 0.5, 0.25])) for item in catalogue if rng.random() < share_ruled}
        for _ in shop.shoppers
    ]
    rules, weights = rules_of(factors, goods_of(categories, out), category_max), ListSettings().weights()
    expected = [
        rank_reference(
            *one,
            weights,
            shop.beside,
            shop.ladder_of(n),
            tried,
            factors[n] | dict.fromkeys(out, 0.0),
            categories,
            category_max,
        )
        for n, one in enumerate(shop.shoppers)
    ]
    assert shop.ranked(ListSettings(), tried, rules) == expected


def test_of_two_factors_of_an_item_the_lesser_counts() -> None:
    """What was bought stays out although it was shown in vain too."""
    rules = Rules(np.array([(7, 0.0), (7, 0.5)], RULED), np.array([0, 2]), Goods().table, np.zeros(2, np.int64))
    [found] = ranked_by_rung([([[(7, 1.0), (8, 0.5)]], [1])], [(7, 1.0)], rules=rules)
    assert [item for item, *_ in found] == [8]


def test_an_item_sinks_below_what_is_better_then_and_out_of_a_full_list() -> None:
    """Also among what is popular; the reason and the rung stay."""
    pairs = [(10 + k, 1.0 - k / 64) for k in range(LIST_LENGTH + 1)]
    [found] = ranked_by_rung([([pairs], [1])], rules=rules_of([{10: 0.5}]))
    assert [item for item, *_ in found] == [item for item, _ in pairs[1:]]
    [found] = ranked_by_rung([([pairs[:3]], [1])], [(4, 2.0), (5, 1.0)], rules=rules_of([{10: 0.5, 4: 0.25}]))
    assert found == [
        *((11, 1.0 - 1 / 64, 1, BESIDE), (12, 1.0 - 2 / 64, 1, BESIDE), (10, 0.5, 1, BESIDE)),
        *((5, float(np.float32(1) / np.float32(3)), 0, POPULAR), (4, float(np.float32(2 / 3) / 4), 0, POPULAR)),
    ]


def test_a_third_of_a_category_makes_room_for_the_next_best_of_others() -> None:
    """Whatever rung it comes from; those whose category nobody told are not counted."""
    goods = goods_of(dict.fromkeys((10, 11, 12, 4), 7 << 40) | {13: 8 << 40, 5: 8 << 40}, set())
    pairs = [(10, 1.0), (11, 0.75), (12, 0.5), (13, 0.25), (14, 0.125), (15, 0.0625)]
    popular = [(4, 3.0), (5, 2.0), (6, 1.0)]
    [found] = ranked_by_rung([([pairs], [1])], popular, rules=rules_of([{}], goods, 2))
    assert [item for item, *_ in found] == [10, 11, 13, 14, 15, 5, 6]
    [found] = ranked_by_rung([([pairs[::-1]], [1])], popular, rules=rules_of([{10: 0.25}], goods, 1))
    assert [item for item, *_ in found] == [11, 13, 14, 15, 6]


def test_an_item_is_of_the_rung_that_gave_most() -> None:
    """A neighbour, one of a second step, one that comes back, one that is popular; a neighbour that would come back too
    is of whichever gave more."""
    beside = {7: [(8, 0.5), (9, 0.5)]}
    for share, rung in ((0.25, BESIDE), (0.1, COMING_BACK)):
        [found] = ranked_by_rung([([[(7, 1.0), (8, 0.75), (2, share)]], [1, 2, 3])], [(4, 1.0)], beside=beside)
        rungs = {item: rung for item, _, _, rung in found}
        assert rungs == {7: BESIDE, 8: BESIDE, 9: SECOND_STEP, 2: rung, 3: COMING_BACK, 4: POPULAR}


def test_an_item_seen_beside_several_adds_up_and_names_its_strongest_reason() -> None:
    """Scores of all places are summed by the places' weights; `because` is the place that gave most."""
    [found] = ranked([([[(7, 0.25), (8, 0.5)], [(7, 1.0)]], [100, 200])])
    second = float(WEIGHTS["slots"][1])
    assert found == [(7, 0.25 + second, 200), (8, 0.5, 100), (200, float(WEIGHTS["returns"][1]), 200)]


def test_the_current_item_is_never_shown() -> None:
    """Neither as a neighbour of an earlier item nor as a popular one."""
    [found] = ranked([([[(2, 1.0)], [(1, 1.0)]], [1, 2])], popular=[(1, 9.0), (3, 1.0)])
    assert [item for item, *_ in found] == [2, 3]


def test_recent_items_are_left_out_on_request() -> None:
    """All of a shopper's last items, also those whose neighbours were not asked for."""
    history = list(range(1, RECENT_ITEMS + 1))
    [found] = ranked(
        [([[(8, 1.0), (50, 0.5)]], history)],
        popular=[(5, 3.0), (60, 1.0)],
        settings=ListSettings(leave_out=LEAVE_OUT_RECENT),
    )
    assert [item for item, *_ in found] == [50, 60]


def test_a_shopper_without_history_gets_what_is_popular() -> None:
    """The list is the popular items by share, for the reason 0."""
    [found] = ranked([([], [])], popular=[(4, 3.0), (5, 1.0)])
    assert found == [(4, 0.75, 0), (5, 0.25, 0)]


def test_a_popular_item_never_scores_above_the_item_before_it() -> None:
    """A list is best first from end to end."""
    [found] = ranked([([[(7, 0.125)]], [1])], popular=[(4, 3.0), (5, 1.0)])
    assert found == [(7, 0.125, 1), (4, 0.125, 0), (5, 0.125, 0)]


def test_what_is_free_is_filled_up_by_category_favourite_segment_and_shop() -> None:
    """In this order, each item once, for the reason of the first rung that has it."""
    [found] = ranked_by_rung(
        [([[(7, 0.125)]], [1])],
        popular=[(14, 2.0), (7, 1.0), (15, 1.0)],
        who=[(30, 31, 5)],
        categories={30: [(1, 3.0), (7, 2.0), (11, 2.0)], 31: [(11, 1.0), (12, 1.0)], 32: [(99, 1.0)]},
        segments={5: [(12, 2.0), (13, 2.0)], 6: [(98, 1.0)]},
    )
    entries = [(item, why, rung) for item, _, why, rung in found]
    assert entries == [
        (7, 1, BESIDE), (11, 30, CATEGORY), (12, 31, CATEGORY), (13, 5, SEGMENT), (14, 0, POPULAR), (15, 0, POPULAR),
    ]  # fmt: skip


def test_where_rungs_are_measured_each_has_places_to_be_measured_by() -> None:
    """An eighth each of sixteen free ones, behind the places of the best; the rest is filled by it first."""
    neighbours = [(200 + k, 1.0 - k / 8) for k in range(4)]
    [found] = ranked_by_rung(
        [([neighbours], [1])],
        popular=[(300 + k, 1.0) for k in range(30)],
        who=[(30, 0, 5)],
        categories={30: [(100 + k, 1.0) for k in range(20)]},
        segments={5: [(400 + k, 1.0) for k in range(20)]},
        order=(POPULAR, CATEGORY, SEGMENT),
        tried=8,
    )
    assert [rung for *_, rung in found] == [BESIDE] * 4 + [POPULAR] * 12 + [CATEGORY] * 2 + [SEGMENT] * 2


def test_popular_items_that_have_all_faded_still_fill_the_list() -> None:
    """Scores that are all 0 are shares of nothing, not an error."""
    [found] = ranked([([], [])], popular=[(4, 0.0), (5, 0.0)])
    assert found == [(4, 0.0, 0), (5, 0.0, 0)]


def test_a_list_is_never_longer_than_its_bound() -> None:
    """Of many candidates the best remain."""
    neighbours = [[(1000 * slot + k + 1, 1.0 - k / 64) for k in range(NEIGHBOURS)] for slot in range(RECENT_FETCHED)]
    [found] = ranked([(neighbours, [91, 92, 93, 94, 95])], popular=[(4, 3.0)])
    assert len(found) == LIST_LENGTH
    everything = sorted(
        float(np.float32(s) * WEIGHTS["slots"][slot])
        for slot in range(RECENT_FETCHED)
        for _, s in neighbours[slot][: SLOT_NEIGHBOURS[slot]]
    )
    assert [score for _, score, _ in found] == everything[: -LIST_LENGTH - 1 : -1]


def test_what_was_seen_before_the_current_item_may_come_back() -> None:
    """The sooner left the better, for its own sake and without neighbours; the current one where it may be shown."""
    [found] = ranked([([], [1, 2, 3])])
    assert found == [(2, float(WEIGHTS["returns"][1]), 2), (3, float(WEIGHTS["returns"][2]), 3)]
    [found] = ranked([([], [1, 2, 1])], settings=ListSettings(leave_out=0))
    assert found == [(1, float(WEIGHTS["returns"][0]), 1), (2, float(WEIGHTS["returns"][1]), 2)]
    assert ranked([([], [1, 2, 3])], settings=ListSettings(leave_out=LEAVE_OUT_RECENT)) == [[]]


def test_what_stands_beside_the_neighbours_of_the_current_item_is_found_too() -> None:
    """A second step is made from the best neighbours of the current item alone, for its sake, and not back to it."""
    best = [(item, 0.5) for item in range(10, 10 + WALKS)]
    beside = {
        10: [(77, 0.5), (11, 0.25), (1, 1.0)],
        11: [(77, 0.25)],
        10 + WALKS: [(78, 1.0)],
        20: [(79, 1.0)],
    }
    [found] = ranked([([[*best, (10 + WALKS, 0.125)], [(20, 1.0)]], [1, 1])], beside=beside)
    weight = float(WEIGHTS["second_step"])
    assert found[0] == (11, 0.5 + 0.5 * 0.25 * weight, 1)
    assert (77, 0.5 * 0.75 * weight, 1) in found and not {78, 79, 1} & {item for item, *_ in found}


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_remember_rows_says_what_the_plain_reference_says(seed: int, count: int) -> None:
    """The newest row of each place lies there, cut to its best; an answer of none, or for no list, changes nothing."""
    rng = np.random.default_rng(seed)
    items = rng.integers(1, 2**64, 12, dtype=np.uint64)
    answers, recent = np.zeros(count, ANSWER), rng.choice(items, (5, RECENT_ITEMS))
    answers["position"], answers["slot"] = rng.integers(0, 6, count), rng.integers(0, RECENT_FETCHED, count)
    answers["count"] = rng.integers(0, NEIGHBOURS + 1, count)
    answers["items"], answers["scores"] = (
        rng.integers(1, 2**64, (count, NEIGHBOURS), np.uint64),
        rng.random((count, 32)),
    )
    list_rows, remembered = np.array([0, 1, 2, 3, 4, -1], np.int32), nothing_remembered(8)
    remember_rows(answers, recent, list_rows, remembered)
    rows = []
    for a in answers[answers["position"] < 5]:
        told = zip(a["items"].tolist(), a["scores"].tolist(), strict=True)
        rows.append((int(recent[a["position"], a["slot"]]), list(told)[: int(a["count"])]))
    expected = remember_rows_reference(rows, 8)
    for place, row in enumerate(remembered):
        item, told = expected.get(place, (0, []))
        told = told + [(0, 0.0)] * (REMEMBERED_NEIGHBOURS - len(told))
        assert int(row["item"]) == item
        assert list(zip(row["items"].tolist(), row["scores"].tolist(), strict=True)) == told
