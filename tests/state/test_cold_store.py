"""The cold tier: what was put comes back word for word, and a marker brings back what was there, whatever happened."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import state.cold_store as cold
from state.cold_store import NEVER, ColdStore, read_cold
from state.journal import CorruptJournal, Marker

NAME = "profiles-007"
Model = dict[int, tuple[int, list[int]]]

# Hashes of one shard are alike in their low bits; a few of no pattern, and the ends of the range.
HASHES = st.one_of(st.integers(1, 12).map(lambda k: k << 4 | 7), st.sampled_from([0, 1, 2**63, 2**64 - 1]))
DUES = st.one_of(st.integers(-5, 20), st.just(NEVER))
ENTRIES = st.lists(st.tuples(HASHES, DUES, st.integers(0, 30)), max_size=12)
SOME = st.lists(HASHES, max_size=10)
OPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), ENTRIES),
        st.tuples(st.just("put"), ENTRIES),
        st.tuples(st.just("take"), SOME),
        st.tuples(st.just("save"), st.none()),
        st.tuples(st.just("crash"), st.integers(0, 5)),
        st.tuples(st.just("crash in save"), st.tuples(st.integers(0, 9), st.integers(0, 5))),
    ),
    max_size=30,
)


class Crash(Exception):
    """The process ends here."""


@contextmanager
def thresholds(buffer: int, chunk: int, gap: int, dead: int, saves: int) -> Iterator[None]:
    """Write, read in pieces and rewrite far sooner than in earnest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cold, "_BUFFER_WORDS", buffer)
        patch.setattr(cold, "_CHUNK_WORDS", chunk)
        patch.setattr(cold, "_GAP_WORDS", gap)
        patch.setattr(cold, "_DEAD_BYTES_MIN", dead)
        patch.setattr(cold, "_REWRITE_SAVES_MIN", saves)
        yield


