"""What a profile batch tells the steps behind it: acts, pairs, touches, questions; and the way to the item shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import Oracle, OracleSettings
from profile_shop import BEGIN_MS, CONTEXT, CUSTOM, DAY, HOUR, MINUTE, Shop, cuts, line, logs, order

from operators.goods import Goods
from operators.kernels.candidates import RECENT_FETCHED
from operators.kernels.goods import category_key
from operators.visits import SplitVisits, split, split_reference
from state.batches import FETCH, PAIR, TOUCH, ProfileBatch, item_key
from state.hashing import hash_text
from state.marks import ACTED_ON, BOUGHT, FORGOTTEN, SHOWN

WEIGHTS = {"view": 1.0, "click": 1.0, "wishlist": 1.5, "add_to_cart": 2.0, "purchase": 3.0}


class Shoppers:
    """What every event says of the items of its shopper, in plain Python beside the oracle."""

    def __init__(self) -> None:
        self.oracle = Oracle(OracleSettings(custom_names=CUSTOM, context_names=CONTEXT))
        self.liked: dict[str, dict[int, int]] = {}

    def recent(self, user: str, since: int = 0) -> list[int]:
        """The last eight different items liked, newest first; those liked since a time."""
        liked = self.liked.get(user, {})
        newest = sorted(liked, key=lambda item: (liked[item], item), reverse=True)[:8]
        return [item for item in newest if liked[item] >= since]

    def take(self, record: bytes) -> tuple[str, str, list[tuple[int, int]], list[Any], list[Any]]:
        """A record of a shopper: (its shopper, its fate, acts (item, previous), pairs, touches)."""
        told = json.loads(record)
        user, fate = told["user_id"], self.oracle.take(record)
        acts, pairs, touches = list[tuple[int, int]](), list[Any](), list[Any]()
        if fate == "erased":
            self.liked.pop(user, None)
        if fate not in ("taken", "late"):
            return user, fate, acts, pairs, touches
        shopper = self.oracle._shoppers[user]
        event = shopper.events[-1]
        start = next((s.start for s in shopper.sessions if any(act is event for act in s.acts)), None)
        weight = WEIGHTS.get(event.type, 0.0)
        for one in event.likings:
            item, liked = hash_text(one.item or ""), self.liked.setdefault(user, {})
            before = self.recent(user)[:1]
            if before != [item]:
                acts.append((item, before[0] if before else 0))
                for d, other in enumerate(self.recent(user, start)[:5] if start is not None else [], start=1):
                    if other != item:
                        pairs += [(other, item, weight / d**1.5), (item, other, 0.75 * weight / d**1.5)]
            liked[item] = max(event.ts, liked.get(item, event.ts))
            self.liked[user] = {item: liked[item] for item in self.recent(user)}
            category = hash_text(one.category) if one.category else 0
            touches.append((item, category, event.ts, -1 if one.price is None else one.price, weight))
        return user, fate, acts, pairs, touches


def marks_of(event: dict[str, Any], fate: str, any_shown: bool) -> list[tuple[int, int, int, int]]:
    """What the rules of lists have to know of an event: (what, item, ts, pieces)."""
    ts = event["ts"]
    if fate == "erased":
        return [(FORGOTTEN, 0, ts, 0)]
    if fate not in ("taken", "late"):
        return []
    if event["type"] == "purchase":
        lines = [(line["item_id"], round(line["quantity"] * 1000)) for line in event["lines"]]
        return [(BOUGHT, hash_text(item), ts, pieces) for item, pieces in lines]
    if "item_id" in event:
        return [(ACTED_ON, hash_text(event["item_id"]), ts, 0)] if any_shown else []
    return [(SHOWN, hash_text(item), ts, 0) for item in event.get("item_ids", ())]


def days_of(log: list[bytes], part: slice) -> list[slice]:
    """A part of a log in parts that span no more than a day: those the step takes in in one go."""
    out, begin = [], part.start
    times = [json.loads(record)["ts"] for record in log]
    for at in range(part.start + 1, part.stop):
        if max(times[begin : at + 1]) - times[begin] > DAY:
            out.append(slice(begin, at))
            begin = at
    return [*out, slice(begin, part.stop)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_batch_tells_what_its_events_said(data: st.DataObject) -> None:
    """Row by row and in event order, against plain lists; who is told of without having acted comes behind."""
    log = data.draw(logs(most=60))
    shop, shoppers = Shop(inactivity_ttl_ms=4000 * DAY), Shoppers()
    any_shown = False
    for part in (day for cut in cuts(data.draw, len(log)) for day in days_of(log, cut)):
        batches = shop.feed(*log[part])
        places, counts, erased, fresh = list[str](), dict[str, int](), set[str](), set[str]()
        acts, pairs, touches, marks = list[tuple[int, int, int]](), list[Any](), list[Any](), list[Any]()
        for record in log[part]:
            if b'"type": "item"' in record:
                shoppers.oracle.take(record)
                continue
            is_new = json.loads(record)["user_id"] not in shoppers.oracle.users()
            user, fate, *told = shoppers.take(record)
            if user not in places:
                places.append(user)
            if fate in ("taken", "late"):
                counts[user] = counts.get(user, 0) + 1
                if is_new:
                    fresh.add(user)
            if fate == "erased":
                erased.add(user)
                fresh.discard(user)
                counts[user] = 0
            more = marks_of(json.loads(record), fate, any_shown)
            any_shown |= SHOWN in [what for what, *_ in more]
            marks += [(places.index(user), *one) for one in more]
            acts += [(places.index(user), *act) for act in told[0]]
            pairs += told[1]
            touches += told[2]
        if not batches:
            assert not places
            continue
        batch = batches[0]
        assert batch.acts.tolist() == acts
        assert batch.marks[["position", "what", "item", "ts", "pieces"]].tolist() == marks
        assert [p[:2] for p in batch.pairs.tolist()] == [p[:2] for p in pairs]
        assert batch.pairs["weight"].tolist() == pytest.approx([p[2] for p in pairs], rel=1e-6)
        assert batch.touches.tolist() == touches
        hold_rows(batch, places, counts, erased, fresh, shoppers)
        for user, row in zip(places, batch.rows, strict=False):
            if row["acts"]:
                favourite = shop.features(user)["favourite_category"]
                assert int(row["favourite"]) == (hash_text(favourite) if favourite else 0)
        assert all(not b.rows["acts"].any() and not len(b.acts) and not len(b.fetches) for b in batches[1:])


def hold_rows(
    batch: ProfileBatch,
    places: list[str],
    counts: dict[str, int],
    erased: set[str],
    fresh: set[str],
    shoppers: Shoppers,
) -> None:
    """The rows of a batch, its ids and its questions."""
    ids = batch.ids.tobytes()
    spans = zip(batch.rows["user_at"].tolist(), batch.rows["user_len"].tolist(), strict=True)
    names = [ids[at : at + length].decode() for at, length in spans]
    assert names[: len(places)] == places and len(names) == len(set(names))
    assert not any(row["acts"] or row["fresh"] or row["erased"] for row in batch.rows[len(places) :])
    questions = []
    for place, (user, row) in enumerate(zip(names, batch.rows, strict=True)):
        assert int(row["user"]) == hash_text(user)
        assert int(row["acts"]) == counts.get(user, 0)
        assert bool(row["erased"]) == (user in erased) and bool(row["fresh"]) == (user in fresh)
        known = shoppers.oracle._shoppers.get(user)
        recent = shoppers.recent(user) if known else []
        assert row["recent"][: row["recent_n"]].tolist() == recent
        assert not row["recent"][row["recent_n"] :].any()
        if known:
            assert (int(row["event_ts"]), int(row["version"])) == (shoppers.oracle.newest(user), len(known.events))
        if row["acts"]:
            questions += [(item, place, slot) for slot, item in enumerate(recent[:RECENT_FETCHED])]
    assert batch.fetches.tolist() == questions
    assert batch.item_shards == len({item % 16 for item, _, _ in questions})


def pairs_of(batch: ProfileBatch) -> list[tuple[int, int, float]]:
    return [(int(p["row"]), int(p["other"]), round(float(p["weight"]), 4)) for p in batch.pairs]


def test_items_are_paired_within_a_session_and_not_across() -> None:
    """With what was liked since the start of the session the act joins: not with yesterday's; in both directions."""
    a, b, c = map(hash_text, "abc")
    shop = Shop()
    (batch,) = shop.feed(line("view", BEGIN_MS, item_id="a"))
    assert pairs_of(batch) == []
    (batch,) = shop.feed(
        line("view", BEGIN_MS + HOUR, item_id="b"), line("add_to_cart", BEGIN_MS + HOUR + 1, item_id="c")
    )
    assert pairs_of(batch) == [(b, c, 2.0), (c, b, 1.5)]
    assert batch.rows["recent"][0].tolist()[:3] == [c, b, a]


