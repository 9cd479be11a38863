"""Features of many shoppers as columns: to the last bit those of the plain reference, and the time they next cross."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, CONTEXT, CUSTOM, DAY, HOUR, MINUTE, Shop, line, logs, order

from operators.feature_plan import EVERY_CHANGE, FeaturePlan
from operators.generate import ShopPlan, generate
from operators.kernels.exact import divide, exact_sum
from operators.kernels.feature_crossings import NEVER, stays
from operators.kernels.tastes import median_of, median_price
from operators.profile_features import features
from operators.profile_settings import ProfileSettings
from operators.profiles import Profiles
from state.features import catalogue
from state.hashing import hash_text
from state.profile_table import PRICE_BINS

TEXTS = [name for name in catalogue(CUSTOM, CONTEXT) if name.startswith("favourite_")]
NUMBERS = [name for name in catalogue(CUSTOM, CONTEXT) if name not in TEXTS and name != "session_sequence"]
ATTRIBUTES = [f"attribute_{name}" for name in ("age", "club", "newsletter", "size", "never told")]
SHARES = [f"device_{d}_share" for d in ("phone", "tablet", "desktop", "watch")]
SHARES += [f"channel_{c}_share" for c in ("app", "web")] + ["country_DE_share", "country_CH_share"]
SHARES += ["context_campaign_spring_share", "context_weather_snow_share"]

TIMES_MS = (-2 * DAY, -3 * HOUR, 0, 1, 4 * MINUTE, 31 * MINUTE, HOUR, 25 * HOUR, 6 * DAY, 8 * DAY, 31 * DAY, 400 * DAY)

GROWING = ["recency_days", "views_recency_days", "carts_recency_days", "cart_minutes"]
STEPPING = ["views_1h", "views_24h", "carts_7d", "purchases_30d", "spend_30d", "spend_24h", "items_bought_7d"]
STEPPING += ["custom_review_24h", "custom_review_value_7d", "active_days_30d", "session_events", "session_minutes"]
STEPPING += ["session_depth", "session_carts"]
STILL = ["events_total", "device_phone_share", "price_level", "attribute_age"]


def columns_of(step: Profiles, plan: FeaturePlan, who: np.ndarray, as_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    store = step.store
    return plan.columns(store.slab("profiles"), store.slab("sessions"), store.slabs(), who, as_of)


def crossings_of(
    step: Profiles, plan: FeaturePlan, who: np.ndarray, as_of: np.ndarray, told: Mapping[str, Iterable[float]]
) -> np.ndarray:
    store = step.store
    tables = store.slab("profiles"), store.slab("sessions"), store.slabs()
    return plan.crossings(*tables, who, as_of, plan.thresholds(told))


def stays_of(
    step: Profiles, plan: FeaturePlan, r: int, now: int, until: int, told: Mapping[str, Iterable[float]]
) -> bool:
    numbers, _ = columns_of(step, plan, np.array([r], np.int32), np.array([now], np.int64))
    session, gap_ms = step.store.sessions.rows[r], step.settings.session_gap_ms
    return bool(stays(numbers[0], session, now, until, gap_ms, plan.arrays, plan.thresholds(told)))


def as_number(found: Mapping[str, Any], name: str) -> float:
    """A number as a column has it, from all features of a shopper."""
    value = found.get(name, 0.0 if name.endswith("_share") else None)
    return math.nan if value is None or isinstance(value, str) else float(value)


def as_text(found: Mapping[str, Any], name: str) -> int:
    """A text as a column has it."""
    value = found.get(name)
    return hash_text(value) if isinstance(value, str) else 0


def differences(shop: Shop, plan: FeaturePlan, times: Iterable[int]) -> list[Any]:
    """All in which columns and reference differ, over all rows of all shards, free and released ones among them."""
    found: list[Any] = []
    for step in shop.steps.values():
        size = step.store.profiles.size
        newest = step.store.profiles.rows["event_ts"][:size].astype(np.int64)
        who = np.arange(size, dtype=np.int32)
        for later in times:
            numbers, texts = columns_of(step, plan, who, newest + later)
            for r in range(size):
                told = features(step.tables, r, shop.names, shop.settings, int(newest[r]) + later)
                wanted = np.array([as_number(told, name) for name in plan.numbers])
                different = (numbers[r] != wanted) & ~(np.isnan(numbers[r]) & np.isnan(wanted))
                for f in np.flatnonzero(different).tolist():
                    found.append((r, later, plan.numbers[f], float(numbers[r, f]), float(wanted[f])))
                for m, name in enumerate(plan.texts):
                    if int(texts[r, m]) != as_text(told, name):
                        found.append((r, later, name, int(texts[r, m]), as_text(told, name)))
    return found


@settings(max_examples=50, deadline=None)
@given(logs(), st.sampled_from([1, 3]))
def test_columns_are_equal_to_the_reference(log: list[bytes], shards: int) -> None:
    """Every feature of every row to the last bit, whatever the time: erased, refused and free ones too."""
    shop = Shop(shards, timezone="America/New_York", inactivity_ttl_ms=4000 * DAY)
    shop.feed(*log)
    plan = FeaturePlan([*NUMBERS, *SHARES, *ATTRIBUTES], [*TEXTS, *ATTRIBUTES], shop.settings)
    assert differences(shop, plan, TIMES_MS) == []


@settings(max_examples=40, deadline=None)
@given(
    logs(most=30),
    st.lists(st.sampled_from([*NUMBERS, *SHARES, *ATTRIBUTES]), max_size=8),
    st.lists(st.sampled_from([*TEXTS, *ATTRIBUTES]), max_size=3),
)
def test_a_column_does_not_depend_on_what_else_is_planned(log: list[bytes], some: list[str], texts: list[str]) -> None:
    """Any choice in any order: what a feature needs is worked out for it alone."""
    shop = Shop(inactivity_ttl_ms=4000 * DAY)
    shop.feed(*log)
    assert differences(shop, FeaturePlan(some, texts, shop.settings), (0, 2 * HOUR)) == []


def test_columns_of_a_whole_shop_are_equal_to_the_reference() -> None:
    """A made-up shop of many tastes, orders, prices and carts, over four shards."""
    shop = Shop(4, timezone="Europe/Berlin", custom_names=(), context_names=())
    plan = ShopPlan(shoppers=150, items=80, categories=14, days=45, events=6_000, late_share=0.05)
    shop.feed_in(b"".join(generate(plan)).splitlines(), 500)
    numbers = [name for name in catalogue() if name not in TEXTS and name != "session_sequence"]
    texts = [name for name in catalogue() if name in TEXTS]
    assert differences(shop, FeaturePlan([*numbers, *SHARES[:8]], texts, shop.settings), (0, 5 * HOUR)) == []


def test_rows_may_be_named_in_any_order_and_several_times() -> None:
    """One shopper as of several times, beside another."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS, "ann", item_id="a"), order(BEGIN_MS, ("b", 2, 5), user="bob"))
    rows = {user: row for user, (_, row) in shop.rows().items()}
    who = np.array([rows["bob"], rows["ann"], rows["bob"]], np.int32)
    as_of = np.array([BEGIN_MS, BEGIN_MS, BEGIN_MS + 40 * DAY], np.int64)
    plan = FeaturePlan(["views_7d", "spend_30d", "recency_days"], [], shop.settings)
    numbers, texts = columns_of(shop.steps["u000"], plan, who, as_of)
    assert numbers.tolist() == [[0, 10, 0], [1, 0, -1], [0, 0, 40]]
    assert texts.shape == (3, 0)


