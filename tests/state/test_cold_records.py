"""Records of a cold file: the kernels do what their plain references do, and nothing damaged passes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.cold_records import (
    ENTRY,
    HEAD,
    SIZE_BITS,
    WORDS_MAX,
    checksum,
    checksum_reference,
    frame,
    records_reference,
    scan,
    scan_reference,
    unframe,
)

SIZES = st.lists(st.integers(0, 20), max_size=12)
SEEDS = st.integers(0, 2**32)


def made(seed: int, sizes: list[int], base: int = 0) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """Hashes, places, contents and records of random entries, by the kernel."""
    random = np.random.default_rng(seed)
    n = len(sizes)
    hashes = random.integers(0, 2**64, n, np.uint64)
    dues = random.integers(-(2**63), 2**63 - 1, n)
    starts = np.cumsum([3, *sizes])  # the content need not begin at the first word
    words = random.integers(0, 2**64, int(starts[-1]), np.uint64)
    out, places = np.empty(n * HEAD + sum(sizes), np.uint64), np.empty(n, np.int64)
    frame(ENTRY, hashes, dues, starts, words, base, out, places)
    contents = [words[a:b] for a, b in pairwise(starts)]
    expected, where = records_reference(ENTRY, hashes.tolist(), dues.tolist(), contents, base)
    assert out.tolist() == expected.tolist() and places.tolist() == where
    return hashes, places, contents, out


def found(words: np.ndarray) -> tuple[list[int], int, bool]:
    starts = np.empty(len(words) // HEAD, np.int64)
    count, end, sound = scan(words, len(words), starts)
    return starts[:count].tolist(), end, bool(sound)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_checksums_are_those_of_the_reference(words: list[int]) -> None:
    """Over any words, also none."""
    array = np.array(words, np.uint64)
    assert int(checksum(array, 0, len(array))) == checksum_reference(array)


@settings(deadline=None)
@given(SEEDS, SIZES, st.integers(0, 2**39 - 1000))
def test_records_come_back_in_any_order(seed: int, sizes: list[int], base: int) -> None:
    """Whole or without their heads, from wherever in the file they lie, up to its bound of 4 TiB."""
    hashes, places, contents, records = made(seed, sizes, base)
    at = (places >> SIZE_BITS) - base
    assert (places & WORDS_MAX).tolist() == sizes
    picks = np.random.default_rng(seed).permutation(len(sizes)).astype(np.int64)
    for skip in (0, HEAD):
        starts = np.zeros(len(sizes) + 1, np.int64)
        starts[1:] = np.cumsum(np.array(sizes, np.int64) + HEAD - skip)
        out = np.empty(int(starts[-1]), np.uint64)
        assert unframe(records, at, hashes, places & WORDS_MAX, picks, skip, out, starts) == -1
        if skip:
            assert out.tolist() == [word for content in contents for word in content.tolist()]
        else:
            assert out.tolist() == records.tolist()


@settings(deadline=None)
@given(SEEDS, SIZES, st.data())
def test_records_are_found_as_far_as_they_are_whole_and_sound(seed: int, sizes: list[int], data: st.DataObject) -> None:
    """Cut anywhere, and with any byte damaged, the scan ends where the reference does, at the record concerned."""
    *_, records = made(seed, sizes)
    ends = np.cumsum([0, *(HEAD + s for s in sizes)]).tolist()
    assert found(records) == (ends[:-1], ends[-1], True)
    cut = records[: data.draw(st.integers(0, len(records)))]
    whole = max(e for e in ends if e <= len(cut))
    assert found(cut) == scan_reference(cut) == (ends[: ends.index(whole)], whole, True)
    if len(cut):
        damaged = cut.copy()
        byte = data.draw(st.integers(0, 8 * len(cut) - 1))
        damaged.view(np.uint8)[byte] ^= data.draw(st.integers(1, 255))
        starts, end, sound = found(damaged)
        assert (starts, end, sound) == scan_reference(damaged)
        concerned = max(e for e in ends if e <= byte // 8)
        assert end == min(concerned, whole)


@settings(deadline=None)
@given(SEEDS, st.lists(st.integers(0, 20), min_size=1, max_size=6), st.data())
def test_a_damaged_record_is_not_handed_out(seed: int, sizes: list[int], data: st.DataObject) -> None:
    """Any byte of it, and any other entry in its place, is noticed; its neighbours are handed out."""
    hashes, places, contents, records = made(seed, sizes)
    byte = data.draw(st.integers(0, 8 * len(records) - 1))
    records.view(np.uint8)[byte] ^= data.draw(st.integers(1, 255))
    at, lengths = places >> SIZE_BITS, places & WORDS_MAX
    concerned = int(np.searchsorted(at, byte // 8, side="right")) - 1
    for n, content in enumerate(contents):
        out, starts = np.empty(len(content), np.uint64), np.zeros(len(sizes) + 1, np.int64)
        bad = unframe(records, at, hashes, lengths, np.array([n]), HEAD, out, starts)
        assert bad == (n if n == concerned else -1)
        if n != concerned:
            assert out.tolist() == content.tolist()
            assert unframe(records, at, hashes + np.uint64(1), lengths, np.array([n]), HEAD, out, starts) == n
