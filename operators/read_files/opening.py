"""Opening log files, plain or packed, to be read or written."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import zstandard

BLOCK_BYTES = 1 << 20
"""How much text is read at a time."""

PACKED_BYTES = 1 << 16
"""How much of a packed file is unpacked at a time."""


class LogError(ValueError):
    """A log file cannot be read on: which file, where in it, what was found, what to do."""


def open_to_read(path: Path | str) -> io.RawIOBase:
    """The text of a file as bytes, unpacked when its name ends in .gz or .zst."""
    path = Path(path)
    if path.suffix == ".gz":
        return PackedFile(path, _unpack_gzip)
    if path.suffix == ".zst":
        return PackedFile(path, _unpack_zstd)
    return io.FileIO(path)


def open_lines(path: Path | str) -> io.BufferedReader:
    """A buffered reader of a file's unpacked bytes, to be read line by line."""
    return io.BufferedReader(open_to_read(path), BLOCK_BYTES)


@contextmanager
def open_to_write(path: Path | str) -> Iterator[Callable[[bytes], object]]:
    """Give a function that writes bytes, packed when the name ends in .gz or .zst; the same bytes make the same file.

    The file stands under its name only when all was written: until then, and after a failure, what was there stays.
    What is no regular file (a pipe, /dev/null) is written to as it is.
    """
    path = Path(path)
    in_place = path.exists() and not path.is_file()
    part = path if in_place else path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=5, mtime=0) as packed:
                    yield packed.write
            elif path.suffix == ".zst":
                with zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as stream:
                    yield stream.write
            else:
                yield file.write
        if not in_place:
            os.replace(part, path)
    finally:
        if not in_place:
            part.unlink(missing_ok=True)


class _Unpacker(Protocol):
    """One packed member (gzip) or frame (zstd) being unpacked."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _unpack_gzip() -> _Unpacker:
    return zlib.decompressobj(wbits=31)


def _unpack_zstd() -> _Unpacker:
    return zstandard.ZstdDecompressor().decompressobj()


class PackedFile(io.RawIOBase):
    """The unpacked bytes of a gzip or zstd file of one or more members, in order.

    Raises LogError where the file is damaged, and where it ends in the middle of a member (which the stream readers of
    the zstandard package take for the end).
    """

    def __init__(self, path: Path, unpacker: Callable[[], _Unpacker]) -> None:
        self._path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._new_unpacker = unpacker
        self._unpacker: _Unpacker | None = None
        self._packed_bytes = 0
        self._packed = b""
        self._plain = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def readinto(self, target: memoryview | bytearray) -> int:  # type: ignore[override]  # Buffer is new in 3.12
        """Fill `target` with what is unpacked already, or with some of what comes next; 0 at the end."""
        while not len(self._plain):
            if not self._unpack():
                return 0
        view = memoryview(target).cast("B")
        n = min(len(view), len(self._plain))
        view[:n] = self._plain[:n]
        self._plain = self._plain[n:]
        return n

    def _unpack(self) -> bool:
        """Unpack the next piece; False at the end of the file."""
        if not self._packed:
            self._packed = self._file.read(PACKED_BYTES) or b""
            self._packed_bytes += len(self._packed)
            if not self._packed:
                if self._unpacker is not None:
                    raise LogError(
                        f"{self._path}: ends at byte {self._packed_bytes} in the middle of its packed text: "
                        "it was not written to its end; take the lines before, or fetch it again"
                    )
                return False
        if self._unpacker is None:
            self._packed = self._packed.lstrip(b"\0")  # members may be padded with zeros; none begins with one
            if not self._packed:
                return True
            self._unpacker = self._new_unpacker()
        try:
            self._plain = memoryview(self._unpacker.decompress(self._packed))
        except (zlib.error, zstandard.ZstdError) as error:
            low = self._packed_bytes - len(self._packed)
            raise LogError(
                f"{self._path}: damaged between bytes {low} and {self._packed_bytes} of the packed file ({error}): "
                "take the lines before, or fetch it again"
            ) from error
        self._packed = b""
        if self._unpacker.eof:
            self._packed = self._unpacker.unused_data
            self._unpacker = None
        return True
