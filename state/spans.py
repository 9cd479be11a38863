"""Spans of bytes in a buffer."""

from __future__ import annotations

import numpy as np


def gather_spans(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Copy spans of a byte buffer behind one another: (bytes uint8, their new starts int32)."""
    ends = np.cumsum(lengths, dtype=np.int64)
    new_starts = ends - lengths
    total = int(ends[-1]) if len(ends) else 0
    index = np.arange(total, dtype=np.int64) + np.repeat(np.asarray(starts, np.int64) - new_starts, lengths)
    return np.ascontiguousarray(buffer[index]), new_starts.astype(np.int32)
