"""How the oracle of profiles reads events: a record becomes an Event, with what the catalogue knew of its items then.

Written from docs/PROFILES.md and the event page alone; nothing is shared with the code it is held against. Amounts are
integers: money in ten-thousandths, pieces and the values of custom events in thousandths, rounded half to even. Records
must be valid. Left open by the pages, and read so here:

- The money of a line is its kept quantity times its kept price, rounded again to ten-thousandths.
- Whether a line is bought or sent back is told by its kept quantity; one that rounds to nothing is neither.
- A part of a millisecond in an RFC 3339 time is cut off.
- Of two `item` events of the same time the one that comes later counts as the newer. "Newer" is newer than every
  `item` event of that item so far, whatever those told.
- `device`, `channel`, `country` and `dwell_ms` are read where the event page names them: not of purchases and customs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
EPOCH, MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
COUNTED = {
    "view": "views",
    "click": "clicks",
    "search": "searches",
    "add_to_cart": "carts",
    "remove_from_cart": "removals",
    "wishlist": "wishlists",
}
ACTS = {*COUNTED, "purchase", "custom"}
LIKED = {"view", "click", "wishlist", "add_to_cart"}


@dataclass(frozen=True)
class OracleSettings:
    """The settings that profiles depend on; `shard_of` tells whose prices are compared with one another."""

    session_gap_ms: int = 30 * MINUTE
    lateness_ms: int = 10 * MINUTE
    half_life_ms: int = 14 * DAY
    timezone: str = "UTC"
    custom_names: tuple[str, ...] = ()
    context_names: tuple[str, ...] = ()
    cart_abandoned_ms: int = HOUR
    browsed_depth_min: int = 3
    lapsed_ms: int = 30 * DAY
    shard_of: Callable[[str], int] = lambda user: 0


@dataclass(frozen=True, slots=True)
class Line:
    """One item of an event: price in ten-thousandths, None where it is not known; pieces in thousandths."""

    item: str | None
    category: str | None
    brand: str | None
    price: int | None
    pieces: int

    @property
    def money(self) -> int:
        """Pieces times price, in ten-thousandths."""
        return round(Fraction(self.pieces * (self.price or 0), 1000))


@dataclass(slots=True)
class Event:
    """An event that was taken in; all but `type`, `ts` and `attributes` are of acts only."""

    type: str
    ts: int
    lines: tuple[Line, ...] = ()
    likings: tuple[Line, ...] = ()
    measures: dict[str, int] = field(default_factory=dict)
    """What it adds to the windows, by measure."""
    told: dict[str, str] = field(default_factory=dict)
    """Its device, channel, country and context, by dimension."""
    dwell_ms: Decimal | None = None
    hour: int = 0
    weekday: int = 0
    attributes: dict[str, str | float | bool] = field(default_factory=dict)

    @property
    def is_act(self) -> bool:
        return self.type in ACTS

    @property
    def is_order(self) -> bool:
        return self.type == "purchase" and any(line.pieces > 0 for line in self.lines)

    @property
    def is_cart_act(self) -> bool:
        return self.type in ("add_to_cart", "remove_from_cart")

    @property
    def bought_or_sent_back(self) -> tuple[Line, ...]:
        return self.lines if self.type == "purchase" else ()


@dataclass(slots=True)
class Facts:
    """What the catalogue knows of an item, and the time of the newest event that told of it."""

    ts: int
    told: dict[str, Any]


class Reader:
    """Reads records in order of arrival, and remembers what `item` events tell."""

    def __init__(self, settings: OracleSettings) -> None:
        self.settings, self.zone = settings, ZoneInfo(settings.timezone)
        self.items: dict[str, Facts] = {}

    def learn(self, event: dict[str, Any]) -> None:
        """Take an `item` event in: a newer one overrides what it tells, an older one only fills what is not known."""
        ts = read_ts(event)
        told = {name: event[name] for name in ("category", "price", "brand") if event.get(name) is not None}
        known = self.items.setdefault(str(event["item_id"]), Facts(ts, {}))
        if ts >= known.ts:
            known.ts, known.told = ts, known.told | told
        else:
            known.told = told | known.told

    def read(self, event: dict[str, Any]) -> Event:
        """The event of a shopper, with the facts of the catalogue as they stand now."""
        out = Event(event["type"], read_ts(event))
        if out.type == "profile":
            out.attributes = {n: _attribute(v) for n, v in (event.get("attributes") or {}).items() if v is not None}
        if not out.is_act:
            return out
        local = (EPOCH + out.ts * MILLISECOND).astimezone(self.zone)
        out.hour, out.weekday = local.hour, local.weekday()
        context = event.get("context") or {}
        out.told = {f"context_{n}": str(context[n]) for n in self.settings.context_names if context.get(n) is not None}
        if out.type == "purchase":
            out.lines = tuple(self._line(told, "unit_price") for told in event["lines"])
            out.likings = tuple(line for line in out.lines if line.pieces > 0)
            out.measures = {
                "purchases": int(out.is_order),
                "items_bought": sum(line.pieces for line in out.lines),
                "spend": sum(line.money for line in out.lines),
            }
        elif out.type == "custom":
            out.measures = {f"custom_{event['name']}": 1}
            if event.get("value") is not None:
                out.measures[f"custom_{event['name']}_value"] = whole(event["value"], 1000)
        else:
            out.lines = (self._line(event, "price"),)
            out.likings = out.lines if out.type in LIKED else ()
            out.measures = {COUNTED[out.type]: 1}
            out.told |= {n: str(event[n]) for n in ("device", "channel", "country") if event.get(n) is not None}
            told = event.get("dwell_ms")
            out.dwell_ms = None if told is None else Decimal(told).quantize(Decimal(1), ROUND_HALF_EVEN)
        return out

    def _line(self, told: dict[str, Any], price_name: str) -> Line:
        item = None if told.get("item_id") is None else str(told["item_id"])
        facts = self.items[item].told if item in self.items else {}
        category, price = (
            facts.get(name) if value is None else value
            for name, value in (("category", told.get("category")), ("price", told.get(price_name)))
        )
        quantity = 1 if told.get("quantity") is None else told["quantity"]
        return Line(
            item,
            None if category is None else str(category),
            None if facts.get("brand") is None else str(facts["brand"]),
            None if price is None else whole(price, 10_000),
            whole(quantity, 1000),
        )


def parse(record: bytes) -> dict[str, Any]:
    """A record as it stands, with its numbers exact."""
    event: dict[str, Any] = json.loads(record, parse_float=Decimal)
    return event


def read_ts(event: dict[str, Any]) -> int:
    """The event time in milliseconds."""
    if isinstance(event["ts"], str):
        return (datetime.fromisoformat(event["ts"].upper()) - EPOCH) // MILLISECOND
    return int(event["ts"])


def whole(number: Decimal | int, parts: int) -> int:
    """A number in so many parts of one, rounded half to even."""
    return int((Decimal(number) * parts).to_integral_value(ROUND_HALF_EVEN))


def _attribute(value: Any) -> str | float | bool:
    return value if isinstance(value, str | bool) else float(value)
