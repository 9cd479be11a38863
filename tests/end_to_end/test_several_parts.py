"""A backlog in several parts, read as fast as it goes, comes to what one log in order of time comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import running as tools
from running import Outcome
from shop_logs import SETTINGS, write_shop_log

from operators.generate import ShopPlan

PLAN = ShopPlan(seed=8, shoppers=400, items=200, categories=8, days=60, events=8_000)
"""Of two months: a batch of either part spans weeks."""


@pytest.fixture(scope="module", autouse=True)
def _declared() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in SETTINGS.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "whole.jsonl"
    write_shop_log(PLAN, path)
    return path


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, redis_server: str, whole: Path) -> Outcome:
    """What the log comes to in order of time, replayed once for all who ask."""
    url = f"{redis_server}/0"  # no test of its own is given this one
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()
    state, _ = tools.replay(tmp_path_factory.mktemp("whole"), url, whole)
    return Outcome.of(url, state)


def by_kind(log: Path, folder: Path) -> tuple[Path, Path]:
    """The log in two, as topics have it: purchases in one, all else in the other; and in both the items, for what they
    tell holds for the acts that come after them, and two processes are no nearer to one another than what is under way
    between them."""
    lines = log.read_bytes().splitlines(keepends=True)
    kinds = [orjson.loads(line)["type"] for line in lines]
    clicks, purchases = folder / "clicks.jsonl", folder / "purchases.jsonl"
    clicks.write_bytes(b"".join(line for line, kind in zip(lines, kinds, strict=True) if kind != "purchase"))
    purchases.write_bytes(
        b"".join(line for line, kind in zip(lines, kinds, strict=True) if kind in ("purchase", "item"))
    )
    return clicks, purchases


def apart(expected: Outcome, found: Outcome) -> dict[str, Any]:
    """Where they differ, but for what may hang on the order of acts minutes apart: which brands are kept of those who
    like more than eight, what a shopper was in between two acts, though not what they are in in the end, and which
    items stand beside one another: an order and a click of the same minutes make other pairs the other way round."""
    told = expected.apart(found)
    told.pop("rule changes", None)
    told.pop("items", None)
    brands = {"favourite_brand", "brand_focus"}
    features = {user: names for user, names in told.pop("features", {}).items() if not names.keys() <= brands}
    return told | ({"features": features} if features else {})


@pytest.mark.parametrize("processes", [1, 2])
def test_two_files_come_to_what_one_comes_to(
    processes: int, tmp_path: Path, redis_url: str, whole: Path, expected: Outcome
) -> None:
    """Records, triggers and every feature."""
    state, report = tools.replay(tmp_path, redis_url, *by_kind(whole, tmp_path), processes=processes, name="two")
    assert report["events"] == whole.read_bytes().count(b"\n") + PLAN.items
    assert apart(expected, Outcome.of(redis_url, state)) == {}
    assert len(expected.triggers) > 1000


def test_two_topics_come_to_what_one_log_comes_to(
    tmp_path: Path,
    redis_url: str,
    kafka_topic: Callable[..., str],
    worker: Callable[..., Any],
    whole: Path,
    expected: Outcome,
) -> None:
    """A backlog of two topics, one of which is far longer than what is fetched ahead."""
    clicks, purchases = kafka_topic(1), kafka_topic(1)
    running = worker([clicks, purchases], batch_records_max=64)
    for log, topic in zip(by_kind(whole, tmp_path), (clicks, purchases), strict=True):
        running.load(log, topic)
    running.start()
    tools.wait_for(lambda: expected.is_in(redis_url, ordered=False), "the records and triggers of the replay")
    assert running.stop() == 0
    assert apart(expected, Outcome.of(redis_url, running.state)) == {}
