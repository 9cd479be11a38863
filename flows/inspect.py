"""Looking into a state directory from outside: a shopper's features, and all of them for comparing two runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from flows.settings import Settings, load_settings
from flows.steps import profile_settings
from operators.profile_features import Value, features
from operators.profile_store import ProfileStore
from state.cold_store import read_cold
from state.hashing import hash_text
from state.journal import newest_journal, read_journal
from state.names import Names
from state.store import Store, read_store


def profiles_of(store: Store, shard: int) -> ProfileStore:
    """The profiles of a user shard as of its newest snapshot, those in the cold tier among them."""
    name = f"profiles-{shard:03d}"
    profiles = ProfileStore(users_max=2**31 - 1)
    newest = newest_journal(store.journals, name)
    if newest is not None:
        read_journal(*newest, profiles.tables)
        profiles.restored()
        profiles.adopt(*read_cold(store.cold, name))
    return profiles


def features_of(settings: Settings, user_id: str, as_of_snapshot: bool = False) -> dict[str, Value] | None:
    """A shopper's features from the newest snapshot, as of their newest event or of the snapshot's watermark; None
    where they are not known."""
    store = read_store(settings.state.directory)
    if store is None:
        return None
    profiles = profiles_of(store, hash_text(user_id) % store.user_shards)
    for row, found in _shoppers(profiles):
        if found == user_id.encode():
            of_profiles = profile_settings(settings, store.user_shards, store.item_shards)
            now = int(profiles.profiles.rows["event_ts"][row])
            if as_of_snapshot:
                now = max(now, int(profiles.shard.rows["watermark_ts"][0]))
            return features(profiles.tables, row, Names.reading(store.names), of_profiles, now)
    return None


def all_features(
    state_directory: Path, as_of_ms: int | None = None, settings: Settings | None = None
) -> dict[str, dict[str, Value]]:
    """Every shopper's features by id: what two runs are compared by."""
    store = read_store(state_directory)
    if store is None:
        return {}
    names = Names.reading(store.names)
    of_profiles = profile_settings(settings or load_settings(), store.user_shards, store.item_shards)
    out = {}
    for shard in range(store.user_shards):
        profiles = profiles_of(store, shard)
        for row, user_id in _shoppers(profiles):
            out[user_id.decode()] = features(profiles.tables, row, names, of_profiles, as_of_ms)
    return out


def _shoppers(profiles: ProfileStore) -> Iterator[tuple[int, bytes]]:
    """Row and id of every shopper."""
    rows = profiles.profiles.rows[: profiles.profiles.size]
    for row in np.flatnonzero(rows["hash"]).tolist():
        yield row, profiles.id_of(row)
