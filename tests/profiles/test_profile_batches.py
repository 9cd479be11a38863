"""Cutting, resuming, sweeping: what the engine does to the input changes nothing that is kept of a shopper."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, Shop, cuts, flat, line, logs, order

from operators.profiles import Profiles
from state.batches import ProfileBatch
from state.journal import Journal
from state.metrics import Metrics

SWEPT = ("purchase_due", "churn_due", "purchase_x", "churn_x")
"""What a sweep may settle earlier than the shopper's next event would: the open decisions."""


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_cut_into_batches_gives_the_same_tables(data: st.DataObject) -> None:
    """Without sweeps and erasures: profiles, ids and the shard's row are equal byte for byte, and in their order."""
    log = data.draw(logs(erase=False))
    whole, cut = Shop(2, sweep_rows=0), Shop(2, sweep_rows=0)
    whole.feed(*log)
    for part in cuts(data.draw, len(log)):
        cut.feed(*log[part])
    assert whole.image() == cut.image()
    for model in ("segments", "purchase", "churn"):
        assert whole.samples(model) == cut.samples(model)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_sweeps_touch_nothing_but_open_decisions(data: st.DataObject) -> None:
    """With sweeps, the tables differ by the cut in the open decisions and in where the next sweep begins, no more."""
    log = data.draw(logs(erase=False))
    whole, cut, unswept = Shop(sweep_rows=3), Shop(sweep_rows=2), Shop(sweep_rows=0)
    whole.feed(*log)
    unswept.feed(*log)
    for part in cuts(data.draw, len(log)):
        cut.feed(*log[part])
    assert whole.image(*SWEPT, "sweep_at") == cut.image(*SWEPT, "sweep_at") == unswept.image(*SWEPT, "sweep_at")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_with_erasures_each_shopper_is_the_same_wherever_their_row_stands(data: st.DataObject) -> None:
    """An erased shopper's row may be used again from the next batch on: the order of rows depends on the cut."""
    log = data.draw(logs(most=60))
    whole, cut = Shop(sweep_rows=0), Shop(sweep_rows=0)
    whole.feed(*log)
    for part in cuts(data.draw, len(log)):
        cut.feed(*log[part])
        known = {u for u, row in cut.rows().items() if row["events"] or row["refused"]}
        assert set(cut.rows()) == known, "an erased shopper's row is free after the batch"
    assert whole.kept() == cut.kept()


def resumed(shop: Shop, directory: Path) -> Shop:
    """A new shop from the first one's snapshot, by way of its journals."""
    again = Shop(shop.shards, **{name: getattr(shop.settings, name) for name in shop.settings.__dataclass_fields__})
    again.names, again._offset = shop.names, shop._offset
    for key, step in shop.steps.items():
        marker = Journal(directory, key, sync=False).save(step.tables)
        Journal(directory, key, sync=False).load(marker, again.steps[key].tables)
        again.steps[key].restored()
    return again


def told(batch: ProfileBatch) -> dict[str, object]:
    """All that a profile batch says, but its number."""
    arrays = {
        name: [flat(row) for row in getattr(batch, name)] for name in ("rows", "acts", "pairs", "touches", "fetches")
    }
    samples = [(s.model, s.x.tolist(), s.y.tolist(), s.ts.tolist()) for s in batch.samples]
    receipt = (batch.receipt.read_at.tolist(), batch.receipt.ts.tolist(), batch.receipt.done)
    return {
        **arrays,
        "ids": batch.ids.tobytes(),
        "samples": samples,
        "receipt": receipt,
        "item_shards": batch.item_shards,
    }


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from([0, 2, 64]))
def test_a_resumed_shard_goes_on_as_if_nothing_had_happened(data: st.DataObject, sweep_rows: int) -> None:
    """Snapshot and resume between any two batches: the tables and all that is told afterwards are the same."""
    log = data.draw(logs(erase=False))
    parts = cuts(data.draw, len(log))
    stop = data.draw(st.integers(0, len(parts)))
    shop = Shop(2, sweep_rows=sweep_rows, sample_every=3)
    for part in parts[:stop]:
        shop.feed(*log[part])
    with tempfile.TemporaryDirectory() as directory:
        again = resumed(shop, Path(directory))
    assert again.image() == shop.image() and again.steps["u000"].users == shop.steps["u000"].users
    for part in parts[stop:]:
        assert list(map(told, again.feed(*log[part]))) == list(map(told, shop.feed(*log[part])))
    assert again.image() == shop.image()
    assert list(map(told, again.finish())) == list(map(told, shop.finish()))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_resumed_shard_keeps_each_shopper_though_some_were_erased(data: st.DataObject) -> None:
    """Free rows are found again; each shopper is the same as without the restart."""
    log = data.draw(logs(most=60))
    parts = cuts(data.draw, len(log))
    stop = data.draw(st.integers(0, len(parts)))
    shop = Shop(sweep_rows=0)
    for part in parts[:stop]:
        shop.feed(*log[part])
    with tempfile.TemporaryDirectory() as directory:
        again = resumed(shop, Path(directory))
    for part in parts[stop:]:
        again.feed(*log[part])
        shop.feed(*log[part])
    assert again.kept() == shop.kept()
    assert len(again.image()["u000.profiles"]) == len(shop.image()["u000.profiles"])


