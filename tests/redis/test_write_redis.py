"""The sink against a real Redis: everything arrives, no version falls, every event is answered for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import redis
from record_helpers import records
from structlog.testing import capture_logs

from operators.goods import Goods
from operators.write_redis import RedisRefused, RedisSettings, RedisWriter, connect
from state.flow_control import FlowControl
from state.metrics import Metrics, read_samples
from state.models import PopularModel
from state.names import Names
from state.profile_table import AVAILABLE, FACT_ROW, UNAVAILABLE
from state.redis_keys import Keys, pack

NOW = 1_900_000_000.0


class Sink:
    """A writer and what it reports to."""

    def __init__(self, url: str, state_id: str = "mine", **settings: float) -> None:
        self.metrics, self.control, self.names = Metrics(), FlowControl(1000), Names()
        given = {"timeout_seconds": 5.0, "backoff_seconds_max": 0.02, **settings}
        self.goods = Goods()
        told = (Keys(), self.metrics, self.control, self.names, state_id, (4, 8), lambda: NOW, self.goods)
        self.writer = RedisWriter(RedisSettings(url, **given), *told)
        self.write = self.writer.write

    def retries(self) -> int:
        return int(sum(read_samples(self.metrics.redis_retries).values()))


@pytest.fixture
def make(redis_url: str) -> Iterator[Callable[..., Sink]]:
    """Makes sinks on the test's database, and closes them."""
    made: list[Sink] = []

    def sink(*arguments: Any, **named: Any) -> Sink:
        made.append(Sink(named.pop("url", redis_url), *arguments, **named))
        return made[-1]

    yield sink
    for one in made:
        one.writer.close()


