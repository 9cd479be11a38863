"""How a change of one feature is told to a person, and what counts as one step of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.rules.plain import number_of
from operators.rules.tree import figure
from state.features import Feature

_WINDOWS = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
_NOUNS = {
    "views": ("view", "views"),
    "clicks": ("click", "clicks"),
    "searches": ("search", "searches"),
    "carts": ("addition to the cart", "additions to the cart"),
    "removals": ("removal from the cart", "removals from the cart"),
    "wishlists": ("item put on the wish list", "items put on the wish list"),
    "purchases": ("purchase", "purchases"),
    "items_bought": ("piece bought", "pieces bought"),
    "events": ("event", "events"),
    "sessions": ("session", "sessions"),
    "returns": ("returned order line", "returned order lines"),
    "active_days_30d": ("active day within 30 days", "active days within 30 days"),
    "session_events": ("act in the current session", "acts in the current session"),
    "session_depth": ("view or click in the current session", "views and clicks in the current session"),
    "session_carts": ("addition to the cart in the current session", "additions to the cart in the current session"),
    "session_purchases": ("purchase in the current session", "purchases in the current session"),
    "cart_items": ("piece in the cart", "pieces in the cart"),
    "cart_lines": ("different item in the cart", "different items in the cart"),
}
_WHOLE_UNITS = ("events", "orders", "pieces", "sessions", "lines", "items")
_STEPS = {"days": 0.1, "minutes": 1.0, "seconds": 1.0, "money": 0.01, "share": 0.01, "ratio": 0.01, "value": 0.01}
_NEEDED = {
    "cart_minutes": ("cart_items", "cart_lines", "cart_minutes"),
    "session_minutes": ("session_events", "session_minutes"),
    "average_order_value": ("purchases_total",),
}
"""Features of which one at least is above 0 where a feature can change by itself."""
_SIZES = {"money": 10.0, "share": 0.1, "ratio": 0.1, "minutes": 10.0, "seconds": 10.0}


def is_whole(feature: Feature) -> bool:
    """Is a feature a count, which changes by whole steps?"""
    return feature.unit in _WHOLE_UNITS or feature.name == "active_days_30d"


def step_of(feature: Feature) -> float:
    """The smallest change that is worth telling, in the feature's unit."""
    return 1.0 if is_whole(feature) else _STEPS.get(feature.unit, 0.01)


def size_of(feature: Feature) -> float:
    """How much of a feature is as great a change as one act: 1 of a count or a day, 10 of money, a tenth of a share."""
    return _SIZES.get(feature.unit, 1.0)


def bounds_of(feature: Feature, rising: bool = True) -> tuple[float, float]:
    """The least and the greatest value a feature can take, as it rises or falls. Money and pieces may be below 0, by
    returns of what was bought before the log; but nothing falls to there, for nobody sends back what they have not."""
    below = feature.unit == "value" or (rising and feature.unit in ("money", "pieces"))
    least = float("-inf") if below else 0.0
    most = {"share": 1.0}.get(feature.unit, float("inf"))
    return least, 30.0 if feature.name == "active_days_30d" else most


def is_recency(feature: Feature) -> bool:
    """Is a feature the time since the last act of a kind? Only an act now lowers it, to 0; only waiting raises it."""
    return feature.name.endswith("recency_days")


def only_grows(feature: Feature) -> bool:
    """Does nothing a shopper does take a feature down by steps? Acts can be done, not undone; what time takes out of a
    window is no change that one could make. Pieces and money fall by a return, the cart by a removal."""
    if is_recency(feature) or feature.unit in ("events", "orders", "sessions", "lines", "minutes"):
        return True
    return feature.name in ("returned_spend_total", "days_known", "active_days_30d")


def can_move(feature: Feature, features: Mapping[str, Any]) -> bool:
    """Can a feature of this shopper change by itself at all? An empty cart grows no older, nor what is no session
    longer, and without orders there is no average of them."""
    needed = _NEEDED.get(feature.name, ())
    known = [value for name in needed if (value := number_of(features.get(name))) is not None]
    return not known or max(known) > 0


def moved(feature: Feature, before: float, after: float) -> str:
    """The sentence for a number that changes: "one more purchase within 7 days", "spend_30d up by 12.50"."""
    if is_recency(feature):
        one, many = _noun(feature.name.removesuffix("recency_days").rstrip("_") or "purchases")
        if after == 0:
            return f"a{'n' if one[0] in 'aeiou' else ''} {one} now"
        return f"no {many} for another {_amount(feature, after - before)} days"
    gap = after - before
    if is_whole(feature):
        one, many = _noun(feature.name)
        if gap > 0:
            return f"one more {one}" if gap == 1 else f"{_count(gap)} more {many}"
        count, within = _count(-gap), ""
        noun, found, span = (one if gap == -1 else many).partition(" within ")
        within = found + span
        return f"{count} {noun} fewer{within}"
    return f"{feature.name} {'up' if gap > 0 else 'down'} by {_amount(feature, abs(gap))}"


def becomes(feature: Feature, value: Any) -> str:
    """The sentence for a text or an attribute that takes another value."""
    if isinstance(value, bool):
        return f"{feature.name} becomes {str(value).lower()}"
    return f"{feature.name} becomes {figure(value) if isinstance(value, int | float) else repr(value)}"


def _noun(name: str) -> tuple[str, str]:
    """(one, many) of a count, with the window it is counted in."""
    known = _NOUNS.get(name)
    if known is not None:
        return known
    head, _, window = name.rpartition("_")
    if name.startswith("custom_"):
        head = head.removeprefix("custom_")
        one, many = f"{head} event", f"{head} events"
    else:
        one, many = _NOUNS.get(head, (name, name))
    within = f" within {_WINDOWS[window]}" if window in _WINDOWS else ""
    return one + within, many + within


def _count(value: float) -> str:
    return figure(round(value, 6))


def _amount(feature: Feature, gap: float) -> str:
    """How much, with as many digits as a step of the feature has; more where it takes more to be true."""
    step = step_of(feature)
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    text = f"{gap:.{digits}f}"
    return text if abs(float(text) - gap) < 1e-9 else f"{gap:.6g}"
