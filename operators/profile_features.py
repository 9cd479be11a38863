"""Every feature of one shopper, in plain Python: what `coterie show` prints and the tests compare."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from operators.kernels.carts import load, play
from operators.kernels.profile_parts import order_gaps
from operators.kernels.slabs import cells_of, slab_of
from operators.kernels.tastes import GUARD_BITS, LOG_UNIT, median_price, told_tag
from operators.kernels.windows import CUSTOM_TAG, LENGTHS, SIZES_MS, TILE_MS, custom_tag
from operators.profile_settings import ProfileSettings
from state.batches import MONEY_UNIT
from state.features import HOURS, MEASURES, WEEKDAYS, WINDOWS, custom_features
from state.hashing import hash_text
from state.names import Names
from state.profile_table import (
    BRAND,
    CART,
    CART_ACTS,
    CATEGORY,
    MEASURE_TAGS,
    PIECE_UNIT,
    PRICE_LOG,
    RECENCIES,
    UNPRICED,
    VALUES_KEPT,
)
from state.table import Table

DAY_MS = 86_400_000
Value = float | int | str | list[str] | None
Cells = dict[tuple[int, int], int]
Tastes = dict[int, dict[int, int]]
"""Weights by tag and number of the value."""

_UNIT = {"items_bought": PIECE_UNIT, "spend": MONEY_UNIT}
_HOUR_SHARES = tuple((f"hour_{a}_{b}_share", a, b) for a in HOURS for b in range(a + 1, 25))


def features(
    tables: Mapping[str, Table], r: int, names: Names, settings: ProfileSettings, as_of_ms: int | None = None
) -> dict[str, Value]:
    """All features of the shopper of row `r` of a profile step's tables, as of a time (default: their newest event)."""
    row, session = tables["profiles"].rows[r], tables["sessions"].rows[r]
    now = int(row["event_ts"]) if as_of_ms is None else as_of_ms
    cells = cells_of(tables["cells"].rows, int(row["cells"]))
    tastes: Tastes = {}
    for (tag, key), amount in cells_of(tables["cells"].rows, int(row["tastes"])).items():
        tastes.setdefault(tag, {})[key] = amount
    return {
        **_windows(cells, settings, now),
        **_lifetime(row, now),
        **_clock(row),
        **_session(session, names, settings.session_gap_ms, now),
        **_taste(row, tastes, tables, names),
        **_circumstances(tastes, tables, names, settings),
        **_cart(tables, row, now),
        **_attributes(tables, row, names),
    }


