"""Slabs and records made by hand, for the tests of single kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from profile_shop import flat

from operators.kernels.slabs import Slab, Slabs
from state.profile_table import SLABS


def make_slab(dtype: np.dtype, capacity: int = 256) -> Slab:
    """An empty slab with room for so many rows."""
    rows = np.zeros(capacity, dtype)
    words = rows.view(np.uint64).reshape(capacity, dtype.itemsize // 8)
    return Slab(rows, words, np.zeros(capacity, np.uint8), np.zeros(4, np.int64))


def make_slabs(capacity: int = 256) -> Slabs:
    """All slabs of a shard, empty."""
    return Slabs(*(make_slab(dtype, capacity) for dtype in SLABS.values()))


def used(slab: Slab) -> int:
    """Rows in use, by its head; the free ones are counted along their chain, and must be empty."""
    free, at = 0, int(slab.head[1])
    while at:
        row = slab.rows[at - 1]
        assert not any(flat(row, "next")), "a free row holds something"
        at = int(row["next"])
        free += 1
    assert free == slab.head[2]
    return int(slab.head[0] - slab.head[2])


def record(dtype: np.dtype, **fields: Any) -> Any:
    """A record whose fields kernels may change."""
    one = np.zeros(1, dtype)
    for name, value in fields.items():
        one[name] = value
    return one[0]
