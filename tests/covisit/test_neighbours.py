"""The co-visitation kernels against plain Python and against the definition of fading."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels import neighbours
from operators.kernels.neighbours import ITEM_ROW, LONG, SHARD_ROW, SHORT
from state.batches import ANSWER, FETCH, NEIGHBOURS, PAIR, RECENT_ITEMS, TOUCH

RATES = (2.0 ** (1 / 500), 2.0 ** (1 / 20))


def learned(
    pairs: list[tuple[int, int, float]], items: int, rates: tuple[float, float] = RATES
) -> tuple[np.ndarray, np.ndarray]:
    """ITEM_ROW[items] and SHARD_ROW[1] after the pairs; an item is its own row."""
    table, shard, dirty = np.zeros(items, ITEM_ROW), np.zeros(1, SHARD_ROW), np.zeros(items, np.uint8)
    shard["growth"] = 1.0
    rows = np.array([row for row, _, _ in pairs], np.int32)
    neighbours.update(table, dirty, rows, np.array(pairs, PAIR), shard, np.array(rates))
    assert set(np.flatnonzero(dirty).tolist()) == {row for row, _, _ in pairs}
    assert shard["pairs"][0] == len(pairs)
    return table, shard


def random_pairs(seed: int, count: int, items: int) -> list[tuple[int, int, float]]:
    rng = np.random.default_rng(seed)
    rows, others = rng.integers(0, items, count), rng.integers(1, 3 * NEIGHBOURS, count)
    return list(zip(rows.tolist(), others.tolist(), rng.uniform(0.1, 2.0, count).tolist(), strict=True))


def shares(weights: dict[int, float]) -> dict[int, float]:
    total = sum(weights.values())
    return {other: w / total for other, w in weights.items()}


def kept(row: np.ndarray, scale: int) -> dict[int, float]:
    n = int(row["count"])
    return dict(zip(row["neighbours"][:n].tolist(), row["weights"][scale, :n].astype(float).tolist(), strict=True))


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 400),
    rates=st.sampled_from([RATES, (2.0 ** (1 / 7), 2.0), (2.0**30, 2.0**31.5)]),
)
@settings(max_examples=40, deadline=None)
def test_update_says_what_the_plain_reference_says(seed: int, count: int, rates: tuple[float, float]) -> None:
    """Neighbours and weights are the reference's to the last bit, however many eras pass and rows lie untouched."""
    pairs = random_pairs(seed, count, items=4)
    table, shard = learned(pairs, items=4, rates=rates)
    for item, expected in neighbours.update_reference(pairs, rates).items():
        row = table[item]
        assert row["neighbours"].tolist() == [other for other, *_ in expected] + [0] * (NEIGHBOURS - len(expected))
        for scale in (LONG, SHORT):
            eras = int(shard["eras"][0, scale] - row["eras"][scale])
            found = [neighbours.faded(w, eras) for w in row["weights"][scale, : len(expected)]]
            assert found == [entry[1 + scale] for entry in expected]


def test_weights_are_sums_of_co_visits_halved_each_half_life() -> None:
    """A neighbour's share is that of the sum of weight * 2**(-age / half-life), as long as the row is not full."""
    rng = np.random.default_rng(3)
    pairs = [(0, int(o), float(w)) for o, w in zip(rng.integers(1, 30, 900), rng.uniform(0.1, 1, 900), strict=True)]
    table, _ = learned(pairs, items=1)
    for scale, half_life in ((LONG, 500), (SHORT, 20)):
        expected: dict[int, float] = {}
        for age, (_, other, weight) in enumerate(reversed(pairs)):
            expected[other] = expected.get(other, 0.0) + weight * 2.0 ** (-age / half_life)
        assert shares(kept(table[0], scale)) == pytest.approx(shares(expected), rel=1e-4, abs=1e-12)


