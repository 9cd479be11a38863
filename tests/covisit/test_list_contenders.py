"""Weights that are learned from what shoppers turn to, and a challenger's lists beside those in force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from operators.contender import Challenger, Comparison, Contender
from operators.kernels.candidates import RECENT_FETCHED
from operators.kernels.list_types import Beside, Last, Lists, unknown_shoppers
from operators.kernels.parts import PARTS, parts_of, parts_of_reference
from operators.list_maker import ListMaker, ListMemory
from operators.list_settings import ListSettings
from operators.part_weights import FACTOR_BOUNDS, SHOPPERS_PER_SAMPLE, WAITING_MAX, PartWeights
from state.batches import ACT, LIST_LENGTH, NEIGHBOURS, RECENT_ITEMS


def laid_out(rng: np.random.Generator, n: int, items: int) -> tuple[Beside, Last]:
    """Random shoppers of a small shop: ties and repeats are common."""
    counts = rng.integers(0, min(items, NEIGHBOURS) + 1, (n, RECENT_FETCHED)).astype(np.uint8)
    hashes = np.argsort(rng.random((n, RECENT_FETCHED, max(items, NEIGHBOURS))), axis=2)[..., :NEIGHBOURS] % items + 1
    scores = -np.sort(-rng.integers(1, 9, (n, RECENT_FETCHED, NEIGHBOURS)) / 8, axis=2).astype(np.float32)
    recent = rng.integers(1, items + 1, (n, RECENT_ITEMS), np.uint64)
    known = rng.integers(0, RECENT_ITEMS + 1, n).astype(np.uint8)
    return Beside(hashes.astype(np.uint64), scores, counts), Last(recent, known)


@given(seed=st.integers(0, 2**32 - 1), items=st.integers(NEIGHBOURS, 60))
@settings(max_examples=40, deadline=None)
def test_parts_say_what_the_plain_reference_says_and_add_up_to_the_score(seed: int, items: int) -> None:
    """Of each item of each list that was asked for."""
    rng = np.random.default_rng(seed)
    beside, last = laid_out(rng, 6, items)
    maker, weights = ListMaker(memory=ListMemory.empty(64)), ListSettings().weights()
    remembered = maker.memory.remembered
    for row in rng.integers(1, items + 1, 20):
        remembered[row % 64]["item"] = row
        remembered[row % 64]["items"] = rng.integers(1, items + 1, 8)
        remembered[row % 64]["scores"] = rng.integers(1, 9, 8) / 8
    lists, wanted = maker.make(beside, last, unknown_shoppers(len(last.known)), weights), np.array([0, 3, 5])
    parts = np.full((len(wanted), LIST_LENGTH, len(PARTS)), 77, np.float32)
    parts_of(beside, last, weights, remembered, lists, wanted, parts)
    memory = {int(r["item"]): list(zip(*(r[c].tolist() for c in ("items", "scores")), strict=True)) for r in remembered}
    for i, n in enumerate(wanted):
        rows = [
            list(zip(beside.items[n, s, :c].tolist(), beside.scores[n, s, :c].tolist(), strict=True))
            for s, c in enumerate(beside.counts[n].tolist())
        ]
        history = last.items[n, : last.known[n]].tolist()
        expected = parts_of_reference(rows, history, weights, memory, lists.items[n, : lists.counts[n]].tolist())
        assert parts[i, : lists.counts[n]].tolist() == pytest.approx(np.array(expected), rel=1e-5)
        assert not parts[i, lists.counts[n] :].any()
        assert parts[i].sum(axis=1) == pytest.approx(lists.scores[n], rel=1e-5)


def shop_of_one_kind(weights: PartWeights, maker: ListMaker, lists: int, part: str, seed: int = 0) -> None:
    """Shoppers whose lists hold an item by the neighbours of the current item and one by `part`, of about one score:
    they turn to the latter three times out of four."""
    rng = np.random.default_rng(seed)
    for n in range(lists):
        row = np.array([SHOPPERS_PER_SAMPLE * (n % 7)], np.int32)
        beside = Beside(
            np.zeros((1, RECENT_FETCHED, NEIGHBOURS), np.uint64),
            np.zeros((1, RECENT_FETCHED, NEIGHBOURS), np.float32),
            np.zeros((1, RECENT_FETCHED), np.uint8),
        )
        last = Last(np.zeros((1, RECENT_ITEMS), np.uint64), np.array([2], np.uint8))
        last.items[0, :2] = 1, 2
        beside.items[0, 0, 0], beside.scores[0, 0, 0], beside.counts[0, 0] = 10, 0.15 * rng.uniform(0.8, 1.2), 1
        if part == "earlier":
            beside.items[0, 1, 0], beside.scores[0, 1, 0], beside.counts[0, 1] = 11, 0.3, 1
        other = 2 if part == "coming_back" else 11
        made = maker.make(beside, last, unknown_shoppers(len(last.known)), weights.in_force)
        weights.note(3, row, beside, last, maker.memory.remembered, made)
        weights.learn(3, row, np.array([other if rng.random() < 0.75 else 10], np.uint64))


@pytest.mark.parametrize("part", ["earlier", "coming_back"])
def test_a_part_that_shoppers_follow_counts_more(part: str) -> None:
    """And the others stay near what they were; the neighbours of the current item by definition."""
    weights, maker = PartWeights(ListSettings()), ListMaker(memory=ListMemory.empty(64))
    shop_of_one_kind(weights, maker, 400, part)
    factors = weights.factors
    assert weights.learned_from == 400 and factors["current"] == 1.0
    assert factors[part] > 1.5 and factors[part] == max(factors.values())
    given = ListSettings().weights()
    column, place = ("slots", 1) if part == "earlier" else ("returns", 1)
    assert weights.in_force[column][0, place] == pytest.approx(given[column][0, place] * factors[part])
    assert weights.in_force["slots"][0, 0] == given["slots"][0, 0]


def test_a_restart_goes_on_from_the_shard_that_knew_most() -> None:
    """Shards of a process keep the same weights at different times; the further one is taken."""
    weights, maker = PartWeights(ListSettings()), ListMaker(memory=ListMemory.empty(64))
    states = [weights.state()]
    for seed in range(2):
        shop_of_one_kind(weights, maker, 50, "earlier", seed)
        states.append(weights.state())
    resumed = PartWeights(ListSettings())
    for state in (states[1], states[2], states[0]):
        resumed.take_up(state)
    assert resumed.state() == weights.state() and (resumed.in_force == weights.in_force).all()
    fixed = PartWeights(ListSettings(learn_weights=False))
    fixed.take_up(states[2])
    shop_of_one_kind(fixed, maker, 20, "earlier")
    assert (fixed.in_force == ListSettings().weights()).all() and set(fixed.factors.values()) == {1.0}


def test_what_waits_is_bounded_and_weights_stay_within_their_bounds() -> None:
    """Lists that nobody comes back to are forgotten, the oldest first; a part that always wins does not run away."""
    weights, maker = PartWeights(ListSettings()), ListMaker(memory=ListMemory.empty(64))
    beside, last = laid_out(np.random.default_rng(1), 1000, 50)
    made = maker.make(beside, last, unknown_shoppers(len(last.known)), weights.in_force)
    for shard in range(2 + WAITING_MAX // 900):
        rows = np.arange(1000, dtype=np.int32) * SHOPPERS_PER_SAMPLE
        weights.note(shard, rows, beside, last, maker.memory.remembered, made)
    assert len(weights._waiting) == WAITING_MAX
    for seed in range(20):
        shop_of_one_kind(weights, maker, 200, "coming_back", seed)
    low, high = FACTOR_BOUNDS
    assert all(low <= factor <= high and math.isfinite(factor) for factor in weights.factors.values())


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=60))
def test_a_comparison_is_a_paired_test_of_reciprocal_ranks(pairs: list[tuple[int, int]]) -> None:
    """In any cut into batches; scipy's paired t is the same but for the divisor of the variance."""
    comparison, ranks = Comparison(), np.array(pairs, np.int8).reshape(-1, 2)
    for part in np.array_split(ranks, 3):
        comparison.add(part[:, 0], part[:, 1])
    reciprocal = np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)
    told = comparison.figures()
    if not pairs:
        assert told == {} and not comparison.leads
        return
    assert told["champion_mrr_20"] == pytest.approx(reciprocal[:, 0].mean())
    assert told["challenger_hit_rate_20"] == pytest.approx((ranks[:, 1] > 0).mean())
    if np.ptp(reciprocal[:, 1] - reciprocal[:, 0]) > 0:
        n = len(pairs)
        expected = ttest_rel(reciprocal[:, 1], reciprocal[:, 0]).statistic * math.sqrt(n / (n - 1))
        assert comparison.z == pytest.approx(expected, rel=1e-6)


