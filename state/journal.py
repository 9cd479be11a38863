"""Snapshots as a delta journal: a shard appends its changed rows to a file and hands the engine only a marker.

A journal is a file of records; each record holds the rows of every table that changed since the record before. The
marker (generation, length) says which file, and how far into it, a snapshot reaches: on resume the file is cut there,
so that what a crash left behind it is forgotten together with the engine's own epochs. When a file has grown to several
times what it stands for, the next snapshot starts a new generation with every row in it; the generation before is kept
until the one after, because the engine may still resume at a marker in it.

Rows are packed without their zero words (a bitmap, then the words that are not zero): most windows of most shoppers are
empty. A file begins with the record types it was written with; fields that have been added since are zero on reading,
fields that are gone are left out.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from state.compiled import kernel
from state.sync import sync_directory
from state.table import Table

_MAGIC = b"CJ01"
_RECORD = struct.Struct("<4sIQ")  # magic, crc32 of the payload, payload bytes
_SECTION = struct.Struct("<IIIQ")  # rows of the table in all, rows in this record, words a row, packed words
_REWRITE_FACTOR = 3
_REWRITE_BYTES_MIN = 4 << 20
_REWRITE_RECORDS_MIN = 16


class CorruptJournal(Exception):
    """A journal does not hold what its marker promises: the message names the file and the place."""


@dataclass(frozen=True, slots=True)
class Marker:
    """Where a snapshot ends: in which generation of the file, after how many bytes."""

    generation: int
    length: int


class Journal:
    """The journal of one step's shard: files `<name>.<generation>` in a directory.

    `before_save` is called first in every save (the names a row refers to must be on disk before the row is); `sync`
    asks for the file to be synced before the marker is given out.
    """

    def __init__(
        self, directory: Path, name: str, sync: bool = True, before_save: Callable[[], None] | None = None
    ) -> None:
        self.directory = directory
        self.name = name
        self.sync = sync
        self.before_save = before_save
        self.marker = Marker(0, 0)
        self._base_bytes = 0
        self._records = 0
        self._outdated = False  # begun with other record types: the next save starts a new generation

    @property
    def nbytes(self) -> int:
        """Bytes of the current file."""
        return self.marker.length

    def save(self, tables: dict[str, Table]) -> Marker:
        """Append what changed, clear the flags, and return the marker; nothing is written where nothing changed."""
        changed = {name: np.flatnonzero(t.dirty[: t.size]).astype(np.int32) for name, t in tables.items()}
        if self.marker.generation and not any(len(rows) for rows in changed.values()):
            return self.marker
        if self.before_save:
            self.before_save()
        if self._wants_rewrite():
            return self._start_generation(tables)
        record = _record(tables, changed)
        self._append(self._path(self.marker.generation), record, new=False)
        self.marker = Marker(self.marker.generation, self.marker.length + len(record))
        self._records += 1
        _clean(tables)
        return self.marker

    def load(self, marker: Marker, tables: dict[str, Table]) -> None:
        """Fill empty tables from the file up to a marker, and cut off what lies behind it.

        Raises CorruptJournal when the file is gone, shorter than the marker, or damaged.
        """
        written, base, records = read_journal(self._path(marker.generation), marker, tables)
        path = self._path(marker.generation)
        os.truncate(path, marker.length)
        for generation, other in self._generations():
            if generation > marker.generation:
                other.unlink()
        self.marker = marker
        self._base_bytes = base
        self._records = records
        self._outdated = list(written.items()) != [(n, t.dtype) for n, t in tables.items()]
        _clean(tables)

    def start_afresh(self) -> None:
        """No snapshot to resume from: what files there are belong to epochs that never ended, and are set aside."""
        for _, path in self._generations():
            path.rename(path.with_name(f"{path.name}.orphan"))

    def _start_generation(self, tables: dict[str, Table]) -> Marker:
        generation = self.marker.generation + 1
        header = _header(tables)
        record = _record(tables, {name: np.arange(t.size, dtype=np.int32) for name, t in tables.items()})
        self._append(self._path(generation), header + record, new=True)
        for older, path in self._generations():
            if older < generation - 1:
                path.unlink()
        self.marker = Marker(generation, len(header) + len(record))
        self._base_bytes = self.marker.length
        self._records = 0
        self._outdated = False
        _clean(tables)
        return self.marker

    def _wants_rewrite(self) -> bool:
        grown = self.marker.length > _REWRITE_FACTOR * self._base_bytes + _REWRITE_BYTES_MIN
        return self.marker.generation == 0 or self._outdated or (grown and self._records >= _REWRITE_RECORDS_MIN)

    def _append(self, path: Path, data: bytes, new: bool) -> None:
        draft = path.with_name(path.name + ".draft")  # whoever reads beside us sees a generation whole or not at all
        with open(draft if new else path, "wb" if new else "ab", buffering=0) as file:
            view = memoryview(data)
            while view:  # an unbuffered write may take less than it was given
                view = view[file.write(view) :]
            if self.sync:
                os.fsync(file.fileno())
        if new:
            draft.rename(path)
        if new and self.sync:
            sync_directory(self.directory)

    def _path(self, generation: int) -> Path:
        return self.directory / f"{self.name}.{generation:06d}"

    def _generations(self) -> list[tuple[int, Path]]:
        found = [(p.suffix[1:], p) for p in self.directory.glob(f"{self.name}.*")]
        return sorted((int(s), p) for s, p in found if s.isdigit())


def newest_journal(directory: Path, name: str) -> tuple[Path, Marker] | None:
    """The newest generation of a journal and how far its whole records reach, for reading beside a running worker."""
    found = sorted((int(p.suffix[1:]), p) for p in directory.glob(f"{name}.*") if p.suffix[1:].isdigit())
    if not found:
        return None
    generation, path = found[-1]
    data = path.read_bytes()
    at = 0
    while at + _RECORD.size <= len(data):
        magic, _, size = _RECORD.unpack_from(data, at)
        if magic != _MAGIC or at + _RECORD.size + size > len(data):
            break
        at += _RECORD.size + size
    return path, Marker(generation, at)


def read_journal(path: Path, marker: Marker, tables: dict[str, Table]) -> tuple[dict[str, np.dtype], int, int]:
    """Fill empty tables from a journal file up to a marker, changing nothing on disk (CorruptJournal if it cannot).

    Returns the record types the file was begun with, where its first record ends, and how many records follow that.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(marker.length)
    except FileNotFoundError:
        raise CorruptJournal(f"{path}: the snapshot names this journal, but it is not there") from None
    if len(data) < marker.length:
        raise CorruptJournal(f"{path}: {len(data)} bytes, but the snapshot reaches to {marker.length}")
    written, at = _read_header(path, data)
    base, records = 0, 0
    while at < marker.length:
        if marker.length - at < _RECORD.size:
            raise CorruptJournal(f"{path}: damaged record at byte {at}")
        magic, crc, size = _RECORD.unpack_from(data, at)
        payload = memoryview(data)[at + _RECORD.size : at + _RECORD.size + size]
        if magic != _MAGIC or len(payload) < size or zlib.crc32(payload) != crc:
            raise CorruptJournal(f"{path}: damaged record at byte {at}")
        _apply(payload, written, tables)
        at += _RECORD.size + size
        base = base or at
        records += 1
    return written, base, records - 1


