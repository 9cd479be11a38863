"""Who looks at a thing that nothing stands beside: what the record says then, through the whole worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
import running as tools
from shop_logs import SETTINGS, write_shop_log

from operators.generate import ShopPlan

PLAN = ShopPlan(seed=3, shoppers=600, items=300, categories=8, days=6, events=12_000)


def test_a_thing_without_neighbours_is_followed_by_what_is_popular_around_it(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its category, in the shopper's segment and in the shop; the report counts each."""
    chosen = {"RECOMMEND__LADDER": "category,segment,popular", "RECOMMEND__POPULAR_EVERY_BATCHES": "1"}
    chosen |= {"WORKER__BATCH_RECORDS_MAX": "128", "WORKER__IN_FLIGHT_MAX": "512"}  # so that there are many batches
    for name, value in {**SETTINGS, **{f"COTERIE_{name}": value for name, value in chosen.items()}}.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "shop.jsonl"
    write_shop_log(PLAN, log)
    events = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    category_of = {event["item_id"]: event["category"] for event in events if event["type"] == "item"}
    category = next(iter(category_of.values()))
    last = max(event["ts"] for event in events if isinstance(event["ts"], int))
    new = {"type": "view", "ts": last, "user_id": "zoe", "item_id": "a-thing-of-its-own", "category": category}
    with log.open("ab") as file:
        file.write(orjson.dumps(new, option=orjson.OPT_APPEND_NEWLINE))
    _, report = tools.replay(tmp_path, redis_url, log)
    recs = orjson.loads(tools.records(redis_url)["coterie:user:zoe"]["recs"])
    reasons = {because.partition(":")[0] for _, _, because in recs}
    assert len(recs) == 20 and reasons == {"category", "segment", "popular"}
    for item, _, because in recs:
        if because.startswith("category:"):
            assert because == f"category:{category}" and category_of[item] == category
    segments = {because for _, _, because in recs if because.startswith("segment:")}
    assert len(segments) == 1 and segments.pop().removeprefix("segment:s").isdigit()
    listed = report["quality"]["rungs"]
    assert listed["category"]["listed"] > listed["segment"]["listed"] > 0


MONDAY_MS = 1_772_406_000_000
"""Midnight in Berlin, 2 March 2026."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CROWDS = {"breakfast": (7 * HOUR, "phone"), "game": (19 * HOUR, "phone"), "sofa": (19 * HOUR, "desktop")}
"""What is looked at, and when, on which device."""


def test_mornings_and_evenings_phones_and_desktops_are_filled_up_by_what_is_looked_at_there(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the shop's clock. Who tells no device is taken to be at the one they told before."""
    chosen = {"RECOMMEND__LADDER": "context,popular", "RECOMMEND__LADDER_MEASURED": "false"}
    chosen |= {"SHOP__TIMEZONE": "Europe/Berlin", "WORKER__BATCH_RECORDS_MAX": "16", "WORKER__IN_FLIGHT_MAX": "64"}
    for name, value in chosen.items():
        monkeypatch.setenv(f"COTERIE_{name}", value)
    evening = 2 * DAY + 19 * HOUR
    events = [
        view(day * DAY + time + n * MINUTE, f"{kind}-{day}-{n}", f"{kind}-{n % 22}", device=device)
        for day in range(2)
        for kind, (time, device) in CROWDS.items()
        for n in range(66)
    ]
    events += [
        view(DAY + 20 * HOUR + 30 * MINUTE, "xan", "game-0", device="phone"),
        view(2 * DAY + 7 * HOUR, "ann", "thing", device="phone"),
        *(view(evening, user, "thing", device=device) for user, device in (("yan", "phone"), ("zoe", "desktop"))),
        view(evening, "xan", "thing"),
    ]
    log = tmp_path / "shop.jsonl"
    lines = (orjson.dumps(e, option=orjson.OPT_APPEND_NEWLINE) for e in sorted(events, key=lambda e: int(e["ts"])))
    log.write_bytes(b"".join(lines))
    _, report = tools.replay(tmp_path, redis_url, log)
    records = tools.records(redis_url)
    for user, kind, reason in (
        ("ann", "breakfast", "context:06-09/phone"),
        ("yan", "game", "context:18-21/phone"),
        ("zoe", "sofa", "context:18-21/desktop"),
        ("xan", "game", "context:18-21/phone"),
    ):
        recs = orjson.loads(records[f"coterie:user:{user}"]["recs"])
        filled = [(item.partition("-")[0], because) for item, _, because in recs if because != "game-0"]
        assert len(recs) == 20 and filled == [(kind, reason)] * (19 if user == "xan" else 20)
    assert report["quality"]["rungs"]["context"]["listed"] >= 79


def view(at: int, user: str, item: str, **told: str) -> dict[str, Any]:
    return {"type": "view", "ts": MONDAY_MS + at, "user_id": user, "item_id": item, **told}
