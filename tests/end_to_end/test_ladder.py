"""Who looks at a thing that nobody looked at before: what the record says then, through the whole worker."""

from __future__ import annotations

from pathlib import Path

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
