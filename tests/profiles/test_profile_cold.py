"""The cold tier: shoppers leave memory and come back whole, and nothing that is told of anybody changes by it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle_events import parse
from profile_shop import BEGIN_MS, DAY, HOUR, Shop, cuts, line, logs, order

from operators.generate import ShopPlan, generate
from operators.profiles import BROUGHT_BACK_MAX

USERS = tuple(f"u{n}" for n in range(24))
LONG: dict[str, Any] = {"inactivity_ttl_ms": 4000 * DAY, "sample_every": 2}
TIGHT: dict[str, Any] = {"bytes_max": 1}
"""Whenever there are eight shoppers in memory the one seen longest ago leaves."""

MODELS = ("segments", "purchase", "churn")


def left(shop: Shop) -> int:
    """How many have left memory so far."""
    return shop.counted("evictions", "profiles")


def in_cold(shop: Shop) -> int:
    return sum(step.store.cold.size for step in shop.steps.values())


def roomy(shop: Shop) -> Shop:
    """From now on nobody leaves."""
    for step in shop.steps.values():
        step.store._bytes_max = 0
    return shop


def everybody_back(*shops: Shop, users: Sequence[str] = USERS) -> None:
    """One more event of each shopper; nobody leaves again."""
    newest = max(int(step.store.shard.rows["newest_ts"][0]) for shop in shops for step in shop.steps.values())
    for shop in shops:
        roomy(shop).feed(*(line("search", max(newest, BEGIN_MS), user, event_id="back") for user in users))


def outcome(shop: Shop, *without: str) -> tuple[Any, ...]:
    """Features, all that is kept, triggers and samples."""
    samples = [shop.samples(model) for model in MODELS]
    return shop.every_feature(), shop.kept(*without), shop.told_triggers(), samples


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from([1, 2]))
def test_who_left_and_came_back_is_who_never_left(data: st.DataObject, shards: int) -> None:
    """Any log, cut anywhere: features, rows, triggers and samples of a shop that keeps everybody in memory."""
    log = data.draw(logs(most=70, users=USERS))
    with tempfile.TemporaryDirectory() as directory:
        plain, tight = Shop(shards, **LONG), Shop(shards, Path(directory), **LONG, **TIGHT)
        for part in cuts(data.draw, len(log)):
            plain.feed(*log[part])
            tight.feed(*log[part])
            assert plain.steps["u000"].users == tight.steps["u000"].users
        everybody_back(plain, tight)
        assert in_cold(tight) == 0
        assert outcome(plain) == outcome(tight)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_resuming_with_cold_files_changes_nothing(data: st.DataObject) -> None:
    """At a snapshot of now, or at an earlier one though the cold files have gone on since, as after a crash."""
    log = data.draw(logs(most=70, users=USERS, erase=False))
    parts = cuts(data.draw, len(log))
    with tempfile.TemporaryDirectory() as cold, tempfile.TemporaryDirectory() as journals:
        plain, tight = Shop(**LONG), Shop(1, Path(cold), **LONG, **TIGHT)
        for part in parts:
            plain.feed(*log[part])
        n = 0
        while n < len(parts):
            markers = tight.snapshot(Path(journals))
            told = list(tight.batches)
            lost = data.draw(st.integers(0, 3))
            for part in parts[n : n + lost]:
                tight.feed(*log[part])
            for step in tight.steps.values():
                step.before_snapshot()  # what left since stands in the files, too
            tight = tight.resumed(Path(journals), markers)
            tight.batches = told
            tight.feed(*log[parts[n]])
            n += 1
        everybody_back(plain, tight)
        assert outcome(plain) == outcome(tight)


def generated() -> list[bytes]:
    plan = ShopPlan(shoppers=300, items=60, categories=7, days=60, events=4_000, late_share=0.02, duplicate_share=0.02)
    return b"".join(generate(plan)).splitlines()


NAMELESS: dict[str, Any] = {"custom_names": (), "context_names": (), "lapsed_ms": 10 * DAY, "sample_every": 4}


def test_a_whole_shop_with_little_memory_is_the_same(tmp_path: Path) -> None:
    """Some thousand events of hundreds of shoppers, in batches of 50, over two shards, resumed now and then."""
    log = generated()
    plain, tight = Shop(2, **NAMELESS), Shop(2, tmp_path / "cold", **NAMELESS, **TIGHT)
    (tmp_path / "cold").mkdir()
    for n, at in enumerate(range(0, len(log), 50)):
        plain.feed(*log[at : at + 50])
        tight.feed(*log[at : at + 50])
        if n % 20 == 19:
            told = tight.batches
            tight = tight.resumed(tmp_path)
            tight.batches = told
            assert 0 < len(tight.rows()) < 100 and in_cold(tight) > 20
    assert sum(len(batch.left) for batch in tight.batches) > 500
    assert plain.triggers() == tight.triggers() and len(plain.triggers()) > 100
    everybody_back(plain, tight, users=sorted({e["user_id"] for record in log if "user_id" in (e := parse(record))}))
    assert outcome(plain) == outcome(tight)


def pushed_out(directory: Path, *first: bytes, **settings: Any) -> Shop:
    """A shop in which ann, of whom `first` tells, is in the cold tier, with others who came after."""
    shop = Shop(1, directory, **TIGHT, **settings)
    shop.feed(*first)
    shop.feed(*(line("view", BEGIN_MS + HOUR, user, item_id="a") for user in USERS))
    assert "ann" not in shop.rows() and left(shop) > 0
    return shop


LONG_ID = "a-shopper-with-a-long-id" * 3


def test_an_erased_shopper_s_cold_entry_goes_too(tmp_path: Path) -> None:
    """Row, slabs and the entry are gone, the batch tells the steps behind; who comes again begins anew."""
    shop = pushed_out(tmp_path, order(BEGIN_MS, ("i", 1, 5)), line("add_to_cart", BEGIN_MS + 1, item_id="i"))
    users = shop.steps["u000"].users
    (batch,) = shop.feed(line("erase", BEGIN_MS + HOUR, "ann"))
    row = batch.rows[0]
    assert (int(row["erased"]), int(row["acts"])) == (1, 0)
    step = shop.steps["u000"]
    assert step.users == users - 1 and "ann" not in shop.rows()
    shop.feed(line("view", BEGIN_MS + 2 * HOUR, "ann", item_id="b"))
    found = shop.features("ann")
    assert (found["events_total"], found["purchases_total"], found["cart_lines"]) == (1, 0, 0)


def test_withdrawn_consent_outlasts_the_cold_tier(tmp_path: Path) -> None:
    """Whoever said no is refused when they come back, and after a resume."""
    (tmp_path / "cold").mkdir()
    shop = roomy(pushed_out(tmp_path / "cold", line("consent", BEGIN_MS, granted=False)).resumed(tmp_path))
    assert "ann" not in shop.rows()
    shop.feed(line("view", BEGIN_MS + 2 * HOUR, "ann", item_id="b"))
    assert [letter.reason for letter in shop.letters] == ["no_consent"]
    assert shop.row("ann")["refused"] and shop.row("ann")["events"] == 1


@pytest.mark.parametrize("cold", [False, True])
def test_a_row_is_dropped_at_the_end_of_its_life(tmp_path: Path, cold: bool) -> None:
    """A shopper not heard of for so long goes, from memory and from the cold tier, and the batch tells it; who has
    withdrawn consent stays, for it has to be remembered."""
    first = line("view", BEGIN_MS, "ann", item_id="i"), line("consent", BEGIN_MS, "no", granted=False)
    if cold:
        shop = pushed_out(tmp_path, *first, inactivity_ttl_ms=90 * DAY)
        assert in_cold(shop) >= 2
    else:
        shop = Shop(inactivity_ttl_ms=90 * DAY)
        shop.feed(*first)
    early = shop.feed(line("view", BEGIN_MS + 90 * DAY - 1, "bob", item_id="i"))
    assert not any(row["erased"] for batch in early for row in batch.rows)
    batches = shop.feed(line("view", BEGIN_MS + 90 * DAY, "bob", item_id="j"))
    gone = [
        batch.ids.tobytes()[row["user_at"] : row["user_at"] + row["user_len"]].decode()
        for batch in batches
        for row in batch.rows
        if row["erased"]
    ]
    assert gone == ["ann"]
    shop.feed(
        line("view", BEGIN_MS + 91 * DAY, "ann", item_id="b"), line("view", BEGIN_MS + 91 * DAY, "no", item_id="b")
    )
    assert shop.features("ann")["events_total"] == 1
    assert len(shop.letters) == 1 and shop.row("no")["events"] == 1


def test_a_trigger_brings_its_shopper_back(tmp_path: Path) -> None:
    """Who lies in the cold tier with a cart left behind is told of in time, with the row that was put aside."""
    shop = pushed_out(tmp_path, line("add_to_cart", BEGIN_MS, item_id="i"))
    batches = shop.feed(line("view", BEGIN_MS + 2 * HOUR, "bob", item_id="i"))
    assert shop.triggers() == {("ann", "cart_abandoned", BEGIN_MS + HOUR)}
    rows = [
        row
        for batch in batches
        for row in batch.rows
        if batch.ids.tobytes()[row["user_at"] : row["user_at"] + row["user_len"]] == b"ann"
    ]
    assert [(int(r["fresh"]), int(r["acts"]), int(r["version"])) for r in rows] == [(2, 0, 1)]


def test_ids_that_share_a_hash_are_kept_apart_across_the_cold_tier(tmp_path: Path) -> None:
    """Hash and bytes must agree: who has the hash of somebody in the cold tier is somebody new."""
    shop = Shop(1, tmp_path, **TIGHT)

    def feed(*lines: bytes) -> None:
        events = shop.decode(lines)
        for _, batch in events:
            batch.rows["user"][batch.rows["user_len"] == 3] = 4711
        shop.process(events)

    feed(line("view", BEGIN_MS, "ann", item_id="a"))
    feed(*(line("view", BEGIN_MS + HOUR, f"longer-{n}", item_id="a") for n in range(12)))
    assert "ann" not in shop.rows()
    roomy(shop)
    feed(line("view", BEGIN_MS + HOUR, "bob", item_id="a"), line("view", BEGIN_MS + HOUR, "bob", item_id="b"))
    feed(line("view", BEGIN_MS + HOUR, "ann", item_id="b"))
    assert {user: int(row["events"]) for user in ("ann", "bob") for row in [shop.row(user)]} == {"ann": 2, "bob": 2}


def test_the_bound_of_users_counts_those_who_left(tmp_path: Path) -> None:
    """Memory has room again, but no further shopper is taken in; those who are known come back."""
    shop = Shop(1, tmp_path, users_max=16, **TIGHT)
    for n in range(24):
        shop.feed(line("view", BEGIN_MS + n, f"u{n}", item_id="a"))
    assert shop.steps["u000"].users == 16 and in_cold(shop) > 0
    assert shop.counted("evictions", "users") == 8
    for n in range(16):
        shop.feed(line("view", BEGIN_MS + HOUR + n, f"u{n}", item_id="a"))
        assert shop.features(f"u{n}")["events_total"] == 2
    shop.feed(line("view", BEGIN_MS + 100 * DAY, "u0", item_id="a"))
    assert shop.steps["u000"].users == 1


def test_all_rows_in_use_stop_nobody_from_coming_back(tmp_path: Path) -> None:
    """Those in the cold tier whose trigger is due come back though memory holds as many shoppers as are allowed."""
    shop = Shop(1, tmp_path, users_max=12, **TIGHT)
    shop.feed(*(line("add_to_cart", BEGIN_MS + n, f"u{n}", item_id="a") for n in range(12)))
    assert in_cold(shop) > 0
    roomy(shop)
    shop.feed(line("view", BEGIN_MS + 2 * HOUR, "new", item_id="a"))
    assert shop.triggers() == {(f"u{n}", "cart_abandoned", BEGIN_MS + HOUR + n) for n in range(12)}


def test_however_many_are_due_at_once_all_are_told_of(tmp_path: Path) -> None:
    """More than are brought back in one go: nobody waits for the next word of the input, which may not come."""
    shop = Shop(1, tmp_path, **TIGHT)
    shop.feed(*(line("add_to_cart", BEGIN_MS, f"u{n}", item_id="a") for n in range(3500)))
    while len(shop.rows()) > 50:
        shop.pulse(BEGIN_MS)
    assert in_cold(shop) == 3500 - len(shop.rows()) > BROUGHT_BACK_MAX
    shop.pulse(BEGIN_MS + HOUR, idle_ms=HOUR)
    assert len(shop.triggers()) == 3500
