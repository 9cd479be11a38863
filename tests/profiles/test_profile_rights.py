"""What shoppers may ask for: no more of this, forget me; and ids that look alike to a hash are kept apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from profile_oracle import Oracle, told_apart
from profile_shop import BEGIN_MS, DAY, Shop, flat, line, logs, order

from state.profile_table import SLABS

OF_A_VIEW = {"cells": 2, "decisions": 0, "carts": 0, "attributes": 0, "pending": 0}
"""Rows of what belongs to one shopper long after a view; values, prices and facts are the shard's."""


def view(n: int, user: str = "ann") -> bytes:
    return line("view", BEGIN_MS + n, user, item_id=f"i{n}", price=n + 1, category="c")


def consent(granted: bool, n: int, user: str = "ann") -> bytes:
    return line("consent", BEGIN_MS + n, user, granted=granted, event_id=f"c{n}")


@settings(max_examples=60, deadline=None)
@given(logs(most=60))
def test_every_refused_event_becomes_one_dead_letter(log: list[bytes]) -> None:
    """Reason and place, without the record; duplicates and erasures become none."""
    shop, oracle = Shop(2), Oracle()
    refused = [n for n, record in enumerate(log) if oracle.take(record) == "refused"]
    shop.feed(*log)
    assert sorted(letter.offset for letter in shop.letters) == refused
    for letter in shop.letters:
        assert (letter.reason, letter.path, letter.raw) == ("no_consent", "user_id", b"")
    done = sum(sum(batch.receipt.done.values()) for batch in shop.batches)
    items = sum(b'"type": "item"' in record for record in log)
    assert done == len(log) - items, "every event of a shopper is answered for"


def test_a_dead_letter_says_where_the_refused_event_stood() -> None:
    """Source, partition and offset of the record; nothing of the shopper's."""
    shop = Shop()
    shop.feed(consent(False, 0), view(1))
    (letter,) = shop.letters
    assert letter.offset == 1 and b"i1" not in letter.raw and "ann" not in letter.detail
    assert (letter.source, letter.partition) == ("log", 3)


def test_nothing_is_taken_in_between_withdrawal_and_consent() -> None:
    """An order of several lines is one refused event; after consent all goes on."""
    shop = Shop()
    shop.feed(
        view(0), consent(False, 1), view(2), order(BEGIN_MS + 3, ("a", 1, 5), ("b", 1, 5)), consent(True, 4), view(5)
    )
    found = shop.features("ann")
    assert (found["events_total"], found["views_24h"], found["spend_total"]) == (4, 2, 0)
    assert [letter.offset for letter in shop.letters] == [2, 3]
    (batch,) = shop.batches
    assert len(batch.receipt.ts) == 4 and batch.receipt.done == {0: 6}
    assert [int(t["weight"]) for t in batch.touches] == [1, 1]


def test_an_old_consent_told_twice_changes_nothing() -> None:
    """A duplicate is dropped, also one that would withdraw, or give, what was given, or withdrawn, since."""
    withdraw, allow = consent(False, 1), consent(True, 2)
    shop = Shop()
    shop.feed(view(0), withdraw, allow, withdraw, view(5))
    assert shop.letters == [] and shop.features("ann")["views_24h"] == 2
    shop = Shop()
    shop.feed(view(0), allow, withdraw, allow, view(5))
    assert len(shop.letters) == 1 and shop.features("ann")["views_24h"] == 1


def test_an_erased_shopper_leaves_no_byte() -> None:
    """Rows, id and all they referred to are zero after the batch; its row tells the steps behind to forget them too."""
    shop = Shop(sample_every=1)
    name = "erased-shopper-with-a-long-id" * 3
    shop.feed(view(0, name), view(0, "bob"), line("profile", BEGIN_MS, name, attributes={"age": 4711}))
    shop.feed(*(line("add_to_cart", BEGIN_MS + n * DAY, name, item_id=f"i{n}", price=n) for n in range(40)))
    (batch,) = shop.feed(line("erase", BEGIN_MS, name))
    assert [(int(r["erased"]), int(r["fresh"]), int(r["acts"])) for r in batch.rows] == [(1, 0, 0)]
    assert batch.ids.tobytes() == name.encode()
    tables = shop.steps["u000"].tables
    assert set(shop.rows()) == {"bob"} and shop.steps["u000"].users == 1
    row = int(batch.rows["row"][0])
    for table in ("profiles", "sessions"):
        assert not tables[table].words[row].any() and tables[table].dirty[row]
    for slab in OF_A_VIEW:
        begun, _, free, _ = tables["shard"].rows["heads"][0, list(SLABS).index(slab)].tolist()
        used = np.flatnonzero([any(flat(r, "next")) for r in tables[slab].rows[: tables[slab].size]])
        assert len(used) == begun - free == OF_A_VIEW[slab], f"{slab}: only what is of bob"
    assert b"erased" not in tables["ids"].rows.tobytes()
    assert shop.features("bob")["events_total"] == 1
    assert batch.receipt.done == {0: 1}


