"""What the models are told: features from before an outcome, each decision once, within its horizon."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import Oracle, OracleSettings
from profile_oracle_events import ACTS, parse
from profile_shop import BEGIN_MS, CONTEXT, CUSTOM, DAY, HOUR, MINUTE, Shop, cuts, in_order, line, logs, order

from state.features import MODEL_FEATURES
from state.hashing import finish, hash_text

HORIZONS = {"purchase_horizon_ms": DAY, "churn_horizon_ms": 14 * DAY, "sample_every": 1}
Sample = tuple[int, int, list[Any]]


def expected(log: list[bytes], every: int) -> dict[str, list[Sample]]:
    """(time, outcome, features) of every closed decision of a log in order of time, from first principles.

    A shopper who has none open takes a decision at each act that is a sample (one in `every`, by a hash of shopper and
    time), with the features as they are then. An order within the horizon closes a purchase decision as bought, any act
    a churn decision as not lapsed; once the horizon has passed either is closed the other way, by the next act or by
    what others do.
    """
    oracle = Oracle(OracleSettings(custom_names=CUSTOM, context_names=CONTEXT))
    out: dict[str, list[Sample]] = {"segments": [], "purchase": [], "churn": []}
    open_: dict[tuple[str, str], tuple[int, list[Any]]] = {}
    newest = 0
    for record in log:
        event = parse(record)
        newest, verdict = max(newest, event["ts"]), oracle.take(record)
        if verdict not in ("taken", "late"):
            continue
        user, ts = event["user_id"], event["ts"]
        if event["type"] not in ACTS:
            continue
        bought = event["type"] == "purchase" and any(told["quantity"] > 0 for told in event["lines"])
        for model, sign, horizon in (("purchase", bought, DAY), ("churn", True, 14 * DAY)):
            if (model, user) in open_:
                at, x = open_[model, user]
                if sign or ts > at + horizon:
                    in_time = ts <= at + horizon
                    out[model].append((at, int(in_time if model == "purchase" else not in_time), x))
                    del open_[model, user]
        if int(finish(np.uint64(hash_text(user) ^ ts))) % every == 0:
            features = oracle.features(user)
            x = [features[name] for name in MODEL_FEATURES]
            out["segments"].append((ts, 0, x))
            for model in ("purchase", "churn"):
                open_.setdefault((model, user), (ts, x))
    for (model, _), (at, x) in open_.items():
        if at + (DAY if model == "purchase" else 14 * DAY) < newest:
            out[model].append((at, int(model == "churn"), x))
    return out


def held_against(found: list[tuple[int, int, tuple[float, ...]]], wanted: list[Sample]) -> None:
    """Times and outcomes are the same; and one way of pairing them off has the same features. `...` is passed over."""
    assert sorted(s[:2] for s in found) == sorted(s[:2] for s in wanted)
    left = list(found)
    for at, y, x in wanted:
        same = [s for s in left if s[:2] == (at, y) and all(map(_is_same, s[2], x))]
        assert same, (at, y, x)
        left.remove(same[0])


def _is_same(found: float, wanted: Any) -> bool:
    return wanted is ... or math.isclose(found, wanted or 0, rel_tol=1e-3, abs_tol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from([1, 1, 2, 5]))
def test_outcomes_are_told_with_the_features_before_them(data: st.DataObject, every: int) -> None:
    """In order of time, cut anyhow: each decision closes once, and as the log says."""
    log = in_order(data.draw(logs(most=60, erase=False, rights=False)))
    shop = Shop(inactivity_ttl_ms=4000 * DAY, **{**HORIZONS, "sample_every": every})
    for part in cuts(data.draw, len(log)):
        shop.feed(*log[part])
    for model, wanted in expected(log, every).items():
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
    """The shard's watermark moves on by the others' events; the look then tells, their return does not tell again."""
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
    """The same ones, however the log is cut and in whatever order shoppers take turns; without an outcome."""
    log = [line("view", BEGIN_MS + n * MINUTE, f"s{n % 7}", item_id="a") for n in range(700)]
    shop, other = Shop(sample_every=every), Shop(sample_every=every)
    for n in range(0, len(log), 7):
        shop.feed(*log[n : n + 7])
    other.feed(*[act for shopper in range(7) for act in log[shopper::7]])
    assert len(shop.samples("segments")) == pytest.approx(len(log) / every, rel=0.3)
    assert [s[0] for s in shop.samples("segments")] == [s[0] for s in other.samples("segments")]
    assert all(not len(s.y) for b in shop.batches for s in b.samples if s.model == "segments")


def test_late_acts_are_samples_as_often_as_others() -> None:
    """Each by its own time, not by that of the shopper's newest act."""
    shop = Shop(sample_every=4)
    shop.feed(line("view", BEGIN_MS + 5 * MINUTE, item_id="a"))
    shop.feed(*(line("view", BEGIN_MS + n * 1_000, item_id="a") for n in range(200)))
    assert 25 <= len(shop.samples("segments")) <= 75


