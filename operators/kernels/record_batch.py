"""Cut Kafka record batches (message format 2) into the spans of their values.

Format: https://kafka.apache.org/documentation/#recordbatch - a record is a varint length, attributes, varint timestamp
and offset deltas, key, value and headers, each with a varint length (-1: null). Varints are zigzag, base 128. Every
length is held against the end of its record before it is followed, so that corrupt bytes are an error, never a read
outside the buffer; what the plain reader of kafka-python refuses is refused here too.
"""

from __future__ import annotations

import numpy as np

from state.compiled import kernel

VARINT_BYTES_MAX = 10
OFFSET_DELTA_MAX = (1 << 31) - 1


@kernel
def _varint(buffer, at, end):
    """(value, next place) of the zigzag varint at `at`; next place is -1 where it is cut off or longer than 64 bits."""
    value = np.uint64(0)
    shift = np.uint64(0)
    for count in range(VARINT_BYTES_MAX):
        if at >= end:
            return np.int64(0), np.int64(-1)
        byte = buffer[at]
        at += 1
        value |= np.uint64(byte & np.uint8(0x7F)) << shift
        if byte < 128:
            if count == VARINT_BYTES_MAX - 1 and byte > 1:
                return np.int64(0), np.int64(-1)
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), np.int64(at)
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@kernel
def _headers_end(buffer, at, end):
    """Place behind the headers that start at `at`, or -1 where they are corrupt."""
    count, at = _varint(buffer, at, end)
    if at < 0 or count < 0 or count > end - at:
        return np.int64(-1)
    for _ in range(count):
        length, at = _varint(buffer, at, end)
        if at < 0 or length < 0 or length > end - at:
            return np.int64(-1)
        length, at = _varint(buffer, at + length, end)
        if at < 0 or length > end - at:
            return np.int64(-1)
        if length > 0:
            at += length
    return at


@kernel
def cut_batches(buffer, batch_ends, counts, base_offsets, position, starts, ends, offsets):
    """Spans and offsets of the values in record batches that lie one behind the other; their number.

    `buffer` uint8, decompressed records without batch headers; of each batch `batch_ends` int64 (the first starts at
    0), `counts` int64 of records, `base_offsets` int64. Records below offset `position` are left out; a null value is
    an empty span. Fills `starts`, `ends`, `offsets` int64, as long as the sum of `counts`. Corrupt: -1 - (its batch).
    """
    n = 0
    at = np.int64(0)
    for b in range(len(counts)):
        batch_end = batch_ends[b]
        if batch_end > len(buffer) or batch_end < at:
            return -1 - b
        for _ in range(counts[b]):
            length, at = _varint(buffer, at, batch_end)
            if at < 0 or length < 1 or length > batch_end - at:
                return -1 - b
            end = at + length
            _, at = _varint(buffer, at + 1, end)  # behind the attributes: the timestamp
            if at < 0:
                return -1 - b
            delta, at = _varint(buffer, at, end)
            if at < 0 or delta < 0 or delta > OFFSET_DELTA_MAX:
                return -1 - b
            length, at = _varint(buffer, at, end)
            if at < 0 or length > end - at:
                return -1 - b
            if length > 0:
                at += length
            length, at = _varint(buffer, at, end)
            if at < 0 or length > end - at:
                return -1 - b
            start = at
            if length > 0:
                at += length
            offset = base_offsets[b] + delta
            if offset >= position:
                starts[n] = start
                ends[n] = at
                offsets[n] = offset
                n += 1
            if _headers_end(buffer, at, end) != end:
                return -1 - b
            at = end
        if at != batch_end:
            return -1 - b
    return n


def cut_batches_reference(
    buffer: bytes, batch_ends: list[int], counts: list[int], base_offsets: list[int], position: int
) -> list[tuple[int, int, int]] | int:
    """The plain reference of `cut_batches`: [(start, end, offset)], or -1 - (corrupt batch)."""
    spans: list[tuple[int, int, int]] = []
    at = 0
    for b, (batch_end, count, base) in enumerate(zip(batch_ends, counts, base_offsets, strict=True)):
        try:
            if not at <= batch_end <= len(buffer):
                raise ValueError("batch outside the buffer")
            for _ in range(count):
                record, at = _take(buffer, at, batch_end)
                if record is None or not record:
                    raise ValueError("empty record")
                origin = at - len(record)
                _, p = _varint_reference(record, 1)
                delta, p = _varint_reference(record, p)
                if not 0 <= delta <= OFFSET_DELTA_MAX:
                    raise ValueError("offset delta")
                _, p = _take(record, p, len(record))
                value, p = _take(record, p, len(record))
                if base + delta >= position:
                    spans.append((origin + p - len(value or b""), origin + p, base + delta))
                headers, p = _varint_reference(record, p)
                if not 0 <= headers <= len(record) - p:
                    raise ValueError("header count")
                for _ in range(headers):
                    key, p = _take(record, p, len(record))
                    if key is None:
                        raise ValueError("header without a key")
                    _, p = _take(record, p, len(record))
                if p != len(record):
                    raise ValueError("bytes left in a record")
            if at != batch_end:
                raise ValueError("bytes left in a batch")
        except (ValueError, IndexError):
            return -1 - b
    return spans


def _take(buffer: bytes, at: int, end: int) -> tuple[bytes | None, int]:
    """(bytes with a varint length before them, or None where it is negative; the place behind)."""
    length, at = _varint_reference(buffer[:end], at)
    if length > end - at:
        raise ValueError("length beyond the end")
    return (None, at) if length < 0 else (buffer[at : at + length], at + length)


def _varint_reference(buffer: bytes, at: int) -> tuple[int, int]:
    """(value, next place) of a zigzag varint; IndexError where it is cut off, ValueError beyond 64 bits."""
    value = 0
    for count in range(VARINT_BYTES_MAX):
        byte = buffer[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 128:
            if value >> 64:
                break
            return (value >> 1) ^ -(value & 1), at + count + 1
    raise ValueError("varint longer than 64 bits")