def test_a_late_liking_is_paired_within_the_session_it_joins() -> None:
    """It takes its place among the last items by its time, and closes the gap between two runs of acts."""
    a, b, c = map(hash_text, "abc")
    shop = Shop()
    shop.feed(line("view", BEGIN_MS, item_id="a"))
    (batch,) = shop.feed(line("view", BEGIN_MS + 35 * MINUTE, item_id="b"))
    assert pairs_of(batch) == []
    (batch,) = shop.feed(line("view", BEGIN_MS + 29 * MINUTE, item_id="c"))
    assert [p[:2] for p in pairs_of(batch)] == [(b, c), (c, b), (a, c), (c, a)]
    assert batch.rows["recent"][0].tolist()[:3] == [b, c, a]


def test_the_same_item_again_is_no_step_to_another() -> None:
    """Neither act nor pair, but a touch, and its place among the last items is renewed."""
    shop = Shop()
    (batch,) = shop.feed(*(line("view", BEGIN_MS + n, item_id=i) for n, i in enumerate("aab")))
    assert batch.acts["item"].tolist() == [hash_text("a"), hash_text("b")] and len(batch.touches) == 3
    (batch,) = shop.feed(line("click", BEGIN_MS + 5, item_id="a"))
    assert batch.rows["recent"][0].tolist()[:3] == [hash_text("a"), hash_text("b"), 0]


