"""The decode step: raw batches in, events by shard, item facts and dead letters out; nothing lost, nothing twice."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decode_records import LIMITS, NOW_MS, batch, ids, record, same_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode import RAW_BYTES_MAX, Decoder, Limits, decode_reference, item_touches
from state.batches import (
    CONSENT,
    CUSTOM,
    ERASE,
    IDENTIFY,
    IMPRESSION,
    ITEM,
    PROFILE_EVENT,
    DeadLetter,
    DeadLetters,
    EventBatch,
    Pulse,
    RawBatch,
    VisitBatch,
    item_key,
    user_key,
)
from state.flow_control import FlowControl
from state.hashing import hash_bytes, hash_text
from state.metrics import Metrics
from state.names import Names

USER_SHARDS, ITEM_SHARDS = 16, 4
VIEW = {"type": "view", "ts": NOW_MS, "user_id": "u1", "item_id": "i1"}


class Bench:
    """A decoder and all it is told of."""

    def __init__(self, limits: Limits = LIMITS, process: int = 0, user_shards: int = USER_SHARDS) -> None:
        self.names, self.metrics, self.now = Names(), Metrics(), NOW_MS / 1000
        self.flow_control = FlowControl(10**6, process)
        self.decoder = Decoder(
            self.names, self.metrics, self.flow_control, user_shards, ITEM_SHARDS, limits, lambda: self.now
        )

    def __call__(self, *batches: RawBatch) -> None:
        self.events: list[tuple[str, EventBatch]] = []
        self.items: list[tuple[str, VisitBatch]] = []
        self.pulses: list[tuple[str, Pulse]] = []
        self.letters: list[DeadLetter] = []
        for raw in batches:
            self.flow_control.read(len(raw))
        self.out = self.decoder(list(batches))
        for part in self.out:
            if isinstance(part, DeadLetters):
                self.letters += part.letters
                continue
            key, batch = part
            if isinstance(batch, EventBatch):
                self.events.append((key, batch))
            elif isinstance(batch, Pulse):
                self.pulses.append((key, batch))
            else:
                self.items.append((key, batch))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"coterie_{name}", labels) or 0.0

    def one(self, event: dict[str, Any] | bytes) -> EventBatch:
        """The only batch of events a single record comes to."""
        self(batch([event if isinstance(event, bytes) else json.dumps(event).encode()]))
        assert (len(self.events), self.items, self.letters) == (1, [], [])
        return self.events[0][1]


def check_against_reference(bench: Bench, raw: RawBatch) -> None:
    """Assert that everything the decoder gives of a batch is what the authority alone would give."""
    bench(raw)
    expected = decode_reference(raw, LIMITS, NOW_MS + 600_000)
    names = Names()
    rows, buffer = expected.events(names), expected.buffer()
    of = (rows["user"] % np.uint64(USER_SHARDS)).astype(int)
    to_all = rows["kind"] == ITEM
    acting = [shard for shard in range(USER_SHARDS) if to_all.any() or (of == shard).any()]
    assert [(key, events.shard) for key, events in bench.events] == [(user_key(shard), shard) for shard in acting]
    for (_, events), shard in zip(bench.events, acting, strict=True):
        same_rows(events.rows, events.buffer, rows[(of == shard) | to_all], buffer)
        assert (events.part, events.newest_ts) == (hash_text(raw.part), rows["ts"].max())
    assert [pulse.shard for _, pulse in bench.pulses] == [shard for shard in range(USER_SHARDS) if shard not in acting]
    touches = item_touches(rows)
    places = (touches["item"] % np.uint64(ITEM_SHARDS)).astype(int)
    assert [key for key, _ in bench.items] == [item_key(shard) for shard in np.unique(places)]
    for (_, visits), shard in zip(bench.items, np.unique(places), strict=True):
        assert visits.touches.tolist() == touches[places == shard].tolist()
        assert (len(visits.pairs), visits.fetches) == (0, [])
    assert bench.letters == expected.letters
    assert {bench.names.text(h) for h in bench.names.hashes[: len(bench.names)].tolist()} == {
        names.text(h) for h in names.hashes[: len(names)].tolist()
    }
    assert bench.decoder.undeclared == expected.undeclared


@pytest.mark.parametrize("seed", range(6))
def test_decoder_gives_what_the_authority_alone_would(seed: int) -> None:
    """Rows by shard in record order, item facts, dead letters and names, for thousands of random records."""
    rng = random.Random(seed)
    odd, broken = rng.choice([(0.02, 0.05), (0.2, 0.2), (0.0, 1.0)])
    check_against_reference(Bench(), batch([record(rng, odd, broken) for _ in range(3000)]))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_decoder_never_raises(records: list[bytes]) -> None:
    """Whatever bytes are in a batch, each record becomes an event or a dead letter."""
    bench = Bench()
    bench(batch(records))
    assert len(bench.letters) == len(records)


def test_purchase_lines_follow_one_another_and_the_first_is_the_head() -> None:
    """A purchase of n lines is n rows of one event, wherever its neighbours come from."""
    lines = [{"item_id": f"i{k}", "quantity": k - 5 or 1, "unit_price": k} for k in range(4)]
    purchase = {"type": "purchase", "ts": NOW_MS, "user_id": "u1", "order_id": "o", "lines": lines}
    escaped = json.dumps(purchase | {"currency": '"'}).encode()
    bench = Bench()
    bench(batch([json.dumps(VIEW).encode(), escaped, json.dumps(purchase).encode(), json.dumps(VIEW).encode()]))
    ((_, events),) = bench.events
    assert events.rows["record"].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert events.rows["head"].tolist() == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert events.rows["offset"].tolist() == [1000 + 2 * r for r in events.rows["record"].tolist()]
    assert events.rows["price"].tolist() == [-1, 0, 10_000, 20_000, 30_000, 0, 10_000, 20_000, 30_000, -1]
    assert events.rows["value"].tolist() == [1, -5, -4, -3, -2, -5, -4, -3, -2, 1]
    assert len(set(events.rows["event_id"][1:5].tolist())) == 1


@pytest.mark.parametrize("user", ['"u\\u0031"', '"\\u00e9\\n\\""', '"Größe"', "17", '"17"', "-0", '"\\ud83d\\uded2"'])
def test_the_shoppers_id_travels_as_its_bytes(user: str) -> None:
    """With escapes, as an integer or in any script, an id is the same bytes and the same hash."""
    data = json.dumps(VIEW | {"user_id": "?"}).replace('"?"', user).encode()
    plain = str(json.loads(user)).encode()
    events = Bench().one(data)
    assert ids(events.rows, events.buffer) == [plain]
    assert events.rows["user"].tolist() == [hash_bytes(plain)]
    again = pickle.loads(pickle.dumps(events))
    assert ids(again.rows, again.buffer) == [plain]


def test_ids_that_are_not_in_the_buffer_stand_behind_it() -> None:
    """Several escaped ids of one batch do not mix, and the batch's own bytes stay where they were."""
    users = ['a"b', "c\\d", "plain", "e\nf"]
    bench = Bench(user_shards=1)
    raw = batch([json.dumps(VIEW | {"user_id": user}).encode() for user in users])
    bench(raw)
    ((_, events),) = bench.events
    assert ids(events.rows, events.buffer) == [user.encode() for user in users]
    assert events.buffer[: len(raw.buffer)].tobytes() == raw.buffer.tobytes()


