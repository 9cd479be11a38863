"""What the values of an event's fields are worth: ids as hashes, decimals as exact integers, instants as epoch ms.

Compiled beside `state.events`, which is right where they could differ: these take only what both read alike. A decimal
of up to fifteen digits is exact as an integer below 2**53 over a power of ten, so prices are rounded as integers and
quantities by one correctly rounded division.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.json_fields import ABSENT, AT, DECIMAL, END, INTEGER, NULL, STRING
from state.compiled import kernel
from state.events import ID_BYTES_MAX, PRICE_MAX
from state.hashing import hash_span

_DIGITS_MAX = 15
_POWERS = np.array([10**k for k in range(_DIGITS_MAX + 1)], np.int64)
_DAYS_BEFORE_MONTH = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365], np.int64)


@kernel
def is_id(b, kind, p, q):
    """Is the value of this kind at b[p:q] an id: a string or an integer of 1 to 128 bytes? (-0 would be the id "0".)"""
    if kind == STRING:
        return 0 < q - p <= ID_BYTES_MAX
    return kind == INTEGER and q - p <= ID_BYTES_MAX and not (b[p] == 45 and b[p + 1] == 48)


@kernel
def optional_id(b, found, field):
    """(is it as it should be, its hash or 0, where it starts, its length)."""
    kind = found[field]
    if kind == ABSENT or kind == NULL:
        return True, np.uint64(0), np.int64(0), np.int64(0)
    p, q = found[AT + field], found[END + field]
    if not is_id(b, kind, p, q):
        return False, np.uint64(0), np.int64(0), np.int64(0)
    return True, hash_span(b, p, q), p, q - p


@kernel
def is_optional_text(found, field):
    """Is the field absent, null or a string?"""
    kind = found[field]
    return kind == ABSENT or kind == NULL or kind == STRING


@kernel
def decimal(b, p, q):
    """(digits of the number b[p:q] as an integer or -1, how many stand after the point, is it negative)."""
    negative = b[p] == 45
    if negative:
        p += 1
    if q - p > _DIGITS_MAX + 1:
        return np.int64(-1), 0, negative
    digits = np.int64(0)
    n = 0
    places = 0
    for i in range(p, q):
        if b[i] == 46:
            places = q - i - 1
        else:
            digits = digits * 10 + np.int64(b[i] - 48)
            n += 1
    if n > _DIGITS_MAX or (negative and digits == 0):
        return np.int64(-1), 0, negative
    return digits, places, negative


@kernel
def _without(digits, places):
    """A decimal's digits without the last `places`, rounded half to even."""
    scale = _POWERS[places]
    kept = digits // scale
    rest = 2 * (digits - kept * scale)
    return kept + 1 if rest > scale or (rest == scale and kept % 2 == 1) else kept


@kernel
def money(b, found, field):
    """Ten-thousandths of a price, half to even; -1 where it is absent or null, -2 where the authority is to look."""
    kind = found[field]
    if kind == ABSENT or kind == NULL:
        return np.int64(-1)
    if kind != INTEGER and kind != DECIMAL:
        return np.int64(-2)
    digits, places, negative = decimal(b, found[AT + field], found[END + field])
    if digits < 0 or negative:
        return np.int64(-2)
    if places <= 6 and digits > PRICE_MAX * _POWERS[places]:
        return np.int64(-2)
    if places <= 4:
        return digits * _POWERS[4 - places]
    return _without(digits, places - 4)


@kernel
def whole(b, found, field):
    """A number of 0 or more, half to even; -1 where it is absent or null, -2 where the authority is to look.

    Fifteen digits are below NUMBER_MAX.
    """
    kind = found[field]
    if kind == ABSENT or kind == NULL:
        return np.int64(-1)
    if kind != INTEGER and kind != DECIMAL:
        return np.int64(-2)
    digits, places, negative = decimal(b, found[AT + field], found[END + field])
    if digits < 0 or negative:
        return np.int64(-2)
    return _without(digits, places) if places > 0 else digits


@kernel
def number(b, found, field, absent):
    """(is it a number within fifteen digits, its value). Absent and null give `absent`."""
    kind = found[field]
    if kind == ABSENT or kind == NULL:
        return True, absent
    if kind != INTEGER and kind != DECIMAL:
        return False, absent
    digits, places, negative = decimal(b, found[AT + field], found[END + field])
    if digits < 0:
        return False, absent
    real = np.float64(digits) / np.float64(_POWERS[places])
    return True, -real if negative else real


@kernel
def _two(b, p):
    """Two digits as a number, or a very negative one."""
    if 48 <= b[p] <= 57 and 48 <= b[p + 1] <= 57:
        return np.int64(b[p] - 48) * 10 + np.int64(b[p + 1] - 48)
    return np.int64(-1_000_000)


@kernel
def instant_ms(b, p, q):
    """Epoch ms of an RFC 3339 instant since 1970, to six digits of a second; -1 where the authority is to look."""
    if q - p < 20 or b[p + 4] != 45 or b[p + 7] != 45 or b[p + 10] != 84 or b[p + 13] != 58 or b[p + 16] != 58:
        return np.int64(-1)
    year = _two(b, p) * 100 + _two(b, p + 2)
    month, day = _two(b, p + 5), _two(b, p + 8)
    hour, minute, second = _two(b, p + 11), _two(b, p + 14), _two(b, p + 17)
    if year < 1970 or not 1 <= month <= 12 or not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59:
        return np.int64(-1)
    leap = np.int64(year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    length = _DAYS_BEFORE_MONTH[month] - _DAYS_BEFORE_MONTH[month - 1] + (leap if month == 2 else 0)
    if not 1 <= day <= length:
        return np.int64(-1)
    past = year - 1
    days = 365 * (year - 1970) + past // 4 - past // 100 + past // 400 - 477  # 477 leap days before 1970
    days += _DAYS_BEFORE_MONTH[month - 1] + (leap if month > 2 else 0) + day - 1
    ms = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000
    p += 19
    if b[p] == 46:
        p += 1
        first = p
        scale = 100
        while p < q and 48 <= b[p] <= 57:
            ms += np.int64(b[p] - 48) * scale
            scale //= 10
            p += 1
        if p == first or p - first > 6:
            return np.int64(-1)
    if p + 1 == q and b[p] == 90:
        return ms
    if p + 6 != q or b[p + 3] != 58 or (b[p] != 43 and b[p] != 45):
        return np.int64(-1)
    hour, minute = _two(b, p + 1), _two(b, p + 4)
    if not 0 <= hour <= 23 or not 0 <= minute <= 59:
        return np.int64(-1)
    offset_ms = (hour * 60 + minute) * 60_000
    return ms - offset_ms if b[p] == 43 else ms + offset_ms
