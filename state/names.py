"""The texts behind the hashes: items, categories and all other ids that are not a person's.

A name is a fact, not state: a hash always means the same text. So every process keeps one directory and appends what it
learns to a file of its own before anything that refers to it leaves the process; at start, and whenever the others'
files have grown, it reads what they learnt. No batch carries texts between processes, no snapshot holds them. Texts are
kept as JSON string literals (quotes and escapes included), ready to be copied into a Redis value.
"""

from __future__ import annotations

import os
from io import BufferedWriter
from pathlib import Path

import numpy as np
import orjson

from state.compiled import kernel
from state.hashing import hash_bytes

_FIRST_SLOTS = 1 << 12
_FIRST_ARENA = 1 << 16


@kernel
def find(slots, hashes, wanted):
    """Row of hash `wanted` in an open-addressed table (slots int32, -1 free; hashes uint64 by row), or -1."""
    mask = np.uint64(len(slots) - 1)
    s = wanted & mask
    while True:
        row = slots[s]
        if row < 0:
            return -1
        if hashes[row] == wanted:
            return row
        s = (s + np.uint64(1)) & mask


@kernel
def missing(slots, hashes, wanted, out):
    """Places in `wanted` (uint64[n]) whose hash is neither 0 nor known, each hash once per run; their number."""
    n = 0
    for i in range(len(wanted)):
        h = wanted[i]
        if h != np.uint64(0) and find(slots, hashes, h) < 0:
            out[n] = i
            n += 1
    return n


@kernel
def _refill(slots, hashes, size):
    mask = np.uint64(len(slots) - 1)
    for row in range(size):
        s = hashes[row] & mask
        while slots[s] >= 0:
            s = (s + np.uint64(1)) & mask
        slots[s] = row


class Names:
    """Hash -> text, append-only, bounded by `names_max`.

    Past the bound new texts are not kept (`refused` counts them): they render as null and their items are left out of
    lists. The first text of a hash stands; `collisions` counts others that were met together with it or read from
    another process's file (one that comes later is not compared: of 10 million names two agree once in 400,000 shops).
    """

    def __init__(self, directory: Path | None = None, process: int = 0, names_max: int = 20_000_000) -> None:
        self.names_max = names_max
        self.size = 0
        self.refused = 0
        self.shared = False
        """Do other processes learn names beside this one?"""
        self.collisions = 0
        self.slots = np.full(_FIRST_SLOTS, -1, np.int32)
        self.hashes = np.zeros(_FIRST_SLOTS, np.uint64)
        self.starts = np.zeros(_FIRST_SLOTS + 1, np.int64)
        self.arena = np.zeros(_FIRST_ARENA, np.uint8)
        self._directory = directory
        self._file: BufferedWriter | None = None
        self._unsynced = False
        self._read_to: dict[Path, int] = {}
        if directory:
            directory.mkdir(parents=True, exist_ok=True)
            own = directory / f"names-{process:03d}.jsonl"
            self.refresh()
            if own.exists() and own.stat().st_size > self._read_to.get(own, 0):
                os.truncate(own, self._read_to.get(own, 0))  # a torn last line, from a crash in the middle of a write
            self._read_to.pop(own, None)
            self._own = own
            self._file = open(own, "ab")  # noqa: SIM115 - kept open as long as the process lives

    @classmethod
    def reading(cls, directory: Path) -> Names:
        """The names of a directory, for looking only: nothing is written."""
        names = cls()
        names._directory = directory
        names.refresh()
        return names

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return int(self.slots.nbytes + self.hashes.nbytes + self.starts.nbytes + self.arena.nbytes)

    def __len__(self) -> int:
        return self.size

    def learn_spans(self, buffer: np.ndarray, hashes: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Keep the texts buffer[starts:starts+lengths] (UTF-8) of all hashes not yet known; 0 is passed over."""
        out = np.empty(len(hashes), np.int32)
        n = missing(self.slots, self.hashes, hashes, out)
        for i in out[:n].tolist():
            start = int(starts[i])
            self._learn(int(hashes[i]), buffer[start : start + int(lengths[i])].tobytes())

    def learn(self, text: str) -> int:
        """Keep a text; its hash."""
        data = text.encode()
        h = hash_bytes(data)
        self._learn(h, data)
        return h

    def find(self, h: int) -> int:
        """Row of a hash, or -1."""
        return int(find(self.slots, self.hashes, np.uint64(h)))

    def literal(self, h: int) -> bytes:
        """The JSON string literal of a hash's text; null where it is not known."""
        row = self.find(h)
        return b"null" if row < 0 else self.arena[self.starts[row] : self.starts[row + 1]].tobytes()

    def text(self, h: int) -> str | None:
        """The text of a hash, None where it is not known."""
        value: str | None = orjson.loads(self.literal(h))
        return value

    def publish(self) -> None:
        """Let the other processes read what was learnt: called before a batch that may refer to it leaves this one."""
        if self._file:
            self._file.flush()

    def flush(self) -> None:
        """Sync what was learnt to disk: called before a journal that may refer to it is written."""
        if self._file and self._unsynced:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._unsynced = False

    def close(self) -> None:
        """Sync and close the file."""
        self.flush()
        if self._file:
            self._file.close()
            self._file = None

    def refresh(self) -> None:
        """Read what the other processes have learnt since the last time."""
        if self._directory is None:
            return
        for path in sorted(self._directory.glob("names-*.jsonl")):
            if self._file is None or path != self._own:
                self._read(path)

    def _learn(self, h: int, data: bytes) -> None:
        literal = orjson.dumps(data.decode())
        if self._add(h, literal) and self._file:
            self._file.write(literal + b"\n")
            self._unsynced = True

    def _add(self, h: int, literal: bytes) -> bool:
        """Take a text in; False where it was known or there is no room."""
        row = self.find(h)
        if row >= 0:
            if self.arena[self.starts[row] : self.starts[row + 1]].tobytes() != literal:
                self.collisions += 1
            return False
        if self.size >= self.names_max:
            self.refused += 1
            return False
        self._reserve(len(literal))
        row, at = self.size, int(self.starts[self.size])
        self.arena[at : at + len(literal)] = np.frombuffer(literal, np.uint8)
        self.hashes[row] = h
        self.starts[row + 1] = at + len(literal)
        self.size += 1
        mask = len(self.slots) - 1
        s = h & mask
        while self.slots[s] >= 0:
            s = (s + 1) & mask
        self.slots[s] = row
        return True

    def _reserve(self, length: int) -> None:
        at = int(self.starts[self.size])
        if at + length > len(self.arena):
            self.arena = np.concatenate([self.arena, np.zeros(max(len(self.arena), length), np.uint8)])
        if self.size + 2 > len(self.hashes):
            self.hashes = np.concatenate([self.hashes, np.zeros_like(self.hashes)])
            self.starts = np.concatenate([self.starts, np.zeros(len(self.starts), np.int64)])
        if self.size * 2 >= len(self.slots):
            self.slots = np.full(len(self.slots) * 2, -1, np.int32)
            _refill(self.slots, self.hashes, self.size)

    def _read(self, path: Path) -> None:
        """Read the whole lines of a names file from where the last reading ended."""
        at = self._read_to.get(path, 0)
        if path.stat().st_size <= at:
            return
        with open(path, "rb") as file:
            file.seek(at)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            self._add(hash_bytes(orjson.loads(line).encode()), line)
        self._read_to[path] = at + whole