def test_columns_of_the_rarer_types() -> None:
    """What `value` and `aux` mean by type, and the identity of an event without event_id."""
    common = {"ts": NOW_MS, "user_id": "u1"}
    for event, kind, value, aux in (
        ({"type": "consent", "granted": True}, CONSENT, 1.0, None),
        ({"type": "consent", "granted": False}, CONSENT, 0.0, None),
        ({"type": "identify", "anonymous_id": "a9"}, IDENTIFY, 1.0, "a9"),
        ({"type": "custom", "name": "review", "value": 4.5}, CUSTOM, 4.5, "review"),
        ({"type": "impression", "experiment": "e7", "variant": "b"}, IMPRESSION, 1.0, "e7"),
        ({"type": "erase"}, ERASE, 1.0, None),
        ({"type": "custom", "name": "review"}, CUSTOM, 0.0, "review"),
        ({"type": "profile", "attributes": {}}, PROFILE_EVENT, 0.0, None),
    ):
        data = json.dumps(common | event).encode()
        row = Bench().one(data).rows[0]
        assert (row["kind"], row["value"], row["aux"]) == (kind, value, hash_text(aux) if aux else 0)
        assert (row["item"], row["category"], row["price"], row["dwell_ms"]) == (0, 0, -1, -1)
        assert row["event_id"] == hash_bytes(data)
        assert Bench().one(common | event | {"event_id": "x1"}).rows["event_id"][0] == hash_text("x1")


