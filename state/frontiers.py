"""How far the reading of each part of the input is: one small shared file for all processes.

A part's row is its place among the parts that are listed, which is the same in every process; only the process that
reads the part writes it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

PARTS_MAX = 65_536

UNOPENED, READ, UNKNOWN, AT_END = range(4)
"""A part has not been looked at yet; its next record is known; it has none here, and may have more; it has no more."""

FRONTIER = np.dtype(
    [
        ("ts", "i8"),  # event time of its next record, or of its newest where the next is not known; epoch ms, or 0
        ("since", "f8"),  # since when its next record has been unknown, by a monotonic clock that the processes share
        ("state", "i8"),
    ]
)
_BYTES = PARTS_MAX * FRONTIER.itemsize


class Frontiers:
    """Rows of FRONTIER. `path` is a file shared by the processes (made by `create`; None: this process alone)."""

    def __init__(self, path: Path | None = None) -> None:
        with open(path, "r+b") if path else tempfile.TemporaryFile() as file:
            if path is None:
                os.ftruncate(file.fileno(), _BYTES)
            self._map = mmap.mmap(file.fileno(), _BYTES)
        self.rows = np.frombuffer(self._map, FRONTIER)

    @staticmethod
    def create(path: Path) -> None:
        """Make the shared file (sparse); the supervisor does so before it starts the processes."""
        with path.open("wb") as file:
            file.truncate(_BYTES)
