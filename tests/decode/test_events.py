"""What is a valid event, and what is said of one that is not."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from decode_records import LIMITS, NOW_MS, record
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.decode import Limits
from state.batches import KINDS, REASONS
from state.events import ATTRIBUTES_MAX, LINES_MAX, NUMBER_MAX, Event
from state.refusals import Refusal

AUTHORITY = LIMITS.authority()
NEWEST_MS = NOW_MS + 600_000
VIEW = {"type": "view", "ts": NOW_MS, "user_id": "u1", "item_id": "i1"}
LINE = {"item_id": "i1", "quantity": 2, "unit_price": 9.99}
PURCHASE = {"type": "purchase", "ts": NOW_MS, "user_id": "u1", "order_id": "o1", "lines": [LINE]}
CUSTOM = {"type": "custom", "ts": NOW_MS, "user_id": "u1", "name": "review"}
PROFILE = {"type": "profile", "ts": NOW_MS, "user_id": "u1", "attributes": {}}


def parse(event: Any) -> Event | Refusal:
    data = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
    return AUTHORITY.parse(data, NEWEST_MS)


def taken(event: Any) -> Event:
    parsed = parse(event)
    assert isinstance(parsed, Event), parsed
    return parsed


def refused(event: Any) -> Refusal:
    parsed = parse(event)
    assert isinstance(parsed, Refusal), parsed
    return parsed


def without(event: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != field}


MINIMAL: dict[str, dict[str, Any]] = {
    **{kind: {"item_id": "i1"} for kind in ("view", "click", "add_to_cart", "remove_from_cart", "wishlist", "item")},
    "search": {},
    "purchase": {"order_id": "o1", "lines": [LINE]},
    "custom": {"name": "review"},
    "impression": {"experiment": "e1", "variant": "b"},
    "consent": {"granted": False},
    "erase": {},
    "identify": {"anonymous_id": "a1"},
    "profile": {"attributes": {}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_is_taken_with_its_required_fields_alone(kind: str) -> None:
    """Optional fields are optional, and unknown ones are ignored, whatever they hold."""
    common = {"type": kind, "ts": NOW_MS} | ({} if kind == "item" else {"user_id": "u1"})
    for more in ({}, {"unknown": [{"x": [None]}], "Type": 5}):
        event = taken(common | MINIMAL[kind] | more)
        assert KINDS[event.kind] == kind
        assert event.ts == NOW_MS
        assert event.user == ("" if kind == "item" else "u1")
        assert event.event_id is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_required_field_is_required(kind: str) -> None:
    """Without one of them the record is refused as missing_field, at that field; with null there, as bad_field."""
    whole = {"type": kind, "ts": NOW_MS} | ({} if kind == "item" else {"user_id": "u1"}) | MINIMAL[kind]
    for field in whole:
        refusal = refused(without(whole, field))
        assert (refusal.reason, refusal.path) == ("missing_field", field)
        refusal = refused(whole | {field: None})
        assert (refusal.reason, refusal.path) == ("unknown_type" if field == "type" else "bad_field", field)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "bad_json"),
        (b"  ", "bad_json"),
        (b"{", "bad_json"),
        (b"[]", "bad_json"),
        (b"[1,2]", "bad_json"),
        (b'"view"', "bad_json"),
        (b"5", "bad_json"),
        (b"null", "bad_json"),
        (b"not json", "bad_json"),
        (b"{}{}", "bad_json"),
        (b'{"type":"veiw","ts":true,"user_id":', "bad_json"),
        (b'{"type":"view",}', "bad_json"),
        (b"{'type':'view'}", "bad_json"),
        (b'\xef\xbb\xbf{"type":"view"}', "bad_json"),
        (json.dumps(VIEW).encode().replace(b"i1", b"\xff"), "bad_json"),
        (json.dumps(VIEW | {"unknown": "?"}).encode().replace(b"?", b"\xc3"), "bad_json"),
        (json.dumps(VIEW).encode().replace(b"i1", b"\\ud800"), "bad_json"),
        (json.dumps(VIEW | {"unknown": "?"}).encode().replace(b"?", b"\\ud800 \\ud800"), "bad_json"),
        (json.dumps(VIEW).encode().replace(b"i1", b"\xed\xa0\x80"), "bad_json"),
        (json.dumps(VIEW | {"price": float("nan")}).encode(), "bad_json"),
        (json.dumps(VIEW | {"price": float("inf")}).encode(), "bad_json"),
        (json.dumps(VIEW | {"unknown": float("-inf")}).encode(), "bad_json"),
        (b'{"type":"view","unknown":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "bad_json"),
        (b"[" * 60_000, "bad_json"),
        (json.dumps(VIEW | {"unknown": "x" * 65_536}).encode(), "too_large"),
        (b"x" * 65_537, "too_large"),
    ],
)
def test_what_is_no_json_object_is_refused(data: bytes, reason: str) -> None:
    """Broken, nested without end, not UTF-8, no object at all, too long: a dead letter without a path."""
    refusal = refused(data)
    assert (refusal.reason, refusal.path) == (reason, "")
    assert refusal.detail.startswith("found ")


@pytest.mark.parametrize(
    ("event", "reason", "path"),
    [
        (VIEW | {"type": "veiw"}, "unknown_type", "type"),
        (VIEW | {"type": 5}, "unknown_type", "type"),
        (VIEW | {"user_id": ""}, "bad_field", "user_id"),
        (VIEW | {"user_id": "x" * 129}, "bad_field", "user_id"),
        (VIEW | {"user_id": "é" * 65}, "bad_field", "user_id"),
        (VIEW | {"user_id": 1.5}, "bad_field", "user_id"),
        (VIEW | {"user_id": True}, "bad_field", "user_id"),
        (VIEW | {"user_id": ["u1"]}, "bad_field", "user_id"),
        (VIEW | {"user_id": 10**128}, "bad_field", "user_id"),
        (VIEW | {"item_id": {}}, "bad_field", "item_id"),
        (VIEW | {"event_id": ""}, "bad_field", "event_id"),
        (VIEW | {"category": False}, "bad_field", "category"),
        (VIEW | {"session_id": "x" * 129}, "bad_field", "session_id"),
        (VIEW | {"device": 5}, "bad_field", "device"),
        (VIEW | {"price": -0.01}, "bad_field", "price"),
        (VIEW | {"price": "9.99"}, "bad_field", "price"),
        (VIEW | {"price": 1e300}, "bad_field", "price"),
        (VIEW | {"price": 10**400}, "bad_field", "price"),
        (VIEW | {"price": True}, "bad_field", "price"),
        (VIEW | {"quantity": 0}, "bad_field", "quantity"),
        (VIEW | {"quantity": -1}, "bad_field", "quantity"),
        (VIEW | {"quantity": 10**7}, "bad_field", "quantity"),
        (VIEW | {"quantity": [1]}, "bad_field", "quantity"),
        (VIEW | {"dwell_ms": -1}, "bad_field", "dwell_ms"),
        (VIEW | {"dwell_ms": NUMBER_MAX + 1}, "bad_field", "dwell_ms"),
        (VIEW | {"device": "x" * 129}, "bad_field", "device"),
        (VIEW | {"channel": "é" * 65}, "bad_field", "channel"),
        (VIEW | {"type": "search", "country": "x" * 129}, "bad_field", "country"),
        (VIEW | {"context": []}, "bad_field", "context"),
        (VIEW | {"context": {"campaign": 5}}, "bad_field", "context.campaign"),
        (VIEW | {"context": {"campaign": "x" * 129}}, "bad_field", "context.campaign"),
        (PURCHASE | {"context": {"язык": "é" * 65}}, "bad_field", "context.язык"),
        (PURCHASE | {"lines": []}, "bad_field", "lines"),
        (PURCHASE | {"lines": {}}, "bad_field", "lines"),
        (PURCHASE | {"lines": [LINE, 5]}, "bad_field", "lines[1]"),
        (PURCHASE | {"lines": [LINE] * (LINES_MAX + 1)}, "bad_field", "lines"),
        (PURCHASE | {"lines": [LINE, without(LINE, "quantity")]}, "missing_field", "lines[1].quantity"),
        (PURCHASE | {"lines": [without(LINE, "item_id")]}, "missing_field", "lines[0].item_id"),
        (PURCHASE | {"lines": [LINE, LINE, LINE, LINE | {"quantity": 0}]}, "bad_field", "lines[3].quantity"),
        (PURCHASE | {"lines": [LINE | {"quantity": None}]}, "bad_field", "lines[0].quantity"),
        (PURCHASE | {"lines": [LINE | {"quantity": 10**6, "unit_price": 10**6}]}, "bad_field", "lines[0].quantity"),
        (PURCHASE | {"lines": [LINE | {"unit_price": -1}]}, "bad_field", "lines[0].unit_price"),
        (PURCHASE | {"lines": [LINE | {"unit_price": "1"}]}, "bad_field", "lines[0].unit_price"),
        (PURCHASE | {"lines": [LINE | {"category": 1.5}]}, "bad_field", "lines[0].category"),
        (PURCHASE | {"order_id": ""}, "bad_field", "order_id"),
        (CUSTOM | {"name": "share"}, "bad_field", "name"),
        (CUSTOM | {"name": 5}, "bad_field", "name"),
        (CUSTOM | {"value": "x"}, "bad_field", "value"),
        (CUSTOM | {"value": 1e16}, "bad_field", "value"),
        (VIEW | {"type": "impression", "experiment": "e", "variant": ""}, "bad_field", "variant"),
        (
            VIEW | {"type": "impression", "experiment": "e", "variant": "v", "item_ids": ["a", ""]},
            "bad_field",
            "item_ids[1]",
        ),
        (VIEW | {"type": "consent", "granted": 1}, "bad_field", "granted"),
        (VIEW | {"type": "consent", "granted": True, "purposes": [1]}, "bad_field", "purposes[0]"),
        (VIEW | {"type": "identify", "anonymous_id": ""}, "bad_field", "anonymous_id"),
        (PROFILE | {"attributes": {"age": 5, "tags": []}}, "bad_field", "attributes.tags"),
        (PROFILE | {"attributes": {"age": None}}, "bad_field", "attributes.age"),
        (PROFILE | {"attributes": {"age": 1e16}}, "bad_field", "attributes.age"),
        (PROFILE | {"attributes": {"age": -(10**400)}}, "bad_field", "attributes.age"),
        (PROFILE | {"attributes": {"": 5}}, "bad_field", "attributes."),
        (PROFILE | {"attributes": {"é" * 65: 5}}, "bad_field", "attributes." + "é" * 60),
        (PROFILE | {"attributes": {"city": "x" * 129}}, "bad_field", "attributes.city"),
        (PROFILE | {"attributes": {f"a{k}": k for k in range(ATTRIBUTES_MAX + 1)}}, "bad_field", "attributes"),
        (VIEW | {"type": "item", "price": -1}, "bad_field", "price"),
        (VIEW | {"type": "item", "brand": "x" * 129}, "bad_field", "brand"),
        (VIEW | {"type": "item", "brand": 5}, "bad_field", "brand"),
        (VIEW | {"type": "item", "available": 0}, "bad_field", "available"),
        (VIEW | {"type": "item", "available": "no"}, "bad_field", "available"),
        (VIEW | {"ts": "yesterday"}, "bad_field", "ts"),
        (VIEW | {"ts": "2026-09-21T13:46:40"}, "bad_field", "ts"),
        (VIEW | {"ts": 1.79e12}, "bad_field", "ts"),
        (VIEW | {"ts": True}, "bad_field", "ts"),
        (VIEW | {"ts": -1}, "too_old", "ts"),
        (VIEW | {"ts": LIMITS.oldest_ms - 1}, "too_old", "ts"),
        (VIEW | {"ts": "0001-01-01T00:00:00+23:59"}, "too_old", "ts"),
        (VIEW | {"ts": NEWEST_MS + 1}, "from_the_future", "ts"),
        (VIEW | {"ts": 10**40}, "from_the_future", "ts"),
        (VIEW | {"ts": "9999-12-31T23:59:59-23:59"}, "from_the_future", "ts"),
    ],
)
def test_every_fault_is_told_with_its_reason_and_path(event: dict[str, Any], reason: str, path: str) -> None:
    """A refusal says which rule was broken, where, what was found and what is expected."""
    refusal = refused(event)
    assert (refusal.reason, refusal.path) == (reason, path)
    assert refusal.detail.startswith("found ")
    assert "; expected " in refusal.detail


@pytest.mark.parametrize(
    ("ts", "hint"),
    [
        (NOW_MS // 1000, "looks like epoch seconds"),
        (NOW_MS * 1000, "looks like epoch microseconds"),
        (NOW_MS * 1_000_000, "looks like epoch nanoseconds"),
    ],
)
def test_a_time_in_the_wrong_unit_is_called_so(ts: int, hint: str) -> None:
    """The likeliest cause of an impossible time is named."""
    assert hint in refused(VIEW | {"ts": ts}).detail


def test_integer_ids_are_their_decimal_strings() -> None:
    """17 and "17" are the same shopper, of any length that fits an id."""
    event = taken(VIEW | {"user_id": 17, "item_id": -5, "event_id": 10**127, "category": 0})
    assert (event.user, event.event_id) == ("17", "1" + "0" * 127)
    assert (event.lines[0].item, event.lines[0].category) == ("-5", "0")


def test_an_id_may_fill_its_bytes_exactly() -> None:
    """128 bytes are taken, whether of ASCII or of longer characters."""
    for text in ("x" * 128, "é" * 64, "🛒" * 32):
        assert taken(VIEW | {"user_id": text}).user == text


@pytest.mark.parametrize(
    ("price", "money"),
    [
        ("0", 0),
        ("12", 120_000),
        ("2.55", 25_500),
        ("0.00005", 0),
        ("0.00015", 2),
        ("0.00025", 2),
        ("0.000050000000000000000000000000000001", 1),
        ("1e2", 1_000_000),
        ("1E-5", 0),
        ("1000000000", 10**13),
    ],
)
def test_a_price_is_rounded_half_to_even_from_its_decimal(price: str, money: int) -> None:
    """Money is the decimal as written, in ten-thousandths: no float stands between."""
    assert taken(json.dumps(VIEW | {"price": "?"}).replace('"?"', price).encode()).lines[0].price == money


@settings(max_examples=200, deadline=None)
@given(st.decimals(0, 10**9, allow_nan=False, allow_infinity=False))
def test_any_price_is_within_half_a_unit_of_itself(price: Decimal) -> None:
    """The nearest ten-thousandth, the even one at a tie (by fractions)."""
    text = format(price.copy_abs(), "f")
    money = taken(json.dumps(VIEW | {"price": "?"}).replace('"?"', text).encode()).lines[0].price
    assert money == round(Fraction(text) * 10_000)
    assert money == int((Decimal(text) * 10_000).quantize(Decimal(1), ROUND_HALF_EVEN))


@settings(max_examples=200, deadline=None)
@given(
    st.datetimes(datetime(1991, 1, 1), datetime(2025, 1, 1)),
    st.integers(-23 * 60, 23 * 60),
)
def test_an_instant_with_any_zone_is_its_millisecond(when: datetime, offset_minutes: int) -> None:
    """RFC 3339 comes to the epoch milliseconds that the calendar gives, parts of one dropped."""
    zoned = when.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (zoned - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)  # noqa: UP017
    assert taken(VIEW | {"ts": zoned.isoformat()}).ts == expected


def test_a_purchase_has_a_line_for_each_of_its_lines() -> None:
    """Order kept; a negative quantity is a line sent back; the price is of one piece."""
    lines = [LINE, {"item_id": 7, "category": "c", "quantity": -0.5, "unit_price": 0}]
    event = taken(PURCHASE | {"lines": lines})
    assert [(line.item, line.category, line.price, line.value) for line in event.lines] == [
        ("i1", "", 99_900, 2.0),
        ("7", "c", 0, -0.5),
    ]


def test_an_act_without_price_and_quantity_is_one_piece_of_no_price() -> None:
    """Price -1, value 1; null counts as absent."""
    for more in ({}, {"price": None, "quantity": None, "category": None, "context": None}):
        line = taken(VIEW | more).lines[0]
        assert (line.category, line.price, line.value) == ("", -1, 1.0)


def test_a_custom_event_without_value_adds_nothing_to_their_sum() -> None:
    """Value 0 where it is absent or null; what is told is told, 0 and less included."""
    for more, value in (({}, 0.0), ({"value": None}, 0.0), ({"value": 0}, 0.0), ({"value": -2.5}, -2.5)):
        assert taken(CUSTOM | more).lines[0].value == value


@pytest.mark.parametrize(
    ("dwell", "ms"),
    [
        *(("0", 0), ("-0.0", 0), ("0.5", 0), ("1.5", 2), ("2.5", 2), ("2.50000000000000000000000000000000001", 3)),
        *(("1500", 1500), ("1.5e3", 1500), ("1e15", 10**15), ("999999999999999.5", 10**15), ("1e-400", 0)),
        ("null", -1),
    ],
)
def test_a_dwell_time_is_whole_milliseconds(dwell: str, ms: int) -> None:
    """Rounded half to even from the decimal as written; -1 where there is none, and for acts of other kinds."""
    assert taken(json.dumps(VIEW | {"dwell_ms": "?"}).replace('"?"', dwell).encode()).dwell_ms == ms
    assert taken(VIEW).dwell_ms == -1
    assert taken(CUSTOM | {"dwell_ms": "whatever"}).dwell_ms == -1


def test_what_an_event_tells_of_its_circumstances() -> None:
    """Device, channel and country of acts, the declared names of any shopper's context in sorted order; "" is none."""
    everything = {
        "device": "phone",
        "channel": "",
        "country": "é" * 64,
        "context": {"язык": "de", "campaign": "x" * 128},
    }
    assert taken(VIEW | everything).told == ("phone", "", "é" * 64, "x" * 128, "de", "", "", "")
    assert taken(PURCHASE | everything).told == ("", "", "", "x" * 128, "de", "", "", "")
    for event in (CUSTOM, PROFILE, {"type": "erase", "ts": NOW_MS, "user_id": "u1"}):
        assert taken(event | {"device": 5, "context": {"campaign": "", "weather": "x" * 500}}).told == ("",) * 8
    assert taken(VIEW | {"device": None, "context": None}).told == ("",) * 8