def test_item_events_fill_what_touches_leave_open() -> None:
    """Category and price of the catalogue, as they stand then, where the act tells none; and of lines of an order."""
    shop = Shop()
    fact = json.dumps({"type": "item", "ts": BEGIN_MS, "item_id": "a", "category": "lamps", "price": 3}).encode()
    shop.feed(line("view", BEGIN_MS, item_id="a"))
    shop.feed(fact, line("view", BEGIN_MS, item_id="a", event_id=1), line("view", BEGIN_MS, item_id="a", price=5))
    shop.feed(line("purchase", BEGIN_MS, order_id="o", lines=[{"item_id": "a", "quantity": 1, "unit_price": 4}]))
    touches = np.concatenate([batch.touches for batch in shop.batches])
    lamps = hash_text("lamps")
    assert touches["category"].tolist() == [0, lamps, lamps, lamps]
    assert touches["price"].tolist() == [-1, 30_000, 50_000, 40_000]


def test_goods_know_what_the_shards_heard_and_know_it_again_after_a_resume(tmp_path: Path) -> None:
    """Each shard tells all that `item` events told; categories of acts are a memory."""
    goods = Goods()
    shop = Shop(2, goods=goods)
    shop.feed(
        json.dumps({"type": "item", "ts": BEGIN_MS + 1, "item_id": "i", "category": "c", "available": False}).encode(),
        json.dumps({"type": "item", "ts": BEGIN_MS, "item_id": "i", "category": "d", "available": True}).encode(),
        json.dumps({"type": "item", "ts": BEGIN_MS, "item_id": "j", "price": 3}).encode(),
        line("view", BEGIN_MS + 2, item_id="j", category="d"),
        line("view", BEGIN_MS + 3, item_id="k", category="e"),
    )
    asked = np.array([hash_text(name) for name in "ijk"], np.uint64)
    keys = [int(category_key(np.uint64(hash_text(name)))) for name in "cde"]
    categories, out = goods.find(asked)
    assert (categories.tolist(), out.tolist(), goods.size) == (keys, [True, False, False], 3)
    goods = Goods()
    shop.resumed(tmp_path, goods=goods)
    categories, out = goods.find(asked)
    assert (categories.tolist(), out.tolist(), goods.size) == ([keys[0], 0, 0], [True, False, False], 2)


