"""The figures of the oracle of profiles: each a plain function of a list of events, written from docs/PROFILES.md.

`...` stands for a figure that the page does not settle. Left open there, and read so here:

- The median of n prices is where the counts, added up, reach n / 2: at the end of the lower quarter octave if that is
  exactly half, interpolated in the logarithm. A price below 0.01 counts in the first quarter octave.
- Prices taken from the catalogue are told with an act like its own, in the cart too.
- In the cart the pieces of a removal are negative: of acts of one item and one time, removals are played first.
- A weight that has lost bits by age, and what hangs on it, is not settled once they could show (`_is_settled`); and
  whether a value still stands among the kept ones when its weight has faded to nothing.
- An attribute, or a price in the cart, told for one time with different values is not settled.
- A trigger is due when the watermark is at `at` plus the lateness, or beyond. Cart acts of one time are one cause: what
  counts is what all of them leave in the cart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

from profile_oracle_events import COUNTED, DAY, MINUTE, Event, OracleSettings

from state.hashing import hash_text

KEPT_VALUES, KEPT_CART_ACTS, KEPT_ATTRIBUTES, SEQUENCE = 8, 16, 16, 8
HOURS = [(f"hour_{a}_{b}_share", a, b) for a in range(24) for b in range(a + 1, 25)]
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MILLION = 1_000_000
hash_of = lru_cache(maxsize=1 << 17)(hash_text)


@dataclass(slots=True)
class Session:
    """A run of acts."""

    start: int
    end: int
    acts: list[Event]


def life(events: list[Event]) -> dict[str, Any]:
    """What is counted and summed over the whole life; times are left to `recencies`."""
    lines = [line for e in events for line in e.bought_or_sent_back]
    returned = [line for line in lines if line.pieces < 0]
    orders = sum(e.is_order for e in events)
    spend, back = sum(line.money for line in lines), -sum(line.money for line in returned)
    bought = sum(line.money for line in lines if line.pieces > 0)
    times = [e.ts for e in events]
    return {
        "events_total": len(events),
        "purchases_total": orders,
        "items_bought_total": sum(line.pieces for line in lines) / 1000,
        "spend_total": spend / 10_000,
        "returns_total": len(returned),
        "returned_spend_total": back / 10_000,
        "returned_share": back / bought if bought else 0.0,
        "average_order_value": spend / 10_000 / orders if orders else 0.0,
        "days_known": (max(times) - min(times)) / DAY,
    }


def newest_of_each(events: list[Event]) -> dict[str, int | None]:
    """The time of the newest order and of the newest act of each type, by the feature that counts from it."""
    out = {"recency_days": max((e.ts for e in events if e.is_order), default=None)}
    for type_, measure in COUNTED.items():
        out[f"{measure}_recency_days"] = max((e.ts for e in events if e.type == type_), default=None)
    return out


def order_gaps(orders: list[int]) -> dict[str, float]:
    """Mean and population standard deviation of the times between successive orders, in days."""
    gaps = [b - a for a, b in pairwise(sorted(orders))]
    if not gaps:
        return {"order_gap_days_mean": 0.0, "order_gap_days_spread": 0.0}
    mean = Fraction(sum(gaps), len(gaps))
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    return {"order_gap_days_mean": float(mean / DAY), "order_gap_days_spread": math.sqrt(variance) / DAY}


def hours(acts: list[Event]) -> dict[str, float]:
    """Shares of the acts by hour and by day of the week."""
    many, by_hour, by_day = len(acts) or 1, Counter(e.hour for e in acts), Counter(e.weekday for e in acts)
    before = [0, *accumulate(by_hour[hour] for hour in range(24))]
    out = {name: (before[b] - before[a]) / many for name, a, b in HOURS}
    return out | {f"weekday_{name}_share": by_day[day] / many for day, name in enumerate(WEEKDAYS)}


def session_figures(session: Session | None, acts: list[Event]) -> dict[str, Any]:
    """What is told of the newest session; everything 0 without one."""
    own = session.acts if session else []
    dwells = [e.dwell_ms for e in own if e.dwell_ms is not None]
    liked: dict[str, int] = {}
    for act in acts if session else []:
        if act.ts >= session.start:
            for line in act.likings:
                if line.item is not None:
                    liked[line.item] = max(act.ts, liked.get(line.item, act.ts))
    return {
        "session_events": len(own),
        "session_minutes": (session.end - session.start) / MINUTE if session else 0.0,
        "session_depth": sum(e.type in ("view", "click") for e in own),
        "session_dwell_seconds": float(sum(dwells)) / len(dwells) / 1000 if dwells else 0.0,
        "session_carts": sum(e.type == "add_to_cart" for e in own),
        "session_purchases": sum(e.is_order for e in own),
        "session_sequence": sorted(liked, key=lambda item: (liked[item], hash_of(item)), reverse=True)[:SEQUENCE],
    }


@dataclass(slots=True)
class Scale:
    """How a liking weighs against the shopper's newest act."""

    newest: int
    half_life_ms: int

    def halvings(self, ts: int) -> int:
        return self.newest // self.half_life_ms - ts // self.half_life_ms

    def weight(self, ts: int) -> float:
        """round(2^12 * 2^frac(t / half-life)) * 2^8, halved for each whole half-life since."""
        part = ts % self.half_life_ms / self.half_life_ms
        return round(2**12 * 2.0**part) * 2**8 * 2.0 ** -self.halvings(ts)

    def is_settled(self, times: Iterable[int], extent: float = 1.0) -> bool:
        """Can lost bits not show? They begin to go past 8 half-lives; `extent`: largest figure against their mean."""
        times = list(times)
        old = sum(self.halvings(ts) > 8 for ts in times)
        return not old or sum(map(self.weight, times)) >= 2**14 * (old + 1) * max(extent, 1.0)


