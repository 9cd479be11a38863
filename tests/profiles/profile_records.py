"""Records as they stand in a log, and what the oracle makes of them."""

from __future__ import annotations

import json
from typing import Any

from profile_oracle import Oracle, OracleSettings

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
MONDAY = 1_772_409_600_000  # 2 March 2026, 00:00 UTC: a tile of every size begins
HALF_LIFE = 14 * DAY


def line(type_: str, ts: int | str, user: str | int = "ann", **fields: Any) -> bytes:
    """A record as it stands in a log."""
    return json.dumps({"type": type_, "ts": ts, "user_id": user, **fields}).encode()


def view(ts: int, item: str | int = "a", user: str = "ann", **fields: Any) -> bytes:
    """A view of an item."""
    return line("view", ts, user, item_id=item, **fields)


def order(ts: int, *lines: tuple[str, float, float], **fields: Any) -> bytes:
    """A purchase of (item, quantity, unit price) lines."""
    told = [{"item_id": i, "quantity": q, "unit_price": p} for i, q, p in lines or [("a", 1, 1)]]
    return line("purchase", ts, order_id="o", lines=told, **fields)


def cart(ts: int, item: str, quantity: float | None = None, price: float | None = None, **fields: Any) -> bytes:
    """A cart act: something put in, or taken out where the quantity is negative."""
    type_ = "remove_from_cart" if (quantity or 1) < 0 else "add_to_cart"
    told = {"quantity": abs(quantity)} if quantity else {}
    return line(type_, ts, item_id=item, **told, **({} if price is None else {"price": price}), **fields)


def item(ts: int, item_id: str = "a", **told: Any) -> bytes:
    """What the shop tells of an item."""
    return json.dumps({"type": "item", "ts": ts, "item_id": item_id, **told}).encode()


def oracle_of(*records: bytes, **settings: Any) -> Oracle:
    """An oracle that has taken some records in."""
    oracle = Oracle(OracleSettings(**settings))
    for record in records:
        oracle.take(record)
    return oracle


def features_of(*records: bytes, now: int | None = None, **settings: Any) -> dict[str, Any]:
    """Ann's features after some records."""
    return oracle_of(*records, **settings).features("ann", now)


def windows(found: dict[str, Any], measure: str) -> list[float]:
    """A measure over 1 h, 24 h, 7 d and 30 d."""
    return [found[f"{measure}_{span}"] for span in ("1h", "24h", "7d", "30d")]


def fired(watermark: int, *records: bytes, **settings: Any) -> set[tuple[str, int]]:
    """Ann's triggers by a watermark, as (name, time since Monday)."""
    return {(name, at - MONDAY) for _, name, at in oracle_of(*records, **settings).triggers(watermark)}
