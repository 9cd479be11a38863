"""The compiled scanner against the authority: what it takes it takes alike, and it takes the plain majority."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from decode_records import INSTANTS, LIMITS, NOW_MS, NUMBERS, TEXTS, batch, record, same_rows
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.kernels.event_rows import hash_spans, hash_spans_reference, split, split_reference, split_rows
from operators.kernels.json_fields import KEYS
from operators.kernels.scan import SPANS, rows_max, scan, scan_reference, texts_max
from operators.kernels.told import TEXT
from state.batches import EVENT, ITEM, RawBatch
from state.hashing import hash_text

NEWEST_MS = NOW_MS + 600_000
VIEW = {"type": "view", "ts": NOW_MS, "user_id": "u1", "item_id": "i1"}
LINE = {"item_id": "i1", "quantity": 2, "unit_price": 9.99}
PURCHASE = {"type": "purchase", "ts": NOW_MS, "user_id": "u1", "order_id": "o1", "lines": [LINE, LINE]}


def scanned(raw: RawBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """(rows, spans, texts, status, undeclared) of the compiled scanner, over memory that held something else before."""
    room = rows_max(len(raw), int((raw.ends - raw.starts).sum()))
    rows, spans = np.empty(room, EVENT), np.empty(room, SPANS)
    texts = np.empty(texts_max(len(raw)), TEXT)
    for memory in (rows, spans, texts):
        memory.view(np.uint8)[:] = 0xAB
    status = np.full(len(raw), 7, np.uint8)
    customs, contexts = (
        np.array([hash_text(name) for name in sorted(names)], np.uint64)
        for names in (LIMITS.custom_names, LIMITS.context_names)
    )
    made, noted, undeclared = scan(
        raw.buffer,
        raw.starts,
        raw.ends,
        raw.offsets,
        LIMITS.bytes_max,
        LIMITS.oldest_ms,
        NEWEST_MS,
        raw.read_at,
        customs,
        contexts,
        rows,
        spans,
        texts,
        status,
    )
    return rows[:made], spans[:made], texts[:noted], status, undeclared


def cut(raw: RawBatch, starts: np.ndarray, lengths: np.ndarray) -> list[bytes]:
    """Texts of the batch's buffer."""
    spans = zip(starts.tolist(), lengths.tolist(), strict=True)
    return [raw.buffer[at : at + n].tobytes() for at, n in spans]


def agree(records: list[bytes]) -> float:
    """Assert that scanner and authority agree on all the scanner takes; the share it takes of the valid ones."""
    raw = batch(records)
    rows, spans, texts, status, undeclared = scanned(raw)
    expected, refused, _ = scan_reference(raw, LIMITS.authority(), NEWEST_MS)
    assert set(status.tolist()) <= {0, 1}
    assert not [records[i] for i in np.flatnonzero(refused & (status == 0))], "taken, though the authority refuses it"
    taken = expected[status[expected["record"]] == 0]
    same_rows(rows, raw.buffer, taken, raw.buffer)
    only = [records[i] for i in np.flatnonzero(status == 0)]
    assert undeclared == scan_reference(batch(only), LIMITS.authority(), NEWEST_MS)[2]
    for column in ("item", "category"):
        of_rows = cut(raw, spans[f"{column}_at"], spans[f"{column}_len"])
        assert hash_spans_reference(of_rows).tolist() == rows[column].tolist()
    assert hash_spans_reference(cut(raw, texts["at"], texts["len"])).tolist() == texts["hash"].tolist()
    assert {0, *texts["hash"].tolist()} == {0, *rows["told"].ravel().tolist()}
    return float((status == 0).sum() / max((refused == 0).sum(), 1))


@pytest.mark.parametrize("seed", range(6))
def test_scanner_and_authority_agree_on_random_records(seed: int) -> None:
    """Every record the scanner takes, the authority takes too, and both give the same rows."""
    rng = random.Random(seed)
    assert agree([record(rng) for _ in range(2000)]) > 0.4


@pytest.mark.parametrize("seed", range(4))
def test_scanner_and_authority_agree_on_records_with_many_odd_values(seed: int) -> None:
    """The same where a third of all values are out of the ordinary and nothing else is broken."""
    rng = random.Random(100 + seed)
    agree([record(rng, odd=0.3, broken=0.0) for _ in range(2000)])


