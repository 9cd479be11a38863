"""Journals: whatever was saved, a marker brings back the tables as they were, byte for byte, or says that it cannot."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import state.journal as journals
from state.journal import CorruptJournal, Journal, Marker, newest_journal, pack_rows, pack_rows_reference, unpack_rows
from state.table import Table

NARROW = np.dtype([("a", "i8"), ("b", "u1")], align=True)
WIDE = np.dtype([("x", "f4", (5,)), ("ring", "u2", (300,)), ("n", "i8")], align=True)

OPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.sampled_from(["narrow", "wide"]), st.integers(0, 40)),
        st.tuples(st.just("change"), st.sampled_from(["narrow", "wide"]), st.integers(0, 2**40)),
        st.tuples(st.just("zero"), st.sampled_from(["narrow", "wide"]), st.integers(0, 2**40)),
        st.tuples(st.just("save"), st.just(""), st.just(0)),
    ),
    max_size=40,
)

Image = dict[str, tuple[int, bytes]]


def make_tables() -> dict[str, Table]:
    return {"narrow": Table(NARROW, 1), "wide": Table(WIDE, 2)}


def image(tables: dict[str, Table]) -> Image:
    return {name: (t.size, t.rows[: t.size].tobytes()) for name, t in tables.items()}


def apply(tables: dict[str, Table], what: str, name: str, number: int) -> None:
    table = tables[name]
    if what == "extend":
        table.extend(number)
    elif table.size:
        row = number % table.size
        if what == "zero":
            table.words[row] = 0
        else:
            table.words[row, number % table.words.shape[1]] = np.uint64(number)
        table.dirty[row] = 1


@contextmanager
def thresholds(factor: int, bytes_min: int, records_min: int) -> Iterator[None]:
    """Rewrite a journal far sooner than in earnest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "_REWRITE_FACTOR", factor)
        patch.setattr(journals, "_REWRITE_BYTES_MIN", bytes_min)
        patch.setattr(journals, "_REWRITE_RECORDS_MIN", records_min)
        yield


def load(directory: Path, marker: Marker, tables: dict[str, Table] | None = None) -> tuple[Journal, dict[str, Table]]:
    journal, tables = Journal(directory, "u007", sync=False), tables or make_tables()
    journal.load(marker, tables)
    return journal, tables


@settings(max_examples=40, deadline=None)
@given(OPS, OPS, st.sampled_from([(3, 4 << 20, 16), (1, 0, 1), (2, 100, 3)]))
def test_any_marker_of_the_last_two_generations_brings_its_tables_back(
    before: list[tuple[str, str, int]], after: list[tuple[str, str, int]], limits: tuple[int, int, int]
) -> None:
    """Cut at an earlier marker, the tables are as of that marker, and the journal can be written on from there."""
    with tempfile.TemporaryDirectory() as text, thresholds(*limits):
        directory = Path(text) / "live"
        directory.mkdir()
        journal, tables = Journal(directory, "u007", sync=False), make_tables()
        saved = list[tuple[Marker, Image]]()
        for what, name, number in [*before, ("save", "", 0), *after, ("save", "", 0)]:
            if what == "save":
                saved.append((journal.save(tables), image(tables)))
                assert not any(t.dirty.any() for t in tables.values())
                assert journal.nbytes == journal.marker.length
            else:
                apply(tables, what, name, number)
        newest = journal.marker.generation
        assert len(list(directory.iterdir())) <= 2
        for n, (marker, expected) in enumerate(saved):
            if marker.generation < newest - 1:
                continue
            copy = Path(text) / f"copy-{n}"
            shutil.copytree(directory, copy)
            resumed, again = load(copy, marker)
            assert image(again) == expected
            assert not any(t.dirty.any() for t in again.values())
            assert resumed.marker == marker
            for what, name, number in after:
                if what != "save":
                    apply(again, what, name, number)
            end = resumed.save(again)
            resumed.save(again)
            assert image(load(copy, end)[1]) == image(again)


def saved_journal(directory: Path) -> tuple[list[Marker], dict[str, Table]]:
    journal, tables = Journal(directory, "u007"), make_tables()
    markers = []
    for n in range(4):
        tables["narrow"].extend(2)
        tables["narrow"].rows["a"][: 2 * n + 2] += n
        tables["narrow"].dirty[: 2 * n + 2] = 1
        tables["wide"].extend(n)
        tables["wide"].rows["ring"][: tables["wide"].size, 3] = 9
        markers.append(journal.save(tables))
    return markers, tables


