"""Order, batches, shards, resuming: within the bounds of lateness none of them changes a figure or a trigger."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from disorder import lateness_of, shuffled_within
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import Oracle, OracleSettings
from profile_oracle_events import parse
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE, NEAR_MS, STEPS_MS, Shop, cuts, line, logs, order

from operators.generate import ShopPlan, generate

LATENESS_MS = 10 * MINUTE
STEPS = tuple(step for step in STEPS_MS if step <= 15 * DAY)
SETTINGS: dict[str, Any] = {
    "half_life_ms": 90 * DAY,  # so that a log is too short for weights to lose bits
    "lapsed_ms": 10 * DAY,
    "browsed_depth_min": 1,
    "inactivity_ttl_ms": 4000 * DAY,
}
BY_ARRIVAL = ("seen", "purchase_decision", "churn_decision")
"""What may depend on the order of arrival: which ids were the last eight, and when a sample was due."""

Outcome = tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], set[tuple[str, str, int]]]


@st.composite
def logs_in_bounds(draw: st.DrawFn, most: int = 45) -> list[bytes]:
    """Logs within the bounds, no event told twice, no five orders of a shopper within ten minutes."""
    log = draw(logs(most=most, erase=False, late=NEAR_MS, rights=False, steps=STEPS))
    known: set[tuple[str, Any]] = set()
    orders: dict[str, list[int]] = {}
    out = []
    for record in log:
        event = parse(record)
        identity = event["user_id"], event.get("event_id", record)
        times = orders.setdefault(event["user_id"], [])
        if identity in known or (event["type"] == "purchase" and len(_near(times, event["ts"])) > 3):
            continue
        known.add(identity)
        if event["type"] == "purchase":
            times.append(event["ts"])
        out.append(record)
    return out


def _near(times: list[int], ts: int) -> list[int]:
    return [t for t in times if abs(t - ts) <= 2 * LATENESS_MS]


def newest_of(log: list[bytes]) -> int:
    return max((parse(record)["ts"] for record in log), default=0)


def outcome(shop: Shop, *without: str) -> Outcome:
    """What is known of every shopper in the end: features, all that is kept, and the triggers told.

    Of the open sessions the two newest are compared. The third is closed early when the newest was begun by an act that
    a late one then joins to the second: it can take in nothing any more, and is counted either way.
    """
    kept = shop.kept(*BY_ARRIVAL, *without)
    for row in kept.values():
        row["sessions"] = row.pop("session.open") + row.pop("session.closed")
        for name in ("start", "end", "dwell_ms", "events", "depth", "dwells", "carts", "orders", "told"):
            del row[f"session.{name}"][2:]
    features = {
        user: {name: value for name, value in found.items() if name not in without}
        for user, found in shop.every_feature().items()
    }
    return features, kept, shop.triggers()


def went_through(shop: Shop, directory: str) -> Shop:
    """A shop that resumes from a snapshot of another; what that one told it has told too."""
    again = shop.resumed(Path(directory))
    again.batches += shop.batches
    return again


@settings(max_examples=80, deadline=None)
@given(st.data(), logs_in_bounds())
def test_order_batches_and_resuming_change_nothing(data: st.DataObject, log: list[bytes]) -> None:
    """A log in order of time in one go, and in any order within the bounds, cut anywhere, resumed anywhere: the same
    features, the same row and all it refers to, and the same triggers, once each."""
    ordered = sorted(log, key=lambda record: parse(record)["ts"])
    shuffled = shuffled_within(log, LATENESS_MS, data.draw(st.integers(0, 2**32)))
    assert lateness_of(shuffled) <= LATENESS_MS
    plain, shop = Shop(**SETTINGS), Shop(**SETTINGS)
    plain.feed(*ordered)
    with tempfile.TemporaryDirectory() as directory:
        for part in cuts(data.draw, len(shuffled)):
            shop.feed(*shuffled[part])
            if data.draw(st.booleans()):
                shop = went_through(shop, directory)
    assert outcome(shop) == outcome(plain)


@settings(max_examples=40, deadline=None)
@given(st.data(), logs_in_bounds(), st.integers(2, 7))
def test_the_number_of_shards_changes_nothing(data: st.DataObject, log: list[bytes], shards: int) -> None:
    """The same, when every shard has heard how far the log is; only the medians of prices are a shard's own."""
    plain, shop = Shop(**SETTINGS), Shop(shards, **SETTINGS)
    plain.feed(*log)
    with tempfile.TemporaryDirectory() as directory:
        for part in cuts(data.draw, len(log)):
            shop.feed(*log[part])
            if data.draw(st.booleans()):
                shop = went_through(shop, directory)
    shop.pulse(newest_of(log))
    assert outcome(shop, "price_level") == outcome(plain, "price_level")


