"""Arithmetic that rounds once, as Python's own does, so that compiled figures are those of the plain reference."""

from __future__ import annotations

import numpy as np

from state.compiled import kernel

_EXACT_MAX = 1 << 53
_QUOTIENT_MIN = np.uint64(1 << 54)


@kernel
def divide(a, b):
    """a / b of int64, b above 0, correctly rounded: what Python gives for two ints, however large. (Both made floats
    first, each above 2^53 would be rounded a time more.)"""
    if -_EXACT_MAX <= a <= _EXACT_MAX and b <= _EXACT_MAX:
        return a / b
    # Binary long division to at least 55 bits; what is left is told by the last one, so the conversion rounds rightly.
    rest, by = np.uint64(abs(a)), np.uint64(b)
    quotient = rest // by
    rest -= quotient * by
    scale = 1.0
    while quotient < _QUOTIENT_MIN:
        rest <<= np.uint64(1)
        quotient <<= np.uint64(1)
        if rest >= by:
            rest -= by
            quotient |= np.uint64(1)
        scale *= 0.5
    if rest != np.uint64(0):
        quotient |= np.uint64(1)
    found = np.float64(quotient) * scale
    return found if a >= 0 else -found


@kernel
def exact_sum(terms, n, partials):
    """The sum of terms[:n] (finite float64), correctly rounded, so that it does not depend on their order: what
    `math.fsum` gives (Shewchuk, 1997). `partials` float64[n] is written to."""
    used = 0
    for i in range(n):
        x = terms[i]
        kept = 0
        for j in range(used):
            y = partials[j]
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            low = y - (high - x)
            if low != 0.0:
                partials[kept] = low
                kept += 1
            x = high
        if x != 0.0:
            partials[kept] = x
            kept += 1
        used = kept
    if used == 0:
        return 0.0
    used -= 1
    total = partials[used]
    low = 0.0
    while used > 0 and low == 0.0:
        used -= 1
        x, y = total, partials[used]
        total = x + y
        low = y - (total - x)
    # Halfway between two floats the partials below decide, which the addition could not see.
    if used > 0 and ((low < 0.0 and partials[used - 1] < 0.0) or (low > 0.0 and partials[used - 1] > 0.0)):
        further = total + 2.0 * low
        if further - total == 2.0 * low:
            total = further
    return total
