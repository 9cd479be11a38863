"""Which parts of the input are being read: what the source lists, told to whoever waits for all of them."""

from __future__ import annotations

from collections.abc import Iterable

from state.hashing import hash_text


class InputParts:
    """The parts that are being read, by whatever process of the cluster.

    `listed` are the hashes of their names; empty before the source has listed them, and where steps run without one.
    """

    def __init__(self) -> None:
        self.listed: frozenset[int] = frozenset()

    def tell(self, names: Iterable[str]) -> None:
        """These are all the parts."""
        self.listed = frozenset(map(hash_text, names))
