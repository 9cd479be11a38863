"""A reader that keeps to the log's own pace, or a multiple of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import orjson

from operators.read_files.file_reader import FileReader, Position
from operators.reader import Reader
from state.batches import RawBatch

PACED_RECORDS = 512
"""How many lines a paced reader looks at in one go."""


class PacedReader(Reader):
    """Hands a reader's records out at `speed` times the log's own pace, by their event time `ts`.

    The first record is due at once, the others as much later as the log says. A record alone out of order (late, or
    from the future) holds nothing up and is not waited for: a record's time is the median of its own and its two
    neighbours' on either side, which in an ordered log is its own (but the last of every PACED_RECORDS goes with the
    one before it). Records without a readable time go with the ones before them. Nothing is kept but the few lines
    looked at; `position()` and `exhausted` are the reader's.
    """

    caught_up = False
    """What is not due yet is there all the same."""

    def __init__(self, reader: FileReader, speed: float, clock: Callable[[], float] = time.time) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.reader = reader
        self.speed = speed
        self.due_at = float("-inf")
        """When the next record is due, epoch seconds by `clock`: no use in reading before."""
        self._clock = clock
        self._window: RawBatch | None = None
        self._due_ms = np.zeros(0)
        self._used = 0
        self._origin: tuple[float, float] | None = None  # an event time in ms, and when by the clock it was due

    def peek(self) -> RawBatch | None:
        """The records that are due, at most PACED_RECORDS; None when none is yet (see `due_at`), or at the end."""
        now = self._clock()
        if now < self.due_at:
            return None
        if self._window is None:
            self._window = self.reader.peek(min(PACED_RECORDS, self.reader.records_max))
            if self._window is None:
                return None
            self._due_ms, self._used = _due_times(self._window), 0
            if self._origin is None:
                self._origin = _origin(self._due_ms, now)
        window, low = self._window, self._used
        high = len(window)
        if self._origin is not None:
            event_ms, began = self._origin
            event_now_ms = event_ms + (now - began) * 1000.0 * self.speed
            high = max(low, int(np.searchsorted(self._due_ms, event_now_ms, side="right")))
            self.due_at = float("-inf")
            if high < len(window):
                self.due_at = began + (float(self._due_ms[high]) - event_ms) / 1000.0 / self.speed
        if high == low:
            return None
        return RawBatch(
            window.buffer,
            window.starts[low:high],
            window.ends[low:high],
            window.offsets[low:high],
            window.source,
            window.partition,
            now,
        )

    def advance(self, records: int) -> None:
        """Move on past so many of the records that were due."""
        self.reader.advance(records)
        self._used += records
        if self._window is not None and self._used == len(self._window):
            self._window = None

    @property
    def exhausted(self) -> bool:
        """Was every record handed out?"""
        return self.reader.exhausted

    def position(self) -> Position:
        """Where to go on after the records handed out so far."""
        return self.reader.position()

    def close(self) -> None:
        """Close the file."""
        self.reader.close()


def _due_times(batch: RawBatch) -> np.ndarray:
    """When each record is due, in event time ms, never falling; -inf for those due at once."""
    times = np.array([_event_ms(batch.record(i)) for i in range(len(batch))])
    readable = np.flatnonzero(np.isfinite(times))
    due = np.full(len(times), -np.inf)
    if len(readable):
        padded = np.pad(times[readable], 2, mode="reflect")
        padded[:2] = -np.inf
        around = np.lib.stride_tricks.sliding_window_view(padded, 5)
        median = np.median(around, axis=1)
        due[readable] = np.minimum.accumulate(median[::-1])[::-1]
    return np.asarray(np.maximum.accumulate(due))


def _origin(due_ms: np.ndarray, now: float) -> tuple[float, float] | None:
    """An event time in ms and the clock's time that it stands for; None where no record has a time.

    A first record that is further from the second than all the others lie apart is a late one: it is not reckoned from.
    """
    times = due_ms[np.isfinite(due_ms)]
    if not len(times):
        return None
    late = len(times) >= 5 and times[1] - times[0] > times[-1] - times[1]
    return float(times[int(late)]), now


def _event_ms(record: bytes) -> float:
    """A record's event time in epoch ms; nan where there is none to be read."""
    try:
        ts = orjson.loads(record)["ts"]
        if isinstance(ts, str):
            at = datetime.fromisoformat(ts)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000.0
        return float(ts)
    except (ValueError, TypeError, KeyError, OverflowError):
        return float("nan")
