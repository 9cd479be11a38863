"""What a worker tells while nothing comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
import running as tools

NOON_MS = 1_772_452_800_000
MINUTE = 60_000


def test_a_cart_is_told_to_be_abandoned_though_no_event_comes(
    redis_url: str,
    kafka_topic: Callable[..., str],
    worker: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The newest event is a second short of the hour: the clock goes on while the topic is silent, and the trigger is
    told with the time it follows from. The other shopper's cart is not old enough, and is not told."""
    monkeypatch.setenv("COTERIE_SHOP__LATENESS_MINUTES", "0")
    topic = kafka_topic(2)
    running = worker([topic])
    running.start()
    log = running.folder / "carts.jsonl"
    acts = [("left", NOON_MS), ("stays", NOON_MS + 59 * MINUTE), ("stays", NOON_MS + 60 * MINUTE - 1000)]
    lines = [{"type": "add_to_cart", "ts": ts, "user_id": user, "item_id": "i", "event_id": ts} for user, ts in acts]
    log.write_bytes(b"\n".join(map(orjson.dumps, lines)) + b"\n")
    running.load(log, topic)
    tools.wait_for(lambda: bool(tools.triggers(redis_url)), "the trigger")
    assert running.stop() == 0
    told = {(user, name, at) for user, name, at, _ in tools.triggers(redis_url)}
    assert told == {("left", "cart_abandoned", NOON_MS + 60 * MINUTE)}
