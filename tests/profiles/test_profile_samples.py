"""What the models are told: features from before an outcome, each decision once, within its horizon."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import Oracle
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE, Shop, cuts, line, logs, order

from state.features import MODEL_FEATURES

HORIZONS = {"purchase_horizon_ms": DAY, "churn_horizon_ms": 14 * DAY, "sample_every": 1}
Sample = tuple[int, int, list[float]]


def expected(log: list[bytes], every: int, finish: bool) -> dict[str, list[Sample]]:
    """(time, outcome, features) of every closed decision of a log in order of time, from first principles.

    A shopper who has none open takes a decision at each event that is a sample (one in `every`), with the features as
    they are then. An order within the horizon closes a purchase decision as bought, any event a churn decision as not
    lapsed; once the horizon has passed either is closed the other way. With `finish`, what the newest event of the log
    has overtaken is closed too, but of shoppers who have withdrawn their consent nothing more is learnt.
    """
    oracle, out = Oracle(), {"purchase": list[Sample](), "churn": list[Sample]()}
    open_: dict[tuple[str, str], tuple[int, list[float]]] = {}
    newest = taken = 0
    for record in log:
        event = json.loads(record)
        if oracle.take(record) not in ("taken", "late"):
            continue
        user, ts, newest = event["user_id"], event["ts"], max(newest, event["ts"])
        bought = oracle.shoppers[user].events[-1].is_order
        for model, sign, horizon in (("purchase", bought, DAY), ("churn", True, 14 * DAY)):
            at, x = open_.get((model, user), (None, None))
            if at is not None and x is not None and (sign or ts > at + horizon):
                in_time = ts <= at + horizon
                out[model].append((at, int(in_time if model == "purchase" else not in_time), x))
                del open_[model, user]
        taken += 1
        for model in out if taken % every == 1 % every else ():
            if (model, user) not in open_:
                features = oracle.features(user)
                open_[model, user] = ts, [features[name] for name in MODEL_FEATURES]
    for (model, user), (at, x) in open_.items():
        if finish and not oracle.shoppers[user].refused and at + HORIZONS[f"{model}_horizon_ms"] < newest:
            out[model].append((at, int(model == "churn"), x))
    return out


def held_against(found: list[tuple[int, int, tuple[float, ...]]], wanted: list[Sample]) -> None:
    def known(samples: list[Any]) -> list[tuple[int, int, tuple[Any, ...]]]:
        return sorted((at, y, tuple(np.round([v or 0 for v in x], 2))) for at, y, x in samples)

    assert [s[:2] for s in known(found)] == [s[:2] for s in known(wanted)]
    for (_, _, x), (_, _, z) in zip(known(found), known(wanted), strict=True):
        assert x == pytest.approx(z, rel=1e-3, abs=0.02)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.booleans(), st.sampled_from([1, 1, 2, 5]))
def test_outcomes_are_told_with_the_features_before_them(data: st.DataObject, sweeps: bool, every: int) -> None:
    """In order of time, cut anyhow, swept or not: each decision closes once, and as the log says."""
    log = data.draw(logs(erase=False, late=False))
    shop = Shop(sweep_rows=5 if sweeps else 0, **{**HORIZONS, "sample_every": every})
    for part in cuts(data.draw, len(log)):
        shop.feed(*log[part])
    if sweeps:
        shop.finish()
    for model, wanted in expected(log, every, finish=sweeps).items():
        held_against(shop.samples(model), wanted)


def test_an_order_at_the_horizon_s_last_moment_is_in_time() -> None:
    """A millisecond later it is not; and the order itself is not among the features."""
    for late, bought in ((0, 1), (1, 0)):
        shop = Shop(**HORIZONS)
        shop.feed(line("view", BEGIN_MS, item_id="a"), order(BEGIN_MS + DAY + late, ("a", 1, 5)))
        ((at, y, x),) = shop.samples("purchase")
        assert (at, y) == (BEGIN_MS, bought)
        assert x[MODEL_FEATURES.index("purchases_30d")] == 0 and x[MODEL_FEATURES.index("views_24h")] == 1


def test_a_decision_taken_at_an_order_knows_all_its_lines() -> None:
    """Features are those after the whole event, for the segments too."""
    shop = Shop(**HORIZONS)
    shop.feed(order(BEGIN_MS, ("a", 1, 5), ("b", 2, 10)), order(BEGIN_MS + HOUR, ("c", 1, 1)))
    told = [shop.samples("purchase")[0], shop.samples("churn")[0], shop.samples("segments")[0]]
    assert [at for at, _, _ in told] == [BEGIN_MS] * 3
    assert [x[MODEL_FEATURES.index("spend_30d")] for _, _, x in told] == [25] * 3
    assert [x[MODEL_FEATURES.index("items_bought_30d")] for _, _, x in told] == [3] * 3


def test_a_return_is_no_purchase() -> None:
    """Sending back does not close a decision as bought."""
    shop = Shop(**HORIZONS)
    shop.feed(line("view", BEGIN_MS, item_id="a"), order(BEGIN_MS + HOUR, ("a", -1, 5)))
    assert shop.samples("purchase") == []


def test_a_shopper_who_stays_away_has_lapsed_once() -> None:
    """The shard's clock runs on by the others' events; the sweep tells, the shopper's return does not tell again."""
    shop = Shop(**HORIZONS)
    shop.feed(line("view", BEGIN_MS, item_id="a"))
    shop.feed(line("view", BEGIN_MS + 14 * DAY, "bob", item_id="a"))
    assert shop.samples("churn") == []
    shop.feed(line("view", BEGIN_MS + 14 * DAY + 1, "bob", item_id="a", event_id="x"))
    assert [s[:2] for s in shop.samples("churn") if s[0] == BEGIN_MS] == [(BEGIN_MS, 1)]
    shop.feed(line("view", BEGIN_MS + 30 * DAY, "ann", item_id="b"))
    assert [s[:2] for s in shop.samples("churn") if s[0] == BEGIN_MS] == [(BEGIN_MS, 1)]


