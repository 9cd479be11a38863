"""The reader of one log file: its lines as raw batches, from any position."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from operators.read_files.opening import BLOCK_BYTES, LogError, open_to_read
from operators.reader import Reader
from state.batches import RawBatch

Position = tuple[int, int]

LINE_BYTES_MAX = 1 << 20
"""A longer line is handed out cut to one byte more than this, so that decoding refuses it as too large."""

BATCH_BYTES_MAX = 4 << 20
"""No more is read ahead while this much text waits to be handed out."""

_NEWLINE, _RETURN, _SPACE, _TAB = b"\n\r \t"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NO_PLACES = np.zeros(0, np.int64)


class FileReader(Reader):
    """The lines of one log file as raw batches, from any position, in the file's order.

    `position` is what `position()` of an earlier reader gave (None: from the beginning); `records_max` the bound of a
    batch; `partition` the file's number, which every batch carries beside `source`; `clock` gives epoch seconds. A
    record's offset is its line's number, from 0. Blank lines (nothing but white space) are no records; a line may
    end in LF or CRLF, the last one in nothing; of a line longer than LINE_BYTES_MAX its first LINE_BYTES_MAX + 1 bytes
    are handed out. Raises LogError when the file is damaged, once all whole lines before the damage were handed out,
    and when it is not the file that the position was taken in.
    """

    caught_up = False
    """A file is read to its end once."""

    def __init__(
        self,
        path: Path | str,
        position: Position | None = None,
        records_max: int = 4096,
        clock: Callable[[], float] = time.time,
        partition: int = 0,
        source: str = "log",
    ) -> None:
        if records_max < 1:
            raise ValueError(f"records_max must be at least 1, not {records_max}")
        self.path = Path(path)
        self.records_max = records_max
        self.partition = partition
        self.source = source
        self._clock = clock
        self._file = open_to_read(self.path)
        self._line, self._byte = position or (0, 0)  # of the next line to be found, and of the end of what was read
        self._position: Position = (self._line, self._byte)
        self._ended = False
        self._failure: LogError | None = None
        self._torn = False
        # Records read and not yet handed out: buffer[starts:ends], their line numbers, the byte after each line. What
        # follows `tail` in the buffer is the beginning of a line whose end has not been read.
        self._buffer = np.zeros(0, np.uint8)
        self._tail = 0
        self._starts = self._ends = self._lines = self._after = _NO_PLACES
        if self._byte:
            try:
                self._skip_to(self._byte)
            except LogError:
                self.close()
                raise

    def peek(self, records_max: int | None = None) -> RawBatch | None:
        """The next records without moving on: at least one, at most `records_max` (the reader's own); None at the
        end."""
        records_max = records_max or self.records_max
        while not self._ended and len(self._starts) < records_max and self._waiting_bytes() < BATCH_BYTES_MAX:
            self._fill()
        n = min(len(self._starts), records_max)
        if n == 0:
            if self._failure is not None:
                raise self._failure
            return None
        low, high = int(self._starts[0]), int(self._ends[n - 1])
        return RawBatch(
            buffer=self._buffer[low:high],
            starts=self._starts[:n] - low,
            ends=self._ends[:n] - low,
            offsets=self._lines[:n],
            source=self.source,
            partition=self.partition,
            read_at=self._clock(),
        )

    def advance(self, records: int) -> None:
        """Move on past so many of the records that `peek` gave."""
        if not 0 <= records <= len(self._starts):
            raise ValueError(f"cannot move on by {records} records, {len(self._starts)} were seen")
        if records == 0:
            return
        self._position = (int(self._lines[records - 1]) + 1, int(self._after[records - 1]))
        self._starts, self._ends = self._starts[records:], self._ends[records:]
        self._lines, self._after = self._lines[records:], self._after[records:]

    @property
    def exhausted(self) -> bool:
        """Was every record handed out? Known once `read` or `peek` has met the end."""
        return self._ended and not len(self._starts) and self._failure is None

    def position(self) -> Position:
        """Where to go on after the records handed out so far."""
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _waiting_bytes(self) -> int:
        return len(self._buffer) - int(self._starts[0]) if len(self._starts) else 0

    def _skip_to(self, byte: int) -> None:
        """Move the file to a byte, making sure that a line begins there."""
        if isinstance(self._file, io.FileIO):
            self._file.seek(byte - 1)
        else:
            left = byte - 1
            while left and (n := len(self._file.read(min(left, BLOCK_BYTES)) or b"")):
                left -= n
        before = self._file.read(1)
        if not before:
            raise self._changed("is shorter than that")
        self._torn = before[0] != _NEWLINE

    def _changed(self, found: str) -> LogError:
        line, byte = self._position
        return LogError(
            f"{self.path}: reading is to go on at line {line} (byte {byte}), but the file {found}: it was changed; "
            "put the file back that was read, or begin again with a new state directory"
        )

    def _fill(self) -> None:
        """Read one block, and find the lines that end in it."""
        low = int(self._starts[0]) if len(self._starts) else self._tail
        begun = self._tail - low
        # Of a line that goes on and on no more is kept than shows that it is too long without its mark and a CR.
        kept = self._buffer[low : self._tail + len(_BYTE_ORDER_MARK) + LINE_BYTES_MAX + 2]
        buffer = np.empty(len(kept) + BLOCK_BYTES, np.uint8)
        buffer[: len(kept)] = kept
        try:
            n = self._file.readinto(buffer[len(kept) :].data) or 0
        except LogError as failure:
            self._failure = failure  # raised when the whole lines before it are out; the torn one is not one of them
            self._ended = True
            return
        if n and self._torn:
            raise self._changed("has no line's beginning there")
        buffer = buffer[: len(kept) + n]
        newlines = np.flatnonzero(buffer[len(kept) :] == _NEWLINE)
        after = newlines + (self._byte + 1)
        ends = newlines + len(kept)
        tail = int(ends[-1]) + 1 if len(ends) else begun
        if n == 0:
            self._ended = True
            if begun < len(kept):
                ends, after, tail = (np.array([len(kept)]), np.array([self._byte]), len(kept))
        self._byte += n
        starts = np.concatenate([[begun], ends[:-1] + 1])[: len(ends)]
        lines = np.arange(self._line, self._line + len(ends))
        self._line += len(ends)
        starts, ends, is_record = _trim(buffer, starts, ends, lines)
        self._buffer, self._tail = buffer, tail
        self._starts = np.concatenate([self._starts - low, starts[is_record]])
        self._ends = np.concatenate([self._ends - low, ends[is_record]])
        self._lines = np.concatenate([self._lines, lines[is_record]])
        self._after = np.concatenate([self._after, after[is_record]])


def _trim(
    buffer: np.ndarray, starts: np.ndarray, ends: np.ndarray, lines: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spans of lines without byte order mark, CR and what exceeds the bound; and which of them are records."""
    if len(lines) and lines[0] == 0 and buffer[starts[0] : min(starts[0] + 3, ends[0])].tobytes() == _BYTE_ORDER_MARK:
        starts[0] += len(_BYTE_ORDER_MARK)
    ends = ends - ((ends > starts) & (buffer[ends - 1] == _RETURN))
    ends = np.minimum(ends, starts + (LINE_BYTES_MAX + 1))
    is_record = ends > starts
    first = buffer[np.minimum(starts, len(buffer) - 1)] if len(buffer) else starts
    for i in np.flatnonzero(is_record & ((first == _SPACE) | (first == _TAB) | (first == _RETURN))).tolist():
        is_record[i] = bool(buffer[starts[i] : ends[i]].tobytes().strip(b" \t\r"))
    return starts, ends, is_record
