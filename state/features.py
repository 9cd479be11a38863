"""The catalogue of named features: what rules, models, explanations and `coterie features` call a shopper's figures."""

from __future__ import annotations

from dataclasses import dataclass

MEASURES = ("views", "clicks", "searches", "carts", "purchases", "items_bought", "spend")
WINDOWS = ("1h", "24h", "7d", "30d")
HOURS = tuple(range(24))


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
    "purchases": ("orders", "orders placed"),
    "items_bought": ("pieces", "pieces bought, less pieces sent back"),
    "spend": ("money", "money spent, less money returned"),
}

WINDOWED = tuple(
    Feature(f"{m}_{w}", _MEANING[m][0], w, f"{_MEANING[m][1]} in the last {w}", f"{m} tiles")
    for m in MEASURES
    for w in WINDOWS
)

LIFETIME = (
    Feature("events_total", "events", "", "events taken in, ever", "events"),
    Feature("purchases_total", "orders", "", "orders placed, ever", "orders"),
    Feature("items_bought_total", "pieces", "", "pieces bought less pieces sent back, ever", "items_bought"),
    Feature("spend_total", "money", "", "money spent less money returned, ever", "spend"),
    Feature("returns_total", "lines", "", "cancelled or returned order lines, ever", "returns"),
    Feature(
        "average_order_value",
        "money",
        "",
        "spend_total over purchases_total; 0 before the first order",
        "spend, orders",
    ),
    Feature("recency_days", "days", "", "days since the last purchase; -1 before the first", "last_purchase_ts"),
    Feature("days_known", "days", "", "days between the first and the newest event", "first_ts, last_ts"),
    Feature("active_days_30d", "days", "30d", "days with at least one event in the last 30", "day tiles"),
    Feature("sessions_total", "sessions", "", "sessions begun, ever", "sessions"),
    Feature("session_events", "events", "session", "events in the current session", "session_events"),
    Feature("session_minutes", "minutes", "session", "length of the current session", "session_start_ts, last_ts"),
    Feature("mean_price_viewed", "money", "", "fading mean of the prices looked at", "price_mean"),
    Feature("category_focus", "share", "", "fading share of the favourite category among all acts", "categories"),
    Feature("favourite_category", "category", "", "the category with the greatest fading weight", "categories"),
)

SHARES = tuple(
    Feature(f"hour_{a}_{b}_share", "share", "", f"share of all events between {a}:00 and {b}:00, shop time", "hours")
    for a in HOURS
    for b in range(a + 1, 25)
)

CATALOGUE: dict[str, Feature] = {f.name: f for f in (*WINDOWED, *LIFETIME, *SHARES)}
"""Every feature by name."""

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
)
"""What the models see of a shopper, in this order: the vector `x` of a profile row, in natural units."""

DIMENSIONS = len(MODEL_FEATURES)
