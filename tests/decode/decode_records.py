"""Random records for the tests of decoding: most of them right, many nearly right, some broken at random bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

from operators.decode import Limits
from state.batches import EVENT, RawBatch

NOW_MS = 1_790_000_000_000
LIMITS = Limits(custom_names=frozenset({"review", "é-mail"}), context_names=frozenset({"campaign", "язык"}))

TEXTS = (
    *("a", "u1", "item-42", "Größe", "日本語", "🛒", "", "x" * 127, "x" * 128, "x" * 129, "é" * 64, "é" * 65, "\x7f"),
    *('say "hi"', "back\\slash", "tab\t", "\u2028", "0", "-1", "view", "lines", "\x00", "null"),
)
NUMBERS = (
    *(
        "0",
        "1",
        "2",
        "-0",
        "-0.0",
        "0.0",
        "-1",
        "-2.5",
        "7.5",
        "12.34",
        "0.00005",
        "0.00015",
        "0.00025",
        "0.000050000001",
    ),
    *(
        "99.99995",
        "99.99985",
        "1e2",
        "1E-2",
        "1.5e+1",
        "1000000",
        "1000000.5",
        "1000001",
        "1000000000",
        "1000000000.0001",
    ),
    *("0.5", "1.5", "2.5", "3.50000001", "2.49999999", "999999999999999", "1000000000000000", "9999999999999999"),
    *("0.1234567890123456", "123456789.123456", "0.30000000000000004", "1e400"),
    *(
        "-1e400",
        "1e-400",
        "1" * 40,
        "1e99999999999999999999",
        "00",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "NaN",
        "Infinity",
    ),
)
INSTANTS = (
    *("2026-09-21T13:46:40Z", "2026-09-21T13:46:40.5Z", "2026-09-21T13:46:40.123456Z", "2026-09-21T13:46:40.1234567Z"),
    *("2026-09-21T15:46:40+02:00", "2026-09-21T09:16:40.999999-04:30", "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z"),
    *("2000-02-29T12:00:00Z", "1999-12-31T23:59:59.999Z", "1990-01-01T00:00:00Z", "1989-12-31T23:59:59Z"),
    *("1990-01-01T00:00:00+00:01", "2026-09-21T13:46:40", "2026-09-21t13:46:40z", "2026-09-21 13:46:40Z", "2026-09-21"),
    *(
        "2026-13-21T13:46:40Z",
        "2026-00-21T13:46:40Z",
        "2026-09-31T13:46:40Z",
        "2026-09-21T24:46:40Z",
        "20260921T134640Z",
    ),
    *("2026-09-21T13:46:60Z", "2026-09-21T13:46:40.Z", "2026-09-21T13:46:40+24:00", "2026-09-21T13:46:40+0200", "soon"),
    *("2026-09-21T13:46:40+02:60", "2026-09-00T13:46:40Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+10:00", ""),
)

IDS = ("user_id", "item_id", "event_id", "category", "session_id", "order_id", "experiment", "variant", "anonymous_id")
AMOUNTS = ("price", "quantity", "unit_price", "value", "dwell_ms")
REST = ("device", "channel", "country", "query", "currency", "brand", "title", "request_id", "purposes", "unknown")


class Raw(str):
    """JSON text to be written as it is."""


def written(value: Any, rng: random.Random) -> str:
    """JSON of a value, with blanks, escapes and repeated keys now and then."""
    blank = rng.choice(("", "", "", "", " ", "\n", "\t\r "))
    if isinstance(value, Raw):
        return f"{blank}{value}{blank}"
    if isinstance(value, dict):
        pairs = [f"{written(k, rng)}:{written(v, rng)}" for k, v in value.items()]
        if pairs and rng.random() < 0.01:
            pairs.append(rng.choice(pairs))
        return f"{blank}{{{','.join(pairs)}{blank}}}{blank}"
    if isinstance(value, list):
        return f"{blank}[{','.join(written(v, rng) for v in value)}{blank}]{blank}"
    return f"{blank}{json.dumps(value, ensure_ascii=rng.random() < 0.05)}{blank}"


def _id(rng: random.Random, odd: float) -> Any:
    if rng.random() < odd:
        return rng.choice([*TEXTS, Raw(rng.choice(NUMBERS)), None, True, [], {}])
    return rng.choice([f"u{rng.randrange(50)}", f"Größe-{rng.randrange(9)}", rng.randrange(10**6)])


def _number(rng: random.Random, odd: float) -> Any:
    if rng.random() < odd:
        return rng.choice([Raw(rng.choice(NUMBERS)), None, False, "1.5", []])
    return Raw(
        str(Decimal(rng.randrange(1, 10 ** rng.randrange(1, 10))).scaleb(-rng.randrange(0, 9))).replace("E", "e")
    )


def _ts(rng: random.Random, odd: float) -> Any:
    if rng.random() < odd:
        odds = (
            0,
            -1,
            NOW_MS // 1000,
            NOW_MS * 1000,
            NOW_MS + 700_000,
            NOW_MS + 600_000,
            631_152_000_000,
            631_151_999_999,
        )
        return rng.choice([*odds, *INSTANTS, Raw(rng.choice(NUMBERS)), None, True])
    return rng.choice([NOW_MS - rng.randrange(10**10), rng.choice(INSTANTS[:7])])


def _context(rng: random.Random, odd: float) -> Any:
    names = ["campaign", "язык", "weather", "app version", "esc\taped"][: 4 + (rng.random() < odd)]
    if rng.random() < odd:
        return rng.choice([None, {}, [], "x", 5, {"campaign": 5}, {"weather": None}, {"campaign": {"a": "b"}}])
    return {name: _text(rng, odd) for name in rng.sample(names, rng.randrange(len(names)))}


def _text(rng: random.Random, odd: float) -> str:
    return rng.choice(TEXTS) if rng.random() < odd else rng.choice(["", "v0", "v1", f"größe {rng.randrange(400)}"])


def _attributes(rng: random.Random, odd: float) -> Any:
    names = ["age", "größe", "vip", "x" * 128, *([rng.choice(TEXTS)] if rng.random() < odd else [])]
    if rng.random() < odd:
        return rng.choice([{"a": None}, {"a": []}, [], None, {f"a{k}": k for k in range(rng.choice([64, 65]))}])
    return {
        name: rng.choice([_text(rng, odd), _number(rng, odd), True, False])
        for name in rng.sample(names, rng.randrange(len(names)))
    }


def _lines(rng: random.Random, odd: float) -> Any:
    if rng.random() < odd:
        return rng.choice([None, [], {}, "x", [5], [{}], [[]], [{"item_id": "a", "quantity": 1}]])
    lines = []
    for _ in range(rng.randrange(1, 4)):
        line = {"item_id": _id(rng, odd), "quantity": _number(rng, odd), "unit_price": _number(rng, odd)}
        if rng.random() < 0.5:
            line["category"] = _id(rng, odd)
        if rng.random() < odd:
            line[rng.choice([*REST, "lines", "context"])] = rng.choice([1, "x", [], {}])
        lines.append(line)
    return lines


def fields(rng: random.Random, odd: float) -> dict[str, Any]:
    """The fields of a random event of a random type; `odd` is the share of values that are out of the ordinary."""
    makers: dict[str, Callable[[], Any]] = {
        **{name: lambda: _id(rng, odd) for name in IDS},
        **{name: lambda: _number(rng, odd) for name in AMOUNTS},
        **{
            name: lambda: rng.choice([_text(rng, odd), None] if rng.random() > odd else [1, [], "\\", {}])
            for name in REST
        },
        "ts": lambda: _ts(rng, odd),
        "name": lambda: rng.choice(["review", "é-mail"] if rng.random() > odd else ["share", None, 5, ""]),
        "item_ids": lambda: [_id(rng, odd) for _ in range(rng.randrange(9))] if rng.random() > odd else 5,
        "lines": lambda: _lines(rng, odd),
        "context": lambda: _context(rng, odd),
        "granted": lambda: rng.choice([True, False] if rng.random() > odd else [1, None, "yes"]),
        "available": lambda: rng.choice([True, False, None] if rng.random() > odd else [0, "no", []]),
        "attributes": lambda: _attributes(rng, odd),
    }
    some = ("category", "price", "quantity", "session_id", "device", "channel", "country", "dwell_ms")
    acts = {"item_id": 1.0, **dict.fromkeys(some, 0.4)}
    shapes: dict[str, dict[str, float]] = {
        **dict.fromkeys(("view", "click", "add_to_cart", "remove_from_cart", "wishlist"), acts),
        "search": {**acts, "item_id": 0.3, "query": 0.8},
        "purchase": {"order_id": 1, "lines": 1, "currency": 0.5},
        "custom": {"name": 1, "value": 0.5, "item_id": 0.5, "session_id": 0.3},
        "impression": {"experiment": 1, "variant": 1, "item_ids": 0.5},
        "consent": {"granted": 1, "purposes": 0.1},
        "erase": {"request_id": 0.5},
        "identify": {"anonymous_id": 1},
        "profile": {"attributes": 1},
        "item": {"item_id": 1, "category": 0.5, "price": 0.5, "brand": 0.3, "available": 0.5},
    }
    kind = rng.choice(list(shapes))
    shares = {"ts": 1.0, "user_id": 0.0 if kind == "item" else 1.0, "event_id": 0.6, "context": 0.3, **shapes[kind]}
    event: dict[str, Any] = {"type": kind if rng.random() > odd / 10 else rng.choice(["vieW", "", 5, None, "buy"])}
    for name, share in shares.items():
        if rng.random() < share and rng.random() > odd / 10:
            event[name] = makers[name]()
    for name in rng.sample(sorted(makers), rng.randrange(2)):
        event.setdefault(name, makers[name]())
    names = list(event)
    rng.shuffle(names)
    return {name: event[name] for name in names}


def record(rng: random.Random, odd: float = 0.05, broken: float = 0.2) -> bytes:
    """A random record; the share `broken` of them has a few bytes changed, doubled or cut."""
    data = bytearray(written(fields(rng, odd), rng).encode())
    if rng.random() < broken:
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data)) if data else 0
            change = rng.randrange(4)
            if change == 0 and data:
                data[at] = rng.choice([rng.randrange(256), *b'"\\{}[],:0-.eE '])
            elif change == 1:
                data[at:at] = rng.choice(
                    [bytes([rng.randrange(256)]), *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\xe2\x82")]
                )
            elif change == 2:
                del data[at : at + rng.randrange(1, 6)]
            else:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
    return bytes(data)


def batch(records: list[bytes], source: str = "clicks", gap: bytes = b"\n", **more: Any) -> RawBatch:
    """A raw batch of records, with something between them that belongs to none; `more` fields of it."""
    lengths = np.array([len(r) for r in records], np.int64)
    ends = np.cumsum(lengths + len(gap)) - len(gap)
    buffer = np.frombuffer(gap.join(records) + gap, np.uint8)
    return RawBatch(buffer, ends - lengths, ends, np.arange(len(records)) * 2 + 1000, source, 3, 1.79e9, **more)


def same_rows(left: np.ndarray, left_buffer: np.ndarray, right: np.ndarray, right_buffer: np.ndarray) -> None:
    """Assert that EVENT rows are the same byte for byte, and that their ids, wherever they stand, are too."""
    assert len(left) == len(right)
    for name in EVENT.names or ():
        if name != "user_at":
            assert left[name].tobytes() == right[name].tobytes(), name
    assert ids(left, left_buffer) == ids(right, right_buffer)


def ids(rows: np.ndarray, buffer: np.ndarray) -> list[bytes]:
    """The bytes of each row's shopper's id."""
    return [
        buffer[at : at + n].tobytes() for at, n in zip(rows["user_at"].tolist(), rows["user_len"].tolist(), strict=True)
    ]
