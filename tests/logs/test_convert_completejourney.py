"""Complete Journey's baskets become orders: every line, every piece and every cent of them."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from operators.convert import convert
from operators.read_files import open_to_read
from state.events import Authority, Event

FAR_MS = 4_102_444_800_000  # the year 2100
HEADER = (
    "household_id,store_id,basket_id,product_id,quantity,sales_value,"
    "retail_disc,coupon_disc,coupon_match_disc,week,transaction_timestamp\n"
)
PRODUCTS_HEADER = "product_id,department,brand,product_category,product_type\n"


def events_of(path: Path) -> list[dict[str, Any]]:
    """The events of a log, numbers as they are written; decoding must let each of them in."""
    authority = Authority(65_536, 0, frozenset(), frozenset())
    with open_to_read(path) as file:
        lines = file.readall().splitlines()
    for line in lines:
        assert isinstance(authority.parse(line, FAR_MS), Event), line
    return [json.loads(line, parse_float=Decimal) for line in lines]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The oracle: a packed file by columns, with none of our code."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def transactions(data_file: Callable[[str], Path]) -> Path:
    """The real lines; their products lie beside them."""
    data_file("completejourney_products.csv.gz")
    return data_file("completejourney_transactions_sample.csv.gz")


@pytest.fixture(scope="module")
def converted(transactions: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, Any]], Path]:
    """The account of the real lines, their events, the lines skipped."""
    folder = tmp_path_factory.mktemp("completejourney")
    account = convert("completejourney", transactions, folder / "log.jsonl.zst", folder / "skipped.jsonl")
    return account, events_of(folder / "log.jsonl.zst"), folder / "skipped.jsonl"


def test_every_line_of_complete_journey_is_in_exactly_one_class(
    converted: tuple[Any, list[dict[str, Any]], Path], transactions: Path
) -> None:
    """The classes add up to the file; what is skipped is written down, with number, class and text."""
    account, events, skipped = converted
    rows = rows_of(transactions)
    assert account.classes == {
        "duplicate": 0,
        "malformed": 0,
        "negative": 0,
        "without_quantity": 416,
        "free": 113,
        "purchase": 74_471,
    }
    assert account.lines == sum(account.classes.values()) == len(rows) == 75_000
    assert (account.events, account.out_of_order) == (len(events), 0)
    assert "completejourney_products.csv.gz: 20,897 products" in account.table()
    source = gzip.decompress(transactions.read_bytes()).decode().splitlines()
    told = [json.loads(line) for line in skipped.read_bytes().splitlines()]
    assert [s["line"] for s in told] == [i for i, row in enumerate(rows, 2) if float(row["quantity"]) == 0]
    assert all(s["raw"] == source[s["line"] - 1] and s["class"] == "without_quantity" for s in told)


def test_a_basket_is_one_order_with_all_its_pieces_at_what_was_paid_for_them(
    converted: tuple[Any, list[dict[str, Any]], Path], transactions: Path
) -> None:
    """Product by product, pieces and money of the log's lines are the file's, to the last digit, at their second."""
    wanted: dict[tuple[str, str, int], dict[str, tuple[int, Decimal]]] = defaultdict(dict)
    for row in rows_of(transactions):
        pieces = Decimal(row["quantity"])
        if pieces:
            key = (row["household_id"], row["basket_id"], int(Decimal(row["transaction_timestamp"])) * 1000)
            wanted[key][row["product_id"]] = (int(pieces), Decimal(row["sales_value"]))
    purchases = [event for event in converted[1] if event["type"] == "purchase"]
    assert [event["ts"] for event in purchases] == sorted(event["ts"] for event in purchases)
    found: dict[tuple[str, str, int], dict[str, tuple[int, Decimal]]] = {}
    for event in purchases:
        bought: dict[str, tuple[int, Decimal]] = {}
        for line in event["lines"]:
            assert isinstance(line["quantity"], int) and line["quantity"] > 0
            assert Decimal(line["unit_price"]) * 10_000 % 1 == 0, "a price that taking in would round"
            pieces_before, paid_before = bought.get(line["item_id"], (0, Decimal(0)))
            paid = paid_before + line["quantity"] * line["unit_price"]
            bought[line["item_id"]] = (pieces_before + line["quantity"], paid)
        found[event["user_id"], event["order_id"], event["ts"]] = bought
    assert len(found) == len(purchases)
    assert found == wanted
    assert [list(found[key]) for key in found] == [list(wanted[key]) for key in found], "lines in another order"


def test_the_money_of_every_household_is_the_file_s_to_the_cent(
    converted: tuple[Any, list[dict[str, Any]], Path], transactions: Path
) -> None:
    """Summed in exact decimals on both sides; the file's one value of 4e-16 is a line without quantity."""
    wanted: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in rows_of(transactions):
        wanted[row["household_id"]] += Decimal(row["sales_value"]).quantize(Decimal("0.01"))
    found: Counter[str] = Counter()
    for event in converted[1]:
        for line in event.get("lines", ()):
            found[event["user_id"]] += line["quantity"] * line["unit_price"]
    assert len(wanted) == 2_377
    assert {household: paid for household, paid in wanted.items() if paid} == found


