"""What kernels borrow is the same arrays, and still their callers'."""

from __future__ import annotations

import sys
from collections import namedtuple

import numpy as np

from state.compiled import borrowed, kernel

Pair = namedtuple("Pair", ["one", "other"])


@kernel
def _add(pair, more, k):
    pair, more, k = borrowed((pair, more, k))
    for i in range(len(more)):
        pair.one[i] += k * pair.other[1][i] + more[i]
    return pair.one.sum()


def test_what_is_borrowed_is_written_through_and_stays_with_its_owner() -> None:
    """Arrays in tuples in tuples, beside a number; nobody's count of references changes."""
    one, other, more = np.zeros(3, np.int64), np.arange(3), np.full(3, 10)
    counts = [sys.getrefcount(array) for array in (one, other, more)]
    for _ in range(100):
        one[:] = 0
        assert _add(Pair(one, (more, other)), more, 2) == 36
    assert one.tolist() == [10, 12, 14]
    assert [sys.getrefcount(array) for array in (one, other, more)] == counts