def test_torn_tail_is_cut_off(tmp_path: Path) -> None:
    """What a crash left behind the marker is gone after the load, be it half a record or noise."""
    markers, tables = saved_journal(tmp_path)
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(path.read_bytes()[-20:-3] + b"\xff\x00noise")
    journal, again = load(tmp_path, markers[-1])
    assert image(again) == image(tables)
    assert path.stat().st_size == markers[-1].length == journal.nbytes
    again["narrow"].extend(1)
    assert image(load(tmp_path, journal.save(again))[1]) == image(again)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_damaged_byte_is_found_and_told(data: st.DataObject) -> None:
    """No damaged byte before the marker goes unnoticed: the error names the file and the record it lies in."""
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        markers, _ = saved_journal(directory)
        (path,) = directory.iterdir()
        whole = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(whole)
        with pytest.raises(CorruptJournal, match=re.escape(str(path))) as raised:
            load(directory, markers[-1])
        found = re.search(r"damaged record at byte (\d+)", str(raised.value))
        if at >= markers[0].length:
            record = max(m.length for m in markers if m.length <= at)
            assert found and int(found[1]) == record
        else:
            assert found or "first bytes are damaged" in str(raised.value)


def test_what_the_marker_promises_must_be_there(tmp_path: Path) -> None:
    """A journal that is gone, too short, or cut in the middle of a record is told as such."""
    markers, _ = saved_journal(tmp_path)
    with pytest.raises(CorruptJournal, match=r"u007\.000009: the snapshot names this journal, but it is not there"):
        load(tmp_path, Marker(9, 100))
    (path,) = tmp_path.iterdir()
    with pytest.raises(CorruptJournal, match=f"bytes, but the snapshot reaches to {markers[-1].length + 1}"):
        load(tmp_path, Marker(1, markers[-1].length + 1))
    for length in (markers[1].length + 5, markers[1].length + 40):
        with pytest.raises(CorruptJournal, match=re.escape(str(path))):
            load(tmp_path, Marker(1, length))


def test_resume_in_the_generation_before_forgets_the_newer(tmp_path: Path) -> None:
    """The engine may still resume before a rewrite: the newer file goes, and the next rewrite makes it anew."""
    with thresholds(1, 0, 1):
        journal, tables = Journal(tmp_path, "u007"), make_tables()
        kept = list[tuple[Marker, Image]]()
        while journal.marker.generation < 3:
            tables["narrow"].extend(1)
            tables["narrow"].rows["a"][tables["narrow"].size - 1] = 5
            kept.append((journal.save(tables), image(tables)))
        marker, expected = next(k for k in reversed(kept) if k[0].generation == 2)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["u007.000002", "u007.000003"]
        resumed, again = load(tmp_path, marker)
        assert image(again) == expected
        assert sorted(p.name for p in tmp_path.iterdir()) == ["u007.000002"]
        while resumed.marker.generation < 3:
            again["narrow"].extend(1)
            resumed.save(again)
        assert image(load(tmp_path, resumed.marker)[1]) == image(again)


def test_a_journal_is_rewritten_however_often_the_worker_restarts(tmp_path: Path) -> None:
    """Its length stays within a few times of what it stands for, also when every run is a short one."""
    with thresholds(3, 0, 16):
        journal, tables = Journal(tmp_path, "u007", sync=False), make_tables()
        tables["narrow"].extend(1)
        first = journal.save(tables).length
        longest = 0
        for n in range(1, 401):
            tables["narrow"].rows["a"][0] = n
            tables["narrow"].dirty[0] = 1
            marker = journal.save(tables)
            longest = max(longest, marker.length)
            if n % 4 == 0:
                journal, tables = load(tmp_path, marker)
        assert longest < 10 * first


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    """An idle shard's snapshot costs no byte, and asks nothing of the names."""
    asked = []
    journal, tables = (
        Journal(tmp_path, "u007", before_save=lambda: asked.append(len(list(tmp_path.iterdir())))),
        make_tables(),
    )
    tables["wide"].extend(1)
    marker = journal.save(tables)
    assert asked == [0], "the names are on disk before the journal is"
    assert journal.save(tables) == marker and len(asked) == 1
    assert (tmp_path / "u007.000001").stat().st_size == marker.length


def test_files_of_epochs_that_never_ended_are_set_aside(tmp_path: Path) -> None:
    """Without a snapshot to resume from, old files are neither read nor lost; those of other shards stay."""
    markers, tables = saved_journal(tmp_path)
    (tmp_path / "u0070.000001").write_bytes(b"another shard's")
    old = (tmp_path / "u007.000001").read_bytes()
    fresh = Journal(tmp_path, "u007")
    fresh.start_afresh()
    assert (tmp_path / "u007.000001.orphan").read_bytes() == old
    assert (tmp_path / "u0070.000001").exists()
    marker = fresh.save(tables)
    assert marker.generation == 1 and image(load(tmp_path, marker)[1]) == image(tables)
    assert markers[-1].length == len(old)