def test_items_come_before_the_first_purchase_with_category_and_brand(
    converted: tuple[Any, list[dict[str, Any]], Path], data_file: Callable[[str], Path]
) -> None:
    """An `item` event for each product that was bought and that the products file knows; lines carry the category."""
    events = converted[1]
    facts = {row["product_id"]: row for row in rows_of(data_file("completejourney_products.csv.gz"))}
    first = next(i for i, event in enumerate(events) if event["type"] == "purchase")
    items, purchases = events[:first], events[first:]
    assert {event["type"] for event in purchases} == {"purchase"} and {event["type"] for event in items} == {"item"}
    lines = [line for event in purchases for line in event["lines"]]
    assert {event["item_id"] for event in items} == {line["item_id"] for line in lines} & facts.keys()
    assert len({event["item_id"] for event in items}) == len(items)
    assert {event["ts"] for event in items} == {purchases[0]["ts"]}
    for event in items:
        fact = facts[event["item_id"]]
        assert (event.get("category", ""), event["brand"]) == (fact["product_category"], fact["brand"])
    for line in lines:
        assert line.get("category", "") == facts.get(line["item_id"], {"product_category": ""})["product_category"]
    assert len({event["event_id"] for event in events}) == len(events)


def test_oddities_of_baskets_have_classes_of_their_own(tmp_path: Path) -> None:
    """Repeats, unreadable columns, negative and missing quantities, gifts; a value that pieces do not divide."""
    rows = [
        "7,1,b1,A,3.0,2.0,0.5,0.0,0.0,1,1483273827.0",
        "7,1,b1,A,3.0,2.0,0.5,0.0,0.0,1,1483273827.0",
        "7,1,b1,B,1.0,0.0,3.99,0.0,0.0,1,1483273827.0",
        "7,1,b1,C,0.0,0.0,0.0,1.0,0.0,1,1483273827.0",
        "7,1,b1,D,0.0,4.440892098500626e-16,0.0,0.0,0.0,1,1483273827.0",
        "7,1,b1,E,-1.0,2.0,0.0,0.0,0.0,1,1483273827.0",
        "7,1,b1,E,1.0,-2.0,0.0,0.0,0.0,1,1483273827.0",
        "7,1,b1,E,1.5,2.0,0.0,0.0,0.0,1,1483273827.0",
        "7,1,b1,E,1e999999,2.0,0.0,0.0,0.0,1,1483273827.0",
        "7,1,b1,E,1.0,nan,0.0,0.0,0.0,1,1483273827.0",
        "7,1,b1,E,1.0,2.0,0.0,0.0,0.0,1,noon",
        "7,1,,E,1.0,2.0,0.0,0.0,0.0,1,1483273827.0",
        "7,1,b1,E,1.0,2.0,0.0,0.0",
        "7,1,b1,E,1.0,2.0,0.0,0.0,0.0,1,1483273828.0",
        "8,1,b1,E,1.0,2.0,0.0,0.0,0.0,1,1483273826.0",
    ]
    source, out = tmp_path / "shop_transactions.csv", tmp_path / "log.jsonl"
    source.write_text(HEADER + "\n".join(rows) + "\n")
    account = convert("completejourney", source, out, tmp_path / "skipped.jsonl")
    assert account.classes == {
        "duplicate": 1,
        "malformed": 6,
        "negative": 2,
        "without_quantity": 2,
        "free": 1,
        "purchase": 3,
    }
    assert account.lines == len(rows)
    assert "no products file beside it" in account.table()
    events = events_of(out)
    assert [(e["user_id"], e["ts"]) for e in events] == [
        ("8", 1483273826000),
        ("7", 1483273827000),
        ("7", 1483273828000),
    ]
    assert events[1]["lines"] == [
        {"item_id": "A", "quantity": 2, "unit_price": Decimal("0.6667")},
        {"item_id": "A", "quantity": 1, "unit_price": Decimal("0.6666")},
        {"item_id": "B", "quantity": 1, "unit_price": 0},
    ]
    skipped = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_bytes().splitlines()]
    assert [s["line"] for s in skipped] == [3, *range(5, 15)]


