"""How far each part of the input is, told to every user shard about once a second, events or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from state.batches import Pulse
from state.hashing import hash_text

PULSE_SECONDS = 1.0
"""A user shard hears of a part that is being read at least so often."""

PULSE_MS = 60_000
"""And it does not fall behind by more event time than this, however fast a log is replayed."""


@dataclass(slots=True)
class InputPart:
    """What a process has read of one part of its input since it started.

    `hash` of the part's name; `newest_ts` its newest event time (0: none yet); `word_at` float64[user shards]: when
    each shard last heard of it, epoch seconds of system time; `word_ts` int64[user shards]: and how far it was then.
    """

    hash: int
    newest_ts: int
    word_at: np.ndarray
    word_ts: np.ndarray

    @classmethod
    def named(cls, name: str, user_shards: int) -> InputPart:
        """A part that no shard has heard of yet."""
        return cls(hash_text(name), 0, np.full(user_shards, -np.inf), np.zeros(user_shards, np.int64))

    def heard(self, shard: int, now: float) -> None:
        """A shard hears of the part with its events."""
        self.word_at[shard], self.word_ts[shard] = now, self.newest_ts

    def pulses(self, now: float, idle_ms: int = 0, ended: bool = False) -> list[Pulse]:
        """A Pulse for each shard that has not heard of the part for PULSE_SECONDS (or since the clock was set back), or
        for PULSE_MS of event time; for every shard where there is news of its end."""
        overdue = (np.abs(now - self.word_at) >= PULSE_SECONDS) | (self.newest_ts - self.word_ts >= PULSE_MS)
        shards = np.flatnonzero(overdue | (idle_ms > 0) | ended)
        self.word_at[shards], self.word_ts[shards] = now, self.newest_ts
        return [Pulse(shard, self.hash, self.newest_ts, idle_ms, ended) for shard in shards.tolist()]
