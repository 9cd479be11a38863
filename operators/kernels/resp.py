"""Redis's protocol as bytes in a buffer: numbers, length lines and bulk strings. Each gives the new position.

Places are counted without signs where bytes are copied: a place below 0 would count from the end, and a loop that looks
at each whether it is one copies byte by byte, twenty times as slowly.
"""

from __future__ import annotations

import numpy as np

from state.compiled import kernel

CR, LF, DOLLAR, STAR, ZERO, DOT, MINUS = 13, 10, 36, 42, 48, 46, 45


@kernel
def put(out, at, data, start, end):
    """Copy data[start:end]."""
    to, begin = np.uint64(at), np.uint64(start)
    for k in range(np.uint64(end - start)):
        out[to + k] = data[begin + k]
    return at + (end - start)


@kernel
def _put_digits(out, at, left, digits):
    """Write the last so many digits of a number without a sign."""
    end = np.uint64(at + digits)
    for _ in range(digits):
        end -= np.uint64(1)
        out[end] = np.uint64(ZERO) + left % np.uint64(10)
        left //= np.uint64(10)
    return at + digits


@kernel
def put_int(out, at, value):
    """Write an integer in decimal."""
    if value < 0:
        out[at] = MINUS
        at += 1
        value = -value
    left = np.uint64(value)
    if left < np.uint64(10):
        out[at] = np.uint64(ZERO) + left
        return at + 1
    digits, power = 1, np.uint64(10)
    while digits < 19 and left >= power:
        digits += 1
        power *= np.uint64(10)
    return _put_digits(out, at, left, digits)


@kernel
def put_fixed(out, at, value):
    """Write a number with four decimals."""
    scaled = np.int64(np.round(value * 10000.0))
    if scaled < 0:
        out[at] = MINUS
        at += 1
        scaled = -scaled
    at = put_int(out, at, scaled // 10000)
    out[at] = DOT
    return _put_digits(out, at + 1, np.uint64(scaled), 4)


@kernel
def put_line(out, at, mark, value):
    """Write a length line such as $12 or *3."""
    out[at] = mark
    at = put_int(out, at + 1, value)
    out[at] = CR
    out[at + 1] = LF
    return at + 2


@kernel
def put_bulk(out, at, data, start, end):
    """Write data[start:end] as a bulk string."""
    at = put(out, put_line(out, at, DOLLAR, end - start), data, start, end)
    out[at] = CR
    out[at + 1] = LF
    return at + 2