def test_a_basket_beyond_the_bound_of_lines_is_told_in_parts(tmp_path: Path) -> None:
    """None of its lines is lost, and the two halves of one stay together."""
    source, out = tmp_path / "transactions.csv", tmp_path / "log.jsonl"
    source.write_text(HEADER + "".join(f"7,1,b,I{i},3.0,2.0,0,0,0,1,1483273827\n" for i in range(1_200)))
    convert("completejourney", source, out)
    events = events_of(out)
    assert [len(event["lines"]) for event in events] == [1000, 1000, 400]
    bought = [line["item_id"] for event in events for line in event["lines"]]
    assert bought == [f"I{i}" for i in range(1_200) for _ in range(2)]


@pytest.mark.parametrize(
    ("lines", "products"),
    [
        ("completejourney_transactions_sample.csv", "completejourney_products.csv"),
        ("completejourney_transactions_sample.csv", "completejourney_products_sample.csv"),
        ("transactions.csv", "products.csv"),
    ],
)
def test_the_products_file_is_found_by_its_name(tmp_path: Path, lines: str, products: str) -> None:
    """With the sample's ending or without; rows of it that cannot be read are counted, quoted commas are none."""
    rows = [
        'A,GROCERY,Private,"EGGS, FRESH",',
        "B,GROCERY,,,",
        "C,GROCERY",
        ",GROCERY,Private,EGGS,",
        "D,X,National,X,",
    ]
    (tmp_path / products).write_text(PRODUCTS_HEADER + "\n".join(rows) + "\n")
    source, out = tmp_path / lines, tmp_path / "log.jsonl"
    source.write_text(HEADER + "".join(f"7,1,b1,{item},1,2.5,0,0,0,1,1483273827\n" for item in "ABC"))
    account = convert("completejourney", source, out)
    assert account.notes == (f"{products}: 3 products, 2 lines cannot be read",)
    *items, purchase = events_of(out)
    facts = [{k: v for k, v in item.items() if k not in ("type", "ts", "event_id")} for item in items]
    assert facts == [{"item_id": "A", "category": "EGGS, FRESH", "brand": "Private"}, {"item_id": "B"}]
    assert [line.get("category") for line in purchase["lines"]] == ["EGGS, FRESH", None, None]


def test_a_products_file_is_found_packed_or_not(tmp_path: Path) -> None:
    """Plain lines beside packed products."""
    (tmp_path / "products.csv.gz").write_bytes(gzip.compress((PRODUCTS_HEADER + "A,G,Private,EGGS,\n").encode()))
    source, out = tmp_path / "transactions.csv", tmp_path / "log.jsonl"
    source.write_text(HEADER + "7,1,b1,A,1,2.5,0,0,0,1,1483273827\n")
    convert("completejourney", source, out)
    assert events_of(out)[0] == {
        "type": "item",
        "ts": 1483273827000,
        "event_id": "completejourney-product-2",
        "item_id": "A",
        "category": "EGGS",
        "brand": "Private",
    }
