"""The sessions: who comes when, with which device, and what for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from operators.generate.catalogue import Catalogue
from operators.generate.draws import draw, draw_by, random_for
from operators.generate.plan import DAY_MS, ShopPlan
from operators.generate.shoppers import DRIFTING, PERSONAS, column, persona_numbers, theme_weights

VISITS_MAX = 40
"""Items that a session looks at, at most; an order has no more lines."""

SESSION_EVENTS = 12
"""Events of a session, about; where that leaves a shopper less than two of them, sessions are shorter."""

FAVOURITES = 3
"""Themes that a shopper comes back to."""

COUNTRIES = {"DE": 0.3, "FR": 0.2, "GB": 0.2, "NL": 0.12, "ES": 0.1, "US": 0.08}
DEVICES = ("phone", "desktop", "tablet")
CHANNELS = ("app", "web", "email", "social")


@dataclass(slots=True)
class Sessions:
    """Sessions in the order they were drawn, which is not that of time."""

    shopper: np.ndarray
    persona: np.ndarray
    start_ms: np.ndarray
    theme: np.ndarray
    visits: np.ndarray
    device: np.ndarray
    channel: np.ndarray
    country: np.ndarray


def draw_sessions(plan: ShopPlan, catalogue: Catalogue) -> Sessions:
    """Enough sessions for the events asked for. The first ones are one for each shopper, in random order."""
    random = random_for(plan, 2)
    of_shopper = persona_numbers(plan)
    target = plan.events - plan.items
    room = target / plan.shoppers / SESSION_EVENTS
    visits_mean = np.maximum(column("visits") * min(1.0, room / 2), 1.0)
    activity = column("rate")[of_shopper] * random.gamma(1.5, 1.0, plan.shoppers)
    again = draw(activity, random.random(max(target - plan.shoppers, 0)))
    shopper = np.concatenate([random.permutation(plan.shoppers), again])[:target]
    visits = np.minimum(random.geometric(1.0 / visits_mean[of_shopper[shopper]]), VISITS_MAX)
    # A session has an event at least for each item it looks at: these are enough.
    n = int(np.searchsorted(np.cumsum(visits), target)) + 1
    shopper, visits = shopper[:n], visits[:n]
    persona = of_shopper[shopper]

    day = _draw_days(plan, random, shopper, persona)
    hours = np.array([_hour_weights(p.hours) for p in PERSONAS])
    hour = draw_by(hours, persona, random.random(len(shopper)))
    start = day * DAY_MS + hour * (DAY_MS // 24) + random.integers(1, DAY_MS // 24, len(shopper))
    later = start >= plan.days * DAY_MS // 2

    likes = [theme_weights(plan, catalogue, half) for half in (False, True)]
    favourites = np.stack(
        [draw_by(likes[0], of_shopper, random.random(plan.shoppers)) for _ in range(FAVOURITES)], axis=1
    )
    changed = np.stack([draw_by(likes[1], of_shopper, random.random(plan.shoppers)) for _ in range(FAVOURITES)], axis=1)
    drifts = plan.drift & np.array([p.name == DRIFTING for p in PERSONAS])[persona] & later
    which = random.integers(0, FAVOURITES, len(shopper))
    favourite = np.where(drifts, changed[shopper, which], favourites[shopper, which])
    u = random.random(len(shopper))
    other = np.where(later, draw_by(likes[1], persona, u), draw_by(likes[0], persona, u))
    theme = np.where(random.random(len(shopper)) < 0.5, favourite, other)

    devices = column("devices")
    main_device = draw_by(devices, of_shopper, random.random(plan.shoppers))
    other_device = draw_by(devices, persona, random.random(len(shopper)))
    country = draw(np.array(list(COUNTRIES.values())), random.random(plan.shoppers))
    return Sessions(
        shopper=shopper,
        persona=persona,
        start_ms=plan.start_ms + start,
        theme=theme,
        visits=visits,
        device=np.where(random.random(len(shopper)) < 0.85, main_device[shopper], other_device),
        channel=draw_by(column("channels"), persona, random.random(len(shopper))),
        country=country[shopper],
    )


def _hour_weights(peaks: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    """Weights of the 24 hours, from peaks on the round of the clock."""
    middle = np.arange(24) + 0.5
    weights = np.full(24, 0.004)
    for hour, width, weight in peaks:
        away = np.abs((middle - hour + 12) % 24 - 12)
        weights += weight * np.exp(-0.5 * (away / width) ** 2) / width
    return weights


def _draw_days(plan: ShopPlan, random: np.random.Generator, shopper: np.ndarray, persona: np.ndarray) -> np.ndarray:
    """The day of each session, from 0 on."""
    first_weekday = datetime.fromtimestamp(plan.start_ms / 1000, UTC).weekday()
    is_weekend = (first_weekday + np.arange(plan.days)) % 7 >= 5
    u = random.random(len(shopper))
    drawn = draw_by(np.where(is_weekend, column("weekend")[:, None], 1.0), persona, u)
    own = (random.integers(0, 7, plan.shoppers) % plan.days)[shopper]
    weeks = (plan.days - 1 - own) // 7 + 1
    days: np.ndarray = np.where(column("weekly")[persona], own + 7 * (u * weeks).astype(np.int64), drawn)
    return days
