"""Log files as a source: lines of .jsonl, .jsonl.gz and .jsonl.zst as raw batches, from any line, at any pace.

Nothing here looks into a line (but for its time, when the pace is to follow the log's own): what a record says and
whether it is valid is the decode step's to tell. A position is `(line, byte)`: the number of the next line and where it
begins in the unpacked text; it can be pickled, and a reader made from it goes on exactly there.
"""

from __future__ import annotations

from operators.read_files.file_reader import FileReader
from operators.read_files.opening import LogError, open_lines, open_to_read, open_to_write
from operators.read_files.paced_reader import PacedReader

__all__ = ["FileReader", "PacedReader", "LogError", "open_lines", "open_to_read", "open_to_write"]
