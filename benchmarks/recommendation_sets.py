"""Real logs as streams of (shopper, item, time), and the published cases that lists are held against.

Shoppers and items are numbered from 0 in order of appearance; times are milliseconds, ascending. Where a log has no
times, sessions are interleaved (`interleaved`) and events are a second apart.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

LOGS = Path(__file__).parents[1].parent / "shared" / "data"
INTERLEAVED = 50
"""How many sessions are open at a time where a log has no times."""
SESSION_STEP_MS = 60_000
"""What lies between a session's events in a busier shop."""

Event = tuple[Any, Any, float]
"""Shopper (or session), item, epoch seconds."""


@dataclass(frozen=True, slots=True)
class Stream:
    """n events in time order: `shopper`, `item`, `ts` int64[n]; so many different `shoppers` and `items`."""

    shopper: np.ndarray
    item: np.ndarray
    ts: np.ndarray
    shoppers: int
    items: int

    def __len__(self) -> int:
        return len(self.item)

    def first(self, events: int) -> Stream:
        """The same stream, of its first so many events only."""
        return replace(self, shopper=self.shopper[:events], item=self.item[:events], ts=self.ts[:events])


@dataclass(frozen=True, slots=True)
class Cases:
    """What was looked at, oldest first, and the item that came next; items are numbers of the stream trained on, or
    above them."""

    prefixes: list[list[int]]
    following: list[int]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A permanent name; `meaning` says how the log became a stream, of `sessions` or of people. `load` gives it and, of
    a published one, its cases; in their lists the current item stays (`current_out` False) or not. `published` are
    figures from the literature (HR@20, MRR@20)."""

    name: str
    meaning: str
    files: tuple[str, ...]
    load: Callable[[Path], tuple[Stream, Cases | None]]
    sessions: bool = True
    current_out: bool = True
    published: tuple[tuple[str, float, float], ...] = ()


def numbered(events: Iterable[Event]) -> Stream:
    """A stream of events that are in order."""
    shoppers: dict[Any, int] = {}
    items: dict[Any, int] = {}
    rows = [
        (shoppers.setdefault(shopper, len(shoppers)), items.setdefault(item, len(items)), int(ts * 1000))
        for shopper, item, ts in events
    ]
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return Stream(*(np.ascontiguousarray(c) for c in columns.T), len(shoppers), len(items))


def interleaved(sessions: list[list[Any]], open_sessions: int, seed: int) -> list[Event]:
    """Events of sessions that go on side by side, a second apart: the next event is of any of the open ones, and the
    next session begins where one has ended. With one open session they follow one another."""
    rng = random.Random(seed)
    events: list[Event] = []
    waiting = iter(enumerate(sessions))
    active: list[tuple[int, list[Any], int]] = [(k, items, 0) for k, items in _take(waiting, open_sessions)]
    while active:
        chosen = rng.randrange(len(active)) if len(active) > 1 else 0
        number, items, at = active[chosen]
        events.append((number, items[at], float(len(events))))
        if at + 1 < len(items):
            active[chosen] = (number, items, at + 1)
        else:
            del active[chosen]
            active += [(k, items, 0) for k, items in _take(waiting, 1)]
    return events


def busier(stream: Stream, open_sessions: int, seed: int) -> Stream:
    """The sessions of a stream in the order they begin, so many of them open at a time (`interleaved`), each of which
    acts about once in SESSION_STEP_MS: no session is long enough to be taken for two."""
    order = np.argsort(stream.shopper, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(stream.shopper[order]) > 0])
    ends = np.r_[starts[1:], len(order)]
    by_begin = np.argsort(order[starts], kind="stable")
    sessions = [stream.item[order[starts[k] : ends[k]]].tolist() for k in by_begin.tolist()]
    shoppers = stream.shopper[order[starts[by_begin]]]
    events = interleaved(sessions, open_sessions, seed)
    session, item, ts = (np.array(column) for column in zip(*events, strict=True))
    return replace(
        stream, shopper=shoppers[session], item=item, ts=(ts * SESSION_STEP_MS / open_sessions).astype(np.int64)
    )


def _take(waiting: Any, count: int) -> list[tuple[int, list[Any]]]:
    return [entry for _, entry in zip(range(count), waiting, strict=False)]


def _clicks(path: Path) -> list[Event]:
    """Rows of SessionId, ItemId, Time, as they stand; a session belongs to its file."""
    with gzip.open(path, "rt") as file:
        return [(f"{path.name} {row['SessionId']}", row["ItemId"], float(row["Time"])) for row in _rows(file, "\t")]


def _rows(file: Any, delimiter: str) -> Any:
    return csv.DictReader(file, delimiter=delimiter)


def _by_time(*files: str) -> Callable[[Path], tuple[Stream, None]]:
    def load(folder: Path) -> tuple[Stream, None]:
        events = [event for name in files for event in _clicks(folder / name)]
        return numbered(sorted(events, key=lambda event: event[2])), None

    return load


def _taobao(column: str) -> Callable[[Path], tuple[Stream, None]]:
    def load(folder: Path) -> tuple[Stream, None]:
        with gzip.open(folder / "taobao_clicks.csv.gz", "rt") as file:
            events = [(row["user_id"], row[column], float(row["ts"])) for row in _rows(file, ",")]
        return numbered(events), None

    return load


def _diginetica_sessions(folder: Path) -> list[list[int]]:
    with gzip.open(folder / "diginetica_train.jsonl.gz", "rb") as file:
        return [orjson.loads(line) for line in file]


def _diginetica_stream(folder: Path) -> tuple[Stream, None]:
    return numbered(interleaved(_diginetica_sessions(folder), INTERLEAVED, seed=0)[:250_000]), None


def _diginetica_cases(folder: Path) -> tuple[Stream, Cases]:
    sessions = _diginetica_sessions(folder)
    events = interleaved(sessions, 1, seed=0)
    with gzip.open(folder / "diginetica_test.jsonl.gz", "rb") as file:
        tests = [orjson.loads(line) for line in file]
    return numbered(events), _cases([event[1] for event in events], [(prefix, item) for prefix, item in tests])


def _serenade_cases(folder: Path) -> tuple[Stream, Cases]:
    events = sorted(_clicks(folder / "serenade_train.tsv.gz"), key=lambda event: event[2])
    sessions: dict[Any, list[Any]] = {}
    for session, item, _ in sorted(_clicks(folder / "serenade_test.tsv.gz"), key=lambda event: event[2]):
        sessions.setdefault(session, []).append(item)
    tests = [(items[:end], items[end]) for items in sessions.values() for end in range(1, len(items))]
    return numbered(events), _cases([event[1] for event in events], tests)


def _cases(trained: list[Any], tests: list[tuple[list[Any], Any]]) -> Cases:
    """Tests in the numbers of the items trained on; others get numbers above them."""
    numbers: dict[Any, int] = {}
    for item in trained:
        numbers.setdefault(item, len(numbers))
    prefixes = [[numbers.setdefault(item, len(numbers)) for item in prefix] for prefix, _ in tests]
    return Cases(prefixes, [numbers.setdefault(item, len(numbers)) for _, item in tests])


SCENARIOS = {
    s.name: s
    for s in (
        Scenario(
            "recommend_rsc15",
            "clicks of sessions, by time",
            ("rsc15_train.tsv.gz", "rsc15_test.tsv.gz"),
            _by_time("rsc15_train.tsv.gz", "rsc15_test.tsv.gz"),
        ),
        Scenario(
            "recommend_serenade",
            "clicks of sessions, by time",
            ("serenade_train.tsv.gz", "serenade_valid.tsv.gz", "serenade_test.tsv.gz"),
            _by_time("serenade_train.tsv.gz", "serenade_valid.tsv.gz", "serenade_test.tsv.gz"),
        ),
        Scenario(
            "recommend_diginetica",
            f"the first 250,000 clicks of sessions, {INTERLEAVED} of them interleaved",
            ("diginetica_train.jsonl.gz",),
            _diginetica_stream,
        ),
        Scenario(
            "recommend_taobao_items",
            "acts of people, two hours, by time; items",
            ("taobao_clicks.csv.gz",),
            _taobao("item_id"),
            sessions=False,
        ),
        Scenario(
            "recommend_taobao_categories",
            "the same; the category is the item",
            ("taobao_clicks.csv.gz",),
            _taobao("category_id"),
            sessions=False,
        ),
        Scenario(
            "published_diginetica",
            "trained on 186,670 sessions, one after the other; 60,858 cases of the last seven days; the current item"
            " stays in the list, as in session-rec",
            ("diginetica_train.jsonl.gz", "diginetica_test.jsonl.gz"),
            _diginetica_cases,
            current_out=False,
            published=(
                ("V-SKNN, session-rec's tables", 0.5203, 0.1841),
                ("GRU4Rec", 0.5097, 0.1750),
                ("NARM", 0.4979, 0.1585),
                ("SKNN", 0.4846, 0.1736),
                ("STAMP", 0.4690, 0.1499),
            ),
        ),
        Scenario(
            "published_serenade",
            "trained on the training clicks by time; 931 cases: every click of a test session but its first, also one"
            " on the current item, which is never in the list, as in Serenade's own evaluator",
            ("serenade_train.tsv.gz", "serenade_test.tsv.gz"),
            _serenade_cases,
            published=(("VMIS-kNN, Serenade's README", 0.6402, 0.3277),),
        ),
    )
}