def test_what_events_tell_is_hashed_and_its_texts_are_learnt() -> None:
    """Device, channel, country and declared contexts in their columns, on every line, taken by either reader."""
    context = {"campaign": "spring", "weather": "rain", "язык": "größe"}
    view = VIEW | {"device": "phone", "country": "DE", "dwell_ms": 2.5, "context": context}
    line = {"item_id": "i", "quantity": 1, "unit_price": 1}
    purchase = {"type": "purchase", "ts": NOW_MS, "user_id": "u1", "order_id": "o", "lines": [line, line]}
    for escaped in (False, True):
        bench = Bench()
        events = [view, purchase | {"context": context}, {**view, "channel": "app", "context": {"campaign": ""}}]
        bench(batch([json.dumps(event | ({"event_id": '"'} if escaped else {})).encode() for event in events]))
        ((_, told),) = bench.events
        assert bench.decoder._scan(batch([json.dumps(view, ensure_ascii=False).encode()]), NOW_MS)[1].tolist() == [0]
        texts = [[bench.names.text(h) for h in row] for row in told.rows["told"].tolist()]
        of_context = ["spring", "größe", None, None, None]
        assert texts == [
            ["phone", None, "DE", *of_context],
            *[[None, None, None, *of_context]] * 2,
            ["phone", "app", "DE", *[None] * 5],
        ]
        assert told.rows["dwell_ms"].tolist() == [2, -1, -1, 2]
        assert "rain" not in {bench.names.text(h) for h in bench.names.hashes[: len(bench.names)].tolist()}


def test_attributes_are_rows_of_one_event_and_their_texts_are_learnt() -> None:
    """One row an attribute, the first the head, as the lines of a purchase are."""
    bench = Bench()
    attributes = {"city": "Köln", "age": 7, "vip": True, "note": ""}
    events = bench.one({"type": "profile", "ts": NOW_MS, "user_id": "u1", "attributes": attributes})
    assert events.rows["head"].tolist() == [1, 0, 0, 0]
    assert [bench.names.text(h) for h in events.rows["item"].tolist()] == list(attributes)
    assert [bench.names.text(h) for h in events.rows["category"].tolist()] == ["Köln", None, None, None]
    assert events.rows["price"].tolist() == [0, 1, 2, 0]
    assert events.rows["value"].tolist() == [0.0, 7.0, 1.0, 0.0]
    assert len(set(events.rows["event_id"].tolist())) == 1


def test_item_facts_go_to_the_items_shard_and_are_closed_here() -> None:
    """An `item` event touches its item with weight 0, and nothing of it waits for Redis."""
    bench = Bench()
    bench(batch([json.dumps({"type": "item", "ts": NOW_MS, "item_id": "i9", "category": "c", "price": 2.5}).encode()]))
    ((key, visits),) = bench.items
    assert key == item_key(hash_text("i9") % ITEM_SHARDS)
    assert visits.touches.tolist() == [(hash_text("i9"), hash_text("c"), NOW_MS, 25_000, 0.0)]
    assert (bench.names.text(hash_text("i9")), bench.names.text(hash_text("c"))) == ("i9", "c")
    assert bench.flow_control.in_flight() == 0


def test_item_events_go_to_every_user_shard_in_their_place() -> None:
    """Among a shard's events in the order of the records, with no shopper, and the brand as what is told."""
    item = {"type": "item", "ts": NOW_MS, "item_id": "i9", "category": "c", "price": 2.5, "brand": "Größe & Co"}
    plain = {"type": "item", "ts": NOW_MS + 7, "item_id": "i8"}
    bench = Bench()
    bench(batch([json.dumps(event).encode() for event in (VIEW, item, VIEW, plain, VIEW)]))
    at_home = hash_text("u1") % USER_SHARDS
    assert [events.shard for _, events in bench.events] == list(range(USER_SHARDS))
    for shard, (key, events) in enumerate(bench.events):
        assert key == user_key(shard)
        assert events.newest_ts == NOW_MS + 7
        assert events.rows["record"].tolist() == ([0, 1, 2, 3, 4] if shard == at_home else [1, 3])
        first, second = events.rows[events.rows["kind"] == ITEM]
        for row in (first, second):
            assert (row["user"], row["user_len"], row["head"], row["aux"], row["dwell_ms"]) == (0, 0, 1, 0, -1)
        assert (first["item"], first["category"], first["price"]) == (hash_text("i9"), hash_text("c"), 25_000)
        assert (second["item"], second["category"], second["price"]) == (hash_text("i8"), 0, -1)
        assert first["told"].tolist() == [hash_text("Größe & Co"), *[0] * 7]
        assert not second["told"].any()
        assert len(pickle.loads(pickle.dumps(events))) == len(events)
    assert bench.names.text(hash_text("Größe & Co")) == "Größe & Co"
    assert bench.flow_control.in_flight() == 3
    assert bench.count("events_total", stream="clicks", outcome="accepted") == 2