def test_what_is_not_available_is_known_past_the_bound_of_the_catalogue_and_after_a_resume(tmp_path: Path) -> None:
    """It takes the rows of what may be shown, in the same turn in a run and in two; one shard counts for all."""

    def facts(begin: int, end: int) -> list[bytes]:
        told = [{"item_id": f"i{n}", "ts": BEGIN_MS + n, "available": n % 2 == 0} for n in range(begin, end)]
        return [json.dumps({"type": "item", "category": "c", **one}).encode() for one in told]

    asked = np.array([hash_text(f"i{n}") for n in range(60)], np.uint64)
    goods = Goods()
    shop, whole = Shop(2, goods=goods, facts_max=30), Shop(2, facts_max=30)
    shop.feed(*facts(0, 40))
    whole.feed(*facts(0, 40))
    assert shop.counted("evictions", "catalogue") == 10
    goods = Goods()
    again = shop.resumed(tmp_path, goods=goods)
    assert (goods.size, goods.find(asked)[1].tolist()) == (30, [n % 2 == 1 and n < 40 for n in range(60)])
    again.feed(*facts(40, 60))
    whole.feed(*facts(40, 60))
    assert (goods.size, goods.find(asked)[1].tolist()) == (50, [n % 2 == 1 for n in range(60)])
    for key, step in again.steps.items():
        table, other = step.tables["facts"], whole.steps[key].tables["facts"]
        assert table.rows[: table.size].tobytes() == other.rows[: other.size].tobytes()
        assert set(table.rows["item"][: table.size].tolist()) == set(asked[1::2].tolist())


def test_purchases_tell_the_category_that_was_known() -> None:
    """By the line, else by an `item` event."""
    item = json.dumps({"type": "item", "ts": BEGIN_MS, "item_id": "i", "category": "c"}).encode()
    lines = [{"item_id": name, "quantity": 1, "unit_price": 2} for name in "ij"] + [
        {"item_id": "k", "category": "e", "quantity": -1, "unit_price": 2}
    ]
    (batch,) = Shop().feed(item, line("purchase", BEGIN_MS + 1, order_id="o", lines=lines))
    assert batch.marks["category"].tolist() == [hash_text("c"), 0, hash_text("e")]


def test_the_favourite_category_is_the_heaviest_and_of_equal_ones_that_of_the_smallest_hash() -> None:
    """None while no act told a category; a later taste outweighs an earlier one."""
    shop, told = Shop(), []
    for n, category in enumerate([None, "rugs", "lamps", "lamps", "rugs", "rugs"]):
        fields = {"category": category} if category else {}
        (batch,) = shop.feed(line("view", BEGIN_MS, item_id=f"i{n}", **fields))
        told.append(int(batch.rows["favourite"][0]))
    rugs, lamps = hash_text("rugs"), hash_text("lamps")
    assert told == [0, rugs, min(rugs, lamps), lamps, min(rugs, lamps), rugs]


def test_a_return_says_nothing_of_liking() -> None:
    """No act, pair or touch; the other lines of the order do."""
    shop = Shop()
    (batch,) = shop.feed(order(BEGIN_MS, ("a", -1, 5), ("b", 2, 3)))
    assert batch.acts["item"].tolist() == batch.touches["item"].tolist() == [hash_text("b")]


def test_the_version_counts_a_shoppers_events_and_no_sweep() -> None:
    """It follows from counting alone, so a re-scoring without an event leaves it as it is; it never falls."""
    shop = Shop(sample_every=1)  # a decision is open: its end is a reason to look at ann
    versions = []
    for n in range(4):
        (batch,) = shop.feed(line("view", BEGIN_MS + n * DAY, "ann" if n == 0 else "bob", item_id=f"i{n}"))
        versions += [int(row["version"]) for row in batch.rows if row["row"] == 0]
    assert len(versions) > 2 and versions == sorted(versions) and set(versions) == {1}


