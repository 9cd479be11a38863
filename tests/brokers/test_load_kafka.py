"""Sending logs to a real broker: what arrives, where, in which order, how fast, and what happens when it cannot."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

import orjson
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from operators import load_kafka
from operators.load_kafka import LoadError, LoadResult, Pace, create_topics, load, route


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def own_topics(kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The three default topics under names of this test's own."""
    mark = uuid.uuid4().hex[:8]
    names = {name: f"{name}-{mark}" for name in ("clicks", "purchases", "controls")}
    for name, own in names.items():
        monkeypatch.setattr(load_kafka, name.upper(), own)
    routes = {kind: names[topic] for kind, topic in load_kafka.TOPIC_OF_TYPE.items()}
    monkeypatch.setattr(load_kafka, "TOPIC_OF_TYPE", routes)
    yield names
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.delete_topics([name for name in names.values() if name in admin.list_topics()])
    admin.close()


def read_back(bootstrap: str, topic: str) -> list[tuple[int, bytes | None, bytes]]:
    """(partition, key, value) of all records of a topic, in the order of each partition."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    parts = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(parts)
    ends = consumer.end_offsets(parts)
    consumer.seek_to_beginning(*parts)
    found = []
    while any(consumer.position(part) < ends[part] for part in parts):
        for part, records in consumer.poll(timeout_ms=200).items():
            found += [(part.partition, record.key, record.value) for record in records]
    consumer.close()
    return found


def shopper_log(n: int, seed: int) -> list[bytes]:
    """Events of forty shoppers, all kinds mixed."""
    rng = random.Random(seed)
    kinds = ["view", "search", "purchase", "consent", "identify", "profile", "erase", "item", "custom", "impression"]
    lines = []
    for i in range(n):
        kind = rng.choice(kinds)
        event = {"type": kind, "ts": 1_700_000_000_000 + i, "n": i}
        event["item_id" if kind == "item" else "user_id"] = f"u{rng.randrange(40)}"
        lines.append(orjson.dumps(event) + b"\n")
    return lines


def test_loaded_log_reads_back_equal_by_topic(kafka_bootstrap, own_topics) -> None:
    """Every line arrives once, byte for byte, in the topic of its type; what is no event goes with the clicks."""
    lines = shopper_log(3000, 1)
    strange = [b"not json\n", b"[1]\r\n", b'{"type": 7}\n', b"\xff\xfe\n", b'"text"']
    told: list[int] = []
    result = load([*lines, b"\n", b"  \n", *strange], kafka_bootstrap, progress=told.append, partitions=3)
    wanted: dict[str, list[bytes]] = {name: [] for name in own_topics}
    for line in lines:
        kind = orjson.loads(line)["type"]
        controls = ("consent", "erase", "identify", "profile", "item")
        name = "purchases" if kind == "purchase" else "controls" if kind in controls else "clicks"
        wanted[name].append(line.strip())
    wanted["clicks"] += [line.rstrip(b"\r\n") for line in strange]
    for name, topic in own_topics.items():
        records = read_back(kafka_bootstrap, topic)
        assert sorted(value for _, _, value in records) == sorted(wanted[name])
        assert result.per_topic[topic] == len(wanted[name])
    assert result.sent == 3005 == told[-1]
    assert told == [1000, 2000, 3000, 3005]
    assert result.bytes == sum(len(value) for values in wanted.values() for value in values)
    assert result.seconds > 0


def test_events_of_a_shopper_keep_their_order_in_one_partition(kafka_bootstrap, kafka_topic) -> None:
    """The key is the id, so a shopper's events never overtake one another within a topic."""
    topic = kafka_topic(partitions=4)
    load(shopper_log(2000, 2), kafka_bootstrap, topic=topic)
    partition_of: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    for partition, key, value in read_back(kafka_bootstrap, topic):
        event = orjson.loads(value)
        assert key == (event.get("user_id") or event["item_id"]).encode()
        assert partition_of.setdefault(key, partition) == partition
        assert last.get(key, -1) < event["n"]
        last[key] = event["n"]
    assert len(set(partition_of.values())) == 4


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"type":"view","user_id":"u1","ts":5}', ("clicks", b"u1", 5)),
        (b'{"type":"purchase","user_id":17,"ts":"1970-01-01T00:00:01Z"}', ("purchases", b"17", 1000)),
        (b'{"type":"item","item_id":"i1","user_id":"x","ts":"1970-01-01T01:00:00.5+01:00"}', ("controls", b"i1", 500)),
        (b'{"type":"erase","user_id":"\xc3\xa9","ts":"1970-01-01T00:00:02"}', ("controls", b"\xc3\xa9", 2000)),
        (b'{"type":"view","user_id":true,"ts":true}', ("clicks", None, None)),
        (b'{"type":["x"],"user_id":null,"ts":"soon"}', ("clicks", None, None)),
        (b"{}", ("clicks", None, None)),
        (b"[]", ("clicks", None, None)),
        (b"{", ("clicks", None, None)),
    ],
)
def test_a_line_is_routed_by_its_type_and_keyed_by_its_id(line: bytes, expected: tuple) -> None:
    """Topic, key and time of one line; what cannot be told is left open."""
    assert route(line) == expected


