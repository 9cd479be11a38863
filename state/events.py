"""The authority on what is a valid event: msgspec types for the wire, and one function that takes or refuses a record.

A compiled scanner (`operators.kernels.scan`) reads the plain majority of records; whatever it is not sure of comes
here, and where the two could differ this module is right. A record is either an `Event`, with its ids as texts and its
money as integers, or a `Refusal` that says why; bad input never raises.
"""

from __future__ import annotations

import decimal
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from state.batches import (
    ATTRIBUTE_BOOL,
    ATTRIBUTE_NUMBER,
    ATTRIBUTE_TEXT,
    CONTEXT_NAMES_MAX,
    DIMENSIONS_TOLD,
    KINDS,
    MONEY_UNIT,
    TOLD_MAX,
)
from state.event_types import (
    AVAILABLE_NOT_TOLD,
    Act,
    Consent,
    Custom,
    Erase,
    Id,
    Identify,
    Impression,
    Item,
    Profile,
    Purchase,
    Shopper,
    Wire,
)
from state.refusals import SHOWN_MAX, Refusal, broken, explained, no_json, shown

ID_BYTES_MAX = 128

TEXT_BYTES_MAX = 128
"""Longest text that is kept by its hash: device, channel, country, values of a declared context, brands, and names and
texts of attributes."""

ATTRIBUTES_MAX = 64
"""Most attributes of one `profile` event."""

LINES_MAX = 1000
"""Most lines of a purchase, and most item ids of an impression."""

PRICE_MAX = 10**9
"""Largest price of one piece, in the shop's currency."""

QUANTITY_MAX = 10**6
"""Largest quantity, either way."""

AMOUNT_MAX = 10**11
"""Largest price times quantity of a purchase line: sums of thousands of such lines still fit 64-bit money."""