def test_a_new_neighbour_takes_the_place_of_the_lightest() -> None:
    """A full row gives up its least long-term weight, and the newcomer starts at its own."""
    full = [(0, other, 5.0 if other != 7 else 1.0) for other in range(1, NEIGHBOURS + 1)]
    found = kept(learned([*full, (0, 99, 2.0)], items=1)[0][0], LONG)
    assert set(found) == (set(range(1, NEIGHBOURS + 1)) - {7}) | {99}
    assert shares(found)[99] == pytest.approx(2.0 / (31 * 5.0 + 2.0), rel=0.1)


def test_rows_lie_heaviest_first() -> None:
    """Whatever comes and goes, the last of a full row is the one to give up."""
    table, _ = learned(random_pairs(5, 4_000, items=6), items=6)
    assert (table["count"] == NEIGHBOURS).all() and (np.diff(table["weights"][:, LONG]) <= 0.0).all()
    assert all(len(set(row)) == NEIGHBOURS for row in table["neighbours"].tolist())


def test_a_row_that_has_seen_little_answers_with_small_shares() -> None:
    """One co-visit is a share of 1 / (1 + DOUBT) at first, and of next to nothing when it has faded."""
    for since, weight in ((0, 1.0), (500, 0.5), (32 * 500, 2.0**-32)):
        pairs = [(0, 7, 1.0), *[(1, 8, 1.0)] * since]
        table, shard = learned(pairs, items=2, rates=(2.0 ** (1 / 500), 1.0))
        out = np.zeros(1, ANSWER)
        neighbours.answer(table, np.zeros(1, np.int32), np.zeros(1, FETCH), shard, 0.0, False, out)
        assert out["scores"][0, 0] == pytest.approx(weight / (weight + neighbours.DOUBT), rel=1e-2)