def test_a_rate_spaces_events_evenly(kafka_bootstrap, kafka_topic) -> None:
    """At 50 a second the hundredth event leaves after 1.98 s, however long sending takes."""
    clock = Clock()
    lines = shopper_log(100, 3)
    load(lines, kafka_bootstrap, kafka_topic(), Pace(rate=50), clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(100 + 99 / 50)
    assert len(clock.naps) == 99


def test_a_high_rate_is_kept_without_tiny_naps(kafka_bootstrap, kafka_topic) -> None:
    """Waits too short to sleep add up: the mean rate holds while the naps stay long enough."""
    clock = Clock()
    load(shopper_log(2000, 4), kafka_bootstrap, kafka_topic(), Pace(rate=10_000), clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(100 + 2000 / 10_000, abs=0.003)
    assert min(clock.naps) >= load_kafka.NAP_SECONDS_MIN


def test_speed_follows_the_time_in_the_log(kafka_bootstrap, kafka_topic) -> None:
    """Ten times the log's pace: a minute's gap is six seconds; lines without a time, or out of order, do not wait."""
    clock = Clock()
    times = [1_000_000, 1_060_000, None, 1_030_000, "1970-01-01T00:18:00Z"]
    lines = [orjson.dumps({"type": "view", "user_id": "u", **({"ts": ts} if ts else {})}) for ts in times]
    load(lines, kafka_bootstrap, kafka_topic(), Pace(speed=10), clock=clock, sleep=clock.sleep)
    assert clock.naps == pytest.approx([6.0, 2.0])


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"speed": -1}, {"rate": 1, "speed": 1}, {"rate": float("nan")}])
def test_a_pace_that_makes_no_sense_is_refused(wrong: dict) -> None:
    """Nothing is sent at a pace of zero, below, or of two minds."""
    with pytest.raises(ValueError, match="pace"):
        Pace(**wrong)


def test_a_line_too_large_is_named(kafka_bootstrap, kafka_topic) -> None:
    """The line's number, its size and the bound are in the error."""
    lines = [b'{"type":"view"}\n', b"\n", b"x" * 1_100_000, b"{}"]
    with pytest.raises(LoadError, match=r"line 3: 1100000 bytes, a Kafka record may have 1048576"):
        load(lines, kafka_bootstrap, kafka_topic())


def test_a_line_the_broker_refuses_is_named(kafka_bootstrap, kafka_topic) -> None:
    """An error that comes back later is raised for the line it belongs to."""
    topic = kafka_topic(max_message_bytes="2000")
    with pytest.raises(LoadError, match=r"line 2 cannot be sent .*MessageSizeTooLarge"):
        load([b"{}", b"x" * 5000, b"{}"], kafka_bootstrap, topic)


def test_records_on_their_way_are_bounded(kafka_bootstrap, kafka_topic, monkeypatch) -> None:
    """With room for a few, sending waits for answers, and all still arrive."""
    monkeypatch.setattr(load_kafka, "UNANSWERED_MAX", 10)
    topic = kafka_topic()
    result: LoadResult = load(shopper_log(200, 5), kafka_bootstrap, topic)
    assert result.sent == 200 == len(read_back(kafka_bootstrap, topic))


def test_topics_are_made_once_with_the_partitions_asked_for(kafka_bootstrap) -> None:
    """What is there is left alone."""
    name = f"made-{uuid.uuid4().hex[:8]}"
    assert create_topics(kafka_bootstrap, [name, name], partitions=3) == [name]
    assert create_topics(kafka_bootstrap, [name], partitions=9) == []
    consumer = KafkaConsumer(bootstrap_servers=kafka_bootstrap)
    assert len(consumer.partitions_for_topic(name)) == 3
    consumer.close()
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.delete_topics([name])
    admin.close()


def test_loading_to_nowhere_is_a_clear_error() -> None:
    """No broker at the address: the error says which, after the time allowed."""
    with pytest.raises(LoadError, match=r"Kafka at 127\.0\.0\.1:1: .*is it running"):
        load([b"{}"], "127.0.0.1:1", options={"bootstrap_timeout_ms": 300})