@pytest.mark.parametrize("seed", range(4))
def test_scanner_and_authority_agree_on_broken_records(seed: int) -> None:
    """The same where every record was plain and then lost, gained or changed a few bytes."""
    rng = random.Random(200 + seed)
    agree([record(rng, odd=0.0, broken=1.0) for _ in range(2000)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=5))
@example([b""])
@example([b"{", b"{}", b'{"', b'{"type"', b'{"type":', b'{"type":"view"', b'{"ts":-', b'{"ts":1.', b"[", b'"', b"\xff"])
def test_scanner_takes_no_arbitrary_bytes(records: list[bytes]) -> None:
    """Bytes that are no event are left to the authority, whatever they are."""
    raw = batch(records)
    assert scanned(raw)[3].all()


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.text(max_size=12), st.text(max_size=40) | st.integers() | st.booleans() | st.none(), max_size=6)
)
def test_fields_nobody_knows_change_nothing(more: dict[str, object]) -> None:
    """A view stays the same view, whatever unknown fields stand beside it (written with and without escapes)."""
    event = {**more, **VIEW, "event_id": "e1"}
    for ascii_only in (True, False):
        try:
            data = json.dumps(event, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            continue
        agree([data])


def test_every_prefix_of_a_record_is_left_to_the_authority() -> None:
    """A record cut anywhere is never taken, nor is what lies behind it in the buffer read."""
    for event in (VIEW | {"price": 12.5, "context": {"campaign": "x"}}, PURCHASE):
        data = json.dumps(event).encode()
        raw = batch([data[:n] for n in range(len(data))])
        assert scanned(raw)[3].all()
        whole = np.frombuffer(data, np.uint8)
        n = np.arange(len(data))
        shared = RawBatch(whole, np.zeros(len(data), np.int64), n, n, "log", 0, 0.0)
        assert scanned(shared)[3].all()


@pytest.mark.parametrize(
    "event",
    [
        VIEW,
        VIEW | {"type": "search", "item_id": None, "query": "größe 🛒"},
        VIEW | {"type": "click", "user_id": 17, "item_id": -5, "category": "Schuhe für Läufer", "price": 19.99},
        VIEW | {"type": "add_to_cart", "quantity": 3, "session_id": "s", "device": "mobile", "unknown": True},
        VIEW | {"type": "remove_from_cart", "quantity": 0.25, "dwell_ms": 1500, "channel": None},
        VIEW | {"type": "wishlist", "ts": "2026-09-21T15:46:40.5+02:00", "event_id": "e"},
        VIEW | {"context": {"campaign": "spring", "weather": "rain"}},
        VIEW
        | {"device": "é" * 64, "channel": "", "country": "DE", "context": {"язык": "x" * 128, "weather": "x" * 129}},
        {"type": "custom", "ts": NOW_MS, "user_id": "u", "name": "review", "device": 5, "context": {"campaign": ""}},
        PURCHASE,
        PURCHASE | {"lines": [LINE | {"quantity": -1, "category": "c"}] * 700, "currency": "EUR"},
        {"type": "custom", "ts": NOW_MS, "user_id": "u", "name": "é-mail", "value": -3.5},
        {"type": "impression", "ts": NOW_MS, "user_id": "u", "experiment": "e", "variant": "v", "item_ids": ["a", 5]},
        {
            "type": "impression",
            "ts": NOW_MS,
            "user_id": "u",
            "experiment": 1,
            "variant": "v",
            "item_ids": ["größe"] * 1000,
        },
        {"type": "impression", "ts": NOW_MS, "user_id": "u", "experiment": "e", "variant": "v", "item_ids": []},
        {"type": "impression", "ts": NOW_MS, "user_id": "u", "experiment": "e", "variant": "v", "item_ids": None},
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), ("\n,\t", " :\r ")])
def test_plain_events_never_reach_the_authority(event: dict[str, object], separators: tuple[str, str]) -> None:
    """The types that come by the thousand are scanned, with or without blanks and with names in any script."""
    data = json.dumps(event, separators=separators, ensure_ascii=False).encode()
    assert scanned(batch([data]))[3].tolist() == [0]
    assert agree([data]) == 1.0


@pytest.mark.parametrize("field", ["price", "quantity", "dwell_ms", "value", "ts", "user_id", "item_id", "unknown"])
def test_numbers_are_read_alike(field: str) -> None:
    """Every odd way to write a number, in every field: the same value or left to the authority."""
    kinds = ({**VIEW}, {"type": "custom", "ts": NOW_MS, "user_id": "u", "name": "review"})
    agree([json.dumps(kind | {field: 0}).encode()[:-2] + n.encode() + b"}" for kind in kinds for n in NUMBERS])