def weights(told: list[tuple[int, str]], scale: Scale) -> dict[str, float]:
    """The exact weight of every value told, as of the newest act."""
    out: dict[str, float] = {}
    for ts, value in told:
        out[value] = out.get(value, 0.0) + scale.weight(ts)
    return out


def taste(told: list[tuple[int, str]], scale: Scale) -> tuple[Any, Any, dict[str, Any]]:
    """The favourite, its share, and the share of each value; the favourite is `...` when two are about as heavy."""
    if not told:
        return None, 0.0, {}
    found = weights(told, scale)
    if len(found) > KEPT_VALUES or not scale.is_settled(ts for ts, _ in told):
        return ..., ..., dict.fromkeys(found, ...)
    total = sum(found.values())
    first, *rest = sorted(found, key=found.__getitem__, reverse=True)
    is_clear = not rest or found[rest[0]] < 0.998 * found[first]
    shares = {value: weight / total if weight >= 1 else ... for value, weight in found.items()}
    return (first if is_clear else ...), found[first] / total, shares


def mean_price(acts: list[Event], scale: Scale) -> Any:
    """The faded mean of prices above 0, in money."""
    priced = [(e.ts, min(round(Fraction(ln.price, 100)), 100 * MILLION)) for e in acts for ln in e.likings if ln.price]
    if not priced:
        return 0.0
    total = sum(scale.weight(ts) for ts, _ in priced)
    mean = sum(scale.weight(ts) * cents for ts, cents in priced) / total
    extent = max(cents for _, cents in priced) / mean if mean else 1.0
    return mean / 100 if scale.is_settled((ts for ts, _ in priced), extent) else ...


def price_bin(price: int) -> int:
    """The quarter octave of a price (ten-thousandths), from 0.01 on."""
    return max(0, math.floor(4 * math.log2(price / 100)))


def median_log2(counts: dict[int, int]) -> float:
    """log2 of the median, from counts in quarter octaves."""
    half, below = sum(counts.values()) / 2, 0
    for at in sorted(counts):
        if below + counts[at] >= half:
            return math.log2(0.01) + (at + (half - below) / counts[at]) / 4
        below += counts[at]
    raise ValueError("no price was counted")


def price_terms(acts: list[Event], scale: Scale) -> Any:
    """(category, weight, log2 of the price) of each liking that `price_level` is made of; `...` if not settled."""
    likings = [(e.ts, line) for e in acts for line in e.likings if line.category is not None]
    priced = [(ts, line) for ts, line in likings if line.price]
    if priced and len({line.category for _, line in likings}) > KEPT_VALUES:
        return ...
    if not scale.is_settled(ts for ts, _ in priced):
        return ...
    return [(line.category, scale.weight(ts), math.log2(line.price / 10_000)) for ts, line in priced]


