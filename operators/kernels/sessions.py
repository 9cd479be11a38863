"""Sessions of one shopper: runs of acts no more than a gap apart, the newest few kept open for late acts."""

from __future__ import annotations

import numpy as np

from state.batches import RECENT_ITEMS
from state.compiled import kernel
from state.profile_table import OPEN_SESSIONS


@kernel
def _move(s, source, target):
    s.start[target] = s.start[source]
    s.end[target] = s.end[source]
    s.dwell_ms[target] = s.dwell_ms[source]
    s.events[target] = s.events[source]
    s.depth[target] = s.depth[source]
    s.dwells[target] = s.dwells[source]
    s.carts[target] = s.carts[source]
    s.orders[target] = s.orders[source]
    s.told[target] = s.told[source]


@kernel
def _begin(s, k, ts):
    s.start[k] = ts
    s.end[k] = ts
    s.dwell_ms[k] = 0
    s.events[k] = 0
    s.depth[k] = 0
    s.dwells[k] = 0
    s.carts[k] = 0
    s.orders[k] = 0
    s.told[k] = 0


@kernel
def join(s, ts, gap_ms):
    """The place of the open session (SESSION_ROW, newest first) that an act at `ts` belongs to, begun or made of two
    where need be; -1 where it belongs to none. The caller has closed what must be (see `will_close`)."""
    n = np.int64(s.open)
    for k in range(n):
        if s.start[k] - gap_ms <= ts <= s.end[k] + gap_ms:
            if k + 1 < n and ts <= s.end[k + 1] + gap_ms:  # the act lies between two sessions: they are one
                s.start[k] = s.start[k + 1]
                s.dwell_ms[k] += s.dwell_ms[k + 1]
                s.events[k] += s.events[k + 1]
                s.depth[k] += s.depth[k + 1]
                s.dwells[k] += s.dwells[k + 1]
                s.carts[k] += s.carts[k + 1]
                s.orders[k] += s.orders[k + 1]
                s.told[k] |= s.told[k + 1]
                for j in range(k + 1, n - 1):
                    _move(s, j + 1, j)
                _begin(s, n - 1, 0)
                s.open = n - 1
            s.start[k] = min(s.start[k], ts)
            s.end[k] = max(s.end[k], ts)
            return np.int64(k)
    place = 0
    while place < n and s.start[place] > ts:
        place += 1
    if place == OPEN_SESSIONS:
        return np.int64(-1)
    if n == OPEN_SESSIONS:
        s.closed += 1
        n -= 1
    for j in range(n, place, -1):
        _move(s, j - 1, j)
    _begin(s, place, ts)
    s.open = n + 1
    return np.int64(place)


@kernel
def will_close(s, ts, gap_ms):
    """Would an act at `ts` begin a session for which the oldest open one has to be closed?"""
    if s.open < OPEN_SESSIONS or ts < s.start[OPEN_SESSIONS - 1]:
        return False
    for k in range(OPEN_SESSIONS):
        if s.start[k] - gap_ms <= ts <= s.end[k] + gap_ms:
            return False
    return True


@kernel
def remember(s, item, ts):
    """Put an item among the last different ones liked, by its newest liking, then by hash."""
    n = np.int64(s.recent_n)
    at = np.int64(0)
    while at < n and s.recent[at] != item:
        at += 1
    if at < n:
        if s.recent_ts[at] >= ts:
            return
    elif n < RECENT_ITEMS:
        s.recent_n = n + 1
    else:
        at = n - 1
        if s.recent_ts[at] > ts or (s.recent_ts[at] == ts and s.recent[at] > item):
            return
    while at > 0 and (s.recent_ts[at - 1] < ts or (s.recent_ts[at - 1] == ts and s.recent[at - 1] < item)):
        s.recent[at] = s.recent[at - 1]
        s.recent_ts[at] = s.recent_ts[at - 1]
        at -= 1
    s.recent[at] = item
    s.recent_ts[at] = ts


@kernel
def recent_since(s, start):
    """How many of the last items were liked at `start` or later."""
    n = 0
    while n < s.recent_n and s.recent_ts[n] >= start:
        n += 1
    return n


def sessions_reference(times: list[int], gap_ms: int) -> list[list[int]]:
    """The sessions of acts at these times, in order, from the definition (for acts that come in bounds)."""
    sessions: list[list[int]] = []
    for ts in sorted(times):
        if sessions and ts - sessions[-1][-1] <= gap_ms:
            sessions[-1].append(ts)
        else:
            sessions.append([ts])
    return sessions


def recent_reference(likings: list[tuple[int, int]]) -> list[int]:
    """The last different items of a list of (time, item), newest first."""
    newest: dict[int, int] = {}
    for ts, item in likings:
        newest[item] = max(ts, newest.get(item, ts))
    return sorted(newest, key=lambda item: (newest[item], item), reverse=True)[:RECENT_ITEMS]
