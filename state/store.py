"""The state directory: who it is, how its keys are cut into shards, and where in it everything lies."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from state.profile_table import RULES_MAX

FORMAT = 7
_PARTS = ("journals", "cold", "recovery", "names")


class StoreError(Exception):
    """The state directory cannot be used as it is asked to; the message says where, what and what to do."""


@dataclass(frozen=True, slots=True)
class Store:
    """A state directory: `journals` (deltas), `cold` (packed rows), `recovery` (the engine's markers), `names` (texts).

    `state_id` names it for good; the numbers of shards and of recovery partitions are fixed when it is made.
    """

    directory: Path
    state_id: str
    user_shards: int
    item_shards: int
    recovery_partitions: int
    rules: tuple[str, ...] = ()
    """Names of rule segments by their place in a shopper's set of them, which is theirs for good."""
    rules_version: int = 0
    """From 0 to 255, another one whenever the rules say something else."""
    sync: bool = True

    @property
    def journals(self) -> Path:
        return self.directory / "journals"

    @property
    def cold(self) -> Path:
        return self.directory / "cold"

    @property
    def recovery(self) -> Path:
        return self.directory / "recovery"

    @property
    def names(self) -> Path:
        return self.directory / "names"

    def agrees(self, user_shards: int, item_shards: int) -> None:
        """Raises StoreError where the directory was made with other numbers of shards."""
        for name, wanted in (("user_shards", user_shards), ("item_shards", item_shards)):
            fixed = getattr(self, name)
            if fixed != wanted:
                raise StoreError(
                    f"state.{name}: {wanted}, but {self.directory} was made with {fixed};"
                    " set it back, or give --state another"
                )


class _Description(msgspec.Struct):
    format: int
    state_id: str
    user_shards: int
    item_shards: int
    recovery_partitions: int
    rules: tuple[str, ...] = ()
    rules_digest: str = ""
    rules_version: int = 0

    def write(self, described: Path) -> None:
        """Put it in place in one step."""
        draft = described.with_suffix(".json.draft")
        with open(draft, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self), indent=2))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(described)


def open_store(
    directory: Path, user_shards: int, item_shards: int, recovery_partitions: int, sync: bool = True
) -> tuple[Store, bool]:
    """Open a state directory, or make it: (store, whether it is new).

    The description is written last and in one step, so that a directory that has one is whole. Raises StoreError when
    the directory was made with other numbers of shards, or by a version this one cannot read.
    """
    described = directory / "store.json"
    new = not described.exists()
    if new:
        if any(any((directory / part).glob("*")) for part in _PARTS):
            raise StoreError(f"{described}: gone, but the directory holds state; put it back, or give --state another")
        for part in _PARTS:
            (directory / part).mkdir(parents=True, exist_ok=True)
        _Description(FORMAT, uuid.uuid4().hex, user_shards, item_shards, recovery_partitions).write(described)
    found = read_store(directory, sync)
    assert found is not None
    found.agrees(user_shards, item_shards)
    found.cold.mkdir(exist_ok=True)  # a directory made before there was a cold tier has none
    return found, new


def read_store(directory: Path, sync: bool = True) -> Store | None:
    """What a state directory says of itself; None where there is none. Raises StoreError where it cannot be read."""
    described = directory / "store.json"
    if not described.exists():
        return None
    try:
        found = msgspec.json.decode(described.read_bytes(), type=_Description)
    except msgspec.DecodeError as error:
        raise StoreError(
            f"{described}: not a description of a state directory ({error}); give --state another"
        ) from None
    if found.format != FORMAT:
        raise StoreError(f"{described}: format {found.format}, but this version reads {FORMAT}; give --state another")
    numbers = found.user_shards, found.item_shards, found.recovery_partitions
    return Store(directory, found.state_id, *numbers, found.rules, found.rules_version, sync)


def place_rules(store: Store, names: Iterable[str], digest: str) -> Store:
    """Give rule segments that are new to a state directory their places; the store that knows them. `digest` names what
    all rules say.

    A rule that is no longer configured keeps its place. Raises StoreError when there would be more than RULES_MAX.
    """
    rules = (*store.rules, *(name for name in names if name not in store.rules))
    if len(rules) > RULES_MAX:
        raise StoreError(
            f"segments: {store.directory} has known {len(store.rules)} names of rules, with these it would be"
            f" {len(rules)}, at most {RULES_MAX}; keep to names it knows, or give --state another"
        )
    described = store.directory / "store.json"
    known = msgspec.json.decode(described.read_bytes(), type=_Description)
    if rules != store.rules or digest != known.rules_digest:
        known.rules, known.rules_digest, known.rules_version = rules, digest, (known.rules_version + 1) % 256
        known.write(described)
    return replace(store, rules=rules, rules_version=known.rules_version)