def test_free_rows_are_used_again_in_the_same_order_after_a_resume(tmp_path: Path) -> None:
    """Replaying the same log gives the same rows, crashed or not."""
    shop = Shop()
    shop.feed(*(line("view", BEGIN_MS, f"u{n}", item_id="a") for n in range(6)))
    for gone in (4, 1, 3):
        shop.feed(line("erase", BEGIN_MS, f"u{gone}"))
    again = resumed(shop, tmp_path)
    new = [line("view", BEGIN_MS, f"new{n}", item_id="a") for n in range(3)]
    assert [b.rows["row"].tolist() for b in again.feed(*new)] == [b.rows["row"].tolist() for b in shop.feed(*new)]


def test_a_duplicate_is_found_across_a_restart(tmp_path: Path) -> None:
    """The newest eight event ids are part of the snapshot: events read twice count once."""
    shop = Shop()
    log = [line("view", BEGIN_MS + n, item_id="a", event_id=n) for n in range(8)]
    shop.feed(*log)
    again = resumed(shop, tmp_path)
    again.feed(*log[3:], line("view", BEGIN_MS + 9, item_id="a"))
    assert again.features("ann")["events_total"] == 9
    assert again.counted("duplicates") == 5


def test_duplicates_are_found_among_the_last_eight_event_ids() -> None:
    """The ninth id back is forgotten, that is the stated bound; a duplicate itself takes no place."""
    log = [line("view", BEGIN_MS + n, item_id="a", event_id=n) for n in range(9)]
    shop = Shop()
    shop.feed(*log, log[1], log[1], log[8])
    assert shop.features("ann")["events_total"] == 9
    shop.feed(log[0])
    assert shop.features("ann")["events_total"] == 10
    shop.feed(order(BEGIN_MS, ("a", 1, 2), ("b", 1, 2)), order(BEGIN_MS, ("a", 1, 2), ("b", 1, 2)))
    found = shop.features("ann")
    assert (found["purchases_total"], found["items_bought_total"], found["spend_total"]) == (1, 2, 4)


def test_the_same_event_id_of_another_shopper_is_no_duplicate() -> None:
    """Ids are compared within a shopper."""
    shop = Shop()
    shop.feed(*(line("view", BEGIN_MS, user, item_id="a", event_id="e1") for user in ("ann", "bob")))
    assert shop.features("ann")["events_total"] == shop.features("bob")["events_total"] == 1
    assert shop.counted("duplicates") == 0


def test_past_the_bound_of_users_new_ones_are_left_out_and_counted() -> None:
    """Known shoppers go on, also after an erasure has made room for one more; every event is answered for."""
    shop = Shop(users_max=2)
    for user in ("ann", "bob", "cem", "ann", "cem"):
        (batch,) = shop.feed(line("view", BEGIN_MS, user, item_id="a", event_id=f"{user}{len(shop.batches)}"))
        assert batch.receipt.done == {0: 1}
    assert set(shop.rows()) == {"ann", "bob"} and shop.features("ann")["events_total"] == 2
    assert shop.counted("evictions", "users") == 2
    shop.feed(line("erase", BEGIN_MS, "bob"))
    shop.feed(order(BEGIN_MS, ("a", 1, 1), ("b", 1, 1), user="cem"))
    assert set(shop.rows()) == {"ann", "cem"} and shop.features("cem")["purchases_total"] == 1


@pytest.mark.parametrize("users", [3, 200])
def test_the_table_of_ids_does_not_outgrow_its_shoppers(users: int) -> None:
    """Shoppers who come, are erased and come again leave little behind: the table of ids is compacted."""
    shop = Shop(users_max=users)
    for n in range(40):
        shop.feed(*(line("view", BEGIN_MS + n, f"u{k}", item_id="a") for k in range(users)))
        shop.feed(*(line("erase", BEGIN_MS + n, f"u{k}") for k in range(users)))
    table = shop.steps["u000"].tables
    assert table["profiles"].size <= users
    assert table["ids"].size <= 2 * users + 512


def test_a_resumed_shard_may_end_before_its_first_event() -> None:
    """Stopped right after a start: every shopper is looked at, however many there are."""
    shop = Shop()
    shop.feed(*(line("view", BEGIN_MS, f"u{n}", item_id="a") for n in range(300)))
    before = shop.steps["u000"]
    after = Profiles(0, before.settings, Metrics())
    for name, table in before.tables.items():
        after.tables[name].resize(table.size)
        after.tables[name].rows[: table.size] = table.rows[: table.size]
    after.restored()
    assert sum(len(batch) for batch in after.finish()) == after.users == before.users > 64


def test_every_shopper_is_looked_at_at_the_end() -> None:
    """Finish tells of all, as of the newest event of their shard, in rows of at most some thousands."""
    shop = Shop(sweep_rows=0)
    shop.feed(*(line("view", BEGIN_MS, f"u{n}", item_id="a") for n in range(5000)))
    shop.feed(line("view", BEGIN_MS + 40 * DAY, "last", item_id="a"))
    batches = shop.finish()
    rows = [row for batch in batches for row in batch.rows]
    assert len(rows) == 5001 == len({int(row["row"]) for row in rows})
    assert all(row["acts"] == 0 and not row["fresh"] and not row["erased"] for row in rows)
    views_30d = {int(row["row"]): float(row["x"][1]) for row in rows}
    assert sum(views_30d.values()) == 1
    assert all(not len(batch.fetches) and not len(batch.acts) for batch in batches)