def test_an_attribute_is_of_the_type_it_was_told_with() -> None:
    """A text is no number and a number no text; an empty text is one."""
    shop = Shop()
    shop.feed(line("profile", BEGIN_MS, attributes={"age": 3, "club": "gold", "news": True, "note": ""}))
    names = [f"attribute_{name}" for name in ("age", "club", "news", "note", "size")]
    plan = FeaturePlan(names, names, shop.settings)
    numbers, texts = columns_of(shop.steps["u000"], plan, np.zeros(1, np.int32), np.array([BEGIN_MS], np.int64))
    assert numbers[0, [0, 2]].tolist() == [3, 1] and np.isnan(numbers[0, [1, 3, 4]]).all()
    assert texts[0].tolist() == [0, hash_text("gold"), 0, hash_text(""), 0]


@pytest.mark.parametrize(
    ("number", "text", "told"),
    [
        ("purchses_30d", "", 'unknown feature "purchses_30d"; did you mean "purchases_30d"?'),
        ("", "favorite_brand", 'did you mean "favourite_brand"?'),
        ("favourite_brand", "", "is a text, not a number"),
        ("", "views_7d", "is a number, not a text"),
        ("", "device_phone_share", "is a number, not a text"),
        ("session_sequence", "", "list of items"),
        ("", "session_sequence", "list of items"),
        ("custom_never_7d", "", "unknown feature"),
        ("context_season_mail_share", "", "unknown feature"),
        ("device__share", "", "unknown feature"),
        ("attribute_", "", "unknown feature"),
        ("context_a_b_c_share", "", 'may be the share of "b_c" of context_a or "c" of context_a_b'),
    ],
)
def test_a_name_that_cannot_be_planned_is_told(number: str, text: str, told: str) -> None:
    """Which one, and what is wrong with it."""
    of_shop = ProfileSettings(context_names=("a", "a_b"))
    with pytest.raises(ValueError, match=told.replace("?", r"\?")) as error:
        FeaturePlan([number] if number else [], [text] if text else [], of_shop)
    assert (number or text) in str(error.value)


