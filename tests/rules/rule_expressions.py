"""Random conditions and shoppers, in SQL that both the rule language and SQLite read; SQLite as the oracle."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

NUMBERS = ("purchases_7d", "views_7d", "spend_30d", "recency_days", "attribute_age", "device_phone_share")
TEXTS = ("favourite_category", "favourite_brand", "attribute_tier")
COLUMNS = (*NUMBERS, *TEXTS, "attribute_vip", "attribute_note")

_figures = st.sampled_from(["0.0", "1.0", "2.5", "-1.0", "3.0", "1e3", ".5"])  # a point in each: no integer division
_words = st.sampled_from(["'shoes'", "'it''s'", "''", "'a'"])


def _arithmetic(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        st.builds(lambda xy, sign: f"{xy[0]} {sign} {xy[1]}", pairs, st.sampled_from("+-*")),
        pairs.map(lambda xy: f"{xy[0]} / NULLIF({xy[1]}, 0.0)"),
        inner.map(lambda x: f"{x} / 2.5"),
        inner.map(lambda x: f"- {x}"),
        inner.map(lambda x: f"({x})"),
        inner.map(lambda x: f"NULLIF({x}, 2.5)"),
    )


_CALCULATED = tuple(name for name in NUMBERS if name != "recency_days")  # what grows by itself is not calculated with

numbers = st.recursive(st.one_of(st.sampled_from(_CALCULATED), _figures), _arithmetic, max_leaves=4)
"""Arithmetic over numbers, mostly without parentheses, so that precedence is put to the test."""

_asking = numbers.filter(lambda text: any(name in text for name in _CALCULATED))  # 3 to 1 is refused

_no = st.sampled_from(["", "NOT "])
_signs = st.sampled_from(["=", "==", "!=", "<>", "<", "<=", ">", ">="])
clauses = st.one_of(
    st.builds("{} {} {}".format, numbers, _signs, numbers).filter(lambda text: text.count("attribute_age") < 2),
    st.builds("{} {} {}".format, st.sampled_from(NUMBERS), _signs, _figures),
    st.builds("{} {}BETWEEN {} AND {}".format, numbers, _no, _asking, numbers),
    st.builds("{} {}BETWEEN -1.0 AND {}".format, numbers, _no, st.sampled_from(["-1.0", "0.0", "2.5", "1e3"])),
    st.builds(
        lambda x, no, values: f"{x} {no}IN ({', '.join(values)})",
        numbers,
        _no,
        st.lists(_figures, min_size=1, max_size=3),
    ),
    st.builds("{} IS {}NULL".format, numbers, _no),
    st.builds("{} {} {}".format, st.sampled_from(TEXTS), st.sampled_from(["=", "<>", "!="]), _words),
    st.builds(
        lambda x, no, values: f"{x} {no}IN ({', '.join(values)})",
        st.sampled_from(TEXTS),
        _no,
        st.lists(_words, min_size=1, max_size=3),
    ),
    st.builds("{} IS {}NULL".format, st.sampled_from((*TEXTS, "attribute_note")), _no),
    st.sampled_from(["attribute_vip = TRUE", "FALSE <> attribute_vip", "TRUE"]),
)


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{} {} {}".format, inner, st.sampled_from(["AND", "OR"]), inner),
        inner.map(lambda p: f"NOT {p}"),
        inner.map(lambda p: f"({p})"),
    )


conditions = st.recursive(clauses, _joined, max_leaves=6)
"""Conditions of any form, mostly without parentheses."""

_values = st.sampled_from([None, float("nan"), 0, 1, -1, 2.5, 3, 1e308, -0.75, 0.5, 1000])
_texts = st.sampled_from([None, "shoes", "it's", "", "other"])
shoppers = st.fixed_dictionaries(
    {
        **dict.fromkeys(NUMBERS, _values),
        **dict.fromkeys(TEXTS, _texts),
        "attribute_vip": st.sampled_from([None, True, False]),
        "attribute_note": st.sampled_from([None, "text", 7.0, True]),
    }
)
"""Features of a shopper: numbers that are NULL, nan, 0, negative, huge; texts that are there or not."""


def sqlite_rows(expressions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """What SQLite makes of the expressions for each shopper: 1, 0 or None for conditions, a number for numbers."""
    kinds = {**dict.fromkeys(NUMBERS, "REAL"), **dict.fromkeys(TEXTS, "TEXT"), "attribute_vip": "REAL"}
    columns = ", ".join(f"{name} {kinds.get(name, '')}" for name in COLUMNS)
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE TABLE shoppers ({columns})")
        for row in rows:
            known = {**row, "device_phone_share": 0.0} if row["device_phone_share"] is None else row  # a share not kept
            marks = ", ".join("?" * len(COLUMNS))
            connection.execute(f"INSERT INTO shoppers VALUES ({marks})", [known[name] for name in COLUMNS])
        return connection.execute(f"SELECT {', '.join(expressions)} FROM shoppers ORDER BY rowid").fetchall()
    finally:
        connection.close()
