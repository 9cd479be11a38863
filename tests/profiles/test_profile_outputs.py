"""What a profile batch tells the steps behind it: acts, pairs, touches, questions; and the way to the item shards."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_oracle import BOUGHT, WEIGHTS, Oracle
from profile_shop import BEGIN_MS, DAY, Shop, cuts, line, logs

from operators.visits import SplitVisits, split, split_reference
from state.batches import FETCH, PAIR, TOUCH, ProfileBatch, item_key
from state.hashing import hash_text


class Shoppers:
    """The last items of every shopper, and what an event says of them, in plain Python."""

    def __init__(self) -> None:
        self.oracle = Oracle()
        self.recent: dict[str, list[int]] = {}
        self.in_session: dict[str, int] = {}
        self.session: dict[str, int] = {}

    def take(self, record: bytes) -> tuple[str, str, list[tuple[int, int]], list[Any], list[Any]]:
        """A record: (its shopper, its fate, acts (item, previous), pairs, touches)."""
        event = json.loads(record)
        user, fate = event["user_id"], self.oracle.take(record)
        acts, pairs, touches = list[tuple[int, int]](), list[Any](), list[Any]()
        if fate == "erased":
            self.recent.pop(user, None), self.session.pop(user, None)
        if fate not in ("taken", "late"):
            return user, fate, acts, pairs, touches
        shopper = self.oracle.shoppers[user]
        if self.session.get(user) != shopper.sessions:
            self.session[user], self.in_session[user] = shopper.sessions, 0
        recent = self.recent.setdefault(user, [])
        for told in shopper.events[-1].lines:
            weight = WEIGHTS.get(event["type"], BOUGHT if event["type"] == "purchase" and told.quantity > 0 else 0.0)
            if not told.item or not weight:
                continue
            item, category = hash_text(told.item), hash_text(told.category) if told.category else 0
            if not recent or recent[0] != item:
                acts.append((item, recent[0] if recent else 0))
                for d, other in enumerate(recent[: min(5, self.in_session[user])], start=1):
                    if other != item:
                        pairs += [(other, item, weight / d**1.5), (item, other, 0.75 * weight / d**1.5)]
                recent.insert(0, item)
                del recent[8:]
                self.in_session[user] += 1
            price = -1 if told.price is None else round(told.price * 10_000)
            touches.append((item, category, event["ts"], price, weight))
        return user, fate, acts, pairs, touches


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_batch_tells_what_its_events_said(data: st.DataObject) -> None:
    """Row by row and in event order, against plain lists; without sweeps, so that who is told of is who acted."""
    log = data.draw(logs(most=50))
    shop, shoppers = Shop(sweep_rows=0), Shoppers()
    for part in cuts(data.draw, len(log)):
        (batch,) = shop.feed(*log[part])
        places, counts, erased, fresh = list[str](), dict[str, int](), set[str](), set[str]()
        acts, pairs, touches = list[tuple[int, int, int]](), list[Any](), list[Any]()
        for record in log[part]:
            known = shoppers.oracle.shoppers.keys() - {None}
            is_new = json.loads(record)["user_id"] not in known
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
            acts += [(places.index(user), *act) for act in told[0]]
            pairs += told[1]
            touches += told[2]
        assert batch.acts.tolist() == acts
        assert [p[:2] for p in batch.pairs.tolist()] == [p[:2] for p in pairs]
        assert batch.pairs["weight"].tolist() == pytest.approx([p[2] for p in pairs], rel=1e-6)
        assert batch.touches.tolist() == touches
        hold_rows(batch, places, counts, erased, fresh, shoppers)


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
    assert [ids[at : at + length].decode() for at, length in spans] == places
    questions = []
    for place, (user, row) in enumerate(zip(places, batch.rows, strict=True)):
        assert int(row["user"]) == hash_text(user)
        assert int(row["acts"]) == counts.get(user, 0)
        assert bool(row["erased"]) == (user in erased) and bool(row["fresh"]) == (user in fresh)
        known = shoppers.oracle.shoppers.get(user)
        recent = shoppers.recent.get(user, []) if known else []
        assert row["recent"][: row["recent_n"]].tolist() == recent
        assert not row["recent"][row["recent_n"] :].any()
        if known:
            assert (int(row["event_ts"]), int(row["version"])) == (known.last, len(known.events))
        if row["acts"]:
            questions += [(item, place, slot) for slot, item in enumerate(recent[:5])]
    assert batch.fetches.tolist() == questions
    assert batch.item_shards == len({item % 16 for item, _, _ in questions})


def test_the_version_counts_a_shoppers_events_and_no_sweep() -> None:
    """It follows from counting alone, so a re-scoring without an event leaves it as it is; it never falls."""
    shop = Shop(sweep_rows=64)
    versions = []
    for n in range(4):
        (batch,) = shop.feed(line("view", BEGIN_MS + n * DAY, "ann" if n == 0 else "bob", item_id=f"i{n}"))
        versions += [int(row["version"]) for row in batch.rows if row["row"] == 0]
    assert len(versions) > 2 and versions == sorted(versions) and set(versions) == {1}


def test_sweeps_come_round_to_every_shopper() -> None:
    """A slice at a time, in turn, those who acted not twice; and as of the shard's newest event."""
    shop = Shop(sweep_rows=3)
    shop.feed(*(line("view", BEGIN_MS, f"u{n}", item_id="a") for n in range(10)))
    swept = list[int]()
    for n in range(4):
        (batch,) = shop.feed(line("view", BEGIN_MS + DAY, "u0", item_id=f"b{n}"))
        rows = batch.rows["row"].tolist()
        assert len(rows) == len(set(rows)) and rows[0] == 0 and batch.rows["acts"].tolist()[0] == 1
        assert all(int(row["acts"]) == 0 and row["x"][0] == 0 for row in batch.rows[1:])
        swept += rows[1:]
    assert set(swept) == set(range(1, 10))


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
