"""Where a step puts the rows of shoppers who have not been seen for long, and how that goes with its snapshots."""

from __future__ import annotations

import numpy as np

from state.cold_store import ColdStore
from state.table import Table

COLD_ROW = np.dtype([("generation", "i8"), ("length", "i8")], align=True)
"""How far the file of a cold store reaches that a snapshot belongs to."""

BACK = 2
"""Of a row's flag `fresh`: the shopper is back from the cold tier."""

NEVER = np.iinfo(np.int64).max

INDEX_BYTES = 48
"""Of a shopper in the cold tier in memory."""


class ColdTier:
    """A cold store whose marker is a row of the step's own tables: both go back together when the worker resumes."""

    def __init__(self, store: ColdStore | None) -> None:
        self.store = store
        self.table = Table(COLD_ROW, 1)
        self.table.extend(1)
        self._loaded = False

    @property
    def size(self) -> int:
        """Shoppers in it."""
        return self.store.size if self.store else 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory its shoppers take, about: the index, without what is kept ready beside it."""
        return self.size * INDEX_BYTES

    def restored(self) -> None:
        """The table was loaded: cut the file at its marker."""
        if self.store:
            self.store.load(*(int(self.table.rows[name][0]) for name in ("generation", "length")))
        self._loaded = True

    def ready(self) -> ColdStore | None:
        """The store; what lies there from before a first snapshot is set aside."""
        if not self._loaded:
            self.restored()
        return self.store

    def before_snapshot(self) -> None:
        """Bring what was put there to the disk, and remember how far the file reaches."""
        if self.store and self._loaded:
            marker = self.store.save()
            row = self.table.rows[0]
            if (row["generation"], row["length"]) != (marker.generation, marker.length):
                row["generation"], row["length"] = marker.generation, marker.length
                self.table.dirty[0] = 1

    def bring_back(self, profiles: np.ndarray, table: Table) -> np.ndarray:
        """Take up what was put aside for shoppers who are back (PROFILE rows with `fresh` 2) in a table that has a row
        of `table` for each; the PROFILE rows, no longer fresh where something was."""
        back = np.flatnonzero(profiles["fresh"] == BACK)
        if len(back) == 0:
            return profiles
        profiles = profiles.copy()
        found, words = self.take_rows(profiles["user"][back], table.words.shape[1])
        rows = profiles["row"][back[found]]
        table.words[rows] = words
        table.dirty[rows] = 1
        profiles["fresh"][back] = np.where(found, 0, 1)
        return profiles

    def send_away(self, left: np.ndarray, table: Table) -> np.ndarray:
        """Put the rows of shoppers who left (uint64[k, 2]: hash, row) aside; the rows, which the caller clears."""
        left = left[left[:, 1] < table.size]
        rows = left[:, 1].astype(np.int64)
        self.put_rows(left[:, 0].copy(), table.words[rows])
        table.dirty[rows] = 1
        return rows

    def put(self, hashes: np.ndarray, starts: np.ndarray, words: np.ndarray) -> None:
        """Put runs of words there, words[starts[i]:starts[i + 1]] (uint64; int64[n + 1]) by the hash of a shopper."""
        store = self.ready()
        if store and len(hashes):
            store.put(hashes, np.full(len(hashes), NEVER), starts, words)

    def take(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Take them back: (which of the hashes were there, starts int64[k + 1], words uint64 of those)."""
        store = self.ready()
        if not store or not store.size:
            return np.zeros(len(hashes), bool), np.zeros(1, np.int64), np.empty(0, np.uint64)
        return store.take(hashes)

    def put_rows(self, hashes: np.ndarray, words: np.ndarray) -> None:
        """Put rows (uint64[n, w]) there by the hashes of their shoppers."""
        n, width = words.shape
        self.put(hashes, np.arange(n + 1, dtype=np.int64) * width, np.ascontiguousarray(words).reshape(-1))

    def take_rows(self, hashes: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Take rows of `width` words back: (which of the hashes were there, uint64[k, width] of those)."""
        found, _, words = self.take(hashes)
        return found, words.reshape(-1, width)