def test_thresholds_are_of_planned_numbers() -> None:
    """A threshold of any other is told."""
    plan = FeaturePlan(["views_7d"], [], ProfileSettings())
    with pytest.raises(ValueError, match="views_1h"):
        plan.thresholds({"views_1h": [3]})
    starts, values, *_ = plan.thresholds({"views_7d": [3, 1, 3]})
    assert starts.tolist() == [0, 2] and values.tolist() == [1, 3]


CONSTANTS = st.sampled_from([-1, 0, 0.25, 1, 2, 3, 7, 10, 29.9, 100, 1e6, math.inf, -math.inf, EVERY_CHANGE])


@settings(max_examples=30, deadline=None)
@given(st.data(), logs(most=30, rights=False))
def test_the_next_crossing_is_the_first(data: st.DataObject, log: list[bytes]) -> None:
    """Of every feature: no comparison with any threshold has another outcome before it, and one has at it. Of all
    together it is the first of theirs."""
    shop = Shop(inactivity_ttl_ms=4000 * DAY)
    shop.feed(*log)
    step = shop.steps["u000"]
    plan = FeaturePlan([*GROWING, *STEPPING, *STILL], [], shop.settings)
    told = {name: data.draw(st.lists(CONSTANTS, max_size=3)) for name in plan.numbers}
    later = data.draw(st.sampled_from([0, 0, 0, 1, 4 * MINUTE, HOUR, 25 * HOUR, 6 * DAY, 400 * DAY]))
    for _, r in shop.rows().values():
        as_of = int(step.store.profiles.rows["event_ts"][r]) + later
        row, now = np.array([r], np.int32), np.array([as_of], np.int64)
        at = {name: int(crossings_of(step, plan, row, now, {name: told[name]})[0]) for name in plan.numbers}
        assert crossings_of(step, plan, row, now, told).tolist() == [min(at.values())]
        for later_ms in (0, 1, DAY) if min(at.values()) != NEVER else ():
            assert not stays_of(step, plan, r, as_of, min(at.values()) + later_ms, told)
        times = dense(as_of, [time + d for time in at.values() if time != NEVER for d in (-1, 0)])
        numbers, _ = columns_of(step, plan, np.full(len(times), r, np.int32), times)
        for name, values in zip(plan.numbers, numbers.T, strict=True):
            same = np.all([np.ones(len(times), bool), *(same_outcome(values, t) for t in told[name])], axis=0)
            assert same[times < at[name]].all(), (name, at[name] - as_of)
            assert not same[times == at[name]].any(), (name, at[name] - as_of)
            assert at[name] > as_of