@pytest.mark.parametrize("field", ["quantity", "unit_price"])
def test_numbers_of_lines_are_read_alike(field: str) -> None:
    """The same in the lines of a purchase, where a quantity may be negative."""
    agree([json.dumps(PURCHASE | {"lines": [LINE | {field: "?"}]}).replace('"?"', n).encode() for n in NUMBERS])


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10**15), st.integers(0, 15))
def test_prices_are_rounded_alike(digits: int, places: int) -> None:
    """Any price of up to fifteen digits comes to the same ten-thousandths."""
    text = f"{digits:0{places + 1}d}"
    price = f"{text[:-places]}.{text[-places:]}" if places else text
    agree([json.dumps(VIEW | {"price": "?", "quantity": "?"}).replace('"?"', price).encode()])


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10**15), st.integers(0, 15))
def test_dwell_times_are_rounded_alike(digits: int, places: int) -> None:
    """Any dwell time of up to fifteen digits comes to the same whole milliseconds."""
    text = f"{digits:0{places + 1}d}"
    dwell = f"{text[:-places]}.{text[-places:]}" if places else text
    agree([json.dumps(VIEW | {"dwell_ms": "?"}).replace('"?"', dwell).encode()])


@pytest.mark.parametrize("field", ["device", "channel", "country", "campaign", "язык", "weather"])
def test_what_is_told_is_read_alike(field: str) -> None:
    """Texts of any length and script, escapes and what is no text: the same hashes or left to the authority."""
    values = [*TEXTS, None, 5, True, [], {}]
    events = [*({kind: value} for kind in [field] for value in values), {}]
    contexts = [{"context": event} for event in events]
    kinds = ({**VIEW}, {**PURCHASE}, {"type": "custom", "ts": NOW_MS, "user_id": "u", "name": "review"})
    agree([json.dumps(kind | more, ensure_ascii=False).encode() for kind in kinds for more in (*events, *contexts)])


def test_more_values_than_the_scanner_remembers_are_all_noted() -> None:
    """Every text that a row tells is noted, however many there are and whichever of them share a place."""
    devices = [f"device {k % 900}" for k in range(3000)]
    assert agree([json.dumps(VIEW | {"device": device}).encode() for device in devices]) == 1.0


def test_instants_are_read_alike() -> None:
    """Every odd way to write an instant: the same millisecond or left to the authority."""
    agree([json.dumps(VIEW | {"ts": instant}).encode() for instant in INSTANTS])