def _windows(cells: Cells, settings: ProfileSettings, now: int) -> dict[str, Value]:
    out: dict[str, Value] = {}
    sums: dict[int, list[int]] = {}
    for (tag, key), amount in cells.items():
        of_tag = sums.setdefault(tag, [0] * len(WINDOWS))
        for w, (size, n) in enumerate(zip(SIZES_MS, LENGTHS, strict=True)):
            if key * TILE_MS // size > now // size - n:
                of_tag[w] += amount
    for tag, measure in enumerate(MEASURES, start=1):
        for w, span in enumerate(WINDOWS):
            total = sums.get(tag, [0] * len(WINDOWS))[w]
            out[f"{measure}_{span}"] = total / _UNIT[measure] if measure in _UNIT else total
    for name in settings.custom_names:
        count, value = (sums.get(int(custom_tag(np.uint64(hash_text(name)), k)), [0] * len(WINDOWS)) for k in (0, 1))
        for w, (of_count, of_value) in enumerate(custom_features(name)):
            out[of_count.name], out[of_value.name] = count[w], value[w] / PIECE_UNIT
    days = {key * TILE_MS // DAY_MS for tag, key in cells if tag < MEASURE_TAGS or tag & CUSTOM_TAG}
    out["active_days_30d"] = sum(day > now // DAY_MS - 30 for day in days)
    return out


def _lifetime(row: Any, now: int) -> dict[str, Value]:
    orders, spend, gross, returned = (int(row[name]) for name in ("orders", "spend", "gross", "returned"))
    mean, spread = order_gaps(row)
    newest = dict(zip(RECENCIES, row["newest"].tolist(), strict=True))
    since = {measure: (now - ts) / DAY_MS if ts else -1.0 for measure, ts in newest.items()}
    return {
        "events_total": int(row["events"]),
        "purchases_total": orders,
        "items_bought_total": int(row["items_bought"]) / PIECE_UNIT,
        "spend_total": spend / MONEY_UNIT,
        "returns_total": int(row["returns"]),
        "returned_spend_total": returned / MONEY_UNIT,
        "returned_share": returned / gross if gross else 0.0,
        "average_order_value": spend / MONEY_UNIT / orders if orders else 0.0,
        "order_gap_days_mean": mean,
        "order_gap_days_spread": spread,
        "recency_days": since.pop("purchases"),
        **{f"{measure}_recency_days": days for measure, days in since.items()},
        "days_known": (int(row["event_ts"]) - int(row["first_ts"])) / DAY_MS,
    }


def _clock(row: Any) -> dict[str, Value]:
    hours, weekdays = row["hours"].astype(np.int64), row["weekdays"].astype(np.int64)
    total, days = int(hours.sum()), int(weekdays.sum())
    upto = np.concatenate([[0], np.cumsum(hours)]).tolist()
    out: dict[str, Value] = {name: (upto[b] - upto[a]) / (total or 1) for name, a, b in _HOUR_SHARES}
    for name, n in zip(WEEKDAYS, weekdays.tolist(), strict=True):
        out[f"weekday_{name}_share"] = n / days if days else 0.0
    return out


def _session(s: Any, names: Names, gap_ms: int, now: int) -> dict[str, Value]:
    alive = bool(s["open"]) and now <= int(s["end"][0]) + gap_ms
    events, depth, dwells, carts, orders = (
        int(s[name][0]) if alive else 0 for name in ("events", "depth", "dwells", "carts", "orders")
    )
    start = int(s["start"][0])
    recent = zip(s["recent"].tolist(), s["recent_ts"].tolist(), strict=True)
    return {
        "sessions_total": int(s["closed"]) + int(s["open"]),
        "session_events": events,
        "session_minutes": (int(s["end"][0]) - start) / 60_000 if alive else 0.0,
        "session_depth": depth,
        "session_dwell_seconds": int(s["dwell_ms"][0]) / dwells / 1000 if dwells else 0.0,
        "session_carts": carts,
        "session_purchases": orders,
        "session_sequence": [str(names.text(item)) for item, ts in recent if alive and item and ts >= start],
    }


def _kept(tastes: Tastes, tag: int, tables: Mapping[str, Table]) -> dict[int, int]:
    """Weights of one kind by the hash of the value, heaviest first."""
    hashes = tables["values"].rows["hash"]
    kept = {int(hashes[key]): amount for key, amount in tastes.get(tag, {}).items()}
    return dict(sorted(kept.items(), key=lambda kv: (-kv[1], kv[0])))


def _favourite(kept: dict[int, int], names: Names, name: str) -> dict[str, Value]:
    total = sum(kept.values())
    first = next(iter(kept), None)
    return {
        f"favourite_{name}": None if first is None else names.text(first),
        f"{name}_focus": kept[first] / total if first is not None and total else 0.0,
    }


def _taste(row: Any, tastes: Tastes, tables: Mapping[str, Table], names: Names) -> dict[str, Value]:
    priced = int(row["price_weight"])
    values, prices = tables["values"].rows, tables["prices"].rows
    logs, liked, unpriced = (tastes.get(tag, {}) for tag in (PRICE_LOG, CATEGORY, UNPRICED))
    weights = {key: liked[key] - unpriced.get(key, 0) for key in logs}
    weight = sum(weights.values())
    median = {key: median_price(prices["counts"][int(values["prices"][key]) - 1]) for key in weights}
    # The sum must not depend on the order in which the cells happen to lie.
    level = math.fsum([sum(logs.values()) / LOG_UNIT, *(-weights[key] * median[key] for key in weights)])
    return {
        "mean_price_viewed": int(row["price_sum"]) / priced / 100 if priced else 0.0,
        "price_level": math.exp2(level / weight) if weight >= 1 << GUARD_BITS else 1.0,
        **_favourite(_kept(tastes, CATEGORY, tables), names, "category"),
        **_favourite(_kept(tastes, BRAND, tables), names, "brand"),
    }


def _circumstances(
    tastes: Tastes, tables: Mapping[str, Table], names: Names, settings: ProfileSettings
) -> dict[str, Value]:
    out: dict[str, Value] = {}
    for name in settings.dimensions:
        kept = _kept(tastes, int(told_tag(np.uint64(hash_text(name)))), tables)
        out |= _favourite(kept, names, name)
        total = sum(kept.values())
        for value, weight in list(kept.items())[:VALUES_KEPT]:
            out[f"{name}_{names.text(value)}_share"] = weight / total
    return out


def _cart(tables: Mapping[str, Table], row: Any, now: int) -> dict[str, Value]:
    pieces = lines = value = since = 0
    if row["cart"]:
        cart = np.zeros(1, CART)[0]
        load(slab_of(tables["carts"]), row["cart"], cart)
        pieces, lines, value, since = play(cart, np.zeros(CART_ACTS, np.int64))
    return {
        "cart_items": int(pieces) / PIECE_UNIT,
        "cart_lines": int(lines),
        "cart_value": int(value) / MONEY_UNIT,
        "cart_minutes": (now - int(since)) / 60_000 if since else 0.0,
    }


def _attributes(tables: Mapping[str, Table], row: Any, names: Names) -> dict[str, Value]:
    if not row["attributes"]:
        return {}
    told = tables["attributes"].rows[row["attributes"] - 1]
    out: dict[str, Value] = {}
    for k in range(int(told["count"])):
        value: Value
        if told["types"][k] == 0:
            value = names.text(int(told["values"][k])) if told["values"][k] else ""
        else:
            number = float(told["values"][k : k + 1].view(np.float64)[0])
            value = bool(number) if told["types"][k] == 2 else number
        out[f"attribute_{names.text(int(told['names'][k]))}"] = value
    return out
