"""Whole record batches out of kafka-python's fetcher: from a fetched buffer to spans without an object per record.

kafka-python makes one object per record in `Fetcher.PartitionRecords`, a class that its fetcher looks up on itself. The
subclass made here hands out decompressed, checked record batches instead, several joined into one chunk, and cuts them
in a compiled pass. That place is not public: `check_seam` holds it against the library's own reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from kafka import TopicPartition
from kafka.errors import CorruptRecordError, UnsupportedCodecError

from operators.kernels.record_batch import cut_batches

RECORDS_MAX = 4096
CHUNK_BYTES_MAX = 4 << 20
RECORD_BYTES_MIN = 7
_NONE = np.empty(0, np.int64)


@dataclass(slots=True)
class Chunk:
    """Records of one partition on their way to its reader.

    `buffer` uint8; `starts`, `ends`, `offsets` int64[n]; `next_offset` is where to read on after them. With `error`
    the chunk holds no records: they could not be read, and reading on would lose them.
    """

    buffer: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    next_offset: int
    error: str = ""


class Item:
    """A chunk as it passes through the fetcher, which passes over items whose offset lies below its own."""

    __slots__ = ("chunk", "offset")

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.offset = chunk.next_offset


class _Gathered:
    """Decompressed record batches that will be one chunk."""

    def __init__(self) -> None:
        self.payloads: list[Any] = []
        self.counts: list[int] = []
        self.bases: list[int] = []
        self.records = self.size = 0

    def add(self, batch: Any) -> None:
        """Take a batch in, decompressed. Raises where its library is missing, or where it is corrupt."""
        batch._maybe_uncompress()
        payload = memoryview(batch._buffer)[batch._pos :]
        count = batch.records_count
        if not 0 <= count * RECORD_BYTES_MIN <= len(payload):
            raise CorruptRecordError(f"the record batch at offset {batch.base_offset} is too short for {count} records")
        self.payloads.append(payload)
        self.counts.append(count)
        self.bases.append(batch.base_offset)
        self.records += count
        self.size += len(payload)


def batch_records_class(base: type[Any], records_max: int = RECORDS_MAX, bytes_max: int = CHUNK_BYTES_MAX) -> type[Any]:
    """A `PartitionRecords` (subclass of the given one) whose items are chunks of about `records_max` records.

    A chunk is closed when it has `records_max` records or `bytes_max` bytes; a record batch is never divided, so the
    last one may take it past that.
    """

    class BatchRecords(base):  # type: ignore[misc]
        next_fetch_offset: int

        def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Item]:
            try:
                gathered = _Gathered()
                next_offset = self.next_fetch_offset
                batch = records.next_batch()
                while batch is not None:
                    if self.check_crcs and not batch.validate_crc():
                        raise CorruptRecordError(f"the record batch at offset {batch.base_offset} fails its checksum")
                    if batch.magic < 2:
                        chunk = _chunk_of_old_format(batch, self.fetch_offset, self.check_crcs)
                        if gathered.counts:
                            yield self._item(gathered, next_offset)
                            gathered = _Gathered()
                        if chunk is not None:
                            next_offset = self.next_fetch_offset = chunk.next_offset
                            yield Item(chunk)
                    else:
                        self.leader_epoch = batch.leader_epoch
                        if not self._is_left_out(batch):
                            gathered.add(batch)
                        next_offset = batch.next_offset
                        if gathered.records >= records_max or gathered.size >= bytes_max:
                            yield self._item(gathered, next_offset)
                            gathered = _Gathered()
                    batch = records.next_batch()
                if gathered.counts:
                    yield self._item(gathered, next_offset)
                self.next_fetch_offset = next_offset
            except Exception as error:
                # The fetcher would spin for ever on a generator that has raised, so the error goes out as an item, to
                # the reader whom it concerns. What lies before it and was not handed out is fetched again.
                text = f"{type(error).__name__}: {error}{codec_hint(error)}"
                yield Item(Chunk(np.empty(0, np.uint8), _NONE, _NONE, _NONE, self.next_fetch_offset, text))
            self.drain()

        def _item(self, gathered: _Gathered, next_offset: int) -> Item:
            chunk = join_batches(gathered.payloads, gathered.counts, gathered.bases, self.fetch_offset, next_offset)
            self.records_read += gathered.records
            self.bytes_read += gathered.size
            self.next_fetch_offset = next_offset
            return Item(chunk)

        def _is_left_out(self, batch: Any) -> bool:
            """Is this a control batch, or one of an aborted transaction that must not be seen?"""
            if self.isolation_level and batch.has_producer_id():  # read committed
                self._consume_aborted_transactions_up_to(batch.last_offset)
                if self._contains_abort_marker(batch):
                    self.aborted_producer_ids.discard(batch.producer_id)
                elif self._is_batch_aborted(batch):
                    return True
            return bool(batch.is_control_batch)

    return BatchRecords


def join_batches(payloads: list[Any], counts: list[int], bases: list[int], position: int, next_offset: int) -> Chunk:
    """Cut the records of decompressed batches (bytes-like) into one chunk, leaving out those below `position`.

    Raises kafka's CorruptRecordError, naming the batch.
    """
    buffer = np.frombuffer(bytearray().join(payloads), np.uint8)
    batch_ends = np.cumsum(np.array([len(p) for p in payloads], np.int64))
    total = sum(counts)
    starts, ends, offsets = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total, np.int64)
    columns = batch_ends, np.array(counts, np.int64), np.array(bases, np.int64)
    n = int(cut_batches(buffer, *columns, np.int64(position), starts, ends, offsets))
    if n < 0:
        raise CorruptRecordError(f"the record batch at offset {bases[-1 - n]} is corrupt inside")
    return Chunk(buffer, starts[:n], ends[:n], offsets[:n], next_offset)


def join_values(values: list[bytes | None], offsets: list[int], next_offset: int) -> Chunk:
    """A chunk of single values; None becomes an empty span."""
    parts = [value or b"" for value in values]
    buffer = np.frombuffer(bytearray().join(parts), np.uint8)
    ends = np.cumsum(np.array([len(p) for p in parts], np.int64))
    starts = ends - np.array([len(p) for p in parts], np.int64)
    return Chunk(buffer, starts, ends, np.array(offsets, np.int64), next_offset)


def codec_hint(error: Exception) -> str:
    """What to install where the library of a compression is missing."""
    if not isinstance(error, UnsupportedCodecError):
        return ""
    return "; pip install lz4 (for lz4), python-snappy (for snappy) or zstandard (for zstd)"


def _chunk_of_old_format(batch: Any, position: int, check_crcs: bool) -> Chunk | None:
    """Records of message format 0 or 1, one by one; None when all lie below `position`."""
    records = [record for record in batch if record.offset >= position]
    for record in records:
        if check_crcs and not record.validate_crc():
            raise CorruptRecordError(f"the record at offset {record.offset} fails its checksum")
    if not records:
        return None
    return join_values([r.value for r in records], [r.offset for r in records], records[-1].offset + 1)


def check_seam(base: type[Any]) -> None:
    """Hold our `PartitionRecords` against the library's on a few batches made in memory; raises where they differ."""
    from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

    data = bytearray()
    offset = 5
    for codec in (0, 1):
        builder = MemoryRecordsBuilder(magic=2, compression_type=codec, batch_size=1 << 16)
        for i in range(40):
            value = None if i == 7 else b"%d" % (i * i) * (1 + i % 5)
            headers = [("h", b"x")] if i % 4 == 0 else []
            builder.append(timestamp=1_000 + i, key=b"k" * (i % 3), value=value, headers=headers)
        builder.close()
        batch = bytearray(builder.buffer())
        batch[:8] = offset.to_bytes(8, "big")  # the checksum does not cover the base offset
        data += batch
        offset += 40
    position, topic_partition = 17, TopicPartition("check", 0)
    stock = base(position, topic_partition, MemoryRecords(bytes(data)))
    ours = batch_records_class(base)(position, topic_partition, MemoryRecords(bytes(data)))
    expected = [(r.offset, r.value or b"") for r in stock.take(1000)]
    found = []
    for item in ours.take(1000):
        if item.chunk.error:
            raise RuntimeError(item.chunk.error)
        c = item.chunk
        found += [(int(o), c.buffer[s:e].tobytes()) for o, s, e in zip(c.offsets, c.starts, c.ends, strict=True)]
    if found != expected or len(found) != offset - position or ours.next_fetch_offset != stock.next_fetch_offset:
        raise RuntimeError(
            f"{len(found)} records to {ours.next_fetch_offset} differ from the library's {len(expected)}"
        )
