"""What the profile step should know of every shopper, worked out from the plain list of events.

Written from what the event page, the feature catalogue and the profile table promise, in plain Python over dicts, with
nothing shared with the code it is held against: every figure is computed anew from the events a shopper has left.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
RINGS = {"minutes": (5 * MINUTE, 12), "hours": (HOUR, 24), "days": (DAY, 30)}
WINDOWS = {"1h": ("minutes", 12), "24h": ("hours", 24), "7d": ("days", 7), "30d": ("days", 30)}
COUNTED = {"view": "views", "click": "clicks", "search": "searches", "add_to_cart": "carts"}
WEIGHTS = {"view": 1.0, "click": 1.0, "wishlist": 1.5, "add_to_cart": 2.0}
BOUGHT = 3.0


@dataclass(slots=True)
class Line:
    """One item line of an event; quantity and price exact, price None where there is none."""

    item: str | None
    category: str | None
    price: Decimal | None
    quantity: Decimal


@dataclass(slots=True)
class Taken:
    """An event that was taken in, and which rings could still hold it."""

    type: str
    ts: int
    lines: list[Line]
    alive: set[str]

    @property
    def is_order(self) -> bool:
        return self.type == "purchase" and any(line.quantity > 0 for line in self.lines)

    @property
    def is_late(self) -> bool:
        return not self.alive


@dataclass(slots=True)
class Shopper:
    """What is known of one shopper."""

    events: list[Taken] = field(default_factory=list)
    seen: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    refused: bool = False
    sessions: int = 0
    session_start: int = 0
    session_events: int = 0
    session_is_clear: bool = True
    """False once an event older than the session was taken in during it: whether it counts is not said."""

    @property
    def last(self) -> int:
        return max(e.ts for e in self.events)


class Oracle:
    """Takes events in one by one; `verdict` tells what became of the last: taken, late, duplicate, refused, erased."""

    def __init__(self, session_gap_ms: int = 30 * MINUTE, half_life_ms: int = 14 * DAY, timezone: str = "UTC") -> None:
        self.gap, self.half_life, self.zone = session_gap_ms, half_life_ms, ZoneInfo(timezone)
        self.shoppers: dict[str, Shopper] = {}

    def take(self, record: bytes) -> str:
        """Take a record in (a valid one); what became of it."""
        event = json.loads(record, parse_float=Decimal)
        if event["type"] == "item":
            return "item"
        user = str(event["user_id"])
        if event["type"] == "erase":
            self.shoppers.pop(user, None)
            return "erased"
        shopper = self.shoppers.get(user, Shopper())
        if shopper.refused and event["type"] != "consent":
            return "refused"
        identity = str(event["event_id"]) if event.get("event_id") is not None else record.decode()
        if identity in shopper.seen:
            return "duplicate"
        shopper.seen.append(identity)
        self.shoppers[user] = shopper
        if event["type"] == "consent":
            shopper.refused = not event["granted"]
        ts = event["ts"]
        heads = {r: max([ts // size, *(e.ts // size for e in shopper.events)]) for r, (size, _) in RINGS.items()}
        alive = {r for r, (size, n) in RINGS.items() if ts // size > heads[r] - n}
        self._session(shopper, ts)
        shopper.events.append(Taken(event["type"], ts, _lines(event), alive))
        return "taken" if alive else "late"

    def _session(self, shopper: Shopper, ts: int) -> None:
        if not shopper.events or ts - shopper.last > self.gap:
            shopper.sessions += 1
            shopper.session_start, shopper.session_events, shopper.session_is_clear = ts, 0, True
        shopper.session_events += 1
        if ts < shopper.session_start:
            shopper.session_is_clear = False

    def features(self, user: str, now: int | None = None) -> dict[str, Any]:
        """Every feature of the catalogue as of `now` (default: their newest event); None where nothing is said."""
        shopper = self.shoppers[user]
        events, last = shopper.events, shopper.last
        now = last if now is None else now
        out: dict[str, Any] = {}
        heads = {ring: max(e.ts // size for e in events) for ring, (size, _) in RINGS.items()}
        for span, (ring, tiles) in WINDOWS.items():
            size, n = RINGS[ring]
            oldest, newest = max(now // size - tiles, heads[ring] - n) + 1, now // size
            held = [e for e in events if ring in e.alive and oldest <= e.ts // size <= newest]
            for type_, measure in COUNTED.items():
                out[f"{measure}_{span}"] = sum(e.type == type_ for e in held)
            out[f"purchases_{span}"] = sum(e.is_order for e in held)
            out[f"items_bought_{span}"] = _pieces(held)
            out[f"spend_{span}"] = _money(held)
            if span == "30d":
                out["active_days_30d"] = len({e.ts // DAY for e in held})
        orders = [e.ts for e in events if e.is_order]
        priced = [(e.ts, float(line.price)) for e, line in _acts(events) if line.price]
        out |= {
            "events_total": len(events),
            "purchases_total": len(orders),
            "items_bought_total": _pieces(events),
            "spend_total": _money(events),
            "returns_total": sum(line.quantity < 0 for e in events if e.type == "purchase" for line in e.lines),
            "average_order_value": _money(events) / len(orders) if orders else 0.0,
            "recency_days": (now - max(orders)) / DAY if orders else -1.0,
            "days_known": (last - min(e.ts for e in events)) / DAY,
            "sessions_total": shopper.sessions,
            "session_events": shopper.session_events if shopper.session_is_clear else None,
            "session_minutes": (last - shopper.session_start) / MINUTE,
            "mean_price_viewed": self._mean(priced, last),
            **self._categories(events, last),
            **self._hours(events),
        }
        return out

    def _weight(self, ts: int, last: int) -> float:
        return 2.0 ** (-(last - ts) / self.half_life)

    def _mean(self, priced: list[tuple[int, float]], last: int) -> float:
        total = sum(self._weight(ts, last) for ts, _ in priced)
        return sum(self._weight(ts, last) * price for ts, price in priced) / total if total else 0.0

    def _categories(self, events: list[Taken], last: int) -> dict[str, Any]:
        weights: dict[str, float] = {}
        for event, line in _acts(events):
            if line.category:
                weights[line.category] = weights.get(line.category, 0.0) + self._weight(event.ts, last)
        if not weights:
            return {"category_focus": 0.0, "favourite_category": None}
        if len(weights) > 4:  # more than are kept: an estimate, held against its bounds elsewhere
            return {"category_focus": None, "favourite_category": ...}
        first, *rest = sorted(weights.values(), reverse=True)
        clear = not rest or first > rest[0] * 1.001
        favourite = max(weights, key=lambda c: weights[c]) if clear else ...
        return {"category_focus": first / sum(weights.values()), "favourite_category": favourite}

    def _hours(self, events: list[Taken]) -> dict[str, float]:
        hours = [self._local(e.ts).hour for e in events]
        before = [sum(h < hour for h in hours) for hour in range(25)]
        return {
            f"hour_{a}_{b}_share": (before[b] - before[a]) / len(hours) for a in range(24) for b in range(a + 1, 25)
        }

    def _local(self, ts: int) -> datetime:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts)).astimezone(self.zone)


def _acts(events: list[Taken]) -> list[tuple[Taken, Line]]:
    """The lines that say what a shopper likes: looked at, wished for, put into the cart, bought."""
    return [
        (e, ln) for e in events for ln in e.lines if e.type in WEIGHTS or (e.type == "purchase" and ln.quantity > 0)
    ]


def _pieces(events: list[Taken]) -> float:
    return float(sum((line.quantity for e in events if e.type == "purchase" for line in e.lines), Decimal(0)))


def _money(events: list[Taken]) -> float:
    lines = [line for e in events if e.type == "purchase" for line in e.lines]
    return float(sum((line.quantity * (line.price or 0) for line in lines), Decimal(0)))


def _lines(event: dict[str, Any]) -> list[Line]:
    if event["type"] == "purchase":
        return [
            Line(ln["item_id"], ln.get("category"), Decimal(ln["unit_price"]), Decimal(ln["quantity"]))
            for ln in event["lines"]
        ]
    if event["type"] in (*COUNTED, "wishlist", "remove_from_cart", "custom"):
        price = event.get("price")
        return [
            Line(event.get("item_id"), event.get("category"), None if price is None else Decimal(price), Decimal(1))
        ]
    return [Line(None, None, None, Decimal(1))]
