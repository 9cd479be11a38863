"""Reading log files: nothing lost, nothing twice, from any position, whatever the packing."""

from __future__ import annotations

import gzip
import pickle
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings

from operators.read_files import FileReader, LogError, file_reader, open_to_read, open_to_write

ENDINGS = ("", ".gz", ".zst")


def pack(data: bytes, ending: str) -> bytes:
    if ending == ".gz":
        return gzip.compress(data)
    if ending == ".zst":
        return zstandard.ZstdCompressor().compress(data)
    return data


def expected(data: bytes, line_bytes_max: int = file_reader.LINE_BYTES_MAX) -> list[tuple[int, bytes]]:
    """The oracle: (line number, record) by splitting the whole text."""
    records = []
    for number, line in enumerate(data.split(b"\n")):
        if number == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        record = line.removesuffix(b"\r")
        if record.strip(b" \t\r"):
            records.append((number, record[: line_bytes_max + 1]))
    return records


def read_on(reader: FileReader) -> Iterator[tuple[int, bytes]]:
    while (batch := reader.read()) is not None:
        for i in range(len(batch)):
            yield int(batch.offsets[i]), batch.record(i)


def read_file(path: Path) -> list[tuple[int, bytes]]:
    with closing(FileReader(path)) as reader:
        return list(read_on(reader))


def lines_of(n: int) -> bytes:
    return b"".join(b'{"type":"view","ts":%d,"user_id":"u%d"}\n' % (1_700_000_000_000 + i, i) for i in range(n))


TEXT = st.lists(
    st.sampled_from(
        [b"a", b"{}", b"\r", b"\n", b"\n", b"\r\n", b" ", b"\t", b"long" * 12, b"\xc3\xa9", b"\xef\xbb\xbf"]
    )
).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(data=TEXT, block=st.integers(1, 40), records_max=st.integers(1, 5), ending=st.sampled_from(ENDINGS))
def test_any_text_reads_as_its_lines_from_every_resume_point(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, block: int, records_max: int, ending: str
) -> None:
    """Whatever the block size and packing, the records are the lines; so is the rest, from each position on the way."""
    path = tmp_path_factory.mktemp("any") / f"log.jsonl{ending}"
    path.write_bytes(pack(data, ending))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_reader, "BLOCK_BYTES", block)
        patch.setattr(file_reader, "LINE_BYTES_MAX", 20)
        patch.setattr(file_reader, "BATCH_BYTES_MAX", 60)
        wanted = expected(data, 20)
        reader = FileReader(path, records_max=records_max)
        taken: list[tuple[int, bytes]] = []
        while True:
            resumed = FileReader(path, pickle.loads(pickle.dumps(reader.position())), records_max=3)
            assert list(read_on(resumed)) == wanted[len(taken) :]
            assert resumed.exhausted
            resumed.close()
            batch = reader.read()
            if batch is None:
                break
            assert 1 <= len(batch) <= records_max
            taken += [(int(batch.offsets[i]), batch.record(i)) for i in range(len(batch))]
        assert taken == wanted
        assert reader.exhausted
        reader.close()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_large_log_reads_the_same_packed_or_not(tmp_path: Path, ending: str) -> None:
    """Several blocks, the real block size: every line once, in full batches, in order."""
    data = lines_of(60_000)
    path = tmp_path / f"log.jsonl{ending}"
    path.write_bytes(pack(data, ending))
    reader = FileReader(path, partition=3, clock=lambda: 12.5)
    sizes, records, offsets = [], [], []
    while (batch := reader.read()) is not None:
        assert (batch.source, batch.partition, batch.read_at) == ("log", 3, 12.5)
        sizes.append(len(batch))
        offsets.append(batch.offsets)
        records += [batch.record(i) for i in range(len(batch))]
    assert b"\n".join(records) + b"\n" == data
    assert set(sizes[:-1]) == {4096}
    np.testing.assert_array_equal(np.concatenate(offsets), np.arange(60_000))
    assert reader.position() == (60_000, len(data))
    reader.close()


@pytest.mark.parametrize("ending", (".gz", ".zst"))
def test_a_packed_log_may_have_several_members(tmp_path: Path, ending: str) -> None:
    """Logs that were packed piece by piece and joined are one log."""
    path = tmp_path / f"log.jsonl{ending}"
    path.write_bytes(pack(b"one\ntw", ending) + pack(b"", ending) + pack(b"o\nthree\n", ending))
    assert [record for _, record in read_file(path)] == [b"one", b"two", b"three"]


def test_zeros_between_and_after_gzip_members_are_padding(tmp_path: Path) -> None:
    """As gzip itself has it."""
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(b"one\n") + bytes(700) + gzip.compress(b"two\n") + bytes(99_000))
    assert [record for _, record in read_file(path)] == [b"one", b"two"]


def test_a_line_beyond_the_bound_is_handed_out_cut_and_the_next_one_whole(tmp_path: Path) -> None:
    """One byte more than the bound is left of it, for decoding to refuse; its neighbours are untouched."""
    bound = file_reader.LINE_BYTES_MAX
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"a\n" + b"x" * bound + b"\r\n" + b"y" * (3 * bound + 17) + b"\nb\n" + b"z" * (bound + 1) + b"\nc")
    reader = FileReader(path)
    found = [(number, record[:1], len(record)) for number, record in read_on(reader)]
    assert found == [
        (0, b"a", 1),
        (1, b"x", bound),
        (2, b"y", bound + 1),
        (3, b"b", 1),
        (4, b"z", bound + 1),
        (5, b"c", 1),
    ]
    assert reader.position() == (6, path.stat().st_size)
    reader.close()