def test_an_order_from_before_the_decision_is_not_its_outcome() -> None:
    """A late order lay before the features were taken: it says nothing of what came after them."""
    shop = Shop(**HORIZONS)
    shop.feed(line("view", BEGIN_MS, item_id="a"), order(BEGIN_MS - 3 * DAY, ("a", 1, 5)))
    assert [s[:2] for s in shop.samples("purchase") if s[1]] == []


def test_a_late_event_makes_no_shopper_lapse() -> None:
    """Who comes every day has not lapsed, though a record of three weeks ago arrives in between."""
    shop = Shop(**HORIZONS)
    shop.feed(*(line("view", BEGIN_MS + n * DAY, item_id="a") for n in range(3)))
    shop.feed(line("view", BEGIN_MS - 20 * DAY, item_id="b"))
    shop.feed(line("view", BEGIN_MS + 3 * DAY, item_id="a"))
    assert [y for _, y, _ in shop.samples("churn")] == [0] * len(shop.samples("churn"))


def test_a_decision_is_as_old_as_its_features() -> None:
    """What a late event decides is decided now: a purchase the day after counts, though not within its own horizon."""
    shop = Shop(**HORIZONS)
    shop.feed(line("view", BEGIN_MS, item_id="a"), order(BEGIN_MS + HOUR, ("a", 1, 5)))
    shop.feed(order(BEGIN_MS - 5 * DAY, ("b", 1, 5)), order(BEGIN_MS + 2 * HOUR, ("c", 1, 5)))
    newest = [(at, y) for at, y, x in shop.samples("purchase") if x[MODEL_FEATURES.index("purchases_30d")] >= 1]
    assert all(y == 1 for _, y in newest), newest


@pytest.mark.parametrize("every", [1, 4, 16])
def test_one_event_in_so_many_is_a_sample_for_the_segments(every: int) -> None:
    """Counted over the shard, from its first event on, however it is cut; without an outcome."""
    log = [line("view", BEGIN_MS + n * MINUTE, "ab"[n % 2], item_id="a") for n in range(40)]
    shop = Shop(sample_every=every)
    for n in range(0, 40, 7):
        shop.feed(*log[n : n + 7])
    assert [at for at, _, _ in shop.samples("segments")] == [BEGIN_MS + n * MINUTE for n in range(0, 40, every)]
    assert all(not len(s.y) for b in shop.batches for s in b.samples if s.model == "segments")


def test_samples_are_copies_of_no_later_state() -> None:
    """A batch that was handed out does not change when the next one is taken in."""
    shop = Shop(sample_every=1)
    (batch,) = shop.feed(line("view", BEGIN_MS, item_id="a"))
    before = batch.samples[0].x.copy(), batch.rows.copy(), batch.touches.copy()
    shop.feed(*(line("view", BEGIN_MS + n, item_id=f"i{n}") for n in range(1, 50)))
    assert np.array_equal(before[0], batch.samples[0].x)
    assert np.array_equal(before[1]["x"], batch.rows["x"]) and np.array_equal(before[2], batch.touches)
