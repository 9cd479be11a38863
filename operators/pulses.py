"""How far each part of the input is, told to every user shard about once a second, events or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from state.batches import Pulse
from state.hashing import hash_text

PULSE_SECONDS = 1.0
"""A user shard hears of a part that is being read at least so often."""


@dataclass(slots=True)
class InputPart:
    """What a process has read of one part of its input since it started.

    `hash` of the part's name; `newest_ts` its newest event time (0: none yet); `word_at` float64[user shards]: when
    each shard last heard of it, epoch seconds of system time.
    """

    hash: int
    newest_ts: int
    word_at: np.ndarray

    @classmethod
    def named(cls, name: str, user_shards: int) -> InputPart:
        """A part that no shard has heard of yet."""
        return cls(hash_text(name), 0, np.full(user_shards, -np.inf))

    def pulses(self, now: float, idle_ms: int = 0, ended: bool = False) -> list[Pulse]:
        """A Pulse for each shard that has not heard of the part for PULSE_SECONDS (or since the clock was set back);
        for every shard where there is news of its end."""
        overdue = np.abs(now - self.word_at) >= PULSE_SECONDS
        shards = np.flatnonzero(overdue | (idle_ms > 0) | ended)
        self.word_at[shards] = now
        return [Pulse(shard, self.hash, self.newest_ts, idle_ms, ended) for shard in shards.tolist()]
