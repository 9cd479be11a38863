"""Where cold entries lie: held against a dict, with as many as fill many blocks."""

from __future__ import annotations

import numpy as np

from state.cold_index import ColdIndex


def test_many_entries_take_little_memory_and_are_due_in_time() -> None:
    """40,000 entries of one shard, in and out in no order: 24 to 48 bytes each; each is due once, and then found."""
    random = np.random.default_rng(3)
    hashes = np.unique(random.integers(0, 2**59, 40_000).astype(np.uint64)) << np.uint64(4)
    dues, places = random.integers(0, 1000, len(hashes)), random.integers(0, 2**62, len(hashes))
    known = dict(zip(hashes.tolist(), zip(dues.tolist(), places.tolist(), strict=True), strict=True))
    index = ColdIndex()
    for part in np.array_split(random.permutation(len(hashes)), 100):
        index.put(hashes[part], dues[part], places[part])
        assert index.size < 1000 or 24 <= index.nbytes / index.size <= 48
    assert index.find(hashes).tolist() == places.tolist()
    early = random.permutation(hashes)[:15_000]
    assert index.remove(early).tolist() == [known.pop(h)[1] for h in early.tolist()]
    for now in range(99, 1000, 100):
        while len(due := index.due(now, 256)):
            gone = [known.pop(h) for h in due.tolist()]
            assert max(gone)[0] <= now and index.remove(due).tolist() == [place for _, place in gone]
        assert all(due > now for due, _ in known.values())
        left = np.array(list(known), np.uint64)
        assert index.find(left).tolist() == [place for _, place in known.values()]
        assert index.find(early).max() == -1
    assert index.size == index.record_words == 0


def test_an_entry_that_moved_in_memory_is_due_all_the_same() -> None:
    """The last row takes the place of one that left, among rows that are due much later."""
    index, hashes = ColdIndex(), np.arange(1, 3001).astype(np.uint64)
    index.put(hashes, np.where(hashes == 3000, 500, 1000), np.arange(3000))
    assert index.due(999, 9).tolist() == [3000]
    index.remove(hashes[:1])
    assert index.due(499, 9).tolist() == [] and index.due(500, 9).tolist() == [3000]


def test_entries_that_were_moved_are_found_where_they_are_now() -> None:
    """In the order of their places before; memory that a smaller number does not need is given back."""
    index, hashes = ColdIndex(), np.arange(5000).astype(np.uint64)
    places = np.random.default_rng(1).permutation(5000)
    index.put(hashes, np.arange(5000), places)
    index.remove(hashes[100:])
    held, lay, rows = index.by_place()
    assert lay.tolist() == sorted(places[:100].tolist()) and places[held.astype(np.int64)].tolist() == lay.tolist()
    before = index.nbytes
    index.move(rows, np.arange(100))
    assert index.find(held).tolist() == list(range(100)) and index.find(hashes[100:]).max() == -1
    assert sorted(index.due(49, 100).tolist()) == list(range(50)) and index.nbytes < before / 20