@contextmanager
def crash_at(call: int) -> Iterator[None]:
    """The call-th change of the disk does not take place, or, of a write, by half."""
    left = [call]

    def due() -> bool:
        left[0] -= 1
        return left[0] == -1

    with pytest.MonkeyPatch.context() as patch:
        pwrite, rename, unlink, fsync = os.pwrite, Path.rename, Path.unlink, os.fsync

        def torn(fd: int, data: memoryview, offset: int) -> int:
            if due():
                pwrite(fd, data[: len(data) // 2], offset)
                raise Crash
            return pwrite(fd, data, offset)

        def none(*args: object) -> None:
            raise Crash

        patch.setattr(os, "pwrite", torn)
        patch.setattr(os, "fsync", lambda fd: none() if due() else fsync(fd))
        patch.setattr(Path, "rename", lambda self, to: none() if due() else rename(self, to))
        patch.setattr(Path, "unlink", lambda self: none() if due() else unlink(self))
        yield


def opened(directory: Path, marker: Marker = Marker(0, 0), sync: bool = False) -> ColdStore:
    store = ColdStore(directory, NAME, sync)
    store.load(marker.generation, marker.length)
    return store


def put(store: ColdStore, entries: list[tuple[int, int, list[int]]]) -> None:
    hashes = np.array([e[0] for e in entries], np.uint64)
    dues = np.array([e[1] for e in entries], np.int64)
    starts = np.cumsum([0, *(len(e[2]) for e in entries)])
    store.put(hashes, dues, starts, np.array([w for e in entries for w in e[2]], np.uint64))


def cut(starts: np.ndarray, words: np.ndarray) -> list[list[int]]:
    return [words[a:b].tolist() for a, b in pairwise(starts)]


def content(model: Model) -> dict[int, list[int]]:
    return {h: words for h, (_, words) in model.items()}


def looked_at(directory: Path) -> dict[int, list[int]]:
    hashes, starts, words = read_cold(directory, NAME)
    return dict(zip(hashes.tolist(), cut(starts, words), strict=True))


def check(store: ColdStore, model: Model) -> None:
    """The store holds what the model does; asked in an order of its own, twice for some, and for some that are not."""
    asked = [*sorted(model, key=lambda h: h % 11), 5, *list(model)[:3]]
    found, starts, words = store.peek(np.array(asked, np.uint64))
    assert found.tolist() == store.has(np.array(asked, np.uint64)).tolist() == [h in model for h in asked]
    assert cut(starts, words) == [model[h][1] for h in asked if h in model]
    assert store.size == len(model)
    for now in (-6, 0, 7, 20):
        expected = {h for h, (due, _) in model.items() if due <= now}
        for most in (0, 2, 100):
            due = store.due(now, most).tolist()
            assert len(set(due)) == len(due) == min(most, len(expected)) and set(due) <= expected


@settings(max_examples=200, deadline=None)
@given(
    OPS,
    st.sampled_from([(1 << 17, 1 << 19, 256, 8 << 20, 16), (16, 8, 0, 0, 0), (64, 40, 8, 100, 0), (200, 64, 4, 0, 2)]),
)
def test_it_is_a_dict_that_any_kept_marker_brings_back(
    ops: list[tuple[str, object]], limits: tuple[int, int, int, int, int]
) -> None:
    """Whatever is put, taken and saved, with crashes anywhere, a rewrite's middle included, and resumes at any marker
    of the newest two generations: entries and dues are those of a dict that was copied at that marker."""
    with tempfile.TemporaryDirectory() as text, thresholds(*limits):
        directory = Path(text)
        store, model = opened(directory), Model()
        saved: list[tuple[Marker, Model]] = [(Marker(0, 0), {})]
        serial = 0
        for what, argument in ops:
            back = None
            if what == "put":
                entries = []
                for h, due, size in argument:
                    serial += 1
                    entries.append((h, due, [serial] * size))
                    model[h] = (due, entries[-1][2])
                put(store, entries)
            elif what == "take":
                expected = [(h in model, model.pop(h, (0, []))[1]) for h in argument]
                found, starts, words = store.take(np.array(argument, np.uint64))
                assert found.tolist() == [there for there, _ in expected]
                assert cut(starts, words) == [words for there, words in expected if there]
            elif what == "crash":
                back = argument
            else:
                call, number = (1000, 0) if what == "save" else argument
                try:
                    with crash_at(call):
                        marker = store.save()
                    assert store.nbytes == marker.length
                    saved.append((marker, dict(model)))
                    assert looked_at(directory) == content(model)
                    assert len(list(directory.glob(f"{NAME}.*[0-9]"))) <= 2
                except Crash:
                    back = number
            if back is not None:
                store.close()
                kept = [n for n, (m, _) in enumerate(saved) if m.generation >= saved[-1][0].generation - 1]
                del saved[kept[-1 - back % len(kept)] + 1 :]
                marker, model = saved[-1][0], dict(saved[-1][1])
                store = opened(directory, marker)
                assert store.save() == marker
                assert not list(directory.glob("*.draft"))
            check(store, model)
        store.close()


@pytest.mark.parametrize("sync", [True, False])
def test_a_rewrite_may_be_cut_short_at_any_call(tmp_path: Path, sync: bool) -> None:
    """Wherever the process ends in a save that rewrites: the marker before brings back what it stands for, the next
    save is done as if nothing had been, and who looks on sees entries as they were or as they are, never a part."""
    with thresholds(64, 40, 8, 0, 0):
        call, ended = 0, True
        while ended:
            directory = tmp_path / str(call)
            directory.mkdir()
            store = opened(directory, sync=sync)
            model: Model = {h: (h, [h] * 11) for h in range(20)}
            put(store, [(h, due, words) for h, (due, words) in model.items()])
            marker = store.save()
            store.take(np.arange(12).astype(np.uint64))
            left = {h: model[h] for h in range(12, 20)}
            ended = False
            try:
                with crash_at(call):
                    assert store.save().generation == 2
            except Crash:
                ended = True
            store.close()
            assert looked_at(directory) in (content(model), content(left))
            store = opened(directory, marker, sync)
            assert [p.name for p in directory.iterdir()] == [f"{NAME}.000001"]
            check(store, model)
            store.take(np.arange(12).astype(np.uint64))
            marker = store.save()
            assert marker.generation == 2
            check(opened(directory, marker), left)
            call += 1
        assert call > (8 if sync else 5)


def filled(directory: Path) -> tuple[ColdStore, list[Marker], Model]:
    """A store of five saves: entries of several sizes, some replaced, some taken."""
    store, model, markers = opened(directory, sync=True), Model(), []
    for n in range(5):
        entries = [(7 + 16 * (k + 2 * n), k, [n, k, 0, 2**64 - 1] * k) for k in range(6)]
        put(store, entries)
        model.update({h: (due, words) for h, due, words in entries})
        gone = entries[n][0]
        store.take(np.array([gone, 3], np.uint64))
        del model[gone]
        markers.append(store.save())
    return store, markers, model


def test_nothing_is_on_disk_before_anything_was_put(tmp_path: Path) -> None:
    """A shard whose shoppers all fit costs no file; asking makes none, and the first entry begins generation 1."""
    store = opened(tmp_path)
    some = np.array([1, 2], np.uint64)
    assert store.save() == Marker(0, 0) and store.nbytes == store.size == 0
    assert [a.tolist() for a in store.take(some)] == [[False, False], [0], []]
    put(store, [])
    assert store.save() == Marker(0, 0) and not list(tmp_path.iterdir())
    assert [len(a) for a in read_cold(tmp_path / "nowhere", NAME)] == [0, 1, 0]
    put(store, [(1, 0, [5])])
    marker = store.save()
    assert marker.generation == 1 and [p.name for p in tmp_path.iterdir()] == [f"{NAME}.000001"]
    assert (tmp_path / f"{NAME}.000001").stat().st_size == marker.length
    assert store.save() == marker


def test_files_of_epochs_that_never_ended_are_set_aside(tmp_path: Path) -> None:
    """Without a marker to resume from, old files are neither read nor lost; those of other shards stay."""
    filled(tmp_path)[0].close()
    (tmp_path / f"{NAME}0.000001").write_bytes(b"another shard's")
    old = (tmp_path / f"{NAME}.000001").read_bytes()
    store = opened(tmp_path)
    assert store.size == 0 and looked_at(tmp_path) == {}
    assert (tmp_path / f"{NAME}.000001.orphan").read_bytes() == old
    assert (tmp_path / f"{NAME}0.000001").exists()
    put(store, [(9, 1, [4])])
    assert store.save().generation == 1 and looked_at(tmp_path) == {9: [4]}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_byte_is_found_and_told(data: st.DataObject) -> None:
    """No damaged byte before the marker goes unnoticed: a resume names file and place, and so does a running store,
    which hands out what lies in sound records."""
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        store, markers, model = filled(directory)
        (path,) = directory.iterdir()
        whole = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(whole)
        for h, (_, words) in model.items():
            try:
                assert cut(*store.peek(np.array([h], np.uint64))[1:]) == [words]
            except CorruptJournal as error:
                place = int(re.search(r"damaged record at byte (\d+)", str(error))[1])
                assert str(path) in str(error) and place <= at < place + 32 + 8 * len(words)
        store.close()
        with pytest.raises(CorruptJournal, match=re.escape(str(path))) as raised:
            opened(directory, markers[-1])
        place = int(re.search(r"damaged record at byte (\d+)", str(raised.value))[1])
        assert max(m.length for m in (Marker(0, 0), *markers) if m.length <= at) <= place <= at


def test_what_the_marker_promises_must_be_there(tmp_path: Path) -> None:
    """A file that is gone, too short, or a marker in the middle of a record, is told as such."""
    store, markers, model = filled(tmp_path)
    store.close()
    with pytest.raises(CorruptJournal, match=r"007\.000009: the snapshot names this file, but it is not there"):
        opened(tmp_path, Marker(9, 100))
    last = markers[-1].length
    with pytest.raises(CorruptJournal, match=f"{last} bytes, but the snapshot reaches to {last + 1}"):
        opened(tmp_path, Marker(1, last + 1))
    for length in (0, 8, markers[1].length + 5, markers[1].length + 8, markers[1].length + 40):
        with pytest.raises(CorruptJournal, match="damaged record at byte"):
            opened(tmp_path, Marker(1, length))
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b"\xff torn \x00")
    check(opened(tmp_path, markers[-1]), model)
    assert path.stat().st_size == last
    os.truncate(path, last - 1)
    with pytest.raises(CorruptJournal, match=f"{last - 1} bytes, but"):
        opened(tmp_path, markers[-1])


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """Records of the right form do not make a cold file: it says what it is in its first bytes."""
    store, markers, _ = filled(tmp_path)
    store.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[32:])
    with pytest.raises(CorruptJournal, match="damaged record at byte 0"):
        opened(tmp_path, Marker(1, markers[-1].length - 32))