@settings(max_examples=40, deadline=None)
@given(logs(most=40), st.data())
def test_all_that_was_known_by_then_has_been_told(log: list[bytes], data: st.DataObject) -> None:
    """Of a log in order of time: no later batch has a sample that was known before what its shard had told."""
    log = in_order(log)
    shop = Shop(sample_every=2)
    told_ts = 0
    for cut in cuts(data.draw, len(log)):
        for batch in shop.feed(*log[cut]):
            assert all(known >= told_ts for samples in batch.samples for known in samples.known_ts.tolist())
            told_ts = max(told_ts, batch.told_ts)
    assert told_ts == max((json.loads(record)["ts"] for record in log), default=0)


def test_samples_are_copies_of_no_later_state() -> None:
    """A batch that was handed out does not change when the next one is taken in."""
    shop = Shop(sample_every=1)
    (batch,) = shop.feed(line("view", BEGIN_MS, item_id="a"))
    before = batch.samples[0].x.copy(), batch.rows.copy(), batch.touches.copy()
    shop.feed(*(line("view", BEGIN_MS + n, item_id=f"i{n}") for n in range(1, 50)))
    assert np.array_equal(before[0], batch.samples[0].x)
    assert np.array_equal(before[1]["x"], batch.rows["x"]) and np.array_equal(before[2], batch.touches)


def test_only_acts_are_samples_and_signs_of_life() -> None:
    """Consent, impressions, identities and attributes neither make a sample nor keep anybody from having lapsed; but
    a sample is of the time of the shopper's newest event."""
    shop = Shop(**HORIZONS)
    others: dict[str, dict[str, Any]] = {
        "impression": {"experiment": "x", "variant": "a"},
        "identify": {"anonymous_id": "z"},
        "profile": {"attributes": {}},
    }
    shop.feed(line("view", BEGIN_MS, item_id="a"))
    for n, (kind, fields) in enumerate({**others, "consent": {"granted": True}}.items()):
        shop.feed(line(kind, BEGIN_MS + (n + 1) * DAY, **fields))
    assert [s[0] for s in shop.samples("segments")] == [BEGIN_MS] and shop.samples("churn") == []
    shop.pulse(BEGIN_MS + 14 * DAY + 1)
    assert [s[:2] for s in shop.samples("churn")] == [(BEGIN_MS, 1)]
    shop.feed(line("profile", BEGIN_MS + 20 * DAY, attributes={}), line("view", BEGIN_MS + 19 * DAY, item_id="b"))
    assert [s[0] for s in shop.samples("segments")] == [BEGIN_MS, BEGIN_MS + 20 * DAY]


def test_an_erased_shopper_s_decisions_are_never_closed() -> None:
    """What was to be learnt of them goes with them; the same holds at the end of input."""
    shop = Shop(**HORIZONS)
    shop.feed(line("view", BEGIN_MS, item_id="a"), line("erase", BEGIN_MS + 1))
    shop.pulse(BEGIN_MS + 90 * DAY)
    shop.finish()
    assert shop.samples("purchase") == shop.samples("churn") == []
    assert len(shop.samples("segments")) == 1


def test_nothing_more_is_learnt_of_who_has_withdrawn() -> None:
    """A decision that is open then stays open while they are away, however long; it is closed once they are back."""
    shop = Shop(**HORIZONS)
    shop.feed(line("view", BEGIN_MS, item_id="a"), line("consent", BEGIN_MS + 1, granted=False))
    shop.pulse(BEGIN_MS + 300 * DAY)
    shop.finish()
    assert shop.samples("purchase") == shop.samples("churn") == []
    shop.feed(line("consent", BEGIN_MS + 300 * DAY, granted=True), line("view", BEGIN_MS + 300 * DAY, item_id="b"))
    assert [s[:2] for s in shop.samples("purchase")] == [(BEGIN_MS, 0)]
    assert [s[:2] for s in shop.samples("churn")] == [(BEGIN_MS, 1)]
