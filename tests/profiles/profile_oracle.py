"""What the profile step should know of every shopper, worked out from the plain list of events.

Written from docs/PROFILES.md and the event page, in plain Python, with nothing shared with the code it is held against
but the hash of a text. Figures are computed anew from the events a shopper has left (`profile_oracle_figures`); only
what the page lets depend on the order of arrival is done as events come: duplicates, consent, facts of the catalogue
(`profile_oracle_events`), the three open sessions and the four newest orders. The two modules tell how they read what
the page leaves open; here it is this:

- A late act changes no window; all else takes it in by its own rules (sessions, weights, cart, gaps).
- The counts behind the medians of prices keep what a shopper liked before an erasure.
- A refused event is not among the last 8 that duplicates are known by; a duplicate takes no place among them either.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import profile_oracle_figures as figures
from profile_oracle_events import COUNTED, DAY, HOUR, MINUTE, Event, OracleSettings, Reader, parse
from profile_oracle_figures import Cart, Scale, Session

__all__ = ["ABSENT", "Oracle", "OracleSettings", "told_apart"]

WINDOWS = {"1h": (5 * MINUTE, 12), "24h": (HOUR, 24), "7d": (DAY, 7), "30d": (DAY, 30)}
KEPT_SESSIONS, KEPT_ORDERS, KEPT_IDENTITIES = 3, 4, 8
SESSION_NONE = figures.session_figures(None, [])
ABSENT = "(absent)"


@dataclass(slots=True)
class Standing:
    """What is told of a shopper whatever the time: found once for all asking until the next event."""

    newest: int
    features: dict[str, Any]
    session: dict[str, Any]
    session_end: float
    cart: Cart
    newest_of_each: dict[str, int | None]
    price_terms: Any


@dataclass(slots=True)
class Shopper:
    """What is known of one shopper."""

    events: list[Event] = field(default_factory=list)
    seen: deque[bytes] = field(default_factory=lambda: deque(maxlen=KEPT_IDENTITIES))
    refused: bool = False
    newest_act: int = 0
    sessions: list[Session] = field(default_factory=list)
    """The open ones, oldest first."""
    sessions_closed: int = 0
    orders: list[int] = field(default_factory=list)
    """Times of the orders that gaps are told of."""
    standing: Standing | None = None

    @property
    def acts(self) -> list[Event]:
        return [e for e in self.events if e.is_act]


class Oracle:
    """Takes records in one by one, in order of arrival, and tells what should be known by then."""

    def __init__(self, settings: OracleSettings | None = None) -> None:
        self.settings = settings or OracleSettings()
        self.dimensions = ["device", "channel", "country", *(f"context_{n}" for n in self.settings.context_names)]
        customs = [f"custom_{n}" for n in self.settings.custom_names]
        self._units = {"spend": 10_000, "items_bought": 1000} | {f"{name}_value": 1000 for name in customs}
        measures = [*COUNTED.values(), "purchases", *customs, *self._units]
        self._nothing = {f"{measure}_{span}": 0 for measure in measures for span in WINDOWS}
        self._reader = Reader(self.settings)
        self._shoppers: dict[str, Shopper] = {}
        self._prices: dict[tuple[int, str], Counter[int]] = {}
        self._medians: dict[tuple[int, str], float] = {}

    def take(self, record: bytes) -> str:
        """Take a valid record in; what became of it: taken, late, duplicate, refused, erased or item."""
        told = parse(record)
        if told["type"] == "item":
            self._reader.learn(told)
            return "item"
        user = str(told["user_id"])
        if told["type"] == "erase":
            self._shoppers.pop(user, None)
            return "erased"
        shopper = self._shoppers.get(user, Shopper())
        if shopper.refused and told["type"] != "consent":
            return "refused"
        identity = record if told.get("event_id") is None else str(told["event_id"]).encode()
        if identity in shopper.seen:
            return "duplicate"
        shopper.seen.append(identity)
        self._shoppers[user] = shopper
        if told["type"] == "consent":
            shopper.refused = not told["granted"]
        event = self._reader.read(told)
        shopper.events.append(event)
        shopper.standing = None
        if not event.is_act:
            return "taken"
        self._join_sessions(shopper, event)
        self._place_order(shopper, event)
        self._count_prices(user, event)
        shopper.newest_act = max(shopper.newest_act, event.ts)
        return "taken" if event.ts // DAY > shopper.newest_act // DAY - 30 else "late"

    def users(self) -> list[str]:
        """Everybody of whom something is known."""
        return list(self._shoppers)

    def newest(self, user: str) -> int:
        """The time of a shopper's newest event."""
        return max(e.ts for e in self._shoppers[user].events)

    def features(self, user: str, now: int | None = None) -> dict[str, Any]:
        """Every feature by name, as of `now` (never before the newest event); `...` where the page settles nothing."""
        shopper = self._shoppers[user]
        known = shopper.standing = shopper.standing or self._standing(shopper)
        now = known.newest if now is None else max(now, known.newest)
        out = known.features | self._nothing
        for span, (size, tiles) in WINDOWS.items():  # the longest comes last
            newest = now // size
            held = [e for e in shopper.events if newest - tiles < e.ts // size <= newest and e.is_act]
            if held:
                for event in held:
                    for measure, amount in event.measures.items():
                        out[f"{measure}_{span}"] += amount
                for measure, unit in self._units.items():
                    out[f"{measure}_{span}"] /= unit
        out["active_days_30d"] = len({e.ts // DAY for e in held})
        for name, ts in known.newest_of_each.items():
            out[name] = -1.0 if ts is None else (now - ts) / DAY
        out |= known.session if now - known.session_end <= self.settings.session_gap_ms else SESSION_NONE
        out["session_sequence"] = list(out["session_sequence"])
        out["cart_minutes"] = 0.0 if known.cart.opened is None else (now - known.cart.opened) / MINUTE
        out["price_level"] = self._price_level(user, known.price_terms)
        return out

    def order_times(self, user: str) -> list[int]:
        """The times of the orders that gaps are told of, in order of time."""
        return sorted(self._shoppers[user].orders)

    def weights(self, user: str, dimension: str) -> dict[str, float]:
        """The exact weight of every value a shopper ever told of `category`, `brand`, `device`, `context_<name>`..."""
        acts = self._shoppers[user].acts
        return figures.weights(_told(acts, dimension), self._scale(acts))

    def triggers(self, watermark: int) -> set[tuple[str, str, int]]:
        """(user, name, at) of all that has fired by then, of histories not erased, in a log within its bounds."""
        due = watermark - self.settings.lateness_ms
        return {
            (user, name, at)
            for user, shopper in self._shoppers.items()
            for name, at in figures.triggers(shopper.events, self.settings)
            if at <= due
        }

    def _scale(self, acts: list[Event]) -> Scale:
        return Scale(max((e.ts for e in acts), default=0), self.settings.half_life_ms)

    def _join_sessions(self, shopper: Shopper, act: Event) -> None:
        gap, kept = self.settings.session_gap_ms, shopper.sessions
        near = [s for s in kept if s.start - gap <= act.ts <= s.end + gap]
        if not near and len(kept) == KEPT_SESSIONS and all(act.ts < s.start for s in kept):
            return
        joined = near.pop() if near else Session(act.ts, act.ts, [])
        for other in near:
            joined.acts.extend(other.acts)
        joined.acts.append(act)
        joined.start = min(joined.start, act.ts, *(s.start for s in near))
        joined.end = max(joined.end, act.ts, *(s.end for s in near))
        apart = [s for s in kept if s is not joined and all(s is not other for other in near)]
        kept = sorted([*apart, joined], key=lambda s: s.start)
        if len(kept) > KEPT_SESSIONS:
            kept.pop(0)
            shopper.sessions_closed += 1
        shopper.sessions = kept

    def _place_order(self, shopper: Shopper, act: Event) -> None:
        if not act.is_order:
            return
        newest = sorted(shopper.orders)[-KEPT_ORDERS:]
        if len(newest) < KEPT_ORDERS or act.ts >= newest[0]:
            shopper.orders.append(act.ts)

    def _count_prices(self, user: str, act: Event) -> None:
        for line in act.likings:
            if line.price and line.category is not None:
                key = (self.settings.shard_of(user), line.category)
                self._prices.setdefault(key, Counter())[figures.price_bin(line.price)] += 1
                self._medians.pop(key, None)

    def _price_level(self, user: str, terms: Any) -> Any:
        if terms is ...:
            return ...
        if not terms:
            return 1.0
        shard, total, apart = self.settings.shard_of(user), 0.0, 0.0
        for category, weight, log_price in terms:
            key = (shard, category)
            if key not in self._medians:
                self._medians[key] = figures.median_log2(self._prices[key])
            total += weight
            apart += weight * (log_price - self._medians[key])
        return 2.0 ** (apart / total)

    def _standing(self, shopper: Shopper) -> Standing:
        events, acts = shopper.events, shopper.acts
        scale, cart = self._scale(acts), figures.cart_after(acts)
        session = shopper.sessions[-1] if shopper.sessions else None
        out = {
            **figures.life(events),
            **figures.order_gaps(shopper.orders),
            **figures.hours(acts),
            **figures.cart_figures(cart),
            **figures.attributes(events),
            "sessions_total": len(shopper.sessions) + shopper.sessions_closed,
            "mean_price_viewed": figures.mean_price(acts, scale),
        }
        for dimension in ("category", "brand", *self.dimensions):
            favourite, focus, shares = figures.taste(_told(acts, dimension), scale)
            out[f"favourite_{dimension}"], out[f"{dimension}_focus"] = favourite, focus
            if dimension in self.dimensions:
                out |= {f"{dimension}_{value}_share": share for value, share in shares.items()}
        return Standing(
            newest=max(e.ts for e in events),
            features=out,
            session=figures.session_figures(session, acts),
            session_end=session.end if session else -math.inf,
            cart=cart,
            newest_of_each=figures.newest_of_each(events),
            price_terms=figures.price_terms(acts, scale),
        )


def _told(acts: list[Event], dimension: str) -> list[tuple[int, str]]:
    """(time, value) of all that was told of a dimension."""
    if dimension in ("category", "brand"):
        lines = [(e.ts, getattr(line, dimension)) for e in acts for line in e.likings]
        return [(ts, value) for ts, value in lines if value is not None]
    return [(e.ts, e.told[dimension]) for e in acts if dimension in e.told]


_FADED = re.compile(r"mean_price_viewed|.+_focus|(device|channel|country|context)_.+_share")


def told_apart(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The features that differ, as (found, expected); one that only one side names is ABSENT on the other.

    Texts, counts, lists and None must be equal, exact numbers to 12 digits (order gaps to 1e-9), faded ones to 5e-4 or
    1e-3, `price_level` to 1e-2. `cart_value` may be off by its rounding to ten-thousandths. `...` is passed over.
    """
    out = {name: (value, ABSENT) for name, value in found.items() if name not in expected}
    for name, value in expected.items():
        told = found.get(name, ABSENT)
        is_plainly_same = type(told) is type(value) and told == value
        if not is_plainly_same and not _is_same(name, told, value):
            out[name] = (told, value)
    return out


def _is_same(name: str, found: Any, expected: Any) -> bool:
    if expected is ...:
        return True
    if isinstance(expected, bool):
        return isinstance(found, bool) and found == expected
    if not isinstance(expected, Real):
        return type(found) is type(expected) and found == expected
    if not isinstance(found, Real) or isinstance(found, bool):
        return False
    if name.startswith("attribute_"):
        return math.isclose(found, expected, rel_tol=1e-12)
    if isinstance(expected, int):
        return found == expected
    if name == "price_level":
        return math.isclose(found, expected, rel_tol=1e-2)
    if _FADED.fullmatch(name):
        return math.isclose(found, expected, rel_tol=5e-4, abs_tol=1e-3)
    slack = {"order_gap_days_mean": 1e-9, "order_gap_days_spread": 1e-9, "cart_value": 1e-3}
    return math.isclose(found, expected, rel_tol=1e-12, abs_tol=slack.get(name, 0.0))