@settings(max_examples=50, deadline=None)
@given(st.data(), logs_in_bounds())
def test_idle_pulses_between_events_change_nothing(data: st.DataObject, log: list[bytes]) -> None:
    """While nobody acts the clock moves the watermark on: what follows from absence is told earlier, not otherwise."""
    log.sort(key=lambda record: parse(record)["ts"])
    times = [parse(record)["ts"] for record in log]
    plain, shop = Shop(**SETTINGS), Shop(**SETTINGS)
    plain.feed(*log)
    for at, record in enumerate(log):
        shop.feed(record)
        if at + 1 < len(log) and (gap := times[at + 1] - times[at]) >= 1000 and data.draw(st.booleans()):
            shop.pulse(times[at], idle_ms=data.draw(st.integers(1000, gap)))
    assert outcome(shop) == outcome(plain)


@settings(max_examples=50, deadline=None)
@given(
    logs_in_bounds(most=30),
    st.lists(st.sampled_from([1000, 30 * MINUTE, HOUR, 70 * MINUTE, DAY, 10 * DAY]), max_size=6),
)
def test_triggers_fire_by_the_clock_when_the_input_is_idle(log: list[bytes], waits: list[int]) -> None:
    """After the last event each pulse moves the watermark on, and fires what it has passed, as the plain list says."""
    shop = Shop(**SETTINGS)
    oracle = Oracle(
        OracleSettings(
            custom_names=shop.settings.custom_names,
            context_names=shop.settings.context_names,
            half_life_ms=90 * DAY,
            lapsed_ms=10 * DAY,
            browsed_depth_min=1,
        )
    )
    for record in log:
        oracle.take(record)
    shop.feed(*log)
    newest, idle = newest_of(log), 0
    for wait in waits if log else []:
        idle += wait
        shop.pulse(newest, idle_ms=idle)
        assert shop.triggers() == oracle.triggers(newest + idle)


@settings(max_examples=50, deadline=None)
@given(st.data(), logs_in_bounds(), st.booleans())
def test_parts_that_lag_one_another_change_nothing(data: st.DataObject, log: list[bytes], together: bool) -> None:
    """Two parts, each with shoppers of its own, however far one is ahead of the other; and nothing is told before both
    have been heard of."""
    of = {user: data.draw(st.sampled_from("ab")) for user in sorted({parse(record)["user_id"] for record in log})}
    logs_of = {part: [r for r in log if of[parse(r)["user_id"]] == part] for part in "ab"}
    plain, shop = Shop(**SETTINGS), Shop(parts=("a", "b"), **SETTINGS)
    plain.feed(*log)
    waiting = {part: [logs_of[part][c] for c in cuts(data.draw, len(logs_of[part]))] for part in "ab"}
    heard = set()
    while any(waiting.values()):
        part = (
            data.draw(st.sampled_from([p for p in "ab" if waiting[p]]))
            if together
            else min(p for p in "ab" if waiting[p])
        )
        shop.feed(*waiting[part].pop(0), part=part)
        heard.add(part)
        assert len(heard) == 2 or not shop.triggers()
    for part in "ab":
        shop.pulse(newest_of(logs_of[part]), ended=True, part=part)
    assert outcome(shop) == outcome(plain)


def test_a_part_not_yet_heard_of_holds_triggers_back() -> None:
    """After a start nothing is told until every listed part has spoken; a word that it has ended is enough."""
    shop = Shop(parts=("a", "b"))
    shop.feed(line("add_to_cart", BEGIN_MS, item_id="i"), part="a")
    shop.feed(line("view", BEGIN_MS + DAY, "bob", item_id="i"), part="a")
    assert shop.triggers() == set()
    shop.pulse(0, ended=True, part="b")
    assert shop.triggers() == {("ann", "cart_abandoned", BEGIN_MS + HOUR)}


