"""Records of a cold file: four words of head, then the words of an entry, each record with a checksum of its own.

    0  checksum of all that follows
    1  hash of the entry; of a file's first record, MAGIC
    2  due: the event time in ms at which the entry wants to be brought back
    3  number of words that follow << 8 | kind

A FILE record begins a file, an ENTRY holds one entry, GONE holds the hashes of entries that have left. Where an entry
lies is one number, its place: word offset of the record in the file << SIZE_BITS | words of the entry.

The checksum takes a word at a time (a CRC-32 in a kernel takes a byte at a time, through tables, for a quarter of the
bits): each step can be undone, so that whatever happens to a single word cannot go unnoticed, and other damage does
with a chance of 2^-64.
"""

from __future__ import annotations

import numpy as np

from state.compiled import kernel

HEAD = 4
"""Words of a record before its content."""
FILE, ENTRY, GONE = 1, 2, 3
MAGIC = np.uint64(int.from_bytes(b"COLD0001", "little"))
SIZE_BITS = 24
WORDS_MAX = (1 << SIZE_BITS) - 1
"""Words of one record at most (128 MiB); a file has at most 2^39 words (4 TiB)."""

_SEED = np.uint64(0x9E3779B97F4A7C15)
_FACTOR = np.uint64(0xFF51AFD7ED558CCD)


@kernel
def checksum(words, start, end):
    """Checksum of words[start:end] (uint64), as uint64."""
    h = _SEED
    for i in range(start, end):
        h = (h ^ words[i]) * _FACTOR
        h ^= h >> np.uint64(32)
    return h


def checksum_reference(words: np.ndarray) -> int:
    """`checksum` of a whole array in plain Python."""
    h = int(_SEED)
    for word in words.tolist():
        h = ((h ^ word) * int(_FACTOR)) % 2**64
        h ^= h >> 32
    return h


@kernel
def frame(kind, hashes, dues, starts, words, base, out, places):
    """Write a record for each of hashes uint64[n], with due int64[n] and content words[starts[i]:starts[i+1]].

    `out` (uint64) must hold n * HEAD words and the content. places[i] (int64) is where record i lies in a file in
    which `out` begins at word `base`.
    """
    at = 0
    for i in range(len(hashes)):
        size = starts[i + 1] - starts[i]
        out[at + 1] = hashes[i]
        out[at + 2] = np.uint64(dues[i])
        out[at + 3] = np.uint64(size << 8 | kind)
        for k in range(size):
            out[at + HEAD + k] = words[starts[i] + k]
        out[at] = checksum(out, at + 1, at + HEAD + size)
        places[i] = (base + at) << SIZE_BITS | size
        at += HEAD + size


@kernel
def scan(words, filled, starts):
    """Find the whole records at the front of words[:filled] (uint64): their starts int64, which must hold
    filled // HEAD.

    Returns how many there are, where the last one ends, and whether the one that follows can be a record that goes on
    behind `filled` (or there is none); False where it is damaged.
    """
    at = 0
    count = 0
    while at + HEAD <= filled:
        kind = words[at + 3] & np.uint64(255)
        size = words[at + 3] >> np.uint64(8)
        if kind < np.uint64(FILE) or kind > np.uint64(GONE) or size > np.uint64(WORDS_MAX):
            return count, at, False
        end = at + HEAD + int(size)
        if end > filled:
            break
        if checksum(words, at + 1, end) != words[at]:
            return count, at, False
        starts[count] = at
        count += 1
        at = end
    return count, at, True


def scan_reference(words: np.ndarray) -> tuple[list[int], int, bool]:
    """`scan` in plain Python: (starts, end, sound)."""
    at, starts = 0, list[int]()
    while at + HEAD <= len(words):
        size, kind = divmod(int(words[at + 3]), 256)
        if kind not in (FILE, ENTRY, GONE) or size > WORDS_MAX:
            return starts, at, False
        record = words[at : at + HEAD + size]
        if len(record) < HEAD + size:
            break
        if checksum_reference(record[1:]) != int(record[0]):
            return starts, at, False
        starts.append(at)
        at += len(record)
    return starts, at, True


@kernel
def unframe(source, at, hashes, sizes, picks, skip, out, starts):
    """Copy entries out of what was read, without the first `skip` words of each record (0: whole; HEAD: content).

    Entry p of `picks` (int64) lies at source[at[p]] (uint64; int64) with sizes[p] (int64) words and goes to
    out[starts[p]:]. Returns the first entry whose record is damaged, or not that of hashes[p]; -1 where all are sound.
    """
    for i in range(len(picks)):
        p = picks[i]
        a = at[p]
        size = sizes[p]
        if source[a + 3] != np.uint64(size << 8 | ENTRY) or source[a + 1] != hashes[p]:
            return p
        if checksum(source, a + 1, a + HEAD + size) != source[a]:
            return p
        to = starts[p]
        for k in range(skip, HEAD + size):
            out[to + k - skip] = source[a + k]
    return -1


def records_reference(
    kind: int, hashes: list[int], dues: list[int], contents: list[np.ndarray], base: int
) -> tuple[np.ndarray, list[int]]:
    """`frame` in plain Python: the records, and their places. `unframe` is its inverse."""
    parts, places, at = [np.empty(0, np.uint64)], [], base
    for one, due, content in zip(hashes, dues, contents, strict=True):
        rest = np.array([one, due % 2**64, len(content) * 256 + kind, *content.tolist()], np.uint64)
        parts += [np.array([checksum_reference(rest)], np.uint64), rest]
        places.append(at * 2**SIZE_BITS + len(content))
        at += 1 + len(rest)
    return np.concatenate(parts), places
