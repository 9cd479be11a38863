"""UCI Online Retail: purchase lines of a gift shop, with cancellations.

Lines of one invoice, customer and minute become one purchase event, at the place and with the id of their first line;
the events are sorted by time. A cancelled line (invoice C..., negative quantity) is taken in as a returned line of its
own invoice, at its own time: spend and pieces go down, no order is counted. Times bear no zone and are taken as UTC.
Postage, discounts and bank charges are lines like others, as they are part of what was paid.
Source: https://archive.ics.uci.edu/dataset/352/online+retail
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from operators.convert.output import LINES_MAX, ConvertError, Output, read_rows, valid_id
from state import events

HEADER = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
CLASSES = (
    "duplicate",  # an exact repeat of an earlier line
    "malformed",  # not eight columns, or one that cannot be read
    "without_customer",
    "non_positive_price",
    "odd_quantity",  # zero, or of a sign that does not go with the invoice: no cancellation, and yet negative
    "cancellation",  # taken in as a returned line
    "purchase",  # taken in
)
_DATES = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")  # as packed here and by others; as in the original sheet
_DATES_KEPT = 4096

Line = tuple[str, str, str, int, int, float, str]
"""Invoice, customer ("" for none), item, ts in ms, quantity, unit price, country."""


def convert_online_retail(source: Path, output: Output) -> None:
    """Every line is in one of CLASSES, tried in that order. ConvertError beyond LINES_MAX lines."""
    output.declare(*CLASSES)
    seen: set[bytes] = set()
    orders: dict[tuple[str, str, int], dict[str, Any]] = {}
    full: list[dict[str, Any]] = []
    for number, raw, fields in read_rows(source, HEADER, quoted=True):
        digest = blake2b("\x1f".join(fields).encode(errors="replace"), digest_size=16).digest()
        line = _parse(fields)
        name = _class_of(line, digest in seen)
        seen.add(digest)
        if len(seen) > LINES_MAX:
            raise ConvertError(f"{source}: has more than {LINES_MAX:,} lines; cut it into parts")
        if line is None or name not in ("purchase", "cancellation"):
            output.skip(number, raw, name)
            continue
        output.classes[name] += 1
        invoice, customer, item, ts, quantity, unit_price, country = line
        key = (invoice, customer, ts // 60_000)
        order = orders.get(key)
        if order is None or len(order["lines"]) == events.LINES_MAX:
            if order is not None:
                full.append(order)
            order = orders[key] = {
                "type": "purchase",
                "ts": ts,
                "event_id": f"online-retail-{number}",
                "user_id": customer,
                "order_id": invoice,
                "currency": "GBP",
                "country": country,
                "lines": [],
            }
        order["lines"].append({"item_id": item, "quantity": quantity, "unit_price": unit_price})
    for order in sorted([*full, *orders.values()], key=lambda o: o["ts"]):  # stable: equal times in the file's order
        output.event(order)


def _class_of(line: Line | None, repeated: bool) -> str:
    if repeated:
        return "duplicate"
    if line is None:
        return "malformed"
    invoice, customer, _, _, quantity, unit_price, _ = line
    if not customer:
        return "without_customer"
    if unit_price <= 0:
        return "non_positive_price"
    cancelled = invoice.startswith("C")
    if quantity == 0 or (quantity < 0) != cancelled:
        return "odd_quantity"
    return "cancellation" if cancelled else "purchase"


def _parse(fields: list[str]) -> Line | None:
    """The columns of a line; None where they cannot be read."""
    if len(fields) != len(HEADER):
        return None
    invoice, item, _, quantity, date, price, customer, country = (field.strip() for field in fields)
    ts = _instant_ms(date)
    try:
        pieces, unit_price = int(quantity), float(price)
    except ValueError:
        return None
    customer = customer.removesuffix(".0")
    if ts is None or not math.isfinite(unit_price) or not valid_id(invoice) or not valid_id(item):
        return None
    if customer and not valid_id(customer):
        return None
    return invoice, customer, item, ts, pieces, unit_price, country


@lru_cache(maxsize=_DATES_KEPT)
def _instant_ms(text: str) -> int | None:
    for form in _DATES:
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()) * 1000
        except ValueError:
            continue
    return None