def test_a_restart_waits_for_every_part_again(tmp_path: Path) -> None:
    """What the clock has passed while nothing ran is told when the parts have spoken, once."""
    shop = Shop(parts=("a", "b"))
    shop.feed(line("add_to_cart", BEGIN_MS, item_id="i"), part="a")
    shop.feed(line("view", BEGIN_MS, "bob", item_id="i"), part="b")
    again = shop.resumed(tmp_path)
    again.pulse(BEGIN_MS, idle_ms=2 * HOUR, part="a")
    assert again.triggers() == set()
    again.pulse(0, idle_ms=2 * HOUR, part="b")
    assert again.triggers() == {("ann", "cart_abandoned", BEGIN_MS + HOUR)}
    again.pulse(0, idle_ms=3 * HOUR, part="b")
    assert len(again.triggers()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_shop_is_the_same_in_any_order_within_the_bounds(tmp_path: Path, seed: int) -> None:
    """A made-up shop of a few thousand events: shuffled, in uneven batches, resumed now and then."""
    plan = ShopPlan(shoppers=80, items=60, categories=7, days=40, events=4_000, late_share=0.0, duplicate_share=0.0)
    log = [record for record in b"".join(generate(plan)).splitlines() if parse(record)["type"] != "item"]
    log = [record for record in log if parse(record)["type"] not in ("consent", "erase")]
    shuffled = shuffled_within(log, LATENESS_MS, seed)
    names = {"custom_names": (), "context_names": (), "lapsed_ms": 5 * DAY}
    plain, shop = Shop(**names), Shop(**names)
    plain.feed_in(sorted(log, key=lambda record: parse(record)["ts"]), 1000)
    bounds = sorted({0, len(log), *(n * n * (seed + 3) for n in range(1, 40) if n * n * (seed + 3) < len(log))})
    for n, (first, last) in enumerate(pairwise(bounds)):
        shop.feed(*shuffled[first:last])
        if n % 7 == seed:
            shop = went_through(shop, str(tmp_path))
    assert len(plain.triggers()) > 100
    assert outcome(shop) == outcome(plain)


def test_a_late_order_finds_its_place() -> None:
    """An order that arrives after a newer one leaves gaps, cart and session as if it had come in time."""
    log = [
        line("add_to_cart", BEGIN_MS, item_id="a", price=5),
        order(BEGIN_MS + MINUTE, ("a", 1, 5)),
        line("add_to_cart", BEGIN_MS + 2 * MINUTE, item_id="b", price=7),
        order(BEGIN_MS + 2 * DAY, ("b", 1, 7)),
        order(BEGIN_MS + 2 * DAY + 9 * MINUTE, ("c", 2, 3)),
    ]
    one, other = Shop(), Shop()
    one.feed(*log)
    other.feed(*(log[k] for k in (2, 1, 0, 4, 3)))
    assert outcome(one) == outcome(other)
    assert one.features("ann")["order_gap_days_mean"] == pytest.approx((2 + 8 / 1440) / 2)


def test_a_cart_of_more_acts_than_are_kept_is_left_behind_all_the_same(tmp_path: Path) -> None:
    """What was in the cart after an act is told by the acts before it, though later ones took their places since; in
    one batch or in many."""
    log = [line("add_to_cart", BEGIN_MS, item_id="a", quantity=3)]
    log += [line("remove_from_cart", BEGIN_MS + MINUTE, item_id="a")]
    log += [line("add_to_cart", BEGIN_MS + 3 * HOUR + n * MINUTE, item_id="b") for n in range(17)]
    log += [line("add_to_cart", BEGIN_MS + n * 3 * HOUR, item_id="c") for n in range(2, 23)]
    one, many = Shop(), Shop()
    one.feed(*log)
    many.feed_in(log, 1)
    causes = [BEGIN_MS + MINUTE, BEGIN_MS + 3 * HOUR + 16 * MINUTE, *(BEGIN_MS + n * 3 * HOUR for n in range(2, 22))]
    assert one.triggers() == many.triggers() == {("ann", "cart_abandoned", ts + HOUR) for ts in causes}


def test_triggers_past_the_bound_of_those_that_wait_are_counted() -> None:
    """Forty visits in one batch: the newest 32 of those that later ones took the place of are told, and the open ones;
    the others are counted."""
    shop = Shop(browsed_depth_min=1)
    every = 35 * MINUTE
    shop.feed(
        *(line("view", BEGIN_MS + n * every, item_id="a") for n in range(40)), line("search", BEGIN_MS + 99 * HOUR)
    )
    told = {("ann", "browsed_without_buying", BEGIN_MS + n * every + HOUR // 2) for n in range(5, 40)}
    assert shop.triggers() == told
    assert shop.counted("evictions", "triggers") == 5


def test_a_batch_may_span_years() -> None:
    """Whatever the batches: a shopper's every cart and visit of a year is told, as in a shop with more to do."""
    log = [line(kind, BEGIN_MS + n * DAY, item_id="a") for n in range(200) for kind in ("add_to_cart", "view")]
    whole, single = Shop(browsed_depth_min=1), Shop(browsed_depth_min=1)
    whole.feed(*log)
    single.feed_in(log, 1)
    assert whole.triggers() == single.triggers() and len(whole.triggers()) > 390
    assert whole.counted("evictions", "triggers") == 0


def test_prices_told_for_one_moment_do_not_depend_on_their_order() -> None:
    """Of two cart acts that differ in nothing but the price the greater price counts."""
    acts = [line("add_to_cart", BEGIN_MS, item_id="a", price=p, event_id=p) for p in (5, 7, 6)]
    one, other = Shop(), Shop()
    one.feed(*acts)
    other.feed(*acts[::-1])
    assert outcome(one) == outcome(other)
    assert one.features("ann")["cart_value"] == 21
