"""Logs out of order, but within the bounds that profiles promise to take."""

from __future__ import annotations

import random

from profile_oracle_events import parse, read_ts


def shuffled_within(lines: list[bytes], lateness_ms: int, seed: int) -> list[bytes]:
    """A log in another order: none of its events comes after one that is newer by more than `lateness_ms`.

    The next event is drawn evenly from all that may come next: those not newer by more than that than the oldest left.
    Where the order of arrival has a say (consent, erasure, facts of items, one event told twice), so does the shuffle.
    """
    chosen_by = random.Random(seed)
    ordered = sorted(lines, key=_ts)
    times = [_ts(line) for line in ordered]
    out: list[bytes] = []
    open_: list[int] = []
    is_out = [False] * len(ordered)
    oldest = newest = 0
    while oldest < len(ordered):
        while newest < len(ordered) and times[newest] <= times[oldest] + lateness_ms:
            open_.append(newest)
            newest += 1
        at = chosen_by.randrange(len(open_))
        open_[at], open_[-1] = open_[-1], open_[at]
        drawn = open_.pop()
        out.append(ordered[drawn])
        is_out[drawn] = True
        while oldest < len(ordered) and is_out[oldest]:
            oldest += 1
    return out


def in_bounds(lines: list[bytes], lateness_ms: int) -> list[bytes]:
    """A log without the events that come after one that is newer by more than `lateness_ms`."""
    newest, out = 0, []
    for line in lines:
        if _ts(line) >= newest - lateness_ms:
            newest = max(newest, _ts(line))
            out.append(line)
    return out


def lateness_of(lines: list[bytes]) -> int:
    """By how much the latest of a log's events lags the newest before it, in milliseconds."""
    newest, latest = 0, 0
    for line in lines:
        newest = max(newest, _ts(line))
        latest = max(latest, newest - _ts(line))
    return latest


def _ts(line: bytes) -> int:
    return read_ts(parse(line))
