"""What the item shards of a state directory have learned, and what of it must be the same however a log was run.

Which pairs are made follows from each shopper's acts, so their number, the items, and who stands beside whom in rows
that never were full are exact. Pairs of different shoppers reach an item's shard in any order, and each weighs a little
more than the one before (half as much again only after tens of thousands): so weights are the same within a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from operators.covisit import Covisit, CovisitSettings
from operators.kernels.neighbours import LONG
from state.batches import NEIGHBOURS
from state.journal import newest_journal, read_journal
from state.metrics import Metrics
from state.store import read_store

WEIGHTS_APART_MAX = 0.05


@dataclass(frozen=True)
class ItemTables:
    """`pairs` by shard; of each item its popularity (log2), and of rows that never were full {neighbour: share}."""

    pairs: tuple[int, ...]
    popularity: dict[int, float]
    beside: dict[int, dict[int, float]]

    @classmethod
    def of(cls, state: Path) -> ItemTables:
        """What the newest snapshot holds."""
        store = read_store(state)
        assert store is not None
        pairs, popularity, beside = [], {}, {}
        for shard in range(store.item_shards):
            step = Covisit(shard, Metrics(), CovisitSettings())
            newest = newest_journal(store.journals, f"covisit-{shard:03d}")
            assert newest is not None
            read_journal(*newest, step.tables)
            pairs.append(int(step.state.rows["pairs"][0]))
            for row in step.items.rows[: step.items.size]:
                item, count = int(row["item"]), int(row["count"])
                popularity[item] = float(row["popularity"])
                if count < NEIGHBOURS:
                    weights = row["weights"][LONG, :count].astype(float)
                    shares = (weights / weights.sum()).tolist() if count else []
                    beside[item] = dict(zip(row["neighbours"][:count].tolist(), shares, strict=True))
        return cls(tuple(pairs), popularity, beside)

    def apart(self, other: ItemTables) -> dict[str, Any]:
        """Where another one differs."""
        told: dict[str, Any] = {}
        if self.pairs != other.pairs:
            told["pairs"] = self.pairs, other.pairs
        if self.popularity != pytest.approx(other.popularity, abs=1e-6):
            told["popularity"] = self.popularity.items() ^ other.popularity.items()
        if self.beside.keys() != other.beside.keys():
            told["rows that never were full"] = self.beside.keys() ^ other.beside.keys()
        for item in self.beside.keys() & other.beside.keys():
            if self.beside[item] != pytest.approx(other.beside[item], rel=WEIGHTS_APART_MAX):
                told[f"beside {item:016x}"] = self.beside[item], other.beside[item]
        return told
