"""Dunnhumby's Complete Journey: basket lines of a grocer's households, with the products in a file of their own.

Lines of one household, basket and second become one purchase event, at the place and with the id of their first line;
the events are sorted by time. Times are epoch seconds without a word on their zone and are taken as UTC; as they are
rarest from 4 to 10 o'clock, the shops' own clock seems to be some five hours behind. What was paid is the sales value;
discounts and coupons have led to it and are no events.

An event tells the price of a piece in ten-thousandths, a line of the file the value of all. Where the one does not
divide the other, the line becomes two of the same product, at prices a ten-thousandth apart: 3 pieces for 2.00 are 1 at
0.6668 and 2 at 0.6666. So pieces and money are the file's to the last digit. Fuel is told in thousandths of a gallon,
and taken as so many pieces.

The products file lies beside the lines under the same name with `products` for `transactions` (`_sample` or not, packed
or not). Where it is, lines carry the category, and `item` events of the products that occur come first, with category
and brand, at the time of the first purchase.
Source: https://search.r-project.org/CRAN/refmans/completejourney/html/transactions_sample.html
"""

from __future__ import annotations

import decimal
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

from operators.convert.output import LINES_MAX, ConvertError, Output, read_rows, valid_id
from state import events
from state.batches import MONEY_UNIT

HEADER = (
    "household_id",
    "store_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
    "week",
    "transaction_timestamp",
)
PRODUCTS_HEADER = ("product_id", "department", "brand", "product_category", "product_type")
CLASSES = (
    "duplicate",  # an exact repeat of an earlier line
    "malformed",  # not eleven columns, or one that cannot be read, or is beyond what an event may carry
    "negative",  # quantity or value below zero: the file tells of no returns
    "without_quantity",  # nothing was handed over
    "free",  # taken in, at price 0
    "purchase",  # taken in
)
SECONDS_MAX = 10**11
NUMBER_MAX = 10**15
_ENDINGS = (".csv", ".csv.gz", ".csv.zst")

Line = tuple[str, str, str, int, int, int]
"""Household, basket, product, ts in ms, pieces, value in ten-thousandths."""

Product = tuple[str, str, int]
"""Category and brand ("" for none), line of the products file."""


def convert_completejourney(source: Path, output: Output) -> None:
    """Every line is in one of CLASSES, tried in that order. ConvertError beyond LINES_MAX lines."""
    output.declare(*CLASSES)
    products = _read_products(source, output)
    seen: set[bytes] = set()
    baskets: dict[tuple[str, str, int], dict[str, Any]] = {}
    full: list[dict[str, Any]] = []
    bought: dict[str, None] = {}
    for number, raw, fields in read_rows(source, HEADER, quoted=True):
        digest = blake2b("\x1f".join(fields).encode(errors="replace"), digest_size=16).digest()
        line = _parse(fields)
        name = _class_of(line, digest in seen)
        seen.add(digest)
        if len(seen) > LINES_MAX:
            raise ConvertError(f"{source}: has more than {LINES_MAX:,} lines; cut it into parts")
        if line is None or name not in ("free", "purchase"):
            output.skip(number, raw, name)
            continue
        output.classes[name] += 1
        household, basket, product, ts, pieces, value = line
        lines = _lines(product, products, pieces, value)
        event = baskets.get((household, basket, ts))
        if event is None or len(event["lines"]) + len(lines) > events.LINES_MAX:
            if event is not None:
                full.append(event)
            event = baskets[household, basket, ts] = {
                "type": "purchase",
                "ts": ts,
                "event_id": f"completejourney-{number}",
                "user_id": household,
                "order_id": basket,
                "currency": "USD",
                "lines": [],
            }
        event["lines"] += lines
        bought[product] = None
    purchases = sorted([*full, *baskets.values()], key=lambda e: e["ts"])  # stable: equal times in the file's order
    for product in bought if products else ():
        if product in products:
            output.event(_item(product, products[product], purchases[0]["ts"]))
    for purchase in purchases:
        output.event(purchase)