def test_waiting_text_stays_within_its_bound(tmp_path: Path) -> None:
    """A log of very long lines is not read ahead by thousands of them."""
    path = tmp_path / "log.jsonl"
    path.write_bytes((b"x" * 900_000 + b"\n") * 40)
    reader = FileReader(path)
    sizes = []
    while (batch := reader.read()) is not None:
        assert len(batch.buffer) <= file_reader.BATCH_BYTES_MAX + file_reader.BLOCK_BYTES
        sizes.append(len(batch))
    assert sum(sizes) == 40
    reader.close()


@pytest.mark.parametrize("ending", (".gz", ".zst"))
def test_a_torn_packed_log_gives_its_whole_lines_and_then_says_so(tmp_path: Path, ending: str) -> None:
    """The end of the file in the middle of packed text is an error, not an end, and no half line is a record."""
    rng = random.Random(1)
    data = b"".join(b"%d\n" % rng.getrandbits(400) for _ in range(20_000))
    packed = pack(data, ending)
    path = tmp_path / f"log.jsonl{ending}"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    reader = FileReader(path)
    records = []
    with pytest.raises(LogError, match=rf"log\.jsonl{ending}: ends at byte {len(packed) * 2 // 3} in the middle"):
        for _, record in read_on(reader):
            records.append(record)
    assert len(records) > 5_000
    assert records == data.split(b"\n")[: len(records)]
    assert not reader.exhausted
    reader.close()


@pytest.mark.parametrize("ending", (".gz", ".zst"))
def test_a_damaged_packed_log_names_file_and_place(tmp_path: Path, ending: str) -> None:
    """Bytes turned over in the middle: whole lines before, then an error with the place in the packed file."""
    rng = random.Random(2)
    packed = bytearray(pack(b"".join(b"%d\n" % rng.getrandbits(400) for _ in range(20_000)), ending))
    for at in range(1_000_000, 1_000_400):
        packed[at] ^= 0xFF
    path = tmp_path / f"log.jsonl{ending}"
    path.write_bytes(packed)
    with pytest.raises(LogError, match=r"damaged between bytes \d+ and \d+ of the packed file") as failure:
        read_file(path)
    assert str(path) in str(failure.value)


def test_a_file_that_is_not_packed_as_its_name_says_is_refused(tmp_path: Path) -> None:
    """Plain text named .gz is an error that names the file."""
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(lines_of(3))
    with pytest.raises(LogError, match=r"log\.jsonl\.gz: damaged between bytes 0 and"):
        read_file(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_log_that_was_changed_is_not_read_on(tmp_path: Path, ending: str) -> None:
    """Shorter than the position, or with the position inside a line: the state belongs to another file."""
    path = tmp_path / f"log.jsonl{ending}"
    path.write_bytes(pack(lines_of(100), ending))
    reader = FileReader(path, records_max=50)
    reader.read()
    position = reader.position()
    reader.close()
    path.write_bytes(pack(lines_of(10), ending))
    with pytest.raises(LogError, match=r"line 50 .* shorter than that"):
        FileReader(path, position)
    path.write_bytes(pack(b"x" * 100_000, ending))
    with (
        pytest.raises(LogError, match=r"line 50 .* no line's beginning"),
        closing(FileReader(path, position)) as reader,
    ):
        reader.read()


def test_a_last_line_without_newline_is_a_record_and_can_be_resumed_after(tmp_path: Path) -> None:
    """A torn last newline loses nothing, and reading on after it finds nothing more."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"one\ntwo")
    reader = FileReader(path)
    assert list(read_on(reader)) == [(0, b"one"), (1, b"two")]
    resumed = FileReader(path, reader.position())
    assert resumed.read() is None
    assert resumed.exhausted
    reader.close()
    resumed.close()


def test_peeking_does_not_move(tmp_path: Path) -> None:
    """What was seen is read again, and moving on by some of it leaves the rest."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(lines_of(10))
    reader = FileReader(path)
    seen = reader.peek(6)
    assert seen is not None and len(seen) == 6
    assert reader.position() == (0, 0)
    reader.advance(4)
    assert reader.position()[0] == 4
    assert [number for number, _ in read_on(reader)] == list(range(4, 10))
    with pytest.raises(ValueError, match="cannot move on by 1"):
        reader.advance(1)
    reader.close()


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_written_is_read_and_is_the_same_file_every_time(tmp_path: Path, ending: str) -> None:
    """Round trip through every packing; equal bytes make equal files."""
    data = lines_of(5_000)
    paths = [tmp_path / f"{name}.jsonl{ending}" for name in ("a", "b")]
    for path, size in zip(paths, (1 << 20, 1000), strict=True):
        with open_to_write(path) as write:
            for low in range(0, len(data), size):
                write(data[low : low + size])
    for path in paths:
        with open_to_read(path) as file:
            assert file.readall() == data
    assert ending == ".zst" or paths[0].read_bytes() == paths[1].read_bytes()


def test_a_file_that_fails_half_way_does_not_replace_what_was_there(tmp_path: Path) -> None:
    """Until all is written the old file stands, and no part is left over."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"old\n")
    with pytest.raises(RuntimeError), open_to_write(path) as write:
        write(b"new\n")
        raise RuntimeError
    assert path.read_bytes() == b"old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]
