"""Where the entries of a cold file lie: hash -> place and due, in 32 to 46 bytes an entry."""

from __future__ import annotations

import numpy as np

from state.cold_records import ENTRY, GONE, HEAD, SIZE_BITS, WORDS_MAX
from state.compiled import kernel

NEVER = np.iinfo(np.int64).max
"""The due of an entry that nothing brings back but its shopper."""

_FREE = -1
_BLOCK = 1024
_ROWS_MIN = 64


@kernel
def _slot_of(slots, hashes, h):
    """The slot that holds h, or the free one at which the search for it ends."""
    mask = len(slots) - 1
    s = _home(h, mask)
    while slots[s] != _FREE and hashes[slots[s]] != h:
        s = (s + 1) & mask
    return s


@kernel
def _home(h, mask):
    # The low bits of a shard's hashes are alike, for they chose the shard: so the middle bits of a product are taken
    return np.int64((h * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask


@kernel
def _put_one(slots, hashes, dues, places, firsts, counts, h, due, place):
    s = _slot_of(slots, hashes, h)
    row = slots[s]
    if row == _FREE:
        row = counts[0]
        counts[0] += 1
        slots[s] = row
        hashes[row] = h
        if row % _BLOCK == 0:
            firsts[row // _BLOCK] = NEVER
    else:
        counts[1] -= HEAD + (places[row] & WORDS_MAX)
    counts[1] += HEAD + (place & WORDS_MAX)
    dues[row] = due
    places[row] = place
    firsts[row // _BLOCK] = min(firsts[row // _BLOCK], due)


@kernel
def _remove_one(slots, hashes, dues, places, firsts, counts, h):
    """Take h out; its place, or -1. The last row moves into its row, so that rows have no holes."""
    hole = _slot_of(slots, hashes, h)
    row = slots[hole]
    if row == _FREE:
        return np.int64(-1)
    place = places[row]
    mask = len(slots) - 1
    s = (hole + 1) & mask  # whoever was pushed past the hole moves up into it
    while slots[s] != _FREE:
        if (s - _home(hashes[slots[s]], mask)) & mask >= (s - hole) & mask:
            slots[hole] = slots[s]
            hole = s
        s = (s + 1) & mask
    slots[hole] = _FREE
    last = counts[0] - 1
    if row != last:
        slots[_slot_of(slots, hashes, hashes[last])] = row
        hashes[row] = hashes[last]
        dues[row] = dues[last]
        places[row] = places[last]
        firsts[row // _BLOCK] = min(firsts[row // _BLOCK], dues[row])
    counts[0] = last
    counts[1] -= HEAD + (place & WORDS_MAX)
    return place


@kernel
def _put(slots, hashes, dues, places, firsts, counts, new_hashes, new_dues, new_places):
    for i in range(len(new_hashes)):
        _put_one(slots, hashes, dues, places, firsts, counts, new_hashes[i], new_dues[i], new_places[i])


@kernel
def _remove(slots, hashes, dues, places, firsts, counts, wanted, out):
    for i in range(len(wanted)):
        out[i] = _remove_one(slots, hashes, dues, places, firsts, counts, wanted[i])


@kernel
def _find(slots, hashes, places, wanted, out):
    for i in range(len(wanted)):
        row = slots[_slot_of(slots, hashes, wanted[i])]
        out[i] = places[row] if row != _FREE else -1


@kernel
def _replay(slots, hashes, dues, places, firsts, counts, words, starts, base):
    """Do what the records at words[starts] say; words[0] is word `base` of the file."""
    for i in range(len(starts)):
        at = starts[i]
        kind = words[at + 3] & np.uint64(255)
        size = np.int64(words[at + 3] >> np.uint64(8))
        if kind == np.uint64(ENTRY):
            place = (base + at) << SIZE_BITS | size
            due = np.int64(words[at + 2])
            _put_one(slots, hashes, dues, places, firsts, counts, words[at + 1], due, place)
        elif kind == np.uint64(GONE):
            for k in range(size):
                _remove_one(slots, hashes, dues, places, firsts, counts, words[at + HEAD + k])


@kernel
def _due(hashes, dues, firsts, size, now, out):
    """Hashes with dues <= now into `out`, as many as it holds; how many. Looks only into blocks whose first is due."""
    found = 0
    for block in range((size + _BLOCK - 1) // _BLOCK):
        if firsts[block] > now:
            continue
        first = np.int64(NEVER)
        for row in range(block * _BLOCK, min(size, (block + 1) * _BLOCK)):
            if dues[row] <= now and found < len(out):
                out[found] = hashes[row]
                found += 1
            first = min(first, dues[row])
        firsts[block] = first
        if found == len(out):
            break
    return found


@kernel
def _refill(slots, hashes, size):
    mask = len(slots) - 1
    for row in range(size):
        s = _home(hashes[row], mask)
        while slots[s] != _FREE:
            s = (s + 1) & mask
        slots[s] = row


class ColdIndex:
    """Rows of hash, due and place without holes, and slots of row numbers (open addressing, at most half full).

    `firsts` holds, for each 1,024 rows, a time that none of their dues is before: what is due is found without looking
    at every row. The plain reference is a dict of hash -> (due, place). Arrays that come in are contiguous.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(2, np.int64)  # rows, words of their records
        self._hashes = np.empty(0, np.uint64)
        self._dues = np.empty(0, np.int64)
        self._places = np.empty(0, np.int64)
        self._firsts = np.empty(0, np.int64)
        self._slots = np.empty(0, np.int32)
        self._resize_rows(_ROWS_MIN)
        self._resize_slots(_ROWS_MIN)

    @property
    def size(self) -> int:
        """Entries."""
        return int(self._counts[0])

    @property
    def record_words(self) -> int:
        """Words that the records of all entries take up in the file."""
        return int(self._counts[1])

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return sum(a.nbytes for a in (self._slots, *self._arrays()))

    def put(self, hashes: np.ndarray, dues: np.ndarray, places: np.ndarray) -> None:
        """Enter uint64[n] with int64[n] and int64[n], over what was there; of the same hash twice the later counts."""
        self._reserve(len(hashes))
        _put(self._slots, *self._arrays(), self._counts, hashes, dues, places)

    def find(self, hashes: np.ndarray) -> np.ndarray:
        """Places int64[n] of hashes uint64[n]; -1 where there is none."""
        out = np.empty(len(hashes), np.int64)
        _find(self._slots, self._hashes, self._places, hashes, out)
        return out

    def remove(self, hashes: np.ndarray) -> np.ndarray:
        """Take hashes uint64[n] out: the places int64[n] they had; -1 where there was none, or the same hash before."""
        out = np.empty(len(hashes), np.int64)
        _remove(self._slots, *self._arrays(), self._counts, hashes, out)
        return out

    def replay(self, words: np.ndarray, starts: np.ndarray, base: int) -> None:
        """Enter and take out what the records at words[starts] say, which lie from word `base` of the file on."""
        self._reserve(int(np.count_nonzero(words[starts + 3] & np.uint64(255) == ENTRY)))
        _replay(self._slots, *self._arrays(), self._counts, words, starts, base)

    def due(self, now: int, most: int) -> np.ndarray:
        """Hashes uint64[<= most] of entries with a due up to `now`."""
        out = np.empty(min(most, self.size), np.uint64)
        return out[: _due(self._hashes, self._dues, self._firsts, self.size, now, out)]

    def by_place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hashes, places and row numbers of all entries, in the order of their places."""
        rows = np.argsort(self._places[: self.size])
        return self._hashes[rows], self._places[rows], rows

    def move(self, rows: np.ndarray, places: np.ndarray) -> None:
        """Every entry has a new place, that of row rows[i] being places[i]; memory that is not needed is given back."""
        self._places[rows] = places
        self._resize_rows(max(self.size, _ROWS_MIN))
        self._resize_slots(max(self.size, _ROWS_MIN))

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self._hashes, self._dues, self._places, self._firsts

    def _reserve(self, count: int) -> None:
        wanted = self.size + count
        if wanted > len(self._hashes):
            self._resize_rows(max(wanted, len(self._hashes) + len(self._hashes) // 4))
        if 2 * wanted > len(self._slots):
            self._resize_slots(wanted)

    def _resize_rows(self, rows: int) -> None:
        for name, length in (
            ("_hashes", rows),
            ("_dues", rows),
            ("_places", rows),
            ("_firsts", -(-rows // _BLOCK)),
        ):
            old = getattr(self, name)
            new = np.empty(length, old.dtype)
            kept = min(len(old), length)
            new[:kept] = old[:kept]
            setattr(self, name, new)

    def _resize_slots(self, rows: int) -> None:
        self._slots = np.full(1 << (2 * rows - 1).bit_length(), _FREE, np.int32)
        _refill(self._slots, self._hashes, self.size)
