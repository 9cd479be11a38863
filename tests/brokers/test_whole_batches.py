"""Whole record batches out of the library's fetcher, in memory: what a broker seldom or never sends."""

from __future__ import annotations

import zlib

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from operators import read_kafka
from operators.kafka_batches import batch_records_class, check_seam

TP = TopicPartition("t", 0)


def fetched(*batches: list[bytes | None], magic: int = 2, codec: int = 0, first: int = 0) -> bytes:
    """What a broker would answer to a fetch: record batches with these values, offsets from `first`."""
    data, offset = bytearray(), first
    for values in batches:
        builder = MemoryRecordsBuilder(magic=magic, compression_type=codec, batch_size=1 << 20, offset=0)
        for i, value in enumerate(values):
            builder.append(timestamp=1_000 + i, key=None, value=value)
        builder.close()
        batch = bytearray(builder.buffer())
        if magic == 2:
            batch[:8] = offset.to_bytes(8, "big")
        data += batch
        offset += len(values)
    return bytes(data)


def values_of(chunks: list) -> list[tuple[int, bytes]]:
    return [
        (int(o), chunk.buffer[s:e].tobytes())
        for chunk in chunks
        for o, s, e in zip(chunk.offsets, chunk.starts, chunk.ends, strict=True)
    ]


def take(data: bytes, position: int = 0, **bounds: int):
    """(chunks, the PartitionRecords they came from)."""
    records = batch_records_class(Fetcher.PartitionRecords, **bounds)(position, TP, MemoryRecords(data))
    return [item.chunk for item in records.take(1000)], records


def test_batches_are_joined_to_the_bound_and_not_divided() -> None:
    """A chunk ends with the batch that reaches the bound; no record is lost between chunks."""
    batches = [[b"%d-%d" % (b, i) for i in range(10)] for b in range(7)]
    chunks, records = take(fetched(*batches), records_max=25)
    assert [len(chunk.starts) for chunk in chunks] == [30, 30, 10]
    assert [chunk.next_offset for chunk in chunks] == [30, 60, 70]
    assert values_of(chunks) == list(enumerate(value for values in batches for value in values))
    assert records.next_fetch_offset == 70


def test_bytes_bound_a_chunk_too() -> None:
    """Large records close a chunk before their number does."""
    chunks, _ = take(fetched(*[[b"x" * 1000] * 4] * 3), bytes_max=4000)
    assert [len(chunk.starts) for chunk in chunks] == [4, 4, 4]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1])
def test_old_message_formats_are_read_record_by_record(magic: int, codec: int) -> None:
    """A log that was written before message format 2 gives the same chunks."""
    values = [b"a", b"", b"ccc", b"dd"]
    chunks, records = take(fetched(values, magic=magic, codec=codec), position=1)
    assert values_of(chunks) == [(1, b""), (2, b"ccc"), (3, b"dd")]
    assert records.next_fetch_offset == 4


def test_a_failed_checksum_comes_after_the_good_batches_and_ends_the_fetch() -> None:
    """What lies before the damage may be read; what lies behind it is not handed out; the position stays before it."""
    data = bytearray(fetched([b"a"] * 5, [b"b"] * 5, [b"c"] * 5))
    data[len(data) - 3] ^= 0xFF
    chunks, records = take(bytes(data), records_max=5)
    assert [chunk.error == "" for chunk in chunks] == [True, True, False]
    assert "offset 10 fails its checksum" in chunks[-1].error
    assert values_of(chunks) == [(i, b"a" if i < 5 else b"b") for i in range(10)]
    assert records.next_fetch_offset == 10
    assert not records, "a fetch that is not drained makes the library spin"


def test_records_that_do_not_fit_their_batch_are_an_error_though_the_checksum_is_right() -> None:
    """A broken producer signs its own nonsense; it is found inside the batch."""
    data = bytearray(fetched([b"abc"] * 3))
    data[57:61] = (2).to_bytes(4, "big")  # three records that are said to be two
    crc32c = pytest.importorskip("crc32c").crc32c
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    chunks, _ = take(bytes(data))
    assert len(chunks) == 1
    assert "record batch at offset 0 is corrupt inside" in chunks[0].error
    data[57:61] = (1 << 30).to_bytes(4, "big")
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    assert "too short for 1073741824 records" in take(bytes(data))[0][0].error


def test_compressed_bytes_that_do_not_unpack_are_an_error() -> None:
    """A gzip stream cut short ends in an error chunk, not in a crash of the poll."""
    data = bytearray(fetched([b"abc" * 100] * 3, codec=1))
    data[80:] = zlib.compress(b"not this")[: len(data) - 80].ljust(len(data) - 80, b"\0")
    crc32c = pytest.importorskip("crc32c").crc32c
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    chunks, records = take(bytes(data))
    assert len(chunks) == 1
    assert chunks[0].error
    assert not records


def test_the_check_accepts_the_pinned_library() -> None:
    """With the version this was written for, whole batches are read."""
    check_seam(Fetcher.PartitionRecords)


def test_the_check_refuses_a_library_that_unpacks_otherwise() -> None:
    """Were the place moved, or its fields renamed, the difference is seen before a single event is lost."""

    class Renamed(Fetcher.PartitionRecords):
        def take(self, n=None):
            return []

    class Shifted(Fetcher.PartitionRecords):
        @property
        def fetch_offset(self):
            return self._offset + 1

        @fetch_offset.setter
        def fetch_offset(self, value):
            self._offset = value

    for other in (Renamed, Shifted, object):
        with pytest.raises((RuntimeError, TypeError, AttributeError)):
            check_seam(other)


def test_a_bootstrap_without_a_broker_is_a_clear_error() -> None:
    """Who starts a worker with a wrong address is told which one, and what to look at."""
    hub = read_kafka.KafkaHub("127.0.0.1:1", connect_seconds_max=0.3)
    with pytest.raises(read_kafka.KafkaReadError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*is it running"):
        hub.partitions(["clicks"])


@pytest.mark.parametrize("wrong", [{"start": "newest"}, {"isolation": "serializable"}])
def test_unknown_settings_are_named_with_the_known_ones(wrong: dict) -> None:
    """A setting that does not exist is refused at once, with what there is."""
    with pytest.raises(ValueError, match="is none of"):
        read_kafka.KafkaHub("127.0.0.1:1", **wrong)
