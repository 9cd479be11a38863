"""One hash in compiled loops and in Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from state.hashing import hash_bytes, hash_span, hash_text


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=5), st.binary(max_size=5))
def test_compiled_and_plain_hash_agree(data: bytes, before: bytes, after: bytes) -> None:
    """Of any bytes, wherever they stand in a buffer; never 0."""
    buffer = np.frombuffer(before + data + after, np.uint8)
    found = int(hash_span(buffer, len(before), len(before) + len(data)))
    assert found == hash_bytes(data) and 0 < found < 2**64


def test_hashes_are_those_of_fnv_1a_and_fmix64() -> None:
    """Against numbers from elsewhere: FNV-1a of "a" and "foobar" (its authors' vectors), then MurmurHash3's fmix64."""
    vectors = {b"": 0xCBF29CE484222325, b"a": 0xAF63DC4C8601EC8C, b"foobar": 0x85944171F73967E8}
    for data, fnv in vectors.items():
        h, mask = fnv, 2**64 - 1
        for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            h = (h ^ (h >> 33)) * multiplier & mask
        assert hash_bytes(data) == h ^ (h >> 33)


def test_text_is_hashed_as_utf8_and_shards_are_even() -> None:
    """The low bits choose the shard: 16 shards of 16,000 ids differ by no more than chance allows."""
    assert hash_text("é") == hash_bytes(b"\xc3\xa9")
    counts = np.bincount([hash_text(f"u{n:06d}") % 16 for n in range(16_000)], minlength=16)
    assert ((counts - 1000) ** 2 / 1000).sum() < 45  # chi-squared, 15 degrees: once in 13,000 seeds
