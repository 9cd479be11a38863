"""Click sessions without shoppers: the session is the shopper, each click a view.

Two shapes, told apart by the first line. A table `SessionId<TAB>ItemId<TAB>Time`, Time in epoch seconds (Serenade's
example set, the RecSys Challenge 2015 as it is used there): the clicks are sorted by time, equal times in the file's
order. JSON lines without times (Diginetica as SR-GNN prepares it): a session's items `[1,2]`, or, of a test set,
`[[1,2],3]`, the items so far and the next one.

Sessions without times get a made-up clock: SESSIONS_AT_ONCE of them are under way at once and click in turn, one click
a second in all, from CLOCK_START on; when one ends, the file's next takes its place. So a session clicks every 50
seconds while others do. Its id is made of the file's name and the line's number.
Sources: https://github.com/bolcom/serenade, https://github.com/CRIPAC-DIG/SR-GNN
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from operators.convert.output import LINES_MAX, ConvertError, Output, read_rows, source_name, text_lines, valid_id

HEADER = ("SessionId", "ItemId", "Time")
SESSIONS_AT_ONCE = 50
CLOCK_START = datetime(2020, 1, 1, tzinfo=UTC)
CLICK_MS = 1000
SESSION_ITEMS_MAX = 10_000
SECONDS_MAX = 1e11


def convert_sessions(source: Path, output: Output) -> None:
    """A line of the table is malformed or a view; of the lists, also a repeated_prefix.

    Test sets tell a session once for each of its items, longest first: `[[1,2,3],4]`, `[[1,2],3]`, `[[1],2]`. The first
    is the session; lines that repeat what is left of the line before without its last item are repeated_prefix.
    """
    with text_lines(source) as lines:
        is_lists = lines.readline().lstrip().startswith("[")
    if is_lists:
        _convert_lists(source, output)
    else:
        _convert_table(source, output)


def _view(ts: int, event_id: str, session: str, item: str) -> dict[str, Any]:
    return {"type": "view", "ts": ts, "event_id": event_id, "user_id": session, "item_id": item, "session_id": session}


def _convert_table(source: Path, output: Output) -> None:
    """In memory: a number and two references for each line, every id once."""
    output.declare("malformed", "view")
    times, numbers = array("q"), array("q")
    sessions: list[str] = []
    items: list[str] = []
    known: dict[str, str] = {}
    for number, raw, fields in read_rows(source, HEADER, delimiter="\t"):
        ts = _time_ms(fields[2]) if len(fields) == len(HEADER) else None
        if ts is None or not valid_id(fields[0]) or not valid_id(fields[1]):
            output.skip(number, raw, "malformed")
            continue
        output.classes["view"] += 1
        times.append(ts)
        numbers.append(number)
        sessions.append(known.setdefault(fields[0], fields[0]))
        items.append(known.setdefault(fields[1], fields[1]))
        if len(times) > LINES_MAX:
            raise ConvertError(f"{source}: has more than {LINES_MAX:,} lines; cut it into parts by time")
    name = source_name(source)
    for row in np.argsort(np.frombuffer(times, np.int64), kind="stable").tolist():
        output.event(_view(times[row], f"{name}-{numbers[row]}", sessions[row], items[row]))


def _time_ms(text: str) -> int | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return round(seconds * 1000) if math.isfinite(seconds) and 0 <= seconds <= SECONDS_MAX else None


def _convert_lists(source: Path, output: Output) -> None:
    """Streaming: only the sessions under way are held."""
    output.declare("malformed", "repeated_prefix", "session")
    name = source_name(source)
    ts = round(CLOCK_START.timestamp() * 1000)
    waiting = _read_lists(source, output)
    under_way: deque[tuple[int, list[str], int]] = deque()  # line, items, how many were clicked
    while True:
        while len(under_way) < SESSIONS_AT_ONCE and (following := next(waiting, None)) is not None:
            under_way.append((*following, 0))
        if not under_way:
            return
        number, items, clicked = under_way.popleft()
        output.event(_view(ts, f"{name}-{number}-{clicked}", f"{name}-{number}", items[clicked]))
        ts += CLICK_MS
        if clicked + 1 < len(items):
            under_way.append((number, items, clicked + 1))


def _read_lists(source: Path, output: Output) -> Iterator[tuple[int, list[str]]]:
    """Line number and items of each session."""
    told: list[str] = []  # the session of the line before
    with text_lines(source) as lines:
        for number, raw in enumerate(lines, 1):
            if not raw.strip():
                continue
            items, is_case = _parse_list(raw)
            if items is None:
                output.skip(number, raw, "malformed")
                continue
            repeats = is_case and items == told[:-1]
            told = items
            if repeats:
                output.skip(number, raw, "repeated_prefix")
                continue
            output.classes["session"] += 1
            yield number, items


def _parse_list(raw: str) -> tuple[list[str] | None, bool]:
    """A session's items (None where they cannot be read), and whether the line is a case of a test set."""
    try:
        line = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None, False
    is_case = isinstance(line, list) and len(line) == 2 and isinstance(line[0], list)
    found = [*line[0], line[1]] if is_case else line
    if not isinstance(found, list) or not 1 <= len(found) <= SESSION_ITEMS_MAX:
        return None, is_case
    if not all(isinstance(item, (int, str)) and not isinstance(item, bool) for item in found):
        return None, is_case
    items = [str(item) for item in found]
    return (items if all(map(valid_id, items)) else None), is_case
