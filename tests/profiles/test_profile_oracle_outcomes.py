"""The oracle of profiles, held against small cases worked out by hand: cart, attributes, triggers, comparing."""

from __future__ import annotations

from typing import Any

import pytest
from disorder import lateness_of, shuffled_within
from profile_oracle import ABSENT, told_apart
from profile_records import (
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    SECOND,
    cart,
    features_of,
    fired,
    item,
    line,
    oracle_of,
    order,
    view,
)

from state.hashing import hash_text

# Cart


def test_a_cart_is_played_in_order_of_time() -> None:
    """Whatever order its acts come in; nothing falls below zero."""
    acts = [
        cart(MONDAY, "a", -5),
        cart(MONDAY + MINUTE, "a", 3, 2),
        cart(MONDAY + 2 * MINUTE, "a", -1),
        cart(MONDAY + 3 * MINUTE, "b", price=10),
        cart(MONDAY + 4 * MINUTE, "a", 1.5, 4),
        cart(MONDAY + 5 * MINUTE, "c"),
        cart(MONDAY + 6 * MINUTE, "b", -1),
    ]
    for log in (acts, acts[::-1]):
        found = features_of(*log, now=MONDAY + 11 * MINUTE)
        assert (found["cart_items"], found["cart_lines"], found["cart_value"]) == (4.5, 2, 14)
        assert found["cart_minutes"] == 10


def test_the_newest_price_told_with_an_item_counts_for_all_its_pieces() -> None:
    """A removal may tell it too; two that differ at one time leave the value open."""
    log = [cart(MONDAY, "a", 3, 5), cart(MONDAY + 1, "a", -1, 4)]
    assert features_of(*log, cart(MONDAY + 2, "a"))["cart_value"] == 12
    tied = features_of(*log, cart(MONDAY + 1, "a", 2, 6), cart(MONDAY, "b", 1, 1))
    assert tied["cart_value"] is ... and tied["cart_items"] == 5
    assert features_of(*log, cart(MONDAY + 1, "a", 2, 6), cart(MONDAY + 2, "a", 1, 7))["cart_value"] == 35


def test_an_order_empties_the_cart_of_what_came_before() -> None:
    """Up to its own time; what was put in later stays, even where the order comes last. A return empties nothing."""
    log = [cart(MONDAY, "a"), cart(MONDAY + 1, "b"), cart(MONDAY + 2, "c")]
    assert features_of(*log, order(MONDAY + 1))["cart_items"] == 1
    assert features_of(*log, order(MONDAY + 2))["cart_minutes"] == 0
    assert features_of(*log, order(MONDAY + 5, ("a", -1, 1)))["cart_items"] == 3


def test_the_age_of_a_cart_begins_when_it_was_last_empty() -> None:
    """Emptied after a minute and filled again after two."""
    log = [cart(MONDAY, "a"), cart(MONDAY + MINUTE, "a", -1), cart(MONDAY + 2 * MINUTE, "b")]
    assert features_of(*log, now=MONDAY + 5 * MINUTE)["cart_minutes"] == 3


def test_the_newest_sixteen_cart_acts_are_kept() -> None:
    """Of seventeen the oldest is gone, whichever came last."""
    acts = [cart(MONDAY + n * MINUTE, f"i{n}", price=n + 1) for n in range(17)]
    for log in (acts, acts[::-1]):
        found = features_of(*log)
        assert (found["cart_lines"], found["cart_value"], found["cart_minutes"]) == (16, sum(range(2, 18)), 15)


# Attributes and catalogue


def test_the_newest_attribute_by_event_time_is_told() -> None:
    """Numbers, texts and truths as what they are; two of one time that differ are left open."""
    found = features_of(
        line("profile", MONDAY + 5, attributes={"age": 30, "vip": True, "tier": "gold"}),
        line("profile", MONDAY, attributes={"age": 29, "city": "Ulm", "tie": 1}),
        line("profile", MONDAY, attributes={"tie": True, "city": "Ulm"}),
        line("profile", MONDAY),
    )
    assert (found["attribute_age"], found["attribute_vip"], found["attribute_tier"]) == (30.0, True, "gold")
    assert isinstance(found["attribute_age"], float) and found["attribute_vip"] is True
    assert found["attribute_city"] == "Ulm" and found["attribute_tie"] is ...


