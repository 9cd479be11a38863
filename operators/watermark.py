"""The watermark of a shard: the event time up to which all parts of the input have been read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

IDLE_MS = 1000
"""A part at its end for so long is idle."""


@dataclass(slots=True)
class _Part:
    """How far one part is: its newest event time (0: none known), and since when, in event time, it has been idle."""

    newest_ts: int = 0
    heard: bool = False
    ended: bool = False
    idle_ms: int = 0
    idle_from_ts: int = 0

    @property
    def is_read(self) -> bool:
        return not (self.ended or self.idle_ms)

    @property
    def reached_ts(self) -> int:
        """How far it has come by itself; 0 where nothing is known of its time."""
        return self.idle_from_ts + self.idle_ms if self.idle_ms and self.idle_from_ts else self.newest_ts


class Watermark:
    """The least of the newest event times of the parts that are being read.

    A part that has been read to its end, for now (idle) or for good, does not hold it back. When all have, it is as far
    as the furthest of them: an idle part goes on at the pace of the clock, from its newest event or, where the
    watermark was further when it became idle, from there. It never falls, and stays while a part that is listed has
    not been heard of. It keeps a few numbers for each part that is listed. All times are epoch ms.
    """

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        self._value_ts = 0

    def heard(self, part: int, newest_ts: int, idle_ms: int = 0, ended: bool = False) -> None:
        """A part has come to `newest_ts` (0: no event yet); the rest as in a Pulse.

        With `idle_ms` of 0 it is being read, from IDLE_MS on it is idle; what is between changes neither.
        """
        known = self._parts.setdefault(part, _Part())
        known.heard = True
        known.ended = ended
        known.newest_ts = max(known.newest_ts, newest_ts)
        if ended or idle_ms == 0:
            known.idle_ms = 0
        elif idle_ms >= IDLE_MS:
            if not known.idle_ms or idle_ms < known.idle_ms:  # idle anew: the clock has not stood still in between
                known.idle_from_ts = self._value_ts - idle_ms
            known.idle_from_ts = max(known.idle_from_ts, known.newest_ts)
            known.idle_ms = idle_ms

    def value(self, listed: frozenset[int]) -> int:
        """The watermark, where `listed` are being read (none: all that were heard of); 0 before anything is known.

        Other parts are forgotten.
        """
        if listed:
            self._parts = {part: known for part, known in self._parts.items() if part in listed}
        heard = [known for known in self._parts.values() if known.heard]
        if len(heard) >= len(listed):
            least = min((known.newest_ts for known in heard if known.is_read), default=None)
            if least is None:
                least = max((known.reached_ts for known in heard), default=0)
            self._value_ts = max(self._value_ts, least)
        return self._value_ts

    def newest_by_part(self) -> dict[int, int]:
        """The newest event times of the parts that have any: with the value, all that is to outlast a restart."""
        return {part: known.newest_ts for part, known in self._parts.items() if known.newest_ts}

    def restore(self, newest_by_part: Mapping[int, int], value_ts: int) -> None:
        """Go on from where another one was; none of its parts has been heard of again yet."""
        self._parts = {part: _Part(newest_ts) for part, newest_ts in newest_by_part.items()}
        self._value_ts = value_ts
