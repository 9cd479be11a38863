"""When the records of a raw batch are said to have happened, before anybody has parsed them."""

from __future__ import annotations

import numpy as np

from operators.kernels.json_values import instant_ms
from state.compiled import kernel

NO_TIME = np.int64(-1)
_BEGINNING, _END = np.int64(-(2**62)), np.int64(2**62)
_DIGITS_MAX = 15
AROUND = 16
"""So many neighbours on either side have a say in a record's time: fewer out of order side by side change nothing."""


@kernel
def _is_blank(c):
    return c == 32 or c == 9 or c == 10 or c == 13


@kernel
def _value_time(b, p, end):
    """Epoch ms of what stands at b[p:end] behind the name "ts": an integer or an RFC 3339 instant; NO_TIME for more."""
    while p < end and _is_blank(b[p]):
        p += 1
    if p >= end or b[p] != 58:
        return NO_TIME
    p += 1
    while p < end and _is_blank(b[p]):
        p += 1
    if p < end and b[p] == 34:
        q = p + 1
        while q < end and b[q] != 34:
            q += 1
        return instant_ms(b, p + 1, q)
    ms = np.int64(0)
    digits = 0
    while p < end and 48 <= b[p] <= 57 and digits < _DIGITS_MAX:
        ms = ms * 10 + np.int64(b[p] - 48)
        digits += 1
        p += 1
    return ms if digits > 0 else NO_TIME


@kernel
def _event_time(b, start, end):
    """Epoch ms of the "ts" of the object b[start:end], not of one inside it; NO_TIME where there is none."""
    depth = 0
    p = start
    while p < end:
        c = b[p]
        if c == 34:
            if depth == 1 and p + 4 < end and b[p + 1] == 116 and b[p + 2] == 115 and b[p + 3] == 34:  # "ts"
                ms = _value_time(b, p + 4, end)
                if ms != NO_TIME:
                    return ms
            p += 1
            while p < end and b[p] != 34:
                p += 2 if b[p] == 92 else 1
        elif c == 123 or c == 91:
            depth += 1
        elif c == 125 or c == 93:
            depth -= 1
        p += 1
    return NO_TIME


@kernel
def _medians(times, n, out):
    """out[i], the median of times[i] and its AROUND neighbours on either side, for i below n; before the first is the
    beginning of time, behind the last its end. Of times in order it is times[i]."""
    width = 2 * AROUND + 1
    around = np.full(width, _BEGINNING, np.int64)  # sorted: those around i
    for k in range(AROUND + 1):
        around[width - AROUND - 1 + k] = times[k] if k < n else _END
    around = np.sort(around)
    for i in range(n):
        out[i] = around[AROUND]
        leaving = times[i - AROUND] if i >= AROUND else _BEGINNING
        coming = times[i + AROUND + 1] if i + AROUND + 1 < n else _END
        at = 0
        while around[at] != leaving:
            at += 1
        while at + 1 < width and around[at + 1] < coming:
            around[at] = around[at + 1]
            at += 1
        while at > 0 and around[at - 1] > coming:
            around[at] = around[at - 1]
            at -= 1
        around[at] = coming


@kernel
def steady_times(buffer, starts, ends, newest_ms):
    """When the records buffer[starts[i]:ends[i]] happened, epoch ms, never falling; NO_TIME before the first known.

    A few records out of order (late, or from the future) must not move the others: a record's time is the median of its
    own and its AROUND neighbours' on either side, which in an ordered log is its own; one that is late goes with those
    before it. So do records without a time, or with one past `newest_ms`. Returns int64[n].
    """
    n = len(starts)
    times = np.empty(n, np.int64)
    places = np.empty(n, np.int64)
    known = 0
    for i in range(n):
        ms = _event_time(buffer, starts[i], ends[i])
        if 0 <= ms <= newest_ms:
            times[known] = ms
            places[known] = i
            known += 1
    medians = np.empty(known, np.int64)
    _medians(times, known, medians)
    out = np.full(n, NO_TIME, np.int64)
    for k in range(known):
        out[places[k]] = medians[k]
    for i in range(1, n):
        out[i] = max(out[i], out[i - 1])
    return out
