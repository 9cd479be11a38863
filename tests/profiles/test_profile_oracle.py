"""The oracle of profiles, held against small cases worked out by hand: records, windows, life, sessions."""

from __future__ import annotations

import math

import pytest
from profile_oracle import Oracle
from profile_records import DAY, HOUR, MINUTE, MONDAY, cart, features_of, item, line, oracle_of, order, view, windows

from state.hashing import hash_text

# Records


def test_times_and_ids_are_read_in_either_form() -> None:
    """RFC 3339 with any offset is the same moment as milliseconds; an integer id is its decimal string."""
    found = oracle_of(line("view", "2026-03-02T01:00:00.250+01:00", 7, item_id=8), line("view", MONDAY + 300, "7"))
    assert found.users() == ["7"] and found.newest("7") == MONDAY + 300
    assert found.features("7")["days_known"] == 50 / DAY
    assert oracle_of(line("search", "2026-03-02t00:00:00z")).newest("ann") == MONDAY


def test_every_record_has_its_verdict() -> None:
    """Taken, duplicate, refused, item, erased, late, in the order of arrival."""
    oracle = Oracle()
    log = [
        (view(MONDAY, event_id=5), "taken"),
        (view(MONDAY + 1, event_id="5"), "duplicate"),
        (line("search", MONDAY), "taken"),
        (line("search", MONDAY), "duplicate"),
        (line("consent", MONDAY + 2, granted=False), "taken"),
        (line("search", MONDAY + 3), "refused"),
        (item(MONDAY, category="c"), "item"),
        (line("consent", MONDAY + 4, granted=True), "taken"),
        (line("search", MONDAY + 3), "taken"),
        (line("profile", MONDAY - 99 * DAY), "taken"),
        (view(MONDAY - 29 * DAY), "taken"),
        (view(MONDAY - 29 * DAY - 1), "late"),
        (line("erase", MONDAY + 5), "erased"),
        (view(MONDAY, event_id=5), "taken"),
    ]
    assert [oracle.take(record) for record, _ in log] == [verdict for _, verdict in log]
    assert oracle.features("ann")["events_total"] == 1


def test_an_erasure_lifts_a_refusal_and_leaves_nobody() -> None:
    """What follows begins a new history, without consent having been given anew."""
    oracle = oracle_of(view(MONDAY), line("consent", MONDAY, granted=False), line("erase", MONDAY))
    assert oracle.users() == []
    assert oracle.take(view(MONDAY)) == "taken"


def test_a_duplicate_is_known_among_the_last_eight() -> None:
    """The ninth event since makes a record new again."""
    oracle = oracle_of(*(view(MONDAY, event_id=n) for n in range(8)))
    assert oracle.take(view(MONDAY, event_id=0)) == "duplicate"
    assert oracle.take(view(MONDAY, event_id=8)) == "taken"
    assert oracle.take(view(MONDAY, event_id=0)) == "taken"


def test_events_that_are_no_acts_count_in_life_alone() -> None:
    """They move the newest event, and thereby now, but no window, session or hour."""
    found = features_of(
        line("impression", MONDAY - 2 * DAY, experiment="x", variant="a", context={"page": "p"}),
        view(MONDAY),
        line("identify", MONDAY + 3 * DAY, anonymous_id="n"),
        context_names=("page",),
    )
    assert (found["events_total"], found["days_known"], found["views_recency_days"]) == (3, 5, 3)
    assert (found["sessions_total"], found["session_events"], found["active_days_30d"]) == (1, 0, 1)
    assert windows(found, "views") == [0, 0, 1, 1] and found["hour_0_1_share"] == 1
    assert found["favourite_context_page"] is None
    nothing = features_of(line("consent", MONDAY, granted=True))
    assert (nothing["hour_0_24_share"], nothing["sessions_total"], nothing["views_recency_days"]) == (0, 0, -1)


# Windows


