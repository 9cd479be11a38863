"""What a person is told of a segment: a name in plain words, and the traits that set it apart."""

from __future__ import annotations

import numpy as np

from state.features import MODEL_FEATURES

TRAITS_MAX = 5
TRAIT_GAP_MIN = 0.25
"""A feature is a trait where a segment's centre lies this many standard deviations from everyone's mean."""

WORD_GAP_MIN = 0.5
"""A feature gives a name its words from this gap on."""

OCCASIONAL_ORDERS_MIN = 0.5
"""Who orders so often in 30 days is a buyer, also where others order more."""

_COLUMN = {name: j for j, name in enumerate(MODEL_FEATURES)}

_OF_BUYERS = {"spend_30d", "average_order_value", "purchases_30d", "items_bought_30d"}
"""Features that say nothing of who does not buy."""

_DAYTIMES = (
    ("hour_0_6_share", "night"),
    ("hour_6_12_share", "morning"),
    ("hour_12_18_share", "afternoon"),
    ("hour_18_24_share", "evening"),
)

_QUALIFIERS = {
    "spend_30d": ("high spend", "low spend"),
    "average_order_value": ("large orders", "small orders"),
    "purchases_30d": ("frequent orders", "few orders"),
    "items_bought_30d": ("many pieces", "few pieces"),
    "mean_price_viewed": ("high prices", "low prices"),
    "category_focus": ("one category", "many categories"),
    "session_minutes": ("long sessions", "short sessions"),
    "session_events": ("busy sessions", "brief sessions"),
    "active_days_30d": ("often here", "seldom here"),
    "sessions_total": ("many visits", "few visits"),
    "searches_30d": ("much searching", "little searching"),
    "carts_30d": ("full carts", "empty carts"),
    "carts_24h": ("carts today", "no carts today"),
    "views_24h": ("active today", "quiet today"),
    "views_30d": ("many views", "few views"),
    "clicks_30d": ("many clicks", "few clicks"),
}
"""The words for a feature far above and far below everyone's mean."""


def traits(centre: np.ndarray, own_mean: np.ndarray, all_mean: np.ndarray) -> list[tuple[str, float, float]]:
    """The features that set a segment apart, strongest first: (name, the segment's mean, everyone's mean).

    `centre` float[d] in standardised space ranks them; the means float[d] are in natural units, told to 3 digits.
    """
    order = np.argsort(-np.abs(centre), kind="stable")[:TRAITS_MAX]
    return [
        (MODEL_FEATURES[j], float(f"{own_mean[j]:.3g}"), float(f"{all_mean[j]:.3g}"))
        for j in order.tolist()
        if abs(centre[j]) >= TRAIT_GAP_MIN
    ]


def name_of(centre: np.ndarray, own_mean: np.ndarray, number: int, taken: set[str]) -> str:
    """A name such as "evening buyers, high spend" that is not in `taken`, from a centre float[d] in standardised space.

    Role and daytime come first, then as many of the strongest features as it takes to be unlike all others; where
    words do not suffice, the segment's number. `own_mean` float[d] are the segment's means in natural units.
    """
    role, spoken_for = _role(centre, own_mean)
    if "buyers" not in role:
        spoken_for = spoken_for | _OF_BUYERS
    daytime = max(_DAYTIMES, key=lambda pair: centre[_COLUMN[pair[0]]])
    base = f"{daytime[1]} {role}" if centre[_COLUMN[daytime[0]]] >= WORD_GAP_MIN else role
    gaps = [(abs(float(centre[_COLUMN[f]])), f) for f in _QUALIFIERS if f not in spoken_for]
    strongest = [f for gap, f in sorted(gaps, key=lambda pair: -pair[0]) if gap >= WORD_GAP_MIN]
    words = [_QUALIFIERS[f][0 if centre[_COLUMN[f]] > 0 else 1] for f in strongest[:3]]
    candidates = [base] if not words else [", ".join([base, *words[:n]]) for n in range(1, len(words) + 1)]
    return next((name for name in candidates if name not in taken), f"{candidates[0]}, no. {number}")


def _role(centre: np.ndarray, own_mean: np.ndarray) -> tuple[str, set[str]]:
    """What the shoppers of a segment mostly do, and the features the word already says."""

    def gap(*names: str) -> float:
        return max(float(centre[_COLUMN[name]]) for name in names)

    if gap("purchases_30d", "items_bought_30d", "spend_30d") >= WORD_GAP_MIN:
        return "buyers", {"purchases_30d", "items_bought_30d"}
    if own_mean[_COLUMN["sessions_total"]] < 1.5 and gap("sessions_total") < 0.0:
        return "new visitors", {"sessions_total", "active_days_30d"}
    if gap("carts_30d", "carts_24h") >= WORD_GAP_MIN:
        return "cart fillers", {"carts_30d", "carts_24h"}
    if gap("searches_30d") >= max(WORD_GAP_MIN, gap("views_30d", "clicks_30d")):
        return "searchers", {"searches_30d"}
    if gap("views_30d", "clicks_30d") >= WORD_GAP_MIN:
        return "browsers", {"views_30d", "clicks_30d"}
    if gap("sessions_total", "active_days_30d") >= WORD_GAP_MIN:
        return "regulars", {"sessions_total", "active_days_30d"}
    if own_mean[_COLUMN["purchases_30d"]] >= OCCASIONAL_ORDERS_MIN:
        return "occasional buyers", {"purchases_30d", "items_bought_30d", "sessions_total", "active_days_30d"}
    if gap("sessions_total", "active_days_30d", "views_30d") <= -WORD_GAP_MIN:
        return "rare visitors", {"sessions_total", "active_days_30d", "views_30d"}
    return "visitors", set()
