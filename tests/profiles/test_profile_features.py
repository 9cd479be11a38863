"""Every feature of every shopper, against an oracle that works them out from the plain list of events."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from disorder import in_bounds
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import Oracle, OracleSettings, told_apart
from profile_shop import BEGIN_MS, CONTEXT, CUSTOM, DAY, HOUR, MINUTE, NEAR_MS, Shop, cuts, line, logs, order

from operators.generate import ShopPlan, generate
from operators.kernels.features import model_features
from state.batches import Pulse
from state.features import DIMENSIONS, MODEL_FEATURES, PATTERNS, catalogue
from state.hashing import hash_text

AFTER_MS = (0, 1, 4 * MINUTE, HOUR, 25 * HOUR, 6 * DAY, 8 * DAY, 31 * DAY, 400 * DAY)


def oracle_for(shop: Shop, **settings: Any) -> Oracle:
    """An oracle of the same settings."""
    return Oracle(
        OracleSettings(
            timezone=shop.settings.timezone,
            custom_names=shop.settings.custom_names,
            context_names=shop.settings.context_names,
            shard_of=lambda user: hash_text(user) % shop.shards,
            **settings,
        )
    )


def compare(shop: Shop, oracle: Oracle, after: tuple[int, ...] = AFTER_MS) -> None:
    """Hold every shopper's features against the oracle's, now and at later times, and the models' vector too."""
    rows = {user: at for user, at in shop.rows().items() if shop.row(user)["events"]}
    assert set(rows) == set(oracle.users())
    for user, (step, r) in rows.items():
        row, store = step.store.profiles.rows[r], step.store
        newest = int(row["event_ts"])
        assert newest == oracle.newest(user)
        for later in after:
            now = newest + later
            found = shop.features(user, now)
            assert told_apart(found, oracle.features(user, now)) == {}, (user, later)
            x = np.full(DIMENSIONS, 77, np.float32)
            cells, gap = store.slab("cells"), shop.settings.session_gap_ms
            model_features(row, store.sessions.rows[r], cells, now, gap, x)
            assert x == pytest.approx([np.float32(found[name]) for name in MODEL_FEATURES], rel=2e-6, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(logs(), st.sampled_from([1, 3]), st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"]))
def test_features_are_those_of_the_plain_list_of_events(log: list[bytes], shards: int, timezone: str) -> None:
    """Late ones, duplicates, returns, consent and erasure among them; at the newest event and long after."""
    shop = Shop(shards, timezone=timezone, inactivity_ttl_ms=4000 * DAY)
    oracle = oracle_for(shop)
    for record in log:
        oracle.take(record)
    shop.feed(*log)
    compare(shop, oracle)


@settings(max_examples=150, deadline=None)
@given(logs(most=60, erase=False, late=NEAR_MS, rights=False), st.integers(1, 20))
def test_triggers_are_those_of_the_plain_list_of_events(log: list[bytes], size: int) -> None:
    """Whatever the batches: each trigger once, at its time, and none that something kept from following."""
    log = in_bounds(log, 10 * MINUTE)  # what is told again long after may be out of them
    shop = Shop(inactivity_ttl_ms=4000 * DAY, browsed_depth_min=1)
    oracle = oracle_for(shop, browsed_depth_min=1)
    for record in log:
        oracle.take(record)
    shop.feed_in(log, size)
    watermark = int(shop.steps["u000"].store.shard.rows["watermark_ts"][0])
    assert shop.triggers() == oracle.triggers(watermark)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_triggers_follow_the_order_of_batches_and_pulses(data: st.DataObject) -> None:
    """However many of them a call of the step is handed: a pulse behind a batch says nothing before the batch is in."""
    log = in_bounds(data.draw(logs(most=60, erase=False, late=NEAR_MS, rights=False)), 10 * MINUTE)
    shop = Shop(inactivity_ttl_ms=4000 * DAY, browsed_depth_min=1)
    oracle = oracle_for(shop, browsed_depth_min=1)
    values: list[tuple[str, Any]] = []
    size = data.draw(st.integers(1, 20))
    for at in range(0, len(log), size):
        decoded = shop.decode(log[at : at + size])
        values += [*decoded, *(("u000", Pulse(0, batch.part, batch.newest_ts)) for _, batch in decoded[-1:])]
    for record in log:
        oracle.take(record)
    for part in cuts(data.draw, len(values)):
        shop.batches += shop.steps["u000"].process([value for _, value in values[part]])
    watermark = int(shop.steps["u000"].store.shard.rows["watermark_ts"][0])
    assert shop.triggers() == oracle.triggers(watermark)


def test_features_of_a_whole_shop_are_those_of_the_plain_list() -> None:
    """A made-up shop with late events and events told twice, over four shards, in batches of 500."""
    plan = ShopPlan(shoppers=60, items=80, categories=9, days=45, events=5_000, late_share=0.05, duplicate_share=0.05)
    log = b"".join(generate(plan)).splitlines()
    shop = Shop(4, timezone="Europe/Berlin", custom_names=(), context_names=())
    oracle = oracle_for(shop)
    verdicts = [oracle.take(record) for record in log]
    shop.feed_in(log, 500)
    compare(shop, oracle, (0, 5 * HOUR))
    assert verdicts.count("duplicate") == shop.counted("duplicates") > 50
    assert verdicts.count("late") == shop.counted("late_events")
    assert sum(len(b.receipt.ts) for b in shop.batches) == verdicts.count("taken") + verdicts.count("late")
    assert sum(sum(b.receipt.done.values()) for b in shop.batches) == len(log) - verdicts.count("item")


def test_the_catalogue_names_every_feature() -> None:
    """What a shopper has is in the catalogue of the shop, or follows one of its patterns; and nothing is missing."""
    shop = Shop()
    shop.feed(
        line("view", BEGIN_MS, item_id="a", device="phone", context={"campaign": "spring"}),
        line("profile", BEGIN_MS, attributes={"age": 3}),
    )
    found = set(shop.features("ann"))
    told = {"device_phone_share", "context_campaign_spring_share", "attribute_age"}
    assert found == catalogue(CUSTOM, CONTEXT).keys() | told
    assert {pattern.name for pattern in PATTERNS} == {"DIMENSION_VALUE_share", "attribute_NAME"}


@settings(max_examples=40, deadline=None)
@given(logs(most=60), st.integers(2, 16))
def test_the_number_of_shards_changes_no_shopper(log: list[bytes], shards: int) -> None:
    """All that is kept of a shopper is the same, but for the decisions: samples are counted by shard."""
    one, many = Shop(1), Shop(shards)
    one.feed(*log)
    many.feed(*log)
    later = ("purchase_decision", "churn_decision", "lapsed_told", "cart_told", "session.told", "pending")
    shoppers = (
        one.kept(*later).keys() & many.kept(*later).keys()
    )  # the watermark, and so the end of a row, is a shard's
    assert {u: one.kept(*later)[u] for u in shoppers} == {u: many.kept(*later)[u] for u in shoppers}


def test_a_late_event_is_added_to_its_tile() -> None:
    """A view of yesterday that arrives today counts in 24 h, 7 d and 30 d, not in 1 h."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS + DAY, item_id="a"), line("view", BEGIN_MS + DAY - 20 * HOUR, item_id="b"))
    found = shop.features("ann")
    assert [found[f"views_{w}"] for w in ("1h", "24h", "7d", "30d")] == [1, 2, 2, 2]
    assert shop.counted("late_events") == 0


def test_an_event_older_than_every_window_counts_for_life_alone() -> None:
    """It is taken in, counted as late, and no window knows it."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS + 40 * DAY, item_id="a"))
    (batch,) = shop.feed(order(BEGIN_MS, ("b", 2, 5)))
    found = shop.features("ann")
    assert (found["events_total"], found["purchases_total"], found["spend_total"]) == (2, 1, 10)
    assert (found["purchases_30d"], found["spend_30d"], found["active_days_30d"]) == (0, 0, 1)
    assert found["recency_days"] == 40 and found["days_known"] == 40
    assert shop.counted("late_events") == 1
    assert batch.receipt.ts.tolist() == [BEGIN_MS]


def test_a_return_takes_money_and_pieces_back_and_is_no_order() -> None:
    """Spend and pieces fall in life and in the windows; orders and recency stay."""
    shop = Shop()
    shop.feed(order(BEGIN_MS, ("a", 3, 10), ("b", 1, 2.5)), order(BEGIN_MS + DAY, ("a", -2, 10)))
    found = shop.features("ann")
    assert (found["spend_total"], found["items_bought_total"], found["returns_total"]) == (12.5, 2, 1)
    assert (found["spend_24h"], found["items_bought_24h"], found["purchases_24h"]) == (-20, -2, 0)
    assert (found["spend_30d"], found["purchases_30d"], found["purchases_total"]) == (12.5, 1, 1)
    assert found["recency_days"] == 1 and found["average_order_value"] == 12.5
    assert (found["returned_spend_total"], found["returned_share"]) == (20, 20 / 32.5)


@pytest.mark.parametrize(("price", "cents"), [(0.005, 0), (0.0051, 1), (0.015, 2), (0.125, 12), (0.1349, 13)])
def test_a_price_counts_to_the_cent_half_to_even(price: float, cents: int) -> None:
    """As all money is rounded: a basket that was split at half cents has the mean price that was paid."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS, item_id="a", price=price))
    assert shop.features("ann")["mean_price_viewed"] == cents / 100


@pytest.mark.parametrize("years", [4, 7, 30])
def test_no_event_is_too_late_to_be_taken_in(years: int) -> None:
    """An old clock's event with a price and a category is taken in like any other, whatever its weight fades to."""
    shop = Shop()
    shop.feed(line("search", BEGIN_MS), line("view", BEGIN_MS - years * 365 * DAY, item_id="a", category="c", price=5))
    found = shop.features("ann")
    assert found["events_total"] == 2 and math.isfinite(found["mean_price_viewed"])
    assert all(math.isfinite(v) for v in found.values() if isinstance(v, float))
    shop.feed(line("view", BEGIN_MS + MINUTE, item_id="b", category="d", price=7))
    assert shop.features("ann")["mean_price_viewed"] == pytest.approx(7, rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abcdefghijklm"), min_size=1, max_size=120))
def test_weights_are_within_the_bound_of_space_saving(categories: list[str]) -> None:
    """With eight places for thirteen: a kept weight is never too small, and too great by an eighth of all at most."""
    shop = Shop()
    log = [line("view", BEGIN_MS, item_id="i", category=c, event_id=n) for n, c in enumerate(categories)]
    log += [line("view", BEGIN_MS, item_id="i", device=c, event_id=-n - 1) for n, c in enumerate(categories)]
    shop.feed(*log)
    oracle = oracle_for(shop)
    for record in log:
        oracle.take(record)
    found, exact = shop.features("ann"), oracle.weights("ann", "device")
    total = sum(exact.values())
    kept = {c: found[f"device_{c}_share"] for c in exact if f"device_{c}_share" in found}
    assert len(kept) == min(len(exact), 8)
    for value, share in kept.items():
        assert exact[value] / total - 1e-6 <= share <= exact[value] / total + 1 / 8 + 1e-6
    assert found["category_focus"] == pytest.approx(found["device_focus"])
    assert max(exact.values()) / total - 1e-6 <= found["device_focus"]


def test_prices_fade_to_nothing_like_all_else() -> None:
    """Of who only searches after one priced view, price features stay what they are, and go in the end."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS, item_id="a", category="c", price=100))
    first = shop.features("ann")["price_level"]
    found = []
    for n in range(1, 30):
        shop.feed(line("search", BEGIN_MS + n * 14 * DAY))
        found.append(tuple(shop.features("ann")[name] for name in ("price_level", "mean_price_viewed")))
    assert all(found[n] == (pytest.approx(first, rel=0.1), pytest.approx(100, rel=0.01)) for n in range(11))
    assert all(level == 1 for level, _ in found[13:]) and all(price == 0 for _, price in found[21:])
