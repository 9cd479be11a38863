"""Public data sets become event logs, and every line of them is accounted for."""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from operators.convert import FORMATS, ConvertError, convert
from operators.convert.sessions import CLICK_MS, SESSIONS_AT_ONCE
from operators.read_files import open_to_read
from state.events import Authority, Refusal

FAR_MS = 4_102_444_800_000  # the year 2100
RETAIL_HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def events_of(path: Path) -> list[dict[str, Any]]:
    """The events of a log, each of which decoding must let in."""
    authority = Authority(65_536, 0, frozenset(), frozenset())
    with open_to_read(path) as file:
        lines = file.readall().splitlines()
    for line in lines:
        found = authority.parse(line, FAR_MS)
        assert not isinstance(found, Refusal), (found, line)
    return [orjson.loads(line) for line in lines]


def text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()


def test_taobao_becomes_its_events_one_for_one(data_file: Callable[[str], Path], tmp_path: Path) -> None:
    """Every line an event, in the file's order, with the figures that were counted by hand."""
    source = data_file("taobao_clicks.csv.gz")
    account = convert("taobao", source, tmp_path / "taobao.jsonl.zst")
    events = events_of(tmp_path / "taobao.jsonl.zst")
    assert (account.lines, account.events, account.out_of_order) == (96_168, 96_168, 0)
    assert sum(account.classes.values()) == 96_168
    kinds = Counter(event["type"] for event in events)
    assert kinds == {"view": 85_773, "add_to_cart": 5_292, "wishlist": 2_959, "purchase": 2_144}
    assert {name: n for name, n in account.classes.items() if n} == kinds
    assert len({event["user_id"] for event in events}) == 58_732
    assert (
        len({event.get("item_id") or event["lines"][0]["item_id"] for event in events}) == 75_384
    )  # 75,385 with the header
    assert len({event["event_id"] for event in events}) == 96_168
    names = {"pv": "view", "cart": "add_to_cart", "fav": "wishlist", "buy": "purchase"}
    rows = csv.reader(text(source).splitlines()[1:])
    for (user, item, category, behaviour, ts), event in zip(rows, events, strict=True):
        about = event["lines"][0] if behaviour == "buy" else event
        assert (event["user_id"], about["item_id"], about["category"]) == (user, item, category)
        assert (event["type"], event["ts"]) == (names[behaviour], int(ts) * 1000)
        if behaviour == "buy":
            assert (about["quantity"], about["unit_price"], event["order_id"]) == (1, 0, event["event_id"])


@pytest.fixture(scope="module")
def retail(data_file: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Path]:
    """The account of Online Retail, its log, its skipped lines."""
    folder = tmp_path_factory.mktemp("retail")
    out, skipped = folder / "retail.jsonl.gz", folder / "skipped.jsonl"
    return convert("online-retail", data_file("online_retail.csv.gz"), out, skipped), out, skipped


@pytest.fixture(scope="module")
def retail_frame(data_file: Callable[[str], Path]) -> pl.DataFrame:
    """The oracle: the lines with their classes, by columns, with none of our code."""
    frame = pl.read_csv(data_file("online_retail.csv.gz"), infer_schema=False).with_row_index("line", offset=2)
    columns = [name for name in frame.columns if name != "line"]
    price, quantity = pl.col("UnitPrice").cast(pl.Float64), pl.col("Quantity").cast(pl.Int64)
    return frame.with_columns(
        price=price,
        quantity=quantity,
        ts=pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms").dt.epoch("ms"),
        name=pl.when(~pl.struct(columns).is_first_distinct())
        .then(pl.lit("duplicate"))
        .when(pl.col("CustomerID").is_null())
        .then(pl.lit("without_customer"))
        .when(price <= 0)
        .then(pl.lit("non_positive_price"))
        .when(pl.col("InvoiceNo").str.starts_with("C"))
        .then(pl.lit("cancellation"))
        .otherwise(pl.lit("purchase")),
    )


def test_every_line_of_online_retail_is_in_exactly_one_class(retail: tuple[Any, Path, Path]) -> None:
    """The classes add up to the file; the oddities that could be are not there."""
    account = retail[0]
    assert account.classes == {
        "duplicate": 5_268,
        "malformed": 0,
        "without_customer": 135_037,
        "non_positive_price": 40,
        "odd_quantity": 0,
        "cancellation": 8_872,
        "purchase": 392_692,
    }
    assert account.lines == sum(account.classes.values()) == 541_909
    assert (account.events, account.out_of_order) == (22_217, 0)
    for name, count in account.classes.items():
        assert any(line.split() == [name, f"{count:,}"] for line in account.table().splitlines())


