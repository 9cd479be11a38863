"""Reading a real broker: whole batches against single records, resume, transactions, losses, outages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.codec import has_lz4, has_snappy

from operators import read_kafka
from operators.read_kafka import KafkaHub, KafkaReader, KafkaReadError
from state.batches import RawBatch

WAIT_SECONDS_MAX = 120.0
Records = list[tuple[int, bytes]]
BOTH_PATHS = pytest.mark.parametrize("whole_batches", [True, False], ids=["whole_batches", "single_records"])


@pytest.fixture
def hub_of(kafka_bootstrap: str) -> Iterator[Callable[..., KafkaHub]]:
    """Make hubs that are closed at the test's end."""
    made: list[KafkaHub] = []

    def make(whole_batches: bool = True, **settings: object) -> KafkaHub:
        made.append(KafkaHub(kafka_bootstrap, whole_batches, **settings))
        return made[-1]

    yield make
    for hub in made:
        hub.close()


@pytest.fixture
def send(kafka_bootstrap: str) -> Callable[..., None]:
    """Send values (or (key, value, headers)) to partition 0 in batches as full as the settings allow."""

    def send_all(topic: str, values: list, **settings: object) -> None:
        producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, **{"linger_ms": 10_000, **settings})
        futures = []
        for value in values:
            key, body, headers = value if isinstance(value, tuple) else (None, value, None)
            key = b"k" if body is None and key is None else key
            futures.append(producer.send(topic, body, key, headers=headers, partition=0))
        producer.flush(timeout=WAIT_SECONDS_MAX)
        for future in futures:
            future.get(timeout=WAIT_SECONDS_MAX)
        producer.close()

    return send_all