def test_a_looker_reads_up_to_the_last_whole_record(tmp_path: Path) -> None:
    """Beside a running worker the newest generation is read as far as it is whole, and nothing on disk changes."""
    markers, tables = saved_journal(tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    assert newest_journal(tmp_path, "u007") == (path, markers[-1])
    path.write_bytes(whole + b"CJ01\0\0\0\0\xff\0\0\0\0\0\0\0half")
    found = newest_journal(tmp_path, "u007")
    assert found == (path, markers[-1])
    again = make_tables()
    journals.read_journal(*found, again)
    assert image(again) == image(tables)
    assert path.stat().st_size > len(whole)
    assert newest_journal(tmp_path, "u008") is None


OLD = np.dtype([("hash", "u8"), ("gone", "i4"), ("count", "u2"), ("tiles", "i4", (3,))], align=True)
NEW = np.dtype([("added", "f8"), ("hash", "u8"), ("count", "i8"), ("tiles", "i4", (3,)), ("late", "u1")], align=True)


def old_journal(directory: Path, rows: int = 5) -> Marker:
    table = Table(OLD, 1)
    table.extend(rows)
    table.rows["hash"][:rows] = np.arange(1, rows + 1)
    table.rows["gone"][:rows] = -7
    table.rows["count"][:rows] = 65535
    table.rows["tiles"][:rows] = [1, -2, 3]
    return Journal(directory, "u007").save({"rows": table})


def test_an_older_record_type_is_read(tmp_path: Path) -> None:
    """Fields that came are zero, fields that went are left out, wider ones keep their values; so also in the end."""
    marker = old_journal(tmp_path)
    tables = {"rows": Table(NEW, 1)}
    load(tmp_path, marker, tables)
    rows = tables["rows"].rows[:5]
    assert rows["hash"].tolist() == [1, 2, 3, 4, 5]
    assert rows["count"].tolist() == [65535] * 5
    assert rows["tiles"].tolist() == [[1, -2, 3]] * 5
    assert not rows["added"].any() and not rows["late"].any()


@pytest.mark.parametrize("newer", [NEW, np.dtype([("hash", "u8"), ("other", "i8"), ("count", "i8"), ("n", "i8")])])
def test_a_journal_begun_by_an_older_version_can_be_written_on(tmp_path: Path, newer: np.dtype) -> None:
    """After an upgrade the state survives the next restarts too, whether the rows became longer or stayed as long."""
    marker = old_journal(tmp_path)
    tables = {"rows": Table(newer, 1)}
    journal, _ = load(tmp_path, marker, tables)
    for n in range(3):
        tables["rows"].rows["count"][n] = 1000 + n
        tables["rows"].dirty[n] = 1
        marker = journal.save(tables)
        again = {"rows": Table(newer, 1)}
        load(tmp_path, marker, again)
        assert image(again) == image(tables)


def test_a_table_that_came_or_went_does_not_shift_the_others(tmp_path: Path) -> None:
    """A step that keeps one table more, or one less, reads the rest of its older journal, and writes on."""
    journal, tables = Journal(tmp_path, "u007"), make_tables()
    tables["narrow"].extend(3)
    tables["wide"].extend(2)
    tables["wide"].rows["n"][:2] = 4
    marker = journal.save(tables)
    fewer_and_more = {"new": Table(NARROW), "wide": Table(WIDE)}
    journal, _ = load(tmp_path, marker, fewer_and_more)
    assert fewer_and_more["wide"].rows["n"][:2].tolist() == [4, 4] and fewer_and_more["new"].size == 0
    fewer_and_more["new"].extend(1)
    fewer_and_more["new"].rows["a"][0] = 11
    marker = journal.save(fewer_and_more)
    again = {"new": Table(NARROW), "wide": Table(WIDE)}
    load(tmp_path, marker, again)
    assert image(again) == image(fewer_and_more)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(0, 12), st.floats(0, 1))
def test_packed_rows_are_those_of_the_reference_and_unpack_again(
    seed: int, width: int, count: int, filled: float
) -> None:
    """Rows are packed without their zero words, in any order, and come back over whatever stood there."""
    random = np.random.default_rng(seed)
    words = random.integers(1, 2**64, (20, width), np.uint64) * (random.random((20, width)) < filled)
    rows = random.permutation(20)[:count].astype(np.int32)
    out = np.empty(count * (width + -(-width // 64)), np.uint64)
    used = pack_rows(words, rows, out)
    assert out[:used].tolist() == pack_rows_reference(words, rows).tolist()
    target = np.full_like(words, 5)
    unpack_rows(out[:used], rows, target)
    assert np.array_equal(target[rows], words[rows])
    rest = np.setdiff1d(np.arange(20), rows)
    assert (target[rest] == 5).all()
