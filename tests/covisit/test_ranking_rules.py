"""The rules of a shop in the ranking kernel, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from ranked_lists import RandomShop, ranked_by_rung

from operators.goods import Goods
from operators.kernels.list_rules import RULED, Rules
from operators.kernels.ranking import rank_reference
from operators.list_settings import ListSettings
from state.batches import LIST_LENGTH
from state.profile_table import AVAILABLE, FACT_ROW, UNAVAILABLE
from state.rungs import BESIDE, POPULAR


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