def test_a_looker_reads_up_to_the_last_whole_record_and_changes_nothing(tmp_path: Path) -> None:
    """Beside a running worker; all entries, or those that are asked for. Damage is told."""
    store, _, model = filled(tmp_path)
    put(store, [(1, 1, [1, 1])])  # still in the memory of the worker
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for torn in (whole, whole + whole[32:51], whole + whole[64:120]):
        path.write_bytes(torn)
        assert looked_at(tmp_path) == content(model)
        assert path.read_bytes() == torn and len(list(tmp_path.iterdir())) == 1
    some = [*list(model)[3:5], 77]
    hashes, starts, words = read_cold(tmp_path, NAME, np.array(some, np.uint64))
    assert dict(zip(hashes.tolist(), cut(starts, words), strict=True)) == {h: model[h][1] for h in some[:2]}
    path.write_bytes(whole[:100] + b"\xff\xfe" + whole[102:])
    with pytest.raises(CorruptJournal, match="damaged record at byte"):
        read_cold(tmp_path, NAME)


def test_entries_larger_than_every_buffer_come_back(tmp_path: Path) -> None:
    """Together with small ones: from memory, from the file, after a resume and after a rewrite."""
    model: Model = {n: (n, [n, 2**64 - n] * size) for n, size in ((1, 350_000), (2, 1), (3, 100_000), (4, 0), (5, 2))}
    with thresholds(1 << 17, 1 << 19, 256, 1, 0):
        store = opened(tmp_path)
        put(store, [(h, due, words) for h, (due, words) in model.items()])
        put(store, [(6, 0, [6] * 1_000_000)])
        check(store, {**model, 6: (0, [6] * 1_000_000)})
        store = opened(tmp_path, store.save())
        store.take(np.array([6, 2], np.uint64))
        del model[2]
        check(store, model)
        marker = store.save()
        assert marker.generation == 2 and store.nbytes < 8 * 950_000
        check(opened(tmp_path, marker), model)