@dataclass(slots=True)
class Cart:
    """What is in a cart: pieces in thousandths by item, the newest price and its time, since when it holds anything."""

    pieces: dict[str, int] = field(default_factory=dict)
    prices: dict[str, tuple[int, Any]] = field(default_factory=dict)
    opened: int | None = None


def cart_after(events: list[Event], until: int | None = None) -> Cart:
    """The cart by the events up to a time: the newest 16 cart acts since the newest order, played."""
    events = [e for e in events if until is None or e.ts <= until]
    emptied = max((e.ts for e in events if e.is_order), default=-math.inf)
    moves = []
    for event in events:
        if event.is_cart_act and event.ts > emptied:
            (line,) = event.lines
            pieces = line.pieces if event.type == "add_to_cart" else -line.pieces
            moves.append((event.ts, hash_of(line.item), pieces, line))
    cart = Cart()
    for ts, _, pieces, line in sorted(moves, key=lambda move: move[:3])[-KEPT_CART_ACTS:]:
        if line.price is not None:
            cart.prices[line.item] = _newer(cart.prices.get(line.item), ts, line.price)
        held = max(0, cart.pieces.pop(line.item, 0) + pieces)
        if held:
            cart.pieces[line.item] = held
        if not cart.pieces:
            cart.opened = None
        elif cart.opened is None:
            cart.opened = ts
    return cart


def cart_figures(cart: Cart) -> dict[str, Any]:
    """What is told of a cart, but for its age."""
    priced = [(held, cart.prices[item][1]) for item, held in cart.pieces.items() if item in cart.prices]
    is_settled = all(price is not ... for _, price in priced)
    return {
        "cart_items": sum(cart.pieces.values()) / 1000,
        "cart_lines": len(cart.pieces),
        "cart_value": sum(held * price for held, price in priced) / 10**7 if is_settled else ...,
    }


def attributes(events: list[Event]) -> dict[str, Any]:
    """The newest value of each attribute; of more than sixteen names those with the smallest hashes."""
    newest: dict[str, tuple[int, Any]] = {}
    for event in events:
        for name, value in event.attributes.items():
            newest[name] = _newer(newest.get(name), event.ts, value)
    kept = sorted(newest, key=hash_of)[:KEPT_ATTRIBUTES]
    return {f"attribute_{name}": newest[name][1] for name in kept}


def _newer(known: tuple[int, Any] | None, ts: int, value: Any) -> tuple[int, Any]:
    """The newer of two things told; `...` if both are of one time and differ."""
    if known is None or ts > known[0]:
        return ts, value
    is_settled = ts < known[0] or (type(value), value) == (type(known[1]), known[1])
    return known if is_settled else (ts, ...)


def triggers(events: list[Event], settings: OracleSettings) -> set[tuple[str, int]]:
    """(name, at) of all that a shopper's events lead to, whenever it is due, over the events in order of time."""
    acts = sorted((e for e in events if e.is_act), key=lambda e: e.ts)
    times = [e.ts for e in acts]
    out = {("lapsed", at) for at in _unanswered(times, times, settings.lapsed_ms)}
    in_cart = [e for e in acts if e.is_cart_act or e.is_order]
    causes = [ts for ts in {e.ts for e in acts if e.is_cart_act} if cart_after(in_cart, ts).pieces]
    answers = [e.ts for e in in_cart]
    out |= {("cart_abandoned", at) for at in _unanswered(causes, answers, settings.cart_abandoned_ms)}
    for run in _runs(acts, settings.session_gap_ms):
        depth = sum(e.type in ("view", "click") for e in run)
        if depth >= settings.browsed_depth_min and not any(e.is_order for e in run):
            out.add(("browsed_without_buying", run[-1].ts + settings.session_gap_ms))
    return out


def _unanswered(causes: list[int], answers: list[int], wait_ms: int) -> set[int]:
    """`at` of each cause that nothing came after, up to and including `at`."""
    return {ts + wait_ms for ts in causes if not any(ts < answer <= ts + wait_ms for answer in answers)}


def _runs(acts: list[Event], gap_ms: int) -> list[list[Event]]:
    runs: list[list[Event]] = []
    for act in acts:
        if runs and act.ts - runs[-1][-1].ts <= gap_ms:
            runs[-1].append(act)
        else:
            runs.append([act])
    return runs