@pytest.fixture
def look(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the test's database."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def versions(look: redis.Redis, *users: str) -> list[int | None]:
    found = [look.hget(f"coterie:user:{user}", "version") for user in users]
    return [None if v is None else int(v) for v in found]


def test_popular_items_that_are_not_available_are_left_out_as_soon_as_that_is_told(
    make: Callable[..., Sink], look: redis.Redis
) -> None:
    """Also where nothing new is popular; and they come back."""
    sink = make()
    facts = np.zeros(1, FACT_ROW)
    facts["item"] = item = sink.names.learn("lamp")
    other = sink.names.learn("clock")
    sink.write([PopularModel(1, np.array([item, other], np.uint64), np.array([2.5, 1], np.float32))])
    seen = []
    for ts, available in enumerate((0, UNAVAILABLE, UNAVAILABLE, AVAILABLE), start=1):
        facts["ts"], facts["available"] = ts, available
        sink.goods.restore(facts)
        sink.write([records({"ann": ts})])
        seen.append([name for name, _ in json.loads(look.get("coterie:popular:all") or "")])
    assert seen == [["lamp", "clock"], ["clock"], ["clock"], ["lamp", "clock"]]


def test_records_catalogue_and_popular_items_arrive(make: Callable[..., Sink], look: redis.Redis) -> None:
    """In order, with what goes to all; a card that became empty is removed."""
    sink = make()
    item = sink.names.learn('a "lamp"')
    popular = PopularModel(1, np.array([item, 5], np.uint64), np.array([2.5, 1], np.float32))
    sink.write([records({"ann": 1, 'b"\r\nö': 2}, segment="s1", always=[pack("SADD", "coterie:x", "1")])])
    sink.write([records({"ann": 2}, segment="s2"), popular, {"s1": b'{"name":"x"}', "s2": b"{}"}])
    sink.write([{"s1": b"", "s3": b"[]"}])
    assert look.hgetall("coterie:user:ann") == {"version": "2", "segment": "s2"}
    assert look.hgetall('coterie:user:b"\r\nö') == {"version": "2", "segment": "s1"}
    assert look.smembers("coterie:x") == {"1"}
    assert json.loads(look.get("coterie:popular:all") or "") == [['a "lamp"', 2.5]]
    assert look.hgetall("coterie:segments") == {"s2": "{}", "s3": "[]"}


def test_a_large_batch_goes_in_several_pipelines(make: Callable[..., Sink], look: redis.Redis) -> None:
    """Ten thousand records of some 300 bytes: more than two pipelines hold."""
    sink = make()
    sink.write([records({f"u{k}-{n}": n for n in range(2000)}, recs="x" * 250) for k in range(5)])
    assert look.dbsize() == 10_001
    assert versions(look, "u0-0", "u4-1999") == [0, 1999]
    assert sink.metrics.redis_write.of().count > 2
    sink.write([])


def test_every_event_is_answered_for(make: Callable[..., Sink], look: redis.Redis) -> None:
    """Flow control, latency, freshness, watermark: of what was read where and when; a record refused counts too."""
    sink = make()
    sink.control.read(10)
    ts = [int((NOW - age) * 1000) for age in (2, 30, -5)]
    sink.write(
        [records({"ann": 1}, read_at=[NOW - 0.5, NOW - 0.25], ts=ts[:2], done={0: 4, 3: 2}), records({"bob": 1})]
    )
    sink.write([records({}, read_at=[NOW], ts=ts[2:], done={0: 1})])
    sink.writer.observe()
    assert sink.control.in_flight() == 3
    assert sum(read_samples(sink.metrics.in_flight).values()) == 3
    latency, freshness = sink.metrics.event_to_redis.of(), sink.metrics.freshness.of()
    assert (latency.count, latency.total, latency.largest) == (3, 0.75, 0.5)
    assert freshness.count == 3 and freshness.largest == pytest.approx(30)
    assert freshness.total == pytest.approx(32), "a clock ahead of ours is no negative age"
    assert sum(read_samples(sink.metrics.watermark_lag).values()) == pytest.approx(-5)
    sink.writer.close()
    assert int(look.hget("coterie:meta", "watermark") or 0) == ts[2]


def test_the_meta_record_tells_whose_records_these_are(make: Callable[..., Sink], look: redis.Redis) -> None:
    """Schema, shards, state and model versions."""
    sink = make()
    sink.metrics.model_version.labels("segments").set(12)
    sink.write([records({"ann": 1}, read_at=[NOW], ts=[5], done={0: 1})])
    sink.writer.close()
    meta = look.hgetall("coterie:meta")
    assert meta == {
        "schema_version": "1",
        "state_id": "mine",
        "user_shards": "4",
        "item_shards": "8",
        "watermark": "5",
        "model_segments": "12",
    }


def test_no_version_falls_after_a_resume(make: Callable[..., Sink], look: redis.Redis) -> None:
    """What was computed anew since the snapshot is left out until it has caught up; others are not held up."""
    make().write([records({"ann": 5, "bob": 2}, segment="old")])
    sink = make()
    sink.control.read(9)
    sink.write([records({"ann": 3, "bob": 3, "new": 1}, segment="newer", done={0: 3}, always=[pack("SADD", "x", "1")])])
    assert versions(look, "ann", "bob", "new") == [5, 3, 1]
    assert look.hget("coterie:user:ann", "segment") == "old" and look.smembers("x") == {"1"}
    assert sink.control.in_flight() == 6
    sink.write([records({"ann": 4}, segment="newer"), records({"ann": 5}, segment="newer")])
    assert look.hget("coterie:user:ann", "segment") == "newer", "as far as Redis is: the same again, or newer"
    sink.write([records({"ann": 6}, segment="newest")])
    assert versions(look, "ann") == [6] and look.hget("coterie:user:ann", "segment") == "newest"


def test_an_erasure_is_never_left_out(make: Callable[..., Sink], look: redis.Redis) -> None:
    """Whatever version Redis holds; who acts again begins with version 1, in the same run or after a resume."""
    make().write([records({"ann": 100})])
    sink = make()
    erased = records({"ann": np.iinfo(np.int64).max})
    erased.commands = np.frombuffer(pack("DEL", "coterie:user:ann"), np.uint8)
    erased.starts = np.array([0, len(erased.commands)])
    sink.write([records({"ann": 99}), erased])
    assert versions(look, "ann") == [None]
    sink.write([records({"ann": 1})])
    assert versions(look, "ann") == [1]
    sink = make()
    sink.write([records({"ann": 2})])
    assert versions(look, "ann") == [2]


def test_records_of_another_state_directory_are_replaced(make: Callable[..., Sink], look: redis.Redis) -> None:
    """Their versions mean nothing here: a warning says so, and what to do."""
    make("theirs").write([records({"ann": 50})])
    with capture_logs() as logs:
        make("mine").write([records({"ann": 1})])
    assert versions(look, "ann") == [1] and look.hget("coterie:meta", "state_id") == "mine"
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert "another state directory" in warning["event"] and "prefix" in warning["remedy"]
    with capture_logs() as logs:
        make("mine").write([records({"ann": 2})])
    assert logs == []


def test_a_key_of_another_type_does_not_stop_the_others(make: Callable[..., Sink], look: redis.Redis) -> None:
    """It is told now and then, and everything else is written; a resumed worker's question about it too."""
    look.set("coterie:user:bob", "mine!")
    for run in range(2):
        sink = make()
        sink.control.read(3)
        with capture_logs() as logs:
            sink.write([records({"ann": run + 1, "bob": 1, "cem": run + 1}, done={0: 3})])
            sink.write([records({"bob": 2 + k, "dan": 9 + k}) for k in range(9)])
        assert versions(look, "ann", "cem", "dan") == [run + 1, run + 1, 17]
        assert look.get("coterie:user:bob") == "mine!" and sink.control.in_flight() == 0
        assert sink.retries() == 0
        told = [entry for entry in logs if entry["log_level"] == "error"]
        assert 1 <= len(told) <= 5 and all("WRONGTYPE" in entry["error"] for entry in told)


def test_a_pause_of_redis_is_waited_out(make: Callable[..., Sink], look: redis.Redis) -> None:
    """An answer that does not come in time is asked for again, on a new connection, until it comes."""
    sink = make(timeout_seconds=0.05)
    sink.write([records({"ann": 1})])
    look.client_pause(400, all=True)
    sink.write([records({"ann": 2, "bob": 1})])
    assert versions(look, "ann", "bob") == [2, 1] and sink.retries() >= 1


def test_a_connection_that_was_cut_is_made_anew(make: Callable[..., Sink], look: redis.Redis) -> None:
    """What was under way is sent once more."""
    sink = make()
    for n in range(1, 6):
        sink.write([records({"ann": n})])
        assert versions(look, "ann") == [n]
        look.client_kill_filter(_type="normal", skipme=True)
    assert sink.retries() >= 4


def test_what_no_waiting_mends_is_told_at_once(make: Callable[..., Sink], redis_server: str) -> None:
    """A wrong password, none where one is wanted, a user without the right: what to change stands in the error."""
    with redis.Redis.from_url(redis_server) as admin:
        admin.acl_setuser(
            "reader", enabled=True, passwords=["+right"], keys=["*"], categories=["+@read", "+@connection"]
        )
    address = redis_server.removeprefix("redis://")
    for url in (
        f"redis://reader:wrong@{address}/1",
        f"redis://nobody:x@{address}/1",
        f"redis://reader:right@{address}/1",
    ):
        sink = make(url=url)
        with pytest.raises(RedisRefused, match=r"redis\.url"):
            sink.write([records({"ann": 1})])
        sink.writer._opened = False
    with redis.Redis.from_url(redis_server) as admin:
        admin.acl_deluser("reader")


def test_the_client_does_not_try_again_by_itself() -> None:
    """One attempt, then the writer decides."""
    client = connect(RedisSettings("redis://127.0.0.1:1/0", timeout_seconds=1.0))
    with pytest.raises(redis.ConnectionError):
        client.ping()
    client.close()