@settings(max_examples=300, deadline=None)
@given(st.datetimes(), st.integers(-1439, 1439), st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_any_instant_is_read_alike(when: object, offset_minutes: int, timespec: str) -> None:
    """The same for any day, zone and precision."""
    sign, minutes = "-" if offset_minutes < 0 else "+", abs(offset_minutes)
    text = f"{when.isoformat(timespec=timespec)}{sign}{minutes // 60:02d}:{minutes % 60:02d}"  # type: ignore[attr-defined]
    agree([json.dumps(VIEW | {"ts": text}).encode()])


def test_bytes_that_are_not_utf8_are_left_to_the_authority() -> None:
    """Overlong forms, surrogates, values past U+10FFFF and cut characters are not taken, in any field."""
    bad = (
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\x80",
        b"\xe2\x82",
        b"\xff",
    )
    good = tuple(chr(c).encode() for c in (0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF))
    for field in ("item_id", "device", "unknown"):
        plain = json.dumps(VIEW | {field: "?"}).encode()
        assert scanned(batch([plain.replace(b"?", text) for text in bad]))[3].all()
        assert agree([plain.replace(b"?", text) for text in (*bad, *good)]) == 1.0


@pytest.mark.parametrize("nested", ["[1 2]", "{]}", '{"a" 1}', "[1]", "{}"])
@pytest.mark.parametrize("field", [key for key in KEYS if key not in VIEW])
def test_what_is_nested_in_a_field_of_another_type_is_looked_into(field: str, nested: str) -> None:
    """A known field that means nothing to this type of event may still hold what is no JSON."""
    custom = {"type": "custom", "ts": NOW_MS, "user_id": "u", "name": "review"}
    for event in (custom, PURCHASE, PURCHASE | {"lines": [LINE | {field: "?"}]}):
        agree([json.dumps(event | ({} if "?" in str(event) else {field: "?"})).replace('"?"', nested).encode()])


def test_a_line_in_the_middle_that_is_wrong_leaves_no_row_behind() -> None:
    """A purchase is taken whole or not at all, and the next record's rows follow on."""
    wrong = PURCHASE | {"lines": [LINE, LINE, LINE | {"quantity": 0}, LINE]}
    raw = batch([json.dumps(event).encode() for event in (PURCHASE, wrong, VIEW)])
    rows, _, _, status, _ = scanned(raw)
    assert status.tolist() == [0, 1, 0]
    assert rows["record"].tolist() == [0, 0, 2]
    assert rows["head"].tolist() == [1, 0, 1]


SHOWN = {"type": "impression", "ts": NOW_MS, "user_id": "u1", "experiment": "e", "variant": "v"}
SOME_IDS = st.lists(st.text(max_size=9) | st.integers(-9, 10**6) | st.none() | st.booleans(), max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(SOME_IDS, max_size=4), st.sampled_from([(",", ":"), (" , ", " : ")]), st.booleans())
@example([["a", "b"], [], [7, 8, 9]], (",", ":"), False)
def test_every_item_that_was_shown_is_a_row(
    shown: list[list[object]], separators: tuple[str, str], ascii_only: bool
) -> None:
    """An impression is a row for each of its items, the first of them its head; one that tells none is a row too."""
    events = [SHOWN | {"item_ids": ids, "event_id": f"e{n}"} for n, ids in enumerate(shown)]
    try:
        data = [json.dumps(event, separators=separators, ensure_ascii=ascii_only).encode() for event in events]
    except UnicodeEncodeError:
        return
    agree(data)
    rows, _, _, status, _ = scanned(batch(data))
    expected = [max(len(ids), 1) for ids, left in zip(shown, status.tolist(), strict=True) if not left]
    assert np.diff(np.flatnonzero(np.append(rows["head"], 1))).tolist() == expected


@pytest.mark.parametrize(
    "ids", ["[1 2]", "[1,]", "[,1]", "[1}", "[[1]]", '["a"', "[1.5]", '{"a":1}', "[-0]", f"[{'1,' * 1000}1]"]
)
def test_a_list_of_items_that_is_none_is_left_to_the_authority(ids: str) -> None:
    """Nothing is taken of it, and the rows of the next record follow on those of the one before."""
    wrong = json.dumps(SHOWN | {"item_ids": "?"}).replace('"?"', ids).encode()
    agree([wrong])
    rows, _, _, status, _ = scanned(batch([json.dumps(PURCHASE).encode(), wrong, json.dumps(VIEW).encode()]))
    assert (status.tolist(), rows["record"].tolist()) == ([0, 1, 0], [0, 0, 2])


def test_impressions_of_very_short_ids_find_their_way_all_the_same() -> None:
    """Where more rows come of a batch than room is made for, the authority takes the rest."""
    data = [json.dumps(SHOWN | {"item_ids": [1] * 999, "event_id": f"e{n}"}, separators=(",", ":")) for n in range(20)]
    assert 0.2 < agree([one.encode() for one in data]) < 1.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=20))
def test_spans_hash_as_their_texts_do(texts: list[bytes]) -> None:
    """The compiled hash of spans is the plain hash of their bytes."""
    lengths = np.array([len(text) for text in texts], np.int64)
    out = np.empty(len(texts), np.uint64)
    hash_spans(np.frombuffer(b"".join(texts), np.uint8), np.cumsum(lengths) - lengths, lengths, out)
    assert out.tolist() == hash_spans_reference(texts).tolist()


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(("n", "shards"), [(0, 16), (1, 1), (1000, 16), (1000, 7), (5, 64)])
def test_split_is_a_stable_sort_by_shard(n: int, shards: int, share: float) -> None:
    """Every row goes to its shopper's shard, an `item` event's to all, and rows of a shard keep their order."""
    rng = np.random.default_rng(n)
    rows = np.zeros(n, EVENT)
    rows["user"] = rng.integers(0, 2**64, n, dtype=np.uint64)
    rows["record"] = np.arange(n)
    rows["kind"][rng.random(n) < share] = ITEM
    items = int((rows["kind"] == ITEM).sum())
    out, bounds = np.empty(split_rows(n, items, shards), EVENT), np.empty(shards + 1, np.int64)
    split(rows, shards, out, bounds)
    expected, expected_bounds = split_reference(rows, shards)
    assert len(out) == len(expected)
    assert all(out[name].tobytes() == expected[name].tobytes() for name in EVENT.names or ())
    assert bounds.tolist() == expected_bounds.tolist()
