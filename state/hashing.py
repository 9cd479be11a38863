"""One 64-bit hash for every id, the same in compiled loops, in Python and in every process.

FNV-1a over the bytes, then the finaliser of MurmurHash3 (fmix64), so that the low bits (which choose shards and
slots) are well mixed. Zero is kept free: it stands for "none" in every column of hashes.
"""

from __future__ import annotations

import numpy as np

from state.compiled import kernel

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)


@kernel
def finish(h):
    """The MurmurHash3 finaliser of a running FNV-1a value; never 0."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return h if h != np.uint64(0) else np.uint64(1)


@kernel
def hash_span(buffer, start, end):
    """Hash of buffer[start:end] (uint8), as uint64; never 0."""
    h = np.uint64(0xCBF29CE484222325)
    for p in range(start, end):
        h = (h ^ np.uint64(buffer[p])) * np.uint64(0x100000001B3)
    return finish(h)


def hash_bytes(data: bytes) -> int:
    """The plain reference of `hash_span` for a single value: the same number, as a Python int."""
    mask = 0xFFFFFFFFFFFFFFFF
    h = int(FNV_OFFSET)
    for byte in data:
        h = ((h ^ byte) * int(FNV_PRIME)) & mask
    h ^= h >> 33
    h = (h * 0xFF51AFD7ED558CCD) & mask
    h ^= h >> 33
    h = (h * 0xC4CEB9FE1A85EC53) & mask
    h ^= h >> 33
    return h or 1


def hash_text(text: str) -> int:
    """Hash of a text's UTF-8 bytes."""
    return hash_bytes(text.encode())