def test_the_brand_of_an_item_is_told() -> None:
    """In the first place; "" and null are none."""
    item = {"type": "item", "ts": NOW_MS, "item_id": "i1"}
    for more, brand in (({"brand": "é" * 64}, "é" * 64), ({"brand": ""}, ""), ({"brand": None}, ""), ({}, "")):
        assert taken(item | more).told == (brand, *[""] * 7)


def test_a_profile_has_a_line_for_each_of_its_attributes() -> None:
    """Its name, its text, which of the three it is, its number; an event without attributes has one that names none."""
    attributes = {"größe": "XL", "age": 42, "score": -0.5, "vip": True, "guest": False, "note": "", "x" * 128: "é" * 64}
    event = taken(PROFILE | {"attributes": attributes})
    assert [(line.item, line.category, line.price, line.value) for line in event.lines] == [
        *(("größe", "XL", 0, 0.0), ("age", "", 1, 42.0), ("score", "", 1, -0.5), ("vip", "", 2, 1.0)),
        *(("guest", "", 2, 0.0), ("note", "", 0, 0.0), ("x" * 128, "é" * 64, 0, 0.0)),
    ]
    assert [(line.item, line.category, line.price, line.value) for line in taken(PROFILE).lines] == [("", "", -1, 0.0)]
    most = {f"a{k}": (-1) ** k * NUMBER_MAX for k in range(ATTRIBUTES_MAX)}
    assert len(taken(PROFILE | {"attributes": most}).lines) == ATTRIBUTES_MAX