def test_eras_leave_shares_untouched() -> None:
    """However often growth is divided, a row written long ago is scaled exactly, and none overflows."""
    rates = (2.0, 2.0**4)
    pairs = [(0, 1, 1.0), (0, 2, 1.0), *[(1, 1, 1.0)] * 40, (0, 3, 1.0)]
    row = learned(pairs, items=2, rates=rates)[0][0]
    long, short = kept(row, LONG), kept(row, SHORT)
    assert long[2] / long[1] == 2.0 and long[3] / long[2] == 2.0**41
    assert short == {1: 0.0, 2: 0.0, 3: short[3]} and short[3] > 0.0
    endless = learned([(0, 1 + n % 3, 1.0) for n in range(5_000)], items=1, rates=rates)[0][0]
    assert np.isfinite(endless["weights"]).all() and endless["eras"].tolist() == [4_999 // 32, 4_999 // 8]


def test_a_pair_of_an_item_without_row_only_lets_time_pass() -> None:
    """Row -1 is passed over, but the shard's clock counts the pair."""
    table, shard, dirty = np.zeros(2, ITEM_ROW), np.zeros(1, SHARD_ROW), np.zeros(2, np.uint8)
    shard["growth"] = 1.0
    neighbours.update(table, dirty, np.array([-1], np.int32), np.array([(5, 6, 1.0)], PAIR), shard, np.array(RATES))
    assert not table.tobytes().strip(b"\0") and not dirty.any()
    assert shard["growth"][0].tolist() == list(RATES) and shard["pairs"][0] == 1


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 300),
    rates=st.sampled_from([RATES, (2.0 ** (1 / 7), 2.0), (2.0**30, 2.0**31.5)]),
    short_weight=st.sampled_from([0.0, 0.25, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_answer_says_what_the_plain_reference_says(
    seed: int, count: int, rates: tuple[float, float], short_weight: float
) -> None:
    """Neighbours come best first with exactly the reference's scores; an unknown item gets an answer of none."""
    table, shard = learned(random_pairs(seed, count, items=3), items=3, rates=rates)
    fetches = np.array([(row, 10 + row, row + 1) for row in (0, 1, 2, 3)], FETCH)
    out = np.zeros(4, ANSWER)
    neighbours.answer(table, np.array([0, 1, 2, -1], np.int32), fetches, shard, short_weight, False, out)
    assert out["position"].tolist() == [10, 11, 12, 13] and out["slot"].tolist() == [1, 2, 3, 4]
    assert out["count"][3] == 0 and not out["items"][3].any()
    for row in (0, 1, 2):
        long, short = kept(table[row], LONG), kept(table[row], SHORT)
        expected = neighbours.answer_reference(
            {o: [long[o], short[o]] for o in long},
            shard["growth"][0].tolist(),
            (shard["eras"][0] - table["eras"][row]).tolist(),
            short_weight,
        )
        n = int(out["count"][row])
        assert n == len(long)
        assert out["items"][row, :n].tolist() == [item for item, _ in expected]
        assert out["scores"][row, :n].tolist() == [np.float32(score) for _, score in expected]
        assert not out["items"][row, n:].any() and not out["scores"][row, n:].any()


def test_equal_scores_are_ordered_by_hash() -> None:
    """A tie has one order whatever the order of arrival."""
    table = np.zeros(1, ITEM_ROW)
    table["neighbours"][0, :4], table["weights"][0, :, :4], table["count"] = [9, 2, 2**63 + 1, 5], 1.0, 4
    out, shard = np.zeros(1, ANSWER), np.zeros(1, SHARD_ROW)
    shard["growth"] = 1.0
    neighbours.answer(table, np.zeros(1, np.int32), np.zeros(1, FETCH), shard, 0.25, False, out)
    assert out["items"][0, :4].tolist() == [2, 5, 9, 2**63 + 1]


@given(
    item=st.integers(1, 4),
    recent=st.lists(st.integers(1, 4), max_size=RECENT_ITEMS),
    weight=st.sampled_from([1.0, 3.0, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_pairs_of_says_what_the_plain_reference_says(item: int, recent: list[int], weight: float) -> None:
    """An act is paired both ways with the last items, never with itself, written from the place it is told."""
    out = np.zeros(3 + neighbours.PAIRS_PER_ACT_MAX, PAIR)
    history = np.zeros(RECENT_ITEMS, np.uint64)
    history[: len(recent)] = recent
    end = neighbours.pairs_of(np.uint64(item), history, len(recent), weight, out, 3)
    expected = neighbours.pairs_of_reference(item, recent, weight)
    assert end == 3 + len(expected) and not out["row"][:3].any() and not out["row"][end:].any()
    assert [(int(p["row"]), int(p["other"])) for p in out[3:end]] == [(row, other) for row, other, _ in expected]
    assert out["weight"][3:end].tolist() == pytest.approx([w for *_, w in expected], rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 100))
@settings(max_examples=40, deadline=None)
def test_popularity_is_the_sum_of_fading_touches_in_any_order(seed: int, count: int) -> None:
    """Late touches count for what they would have counted in time; weight 0 counts for nothing."""
    rng = np.random.default_rng(seed)
    half_life_ms, begin = 3_600_000.0, 1_700_000_000_000
    touches = np.zeros(count, TOUCH)
    touches["item"], touches["ts"] = rng.integers(0, 5, count), begin + rng.integers(0, 20 * 3_600_000, count)
    touches["weight"] = rng.choice([0.0, 1.0, 3.0], count)
    items, dirty, shard = np.zeros(5, ITEM_ROW), np.zeros(5, np.uint8), np.zeros(1, SHARD_ROW)
    items["popularity"] = -np.inf
    neighbours.touch(items, dirty, touches["item"].astype(np.int32), touches, shard, half_life_ms)
    now = int(touches["ts"].max())
    assert shard["event_ts"][0] == now
    told = [(int(t["item"]), int(t["ts"]), float(t["weight"])) for t in touches]
    expected = neighbours.touch_reference(told, half_life_ms, now)
    for item, weight in expected.items():
        assert 2.0 ** (items["popularity"][item] - now / half_life_ms) == pytest.approx(weight, rel=1e-6)