def until(condition: Callable[[], bool]) -> None:
    """Come back when the condition holds; fail when it does not in WAIT_SECONDS_MAX."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.001)


def end_of(bootstrap: str, topic: str, partition: int = 0) -> int:
    """The offset behind the last record, control records included."""
    tp = TopicPartition(topic, partition)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    end = consumer.end_offsets([tp])[tp]
    consumer.close()
    return int(end)


def drain(reader: KafkaReader, end: int) -> list[RawBatch]:
    """All batches up to an offset."""
    batches: list[RawBatch] = []

    def at_end() -> bool:
        batch = reader.read()
        if batch is not None:
            batches.append(batch)
        return reader.position() >= end

    until(at_end)
    return batches


def pairs(batches: list[RawBatch]) -> Records:
    return [(int(batch.offsets[i]), batch.record(i)) for batch in batches for i in range(len(batch))]


def mixed_values(n: int, seed: int) -> list[tuple[bytes | None, bytes | None, list | None]]:
    """Values of 0 to 3,000 bytes, some null, with and without keys and headers."""
    rng = np.random.default_rng(seed)
    sizes = np.where(rng.random(n) < 0.1, rng.integers(0, 3000, n), rng.integers(0, 200, n))
    return [
        (
            b"key-%d" % i if i % 3 else None,
            None if i % 17 == 16 and i % 3 else rng.bytes(int(size)),
            [("trace", b"%d" % i), ("empty", b"")] if i % 5 == 0 else None,
        )
        for i, size in enumerate(sizes)
    ]


def test_whole_batches_equal_single_records_on_mixed_batches(hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """Plain, gzip and zstd batches of many sizes, keys, headers and nulls: both paths give what was sent."""
    topic = kafka_topic()
    sent: list[bytes] = []
    for seed, (codec, batch_size) in enumerate(
        [(None, 1), (None, 900), ("gzip", 5_000), (None, 60_000), ("zstd", 200_000), ("gzip", 1), ("zstd", 3_000)]
    ):
        values = mixed_values(400, seed)
        send(topic, values, compression_type=codec, batch_size=batch_size)
        sent += [value or b"" for _, value, _ in values]
    end = end_of(kafka_bootstrap, topic)
    for whole_batches in (True, False):
        hub = hub_of(whole_batches, records_max=500)
        batches = drain(hub.reader(topic, 0, None), end)
        assert hub.whole_batches is whole_batches
        assert pairs(batches) == list(enumerate(sent))
        assert max(len(batch) for batch in batches) <= 500
        assert {(batch.source, batch.partition) for batch in batches} == {(topic, 0)}


@BOTH_PATHS
def test_reading_can_resume_at_every_offset(whole_batches, hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """A position in the middle of a batch gives exactly the records from there on, compressed or not."""
    topic = kafka_topic()
    send(topic, [b"a%d" % i for i in range(12)])
    send(topic, [b"b%d" % i for i in range(12)], compression_type="gzip")
    end = end_of(kafka_bootstrap, topic)
    hub = hub_of(whole_batches)
    everything = [(i, b"a%d" % i if i < 12 else b"b%d" % (i - 12)) for i in range(24)]
    for position in range(end + 1):
        reader = hub.reader(topic, 0, position)
        assert reader.position() == position
        assert pairs(drain(reader, end)) == everything[position:]
        reader.close()


@BOTH_PATHS
def test_position_is_where_the_next_reader_goes_on(whole_batches, hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """Stopping after any batch and starting anew at position() loses and repeats nothing."""
    topic = kafka_topic()
    send(topic, [b"%d" % i for i in range(1000)], batch_size=300_000)
    end = end_of(kafka_bootstrap, topic)
    hub, seen, position = hub_of(whole_batches, records_max=64), [], None
    while position is None or position < end:
        reader = hub.reader(topic, 0, position)
        batch = None
        while batch is None:
            batch = reader.read()
        seen.append(batch)
        position = reader.position()
        assert position == batch.offsets[-1] + 1
        reader.close()
    assert pairs(seen) == [(i, b"%d" % i) for i in range(1000)]
    assert [len(batch) for batch in seen] == [64] * 15 + [40]


@BOTH_PATHS
def test_aborted_transactions_are_never_seen(whole_batches, hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """Only committed records come out, and the position passes the markers, so that the lag falls to nothing."""
    topic = kafka_topic()
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=f"tx-{topic}", linger_ms=5)
    producer.init_transactions()
    expected: list[bytes] = []
    for round_, keep in enumerate([True, False, False, True, False]):
        producer.begin_transaction()
        values = [b"%d-%d" % (round_, i) for i in range(7)]
        for value in values:
            producer.send(topic, value, partition=0)
        producer.flush()
        if keep:
            producer.commit_transaction()
            expected += values
        else:
            producer.abort_transaction()
        if round_ == 2:
            send(topic, [b"outside"])
            expected.append(b"outside")
    producer.close()
    end = end_of(kafka_bootstrap, topic)
    assert end == 5 * (7 + 1) + 1, "each transaction ends with a marker"
    reader = hub_of(whole_batches).reader(topic, 0, None)
    assert [value for _, value in pairs(drain(reader, end))] == expected
    until(lambda: reader.read() is None and reader.lag() == 0)
    hub = hub_of(whole_batches, isolation="read_uncommitted")
    everything = drain(hub.reader(topic, 0, None), end)
    assert sum(len(batch) for batch in everything) == 5 * 7 + 1


def test_resume_inside_an_aborted_transaction_still_skips_it(hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """Where reading begins does not decide what is visible."""
    topic = kafka_topic()
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=f"tx-{topic}")
    producer.init_transactions()
    producer.begin_transaction()
    for i in range(10):
        producer.send(topic, b"gone %d" % i, partition=0)
    producer.flush()
    producer.abort_transaction()
    producer.close()
    send(topic, [b"kept"])
    end = end_of(kafka_bootstrap, topic)
    for position in (0, 4, 10, 11):
        reader = hub_of().reader(topic, 0, position)
        assert pairs(drain(reader, end)) == [(11, b"kept")]


@BOTH_PATHS
def test_a_tombstone_is_an_empty_span(whole_batches, hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """Null values keep their place and offset, so that decoding can refuse them by name."""
    topic = kafka_topic()
    send(topic, [b"a", (b"k", None, None), b"", b"b"])
    batches = drain(hub_of(whole_batches).reader(topic, 0, None), end_of(kafka_bootstrap, topic))
    assert pairs(batches) == [(0, b"a"), (1, b""), (2, b""), (3, b"b")]


@BOTH_PATHS
def test_topics_with_broker_times_are_read_alike(whole_batches, hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """Log-append time rewrites batch headers; the records are the same."""
    topic = kafka_topic(message_timestamp_type="LogAppendTime")
    send(topic, [b"%d" % i for i in range(50)], compression_type="gzip")
    send(topic, [b"%d" % i for i in range(50, 60)])
    batches = drain(hub_of(whole_batches).reader(topic, 0, None), end_of(kafka_bootstrap, topic))
    assert pairs(batches) == [(i, b"%d" % i) for i in range(60)]


@BOTH_PATHS
@pytest.mark.parametrize("codec", ["lz4", "snappy"])
def test_a_missing_compression_library_is_named(
    whole_batches, codec, hub_of, kafka_topic, kafka_bootstrap, send
) -> None:
    """Batches that cannot be unpacked stop the reading, again and again, with what to install."""
    topic = kafka_topic(compression_type=codec)  # the broker packs them anew
    send(topic, [b"x" * 500] * 20)
    reader = hub_of(whole_batches).reader(topic, 0, None)
    if has_lz4() if codec == "lz4" else has_snappy():
        assert len(pairs(drain(reader, end_of(kafka_bootstrap, topic)))) == 20
        return

    def fails() -> bool:
        try:
            reader.read()
        except KafkaReadError as error:
            return codec in str(error) and "pip install" in str(error)
        return False

    until(fails)
    assert fails(), "a second try must not hang or pass over the records"
    assert reader.position() == 0


def test_one_consumer_serves_all_partitions_and_topics(hub_of, kafka_topic, kafka_bootstrap) -> None:
    """Readers of several topics share a hub; each gets its own partition's records in order."""
    topics = [kafka_topic(partitions=3), kafka_topic(partitions=2)]
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap)
    for i in range(600):
        topic = topics[i % 2]
        producer.send(topic, b"%d" % i, partition=i % (3 if topic == topics[0] else 2))
    producer.flush()
    producer.close()
    hub = hub_of()
    parts = hub.partitions(topics)
    assert parts == [(topics[0], 0), (topics[0], 1), (topics[0], 2), (topics[1], 0), (topics[1], 1)]
    readers = [hub.reader(topic, partition, None) for topic, partition in parts]
    found: dict[tuple[str, int], list[int]] = {part: [] for part in parts}

    def all_read() -> bool:
        for reader in readers:
            batch = reader.read()
            if batch is not None:
                found[reader.topic, reader.partition] += [int(value) for _, value in pairs([batch])]
        return sum(map(len, found.values())) == 600

    until(all_read)
    for (topic, partition), values in found.items():
        modulus = 3 if topic == topics[0] else 2
        assert values == [i for i in range(600) if topics[i % 2] == topic and i % modulus == partition]