def _clean(tables: dict[str, Table]) -> None:
    for table in tables.values():
        table.dirty[: table.size] = 0


def _header(tables: dict[str, Table]) -> bytes:
    types = {name: _describe(t.dtype) for name, t in tables.items()}
    payload = msgspec.json.encode(types)
    return _RECORD.pack(_MAGIC, zlib.crc32(payload), len(payload)) + payload


def _describe(dtype: np.dtype) -> list[tuple[str, str, list[int], int]]:
    """A record type as (field, scalar type, shape, offset), its last entry the size of the whole."""
    fields: dict[str, Any] = dict(dtype.fields or {})
    described = [(n, f[0].base.str, list(f[0].shape), int(f[1])) for n, f in fields.items()]
    return [*described, ("", "", [], dtype.itemsize)]


def _read_header(path: Path, data: bytes) -> tuple[dict[str, np.dtype], int]:
    try:
        magic, crc, size = _RECORD.unpack_from(data, 0)
        payload = data[_RECORD.size : _RECORD.size + size]
        if magic != _MAGIC or zlib.crc32(payload) != crc:
            raise ValueError
        described = msgspec.json.decode(payload, type=dict[str, list[tuple[str, str, list[int], int]]])
    except (struct.error, ValueError, msgspec.DecodeError):
        raise CorruptJournal(f"{path}: not a journal, or its first bytes are damaged") from None
    types = {}
    for name, fields in described.items():
        *columns, (_, _, _, itemsize) = fields
        types[name] = np.dtype(
            {
                "names": [c[0] for c in columns],
                "formats": [(c[1], tuple(c[2])) for c in columns],
                "offsets": [c[3] for c in columns],
                "itemsize": itemsize,
            }
        )
    return types, _RECORD.size + size