def test_places_beyond_four_gigabytes_are_found(tmp_path: Path) -> None:
    """Offsets are 64 bits wide in memory and in the calls: here behind a hole of 5 GiB."""
    store = opened(tmp_path)
    near, far = (1, 0, [1, 2, 3]), (2, 0, [4, 5])
    put(store, [near])
    store.save()
    store._written = (5 << 30) // 8
    put(store, [far])
    store.save()
    put(store, [(3, 0, [6])])
    check(store, {h: (due, words) for h, due, words in (near, far, (3, 0, [6]))})
    found, starts, words = store.take(np.array([3, 2, 1], np.uint64))
    assert found.all() and cut(starts, words) == [[6], [4, 5], [1, 2, 3]]


def test_calls_that_do_less_than_they_were_asked_for_are_gone_on_with(tmp_path: Path) -> None:
    """The system may write and read a part only, and need not have anything in its cache."""
    with pytest.MonkeyPatch.context() as patch:
        pwrite, preadv = os.pwrite, os.preadv

        def reluctant(fd: int, parts: list[memoryview], offset: int, flags: int = 0) -> int:
            if flags and offset % 3 == 0:
                raise BlockingIOError
            return preadv(fd, [parts[0][:13]], offset)

        patch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:29], offset))
        patch.setattr(os, "preadv", reluctant)
        store, markers, model = filled(tmp_path)
        check(store, model)
        check(opened(tmp_path, markers[-1]), model)


def test_a_file_is_rewritten_when_most_of_it_is_dead_and_not_in_every_save(tmp_path: Path) -> None:
    """Its length stays in proportion to what lives, also when every run is a short one, and the memory with it; the
    generation before stays until the one after, and a generation lasts for some saves in one run."""
    with thresholds(1 << 17, 1 << 19, 256, 1 << 14, 4):
        store, begun, longest = opened(tmp_path), dict[int, int](), 0
        for n in range(200):
            put(store, [(h, n, [n] * 20) for h in range(50)])
            marker = store.save()
            longest = max(longest, marker.length)
            begun.setdefault(marker.generation, n)
            if n > 100 and n % 3 == 0:
                store.close()
                store = opened(tmp_path, marker)
        assert longest < 100_000 and len(begun) > 20
        assert {b - a for a, b in pairwise(begun.values())} <= set(range(3, 9))
        names = sorted(p.name for p in tmp_path.iterdir())
        assert names == [f"{NAME}.{g:06d}" for g in (marker.generation - 1, marker.generation)]
        check(opened(tmp_path, marker), {h: (199, [199] * 20) for h in range(50)})


def test_a_resume_in_the_generation_before_forgets_the_newer(tmp_path: Path) -> None:
    """The engine may still resume before a rewrite, at any marker of that file."""
    with thresholds(1 << 17, 1 << 19, 256, 1000, 0):
        store, saved = opened(tmp_path), list[tuple[Marker, Model]]()
        while store.save().generation < 3:
            n = len(saved)
            put(store, [(h, n, [n] * 20) for h in range(9)])
            saved.append((store.save(), {h: (n, [n] * 20) for h in range(9)}))
        before = [s for s in saved if s[0].generation == 2]
        for n, (marker, model) in enumerate(before):
            copy = tmp_path / str(n)
            copy.mkdir()
            for path in tmp_path.glob(f"{NAME}.*"):
                shutil.copy(path, copy)
            check(opened(copy, marker), model)
            assert [p.name for p in copy.iterdir()] == [f"{NAME}.000002"]
        assert before


def test_what_cannot_be_an_entry_is_refused(tmp_path: Path) -> None:
    """Starts that leave the words, fall, or are not one more than the hashes: nothing is written."""
    store = opened(tmp_path)
    two, words = np.array([1, 2], np.uint64), np.arange(9, dtype=np.uint64)
    for starts in ([0, 5, 10], [0, 5, 3], [-1, 2, 3], [0, 1], [0, 1, 2, 3]):
        with pytest.raises(ValueError, match=r"starts over 9 words|words: 0 to"):
            store.put(two, two.astype(np.int64), np.array(starts), words)
    with pytest.raises(ValueError, match="1 dues"):
        store.put(two, np.zeros(1, np.int64), np.array([0, 1, 2]), words)
    assert store.size == 0 and not list(tmp_path.iterdir())