def test_undeclared_names_of_a_context_are_counted_and_ignored() -> None:
    """Only declared names are held to be strings."""
    event = taken(VIEW | {"context": {"campaign": "x", "weather": 5, "app": {"v": []}}})
    assert event.undeclared == 2


def test_limits_are_the_configurations() -> None:
    """Length and age are judged by the limits given; names of contexts have a bound."""
    with pytest.raises(ValueError, match="at most 5"):
        Limits(context_names=frozenset("abcdef")).authority()
    data = json.dumps(VIEW).encode()
    assert isinstance(Limits(bytes_max=len(data)).authority().parse(data, NEWEST_MS), Event)
    for limits, reason in ((Limits(bytes_max=len(data) - 1), "too_large"), (Limits(oldest_ms=NOW_MS + 1), "too_old")):
        refusal = limits.authority().parse(data, NEWEST_MS)
        assert isinstance(refusal, Refusal)
        assert refusal.reason == reason


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
@example(b'{"type":"view","ts":' + b"9" * 4300 + b',"user_id":"u","item_id":"i"}')
@example(b'{"type":"view","ts":' + b"9" * 4301 + b',"user_id":"u","item_id":"i"}')
@example(b'{"type":"view","ts":1,"user_id":-' + b"9" * 4300 + b',"item_id":"i"}')
@example(b'{"type":"view","ts":1790000000000,"user_id":"u","item_id":"i","price":1e999999999999999999999}')
@example(b'{"type":"view","ts":1790000000000,"user_id":"u","item_id":"i","quantity":1e-999999999999999}')
@example(b'{"type":"view","ts":1790000000000,"user_id":"u","item_id":"i","price":1e-999999999}')
@example(b'{"type":"view","ts":1790000000000,"user_id":"u","item_id":"i","price":0.' + b"5" * 60_000 + b"}")
def test_no_bytes_make_it_raise(data: bytes) -> None:
    """Bad input is an answer, not an exception."""
    assert isinstance(parse(data), Event | Refusal)


@pytest.mark.parametrize("seed", range(3))
def test_no_broken_record_makes_it_raise(seed: int) -> None:
    """Nor do records that were right before a few bytes changed; each refusal has a known reason and a short detail."""
    rng = random.Random(seed)
    for _ in range(5000):
        parsed = parse(record(rng, odd=0.2, broken=0.8))
        if isinstance(parsed, Refusal):
            assert parsed.reason in REASONS
            assert len(parsed.detail) < 400
            assert msgspec.json.encode(parsed)
