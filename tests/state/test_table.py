"""Tables and their index: held against a list of rows and a dict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.table import HashIndex, Table

ROW = np.dtype([("key", "u8"), ("tiles", "i4", (3,)), ("flag", "u1")], align=True)

# Hashes that meet in the low bits, the highest one, and a few of no pattern.
HASHES = st.one_of(
    st.integers(1, 12).map(lambda k: k << 40),
    st.integers(1, 200),
    st.just(2**64 - 1),
    st.integers(1, 2**64 - 1),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "find", "reserve", "rebuild"]), st.lists(HASHES, max_size=90)), max_size=12
)


@settings(deadline=None)
@given(STEPS)
def test_index_finds_what_a_dict_would(steps: list[tuple[str, list[int]]]) -> None:
    """New hashes get rows in order of first appearance; others their row; unknown ones -1."""
    index, known = HashIndex(), dict[int, int]()
    for what, hashes in steps:
        wanted = np.array(hashes, np.uint64)
        if what == "add":
            before = len(known)
            rows, added = index.find_or_add(wanted, before)
            for h in hashes:
                known.setdefault(h, len(known))
            assert rows.dtype == np.int32
            assert rows.tolist() == [known[h] for h in hashes]
            assert added == len(known) - before
        elif what == "find":
            assert index.find(wanted).tolist() == [known.get(h, -1) for h in hashes]
        elif what == "reserve":
            index.reserve(len(hashes))
        else:
            index.rebuild(np.array(list(known), np.uint64))
        assert index.size == len(known)
        assert 2 * index.size <= len(index.slot_rows)
    assert index.find(np.array(list(known), np.uint64)).tolist() == list(known.values())


@settings(deadline=None)
@given(st.lists(st.one_of(st.just(0), HASHES), unique=False, max_size=200))
def test_rebuilt_index_leaves_free_rows_out(hashes: list[int]) -> None:
    """Rows with hash 0 are free; of rows that share a hash one is found."""
    index = HashIndex()
    index.find_or_add(np.array([7, 8, 9], np.uint64), 0)
    index.rebuild(np.array(hashes, np.uint64))
    assert index.size == sum(h != 0 for h in hashes)
    for h in set(hashes) - {0}:
        row = int(index.find(np.array([h], np.uint64))[0])
        assert row >= 0 and hashes[row] == h
    assert index.find(np.array([3 << 33], np.uint64))[0] == (hashes.index(3 << 33) if 3 << 33 in hashes else -1)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 70), st.integers(0, 100)), max_size=20), st.integers(0, 9))
def test_rows_survive_growth_and_new_ones_are_zero_and_dirty(steps: list[tuple[int, int]], capacity: int) -> None:
    """Whatever is appended or reserved, old rows and flags stay, new rows are zeroed and marked as changed."""
    table, keys, flags = Table(ROW, capacity), list[int](), list[int]()
    for extend, reserve in steps:
        assert table.extend(extend) == len(keys)
        new = slice(len(keys), len(keys) + extend)
        assert not table.rows[new].tobytes().strip(b"\0") and (table.dirty[new] == 1).all()
        for row in range(len(keys), len(keys) + extend):
            table.rows["key"][row] = row * 7 + 1
            table.dirty[row] = row % 2
            keys.append(row * 7 + 1)
            flags.append(row % 2)
        table.reserve(reserve)
        assert len(table.rows) >= table.size + reserve and len(table.dirty) == len(table.rows)
        assert table.size == len(keys)
        assert table.rows["key"][: table.size].tolist() == keys
        assert table.dirty[: table.size].tolist() == flags
        assert not table.rows[table.size :].tobytes().strip(b"\0") and not table.dirty[table.size :].any()
        assert table.nbytes == table.rows.nbytes + table.dirty.nbytes


def test_words_are_the_rows_themselves() -> None:
    """What is written to a row's words stands in its fields."""
    table = Table(ROW)
    table.extend(3)
    table.words[1, 0] = np.uint64(2**64 - 1)
    assert table.rows["key"].tolist()[:3] == [0, 2**64 - 1, 0]
    assert table.words.shape == (len(table.rows), ROW.itemsize // 8)


def test_rows_of_odd_size_are_refused() -> None:
    """A table packs whole words."""
    with pytest.raises(ValueError, match="multiple of 8 bytes, not 12"):
        Table(np.dtype([("a", "u4", (3,))]))