def test_skipped_lines_of_online_retail_are_all_written_down(
    retail: tuple[Any, Path, Path], retail_frame: pl.DataFrame, data_file: Callable[[str], Path]
) -> None:
    """Each line that was not taken in, with its number, its class and its own text."""
    source = text(data_file("online_retail.csv.gz")).split("\n")
    skipped = [orjson.loads(line) for line in retail[2].read_bytes().splitlines()]
    wanted = retail_frame.filter(~pl.col("name").is_in(["purchase", "cancellation"]))
    assert [(s["line"], s["class"]) for s in skipped] == list(wanted.select("line", "name").iter_rows())
    assert all(s["raw"] == source[s["line"] - 1].rstrip("\r") for s in skipped)


def test_online_retail_keeps_every_line_quantity_and_pound(
    retail: tuple[Any, Path, Path], retail_frame: pl.DataFrame
) -> None:
    """Customer by customer, the log's lines are the file's, cancellations negative, in order, at their time."""
    events = events_of(retail[1])
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    assert len({event["event_id"] for event in events}) == len(events)
    found = Counter(
        (event["user_id"], event["order_id"], event["ts"], line["item_id"], line["quantity"], line["unit_price"])
        for event in events
        for line in event["lines"]
    )
    taken = retail_frame.filter(pl.col("name").is_in(["purchase", "cancellation"])).with_columns(
        user=pl.col("CustomerID").str.strip_suffix(".0")
    )
    columns = taken.select("user", "InvoiceNo", "ts", "StockCode", "quantity", "price")
    assert found == Counter(columns.iter_rows())
    in_file_order = defaultdict(list)
    for invoice, user, ts, item in taken.select("InvoiceNo", "user", "ts", "StockCode").iter_rows():
        in_file_order[invoice, user, ts].append(item)
    assert len(in_file_order) == len(events)
    for event in events:
        key = (event["order_id"], event["user_id"], event["ts"])
        assert [line["item_id"] for line in event["lines"]] == in_file_order[key]
        assert event["currency"] == "GBP" and "category" not in event["lines"][0]
        assert all((line["quantity"] < 0) == event["order_id"].startswith("C") for line in event["lines"])


