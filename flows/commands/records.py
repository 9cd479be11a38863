"""Show what Redis holds: a shopper's record, the segments, and the catalogue of features."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import redis
from rich.console import Console
from rich.table import Table

from flows.commands.explanations import explain_models, explain_rules
from flows.settings import Settings
from operators.catalogue import EMERGING
from state.features import MODEL_FEATURES, PATTERNS, SHARES, catalogue
from state.redis_keys import Keys

_JSON_FIELDS = ("why", "recs", "rules", "variants")
_NUMBERS: dict[str, type[int] | type[float]] = {
    "margin": float,
    "purchase_propensity": float,
    "churn_risk": float,
    "event_ts": int,
    "version": int,
    "model": int,
}
_PROPENSITIES = {"purchase": "purchase_propensity", "churn": "churn_risk"}
_SAME = 0.0002
"""Two figures that are no farther apart are the same, written with four decimals."""
_TRAITS_SHOWN = 3
_WIDTH = 140
"""Columns where standard output is no terminal."""


class NoRecordError(Exception):
    """There is nothing to show; the text says what was looked for, and where."""


def show_user(settings: Settings, user_id: str, as_json: bool) -> None:
    """Print a shopper's record and features. Raises NoRecordError for a shopper Redis does not know."""
    keys = Keys(settings.redis.prefix)
    with connect(settings) as client:
        record = read_record(client, keys.user(user_id))
        if not record:
            raise NoRecordError(f"no record of shopper {user_id!r} in Redis ({keys.user(user_id)})")
        card = read_card(client, keys, str(record.get("segment", "")))
        packed = _hash(client, keys.models)
    record["features"] = _features(settings, user_id)
    now = _features(settings, user_id, as_of_snapshot=True)
    if now is not None:
        record["explained"] = explain_rules(settings, now)
        record["models"] = explain_models(packed, now, str(record.get("segment", "")))
    if as_json:
        _print_json(record)
    else:
        _print_record(user_id, record, card)


def show_segments(settings: Settings, as_json: bool) -> None:
    """Print the segments, largest first, retired ones only as JSON. Raises NoRecordError before the first model."""
    keys = Keys(settings.redis.prefix)
    with connect(settings) as client:
        raw = _hash(client, keys.segments)
    emerging = _card(raw.pop(EMERGING.encode(), None))
    cards = [{"id": name.decode(errors="replace"), **_card(value)} for name, value in raw.items()]
    cards.sort(key=lambda card: (bool(card.get("retired_at")), -_number(card.get("size")), card["id"]))
    if as_json:
        _print_json(cards)
        return
    if not cards:
        raise NoRecordError(f"no segments in Redis yet ({keys.segments})")
    table = Table("segment", "name", "group", "shoppers", "share", "what sets it apart")
    for card in cards:
        if not card.get("retired_at"):
            share = f"{card['share']:.1%}" if isinstance(card.get("share"), float | int) else None
            row = (
                card["id"],
                card.get("name"),
                card.get("macro"),
                card.get("size"),
                share,
                _traits(card) or card.get("rule"),
            )
            table.add_row(*(_plain(cell) for cell in row))
    _console().print(table)
    if _number(emerging.get("share")) > 0.0:
        _console().print(_plain(f"fits no segment: {_number(emerging.get('share')):.1%} of the newest samples"))


def show_features(settings: Settings, as_json: bool) -> None:
    """Print the catalogue of features, with the points of the scores among the rules; the shares of hours, one for
    every two hours, as one line."""
    from operators.rules.read import read_rules

    declared = settings.events.custom_names, settings.events.context_names
    scores = read_rules(settings.segments, *declared).score_features()
    every = (*catalogue(*declared).values(), *PATTERNS, *scores)
    if as_json:
        names = ("name", "unit", "window", "meaning", "source")
        _print_json([{name: getattr(feature, name) for name in names} for feature in every])
        return
    table = Table("feature", "unit", "window", "meaning")
    shares = {feature.name for feature in SHARES}
    for feature in every:
        if feature.name not in shares:
            table.add_row(feature.name, feature.unit, feature.window or "-", feature.meaning)
    table.add_row(
        "hour_A_B_share", "share", "-", "share of all acts between A:00 and B:00, shop time; 0 <= A < B <= 24"
    )
    _console().print(table)


def connect(settings: Settings) -> redis.Redis:
    """A client of the configured Redis, whose answers are bytes."""
    timeout = settings.redis.timeout_seconds
    return redis.Redis.from_url(settings.redis.url, socket_timeout=timeout, socket_connect_timeout=timeout)


def read_record(client: redis.Redis, key: str | bytes) -> dict[str, Any]:
    """A user record with its fields decoded; empty where there is none."""
    return decode_record(_hash(client, key))


def read_card(client: redis.Redis, keys: Keys, segment: str) -> dict[str, Any]:
    """What the catalogue says of a segment; empty where there is none."""
    return _card(client.hget(keys.segments, segment))


def decode_record(raw: Mapping[bytes, bytes]) -> dict[str, Any]:
    """A user record's fields with their types; a field that is not what it should be stays text, a nan is None."""
    record: dict[str, Any] = {}
    for field, value in raw.items():
        name, text = field.decode(errors="replace"), value.decode(errors="replace")
        record[name] = text
        try:
            if name in _JSON_FIELDS:
                record[name] = orjson.loads(value)
            elif name in _NUMBERS:
                number = _NUMBERS[name](text)
                record[name] = number if math.isfinite(number) else None
        except ValueError:
            continue
    return record


