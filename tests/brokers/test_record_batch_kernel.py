"""The kernel that cuts record batches, against its plain reference and against kafka-python's own encoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from operators.kernels.record_batch import cut_batches, cut_batches_reference

NULLABLE = st.none() | st.binary(max_size=40)
RECORD = st.tuples(
    st.integers(-(1 << 40), 1 << 40),  # timestamp delta
    st.integers(0, (1 << 31) - 1),  # offset delta
    NULLABLE,
    NULLABLE,
    st.lists(st.tuples(st.binary(max_size=8), NULLABLE), max_size=3),
)
BATCH = st.tuples(st.integers(0, 1 << 50), st.lists(RECORD, max_size=6))


def varint(value: int) -> bytes:
    """Zigzag, base 128, low groups first."""
    rest = ((value << 1) ^ (value >> 63)) & 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def field(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def encode(record: tuple) -> bytes:
    ts, delta, key, value, headers = record
    body = b"\0" + varint(ts) + varint(delta) + field(key) + field(value) + varint(len(headers))
    body += b"".join(field(name) + field(content) for name, content in headers)
    return field(body)


def cut(data: bytes, batch_ends: list[int], counts: list[int], bases: list[int], position: int):
    """The kernel's answer in the reference's form."""
    total = sum(counts)
    starts, ends, offsets = np.zeros(total, np.int64), np.zeros(total, np.int64), np.zeros(total, np.int64)
    columns = (np.array(column, np.int64) for column in (batch_ends, counts, bases))
    n = cut_batches(np.frombuffer(bytearray(data), np.uint8), *columns, np.int64(position), starts, ends, offsets)
    return n if n < 0 else list(zip(starts[:n].tolist(), ends[:n].tolist(), offsets[:n].tolist(), strict=True))


def joined(batches: list[tuple[int, list[tuple]]]) -> tuple[bytes, list[int], list[int], list[int]]:
    data, batch_ends = b"", []
    for _, records in batches:
        data += b"".join(encode(record) for record in records)
        batch_ends.append(len(data))
    return data, batch_ends, [len(records) for _, records in batches], [base for base, _ in batches]


@settings(deadline=None, max_examples=300)
@given(st.lists(BATCH, max_size=4), st.integers(0, 1 << 51))
def test_kernel_finds_every_value_at_or_after_the_position(batches: list, position: int) -> None:
    """Spans are those of the values that were encoded, of any batches with any offsets, keys, headers and nulls."""
    data, batch_ends, counts, bases = joined(batches)
    spans = cut(data, batch_ends, counts, bases, position)
    assert spans == cut_batches_reference(data, batch_ends, counts, bases, position)
    found = [(offset, data[start:end]) for start, end, offset in spans]
    wanted = [(base + r[1], r[3] or b"") for base, records in batches for r in records]
    assert found == [pair for pair in wanted if pair[0] >= position]


@settings(deadline=None, max_examples=600)
@given(st.lists(BATCH, min_size=1, max_size=3), st.data())
def test_corrupt_bytes_are_refused_exactly_as_the_reference_refuses_them(batches: list, data: st.DataObject) -> None:
    """Whatever bytes are changed, cut off or counted wrong, the kernel tells the same batch, or the same spans."""
    raw, batch_ends, counts, bases = joined(batches)
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 3))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        changed = changed[: data.draw(st.integers(0, len(changed)))]
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(counts) - 1))
        counts[place] += data.draw(st.integers(0, 3))
    assert cut(bytes(changed), batch_ends, counts, bases, 0) == cut_batches_reference(
        bytes(changed), batch_ends, counts, bases, 0
    )


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80), st.integers(1, 4))
def test_random_bytes_never_lead_outside_the_buffer(raw: bytes, count: int) -> None:
    """Noise is refused, or read within its bounds, as the reference does."""
    spans = cut(raw, [len(raw)], [count], [0], 0)
    assert spans == cut_batches_reference(raw, [len(raw)], [count], [0], 0)
    if isinstance(spans, list):
        assert all(0 <= start <= end <= len(raw) for start, end, _ in spans)


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\x01" + varint(1 << 40) + b"x\0",  # a value longer than its record, the sum beyond 32 bits
        b"\0\0\0\x01" + varint((1 << 63) - 1) + b"\0",  # beyond 64 bits
        b"\0" + b"\xff" * 10 + b"\0\x01\x01\0",  # a timestamp of eleven bytes
        b"\0\0\x01\x01\x01\0",  # a negative offset delta
        b"\0\0\0\x01\x01\x01",  # a negative number of headers
        b"\0\0\0\x01\x01\0\0",  # a byte too many
    ],
)
def test_a_record_that_contradicts_itself_is_corrupt(body: bytes) -> None:
    """Lengths are held against the record's end before they are followed."""
    data = field(body)
    assert cut(data, [len(data)], [1], [0], 0) == -1
    assert cut_batches_reference(data, [len(data)], [1], [0], 0) == -1


def test_kernel_reads_what_the_library_encodes() -> None:
    """kafka-python's own builder and reader are the oracle for the wire format."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1 << 20)
    rng = np.random.default_rng(3)
    for i in range(500):
        value = None if i % 50 == 0 else rng.bytes(int(rng.integers(0, 300)))
        builder.append(timestamp=i, key=rng.bytes(i % 9), value=value, headers=[("name", b"v")] * (i % 3))
    builder.close()
    batch = MemoryRecords(bytes(builder.buffer())).next_batch()
    data = bytes(batch._buffer[batch._pos :])
    spans = cut(data, [len(data)], [500], [0], 0)
    assert [(o, data[s:e]) for s, e, o in spans] == [(r.offset, r.value or b"") for r in batch]