def test_sixteen_attributes_with_the_smallest_hashes_stay() -> None:
    """Whatever order they come in."""
    names = [f"n{n}" for n in range(20)]
    for order_ in (names, names[::-1]):
        found = features_of(*(line("profile", MONDAY, attributes={n: n}) for n in order_))
        kept = {name.removeprefix("attribute_") for name in found if name.startswith("attribute_")}
        assert kept == set(sorted(names, key=hash_text)[:16])


def test_the_catalogue_fills_what_an_act_does_not_tell() -> None:
    """As it stands when the act is taken in; what is told with the act wins, a price of 0 too."""
    found = features_of(
        view(MONDAY, "a"),
        item(MONDAY, category="c", price=7, brand="b"),
        view(MONDAY + 1, "a"),
        view(MONDAY + 2, "a", category="d", price=0),
        cart(MONDAY + 3, "a", 2),
        item(MONDAY + 1, price=100),
    )
    assert (found["mean_price_viewed"], found["cart_value"]) == (7, 14)
    assert (found["favourite_category"], found["category_focus"]) == ("c", pytest.approx(2 / 3))
    assert (found["favourite_brand"], found["brand_focus"]) == ("b", 1)


def test_an_older_item_event_only_fills_what_is_not_known() -> None:
    """A newer one overrides what it tells and leaves the rest."""
    log = [item(MONDAY, category="c", price=7), item(MONDAY - 1, category="x", brand="b"), item(MONDAY + 1, price=9)]
    found = features_of(*log, view(MONDAY))
    assert (found["favourite_category"], found["favourite_brand"], found["mean_price_viewed"]) == ("c", "b", 9)


# Triggers


def test_a_cart_left_alone_for_an_hour_is_abandoned() -> None:
    """Once the watermark has passed it by the lateness; not while it holds nothing."""
    log = [cart(MONDAY, "a")]
    assert fired(MONDAY + 70 * MINUTE - 1, *log) == set()
    assert fired(MONDAY + 70 * MINUTE, *log) == {("cart_abandoned", HOUR)}
    assert fired(MONDAY + DAY, *log, cart(MONDAY + 1, "a", -1)) == set()
    assert fired(MONDAY + DAY, *log, cart_abandoned_ms=2 * HOUR) == {("cart_abandoned", 2 * HOUR)}


def test_a_cart_act_or_an_order_in_between_cancels_and_arms_again() -> None:
    """Up to and including the hour; another cart act is a cause of its own."""
    at_last = MONDAY + HOUR
    assert fired(MONDAY + DAY, cart(MONDAY, "a"), order(at_last)) == set()
    assert fired(MONDAY + DAY, cart(MONDAY, "a"), order(at_last, ("a", -1, 1))) == {("cart_abandoned", HOUR)}
    assert fired(MONDAY + DAY, cart(MONDAY, "a"), order(at_last + 1)) == {("cart_abandoned", HOUR)}
    assert fired(MONDAY + DAY, cart(MONDAY, "a"), cart(at_last, "b")) == {("cart_abandoned", 2 * HOUR)}
    both = fired(MONDAY + DAY, cart(MONDAY, "a"), cart(at_last + 1, "b", -1))
    assert both == {("cart_abandoned", HOUR), ("cart_abandoned", 2 * HOUR + 1)}
    assert fired(MONDAY + DAY, cart(MONDAY, "a"), view(MONDAY + 1)) == {("cart_abandoned", HOUR)}