def test_one_poll_serves_all_idle_readers(hub_of, kafka_topic) -> None:
    """A round of reads over many idle parts costs one poll, not one each."""
    topic = kafka_topic(partitions=8)
    hub = hub_of()
    readers = [hub.reader(topic, partition, None) for partition in range(8)]
    for reader in readers:
        reader.read()
    before = hub.polls
    for _ in range(20):
        for reader in readers:
            assert reader.read() is None
    assert hub.polls - before == 20


def test_a_reader_that_takes_nothing_holds_the_fetching_up(hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """What waits for a slow reader is bounded, and nothing is lost when it goes on."""
    topic = kafka_topic(partitions=2)
    for _ in range(2):
        send(topic, [b"x" * 50] * 5000, batch_size=2000)
    hub = hub_of(records_max=100)
    slow, other = hub.reader(topic, 0, None), hub.reader(topic, 1, None)
    until(lambda: other.read() is None and len(slow._queue) >= read_kafka.QUEUE_CHUNKS_MAX)
    for _ in range(200):
        other.read()
    assert len(slow._queue) < read_kafka.QUEUE_CHUNKS_MAX + read_kafka.POLL_CHUNKS_MAX
    assert [offset for offset, _ in pairs(drain(slow, 10_000))] == list(range(10_000))


def test_start_latest_reads_only_what_comes_after(hub_of, kafka_topic, kafka_bootstrap, send) -> None:
    """Without a position the setting decides where to begin; with one it has no say."""
    topic = kafka_topic()
    send(topic, [b"old"] * 3)
    hub = hub_of(start="latest")
    reader = hub.reader(topic, 0, None)
    assert reader.position() == 3
    assert reader.exhausted is False
    send(topic, [b"new"])
    assert pairs(drain(reader, 4)) == [(3, b"new")]
    reader.close()
    assert pairs(drain(hub.reader(topic, 0, 2), 4)) == [(2, b"old"), (3, b"new")]


def test_read_at_is_the_clock_at_arrival_and_lag_counts_what_is_left(hub_of, kafka_topic, send) -> None:
    """Latency is measured from the moment the records were here; the lag from what was handed out."""
    topic = kafka_topic()
    send(topic, [b"x"] * 100, batch_size=100_000)
    reader = hub_of(records_max=30).reader(topic, 0, None, clock=lambda: 1234.5)
    assert reader.lag() is None
    batches: list[RawBatch] = []
    until(lambda: (batch := reader.read()) is not None and not batches.append(batch))
    assert batches[0].read_at == 1234.5
    assert reader.lag() == 70


def test_an_unknown_topic_is_named_with_its_nearest_and_the_broker(hub_of, kafka_topic, kafka_bootstrap) -> None:
    """A misspelt topic is an error that helps; it is not made by asking for it."""
    topic = kafka_topic()
    hub = hub_of()
    with pytest.raises(KafkaReadError, match=f"{kafka_bootstrap} has no topic '{topic}x'; did you mean '{topic}'"):
        hub.partitions([topic, topic + "x"])
    assert topic + "x" not in KafkaConsumer(bootstrap_servers=kafka_bootstrap).topics()


def test_a_part_has_one_reader(hub_of, kafka_topic) -> None:
    """Two readers of a partition would each get a share: refused."""
    topic = kafka_topic()
    hub = hub_of()
    hub.reader(topic, 0, None)
    with pytest.raises(ValueError, match="being read already"):
        hub.reader(topic, 0, None)


@BOTH_PATHS
@pytest.mark.parametrize(
    ("position", "what"), [(3, "5 records were deleted before they were read"), (99, "the log is shorter")]
)
def test_a_position_out_of_range_says_what_was_lost_and_goes_on_at_the_earliest(
    whole_batches, position, what, hub_of, kafka_topic, kafka_bootstrap, send, caplog
) -> None:
    """Retention passed the reader, or the topic is another: an error in the log, with the range, and no standstill."""
    topic = kafka_topic()
    send(topic, [b"%d" % i for i in range(20)])
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.delete_records({TopicPartition(topic, 0): 8})
    admin.close()
    reader = hub_of(whole_batches).reader(topic, 0, position)
    seen: list[RawBatch] = []

    def has_last() -> bool:
        batch = reader.read()
        if batch is not None:
            seen.append(batch)
        return bool(seen) and seen[-1].offsets[-1] == 19

    with caplog.at_level(logging.ERROR, logger=read_kafka.__name__):
        until(has_last)
    assert pairs(seen) == [(i, b"%d" % i) for i in range(8, 20)]
    (told,) = [r.getMessage() for r in caplog.records if r.name == read_kafka.__name__]
    assert f"{topic}[0]: offset {position} is outside the retained range 8 to 20; {what}" in told


def test_records_deleted_under_a_reader_are_told(hub_of, kafka_topic, kafka_bootstrap, send, caplog) -> None:
    """A reader that falls behind retention while it runs is told the same way."""
    topic = kafka_topic()
    send(topic, [b"%d" % i for i in range(10)])
    reader = hub_of().reader(topic, 0, None)
    drain(reader, 10)
    hub = reader._hub
    send(topic, [b"%d" % i for i in range(10, 30)])
    hub._consumer.seek(TopicPartition(topic, 0), 10)  # what was fetched meanwhile is dropped
    reader._queue.clear()
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    admin.delete_records({TopicPartition(topic, 0): 25})
    admin.close()
    with caplog.at_level(logging.ERROR, logger=read_kafka.__name__):
        seen = drain(reader, 30)
    offsets = [offset for offset, _ in pairs(seen)]
    assert offsets == list(range(offsets[0], 30))
    if offsets[0] == 25:  # else a fetch was faster than the deletion
        assert "15 records were deleted" in caplog.text


def test_where_the_library_differs_records_are_read_one_by_one(hub_of, kafka_topic, send, monkeypatch, caplog) -> None:
    """A kafka-python that fails the check is warned about once, and read by its own poll()."""

    def differs(base: type) -> None:
        raise RuntimeError("the place is gone")

    monkeypatch.setattr(read_kafka, "check_seam", differs)
    topic = kafka_topic()
    send(topic, [b"a", b"b"])
    hub = hub_of()
    assert pairs(drain(hub.reader(topic, 0, None), 2)) == [(0, b"a"), (1, b"b")]
    assert hub.whole_batches is False
    assert caplog.text.count("reading single records") == 1