HASHES = st.lists(st.one_of(st.integers(1, 40), st.integers(1, 2**64 - 1)), max_size=60)


@settings(deadline=None)
@given(HASHES, st.integers(1, 20))
def test_a_split_keeps_the_order_within_each_shard(hashes: list[int], shards: int) -> None:
    """Compiled and plain split agree; empty shards are left out."""
    rows = np.zeros(len(hashes), PAIR)
    rows["row"], rows["weight"] = hashes, np.arange(len(hashes))
    found = split(rows, rows["row"], shards)
    expected = split_reference(rows, rows["row"], shards)
    assert [(s, r.tolist()) for s, r in found] == [(s, r.tolist()) for s, r in expected]
    assert sorted(n for _, r in found for n in r["weight"].tolist()) == list(range(len(hashes)))
    assert all((r["row"] % np.uint64(shards) == s).all() and len(r) for s, r in found)


@settings(max_examples=40, deadline=None)
@given(logs(most=40), logs(most=40), st.sampled_from([1, 3, 16]))
def test_every_item_shard_is_told_what_concerns_it(one: list[bytes], two: list[bytes], shards: int) -> None:
    """Of several batches at once: pairs and touches in order, one question batch for each batch that asks."""
    shop = Shop(2, item_shards=shards)
    batches = shop.feed(*one) + shop.feed(*two)
    visits = SplitVisits(shards)(batches)
    assert [key for key, _ in visits] == sorted(key for key, _ in visits)
    for s in range(shards):
        visit = dict(visits).get(item_key(s))
        for name, column in (("pairs", "row"), ("touches", "item")):
            wanted = [r for b in batches for r in getattr(b, name).tolist() if r[name == "rows"] % shards == s]
            assert (getattr(visit, name).tolist() if visit else []) == wanted, column
        asked = {(f.shard, f.sequence): f.rows.tolist() for f in visit.fetches} if visit else {}
        wanted_asked = {
            (b.shard, b.sequence): [r for r in b.fetches.tolist() if r[0] % shards == s]
            for b in batches
            if any(r[0] % shards == s for r in b.fetches.tolist())
        }
        assert asked == wanted_asked
    for batch in batches:
        keys = {
            key for key, v in visits if any((f.shard, f.sequence) == (batch.shard, batch.sequence) for f in v.fetches)
        }
        assert len(keys) == batch.item_shards
    assert SplitVisits(shards)([]) == []
    assert (FETCH.names or ("",))[0] == (TOUCH.names or ("",))[0] == "item" and (PAIR.names or ("",))[0] == "row"


@pytest.mark.parametrize("size", [1, 2, 100])
def test_who_returns_after_the_end_of_a_rows_life_begins_anew(size: int) -> None:
    """However the events fall into batches: what waited fires once, as of the old life, and the row counts from one."""
    shop = Shop(inactivity_ttl_ms=90 * DAY, lapsed_ms=30 * DAY)
    shop.feed_in(
        [
            *(line("view", BEGIN_MS + n * MINUTE, item_id="i", category="c") for n in range(4)),
            line("view", BEGIN_MS + 94 * DAY, "bob", item_id="j"),
            line("view", BEGIN_MS + 94 * DAY + HOUR, item_id="k"),
            line("profile", BEGIN_MS + 94 * DAY + HOUR, attributes={"age": 3}),
        ],
        size,
    )
    assert shop.features("ann")["events_total"] == 2
    assert shop.features("ann")["favourite_category"] is None
    assert sorted(name for who, name, _ in shop.triggers() if who == "ann") == ["browsed_without_buying", "lapsed"]
    told = [row for batch in shop.batches for row in batch.rows if row["user"] == hash_text("ann")]
    assert sum(int(row["erased"]) for row in told) == 1
    assert told[-1]["version"] == 2