def test_every_user_shard_hears_of_a_part_about_once_a_second() -> None:
    """Shards without events of a part get a pulse at once, then when their last word of it is a second old."""
    bench = Bench()
    home = hash_text("u1") % USER_SHARDS
    others = [shard for shard in range(USER_SHARDS) if shard != home]
    view, later = (json.dumps(VIEW | {"ts": ts}).encode() for ts in (NOW_MS, NOW_MS + 5))
    for seconds, records, newest_ts, told in (
        (0.0, [later], NOW_MS + 5, others),
        (0.5, [view], NOW_MS + 5, []),
        (0.5, [view], NOW_MS + 5, others),
        (0.875, [b"junk"], NOW_MS + 5, []),  # the events of a moment ago were word enough
        (0.125, [b"junk"], NOW_MS + 5, range(USER_SHARDS)),
        (-300.0, [view], NOW_MS + 5, others),  # the clock was set back
    ):
        bench.now += seconds
        bench(batch(records, part="clicks/0"))
        assert [pulse.shard for _, pulse in bench.pulses] == list(told)
        for key, pulse in bench.pulses:
            assert key == user_key(pulse.shard)
            assert pulse == Pulse(pulse.shard, hash_text("clicks/0"), newest_ts)
            assert pickle.loads(pickle.dumps(pulse)) == pulse
        for _, events in bench.events:
            assert (events.shard, events.part, events.newest_ts) == (home, hash_text("clicks/0"), newest_ts)


def test_no_shard_falls_behind_in_event_time() -> None:
    """A log replayed faster than the clock: once a minute of event time every shard hears how far the part is."""
    bench = Bench()
    home = hash_text("u1") % USER_SHARDS
    others = [shard for shard in range(USER_SHARDS) if shard != home]
    for ts, told in ((NOW_MS, others), (NOW_MS + 59_999, []), (NOW_MS + 60_000, others), (NOW_MS + 60_001, [])):
        bench.now = ts / 1000 if ts == NOW_MS else bench.now
        bench(batch([json.dumps(VIEW | {"ts": ts}).encode()], part="clicks/0"))
        assert [(pulse.shard, pulse.newest_ts) for _, pulse in bench.pulses] == [(shard, ts) for shard in told]


def test_parts_are_told_apart() -> None:
    """Each has its own newest event time, 0 before the first event is accepted, and its own turn of pulses."""
    bench = Bench(user_shards=1)
    view, old = json.dumps(VIEW).encode(), json.dumps(VIEW | {"ts": 5}).encode()
    item = json.dumps({"type": "item", "ts": NOW_MS - 3, "item_id": "i"}).encode()
    bench(batch([view], part="a"), batch([old], part="b"), batch([item], part="c"), batch([b"{"], part="b"))
    assert [(events.part, events.newest_ts) for _, events in bench.events] == [
        (hash_text("a"), NOW_MS),
        (hash_text("c"), NOW_MS - 3),
    ]
    assert [pulse for _, pulse in bench.pulses] == [Pulse(0, hash_text("b"), 0)]


def test_news_of_the_end_of_a_part_goes_to_every_shard_at_once() -> None:
    """A batch without records tells how long its part has been read to its end, or that it has ended."""
    bench = Bench(user_shards=3)
    bench(batch([json.dumps(VIEW).encode()], part="a"))
    for part, newest_ts, idle_ms, ended in (
        *(("a", NOW_MS, 20, False), ("a", NOW_MS, 40, False), ("a", NOW_MS, 0, True)),
        *(("b", 0, 1, False), ("b", 0, 7, True)),
    ):
        bench(batch([], part=part, idle_ms=idle_ms, ended=ended))
        assert bench.out == [
            (user_key(shard), Pulse(shard, hash_text(part), newest_ts, idle_ms, ended)) for shard in range(3)
        ]
    assert bench.flow_control.in_flight() == 1


def test_a_dead_letter_tells_where_its_record_came_from() -> None:
    """Reason, path, source, partition, offset and the first bytes of the record."""
    long = json.dumps(VIEW | {"user_id": "", "unknown": "x" * 10_000}).encode()
    bench = Bench()
    bench(batch([json.dumps(VIEW).encode(), long, b"junk"], source="purchases"))
    first, second = bench.letters
    assert (first.reason, first.path, first.source, first.partition, first.offset) == (
        *("bad_field", "user_id"),
        *("purchases", 3, 1002),
    )
    assert first.raw == long[:RAW_BYTES_MAX]
    assert (second.reason, second.offset, second.raw) == ("bad_json", 1004, b"junk")