def dense(as_of: int, also: list[int]) -> np.ndarray:
    """`as_of` and times after it: where tiles and sessions end, round them, and others within 400 days."""
    edges = [(as_of // size + k) * size for size, n in ((5 * MINUTE, 300), (HOUR, 750), (DAY, 40)) for k in range(n)]
    gaps = [as_of + k * MINUTE for k in range(60)]
    others = np.random.default_rng(as_of % 2**32).integers(as_of, as_of + 400 * DAY, 200).tolist()
    near = np.array([time + d for time in (*edges, *gaps) for d in (-1, 0, 1)] + [*others, *also], np.int64)
    times: np.ndarray = np.unique(np.append(near[near > as_of], as_of))
    return times


def same_outcome(values: np.ndarray, threshold: float) -> np.ndarray:
    """Where a comparison with the threshold comes out as for the first value; with EVERY_CHANGE, where they agree."""
    if math.isnan(threshold):
        same = (values == values[0]) | (np.isnan(values) & np.isnan(values[0]))
    else:
        same = ((values < threshold) == (values[0] < threshold)) & ((values > threshold) == (values[0] > threshold))
    return np.asarray(same)


def test_crossings_of_a_case_by_hand() -> None:
    """Two views and an order: when the windows empty, the session ends, and the order is three days ago."""
    shop = Shop()
    at = BEGIN_MS + 13 * HOUR + 7 * MINUTE
    shop.feed(line("view", at, item_id="a"), line("view", at + MINUTE, item_id="b"), order(at + MINUTE, ("b", 1, 5)))
    names = ["views_1h", "views_7d", "session_events", "recency_days", "spend_30d", "events_total"]
    plan = FeaturePlan(names, [], shop.settings)
    now = np.array([at + MINUTE], np.int64)

    def crossing(**told: list[float]) -> int:
        (found,) = crossings_of(shop.steps["u000"], plan, np.zeros(1, np.int32), now, told).tolist()
        return int(found)

    assert crossing(views_1h=[1]) == BEGIN_MS + 14 * HOUR + 5 * MINUTE
    assert crossing(views_1h=[3]) == NEVER  # it is below, and only falls
    assert crossing(views_7d=[2]) == BEGIN_MS // DAY * DAY + 7 * DAY
    assert crossing(session_events=[2.5]) == at + 31 * MINUTE + 1
    assert crossing(recency_days=[3]) == at + MINUTE + 3 * DAY
    assert crossing(recency_days=[0]) == at + MINUTE + 1
    assert crossing(spend_30d=[5, 100]) == BEGIN_MS // DAY * DAY + 30 * DAY
    assert crossing(recency_days=[3], views_1h=[1, 2]) == BEGIN_MS + 14 * HOUR + 5 * MINUTE
    assert crossing(recency_days=[EVERY_CHANGE]) == at + MINUTE + 1
    assert crossing(events_total=[EVERY_CHANGE]) == crossing() == NEVER

    def sure(until: int, **told: list[float]) -> bool:
        return stays_of(shop.steps["u000"], plan, 0, at + MINUTE, until, told)

    both: dict[str, list[float]] = {"session_events": [2.5], "recency_days": [3]}
    assert sure(at + 31 * MINUTE, **both) and not sure(at + 31 * MINUTE + 1, **both)
    assert sure(BEGIN_MS + 14 * HOUR - 1, spend_30d=[5], recency_days=[3])
    assert sure(at + 2 * MINUTE, views_1h=[1]) and not sure(at + 5 * MINUTE, views_1h=[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(-(2**62), 2**62), st.integers(1, 2**62))
@example(2**53 + 1, 1)
@example(2**60 + 2**7 + 1, 3)
@example(1, 2**62)
@example(-(2**62), 10_000)
def test_quotients_are_rounded_once(a: int, b: int) -> None:
    """As those of Python's whole numbers are."""
    assert divide(a, b) == a / b


_TERM = st.floats(-1e18, 1e18) | st.integers(-(2**60), 2**60).map(float)


@settings(max_examples=60, deadline=None)
@given(st.lists(_TERM, max_size=9))
@example([1e16, 1.0, 1e-16])
@example([1.0, 2.0**-53, 2.0**-106])
@example([2.0**60, -(2.0**60), 0.1])
def test_sums_do_not_depend_on_the_order_of_terms(terms: list[float]) -> None:
    """They are those of `math.fsum`, which is rounded once."""
    given_terms = np.array(terms, np.float64)
    scratch = np.full(len(terms), 7.0)
    assert exact_sum(given_terms, len(terms), scratch) == math.fsum(terms)
    assert exact_sum(given_terms[::-1].copy(), len(terms), scratch) == math.fsum(terms)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, PRICE_BINS - 1), st.integers(1, 2**32 - 1), min_size=1, max_size=8))
def test_the_median_is_that_of_the_reference(told: dict[int, int]) -> None:
    """Of any counts."""
    counts = np.zeros(PRICE_BINS, np.uint32)
    for place, count in told.items():
        counts[place] = count
    assert median_of(counts) == median_price(counts)