def test_much_looked_at_and_nothing_bought_is_told_after_the_session() -> None:
    """Three views and clicks, the gap after the session's last act, of whatever type; an order in it settles it."""
    log = [view(MONDAY), view(MONDAY + MINUTE), line("click", MONDAY + 2 * MINUTE, item_id="a")]
    searched = [*log, line("search", MONDAY + 10 * MINUTE)]
    assert fired(MONDAY + 50 * MINUTE - 1, *searched) == set()
    assert fired(MONDAY + 50 * MINUTE, *searched) == {("browsed_without_buying", 40 * MINUTE)}
    assert fired(MONDAY + DAY, *log[1:]) == set()
    assert fired(MONDAY + DAY, *log[1:], browsed_depth_min=2) == {("browsed_without_buying", 32 * MINUTE)}
    assert fired(MONDAY + DAY, *log, order(MONDAY + 32 * MINUTE)) == set()
    after = fired(MONDAY + DAY, *log, order(MONDAY + 32 * MINUTE + 1))
    assert after == {("browsed_without_buying", 32 * MINUTE)}
    assert fired(MONDAY + DAY, order(MONDAY), *log) == set()


def test_who_stays_away_has_lapsed() -> None:
    """Thirty days after an act; one on the last millisecond counts, an event that is no act does not."""
    end, second = 30 * DAY, MONDAY + 30 * DAY
    assert fired(second + 10 * MINUTE - 1, view(MONDAY)) == set()
    assert fired(second + 10 * MINUTE, view(MONDAY)) == {("lapsed", end)}
    assert fired(second + DAY, view(MONDAY), view(second)) == set()
    assert fired(second + DAY, view(MONDAY), view(second + 1)) == {("lapsed", end)}
    assert fired(second + DAY, view(MONDAY), line("identify", second, anonymous_id="x")) == {("lapsed", end)}
    assert fired(second + 60 * DAY, view(MONDAY), view(second + 1)) == {("lapsed", end), ("lapsed", 2 * end + 1)}


# Comparing, and logs out of order


def test_told_apart_tells_what_differs_and_by_its_own_measure() -> None:
    """Counts and texts must be equal, what fades only nearly so; what is not settled is passed over."""
    expected: dict[str, Any] = {
        "views_1h": 3,
        "spend_1h": 1.1,
        "category_focus": 0.5,
        "favourite_category": ...,
        "price_level": 1.0,
        "attribute_vip": True,
        "favourite_brand": None,
        "session_sequence": ["a"],
    }
    assert told_apart(dict(expected, favourite_category="x", category_focus=0.5004, price_level=1.009), expected) == {}
    wrong = {
        "views_1h": 3.5,
        "spend_1h": 1.1001,
        "category_focus": 0.502,
        "price_level": 1.02,
        "attribute_vip": 1,
        "favourite_brand": "b",
        "session_sequence": [],
    }
    assert told_apart(wrong, expected) == {name: (value, expected[name]) for name, value in wrong.items()}
    assert told_apart({"more": 1}, {"fewer": 2, "open": ...}) == {"more": (1, ABSENT), "fewer": (ABSENT, 2)}


def test_a_shuffle_keeps_to_its_bound_and_changes_no_figure() -> None:
    """As late as allowed, no later; what was told by the log in order is told by the shuffled one."""
    log = [view(MONDAY + n * 47 * SECOND, f"i{n % 7}") for n in range(300)]
    log[::9] = [cart(MONDAY + n * 47 * SECOND, "i1", (2, -1)[n % 2], 3) for n in range(0, 300, 9)]
    log[::50] = [order(MONDAY + n * 47 * SECOND) for n in range(0, 300, 50)]
    in_order = oracle_of(*log)
    for seed in range(5):
        mixed = shuffled_within(log, 10 * MINUTE, seed)
        assert sorted(mixed) == sorted(log) and 8 * MINUTE < lateness_of(mixed) <= 10 * MINUTE
        found = oracle_of(*mixed)
        assert told_apart(found.features("ann"), in_order.features("ann")) == {}
        assert found.triggers(MONDAY + 99 * DAY) == in_order.triggers(MONDAY + 99 * DAY)
    assert shuffled_within(log, 10 * MINUTE, 1) == shuffled_within(log, 10 * MINUTE, 1) != log
    assert lateness_of(shuffled_within(log, 0, 1)) == 0
