"""Making a state directory ready before the first worker opens it: its description, and the engine's recovery store."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from bytewax.recovery import init_db_dir

from flows.rules import rules_digest
from flows.settings import ConfigurationError, Settings
from state.store import Store, StoreError, open_store, place_rules


def prepare_state(settings: Settings) -> Store:
    """Open the configured state directory, or make it. Raises ConfigurationError where it cannot be used."""
    s = settings.state
    try:
        s.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        store, _ = open_store(s.directory, s.user_shards, s.item_shards, s.recovery_partitions)
        store = place_rules(store, settings.segments, rules_digest(settings))
        if not any(store.recovery.glob("*.sqlite3")):
            init_db_dir(store.recovery, store.recovery_partitions)
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(
            f"state.directory: {s.directory} cannot be written ({error.strerror}); give --state DIR"
        ) from error
    return store


def known_parts(store: Store) -> frozenset[str]:
    """The parts of the input that the engine's recovery store has a position of."""
    found: set[str] = set()
    for path in sorted(store.recovery.glob("*.sqlite3")):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as database:
                query = "SELECT DISTINCT state_key FROM snaps WHERE step_id = 'coterie.read'"
                found.update(key for (key,) in database.execute(query))
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{path}: the engine's recovery store cannot be read ({error}); give --state another"
            ) from None
    return frozenset(found)