def test_a_challenger_is_judged_only_by_lists_that_both_have() -> None:
    """Not where its list was forgotten, as of a shopper who was in the cold tier."""
    comparison = Comparison()
    challenger = Challenger(Contender(ListSettings(second_step=0.0)), comparison)
    rows = np.array([4, 0], np.int32)
    lists = Lists(*(np.zeros((2, *shape), kind) for shape, kind in _shapes()))
    lists.items[:, :2], lists.counts[:] = [[7, 8], [7, 8]], 2
    challenger.make_room(int(rows.max()) + 1)
    challenger.keep(rows, lists)
    acts = np.array([(0, 8, 1), (1, 9, 1)], ACT)
    challenger.judge(acts, rows, np.array([1, 0], np.int8))
    assert comparison.figures() == {
        "champion_hit_rate_20": 0.5,
        "challenger_hit_rate_20": 0.5,
        "champion_mrr_20": 0.5,
        "challenger_mrr_20": 0.25,
        "judged": 2,
        "z": -1.41,
    }
    challenger.forget(rows[:1])
    challenger.judge(acts, rows, np.array([1, 0], np.int8))
    assert comparison.sums[0] == 3


def _shapes() -> list[tuple[tuple[int, ...], type]]:
    wide = (LIST_LENGTH,)
    return [(wide, np.uint64), (wide, np.float32), (wide, np.uint64), ((), np.uint8), ((), np.uint64)]