@pytest.mark.parametrize(
    ("span", "tile", "tiles"), [("1h", 5 * MINUTE, 12), ("24h", HOUR, 24), ("7d", DAY, 7), ("30d", DAY, 30)]
)
def test_a_window_ends_at_the_edge_of_a_tile(span: str, tile: int, tiles: int) -> None:
    """An act at the beginning of a tile stays until the window's last tile is over, to the millisecond."""
    oracle = oracle_of(view(MONDAY))
    assert oracle.features("ann", MONDAY + tiles * tile - 1)[f"views_{span}"] == 1
    assert oracle.features("ann", MONDAY + tiles * tile)[f"views_{span}"] == 0
    assert oracle_of(view(MONDAY + tile - 1)).features("ann", MONDAY + tiles * tile)[f"views_{span}"] == 0


def test_a_late_act_counts_in_the_windows_that_reach_back_to_it() -> None:
    """A view of twenty hours ago is one of 24 h, 7 d and 30 d."""
    found = features_of(view(MONDAY), view(MONDAY - 20 * HOUR))
    assert windows(found, "views") == [1, 2, 2, 2] and found["active_days_30d"] == 2


def test_an_act_older_than_thirty_days_counts_for_life_alone() -> None:
    """Its money and its order stand in the totals; no window knows it."""
    found = features_of(view(MONDAY), order(MONDAY - 40 * DAY, ("a", 2, 5)))
    assert (found["purchases_total"], found["spend_total"], found["recency_days"]) == (1, 10, 40)
    assert windows(found, "purchases") == [0] * 4 and windows(found, "spend") == [0] * 4
    assert found["active_days_30d"] == 1


def test_each_type_has_its_measure() -> None:
    """Six types by name; an order counts as one, whatever its lines."""
    kinds = {"view": 1, "click": 2, "search": 3, "add_to_cart": 4, "remove_from_cart": 5, "wishlist": 6}
    log = [line(k, MONDAY + n, item_id="a") for k, many in kinds.items() for n in range(many)]
    found = features_of(*log, order(MONDAY, ("a", 1, 2.5), ("b", 3, 1)))
    measures = ("views", "clicks", "searches", "carts", "removals", "wishlists", "purchases", "items_bought", "spend")
    assert [found[f"{m}_1h"] for m in measures] == [1, 2, 3, 4, 5, 6, 1, 4, 5.5]
    assert found["hour_0_24_share"] == 1 and found["views_recency_days"] == 5 / DAY


def test_custom_events_are_counted_and_summed_by_name() -> None:
    """Values are kept in thousandths, half to even; without one only the count goes up."""
    log = [line("custom", MONDAY + n, name="review", value=v) for n, v in enumerate((1.0005, 2.0015, -0.25))]
    found = features_of(*log, line("custom", MONDAY + 9, name="review"), custom_names=("review", "share"))
    assert found["custom_review_1h"] == 4 and found["custom_review_value_24h"] == 1 + 2.002 - 0.25
    assert windows(found, "custom_share") == [0] * 4 and windows(found, "custom_share_value") == [0] * 4


# Over the whole life


def test_returns_take_money_and_pieces_back_when_they_come() -> None:
    """A purchase of returns alone is no order and moves no recency; one with both signs is an order."""
    found = features_of(
        order(MONDAY, ("a", 3, 10), ("b", 1, 2.5)), order(MONDAY + DAY, ("a", -2, 10)), now=MONDAY + 2 * DAY
    )
    assert (found["spend_total"], found["items_bought_total"], found["returns_total"]) == (12.5, 2, 1)
    assert (found["returned_spend_total"], found["returned_share"]) == (20, 20 / 32.5)
    assert (found["spend_24h"], found["spend_7d"], found["purchases_7d"]) == (0, 12.5, 1)
    assert (found["recency_days"], found["average_order_value"]) == (2, 12.5)
    mixed = features_of(order(MONDAY, ("a", -1, 30), ("b", 1, 40), ("c", 0.5, 8)))
    assert (mixed["purchases_total"], mixed["returns_total"], mixed["spend_total"]) == (1, 1, 14)
    none = features_of(order(MONDAY, ("a", -1, 30)))
    assert (none["purchases_total"], none["average_order_value"], none["returned_share"]) == (0, 0, 0)


