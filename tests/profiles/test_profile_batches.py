"""Cutting, resuming, sweeping: what the engine does to the input changes nothing that is kept of a shopper."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, DECISIONS, HOUR, Shop, cuts, flat, in_order, line, logs, order

from operators.profile_settings import SWEPT_ROWS_MIN
from state.batches import ProfileBatch

LONG_MS = 4000 * DAY
WATCHED = ("lapsed_told", "cart_told", "session.told", "pending")
"""What a trigger leaves behind: of late logs it depends on when the watermark passed."""


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_cut_into_batches_keeps_the_same_of_every_shopper(data: st.DataObject) -> None:
    """Late events, erasures and withdrawals among them: rows and all they refer to are the same, but for what follows
    from absence; and the samples of the segments."""
    log = data.draw(logs(most=60))
    whole, cut = Shop(2, inactivity_ttl_ms=LONG_MS), Shop(2, inactivity_ttl_ms=LONG_MS)
    whole.feed(*log)
    for part in cuts(data.draw, len(log)):
        cut.feed(*log[part])
    assert whole.kept(*DECISIONS, *WATCHED) == cut.kept(*DECISIONS, *WATCHED)
    assert whole.samples("segments") == cut.samples("segments")


@settings(max_examples=50, deadline=None)
@given(st.data(), st.sampled_from([1, 3]))
def test_within_the_bounds_a_cut_changes_no_sample_and_no_trigger(data: st.DataObject, every: int) -> None:
    """In order of time every decision is closed alike, whether an act or the watermark closes it, and nothing that is
    kept differs."""
    log = in_order(data.draw(logs(most=50, erase=False, rights=False)))
    whole, cut = (Shop(sample_every=every, inactivity_ttl_ms=LONG_MS) for _ in range(2))
    whole.feed(*log)
    for part in cuts(data.draw, len(log)):
        cut.feed(*log[part])
    assert whole.kept() == cut.kept()
    assert whole.triggers() == cut.triggers()
    for model in ("segments", "purchase", "churn"):
        assert whole.samples(model) == cut.samples(model)


def told(batch: ProfileBatch) -> dict[str, object]:
    """All that a profile batch says, but its number."""
    arrays = {
        name: [flat(row) for row in getattr(batch, name)]
        for name in ("rows", "acts", "pairs", "touches", "fetches", "changes")
    }
    samples = [(s.model, s.x.tolist(), s.y.tolist(), s.ts.tolist()) for s in batch.samples]
    receipt = (batch.receipt.read_at.tolist(), batch.receipt.ts.tolist(), batch.receipt.done)
    return {
        **arrays,
        "ids": batch.ids.tobytes(),
        "samples": samples,
        "receipt": receipt,
        "item_shards": batch.item_shards,
        "left": batch.left.tolist(),
        "watermark_ts": batch.watermark_ts,
    }


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([1, 3]), st.booleans())
def test_a_resumed_shard_goes_on_as_if_nothing_had_happened(data: st.DataObject, every: int, erase: bool) -> None:
    """Snapshot and resume between any two batches: what is kept, and all that is told afterwards, row numbers and
    free rows among it, are the same."""
    log = data.draw(logs(most=50, erase=erase))
    parts = cuts(data.draw, len(log))
    stop = data.draw(st.integers(0, len(parts)))
    shop = Shop(2, sample_every=every)
    for part in parts[:stop]:
        shop.feed(*log[part])
    with tempfile.TemporaryDirectory() as directory:
        again = shop.resumed(Path(directory))
    again.decoder = shop.decoder
    assert again.kept() == shop.kept() and again.steps["u000"].users == shop.steps["u000"].users
    for part in parts[stop:]:
        heard = deepcopy(shop.decoder._parts)
        found = list(map(told, again.feed(*log[part])))
        shop.decoder._parts = heard  # each shard hears of the part as often as the other
        assert found == list(map(told, shop.feed(*log[part])))
    assert again.kept() == shop.kept()
    assert list(map(told, again.finish())) == list(map(told, shop.finish()))


@settings(max_examples=30, deadline=None)
@given(logs(most=60))
def test_a_row_is_free_as_soon_as_its_shopper_is_forgotten(log: list[bytes]) -> None:
    """Erased or at the end of their life: after the batch nothing is left but the rows of those who are known."""
    shop = Shop()
    for record in log:
        shop.feed(record)
        store = shop.steps["u000"].store
        used = store.profiles.rows["hash"][: store.profiles.size] != 0
        assert store.users == int(used.sum()) == len(shop.rows())
        assert all(row["events"] for row in store.profiles.rows[: store.profiles.size][used])
        assert not store.profiles.words[: store.profiles.size][~used].any()
        assert not store.sessions.words[: store.sessions.size][~used].any()


def test_free_rows_are_used_again_in_the_same_order_after_a_resume(tmp_path: Path) -> None:
    """Replaying the same log gives the same rows, crashed or not."""
    shop = Shop()
    shop.feed(*(line("view", BEGIN_MS, f"u{n}", item_id="a") for n in range(6)))
    for gone in (4, 1, 3):
        shop.feed(line("erase", BEGIN_MS, f"u{gone}"))
    again = shop.resumed(tmp_path)
    new = [line("view", BEGIN_MS, f"new{n}", item_id="a") for n in range(3)]
    found = [b.rows["row"].tolist() for b in shop.feed(*new)]
    assert [b.rows["row"].tolist() for b in again.feed(*new)] == found
    assert sorted(found[0]) == [1, 3, 4]


def test_a_duplicate_is_found_across_a_restart(tmp_path: Path) -> None:
    """The newest eight event ids are part of the snapshot: events read twice count once."""
    shop = Shop()
    log = [line("view", BEGIN_MS + n, item_id="a", event_id=n) for n in range(8)]
    shop.feed(*log)
    again = shop.resumed(tmp_path)
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


def test_past_the_bounds_of_values_and_items_the_rest_is_left_out_and_counted() -> None:
    """Categories, brands, devices and the like share one bound, items have their own; all else of an event counts."""
    shop = Shop(values_max=2, facts_max=1)
    shop.feed(*(line("view", BEGIN_MS + n, item_id="a", category=c) for n, c in enumerate("xyzx")))
    found = shop.features("ann")
    assert (found["events_total"], found["favourite_category"], found["category_focus"]) == (4, "x", 2 / 3)
    assert shop.counted("evictions", "values") == 1
    facts = [line("item", BEGIN_MS, item_id=i, price=3) for i in "pq"]
    shop.feed(*facts, *(line("add_to_cart", BEGIN_MS + HOUR, item_id=i) for i in "pq"))
    assert (shop.features("ann")["cart_lines"], shop.features("ann")["cart_value"]) == (2, 3)
    assert shop.counted("evictions", "catalogue") == 1


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


def test_ids_are_read_aright_after_their_table_was_compacted(tmp_path: Path) -> None:
    """Those who stayed keep their ids, in the same run and after a resume."""
    shop = Shop()
    stay = [f"stays-{n}-" + "x" * (n % 40) for n in range(50)]
    shop.feed(*(line("view", BEGIN_MS, user, item_id="a") for k in range(500) for user in (f"goes-{k}", stay[k // 10])))
    size = shop.steps["u000"].tables["ids"].size
    shop.feed(*(line("erase", BEGIN_MS, f"goes-{k}") for k in range(500)))
    assert shop.steps["u000"].tables["ids"].size < size / 2
    shop.feed(*(line("search", BEGIN_MS, user) for user in stay))
    again = shop.resumed(tmp_path)
    assert set(again.rows()) == set(shop.rows()) == set(stay)
    assert {int(again.row(user)["events"]) for user in stay} == {2}


def test_a_resumed_shard_may_end_before_its_first_event(tmp_path: Path) -> None:
    """Stopped right after a start: every shopper is looked at, however many there are."""
    shop = Shop()
    shop.feed(*(line("view", BEGIN_MS, f"u{n}", item_id="a") for n in range(300)))
    again = shop.resumed(tmp_path)
    assert sum(len(batch) for batch in again.finish()) == again.steps["u000"].users == 300 > SWEPT_ROWS_MIN


def test_every_shopper_is_looked_at_at_the_end() -> None:
    """Finish tells of all, as of the newest event of their shard, in batches of at most some thousands."""
    shop = Shop()
    shop.feed(*(line("view", BEGIN_MS, f"u{n}", item_id="a") for n in range(5000)))
    shop.feed(line("view", BEGIN_MS + 40 * DAY, "last", item_id="a"))
    batches = shop.finish()
    rows = [row for batch in batches for row in batch.rows]
    assert len(rows) >= 5001 == len({int(row["row"]) for row in rows})
    assert all(row["acts"] == 0 and not row["fresh"] and not row["erased"] for row in rows)
    views_30d = {int(row["row"]): float(row["x"][1]) for row in rows}
    assert sum(views_30d.values()) == 1
    assert all(not len(batch.fetches) and not len(batch.acts) for batch in batches)


def test_windows_that_empty_are_noticed_in_turn() -> None:
    """The watermark moves on: of those whose figures it changed a bounded number are told of at a time, each once."""
    shop = Shop()
    shop.feed(*(line("search", BEGIN_MS, f"u{n}") for n in range(300)))
    shop.feed(line("view", BEGIN_MS + 50 * HOUR, "other", item_id="a"))
    swept = [len(shop.batches[-1]) - 1]
    seen = set(shop.batches[-1].rows["row"][1:].tolist())
    while len(seen) < 300:
        made = shop.pulse(BEGIN_MS + 50 * HOUR)
        assert made, "some were forgotten"
        rows = [row for batch in made for row in batch.rows.tolist()]
        swept.append(len(rows))
        assert len(rows) <= SWEPT_ROWS_MIN
        fresh = {int(r) for batch in made for r in batch.rows["row"]}
        assert not fresh & seen, "one was looked at twice"
        seen |= fresh
    assert shop.pulse(BEGIN_MS + 50 * HOUR) == [] and sum(swept) == 300


def test_a_batch_of_pulses_alone_says_only_what_there_is_to_say() -> None:
    """No event, nothing due: nothing is handed on."""
    shop = Shop()
    shop.feed(line("view", BEGIN_MS, item_id="a"))
    assert shop.pulse(BEGIN_MS) == []
    (batch,) = shop.pulse(BEGIN_MS, idle_ms=2 * HOUR)
    assert batch.watermark_ts == BEGIN_MS + 2 * HOUR and batch.receipt.done == {}
    assert [(int(row["acts"]), float(row["x"][11])) for row in batch.rows] == [(0, 0.0)]
