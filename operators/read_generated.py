"""The built-in generator as a source: a made-up shop's log, handed out as raw batches without a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from operators.generate import ShopPlan, generate
from operators.reader import Reader
from state.batches import RawBatch

_NEWLINE = ord("\n")


class GeneratedReader(Reader):
    """The log of a plan, from any position: the number of records handed out before.

    The same plan gives the same records, so a resume generates them again and passes over those before `position`.
    """

    caught_up = False
    """A plan is read to its end once."""

    def __init__(
        self,
        plan: ShopPlan,
        position: int | None = None,
        records_max: int = 4096,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._position = position or 0
        self._records_max = records_max
        self._clock = clock
        self._chunks: Iterator[bytes] = generate(plan)
        self._buffer = np.empty(0, np.uint8)
        self._ends = np.empty(0, np.int64)
        self._used = 0
        self._ended = False
        self._skip(self._position)

    def peek(self) -> RawBatch | None:
        """The next 1 to `records_max` records without moving on; None at the end."""
        if not self._fill():
            return None
        first, last = self._used, min(self._used + self._records_max, len(self._ends))
        starts = np.concatenate([[0], self._ends[:-1] + 1])[first:last]
        ends = self._ends[first:last]
        low = int(starts[0])
        return RawBatch(
            buffer=self._buffer[low : int(ends[-1])],
            starts=starts - low,
            ends=ends - low,
            offsets=np.arange(self._position, self._position + last - first, dtype=np.int64),
            source="generated",
            partition=0,
            read_at=self._clock(),
        )

    def advance(self, records: int) -> None:
        """Move on past so many of the records that `peek` gave."""
        self._used += records
        self._position += records

    @property
    def exhausted(self) -> bool:
        """Was every record handed out?"""
        return not self._fill()

    def position(self) -> int:
        """Where to go on after the records handed out so far."""
        return self._position

    def close(self) -> None:
        """Nothing is held open."""

    def _skip(self, records: int) -> None:
        while records and self._fill():
            passed = min(records, len(self._ends) - self._used)
            self._used += passed
            records -= passed

    def _fill(self) -> bool:
        """Make sure that there is a record to hand out; False at the end."""
        while self._used == len(self._ends) and not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._ended = True
                break
            self._buffer = np.frombuffer(chunk, np.uint8)
            self._ends = np.flatnonzero(self._buffer == _NEWLINE).astype(np.int64)
            self._used = 0
        return self._used < len(self._ends)
