"""The oracle of profiles, held against small cases worked out by hand: taste and circumstance, prices."""

from __future__ import annotations

import math

import pytest
from profile_records import DAY, HALF_LIFE, MONDAY, features_of, item, line, oracle_of, order, view

# Taste and circumstance


def test_a_liking_weighs_half_after_a_half_life() -> None:
    """A rug now against a lamp 14 days ago: two thirds; 7 days ago: 1 / (1 + 2^-0.5)."""
    week = MONDAY + 7 * DAY
    found = features_of(view(week - HALF_LIFE, category="lamps"), view(week, category="rugs"), now=week + 99 * DAY)
    assert found["favourite_category"] == "rugs" and found["category_focus"] == pytest.approx(2 / 3)
    found = features_of(view(MONDAY, category="lamps"), view(week, category="rugs"))
    assert found["category_focus"] == pytest.approx(1 / (1 + 2**-0.5), rel=2e-4)
    weights = oracle_of(view(week - HALF_LIFE, category="lamps"), view(week, category="rugs")).weights(
        "ann", "category"
    )
    assert weights["rugs"] == 2 * weights["lamps"] and 2**20 <= weights["rugs"] <= 2**21


def test_likings_are_views_clicks_wishes_cart_acts_and_lines_bought() -> None:
    """Searches, removals and returns are none; a purchase is one for each line."""
    oracle = oracle_of(
        *(item(MONDAY, i, category=f"c-{i}") for i in "abcdefg"),
        *(line(k, MONDAY, item_id=k[0]) for k in ("click", "add_to_cart")),
        *(line(k, MONDAY, item_id="g") for k in ("search", "remove_from_cart")),
        order(MONDAY, ("b", 1, 1), ("d", 2, 1), ("b", 1, 1), ("e", -1, 1)),
    )
    weights = oracle.weights("ann", "category")
    assert set(weights) == {"c-c", "c-a", "c-b", "c-d"}
    assert weights["c-b"] == 2 * weights["c-a"] == 2 * weights["c-d"]


