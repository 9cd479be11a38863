"""When the records of a raw batch are said to have happened, before anybody has parsed them."""

from __future__ import annotations

import numpy as np

from operators.kernels.json_values import instant_ms
from state.compiled import kernel

NO_TIME = np.int64(-1)
_BEGINNING, _END = np.int64(-(2**62)), np.int64(2**62)
_DIGITS_MAX = 15


@kernel
def _is_blank(c):
    return c == 32 or c == 9 or c == 10 or c == 13


@kernel
def _event_time(b, start, end):
    """Epoch ms of the first "ts" in b[start:end], an integer or an RFC 3339 instant; NO_TIME where there is none."""
    p = start
    while p + 5 < end:
        if b[p] != 34 or b[p + 1] != 116 or b[p + 2] != 115 or b[p + 3] != 34:  # "ts"
            p += 1
            continue
        p += 4
        while p < end and _is_blank(b[p]):
            p += 1
        if p >= end or b[p] != 58:
            continue
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
    return NO_TIME


@kernel
def _median_of_five(times, i, n):
    """The median of times[i] and its two neighbours on either side; before the first of n is the beginning of time,
    behind the last its end."""
    around = np.empty(5, np.int64)
    for k in range(5):
        j = i + k - 2
        value = _BEGINNING if j < 0 else (_END if j >= n else times[j])
        at = k
        while at > 0 and around[at - 1] > value:
            around[at] = around[at - 1]
            at -= 1
        around[at] = value
    return around[2]


@kernel
def steady_times(buffer, starts, ends, newest_ms):
    """When the records buffer[starts[i]:ends[i]] happened, epoch ms, never falling; NO_TIME before the first known.

    A record alone out of order (late, or from the future) must not move the others: its time is the median of its own
    and its two neighbours' on either side, which in an ordered log is its own. Records without a time, or with one
    past `newest_ms`, go with the ones before them. Returns int64[n].
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
    out = np.full(n, NO_TIME, np.int64)
    least = _END
    for k in range(known - 1, -1, -1):
        least = min(least, _median_of_five(times, k, known))
        out[places[k]] = least
    for i in range(1, n):
        out[i] = max(out[i], out[i - 1])
    return out