def test_money_is_rounded_half_to_even() -> None:
    """Prices 0.00005 and 0.00015 are kept as 0 and 0.0002; 0.5 pieces of 0.0003 are 0.0002."""
    assert features_of(order(MONDAY, ("a", 1, 0.00005), ("b", 1, 0.00015)))["spend_total"] == 0.0002
    assert features_of(order(MONDAY, ("a", 0.5, 0.0003)))["spend_total"] == 0.0002


def test_recencies_count_from_the_newest_of_each_to_now() -> None:
    """A late one does not set them back; -1 before the first."""
    log = (line("wishlist", MONDAY, item_id="a"), line("wishlist", MONDAY - DAY, item_id="a"))
    found = features_of(*log, now=MONDAY + 12 * HOUR)
    assert found["wishlists_recency_days"] == 0.5
    names = ("recency_days", *(f"{m}_recency_days" for m in ("views", "clicks", "searches", "carts", "removals")))
    assert {found[name] for name in names} == {-1}


def test_now_is_never_before_the_newest_event() -> None:
    """Asked for an earlier time, the figures are those of the newest event."""
    assert features_of(view(MONDAY), now=MONDAY - DAY) == features_of(view(MONDAY))


def test_order_gaps_are_those_between_neighbours_in_time() -> None:
    """Orders on days 0, 1, 3 and 7: gaps of 1, 2 and 4 days, whatever order they come in."""
    for days in ((0, 1, 3, 7), (7, 0, 3, 1)):
        found = features_of(*(order(MONDAY + d * DAY) for d in days))
        assert found["order_gap_days_mean"] == pytest.approx(7 / 3)
        assert found["order_gap_days_spread"] == pytest.approx(math.sqrt(14 / 9))
    one, two = features_of(order(MONDAY)), features_of(order(MONDAY), order(MONDAY + DAY))
    assert (one["order_gap_days_mean"], two["order_gap_days_mean"], two["order_gap_days_spread"]) == (0, 1, 0)


def test_an_order_older_than_the_newest_four_is_left_out_of_the_gaps() -> None:
    """One among them finds its place; one before them is told in the totals alone."""
    four = [order(MONDAY + d * DAY) for d in (0, 2, 4, 6)]
    assert features_of(*four, order(MONDAY - 10 * DAY))["order_gap_days_mean"] == 2
    assert features_of(*four, order(MONDAY - 10 * DAY))["purchases_total"] == 5
    assert features_of(*four, order(MONDAY + DAY))["order_gap_days_mean"] == 1.5
    assert features_of(*four, order(MONDAY, ("b", 1, 1)))["order_gap_days_mean"] == 1.5
    assert features_of(order(MONDAY - 10 * DAY), *four)["order_gap_days_mean"] == 4


def test_hours_and_weekdays_are_those_of_the_shop() -> None:
    """Monday, 00:30 UTC is Sunday, 19:30 in New York, and Monday, 01:30 in Berlin."""
    log = (view(MONDAY + 30 * MINUTE), view(MONDAY + 6 * HOUR))
    utc, berlin = features_of(*log), features_of(*log, timezone="Europe/Berlin")
    york = features_of(*log, timezone="America/New_York")
    assert (utc["hour_0_1_share"], utc["hour_0_24_share"], utc["weekday_mon_share"]) == (0.5, 1, 1)
    assert (berlin["hour_1_2_share"], berlin["hour_7_8_share"], berlin["weekday_mon_share"]) == (0.5, 0.5, 1)
    assert (york["hour_19_20_share"], york["hour_1_2_share"]) == (0.5, 0.5)
    assert (york["weekday_sun_share"], york["weekday_mon_share"]) == (0.5, 0.5)
    assert sum(name.startswith("hour_") for name in utc) == 300


def test_summer_time_moves_the_hours_of_the_shop() -> None:
    """Berlin on 29 March 2026: 00:59 UTC is 01:59, 01:00 UTC is 03:00."""
    sunday = MONDAY + 27 * DAY
    found = features_of(view(sunday + 59 * MINUTE), view(sunday + 60 * MINUTE), timezone="Europe/Berlin")
    assert (found["hour_1_2_share"], found["hour_2_3_share"], found["hour_3_4_share"]) == (0.5, 0, 0.5)
    assert found["weekday_sun_share"] == 1


