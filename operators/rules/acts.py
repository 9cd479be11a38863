"""What one change of a figure brings with it: an act within an hour is one within a day, a week and ever.

Figures of a shopper hang together. So a change that people are told of is a change of all that goes with it, as if the
acts were done now: every window of the measure, its total, the time since the last, the current session, the cart.
What hangs on which item, price or hour an act has (tastes, shares, mean prices, days) stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operators.rules.plain import number_of
from operators.rules.wording import is_recency
from state.features import MEASURES, WINDOWS, Feature

ACTS = MEASURES[:7]
"""Measures that count acts; the other two, pieces and money, come with purchases."""

_SESSION = {
    "views": ("session_depth",),
    "clicks": ("session_depth",),
    "carts": ("session_carts", "cart_items"),
    "purchases": ("session_purchases",),
}
_CART = ("cart_items", "cart_lines", "cart_value", "cart_minutes")


@dataclass(frozen=True, slots=True)
class Move:
    """What goes with a change of one feature: `alike` change by as much, `once` take a value as soon as it changes."""

    alike: tuple[str, ...]
    once: dict[str, float]

    def to(self, features: Mapping[str, Any], name: str, after: Any) -> dict[str, Any]:
        """Every feature that changes when `name` becomes `after`, and what it becomes."""
        before = number_of(features.get(name)) or 0.0
        changed: dict[str, Any] = dict(self.once)
        for other in self.alike:
            value = features[other] + (after - before)
            whole = isinstance(features[other], int) and isinstance(value, float) and value.is_integer()
            changed[other] = int(value) if whole else value
        changed[name] = after
        spend, orders = (number_of(changed.get(n, features.get(n))) for n in ("spend_total", "purchases_total"))
        average = "spend_total" in changed and "average_order_value" in features
        if average and spend is not None and orders is not None:
            changed["average_order_value"] = spend / orders if orders else 0.0
        return changed


def move_of(feature: Feature, features: Mapping[str, Any], rising: bool) -> Move:
    """What goes with a rise or a fall of a feature of a shopper; of a time since the last act it falls to 0.

    Features that the shopper has no number of are not among it.
    """
    name, measure = feature.name, _measure(feature)
    if is_recency(feature):
        return Move((), {} if rising else _one(measure, features))
    alike, once = list[str](), dict[str, float]()
    if measure in ACTS or (measure.startswith("custom_") and feature.unit != "value"):
        alike, once = _counts(measure), _follows(measure, features)
    elif measure in MEASURES:
        alike = _windows(measure)
        once = _one("purchases", features) if rising else _more(("returns_total", "events_total"), features)
    elif feature.unit == "value" and measure:  # the sum of the values of custom events
        alike, once = _windows(measure), _one(measure.removesuffix("_value"), features)
    elif name in _CART[:3]:
        alike = ["cart_items"] if name == "cart_lines" else []
        once = _one("carts" if rising else "removals", features)
    elif name in ("session_events", "session_depth"):
        alike = ["session_events", "events_total"]
    known = [other for other in dict.fromkeys(alike) if other != name and number_of(features.get(other)) is not None]
    return Move(tuple(known), {other: value for other, value in once.items() if other not in (name, *known)})


def _measure(feature: Feature) -> str:
    """The measure that a feature is a count or a sum of, with `custom_` before the name of a custom event; or ""."""
    name = feature.name
    head, _, window = name.rpartition("_")
    if is_recency(feature):
        return name.removesuffix("recency_days").rstrip("_") or "purchases"
    if name in ("session_carts", "session_purchases"):
        return name.removeprefix("session_")
    known = head in MEASURES or head.startswith("custom_")
    return head if known and (window in WINDOWS or window == "total") else ""


def _windows(measure: str) -> list[str]:
    return [*(f"{measure}_{window}" for window in WINDOWS), f"{measure}_total"]


def _counts(measure: str) -> list[str]:
    """Features that rise by one with each act of a measure."""
    bought = _windows("items_bought") if measure == "purchases" else []  # a piece each
    return [*_windows(measure), *bought, "events_total", "session_events", *_SESSION.get(measure, ())]


def _follows(measure: str, features: Mapping[str, Any]) -> dict[str, float]:
    """What features become by an act of a measure, however many follow."""
    once: dict[str, float] = {}
    if measure in ACTS:
        once["recency_days" if measure == "purchases" else f"{measure}_recency_days"] = 0.0
    if features.get("session_events") == 0:
        once |= _more(("sessions_total",), features)
    if measure == "purchases":
        once |= dict.fromkeys(_CART, 0.0)  # what is in the cart is bought, or given up
    if measure == "carts" and features.get("cart_lines") == 0:
        once["cart_lines"] = 1.0
    return {name: value for name, value in once.items() if number_of(features.get(name)) is not None}


def _one(measure: str, features: Mapping[str, Any]) -> dict[str, float]:
    """All that one act of a measure changes."""
    return _more(_counts(measure), features) | _follows(measure, features)


def _more(names: Any, features: Mapping[str, Any]) -> dict[str, float]:
    return {name: features[name] + 1 for name in names if number_of(features.get(name)) is not None}