def test_oddities_of_online_retail_have_classes_of_their_own(tmp_path: Path) -> None:
    """Repeats, unreadable columns, quantities of the wrong sign; quoted line ends; the original sheet's date form."""
    rows = [
        '1,A,"two\nlines",1,2011-01-05 10:00:00,2.5,7.0,UK',
        '1,A,"two\nlines",1,2011-01-05 10:00:00,2.5,7.0,UK',
        "1,B,text,2,1/5/2011 10:00,0.1,7,UK",
        "2,B,text,-2,2011-01-05 10:00:00,1,7,UK",
        "C2,B,text,2,2011-01-05 10:00:00,1,7,UK",
        "3,B,text,0,2011-01-05 10:00:00,1,7,UK",
        "3,B,text,many,2011-01-05 10:00:00,1,7,UK",
        "3,B,text,1,tomorrow,1,7,UK",
        "3,B,text,1,2011-01-05 10:00:00,nan,7,UK",
        "3,B,text,1,2011-01-05 10:00:00,1,7",
        "3,B,text,-1,2011-01-05 10:00:00,0,,UK",
        "3,B,text,-1,2011-01-05 10:00:00,0,7,UK",
        "C3,B,text,-1,2011-01-05 09:00:00,1,7,UK",
    ]
    source, out = tmp_path / "odd.csv", tmp_path / "odd.jsonl"
    source.write_text(RETAIL_HEADER + "\r\n".join(rows) + "\n\n")
    account = convert("online-retail", source, out, tmp_path / "skipped.jsonl")
    assert account.classes == {
        "duplicate": 1,
        "malformed": 4,
        "without_customer": 1,
        "non_positive_price": 1,
        "odd_quantity": 3,
        "cancellation": 1,
        "purchase": 2,
    }
    assert account.lines == len(rows)
    events = events_of(out)
    assert [(e["order_id"], e["user_id"], len(e["lines"])) for e in events] == [("C3", "7", 1), ("1", "7", 2)]
    skipped = [orjson.loads(line) for line in (tmp_path / "skipped.jsonl").read_bytes().splitlines()]
    assert [s["line"] for s in skipped] == [4, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert skipped[0]["raw"] == rows[1].rstrip("\r\n")


def test_an_order_beyond_the_bound_of_lines_is_told_in_parts(tmp_path: Path) -> None:
    """A purchase event has a bound of lines; a longer invoice becomes several, none of its lines lost."""
    source = tmp_path / "long.csv"
    rows = "".join(f"1,I{i},text,1,2011-01-05 10:00:00,1,7,UK\n" for i in range(2_500))
    source.write_text(RETAIL_HEADER + rows)
    convert("online-retail", source, tmp_path / "long.jsonl")
    events = [orjson.loads(line) for line in (tmp_path / "long.jsonl").read_bytes().splitlines()]
    assert [len(event["lines"]) for event in events] == [1000, 1000, 500]
    assert [line["item_id"] for event in events for line in event["lines"]] == [f"I{i}" for i in range(2_500)]


@pytest.mark.parametrize(
    ("name", "clicks", "sessions"),
    (
        ("rsc15_train.tsv.gz", 70_278, 17_794),
        ("rsc15_test.tsv.gz", 13_568, 3_416),
        ("serenade_train.tsv.gz", 113_601, 23_753),
        ("serenade_test.tsv.gz", 1_233, 302),
    ),
)
def test_session_clicks_come_in_order_of_time(
    data_file: Callable[[str], Path], tmp_path: Path, name: str, clicks: int, sessions: int
) -> None:
    """Every click, at its time to the millisecond, the session as the shopper; ids from different files differ."""
    out = tmp_path / "sessions.jsonl"
    account = convert("sessions", data_file(name), out)
    assert (account.lines, account.events, account.classes["view"], account.out_of_order) == (clicks, clicks, clicks, 0)
    events = events_of(out)
    frame = pl.read_csv(data_file(name), separator="\t", infer_schema=False)
    frame = frame.with_columns(ms=(pl.col("Time").cast(pl.Float64) * 1000).round().cast(pl.Int64))
    frame = frame.sort("ms", maintain_order=True)
    found = [(event["user_id"], event["item_id"], event["ts"]) for event in events]
    assert found == list(frame.select("SessionId", "ItemId", "ms").iter_rows())
    assert len({event["user_id"] for event in events}) == sessions
    assert len({event["event_id"] for event in events}) == clicks
    stem = name.split(".")[0]
    assert all(e["event_id"].startswith(stem + "-") and e["session_id"] == e["user_id"] for e in events)


def test_sessions_without_times_are_interleaved_on_a_made_up_clock(
    data_file: Callable[[str], Path], tmp_path: Path
) -> None:
    """Fifty sessions are under way at once; each keeps its items in order; one click a second in all."""
    source = data_file("diginetica_train.jsonl.gz")
    account = convert("sessions", source, tmp_path / "clicks.jsonl")
    assert (account.lines, account.events) == (186_670, 906_140)
    wanted = [[str(item) for item in orjson.loads(line)] for line in text(source).splitlines()]
    found: list[list[str]] = [[] for _ in wanted]
    under_way = begun = 0
    with open(tmp_path / "clicks.jsonl", "rb") as log:
        for number, line in enumerate(log):
            event = orjson.loads(line)
            assert event["ts"] == 1_577_836_800_000 + number * CLICK_MS
            session = int(event["user_id"].rsplit("-", 1)[1]) - 1
            if not found[session]:
                assert session == begun
                begun, under_way = begun + 1, under_way + 1
            found[session].append(event["item_id"])
            assert under_way <= SESSIONS_AT_ONCE
            under_way -= len(found[session]) == len(wanted[session])
    assert found == wanted


def test_cases_of_a_test_set_are_told_once(data_file: Callable[[str], Path], tmp_path: Path) -> None:
    """A test session stands there once for each of its items: the repeated prefixes are counted, not clicked again."""
    source = data_file("diginetica_test.jsonl.gz")
    account = convert("sessions", source, tmp_path / "clicks.jsonl", tmp_path / "skipped.jsonl")
    assert account.classes == {"malformed": 0, "repeated_prefix": 44_895, "session": 15_963}
    cases: list[tuple[str, ...]] = []
    for line in text(source).splitlines():
        prefix, following = orjson.loads(line)
        cases.append(tuple(map(str, [*prefix, following])))
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for event in events_of(tmp_path / "clicks.jsonl"):
        found[event["user_id"]] += (event["item_id"],)
    told = Counter(session[:n] for session in found.values() for n in range(2, len(session) + 1))
    assert told == Counter(cases)


def test_equal_times_keep_the_order_of_the_file_and_bad_rows_are_counted(tmp_path: Path) -> None:
    """A stable sort; rows that cannot be read have a class."""
    source, out = tmp_path / "few.tsv", tmp_path / "few.jsonl"
    rows = ["1\tb\t5.0", "2\ta\t4.9996", "3\tc\t5", "4\td\tnoon", "5\t\t5", "6\te", "", "7\tf\tinf", "8\tg\t0.25"]
    source.write_text("SessionId\tItemId\tTime\n" + "\n".join(rows))
    account = convert("sessions", source, out)
    assert account.classes == {"malformed": 4, "view": 4}
    assert [(e["item_id"], e["ts"]) for e in events_of(out)] == [("g", 250), ("b", 5000), ("a", 5000), ("c", 5000)]


def test_bad_lists_are_counted(tmp_path: Path) -> None:
    """Lines that are no sessions have a class; lines between them do not."""
    source, out = tmp_path / "few.jsonl", tmp_path / "few-clicks.jsonl"
    source.write_text('[1,2]\n[]\n\n{"a":1}\n[1.5]\n[true]\n["x",""]\n[[1],2,3]\nno\n[["x"],7]\n')
    account = convert("sessions", source, out)
    assert account.classes == {"malformed": 7, "repeated_prefix": 0, "session": 2}
    assert [(e["user_id"], e["item_id"]) for e in events_of(out)] == [
        ("few-1", "1"),
        ("few-10", "x"),
        ("few-1", "2"),
        ("few-10", "7"),
    ]


def test_taobao_lines_out_of_order_are_kept_and_counted(tmp_path: Path) -> None:
    """The file's order is the log's; the account says how far it is not that of time."""
    source = tmp_path / "t.csv"
    source.write_text(
        "user_id,item_id,category_id,behavior,ts\n1,2,3,pv,100\n1,2,3,pv,50\n1,2,3,pv,100\n1,2,3,look,1\n1,2,3,pv,-1\n1\n"
    )
    account = convert("taobao", source, tmp_path / "t.jsonl")
    assert (account.events, account.out_of_order) == (3, 1)
    assert {n: c for n, c in account.classes.items() if c} == {"malformed": 2, "unknown_behaviour": 1, "view": 3}
    assert "older than one before" in account.table()


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_wrong_header_says_what_was_found_and_what_expected(tmp_path: Path, name: str) -> None:
    """File, found, expected; and nothing is written."""
    source, out = tmp_path / "wrong.csv", tmp_path / "out.jsonl"
    source.write_text("when,who,what\n1,2,3\n")
    with pytest.raises(ConvertError) as failure:
        convert(name, source, out)
    for part in (
        str(source),
        '"when,who,what"',
        "expected",
        "formats are completejourney, online-retail, sessions, taobao",
    ):
        assert part in str(failure.value)
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.csv"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_empty_file_is_a_wrong_header(tmp_path: Path, name: str) -> None:
    """Not a log of no events."""
    source = tmp_path / "empty.csv"
    source.write_text("")
    with pytest.raises(ConvertError, match="expected"):
        convert(name, source, tmp_path / "out.jsonl")


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    """What there is stands in the error."""
    with pytest.raises(
        ConvertError, match='no format "ebay"; formats are completejourney, online-retail, sessions, taobao'
    ):
        convert("ebay", tmp_path / "x", tmp_path / "y")


def test_a_torn_source_is_an_error_and_leaves_the_old_log(data_file: Callable[[str], Path], tmp_path: Path) -> None:
    """Half a file is not taken for a whole one."""
    source, out = tmp_path / "taobao.csv.gz", tmp_path / "out.jsonl"
    packed = data_file("taobao_clicks.csv.gz").read_bytes()
    source.write_bytes(packed[: len(packed) // 2])
    out.write_bytes(b"old\n")
    with pytest.raises(ConvertError, match=r"taobao\.csv\.gz: ends at byte \d+ in the middle"):
        convert("taobao", source, out)
    assert out.read_bytes() == b"old\n"


def test_a_file_is_not_converted_onto_itself(tmp_path: Path) -> None:
    """Neither the log nor the skipped lines may overwrite the source, or each other."""
    source = tmp_path / "t.csv"
    source.write_text("user_id,item_id,category_id,behavior,ts\n")
    for out, skipped in ((source, None), (tmp_path / "o", source), (tmp_path / "o", tmp_path / "o")):
        with pytest.raises(ConvertError, match="must be different ones"):
            convert("taobao", source, out, skipped)