def test_circumstances_are_told_by_every_act() -> None:
    """Searches too; shares by value, null and 0 where nothing is told, nothing of an undeclared name."""
    found = features_of(
        line("search", MONDAY, device="phone", context={"page": "home", "other": "x"}),
        view(MONDAY, device="phone", country="DE"),
        line("remove_from_cart", MONDAY, item_id="a", device="tv"),
        order(MONDAY, context={"page": "pay"}),
        line("custom", MONDAY, name="review", context={"page": "home"}),
        custom_names=("review",),
        context_names=("page", "mood"),
    )
    assert (found["favourite_device"], found["device_focus"]) == ("phone", pytest.approx(2 / 3))
    assert (found["device_phone_share"], found["device_tv_share"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (found["favourite_country"], found["country_DE_share"]) == ("DE", 1)
    assert (found["favourite_channel"], found["channel_focus"]) == (None, 0)
    assert (found["favourite_context_page"], found["context_page_pay_share"]) == ("home", pytest.approx(1 / 3))
    assert (found["favourite_context_mood"], found["context_mood_focus"]) == (None, 0)
    assert not any("other" in name for name in found)


def test_what_is_not_settled_is_not_told() -> None:
    """A tie has a focus but no favourite; a ninth value leaves a dimension open, but its weights are exact."""
    tie = features_of(view(MONDAY, category="lamps"), view(MONDAY, category="rugs"))
    assert tie["favourite_category"] is ... and tie["category_focus"] == 0.5
    nine = oracle_of(*(view(MONDAY, category=f"c{n}", device="tv", price=1) for n in (*range(9), 0)))
    found = nine.features("ann")
    assert found["favourite_category"] is found["category_focus"] is found["price_level"] is ...
    assert found["device_focus"] == 1
    weights = nine.weights("ann", "category")
    assert len(weights) == 9 and weights["c1"] == weights["c8"]
    many = features_of(*(view(MONDAY, device=f"d{n}") for n in range(9)))
    assert many["device_d0_share"] is ...


def test_weights_that_lost_their_bits_are_not_settled() -> None:
    """A liking of 30 half-lives before the newest act weighs less than one: its share is left open."""
    found = features_of(view(MONDAY - 30 * HALF_LIFE, category="lamps", price=5), line("search", MONDAY))
    assert found["favourite_category"] is found["category_focus"] is found["mean_price_viewed"] is ...
    beside = features_of(view(MONDAY - 30 * HALF_LIFE, category="lamps"), view(MONDAY, category="rugs"))
    assert beside["favourite_category"] == "rugs" and beside["category_focus"] == pytest.approx(1)
    tv = features_of(view(MONDAY - 30 * HALF_LIFE, device="tv"), view(MONDAY, device="phone"))
    assert tv["device_tv_share"] is ... and tv["device_phone_share"] == pytest.approx(1)


def test_the_mean_of_prices_fades_and_passes_over_what_costs_nothing() -> None:
    """9 a half-life ago and 3 now: 5. A price of more than a million counts as one."""
    log = (view(MONDAY, price=9), view(MONDAY + HALF_LIFE, price=3), view(MONDAY + HALF_LIFE, "b", price=0))
    assert features_of(*log)["mean_price_viewed"] == pytest.approx(5)
    assert features_of(view(MONDAY, price=5e8), view(MONDAY, "b", price=1))["mean_price_viewed"] == 500_000.5
    assert features_of(line("search", MONDAY, price=7))["mean_price_viewed"] == 0
    assert features_of(order(MONDAY, ("a", 5, 2), ("b", 1, 4), ("c", -1, 90)))["mean_price_viewed"] == 3


def test_price_level_compares_with_what_others_like_in_the_category() -> None:
    """Prices 1, 1, 1 and 4: the median lies two thirds into the quarter octave of 1."""
    log = [view(MONDAY + n, user="bob", category="c", price=1) for n in range(3)]
    oracle = oracle_of(*log, view(MONDAY, category="c", price=4))
    # 1 is 0.01 * 2^6.64: quarter octave 26, from 0.01 * 2^6.5; two of its three counts are half of all four
    median = 0.01 * 2 ** (6.5 + 0.25 * 2 / 3)
    assert oracle.features("ann")["price_level"] == pytest.approx(4 / median)
    assert oracle.features("bob")["price_level"] == pytest.approx(1 / median)


def test_price_level_is_the_mean_of_logarithms() -> None:
    """Four times the median now, the median a half-life ago: 2^(2 * 2/3); without price or category it is 1."""
    crowd = [view(MONDAY - DAY + n, user="bob", category="c", price=0.32) for n in range(1000)]
    mine = [view(MONDAY, category="c", price=0.32), view(MONDAY + HALF_LIFE, category="c", price=1.28)]
    median = 0.01 * 2 ** (5 + 0.25 * 501 / 1001)
    expected = 2 ** (2 / 3 * math.log2(1.28 / median) + 1 / 3 * math.log2(0.32 / median))
    assert features_of(*crowd, *mine)["price_level"] == pytest.approx(expected)
    apart = features_of(*crowd, mine[1], shard_of=lambda user: len(user) + (user == "bob"))
    assert apart["price_level"] == pytest.approx(1.28 / (0.01 * 2**7.125))
    assert features_of(view(MONDAY, price=3), view(MONDAY, "b", category="c"))["price_level"] == 1


def test_the_median_is_where_half_the_counts_are_reached() -> None:
    """Of two prices far apart: the end of the lower one's quarter octave. It is that of the moment of asking."""
    oracle = oracle_of(view(MONDAY, category="c", price=0.01))
    assert oracle.features("ann")["price_level"] == pytest.approx(2**-0.125)
    oracle.take(view(MONDAY, user="bob", category="c", price=90))
    assert oracle.features("ann")["price_level"] == pytest.approx(2**-0.25)
    assert features_of(view(MONDAY, category="c", price=0.005))["price_level"] == pytest.approx(2**-1.125)
