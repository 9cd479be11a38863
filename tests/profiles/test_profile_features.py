"""Every feature of every shopper, against an oracle that works them out from the plain list of events."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import Oracle
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE, Shop, line, logs, order

from operators.generate import ShopPlan, generate
from operators.kernels.profile import model_features
from state.features import CATALOGUE, DIMENSIONS, MODEL_FEATURES

AFTER_MS = (0, 1, 4 * MINUTE, HOUR, 25 * HOUR, 6 * DAY, 8 * DAY, 31 * DAY, 400 * DAY)


def told_apart(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The features that differ: (found, expected). Counts must be equal, what fades only nearly so."""
    assert set(found) == set(expected) == set(CATALOGUE)
    out = {}
    for name, value in expected.items():
        if (value is None and name != "favourite_category") or value is ...:
            continue
        if isinstance(value, str) or value is None:
            same = found[name] == value
        elif name in ("mean_price_viewed", "category_focus"):
            same = math.isclose(found[name], value, rel_tol=2e-4, abs_tol=1e-4)
        else:
            same = math.isclose(found[name], value, rel_tol=1e-12, abs_tol=1e-9)
        if not same:
            out[name] = (found[name], value)
    return out


def compare(shop: Shop, oracle: Oracle) -> None:
    """Hold every shopper's features against the oracle's, now and at later times, and the models' vector too."""
    rows = shop.rows()
    assert set(rows) == set(oracle.shoppers)
    for user, row in rows.items():
        last = int(row["last_ts"])
        assert last == oracle.shoppers[user].last
        for after in AFTER_MS:
            now = last + after
            found = shop.features(user, now)
            assert told_apart(found, oracle.features(user, now)) == {}, (user, after)
            x = np.full(DIMENSIONS, 77, np.float32)
            model_features(row, now, x)
            assert x == pytest.approx([np.float32(found[name]) for name in MODEL_FEATURES], rel=2e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(logs(), st.sampled_from([1, 3]), st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"]))
def test_features_are_those_of_the_plain_list_of_events(log: list[bytes], shards: int, timezone: str) -> None:
    """Late ones, duplicates, returns, consent and erasure among them; at the newest event and long after."""
    shop, oracle = Shop(shards, timezone=timezone), Oracle(timezone=timezone)
    for record in log:
        oracle.take(record)
    shop.feed(*log)
    compare(shop, oracle)


def test_features_of_a_whole_shop_are_those_of_the_plain_list() -> None:
    """A made-up shop with late events and events told twice, over four shards, in batches of 500."""
    plan = ShopPlan(shoppers=60, items=80, categories=9, days=45, events=5_000, late_share=0.05, duplicate_share=0.05)
    log = b"".join(generate(plan)).splitlines()
    shop, oracle = Shop(4, timezone="Europe/Berlin"), Oracle(timezone="Europe/Berlin")
    verdicts = [oracle.take(record) for record in log]
    for at in range(0, len(log), 500):
        shop.feed(*log[at : at + 500])
    compare(shop, oracle)
    assert verdicts.count("duplicate") == shop.counted("duplicates") > 50
    assert verdicts.count("late") == shop.counted("late_events")
    assert sum(len(b.receipt.ts) for b in shop.batches) == verdicts.count("taken") + verdicts.count("late")
    assert sum(sum(b.receipt.done.values()) for b in shop.batches) == len(log) - verdicts.count("item")


@settings(max_examples=30, deadline=None)
@given(logs(most=60), st.integers(2, 16))
def test_the_number_of_shards_changes_no_shopper(log: list[bytes], shards: int) -> None:
    """All that is kept of a shopper is the same, but for where, and for the decisions: samples are counted by shard."""
    one, many = Shop(1, sweep_rows=0), Shop(shards, sweep_rows=0)
    one.feed(*log)
    many.feed(*log)
    decisions = ("purchase_due", "churn_due", "purchase_x", "churn_x")
    assert one.kept(*decisions) == many.kept(*decisions)


def test_a_late_event_is_added_to_its_tile() -> None:
    """A view of yesterday that arrives today counts in 24 h, 7 d and 30 d, not in 1 h."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS + DAY, item_id="a"), line("view", BEGIN_MS + DAY - 20 * HOUR, item_id="b"))
    found = shop.features("ann")
    assert [found[f"views_{w}"] for w in ("1h", "24h", "7d", "30d")] == [1, 2, 2, 2]
    assert shop.counted("late_events") == 0


def test_an_event_older_than_every_ring_counts_for_life_alone() -> None:
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


def test_a_late_event_never_reopens_a_closed_session() -> None:
    """An event of a session that is over is not one of the current session, and begins none."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS, item_id="a"), line("view", BEGIN_MS + DAY, item_id="b"))
    shop.feed(line("view", BEGIN_MS + MINUTE, item_id="c"))
    found = shop.features("ann")
    assert (found["sessions_total"], found["session_minutes"]) == (2, 0)
    assert found["session_events"] == 1


def test_a_return_takes_money_and_pieces_back_and_is_no_order() -> None:
    """Spend and pieces fall in life and in the windows; orders and recency stay."""
    shop = Shop()
    shop.feed(order(BEGIN_MS, ("a", 3, 10), ("b", 1, 2.5)), order(BEGIN_MS + DAY, ("a", -2, 10)))
    found = shop.features("ann")
    assert (found["spend_total"], found["items_bought_total"], found["returns_total"]) == (12.5, 2, 1)
    assert (found["spend_24h"], found["items_bought_24h"], found["purchases_24h"]) == (-20, -2, 0)
    assert (found["spend_30d"], found["purchases_30d"], found["purchases_total"]) == (12.5, 1, 1)
    assert found["recency_days"] == 1 and found["average_order_value"] == 12.5


def test_an_exchange_is_one_order() -> None:
    """Lines sent back and lines bought in one purchase: one order, one return, the sums of both."""
    shop = Shop()
    shop.feed(order(BEGIN_MS, ("a", -1, 30), ("b", 1, 40), ("c", 0.5, 8)))
    found = shop.features("ann")
    assert (found["purchases_total"], found["returns_total"], found["spend_total"]) == (1, 1, 14)
    assert found["items_bought_total"] == 0.5 and found["events_total"] == found["session_events"] == 1


def test_counters_stop_at_their_largest_value() -> None:
    """A tile holds at most 65,535 events and 2,147,483.647 pieces; what is counted for life goes on."""
    shop = Shop()
    for _ in range(14):
        shop.feed(*(line("view", BEGIN_MS, item_id="a", event_id=f"{len(shop.batches)}-{n}") for n in range(5000)))
    shop.feed(*(order(BEGIN_MS, ("a", 1e6, 0.01), event_id=f"o{n}") for n in range(3)))
    found = shop.features("ann")
    assert found["views_1h"] == found["views_30d"] == 65_535 and found["events_total"] == 70_003
    assert found["items_bought_24h"] == 2_147_483.647 and found["items_bought_total"] == 3e6
    assert found["spend_24h"] == 30_000


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


def test_figures_stay_finite_over_an_absence_of_years() -> None:
    """What fades to nothing leaves no number that is none."""
    shop = Shop()
    for year in (0, 0, 7, 14):
        shop.feed(
            *(line("view", BEGIN_MS - 5000 * DAY + year * 365 * DAY, item_id=i, category=i, price=5) for i in "ab")
        )
    found = shop.features("ann")
    assert found["mean_price_viewed"] == pytest.approx(5) and found["category_focus"] == pytest.approx(0.5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=80))
def test_the_favourite_category_is_found_within_the_bound_of_space_saving(categories: list[str]) -> None:
    """With four places for ten categories its share is overestimated by a quarter of all at most, never less."""
    shop = Shop()
    shop.feed(*(line("view", BEGIN_MS, item_id="i", category=c, event_id=n) for n, c in enumerate(categories)))
    found = shop.features("ann")
    shares = {c: categories.count(c) / len(categories) for c in set(categories)}
    favourite = found["favourite_category"]
    assert max(shares.values()) - 1e-6 <= found["category_focus"] <= 1 + 1e-6
    assert found["category_focus"] <= shares[favourite] + 0.25 + 1e-6