def products_beside(source: Path) -> Path | None:
    """The products file that belongs to a file of lines; None where there is none."""
    before, found, after = source.name.rpartition("transactions")
    if not found:
        return None
    part, dot, ending = after.partition(".")
    names = [f"{before}products{p}{e}" for p in (part, "") for e in (dot + ending, *_ENDINGS)]
    return next((path for name in names if (path := source.with_name(name)).is_file()), None)


def _read_products(source: Path, output: Output) -> dict[str, Product]:
    path = products_beside(source)
    if path is None:
        output.note("no products file beside it: no categories, no item events")
        return {}
    products: dict[str, Product] = {}
    malformed = 0
    for number, _, fields in read_rows(path, PRODUCTS_HEADER, quoted=True):
        stripped = [field.strip() for field in fields]
        if len(stripped) != len(PRODUCTS_HEADER) or not valid_id(stripped[0]) or not valid_id(stripped[3] or "none"):
            malformed += 1
            continue
        product, _, brand, category, _ = stripped
        products[product] = (category, brand, number)
        if len(products) > LINES_MAX:
            raise ConvertError(f"{path}: has more than {LINES_MAX:,} lines; cut it down to the products that occur")
    unread = f", {malformed:,} lines cannot be read" if malformed else ""
    output.note(f"{path.name}: {len(products):,} products{unread}")
    return products


def _item(product: str, facts: Product, ts: int) -> dict[str, Any]:
    category, brand, number = facts
    event: dict[str, Any] = {"type": "item", "ts": ts, "event_id": f"completejourney-product-{number}"}
    event["item_id"] = product
    if category:
        event["category"] = category
    if brand:
        event["brand"] = brand
    return event


def _lines(product: str, products: dict[str, Product], pieces: int, value: int) -> list[dict[str, Any]]:
    """One or two lines of an order that are worth the value exactly and have so many pieces together."""
    price, over = divmod(value, pieces)
    line: dict[str, Any] = {"item_id": product}
    if product in products and products[product][0]:
        line["category"] = products[product][0]
    parts = [(over, price + 1)] if over else []
    parts.append((pieces - over, price))
    return [{**line, "quantity": quantity, "unit_price": price / MONEY_UNIT} for quantity, price in parts]


def _class_of(line: Line | None, repeated: bool) -> str:
    if repeated:
        return "duplicate"
    if line is None:
        return "malformed"
    pieces, value = line[4:]
    if pieces < 0 or value < 0:
        return "negative"
    if pieces == 0:
        return "without_quantity"
    return "purchase" if value else "free"


def _parse(fields: list[str]) -> Line | None:
    """The columns of a line; None where they cannot be read."""
    if len(fields) != len(HEADER):
        return None
    household, basket, product = (fields[column].strip() for column in (0, 2, 3))
    if not all(map(valid_id, (household, basket, product))):
        return None
    pieces, value, seconds = (_scaled(fields[column], unit) for column, unit in ((4, 1000), (5, MONEY_UNIT), (10, 1)))
    if pieces is None or value is None or seconds is None:
        return None
    whole, rest = divmod(pieces, 1000)
    if rest or abs(whole) > events.QUANTITY_MAX or abs(value) > events.PRICE_MAX * MONEY_UNIT:
        return None
    if not 0 <= seconds <= SECONDS_MAX:
        return None
    return household, basket, product, seconds * 1000, whole, value


def _scaled(text: str, unit: int) -> int | None:
    """A decimal number in so many parts of one, to the nearest (half to even); None where it is no number."""
    try:
        number = Decimal(text.strip())
    except decimal.InvalidOperation:
        return None
    if not number.is_finite() or abs(number) > NUMBER_MAX:
        return None
    return int((number * unit).to_integral_value(decimal.ROUND_HALF_EVEN))