def _record(tables: dict[str, Table], changed: dict[str, np.ndarray]) -> bytes:
    parts = []
    for name, table in tables.items():
        rows = changed[name]
        words = table.words
        packed = np.empty(len(rows) * (words.shape[1] + _bitmap_words(words.shape[1])), np.uint64)
        used = int(pack_rows(words, rows, packed))
        parts += [_SECTION.pack(table.size, len(rows), words.shape[1], used), rows.tobytes(), packed[:used].tobytes()]
    payload = b"".join(parts)
    return _RECORD.pack(_MAGIC, zlib.crc32(payload), len(payload)) + payload


def _apply(payload: memoryview, written: dict[str, np.dtype], tables: dict[str, Table]) -> None:
    at = 0
    for name, dtype in written.items():
        size, count, words, used = _SECTION.unpack_from(payload, at)
        at += _SECTION.size
        rows = np.frombuffer(payload, np.int32, count, at)
        packed = np.frombuffer(bytes(payload[at + 4 * count : at + 4 * count + 8 * used]), np.uint64)
        at += 4 * count + 8 * used
        table = tables.get(name)
        if table is None:
            continue
        table.resize(size)
        if dtype == table.dtype:
            unpack_rows(packed, rows, table.words)
        else:
            old = np.zeros(count, dtype)
            unpack_rows(packed, np.arange(count, dtype=np.int32), old.view(np.uint64).reshape(count, words))
            for column in set(dtype.names or ()) & set(table.dtype.names or ()):
                if dtype[column].shape == table.dtype[column].shape:
                    table.rows[column][rows] = old[column]


def _bitmap_words(words: int) -> int:
    return (words + 63) // 64


@kernel
def pack_rows(words, rows, out):
    """Pack words[rows] (uint64[*, w]) without the zeros: per row ceil(w / 64) bitmap words, then the words that are
    not zero. `out` must hold len(rows) * (w + ceil(w / 64)); returns how many words were used."""
    width = words.shape[1]
    maps = (width + 63) // 64
    at = 0
    for i in range(len(rows)):
        row = rows[i]
        head = at
        at += maps
        for m in range(maps):
            out[head + m] = np.uint64(0)
        for k in range(width):
            value = words[row, k]
            if value != np.uint64(0):
                out[head + k // 64] |= np.uint64(1) << np.uint64(k % 64)
                out[at] = value
                at += 1
    return at


@kernel
def unpack_rows(packed, rows, words):
    """The inverse of `pack_rows`: fill words[rows] (uint64[*, w])."""
    width = words.shape[1]
    maps = (width + 63) // 64
    at = 0
    for i in range(len(rows)):
        row = rows[i]
        head = at
        at += maps
        for k in range(width):
            if packed[head + k // 64] >> np.uint64(k % 64) & np.uint64(1):
                words[row, k] = packed[at]
                at += 1
            else:
                words[row, k] = np.uint64(0)


def pack_rows_reference(words: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`pack_rows` in plain NumPy."""
    parts = []
    for row in rows:
        filled = words[row] != 0
        bits = np.zeros(_bitmap_words(len(filled)) * 64, bool)
        bits[: len(filled)] = filled
        parts += [np.packbits(bits, bitorder="little").view(np.uint64), words[row][filled]]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