NUMBER_MAX = 10**15
"""Largest custom value, attribute and dwell time: what a float holds exactly."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_TEN_THOUSANDTH = 1 / Decimal(MONEY_UNIT)
_EXACT = decimal.Context(prec=64, rounding=decimal.ROUND_HALF_EVEN)
_NOT_TOLD = ("",) * TOLD_MAX

_KIND_OF = {cls: KINDS.index(cls.__struct_config__.tag) for cls in Wire.__args__}


class Line(msgspec.Struct, frozen=True, gc=False):
    """The item side of an event: ids as texts ("" for none), price as money (-1 for none), value as in EVENT.

    Of an attribute: its name as `item`, its text as `category`, what it is (ATTRIBUTE_TEXT and so on) as `price`.
    """

    item: str
    category: str
    price: int
    value: float


class Event(msgspec.Struct, frozen=True, gc=False):
    """A valid event.

    `kind` is a place in KINDS; `ts` epoch ms; `user` is "" for `item` events; `event_id` None where there is none;
    `lines` one Line, or one for each line of a purchase, attribute or item shown; `aux` and `told` the texts behind
    these columns of EVENT ("" for none); `dwell_ms` -1 where it is not told; `undeclared` how many names in its context
    were ignored; `body` the record's fields as they stood.
    """

    kind: int
    ts: int
    user: str
    event_id: str | None
    lines: list[Line]
    aux: str
    dwell_ms: int
    told: tuple[str, ...]
    undeclared: int
    body: msgspec.Struct


class _Refused(Exception):
    def __init__(self, reason: str, path: str, detail: str) -> None:
        self.refusal = Refusal(reason, path, detail)


class Authority:
    """Decides for one record at a time.

    `bytes_max` the longest record; `oldest_ms` the earliest event time; `custom_names` the declared names of `custom`
    events, `context_names` those of `context`, at most CONTEXT_NAMES_MAX.
    """

    def __init__(
        self, bytes_max: int, oldest_ms: int, custom_names: frozenset[str], context_names: frozenset[str]
    ) -> None:
        if len(context_names) > CONTEXT_NAMES_MAX:
            raise ValueError(f"{len(context_names)} names of contexts are declared; at most {CONTEXT_NAMES_MAX} can be")
        self.bytes_max = bytes_max
        self.oldest_ms = oldest_ms
        self.custom_names = custom_names
        self._told_at = {name: len(DIMENSIONS_TOLD) + n for n, name in enumerate(sorted(context_names))}
        self._decoder = msgspec.json.Decoder(Wire, float_hook=_real)

    def parse(self, record: bytes, newest_ms: int) -> Event | Refusal:
        """The event a record holds, or why there is none. Event times later than `newest_ms` are from the future."""
        if len(record) > self.bytes_max:
            return Refusal("too_large", "", f"found {len(record)} bytes; expected at most {self.bytes_max}")
        try:
            record.decode()  # msgspec does not look into the strings it skips
            return self._event(self._decoder.decode(record), newest_ms)
        except _Refused as refused:
            return refused.refusal
        except msgspec.ValidationError as error:
            return broken(record) or explained(str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return no_json(error)

    def _event(self, body: Any, newest_ms: int) -> Event:
        ts = self._ts(body.ts, newest_ms)
        event_id = _optional_id(body.event_id, "event_id") or None
        if isinstance(body, Item):
            price = _money(body.price, "price") if body.price is not None else -1
            available = AVAILABLE_NOT_TOLD if body.available is None else float(body.available)
            line = Line(_id(body.item_id, "item_id"), _optional_id(body.category, "category"), price, available)
            told = (_text(body.brand, "brand"), *_NOT_TOLD[1:])
            return Event(_KIND_OF[Item], ts, "", event_id, [line], "", -1, told, 0, body)
        user = _id(body.user_id, "user_id")
        lines, aux = self._particulars(body)
        dwell_ms = _whole(body.dwell_ms, "dwell_ms") if isinstance(body, Act) and body.dwell_ms is not None else -1
        told, undeclared = self._told(body)
        return Event(_KIND_OF[type(body)], ts, user, event_id, lines, aux, dwell_ms, told, undeclared, body)

    def _particulars(self, body: Any) -> tuple[list[Line], str]:
        item, category, price, value, aux = "", "", -1, 1.0, ""
        if isinstance(body, Act):
            item = _optional_id(body.item_id, "item_id")  # type: ignore[attr-defined]
            category = _optional_id(body.category, "category")
            _optional_id(body.session_id, "session_id")
            if body.price is not None:
                price = _money(body.price, "price")
            if body.quantity is not None:
                value = _number(body.quantity, "quantity", 0, QUANTITY_MAX, above=True)
        elif isinstance(body, Purchase):
            return _purchase_lines(body), ""
        elif isinstance(body, Custom):
            aux = body.name
            if aux not in self.custom_names:
                known = ", ".join(sorted(self.custom_names)) or "none is"
                _refuse("name", f"found {shown(aux)}, which is not declared; expected a declared name ({known})")
            item = _optional_id(body.item_id, "item_id")
            _optional_id(body.session_id, "session_id")
            value = 0.0 if body.value is None else _number(body.value, "value", -NUMBER_MAX, NUMBER_MAX)
        elif isinstance(body, Impression):
            aux = _id(body.experiment, "experiment")
            _id(body.variant, "variant")
            ids = body.item_ids or []
            if len(ids) > LINES_MAX:
                _refuse("item_ids", f"found {len(ids)} ids; expected at most {LINES_MAX}")
            lines = [Line(_id(one, f"item_ids[{k}]"), "", -1, 1.0) for k, one in enumerate(ids)]
            return lines or [Line("", "", -1, 1.0)], aux
        elif isinstance(body, Consent):
            value = 1.0 if body.granted else 0.0
        elif isinstance(body, Identify):
            aux = _id(body.anonymous_id, "anonymous_id")
        elif isinstance(body, Erase):
            _optional_id(body.request_id, "request_id")
        elif isinstance(body, Profile):
            return _attributes(body.attributes), ""
        return [Line(item, category, price, value)], aux

    def _ts(self, ts: int | str, newest_ms: int) -> int:
        ms = ts if isinstance(ts, int) else _instant_ms(ts)
        if ms < self.oldest_ms:
            hint = (
                "; this looks like epoch seconds: send milliseconds" if self.oldest_ms <= ms * 1000 <= newest_ms else ""
            )
            raise _Refused("too_old", "ts", f"found {shown(ts)}; expected no event before {_utc(self.oldest_ms)}{hint}")
        if ms > newest_ms:
            hint = ""
            for unit, divisor in (("microseconds", 1000), ("nanoseconds", 1_000_000)):
                if self.oldest_ms <= ms // divisor <= newest_ms:
                    hint = f"; this looks like epoch {unit}: send milliseconds"
            raise _Refused(
                "from_the_future", "ts", f"found {shown(ts)}; expected no event after {_utc(newest_ms)}{hint}"
            )
        return ms

    def _told(self, body: Shopper) -> tuple[tuple[str, ...], int]:
        """What an event tells of its circumstances, and how many names of its context are not declared."""
        told = list(_NOT_TOLD)
        if isinstance(body, Act):
            for place, name in enumerate(DIMENSIONS_TOLD):
                told[place] = _text(getattr(body, name), name)
        undeclared = 0
        for name, value in (body.context or {}).items():
            at = self._told_at.get(name)
            if at is None:
                undeclared += 1
            elif isinstance(value, str):
                told[at] = _text(value, f"context.{name}")
            else:
                _refuse(f"context.{name}", f"found {_kind_of_value(value)}; expected a string")
        return tuple(told), undeclared


def _purchase_lines(body: Purchase) -> list[Line]:
    _id(body.order_id, "order_id")
    if not 1 <= len(body.lines) <= LINES_MAX:
        _refuse("lines", f"found {len(body.lines)} lines; expected 1 to {LINES_MAX}")
    lines = []
    for index, line in enumerate(body.lines):
        at = f"lines[{index}]."
        item = _id(line.item_id, at + "item_id")
        category = _optional_id(line.category, at + "category")
        price = _money(line.unit_price, at + "unit_price")
        quantity = _number(line.quantity, at + "quantity", -QUANTITY_MAX, QUANTITY_MAX)
        if quantity == 0:
            _refuse(at + "quantity", "found 0; expected pieces bought (positive) or sent back (negative)")
        if abs(quantity) * price > AMOUNT_MAX * MONEY_UNIT:
            _refuse(at + "quantity", f"found a line worth more than {AMOUNT_MAX:,}; expected less")
        lines.append(Line(item, category, price, quantity))
    return lines


def _attributes(attributes: dict[str, Any]) -> list[Line]:
    """A Line of each attribute; of none, one that names nothing."""
    if len(attributes) > ATTRIBUTES_MAX:
        _refuse("attributes", f"found {len(attributes)} attributes; expected at most {ATTRIBUTES_MAX}")
    lines = []
    for name, value in attributes.items():
        path = f"attributes.{name[:SHOWN_MAX]}"
        if not name:
            _refuse(path, f"found an attribute without a name; expected a name of 1 to {TEXT_BYTES_MAX} bytes")
        _text(name, path)
        if isinstance(value, str):
            lines.append(Line(name, _text(value, path), ATTRIBUTE_TEXT, 0.0))
        elif isinstance(value, bool):
            lines.append(Line(name, "", ATTRIBUTE_BOOL, float(value)))
        elif isinstance(value, (int, Decimal)):
            lines.append(Line(name, "", ATTRIBUTE_NUMBER, _number(value, path, -NUMBER_MAX, NUMBER_MAX)))
        else:
            _refuse(path, f"found {_kind_of_value(value)}; expected a string, a number or a bool")
    return lines or [Line("", "", -1, 0.0)]


def _real(text: str) -> Decimal:
    """A JSON number with a point or an exponent, exactly; NaN where its exponent is beyond what can be held."""
    try:
        return Decimal(text)
    except decimal.InvalidOperation:
        return Decimal("NaN")


def _id(value: Id, path: str) -> str:
    text = value if isinstance(value, str) else str(value)
    length = _bytes(text)
    if not 1 <= length <= ID_BYTES_MAX:
        _refuse(path, f"found an id of {length} bytes; expected 1 to {ID_BYTES_MAX}")
    return text


def _optional_id(value: Id | None, path: str) -> str:
    return "" if value is None else _id(value, path)


def _text(value: str | None, path: str) -> str:
    """A text that is to be kept; "" where there is none."""
    if not value:
        return ""
    if (length := _bytes(value)) > TEXT_BYTES_MAX:
        _refuse(path, f"found a text of {length} bytes; expected at most {TEXT_BYTES_MAX}")
    return value


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _exact(value: Any, path: str) -> Decimal | int:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        _refuse(path, f"found {_kind_of_value(value)}; expected a number")
    if isinstance(value, Decimal) and not value.is_finite():
        _refuse(path, "found a number out of range; expected a finite number")
    return value


def _number(value: Any, path: str, low: int, high: int, above: bool = False) -> float:
    """A number of low..high (with `above`, greater than low), as the nearest float."""
    exact = _exact(value, path)
    real = float(exact) if low <= exact <= high else low - 1.0
    if not low <= real <= high or (above and real == low):
        _refuse(path, f"found {shown(value)}; expected a number {'above' if above else 'from'} {low:,} to {high:,}")
    return real


def _whole(value: Any, path: str) -> int:
    """A number of 0 to NUMBER_MAX, as written, rounded half to even."""
    _number(value, path, 0, NUMBER_MAX)
    return value if isinstance(value, int) else int(value.quantize(Decimal(1), context=_EXACT))


def _money(value: Any, path: str) -> int:
    """A price in ten-thousandths: its decimal value, as written, rounded half to even."""
    exact = _exact(value, path)
    if not 0 <= exact <= PRICE_MAX:
        _refuse(path, f"found {shown(value)}; expected a price from 0 to {PRICE_MAX:,}")
    if isinstance(exact, int):
        return exact * MONEY_UNIT
    return int(exact.quantize(_TEN_THOUSANDTH, context=_EXACT).scaleb(4, context=_EXACT))


def _instant_ms(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 instant (parts of a millisecond are dropped)."""
    try:
        instant = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        _refuse("ts", f"found {shown(text)}; expected epoch milliseconds or RFC 3339, such as 2025-01-31T18:30:00Z")
    if instant.tzinfo is None:
        _refuse("ts", f"found {shown(text)}, which names no time zone; expected one, such as 2025-01-31T18:30:00Z")
    return (instant - _EPOCH) // _MILLISECOND


def _refuse(path: str, detail: str) -> NoReturn:
    raise _Refused("bad_field", path, detail)


def _kind_of_value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a bool"
    if isinstance(value, (int, Decimal)):
        return "a number"
    return "a string" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _utc(ms: int) -> str:
    try:
        return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="seconds").replace("+00:00", "Z")
    except OverflowError:  # a limit outside the years 1 to 9999
        return f"{ms} ms"
