"""Every feature of the catalogue, of one shopper, in plain Python: what `coterie show` prints and the tests compare."""

from __future__ import annotations

from typing import Any

import numpy as np

from state.batches import MONEY_UNIT
from state.features import CATALOGUE, HOURS, MEASURES
from state.names import Names
from state.profile_table import COUNTED, DAYS, MINUTES, PIECE_UNIT, TILE_MS, TILES
from state.profile_table import HOURS as HOURS_RING

_WINDOW_TILES = {"1h": (MINUTES, 12), "24h": (HOURS_RING, 24), "7d": (DAYS, 7), "30d": (DAYS, 30)}
_RINGS = {MINUTES: "minutes", HOURS_RING: "hours", DAYS: "days"}
_COUNT_COLUMN = {MINUTES: "minutes", HOURS_RING: "hours_counts", DAYS: "days"}


def window(row: Any, measure: str, span: str, now_ms: int) -> int:
    """A measure's sum over a window ("1h", "24h", "7d", "30d") as of `now_ms`, in the units the row keeps it in."""
    ring, tiles = _WINDOW_TILES[span]
    if measure in COUNTED:
        values = row[_COUNT_COLUMN[ring]][COUNTED.index(measure)]
    else:
        values = row[f"{'items' if measure == 'items_bought' else 'spend'}_{_RINGS[ring]}"]
    head, n, now = int(row["heads"][ring]), TILES[ring], now_ms // TILE_MS[ring]
    return sum(int(values[t % n]) for t in range(max(now - tiles, head - n) + 1, min(now, head) + 1))


def features(row: Any, names: Names, as_of_ms: int | None = None) -> dict[str, float | int | str | None]:
    """All features of a shopper's row (a PROFILE_ROW record) as of a time (default: their newest event)."""
    now = int(row["last_ts"]) if as_of_ms is None else as_of_ms
    unit = {"spend": MONEY_UNIT, "items_bought": PIECE_UNIT}
    out: dict[str, float | int | str | None] = {}
    for measure in MEASURES:
        for span in _WINDOW_TILES:
            total = window(row, measure, span, now)
            out[f"{measure}_{span}"] = total / unit[measure] if measure in unit else total
    orders, spend, events = int(row["orders"]), int(row["spend"]), int(row["events"])
    day, head = now // TILE_MS[DAYS], int(row["heads"][DAYS])
    acts = row["days"][COUNTED.index("acts")]
    active = range(max(day - TILES[DAYS], head - TILES[DAYS]) + 1, min(day, head) + 1)
    weights = row["category_weights"]
    favourite = int(np.argmax(weights))
    last_purchase = int(row["last_purchase_ts"])
    out |= {
        "events_total": events,
        "purchases_total": orders,
        "items_bought_total": int(row["items_bought"]) / PIECE_UNIT,
        "spend_total": spend / MONEY_UNIT,
        "returns_total": int(row["returns"]),
        "average_order_value": spend / MONEY_UNIT / orders if orders else 0.0,
        "recency_days": (now - last_purchase) / TILE_MS[DAYS] if last_purchase else -1.0,
        "days_known": (int(row["last_ts"]) - int(row["first_ts"])) / TILE_MS[DAYS],
        "active_days_30d": sum(bool(acts[t % TILES[DAYS]]) for t in active),
        "sessions_total": int(row["sessions"]),
        "session_events": int(row["session_events"]),
        "session_minutes": max(int(row["last_ts"]) - int(row["session_start_ts"]), 0) / 60_000,
        "mean_price_viewed": float(row["price_mean"]),
        "category_focus": float(weights[favourite] / row["category_total"]) if row["category_total"] > 0 else 0.0,
        "favourite_category": names.text(int(row["categories"][favourite])) if weights[favourite] > 0 else None,
    }
    histogram = row["hours"].astype(np.int64)
    total = int(histogram.sum())
    for a in HOURS:
        for b in range(a + 1, 25):
            out[f"hour_{a}_{b}_share"] = int(histogram[a:b].sum()) / total if total else 0.0
    return {name: out[name] for name in CATALOGUE}
