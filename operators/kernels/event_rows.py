"""EVENT rows from the authority's events, and rows by shard: what the decode step does beside the scanner."""

from __future__ import annotations

import numpy as np

from state.batches import ITEM, TOLD_MAX
from state.compiled import kernel
from state.events import Event
from state.hashing import hash_bytes, hash_span


@kernel
def hash_spans(buffer, starts, lengths, out):
    """Hashes of buffer[starts:starts+lengths] (uint8; int64[n]) into `out` uint64[n]; 0 (none) for an empty span."""
    for i in range(len(starts)):
        out[i] = hash_span(buffer, starts[i], starts[i] + lengths[i]) if lengths[i] > 0 else np.uint64(0)


def hash_spans_reference(texts: list[bytes]) -> np.ndarray:
    """What `hash_spans` fills for these texts behind one another."""
    return np.array([hash_bytes(text) if text else 0 for text in texts], np.uint64)


HASHED = ("user", "item", "category", "event_id", "aux")
"""The columns of EVENT that are one hash, in the order of the texts of `event_rows`; those of `told` come behind."""

TEXTS = len(HASHED) + TOLD_MAX
"""How many texts a row has."""

_ZEROS = (0,) * TOLD_MAX


def event_rows(
    event: Event, record: bytes, number: int, start: int, offset: int, read_at: float
) -> tuple[list[tuple[object, ...]], list[bytes]]:
    """EVENT rows of an event of record `number`, which stands at `start` of the buffer.

    As tuples whose hashes are 0 and the texts to be hashed, TEXTS of them a row, b"" for none (only an event's first
    row tells its identity); `put_hashes` brings them together. Where the shopper's id does not stand in the record as
    it is (escapes), `user_at` is -1.
    """
    user = event.user.encode()
    place = record.find(user)
    at = start + place if place >= 0 else -1
    identity = record if event.event_id is None else event.event_id.encode()
    aux, told = event.aux.encode(), [text.encode() for text in event.told]
    rows: list[tuple[object, ...]] = []
    texts: list[bytes] = []
    for line in event.lines:
        head = 0 if rows else 1
        ids = (at, len(user), number, event.kind, head)
        rows.append((event.ts, 0, 0, 0, 0, line.price, line.value, 0, offset, read_at, event.dwell_ms, _ZEROS, *ids))
        texts += (user, line.item.encode(), line.category.encode(), identity if head else b"", aux, *told)
    return rows, texts


def put_hashes(rows: np.ndarray, hashes: np.ndarray) -> None:
    """Fill the hashes of EVENT rows, from uint64[n, TEXTS]; an event's rows share one event_id."""
    for column, name in enumerate(HASHED):
        rows[name] = hashes[:, column]
    rows["told"] = hashes[:, len(HASHED) :]
    heads = np.maximum.accumulate(np.where(rows["head"] == 1, np.arange(len(rows)), 0))
    rows["event_id"] = rows["event_id"][heads]


def split_rows(rows: int, items: int, shards: int) -> int:
    """How many rows `split` makes of so many, `items` of which are `item` events'."""
    return rows + items * (shards - 1)


@kernel
def split(rows, shards, out, bounds):
    """Sort EVENT rows by user shard (user % shards), each shard's in the order they had: a counting sort.

    Rows of `item` events go to every shard. `out` EVENT of split_rows() and `bounds` int64[shards + 1] are filled:
    shard s has out[bounds[s] : bounds[s + 1]].
    """
    of = np.empty(len(rows), np.int32)
    bounds[:] = 0
    items = 0
    for i in range(len(rows)):
        if rows[i].kind == ITEM:
            of[i] = -1
            items += 1
        else:
            shard = np.int32(rows[i].user % np.uint64(shards))
            of[i] = shard
            bounds[shard + 1] += 1
    for s in range(shards):
        bounds[s + 1] += bounds[s] + items
    place = bounds[:shards].copy()
    for i in range(len(rows)):
        if of[i] >= 0:
            out[place[of[i]]] = rows[i]
            place[of[i]] += 1
        else:
            for s in range(shards):
                out[place[s]] = rows[i]
                place[s] += 1


def split_reference(rows: np.ndarray, shards: int) -> tuple[np.ndarray, np.ndarray]:
    """What `split` fills, shard by shard: (out, bounds)."""
    of = rows["user"] % np.uint64(shards)
    parts = [rows[(of == shard) | (rows["kind"] == ITEM)] for shard in range(shards)]
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)])