def _features(settings: Settings, user_id: str, as_of_snapshot: bool = False) -> Mapping[str, object] | None:
    """A shopper's features from the newest snapshot; None where there is no snapshot, or not of this shopper."""
    if not settings.state.directory.is_dir():
        return None
    from flows.inspect import features_of  # it loads the tables' code: only where there are tables

    return features_of(settings, user_id, as_of_snapshot)


def _hash(client: redis.Redis, key: str | bytes) -> dict[bytes, bytes]:
    return {_bytes(name): _bytes(value) for name, value in client.hgetall(key).items()}


def _bytes(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _card(raw: object) -> dict[str, Any]:
    """A segment's card; empty where there is none or it cannot be read."""
    if not isinstance(raw, bytes):
        return {}
    try:
        card = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return card if isinstance(card, dict) else {}


def _traits(card: Mapping[str, Any]) -> str:
    parts = [f"{name} {_short(mean)} (all: {_short(overall)})" for name, mean, overall in _triples(card.get("traits"))]
    return ", ".join(parts[:_TRAITS_SHOWN])


def _triples(value: object) -> list[tuple[Any, Any, Any]]:
    """The rows of three of a decoded list; whatever else stands there is passed over."""
    rows = value if isinstance(value, list) else []
    return [(row[0], row[1], row[2]) for row in rows if isinstance(row, list) and len(row) == 3]


def _print_record(user_id: str, record: Mapping[str, Any], card: Mapping[str, Any]) -> None:
    console = _console()
    head = Table.grid(padding=(0, 2))
    segment = " ".join(filter(None, [str(record.get("segment") or "none yet"), card.get("name"), record.get("macro")]))
    variants = record.get("variants")
    lines = {
        "shopper": user_id,
        "segment": segment,
        "because": _traits(card),
        "margin": _short(record.get("margin")),
        "rules": ", ".join(map(str, record.get("rules") or [])),
        "purchase propensity": _short(record.get("purchase_propensity")),
        "churn risk": _short(record.get("churn_risk")),
        "experiments": ", ".join(f"{name}: {variant}" for name, variant in variants.items())
        if isinstance(variants, dict)
        else "",
        "newest event": _moment(record.get("event_ts")),
        "version": record.get("version"),
        "model": record.get("model"),
    }
    for name, value in lines.items():
        if value not in ("", None):
            head.add_row(name, _plain(value))
    console.print(head)
    recommendations = Table("show next", "score", "because of")
    for item, score, because in _triples(record.get("recs")):
        recommendations.add_row(_plain(item), _short(score), _plain(because))
    if recommendations.row_count:
        console.print(recommendations)
    if record.get("explained"):
        console.print(_explanations(record))
    if record.get("models"):
        console.print(_models(record))
    features = record.get("features")
    if features:
        table = Table("feature", "value")
        hidden = {feature.name for feature in SHARES} - set(MODEL_FEATURES)  # every two hours of a day: --json has them
        for name, value in ((name, value) for name, value in features.items() if name not in hidden):
            table.add_row(_plain(name), _short(value))
        console.print(table)
    else:
        sys.stderr.write("no features: the state directory holds no snapshot of this shopper (--state DIR)\n")


def _explanations(record: Mapping[str, Any]) -> Table:
    """The rules that the shopper is in, then those that one change would take them into."""
    table = Table("rule", "in", "why", "what would change it")
    members = record.get("rules") or []
    told = record["explained"]
    for name in sorted(told, key=lambda name: (name not in members, list(told).index(name))):
        one = told[name]
        if name not in members and not one["change"]:
            continue
        clauses = [c for c in one["clauses"] if c["holds"]] if one["met"] else one["clauses"]
        values = [f" ({_short(c['value'])})" if c["value"] is not None else "" for c in clauses]
        why = "; ".join(f"{c['clause']}{value}" for c, value in zip(clauses, values, strict=True))
        state = "no" if name not in members else "held" if one["met"] is False else "yes"
        table.add_row(_plain(name), state, _plain(why), _plain(one["change"]))
    return table


def _models(record: Mapping[str, Any]) -> Table:
    """What counts most for the discovered segment and the propensities, by the newest models and as of now; their
    figures where the record, which is written when they have moved enough, holds others."""
    table = Table("learned", "what counts most", "what would change it")
    for name, one in record["models"].items():
        figure, field = ("margin", "margin") if name == "segment" else ("propensity", _PROPENSITIES.get(name, ""))
        written = record.get(field)
        if isinstance(written, float) and abs(one[figure] - written) > _SAME:
            name = f"{name}, {figure} by now {one[figure]:.4f}"
        parts = one.get("pulls") or one.get("contributions") or []
        strongest = ", ".join(f"{feature} {part:+.3g}" for feature, part in parts)
        change = f"next is {one['next']}" if one.get("next") else one.get("change", "")
        if change is None:
            change = "none that acts could make"
        table.add_row(_plain(name), _plain(strongest), _plain(change))
    return table


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "-"
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else _plain(value)


def _plain(value: object) -> str:
    """A text that cannot steer a terminal: ids come from whoever sends events."""
    text = "-" if value is None else str(value)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _moment(ts: object) -> str:
    """Epoch ms as a time of day, UTC."""
    try:
        return datetime.fromtimestamp(float(str(ts)) / 1000, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""


def _console() -> Console:
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else _WIDTH)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
