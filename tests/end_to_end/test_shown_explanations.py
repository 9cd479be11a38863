"""What `coterie show` explains is what the record in Redis holds."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
import redis
from running import records, replay

from flows.commands.explanations import explain_models
from flows.commands.records import show_user
from flows.inspect import all_features
from flows.settings import load_settings
from operators.generate import ShopPlan, write_log

DAY_MS = 86_400_000
QUIET_DAYS_MIN = 3


def test_why_in_redis_and_what_show_explains_agree_of_who_has_been_quiet(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their windows have emptied since their newest event, and their record was written by the newest model as of
    now: the same scores, the same next segment, the same strongest features."""
    log = tmp_path / "shop.jsonl"
    write_log(ShopPlan(start="2025-01-01T00:00:00Z", shoppers=500, items=300, events=15_000), log)
    state, _ = replay(tmp_path, redis_url, log)
    with redis.Redis.from_url(redis_url) as client:
        newest = str(orjson.loads(client.hget("coterie:models", "segments") or b"{}")["version"])
        watermark = int(client.hget("coterie:meta", "watermark") or 0)
    settings = load_settings(None, {"redis.url": redis_url, "state.directory": state})
    quiet = {
        key.split(":", 2)[2]: orjson.loads(record["why"])
        for key, record in records(redis_url).items()
        if record.get("model") == newest and int(record["event_ts"]) < watermark - QUIET_DAYS_MIN * DAY_MS
    }
    assert len(quiet) >= 40
    for user, why in list(quiet.items())[:100]:
        show_user(settings, user, as_json=True)
        shown = json.loads(capsys.readouterr().out)
        told = shown["models"]
        assert why.get("next") == told["segment"]["next"], user
        assert shown["margin"] == pytest.approx(told["segment"]["margin"], abs=2e-3), user
        _same_features(why["segment"], [pair for pair in told["segment"]["pulls"][:3] if pair[1] >= 0.01])
        for name, field in (("purchase", "purchase_propensity"), ("churn", "churn_risk")):
            if name in why:
                assert shown[field] == pytest.approx(told[name]["propensity"], abs=2e-3), (user, name)
                _same_features(why[name], told[name]["contributions"])


def test_at_the_end_no_record_is_farther_from_the_newest_scores_than_is_promised(
    redis_url: str, tmp_path: Path
) -> None:
    """Margin and propensities by the last models, and as of the end; by which model they were written is not asked."""
    log = tmp_path / "shop.jsonl"
    write_log(ShopPlan(start="2025-01-01T00:00:00Z", shoppers=500, items=300, events=15_000, seed=8), log)
    state, report = replay(tmp_path, redis_url, log)
    with redis.Redis.from_url(redis_url) as client:
        cards = [orjson.loads(card) for card in client.hgetall("coterie:segments").values()]
        packed = client.hgetall("coterie:models")
        watermark = int(client.hget("coterie:meta", "watermark") or 0)
    settings = load_settings(None, {"redis.url": redis_url, "state.directory": state})
    living = [card for card in cards if "born_by" in card and not card["retired_at"]]
    assert report["segments"] == len(living) < len(cards)
    features = all_features(state, watermark, settings)
    found = records(redis_url)
    assert len(found) == len(features) >= 400
    for key, record in found.items():
        user = key.split(":", 2)[2]
        told = explain_models(packed, features[user], record["segment"])
        assert float(record["margin"]) == pytest.approx(told["segment"]["margin"], abs=0.021), user
        assert float(record["purchase_propensity"]) == pytest.approx(told["purchase"]["propensity"], abs=0.021), user
        if "churn" in told:
            assert float(record["churn_risk"]) == pytest.approx(told["churn"]["propensity"], abs=0.021), user


def _same_features(short: list[list[object]], long: list[list[object]]) -> None:
    """What stands in `why` is the beginning of what is shown, but for the order of what is as strong."""
    amounts = dict(map(tuple, long))
    for (name, amount), (_, as_strong) in zip(short, long, strict=False):
        assert name in amounts and amount == pytest.approx(amounts[name], abs=0.02), (short, long)
        assert abs(amount) == pytest.approx(abs(as_strong), abs=0.02), (short, long)
