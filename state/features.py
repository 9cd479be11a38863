"""The catalogue of named features: what rules, models, explanations and `coterie features` call a shopper's figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MEASURES = ("views", "clicks", "searches", "carts", "removals", "wishlists", "purchases", "items_bought", "spend")
"""What windows count, in the order of their tags in `state.profile_table`, from 1 on."""

WINDOWS = ("1h", "24h", "7d", "30d")
HOURS = tuple(range(24))
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Feature:
    """One named figure of a shopper.

    `name` is the permanent public name; `unit` what one of it is; `window` the span it looks back over ("" when it
    looks back over everything); `meaning` one line for a person; `source` the columns it is computed from.
    """

    name: str
    unit: str
    window: str
    meaning: str
    source: str


_MEANING = {
    "views": ("events", "items looked at"),
    "clicks": ("events", "clicks"),
    "searches": ("events", "searches"),
    "carts": ("events", "additions to the cart"),
    "removals": ("events", "removals from the cart"),
    "wishlists": ("events", "items put on the wish list"),
    "purchases": ("orders", "orders placed"),
    "items_bought": ("pieces", "pieces bought, less pieces sent back"),
    "spend": ("money", "money spent, less money returned"),
}

WINDOWED = tuple(
    Feature(f"{m}_{w}", _MEANING[m][0], w, f"{_MEANING[m][1]} in the last {w}", f"cells: {m}")
    for m in MEASURES
    for w in WINDOWS
)

LIFETIME = (
    Feature("events_total", "events", "", "events taken in, ever", "events"),
    Feature("purchases_total", "orders", "", "orders placed, ever", "orders"),
    Feature("items_bought_total", "pieces", "", "pieces bought less pieces sent back, ever", "items_bought"),
    Feature("spend_total", "money", "", "money spent less money returned, ever", "spend"),
    Feature("returns_total", "lines", "", "cancelled or returned order lines, ever", "returns"),
    Feature("returned_spend_total", "money", "", "money of returned lines, ever", "returned"),
    Feature(
        "returned_share", "share", "", "returned_spend_total over the money of all lines bought", "returned, gross"
    ),
    Feature("average_order_value", "money", "", "spend_total over orders; 0 before the first order", "spend, orders"),
    Feature(
        "order_gap_days_mean", "days", "", "mean time between orders; 0 before the second", "order_ts, gaps_from_ts"
    ),
    Feature(
        "order_gap_days_spread",
        "days",
        "",
        "standard deviation of the times between orders; 0 before the third",
        "order_ts, gap_squares",
    ),
    Feature("recency_days", "days", "", "days since the last purchase; -1 before the first", "newest"),
    *(
        Feature(
            f"{m}_recency_days", "days", "", f"days since the last of {_MEANING[m][1]}; -1 before the first", "newest"
        )
        for m in MEASURES[:6]
    ),
    Feature("days_known", "days", "", "days between the first and the newest event", "first_ts, event_ts"),
    Feature("active_days_30d", "days", "30d", "days with at least one act in the last 30", "cells"),
    Feature("sessions_total", "sessions", "", "sessions begun, ever", "closed, open"),
    Feature("session_events", "events", "session", "acts in the current session", "events"),
    Feature("session_minutes", "minutes", "session", "length of the current session", "start, end"),
    Feature("session_depth", "events", "session", "views and clicks in the current session", "depth"),
    Feature("session_dwell_seconds", "seconds", "session", "mean time spent on an act, where told", "dwell_ms, dwells"),
    Feature("session_carts", "events", "session", "additions to the cart in the current session", "carts"),
    Feature("session_purchases", "orders", "session", "orders in the current session", "orders"),
    Feature("session_sequence", "items", "session", "last 8 different items of the session, newest first", "recent"),
    Feature("mean_price_viewed", "money", "", "fading mean of the prices looked at", "price_sum, price_weight"),
    Feature(
        "price_level",
        "ratio",
        "",
        "prices looked at over the median of their category; 1 where there is none",
        "tastes, prices",
    ),
    Feature("favourite_category", "category", "", "the category with the greatest fading weight", "tastes"),
    Feature("category_focus", "share", "", "fading share of the favourite category among all acts", "tastes"),
    Feature("favourite_brand", "brand", "", "the brand with the greatest fading weight", "tastes"),
    Feature("brand_focus", "share", "", "fading share of the favourite brand", "tastes"),
    Feature("cart_items", "pieces", "", "pieces in the cart", "carts"),
    Feature("cart_lines", "items", "", "different items in the cart", "carts"),
    Feature("cart_value", "money", "", "value of the cart", "carts"),
    Feature("cart_minutes", "minutes", "", "how long there has been something in the cart", "carts"),
)

SHARES = tuple(
    Feature(f"hour_{a}_{b}_share", "share", "", f"share of all acts between {a}:00 and {b}:00, shop time", "hours")
    for a in HOURS
    for b in range(a + 1, 25)
)

DAY_SHARES = tuple(
    Feature(f"weekday_{d}_share", "share", "", f"share of all acts on a {d.capitalize()}, shop time", "weekdays")
    for d in WEEKDAYS
)


def told_features(dimension: str) -> tuple[Feature, Feature]:
    """The features of a circumstance that acts tell: `device`, `channel`, `country` or `context_<name>`."""
    return (
        Feature(f"favourite_{dimension}", dimension, "", f"the {dimension} with the greatest fading weight", "tastes"),
        Feature(f"{dimension}_focus", "share", "", f"fading share of the favourite {dimension}", "tastes"),
    )


def custom_features(name: str) -> tuple[tuple[Feature, Feature], ...]:
    """The features of a declared custom event, by window: how many, and the sum of their values."""
    return tuple(
        (
            Feature(f"custom_{name}_{w}", "events", w, f"{name} events in the last {w}", "cells"),
            Feature(
                f"custom_{name}_value_{w}", "value", w, f"sum of the values of {name} events in the last {w}", "cells"
            ),
        )
        for w in WINDOWS
    )


PATTERNS = (
    Feature(
        "DIMENSION_VALUE_share",
        "share",
        "",
        "fading share of a value of device, channel, country or context_NAME, such as device_phone_share",
        "tastes",
    ),
    Feature("attribute_NAME", "value", "", "the newest value told by a profile event", "attributes"),
)
"""Features whose names depend on what shoppers tell."""


def catalogue(custom_names: Iterable[str] = (), context_names: Iterable[str] = ()) -> dict[str, Feature]:
    """Every feature of a shop by name: those that all shops have, and those of what it declares."""
    told = [f for d in ("device", "channel", "country") for f in told_features(d)]
    told += [f for name in sorted(context_names) for f in told_features(f"context_{name}")]
    declared = [f for name in custom_names for pair in custom_features(name) for f in pair]
    every = (*WINDOWED, *declared, *LIFETIME, *told, *DAY_SHARES, *SHARES)
    return {f.name: f for f in every}


CATALOGUE = catalogue()
"""Every feature of a shop that declares nothing."""

MODEL_FEATURES: tuple[str, ...] = (
    "views_24h",
    "views_30d",
    "clicks_30d",
    "searches_30d",
    "carts_24h",
    "carts_30d",
    "purchases_30d",
    "items_bought_30d",
    "spend_30d",
    "average_order_value",
    "sessions_total",
    "session_events",
    "session_minutes",
    "active_days_30d",
    "mean_price_viewed",
    "category_focus",
    "hour_0_6_share",
    "hour_6_12_share",
    "hour_12_18_share",
    "hour_18_24_share",
    "purchases_7d",
    "purchases_total",
    "spend_total",
    "order_gap_days_mean",
    "order_gap_days_spread",
    "recency_days",
    "carts_recency_days",
    "days_known",
    "session_carts",
)
"""What the models see of a shopper, in this order: the vector `x` of a profile row, in natural units."""

DIMENSIONS = len(MODEL_FEATURES)

SEGMENT_FEATURES = MODEL_FEATURES[: MODEL_FEATURES.index("hour_18_24_share") + 1]
"""Those of them that segments are found in: the first so many. The others tell of a shopper's past, not their ways."""

SEGMENT_DIMENSIONS = len(SEGMENT_FEATURES)

CROSSED_FEATURES = ("purchases_30d", "purchases_total", "order_gap_days_mean", "days_known", "active_days_30d")
"""Those whose squares and products of two the propensities see besides: how often, how long ago, since when."""

CROSSED_PAIRS = tuple(
    (MODEL_FEATURES.index(a), MODEL_FEATURES.index(b))
    for n, a in enumerate(CROSSED_FEATURES)
    for b in CROSSED_FEATURES[n:]
)
"""Places in MODEL_FEATURES of the two factors of each product."""

PROPENSITY_INPUTS = (
    *MODEL_FEATURES,
    *(f"{MODEL_FEATURES[a]} x {MODEL_FEATURES[b]}" for a, b in CROSSED_PAIRS),
)
"""What the propensities see, in this order: the models' features, then the products of some, all as signed log1p."""
