"""Rows of one record type, and the index that finds them: what every step of a shard keeps its state in."""

from __future__ import annotations

import numpy as np

from state.compiled import kernel

_FREE = -1


@kernel
def home_slot(h, slots):
    """Where the search for a hash begins in an index of `slots` (a power of two): by its high bits, since the low ones
    chose the shard and are alike in all of its hashes."""
    return (h >> np.uint64(24)) & np.uint64(slots - 1)


class Table:
    """A growing array of fixed-size records with a flag for each row that changed since the last snapshot.

    `dtype` is a record type whose size is a multiple of 8 bytes (align=True with a 64-bit field in it is). `rows` may
    be replaced by a longer array when the table grows: read it anew after `extend`.
    """

    def __init__(self, dtype: np.dtype, capacity: int = 64) -> None:
        if dtype.itemsize % 8:
            raise ValueError(f"a table's rows must be a multiple of 8 bytes, not {dtype.itemsize}")
        self.dtype = dtype
        self.size = 0
        self.rows = np.zeros(capacity, dtype)
        self.dirty = np.zeros(capacity, np.uint8)

    def extend(self, count: int) -> int:
        """Append `count` zeroed rows, marked as changed; the number of the first."""
        first = self.size
        self.reserve(count)
        self.size += count
        self.dirty[first : self.size] = 1
        return first

    def resize(self, size: int) -> None:
        """Take exactly `size` rows in use: new ones are zero, those past it are zeroed."""
        if size > self.size:
            self.extend(size - self.size)
        elif size < self.size:
            self.words[size : self.size] = 0
            self.dirty[size : self.size] = 0
            self.size = size

    def reserve(self, count: int) -> None:
        """Make room for `count` more rows without taking them in use."""
        wanted = self.size + count
        if wanted > len(self.rows):
            capacity = max(wanted, len(self.rows) + len(self.rows) // 2)
            rows = np.zeros(capacity, self.dtype)
            rows[: self.size] = self.rows[: self.size]
            dirty = np.zeros(capacity, np.uint8)
            dirty[: self.size] = self.dirty[: self.size]
            self.rows, self.dirty = rows, dirty

    @property
    def words(self) -> np.ndarray:
        """The rows as uint64[capacity, words]: what a journal packs."""
        return self.rows.view(np.uint64).reshape(len(self.rows), self.dtype.itemsize // 8)

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return int(self.rows.nbytes + self.dirty.nbytes)


@kernel
def _find(slot_hashes, slot_rows, wanted, out):
    mask = np.uint64(len(slot_rows) - 1)
    for i in range(len(wanted)):
        h = wanted[i]
        s = home_slot(h, len(slot_rows))
        while slot_rows[s] != _FREE and slot_hashes[s] != h:
            s = (s + np.uint64(1)) & mask
        out[i] = slot_rows[s]


@kernel
def _find_or_add(slot_hashes, slot_rows, wanted, next_row, out):
    mask = np.uint64(len(slot_rows) - 1)
    added = 0
    for i in range(len(wanted)):
        h = wanted[i]
        s = home_slot(h, len(slot_rows))
        while slot_rows[s] != _FREE and slot_hashes[s] != h:
            s = (s + np.uint64(1)) & mask
        if slot_rows[s] == _FREE:
            slot_hashes[s] = h
            slot_rows[s] = next_row + added
            added += 1
        out[i] = slot_rows[s]
    return added


@kernel
def _fill(slot_hashes, slot_rows, hashes):
    mask = np.uint64(len(slot_rows) - 1)
    for row in range(len(hashes)):
        h = hashes[row]
        if h != np.uint64(0):
            s = home_slot(h, len(slot_rows))
            while slot_rows[s] != _FREE:
                s = (s + np.uint64(1)) & mask
            slot_hashes[s] = h
            slot_rows[s] = row


class HashIndex:
    """64-bit hash -> row, open addressing at a load of at most one half. The plain reference is a dict."""

    def __init__(self, capacity: int = 64) -> None:
        slots = 128
        while slots < 2 * capacity:
            slots *= 2
        self.size = 0
        self.slot_hashes = np.zeros(slots, np.uint64)
        self.slot_rows = np.full(slots, _FREE, np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return int(self.slot_hashes.nbytes + self.slot_rows.nbytes)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Rows int32[n] of hashes uint64[n]; -1 where unknown."""
        out = np.empty(len(hashes), np.int32)
        _find(self.slot_hashes, self.slot_rows, hashes, out)
        return out

    def find_or_add(self, hashes: np.ndarray, next_row: int) -> tuple[np.ndarray, int]:
        """Rows of hashes, and how many were new: these get next_row, next_row + 1, ... in order of appearance."""
        self.reserve(len(hashes))
        out = np.empty(len(hashes), np.int32)
        added = int(_find_or_add(self.slot_hashes, self.slot_rows, hashes, next_row, out))
        self.size += added
        return out, added

    def rebuild(self, hashes_by_row: np.ndarray) -> None:
        """Start anew from the hash of each row; rows with hash 0 are left out."""
        self.__init__(len(hashes_by_row))  # type: ignore[misc]
        hashes = np.ascontiguousarray(hashes_by_row)
        _fill(self.slot_hashes, self.slot_rows, hashes)
        self.size = int(np.count_nonzero(hashes))

    def reserve(self, count: int) -> None:
        """Make room for `count` more hashes, so that a kernel may add them to `slot_hashes` and `slot_rows` itself."""
        slots = len(self.slot_rows)
        if 2 * (self.size + count) <= slots:
            return
        while 2 * (self.size + count) > slots:
            slots *= 2
        used = self.slot_rows != _FREE
        hashes, rows = self.slot_hashes[used], self.slot_rows[used]
        self.slot_hashes = np.zeros(slots, np.uint64)
        self.slot_rows = np.full(slots, _FREE, np.int32)
        _refill(self.slot_hashes, self.slot_rows, hashes, rows)


@kernel
def _refill(slot_hashes, slot_rows, hashes, rows):
    mask = np.uint64(len(slot_rows) - 1)
    for i in range(len(rows)):
        s = home_slot(hashes[i], len(slot_rows))
        while slot_rows[s] != _FREE:
            s = (s + np.uint64(1)) & mask
        slot_hashes[s] = hashes[i]
        slot_rows[s] = rows[i]
