"""Between the shards: from shoppers to the items they acted upon, and the answers back to the shoppers."""

from __future__ import annotations

import numpy as np

from state.batches import FetchBatch, ProfileBatch, VisitBatch, item_key
from state.compiled import kernel


@kernel
def counting_order(shards, count, order, starts):
    """Stable counting sort of `shards` (int64[n], 0..count-1): order int64[n], starts int64[count + 1]."""
    for i in range(len(shards)):
        starts[shards[i] + 1] += 1
    for s in range(count):
        starts[s + 1] += starts[s]
    at = starts[:count].copy()
    for i in range(len(shards)):
        order[at[shards[i]]] = i
        at[shards[i]] += 1


def split(rows: np.ndarray, hashes: np.ndarray, shards: int) -> list[tuple[int, np.ndarray]]:
    """Rows by the shard of their hash, in order within each: [(shard, rows)], empty ones left out."""
    order, starts = np.empty(len(rows), np.int64), np.zeros(shards + 1, np.int64)
    counting_order((hashes % np.uint64(shards)).astype(np.int64), shards, order, starts)
    sorted_rows = rows[order]
    bounds = starts.tolist()
    return [(s, sorted_rows[bounds[s] : bounds[s + 1]]) for s in range(shards) if bounds[s] < bounds[s + 1]]


def split_reference(rows: np.ndarray, hashes: np.ndarray, shards: int) -> list[tuple[int, np.ndarray]]:
    """`split` in plain NumPy."""
    shard = (hashes % np.uint64(shards)).astype(np.int64)
    return [(s, rows[shard == s]) for s in range(shards) if (shard == s).any()]


def count_item_shards(items: np.ndarray, item_shards: int) -> int:
    """How many item shards a set of items falls into."""
    return int(np.count_nonzero(np.bincount((items % np.uint64(item_shards)).astype(np.int64))))


class SplitVisits:
    """From profile batches to item shards: what they have to learn, and what they are asked."""

    def __init__(self, item_shards: int) -> None:
        self.item_shards = item_shards

    def __call__(self, batches: list[ProfileBatch]) -> list[tuple[str, VisitBatch]]:
        """One VisitBatch for each item shard concerned, of all the batches together, each in its order."""
        if not batches:
            return []
        n = self.item_shards
        pairs = _joined([b.pairs for b in batches])
        touches = _joined([b.touches for b in batches])
        baskets = _joined([b.baskets for b in batches])
        pairs_of = dict(split(pairs, pairs["row"], n))
        touches_of = dict(split(touches, touches["item"], n))
        baskets_of = dict(split(baskets, baskets["row"], n)) if len(baskets) else {}
        fetches_of: dict[int, list[FetchBatch]] = {}
        for batch in batches:
            for shard, rows in split(batch.fetches, batch.fetches["item"], n):
                fetches_of.setdefault(shard, []).append(FetchBatch(batch.shard, batch.sequence, rows))
        none, untouched = pairs[:0], touches[:0]
        return [
            (
                item_key(s),
                VisitBatch(
                    pairs_of.get(s, none), touches_of.get(s, untouched), fetches_of.get(s, []), baskets_of.get(s, none)
                ),
            )
            for s in sorted(pairs_of.keys() | touches_of.keys() | fetches_of.keys() | baskets_of.keys())
        ]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
