"""What every format shares: where events go, the account of the lines, and the reading of text in columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from operators.read_files import open_lines

LINES_MAX = 20_000_000
"""Lines of a file that has to be sorted or joined in memory."""

WRITE_EVENTS = 4096
"""Events are written so many at a time."""

_SHOWN_MAX = 80  # characters of a found header that an error repeats


class ConvertError(ValueError):
    """A file cannot be converted: which, what was found, what was expected."""


class WrongHeaderError(ConvertError):
    """The first line is not that of the format."""


@dataclass(frozen=True, slots=True)
class Accounting:
    """What became of the lines of a source: every line (but a header and blank ones) is in exactly one class.

    `classes` counts lines by class, in the order in which the classes are tried, also those that no line was in;
    `lines` is their sum; `events` how many events were written; `out_of_order` how many of these are older than one
    before them; `notes` what a person should know beside this, a sentence each.
    """

    format: str
    source: str
    lines: int
    events: int
    classes: dict[str, int]
    out_of_order: int
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """The account for a person, a line of text per class."""
        rows = [*self.classes.items(), ("lines", self.lines), ("events written", self.events)]
        if self.out_of_order:
            rows.append(("of these older than one before", self.out_of_order))
        return "\n".join([*(f"{name:<32}{count:>12,}" for name, count in rows), *self.notes])


class Output:
    """Where a format puts its events, and where it gives every line its class."""

    def __init__(
        self,
        format_name: str,
        source: Path,
        write: Callable[[bytes], object],
        write_skipped: Callable[[bytes], object] | None,
    ) -> None:
        self._format, self._source = format_name, str(source)
        self._write, self._write_skipped = write, write_skipped
        self._waiting: list[bytes] = []
        self._events = self._out_of_order = 0
        self._newest_ms = -(1 << 63)
        self._notes: list[str] = []
        self.classes: dict[str, int] = {}

    def declare(self, *classes: str) -> None:
        """Name the classes that lines can be in, in the order in which they are tried."""
        self.classes.update(dict.fromkeys(classes, 0))

    def note(self, text: str) -> None:
        """Have a sentence stand under the account."""
        self._notes.append(text)

    def event(self, event: dict[str, Any]) -> None:
        """Write an event."""
        self._events += 1
        ts = event["ts"]
        if ts < self._newest_ms:
            self._out_of_order += 1
        else:
            self._newest_ms = ts
        self._waiting.append(orjson.dumps(event))
        if len(self._waiting) >= WRITE_EVENTS:
            self._flush()

    def skip(self, line: int, raw: str, name: str) -> None:
        """Count a line that is not taken in, and write it down if that is wanted; `line` counts from 1."""
        self.classes[name] += 1
        if self._write_skipped is not None:
            record = {"line": line, "class": name, "raw": raw.rstrip("\r\n")}
            self._write_skipped(orjson.dumps(record) + b"\n")

    def accounting(self) -> Accounting:
        """Write what waits, and give the account."""
        self._flush()
        lines = sum(self.classes.values())
        counts = (lines, self._events, dict(self.classes), self._out_of_order)
        return Accounting(self._format, self._source, *counts, tuple(self._notes))

    def _flush(self) -> None:
        if self._waiting:
            self._write(b"\n".join(self._waiting) + b"\n")
            self._waiting.clear()


def text_lines(path: Path) -> io.TextIOWrapper:
    """The lines of a text file, unpacked when its name ends in .gz or .zst; bytes that are not UTF-8 are replaced."""
    return io.TextIOWrapper(open_lines(path), encoding="utf-8-sig", errors="replace", newline="\n")


def read_rows(
    path: Path, header: Sequence[str], delimiter: str = ",", quoted: bool = False
) -> Iterator[tuple[int, str, list[str]]]:
    """The rows of a file in columns, after a header that must be as given: (line number from 1, its text, its fields).

    With `quoted`, fields may be in double quotes, and then hold delimiters and line ends. Blank lines are passed over.
    """
    with text_lines(path) as lines:
        raw: list[str] = []
        rows = csv.reader(
            _noted(lines, raw), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        )
        number = 1
        try:
            found = next(rows, [])
            if found != list(header):
                shown = delimiter.join(found)
                raise WrongHeaderError(
                    f'{path}: the first line is "{shown[:_SHOWN_MAX]}", expected "{delimiter.join(header)}"'
                )
            number, raw[:] = 1 + len(raw), []
            for fields in rows:
                if fields:
                    yield number, "".join(raw), fields
                number += len(raw)
                raw.clear()
        except csv.Error as error:
            raise ConvertError(
                f"{path}: line {number} cannot be cut into columns ({error}); mend or remove it"
            ) from error


def _noted(lines: Iterable[str], raw: list[str]) -> Iterator[str]:
    for line in lines:
        raw.append(line)
        yield line


def valid_id(text: str) -> bool:
    """Is it an id that an event may carry?"""
    return 1 <= len(text.encode()) <= 128


def source_name(path: Path) -> str:
    """A short name for the events of a file, so that ids from two files differ: `rsc15_train` of rsc15_train.tsv.gz."""
    return path.name.split(".", 1)[0].encode()[:64].decode(errors="ignore") or "log"