def test_an_erased_row_is_used_again_and_said_to_be_fresh() -> None:
    """The next new shopper gets it, with nothing of the one before."""
    shop = Shop()
    shop.feed(view(0), consent(False, 1), view(0, "bob"))
    (gone,) = shop.feed(line("erase", BEGIN_MS, "ann"))
    (batch,) = shop.feed(order(BEGIN_MS + DAY, ("a", 2, 3), user="cem"))
    assert batch.rows["row"].tolist()[:1] == gone.rows["row"].tolist()
    assert (int(batch.rows["fresh"][0]), int(batch.rows["version"][0])) == (1, 1)
    oracle = Oracle()
    oracle.take(order(BEGIN_MS + DAY, ("a", 2, 3), user="cem"))
    found, expected = shop.features("cem"), oracle.features("cem")
    known = {name: value for name, value in expected.items() if name in found}  # contexts were not declared to it
    assert (
        told_apart(
            {n: v for n, v in found.items() if n in known and n != "price_level"},
            {n: v for n, v in known.items() if n != "price_level"},
        )
        == {}
    )
    assert found["spend_total"] == 6 and found["favourite_category"] == "c-a"


def test_who_acts_again_after_an_erasure_begins_anew_in_the_same_batch() -> None:
    """Erased and fresh at once; the acts before are gone, and those of an erasure that came last too."""
    shop = Shop()
    (batch,) = shop.feed(view(0), view(1), line("erase", BEGIN_MS, "ann"), view(2), order(BEGIN_MS, ("a", 1, 5)))
    (row,) = batch.rows
    assert (int(row["erased"]), int(row["fresh"]), int(row["acts"])) == (1, 1, 2)
    assert shop.features("ann")["events_total"] == 2 and shop.features("ann")["views_24h"] == 1
    (batch,) = shop.feed(view(3), line("erase", BEGIN_MS, "ann"), view(4), line("erase", BEGIN_MS, "ann"))
    (row,) = batch.rows
    assert (int(row["erased"]), int(row["fresh"]), int(row["acts"])) == (1, 0, 0)
    assert shop.rows() == {} and shop.steps["u000"].users == 0


def test_an_unknown_shopper_s_erasure_is_passed_on() -> None:
    """Their record may stand in Redis all the same; no row stays."""
    shop = Shop()
    (batch,) = shop.feed(line("erase", BEGIN_MS, "nobody"))
    assert batch.rows["erased"].tolist() == [1] and batch.ids.tobytes() == b"nobody"
    assert shop.rows() == {} and shop.steps["u000"].users == 0


@pytest.mark.parametrize("restart", [False, True])
def test_shoppers_whose_ids_share_a_hash_are_kept_apart(restart: bool) -> None:
    """Hash and bytes must agree: three ids of one hash are three shoppers, after a restart or an erasure too."""
    shop = Shop()
    names = ("ann", "bob", "x" * 16)

    def feed(*lines: bytes) -> None:
        events = shop.decode(lines)
        for _, batch in events:
            batch.rows["user"] = 4711
        shop.process(events)

    feed(*(view(n, user) for n in range(5) for user in names[: n % 3 + 1]))
    step = shop.steps["u000"]
    if restart:
        step.restored()
    feed(view(9, "bob"), view(10, "ann"))
    counts = {user: int(shop.row(user)["events"]) for user in shop.rows()}
    assert counts == {"ann": 6, "bob": 4, "x" * 16: 1} and step.users == 3
    feed(line("erase", BEGIN_MS, "bob"))
    feed(view(11, "x" * 16), view(12, "ann"), view(13, "dan"))
    counts = {user: int(shop.row(user)["events"]) for user in shop.rows()}
    assert counts == {"ann": 7, "x" * 16: 2, "dan": 1} and step.users == 3