# Sessions


def test_a_session_ends_after_the_gap() -> None:
    """Thirty minutes on is the same session, a millisecond more is another; now ends it likewise."""
    log = [view(MONDAY), view(MONDAY + 30 * MINUTE, "b")]
    assert features_of(*log)["sessions_total"] == 1 and features_of(*log)["session_minutes"] == 30
    assert features_of(*log, view(MONDAY - 30 * MINUTE))["session_minutes"] == 60
    assert features_of(*log, view(MONDAY - 30 * MINUTE - 1))["sessions_total"] == 2
    again = features_of(*log, view(MONDAY + 60 * MINUTE + 1))
    assert (again["sessions_total"], again["session_sequence"]) == (2, ["a"])
    held, over = features_of(*log, now=MONDAY + 60 * MINUTE), features_of(*log, now=MONDAY + 60 * MINUTE + 1)
    assert (held["session_events"], held["session_sequence"]) == (2, ["b", "a"])
    assert (over["session_events"], over["session_minutes"], over["session_sequence"]) == (0, 0, [])


def test_the_figures_of_a_session_are_of_its_acts() -> None:
    """Depth counts views and clicks; dwell is the mean of those that tell one; orders, not returns."""
    found = features_of(
        view(MONDAY, dwell_ms=1000),
        line("click", MONDAY + MINUTE, item_id="b", dwell_ms=4000),
        line("search", MONDAY + 2 * MINUTE),
        cart(MONDAY + 3 * MINUTE, "b"),
        order(MONDAY + 4 * MINUTE, ("c", 1, 1)),
        order(MONDAY + 5 * MINUTE, ("d", -1, 1)),
        line("identify", MONDAY + 6 * MINUTE, anonymous_id="x"),
    )
    assert (found["session_events"], found["session_depth"], found["session_dwell_seconds"]) == (6, 2, 2.5)
    assert (found["session_carts"], found["session_purchases"], found["session_minutes"]) == (1, 1, 5)
    assert found["session_sequence"] == ["c", "b", "a"]


def test_an_act_between_two_sessions_makes_one_of_them() -> None:
    """Two that were 50 minutes apart are one, with the acts of both."""
    log = [view(MONDAY, "a"), view(MONDAY + 50 * MINUTE, "b")]
    assert features_of(*log)["sessions_total"] == 2
    found = features_of(*log, view(MONDAY + 25 * MINUTE, "c"))
    assert (found["sessions_total"], found["session_events"], found["session_minutes"]) == (1, 3, 50)
    assert found["session_sequence"] == ["b", "c", "a"]


def test_a_late_act_opens_an_earlier_session_while_there_is_room() -> None:
    """Older than three kept ones it belongs to none, and between them it begins one that closes the oldest."""
    log = [view(MONDAY + n * DAY) for n in (0, 2, 4)]
    assert features_of(*log[1:], log[0])["sessions_total"] == 3
    before = features_of(*log, view(MONDAY - DAY), view(MONDAY - 2 * DAY))
    assert (before["sessions_total"], before["events_total"]) == (3, 5)
    between = [*log, view(MONDAY + 3 * DAY)]
    assert features_of(*between)["sessions_total"] == 4
    joined = features_of(*between, view(MONDAY + MINUTE))  # the first is closed: this is older than all that are kept
    assert (joined["sessions_total"], joined["session_events"]) == (4, 1)


def test_the_sequence_tells_the_last_eight_different_items() -> None:
    """An item seen again moves to the front; equal times are in order of the hash, greatest first."""
    found = features_of(*(view(MONDAY + n, f"i{n}") for n in range(9)), view(MONDAY + 9, "i5"))
    assert found["session_sequence"] == ["i5", "i8", "i7", "i6", "i4", "i3", "i2", "i1"]
    tied = features_of(order(MONDAY, *((i, 1, 1) for i in "abcd")))["session_sequence"]
    assert tied == sorted("abcd", key=hash_text, reverse=True)
