"""A made-up crowd whose truth is known: shoppers of personas whose habits drift, and of some of which change at once.

A shopper's figures are log-normal about the level of the persona, which lies in the space of log1p: an own place that
stays (what a shopper does in 30 days hardly changes from one event to the next), and noise that is new with every
event. Money has twice the spread of counts. All levels wander on a straight line through the whole run; in the middle
some personas are placed anew from one event to the next. Only the newest figures of a shopper come with an event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from state.features import DIMENSIONS, MODEL_FEATURES

FEATURES = (
    "views_24h",
    "views_30d",
    "clicks_30d",
    "searches_30d",
    "carts_30d",
    "purchases_30d",
    "items_bought_30d",
    "spend_30d",
    "average_order_value",
    "sessions_total",
    "session_minutes",
    "active_days_30d",
)
"""The twelve dimensions, by the names of the features they are told as; all others are 0."""

MONEY = ("spend_30d", "average_order_value")
MONEY_SPREAD = 2.0
MONEY_LEVEL = 4.0
"""Natural logarithm of what money lies above counts."""

LEVELS = (1.0, 4.0)
"""Personas' levels are drawn evenly from here, in log1p."""

TRIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Crowd:
    """A scenario. Spreads are standard deviations in log1p.

    `own` is that of a shopper's place about the persona, `noise` that of an event about the shopper, `drift` that of a
    level's way from the first event to the last. `moved` of the `personas` are placed anew in the middle; any two
    personas are at least `apart` from each other, before and after. `fresh` of them have no shoppers before the middle.
    """

    name: str
    meaning: str
    shoppers: int = 100_000
    events: int = 400_000
    personas: int = 6
    moved: int = 2
    fresh: int = 0
    own: float = 0.55
    noise: float = 0.3
    drift: float = 0.3
    apart: float = 3.0


@dataclass(frozen=True, slots=True)
class Stream:
    """A crowd's events in order: who acts, the figures float32[n, DIMENSIONS] in natural units, the true persona.

    `changed` says which personas are placed anew (or come) at event `middle`.
    """

    shopper: np.ndarray
    x: np.ndarray
    persona: np.ndarray
    changed: np.ndarray
    middle: int


def draw(crowd: Crowd, seed: int) -> Stream:
    """The events of a crowd, the same for the same seed."""
    rng = np.random.default_rng(seed)
    n, d = crowd.events, len(FEATURES)
    middle = n // 2
    changed = np.zeros(crowd.personas, bool)
    changed[rng.permutation(crowd.personas)[: crowd.moved]] = True
    before, after = _levels(crowd, changed, rng)
    way = rng.normal(0.0, crowd.drift, (crowd.personas, d))
    persona_of = rng.choice(crowd.personas, crowd.shoppers, p=rng.dirichlet(np.full(crowd.personas, 8.0)))
    own = rng.normal(0.0, crowd.own, (crowd.shoppers, d)).astype(np.float32)
    activity = rng.gamma(2.0, 1.0, crowd.shoppers)
    shopper = rng.choice(crowd.shoppers, n, p=activity / activity.sum()).astype(np.int32)
    if crowd.fresh:
        late = np.flatnonzero(persona_of < crowd.fresh)
        others = np.flatnonzero(persona_of >= crowd.fresh)
        early = np.flatnonzero(np.isin(shopper[:middle], late))
        shopper[early] = rng.choice(others, len(early))
        changed = np.arange(crowd.personas) < crowd.fresh
    persona = persona_of[shopper]
    spread = np.where(np.isin(FEATURES, MONEY), MONEY_SPREAD, 1.0)
    level = np.where((np.arange(n) < middle)[:, None], before[persona], after[persona])
    level += np.linspace(-0.5, 0.5, n)[:, None] * way[persona]
    level += spread * (own[shopper] + rng.normal(0.0, crowd.noise, (n, d)))
    level += MONEY_LEVEL * np.isin(FEATURES, MONEY)
    x = np.zeros((n, DIMENSIONS), np.float32)
    x[:, [MODEL_FEATURES.index(name) for name in FEATURES]] = np.expm1(np.maximum(level, 0.0))
    return Stream(shopper, x, persona, changed, middle)


def _levels(crowd: Crowd, changed: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Levels float64[personas, d] before and after the middle, of which no two are too near each other."""
    for _ in range(TRIES_MAX):
        before = rng.uniform(*LEVELS, (crowd.personas, len(FEATURES)))
        after = np.where(changed[:, None], rng.uniform(*LEVELS, before.shape), before)
        every = np.concatenate([before, after[changed]])
        gaps = np.sqrt(((every[:, None] - every[None]) ** 2).sum(2))
        if gaps[np.triu_indices(len(every), 1)].min() >= crowd.apart:
            return before, after
    raise ValueError(f'{crowd.name}: found no places for {crowd.personas} personas {crowd.apart} apart; lower "apart"')
