"""What is bought together, from the order on the wire to the list beside an item in Redis, with a restart between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
import running as tools

BEGIN_MS = 1_772_409_600_000
ODD = 'jam "extra" ü'
"""An item's name that JSON has to escape."""


def order(at: int, user: str, *items: str, quantity: int = 1) -> dict[str, Any]:
    lines = [{"item_id": name, "quantity": quantity, "unit_price": 5} for name in items]
    return {"type": "purchase", "ts": BEGIN_MS + at, "user_id": user, "order_id": f"o{at}", "lines": lines}


def share(weight: float, *others: float) -> float:
    """What is told of a weight among others: in a row that has seen little, shares are small (4 more)."""
    return round(weight / (weight + sum(others) + 4.0), 4)


@pytest.mark.parametrize("processes", [1, 2])
def test_beside_an_item_stands_what_else_was_in_its_orders(processes: int, tmp_path: Path, redis_url: str) -> None:
    """Not what was looked at, sent back, refused or told twice; and not what is not to be had."""

    def read(*events: dict[str, Any]) -> None:
        log = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        log.write_bytes(b"\n".join(map(orjson.dumps, events)))
        tools.replay(tmp_path, redis_url, log, processes=processes, name="kept")

    def together(name: str) -> dict[str, float] | None:
        with redis.Redis.from_url(redis_url) as client:
            value = client.get(f"coterie:together:{name}")
            assert value is None or client.ttl(f"coterie:together:{name}") > 80 * 86_400
            return None if value is None else dict(orjson.loads(value))

    read(
        order(0, "ann", "bread", "butter"),
        order(1, "bob", "bread", "butter", ODD),
        order(1, "bob", "bread", "butter", ODD),
        {"type": "view", "ts": BEGIN_MS + 2, "user_id": "ann", "item_id": "bread"},
        {"type": "view", "ts": BEGIN_MS + 3, "user_id": "ann", "item_id": "lamp"},
        order(4, "ann", "lamp"),
        order(5, "ann", "bread", "lamp", quantity=-1),
        {"type": "consent", "ts": BEGIN_MS + 6, "user_id": "cat", "granted": False},
        order(7, "cat", "bread", "chair"),
    )
    half = 2**-0.5
    assert together("bread") == {"butter": share(1 + half, half), ODD: share(half, 1 + half)}
    assert together("butter") == {"bread": share(1 + half, half), ODD: share(half, 1 + half)}
    assert together(ODD) == {"bread": share(half, half), "butter": share(half, half)}
    assert together("lamp") is None and together("chair") is None

    read(
        {"type": "item", "ts": BEGIN_MS + 10, "item_id": "butter", "available": False},
        order(11, "dan", "bread", "chair"),
    )
    assert together("bread") == {"chair": share(1, 1 + half, half), ODD: share(half, 1 + half, 1)}
    assert together("chair") == {"bread": share(1)}
    assert together("butter") == {"bread": share(1 + half, half), ODD: share(half, 1 + half)}, "itself is looked up yet"
