"""The state directory says what it is, and refuses to be what it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from state.store import StoreError, open_store, place_rules, read_store


def test_a_new_directory_is_made_once_and_keeps_its_name(tmp_path: Path) -> None:
    """Opening it again gives the same state id; its folders are there."""
    assert read_store(tmp_path / "state") is None
    store, new = open_store(tmp_path / "state", 4, 8, 2)
    assert new and (store.user_shards, store.item_shards, store.recovery_partitions) == (4, 8, 2)
    assert all(folder.is_dir() for folder in (store.journals, store.cold, store.recovery, store.names))
    again, new = open_store(tmp_path / "state", 4, 8, 2, sync=False)
    assert not new and again.state_id == store.state_id and not again.sync
    assert read_store(tmp_path / "state") == store
    assert open_store(tmp_path / "other", 4, 8, 2)[0].state_id != store.state_id


def test_a_directory_from_before_the_cold_tier_opens(tmp_path: Path) -> None:
    """What it lacks is made when a worker opens it; looking into it makes nothing."""
    store, _ = open_store(tmp_path, 4, 8, 2)
    store.cold.rmdir()
    assert read_store(tmp_path) == store and not store.cold.exists()
    assert open_store(tmp_path, 4, 8, 2) == (store, False)
    assert store.cold.is_dir()


@pytest.mark.parametrize(("users", "items", "setting"), [(5, 8, "user_shards"), (4, 9, "item_shards")])
def test_another_number_of_shards_is_refused(tmp_path: Path, users: int, items: int, setting: str) -> None:
    """The error says which setting, what was asked, what the directory has, and what to do."""
    open_store(tmp_path, 4, 8, 2)
    with pytest.raises(StoreError) as raised:
        open_store(tmp_path, users, items, 2)
    asked, fixed = (users, 4) if setting == "user_shards" else (items, 8)
    told = str(raised.value)
    assert told.startswith(f"state.{setting}: {asked}, but {tmp_path} was made with {fixed}")
    assert "give --state another" in told


def test_the_number_of_recovery_partitions_is_the_first_one(tmp_path: Path) -> None:
    """It is fixed when the directory is made; what is asked later does not count."""
    open_store(tmp_path, 4, 8, 2)
    assert open_store(tmp_path, 4, 8, 7)[0].recovery_partitions == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a description"),
        ("[1]", "not a description"),
        ('{"format": 3}', "not a description"),
        ('{"format":2,"state_id":"x","user_shards":4,"item_shards":8,"recovery_partitions":2}', "format 2"),
    ],
)
def test_a_description_that_cannot_be_read_is_told(tmp_path: Path, text: str, told: str) -> None:
    """Where, what and what to do."""
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=told) as raised:
        open_store(tmp_path, 4, 8, 2)
    assert str(tmp_path / "store.json") in str(raised.value) and "--state" in str(raised.value)


def test_an_interrupted_making_is_done_again(tmp_path: Path) -> None:
    """The description comes last: a directory without one is made anew, whatever stands in it."""
    (tmp_path / "journals").mkdir()
    (tmp_path / "store.json.draft").write_text("{")
    store, new = open_store(tmp_path, 4, 8, 2)
    assert new and json.loads((tmp_path / "store.json").read_bytes())["state_id"] == store.state_id
    assert not (tmp_path / "store.json.draft").exists()


def test_a_lost_description_is_not_made_anew_over_state(tmp_path: Path) -> None:
    """Other numbers of shards over old journals would scatter the shoppers: refused, with the way out."""
    open_store(tmp_path, 4, 4, 1)
    (tmp_path / "journals" / "profiles-000.000001").write_bytes(b"")
    (tmp_path / "store.json").unlink()
    with pytest.raises(
        StoreError, match=r"store.json: gone, but the directory holds state; put it back, or give --state"
    ):
        open_store(tmp_path, 2, 4, 1)


def test_rules_keep_their_places_for_good(tmp_path: Path) -> None:
    """New names follow; what is gone keeps its place; other rules are another version; the 65th name is refused."""
    store, _ = open_store(tmp_path, 1, 1, 1)
    first = place_rules(store, ["a", "b"], "one")
    assert first.rules == ("a", "b") and first.rules_version == 1
    again = place_rules(open_store(tmp_path, 1, 1, 1)[0], ["a", "b"], "one")
    assert (again.rules, again.rules_version) == (first.rules, 1)
    second = place_rules(again, ["c", "b"], "two")
    assert (second.rules, second.rules_version) == (("a", "b", "c"), 2)
    assert read_store(tmp_path) == second
    with pytest.raises(StoreError, match="has known 3 names of rules, with these it would be 65, at most 64"):
        place_rules(second, [f"r{n}" for n in range(62)], "three")
