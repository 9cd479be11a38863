"""The cold tier of one step's shard: rows of shoppers not seen for long lie packed in a file and come back whole.

The file is only appended to, what leaves it is noted at its end, and a snapshot is a marker (generation, length) as for
a journal: on resume the file is cut there, later generations are removed, and the index in memory is made anew by one
pass. When more than half of a file is dead, the next save begins a new generation with the living entries; the
generation before is kept until the one after, because the engine may still resume at a marker in it.

Files are read and written by system calls, not mapped: pages of a mapped file would count as the worker's memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from state.cold_index import NEVER, ColdIndex
from state.cold_records import ENTRY, FILE, GONE, HEAD, MAGIC, SIZE_BITS, WORDS_MAX, frame, scan, unframe
from state.journal import CorruptJournal, Marker
from state.sync import sync_directory

_BUFFER_WORDS = 1 << 17
"""What is appended waits in memory up to so many words (1 MiB), or for the next save."""
_CHUNK_WORDS = 1 << 19
"""Words that are read at a time where many are (4 MiB); a larger record is read alone."""
_GAP_WORDS = 256
"""Entries that lie so near each other are read by one call: cheaper than a second one."""
_DEAD_BYTES_MIN = 8 << 20
_REWRITE_SAVES_MIN = 16
_NO_WORDS = np.empty(0, np.uint64)


class ColdStore:
    """The cold entries of one step's shard, in files `<name>.<generation>` in a directory.

    An entry has a hash, a due (event time in ms at which it wants to be brought back; NEVER) and up to WORDS_MAX words
    of content. In memory are 32 to 46 bytes per entry, and up to 1 MiB that is not written yet. How many entries there
    are is for the caller to bound. Call `load` before anything else, with the marker of the snapshot that is resumed,
    or (0, 0). Two records of the same hash in one call are taken in their order: of `put` the later stays, `take` finds
    only the first. An error in the middle of a call leaves the store to be loaded anew.
    """

    def __init__(self, directory: Path, name: str, sync: bool = True) -> None:
        self.directory = directory
        self.name = name
        self.sync = sync
        self._index = ColdIndex()
        self._marker = Marker(0, 0)
        self._generation = 0
        self._fd = -1
        self._buffer = np.empty(_BUFFER_WORDS, np.uint64)
        self._written = 0  # words in the file
        self._filled = 0  # words in the buffer, which come behind them
        self._saves = 0  # of this generation

    @property
    def size(self) -> int:
        """Entries."""
        return self._index.size

    @property
    def nbytes(self) -> int:
        """Bytes of the current file, with what is not written yet."""
        return 8 * (self._written + self._filled)

    @property
    def index_nbytes(self) -> int:
        """Bytes held in memory."""
        return self._index.nbytes + self._buffer.nbytes

    def put(self, hashes: np.ndarray, dues: np.ndarray, starts: np.ndarray, words: np.ndarray) -> None:
        """Take in entries: hashes uint64[n], dues int64[n], entry i being words[starts[i]:starts[i + 1]] (uint64;
        int64[n + 1]). An entry of the same hash is replaced."""
        hashes, dues, starts, words = _u8(hashes), _i8(dues), _i8(starts), _u8(words)
        n = len(hashes)
        if len(dues) != n or len(starts) != n + 1 or starts[0] < 0 or starts[-1] > len(words):
            raise ValueError(f"{n} hashes, {len(dues)} dues, {len(starts)} starts over {len(words)} words")
        sizes = np.diff(starts)
        if n and not 0 <= sizes.min() <= sizes.max() <= WORDS_MAX:
            raise ValueError(f"an entry of {sizes.min()} or {sizes.max()} words: 0 to {WORDS_MAX} are possible")
        if n:
            self._index.put(hashes, dues, self._append(ENTRY, hashes, dues, starts, words))

    def has(self, hashes: np.ndarray) -> np.ndarray:
        """bool[n]: which of hashes uint64[n] are here."""
        held: np.ndarray = self._index.find(_u8(hashes)) >= 0
        return held

    def peek(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read the entries of hashes uint64[n]: (which are here: bool[n], starts int64[k + 1], words uint64[m]), the k
        found ones in the order asked. Raises CorruptJournal where the file is damaged."""
        hashes = _u8(hashes)
        places = self._index.find(hashes)
        found = places >= 0
        return found, *self._read(hashes[found], places[found], HEAD)

    def take(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`peek` at the entries, and let them go: they are no longer here."""
        hashes = _u8(hashes)
        places = self._index.remove(hashes)
        found = places >= 0
        gone = hashes[found]
        starts, words = self._read(gone, places[found], HEAD)
        for first in range(0, len(gone), WORDS_MAX):
            part = gone[first : first + WORDS_MAX]
            none = np.zeros(1, np.int64)
            self._append(GONE, none.view(np.uint64), none, np.array([0, len(part)], np.int64), part)
        return found, starts, words

    def due(self, now: int, most: int) -> np.ndarray:
        """Hashes uint64[k] of entries whose due is up to `now` (ms), at most `most` of them, in no order."""
        return self._index.due(now, most)

    def save(self) -> Marker:
        """Put on disk what is not there yet; the marker that brings back what is here now.

        Where too much of the file is dead, this begins a new generation: the living entries are copied.
        """
        end = self._written + self._filled
        if 8 * end == self._marker.length:
            return self._marker
        self._saves += 1
        dead = 8 * (end - HEAD - self._index.record_words)
        self._flush()
        if dead > max(4 * end, _DEAD_BYTES_MIN) and self._saves > _REWRITE_SAVES_MIN:
            self._rewrite()
        elif self.sync:
            os.fsync(self._fd)
            if self._marker.generation != self._generation:
                sync_directory(self.directory)
        self._marker = Marker(self._generation, 8 * self._written)
        return self._marker

    def load(self, generation: int, length: int) -> None:
        """Begin as of a marker that `save` gave: the file is cut there, and later generations are removed.

        (0, 0), of a store that nothing was put to: what files there are belong to epochs that never ended, and are set
        aside as `.orphan`. Raises CorruptJournal when the file is gone, shorter than the marker, or damaged.
        """
        self.close()
        self._index = ColdIndex()
        self._marker = Marker(generation, length)
        self._generation, self._written, self._filled = generation, length // 8, 0
        self._saves = _REWRITE_SAVES_MIN  # the engine never resumes before this marker again
        for draft in self.directory.glob(f"{self.name}.*.draft"):
            draft.unlink()
        if not generation:
            for _, path in _generations(self.directory, self.name):
                path.rename(path.with_name(f"{path.name}.orphan"))
            return
        path = self._path(generation)
        try:
            self._fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            raise CorruptJournal(f"{path}: the snapshot names this file, but it is not there") from None
        there = os.fstat(self._fd).st_size
        if there < length:
            raise CorruptJournal(f"{path}: {there} bytes, but the snapshot reaches to {length}")
        reached = 8 * _replay_file(self._fd, path, length // 8, self._index)
        if reached < max(length, 8 * HEAD):
            raise CorruptJournal(f"{path}: damaged record at byte {reached}")
        os.ftruncate(self._fd, length)
        for other, later in _generations(self.directory, self.name):
            if other > generation:
                later.unlink()

    def close(self) -> None:
        """Close the file; what has not been saved is forgotten."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            self.close()

    def _append(
        self, kind: int, hashes: np.ndarray, dues: np.ndarray, starts: np.ndarray, words: np.ndarray
    ) -> np.ndarray:
        """Records behind what there is; their places int64[n]."""
        if not self._generation:
            self._begin()
        wanted = len(hashes) * HEAD + int(starts[-1] - starts[0])
        if self._filled + wanted > len(self._buffer):
            self._flush()
        if wanted > len(self._buffer):
            self._buffer = np.empty(wanted, np.uint64)  # until it is flushed
        places = np.empty(len(hashes), np.int64)
        base = self._written + self._filled
        frame(kind, hashes, dues, starts, words, base, self._buffer[self._filled :], places)
        self._filled += wanted
        if self._filled > _BUFFER_WORDS:
            self._flush()
        return places

    def _flush(self) -> None:
        if self._filled:
            _write(self._fd, self._buffer[: self._filled], self._written)
            self._written += self._filled
            self._filled = 0
        if len(self._buffer) > _BUFFER_WORDS:
            self._buffer = np.empty(_BUFFER_WORDS, np.uint64)

    def _begin(self) -> None:
        """The first generation, with the first record of a file."""
        self._fd = os.open(self._path(1), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        self._generation = 1
        self._saves = 0
        self._append(FILE, np.array([MAGIC]), np.zeros(1, np.int64), np.zeros(2, np.int64), _NO_WORDS)

    def _rewrite(self) -> None:
        """Go on in a new generation that holds the living entries, in the order they had."""
        hashes, places, rows = self._index.by_place()
        ends = HEAD + np.cumsum(HEAD + (places & WORDS_MAX))
        moved = (ends - HEAD - (places & WORDS_MAX)) << SIZE_BITS | (places & WORDS_MAX)
        path = self._path(self._generation + 1)
        draft = path.with_name(path.name + ".draft")  # whoever reads beside us sees a generation whole or not at all
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            head = np.empty(HEAD, np.uint64)
            one, none = np.zeros(1, np.int64), np.zeros(2, np.int64)
            frame(FILE, np.array([MAGIC]), one, none, _NO_WORDS, 0, head, np.empty(1, np.int64))
            _write(fd, head, 0)
            at = HEAD
            for first, last in _pieces(places):
                _, records = self._read(hashes[first:last], places[first:last], 0)
                _write(fd, records, at)
                at += len(records)
            if self.sync:
                os.fsync(fd)
            draft.rename(path)
        except BaseException:
            os.close(fd)
            raise
        if self.sync:
            sync_directory(self.directory)
        self.close()
        self._fd = fd
        self._generation += 1
        self._written = at
        self._saves = 0
        self._index.move(rows, moved)
        for older, old in _generations(self.directory, self.name):
            if older < self._generation - 1:
                old.unlink()

    def _read(self, hashes: np.ndarray, places: np.ndarray, skip: int) -> tuple[np.ndarray, np.ndarray]:
        """Entries from the buffer and the file, in the order asked: (starts int64[n + 1], words uint64[m]), of each
        record what comes behind its first `skip` words."""
        sizes = places & WORDS_MAX
        at = places >> SIZE_BITS
        starts = np.zeros(len(places) + 1, np.int64)
        np.cumsum(sizes + (HEAD - skip), out=starts[1:])
        out = np.empty(int(starts[-1]), np.uint64)
        waiting = np.flatnonzero(at >= self._written)
        if len(waiting):
            bad = unframe(self._buffer, at - self._written, hashes, sizes, waiting, skip, out, starts)
            assert bad < 0, "a record in memory is whole"
        if len(waiting) < len(places):
            picks = np.argsort(at, kind="stable")[: len(places) - len(waiting)]
            within = np.empty(len(places), np.int64)
            for first, last in _pieces(places[picks]):
                part = picks[first:last]
                source, lies = self._read_runs(at[part], at[part] + HEAD + sizes[part])
                within[part] = lies
                bad = unframe(source, within, hashes, sizes, part, skip, out, starts)
                if bad >= 0:
                    raise CorruptJournal(f"{self._path(self._generation)}: damaged record at byte {8 * at[bad]}")
        return starts, out

    def _read_runs(self, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read words begins[i]:ends[i] of the file, in rising order: (words, where in them each begins)."""
        first = np.flatnonzero(np.concatenate(([True], begins[1:] - ends[:-1] > _GAP_WORDS)))
        lengths = ends[np.append(first[1:], len(ends)) - 1] - begins[first]
        to = np.cumsum(lengths) - lengths
        source = np.empty(int(lengths.sum()), np.uint64)
        view, waiting = source.data.cast("B"), []
        for offset, start, size in zip(
            (8 * begins[first]).tolist(), (8 * to).tolist(), (8 * lengths).tolist(), strict=True
        ):
            part = view[start : start + size]
            try:
                got = os.preadv(self._fd, [part], offset, os.RWF_NOWAIT)
            except OSError:  # not in the system's cache, or the file system cannot tell
                got = 0
            if got < size:
                os.posix_fadvise(self._fd, offset + got, size - got, os.POSIX_FADV_WILLNEED)
                waiting.append((part[got:], offset + got))
        for part, offset in waiting:  # the disk has been asked for all of them by now
            if _read_into(self._fd, part, offset) < len(part):
                raise CorruptJournal(f"{self._path(self._generation)}: ends before byte {offset + len(part)}")
        run = np.zeros(len(begins), np.int64)
        run[first[1:]] = 1
        run = np.cumsum(run)
        return source, begins + (to - begins[first])[run]

    def _path(self, generation: int) -> Path:
        return self.directory / f"{self.name}.{generation:06d}"


def read_cold(
    directory: Path, name: str, wanted: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a cold file beside a running worker, changing nothing: (hashes uint64[n], starts int64[n + 1], words).

    These are the living entries as of the last whole record of the newest generation, those of `wanted` (uint64) or
    all, in no order. Raises CorruptJournal where the file is damaged.
    """
    found = _generations(directory, name)
    store = ColdStore(directory, name)
    if found:
        store._generation, path = found[-1]
        store._fd = os.open(path, os.O_RDONLY)
        store._written = _replay_file(store._fd, path, os.fstat(store._fd).st_size // 8, store._index)
    hashes, places, _ = store._index.by_place()
    if wanted is not None:
        picked = np.isin(hashes, wanted)
        hashes, places = hashes[picked], places[picked]
    result = hashes, *store._read(hashes, places, HEAD)
    store.close()
    return result


def _replay_file(fd: int, path: Path, words: int, index: ColdIndex) -> int:
    """Do with an index what the whole records among a file's first words say; where the last of them ends, in words."""
    chunk = np.empty(min(_CHUNK_WORDS, words), np.uint64)
    starts = np.empty(len(chunk) // HEAD, np.int64)
    base = filled = 0  # of the chunk: where it lies in the file, how much of it is read
    while base + filled < words:
        part = chunk.data.cast("B")[8 * filled : 8 * min(len(chunk), words - base)]
        got = _read_into(fd, part, 8 * (base + filled)) // 8
        if not got:  # cut by another
            break
        filled += got
        count, end, sound = scan(chunk, filled, starts)
        if count and not base and (chunk[3] != FILE or chunk[1] != MAGIC):
            sound, end = False, 0
        if not sound:
            raise CorruptJournal(f"{path}: damaged record at byte {8 * (base + end)}")
        index.replay(chunk, starts[:count], base)
        base += end
        filled -= end
        if end:
            chunk[:filled] = chunk[end : end + filled].copy()
        else:
            length = HEAD + int(chunk[3] >> np.uint64(8)) if filled >= HEAD else HEAD
            if length > len(chunk):
                chunk = np.concatenate((chunk[:filled], np.empty(length - filled, np.uint64)))
                starts = np.empty(len(chunk) // HEAD, np.int64)
    return base


def _read_into(fd: int, part: memoryview, offset: int) -> int:
    """Fill `part` from the file, as far as it goes; how many bytes there were."""
    got = 0
    while got < len(part):
        more = os.preadv(fd, [part[got:]], offset + got)
        if not more:
            break
        got += more
    return got


def _write(fd: int, words: np.ndarray, at: int) -> None:
    """Write words (uint64) from word `at` of the file on; a call may take less than it was given."""
    view = words.data.cast("B")
    offset = 8 * at
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _pieces(places: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut entries into runs of about a chunk of words, or one entry."""
    ends = np.cumsum(HEAD + _GAP_WORDS + (places & WORDS_MAX))
    first = 0
    while first < len(places):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _CHUNK_WORDS, side="right")))
        yield first, last
        first = last


def _generations(directory: Path, name: str) -> list[tuple[int, Path]]:
    found = [(p.suffix[1:], p) for p in directory.glob(f"{name}.*")]
    return sorted((int(s), p) for s, p in found if s.isdigit())


def _u8(array: np.ndarray) -> np.ndarray:
    return np.require(array, np.uint64, ["C", "W"])


def _i8(array: np.ndarray) -> np.ndarray:
    return np.require(array, np.int64, ["C", "W"])


__all__ = ["NEVER", "WORDS_MAX", "ColdStore", "read_cold"]
