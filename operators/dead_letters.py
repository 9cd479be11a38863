"""Where refused records go: a file of JSON lines with the reason, the place and the record, bounded in size."""

from __future__ import annotations

import base64
from io import BufferedWriter
from pathlib import Path
from typing import Any

import orjson
import structlog

from state.batches import DeadLetter, DeadLetters

log = structlog.get_logger(__name__)


def encode(letter: DeadLetter) -> bytes:
    """A dead letter as one JSON line. `raw` is the record's text, or its bytes in base64 under `raw_base64`."""
    fields: dict[str, Any] = {
        "reason": letter.reason,
        "path": letter.path,
        "detail": letter.detail,
        "source": letter.source,
        "partition": letter.partition,
        "offset": letter.offset,
    }
    try:
        fields["raw"] = letter.raw.decode()
    except UnicodeDecodeError:
        fields["raw"] = letter.raw.decode(errors="replace")
        fields["raw_base64"] = base64.b64encode(letter.raw).decode()
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


class DeadLetterFile:
    """Appends dead letters to a file.

    Past `bytes_max` the file becomes PATH.1 (in place of the one before) and a new one begins. After a
    crash the letters since the last snapshot stand twice; source, partition and offset tell.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._failed = False
        self._file: BufferedWriter | None = None

    def write(self, batches: list[DeadLetters]) -> None:
        """Append the letters and flush."""
        lines = [encode(letter) for batch in batches for letter in batch.letters]
        if not lines:
            return
        try:
            self._append(lines)
        except OSError as error:
            if not self._failed:
                log.error("dead letters cannot be written and are only counted", step="dead_letters", error=str(error))
            self._failed = True

    def _append(self, lines: list[bytes]) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab")  # noqa: SIM115 - closed in close()
        if self._file.tell() >= self._bytes_max:
            self._file.close()
            older = self._path.with_name(self._path.name + ".1")
            log.warning("the dead letter file is full and becomes the older one", step="dead_letters", older=str(older))
            self._path.replace(older)
            self._file = open(self._path, "ab")  # noqa: SIM115 - closed in close()
        self._file.writelines(lines)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None
