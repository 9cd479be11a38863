"""The shoppers: seven personas, who is which, and what each of them likes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.generate.catalogue import Catalogue
from operators.generate.draws import draw, random_for
from operators.generate.plan import ShopPlan


@dataclass(frozen=True, slots=True)
class Persona:
    """One kind of shopper. `share` of the shoppers and `rate` of sessions are relative to the other kinds'.

    `hours` are the peaks of the day (hour, width in hours, weight); `weekend` how much likelier a day of the weekend
    is; `weekly`: always on the same day of the week; `visits` items a session looks at, on average; `gap_seconds` the
    median time between two events; `price_level` which of the price levels -1, 0, 1 is liked, and `price_pull` how
    much; `taste` how much more the persona's own categories are liked than others; the rest are probabilities per
    session (`buy`, if anything is in the cart; `send_back`, of an order), per item looked at (`search`, `click`,
    `wish`, `cart`), and of an item in the cart (`take_out`); `pieces` of an item, on average; `discount` is the share
    off the price.
    """

    name: str
    share: float
    rate: float
    hours: tuple[tuple[float, float, float], ...]
    visits: float
    gap_seconds: float
    devices: tuple[float, float, float]
    channels: tuple[float, float, float, float]
    search: float
    click: float
    wish: float
    cart: float
    take_out: float
    buy: float
    price_level: int
    price_pull: float
    weekend: float = 1.0
    weekly: bool = False
    taste: float = 8.0
    pieces: float = 1.0
    send_back: float = 0.04
    discount: float = 0.0


PERSONAS = (
    Persona(
        "morning_commuter", 0.20, 1.3, ((7.5, 0.8, 1.0),), 3.0, 12, (0.95, 0.0, 0.05), (0.7, 0.2, 0.05, 0.05),
        search=0.02, click=0.5, wish=0.05, cart=0.06, take_out=0.1, buy=0.45, price_level=0, price_pull=0.3,
        weekend=0.2,
    ),
    Persona(
        "evening_browser", 0.24, 1.0, ((21.0, 1.5, 1.0),), 10.0, 35, (0.3, 0.3, 0.4), (0.3, 0.5, 0.05, 0.15),
        search=0.06, click=0.4, wish=0.12, cart=0.04, take_out=0.2, buy=0.3, price_level=0, price_pull=0.3, weekend=1.4,
    ),
    Persona(
        "bargain_hunter", 0.18, 1.0, ((12.5, 1.2, 0.7), (19, 1.5, 0.3)), 8.0, 20, (0.4, 0.5, 0.1), (0.1, 0.4, 0.4, 0.1),
        search=0.25, click=0.5, wish=0.05, cart=0.2, take_out=0.3, buy=0.5, price_level=-1, price_pull=2.0,
        pieces=1.5, discount=0.2,
    ),
    Persona(
        "loyal_weekly", 0.14, 0.9, ((17.5, 1.0, 1.0),), 5.0, 15, (0.2, 0.75, 0.05), (0.4, 0.6, 0.0, 0.0),
        search=0.05, click=0.3, wish=0.01, cart=0.5, take_out=0.05, buy=0.9, price_level=0, price_pull=0.5, weekly=True,
        taste=15.0, pieces=1.6,
    ),
    Persona(
        "big_spender", 0.06, 0.9, ((14.0, 2.5, 1.0),), 6.0, 40, (0.15, 0.75, 0.1), (0.2, 0.7, 0.1, 0.0),
        search=0.1, click=0.4, wish=0.05, cart=0.35, take_out=0.05, buy=0.85, price_level=1, price_pull=2.5, pieces=1.5,
        send_back=0.12,
    ),
    Persona(
        "cart_abandoner", 0.10, 1.0, ((23.5, 1.2, 1.0),), 7.0, 20, (0.85, 0.1, 0.05), (0.4, 0.2, 0.1, 0.3),
        search=0.05, click=0.5, wish=0.1, cart=0.45, take_out=0.3, buy=0.04, price_level=1, price_pull=0.6,
    ),
    Persona(
        "gift_shopper", 0.08, 0.5, ((10.5, 1.5, 0.6), (15.5, 1.5, 0.4)), 9.0, 45, (0.3, 0.5, 0.2), (0.1, 0.6, 0.2, 0.1),
        search=0.3, click=0.4, wish=0.25, cart=0.25, take_out=0.1, buy=0.7, price_level=0, price_pull=0.4, weekend=4.0,
        taste=1.0, pieces=2.2, send_back=0.08,
    ),
)  # fmt: skip

DRIFTING = "bargain_hunter"
"""The persona whose taste changes half-way."""


def personas(plan: ShopPlan) -> np.ndarray:
    """The ground truth: the persona's name of each shopper, by number (u000000 is the first); str[shoppers]."""
    names: np.ndarray = np.array([p.name for p in PERSONAS])[persona_numbers(plan)]
    return names


def user_id(number: int) -> str:
    """The id of a shopper by number."""
    return f"u{number:06d}"


def column(name: str) -> np.ndarray:
    """One trait of all personas, in their order: array[personas, ...]."""
    return np.array([getattr(p, name) for p in PERSONAS])


def persona_numbers(plan: ShopPlan) -> np.ndarray:
    """The place in PERSONAS of each shopper, by number: int[shoppers]."""
    return draw(column("share"), random_for(plan, 0).random(plan.shoppers))


def theme_weights(plan: ShopPlan, catalogue: Catalogue, later: bool) -> np.ndarray:
    """How much each persona likes each theme in the earlier or the later half; float[personas, themes]."""
    weights = np.zeros((len(PERSONAS), len(catalogue.category)))
    for number, persona in enumerate(PERSONAS):
        own = number + 3 if plan.drift and later and persona.name == DRIFTING else number
        likes = np.where(catalogue.category % len(PERSONAS) == own % len(PERSONAS), persona.taste, 1.0)
        if plan.drift:
            likes = likes * np.where(catalogue.category == plan.categories - 1, 8.0 if later else 0.02, 1.0)
        level = np.exp(-persona.price_pull * np.abs(catalogue.level - persona.price_level))
        weights[number] = likes * level / (catalogue.place + 1.0) ** 0.7
    return weights