def test_every_record_is_counted_once_and_closed_where_it_ends() -> None:
    """Items accepted and records rejected by stream, letters by reason; events stay in flight, a purchase as one."""
    lines = [{"item_id": "i", "quantity": 1, "unit_price": 1}] * 3
    purchase = json.dumps({"type": "purchase", "ts": NOW_MS, "user_id": "u", "order_id": "o", "lines": lines}).encode()
    item = json.dumps({"type": "item", "ts": NOW_MS, "item_id": "i"}).encode()
    view, old = json.dumps(VIEW).encode(), json.dumps(VIEW | {"ts": 5}).encode()
    bench = Bench(process=2)
    bench(
        batch([view, view, b"{", old]),
        batch([purchase, purchase], source="purchases"),
        batch([view, item, b"{"], source="somebody's.jsonl.gz"),
        batch([], source="controls"),
    )
    assert bench.flow_control.in_flight() == 5
    shoppers = [events.rows[events.rows["kind"] != ITEM] for _, events in bench.events]
    assert sum(int(rows["head"].sum()) for rows in shoppers) == 5
    assert {events.origin for _, events in bench.events} == {2}
    for stream, accepted, rejected in (("clicks", 0, 2), ("purchases", 0, 0), ("other", 1, 1), ("controls", 0, 0)):
        assert bench.count("events_total", stream=stream, outcome="accepted") == accepted
        assert bench.count("events_total", stream=stream, outcome="rejected") == rejected
    assert bench.count("dead_letters_total", reason="bad_json") == 2
    assert bench.count("dead_letters_total", reason="too_old") == 1
    assert bench.metrics.batch_events.of("decode").count == 1
    assert isinstance(bench.out[-1], DeadLetters)
    assert sum(isinstance(part, DeadLetters) for part in bench.out) == 1


def test_nothing_in_nothing_out() -> None:
    """No batches, or batches without records of no part, give nothing."""
    bench = Bench()
    bench()
    assert bench.out == []
    bench(batch([]), batch([]))
    assert bench.out == []


def test_what_a_call_gave_is_not_touched_by_the_next() -> None:
    """Batches that were handed on keep their rows while later ones are decoded."""
    rng = random.Random(5)
    bench = Bench()
    bench(batch([record(rng, 0.0, 0.0) for _ in range(500)]))
    kept = [(events, events.rows.tobytes()) for _, events in bench.events]
    bench(batch([record(rng, 0.0, 0.0) for _ in range(800)]))
    assert all(events.rows.tobytes() == data for events, data in kept)


def test_decoding_is_the_same_however_the_batches_fall() -> None:
    """One batch of all records or many small ones: the same rows for each shard, in the same order."""
    rng = random.Random(9)
    records = [record(rng, 0.05, 0.05) for _ in range(600)]
    columns = ("ts", "user", "item", "category", "event_id", "price", "value", "aux", "kind", "head")
    outcomes = []
    for size in (600, 7):
        bench = Bench()
        bench(*(batch(records[at : at + size]) for at in range(0, len(records), size)))
        by_key: dict[str, list[list[Any]]] = {}
        for key, events in bench.events:
            by_key.setdefault(key, []).extend(events.rows[list(columns)].tolist())
        outcomes.append((by_key, [(letter.reason, letter.path, letter.raw) for letter in bench.letters]))
    assert outcomes[0] == outcomes[1]


def test_real_clicks_are_decoded_without_the_authority(data_file: Any) -> None:
    """A real shop's click log, as events: all accepted, every id as it was, only the scanner at work."""
    import gzip

    path: Path = data_file("taobao_clicks.csv.gz")
    kinds = {"pv": "view", "cart": "add_to_cart", "fav": "wishlist", "buy": "click"}
    with gzip.open(path, "rt") as file:
        next(file)
        rows = [line.rstrip("\n").split(",") for _, line in zip(range(20_000), file, strict=False)]
    records = [
        json.dumps(
            {"type": kinds[kind], "ts": int(ts) * 1000, "user_id": int(user), "item_id": item, "category": category}
        ).encode()
        for user, item, category, kind, ts in rows
    ]
    bench = Bench(user_shards=1)
    raw = batch(records)
    taken, status = bench.decoder._scan(raw, NOW_MS)
    assert (len(taken), status.any()) == (len(rows), False)
    bench(raw)
    ((_, events),) = bench.events
    assert ids(events.rows, events.buffer) == [row[0].encode() for row in rows]
    assert [bench.names.text(h) for h in events.rows["item"].tolist()] == [row[1] for row in rows]
    assert [bench.names.text(h) for h in events.rows["category"].tolist()] == [row[2] for row in rows]
    assert (events.rows["ts"] // 1000).tolist() == [int(row[4]) for row in rows]
