"""Making a state directory ready before the first worker opens it: its description, and the engine's recovery store."""

from __future__ import annotations

from bytewax.recovery import init_db_dir

from flows.settings import ConfigurationError, Settings
from state.store import Store, StoreError, open_store


def prepare_state(settings: Settings) -> Store:
    """Open the configured state directory, or make it. Raises ConfigurationError where it cannot be used."""
    s = settings.state
    try:
        s.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        store, _ = open_store(s.directory, s.user_shards, s.item_shards, s.recovery_partitions)
        if not any(store.recovery.glob("*.sqlite3")):
            init_db_dir(store.recovery, store.recovery_partitions)
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(
            f"state.directory: {s.directory} cannot be written ({error.strerror}); give --state DIR"
        ) from error
    return store
