"""Looking into a state directory from outside: a shopper's features, and whole tables for comparing two runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from operators.profile_features import features
from state.hashing import hash_text
from state.journal import newest_journal, read_journal
from state.names import Names
from state.profile_table import ID_CHUNK, ID_ROW, PROFILE_ROW
from state.store import Store, read_store
from state.table import Table


def profile_tables(store: Store, shard: int) -> tuple[np.ndarray, list[bytes]]:
    """The profiles of a user shard as of its newest snapshot: (PROFILE_ROW rows in use, the shoppers' ids)."""
    tables = {"profiles": Table(PROFILE_ROW), "ids": Table(ID_ROW)}
    newest = newest_journal(store.journals, f"profiles-{shard:03d}")
    if newest is None:
        return tables["profiles"].rows[:0], []
    read_journal(*newest, tables)
    rows = tables["profiles"].rows[: tables["profiles"].size]
    rows = rows[rows["hash"] != 0]
    flat = tables["ids"].rows.view(np.uint8).tobytes()
    spans = zip((rows["id_chunk"] * ID_CHUNK).tolist(), rows["id_len"].tolist(), strict=True)
    return rows, [flat[at : at + length] for at, length in spans]


def features_of(state_directory: Path, user_id: str) -> dict[str, float | int | str | None] | None:
    """A shopper's features as of their newest event, from the newest snapshot; None where they are not known."""
    store = read_store(state_directory)
    if store is None:
        return None
    rows, ids = profile_tables(store, hash_text(user_id) % store.user_shards)
    try:
        place = ids.index(user_id.encode())
    except ValueError:
        return None
    return features(rows[place], Names.reading(store.names))


def all_features(state_directory: Path, as_of_ms: int | None = None) -> dict[str, dict[str, float | int | str | None]]:
    """Every shopper's features by id: what two runs are compared by."""
    store = read_store(state_directory)
    if store is None:
        return {}
    names = Names.reading(store.names)
    out = {}
    for shard in range(store.user_shards):
        rows, ids = profile_tables(store, shard)
        for row, user_id in zip(rows, ids, strict=True):
            out[user_id.decode()] = features(row, names, as_of_ms)
    return out
