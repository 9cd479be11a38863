"""One order of samples, whatever way they came: so what is learned does not depend on how many processes there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from state.samples import Lessons

WAITING_MAX = 65_536
"""Samples that wait for slower shards at the most; past it the oldest go on without them."""

Ordered = tuple[np.ndarray, np.ndarray, np.ndarray]
"""x float32[n, d], y uint8[n] (empty where there are no outcomes), ts int64[n]: as in Lessons."""


class SampleOrder:
    """Hands samples on by the time at which they were known; of one time, by shard, and as the shard told them.

    A sample waits until every shard has told all that was known to it before then. Shards tell it with every batch,
    and idle ones about once a second, so samples wait for the slowest; a shard that has not been heard of yet holds
    all. A sample that comes later than its shard had promised (an event late in its input) goes on at once.
    """

    def __init__(self, most: int = WAITING_MAX) -> None:
        self._most = most
        self._told_ts = np.zeros(0, np.int64)
        self._waiting: Lessons | None = None

    def __len__(self) -> int:
        return len(self._waiting.ts) if self._waiting else 0

    def take(self, lessons: Sequence[Lessons]) -> Ordered | None:
        """Take lessons of one model in; what is to be learned now, None for nothing. ValueError where outcomes lack."""
        if not lessons:
            return None
        if len(self._told_ts) != len(lessons[0].told_ts):
            self._told_ts = np.zeros(len(lessons[0].told_ts), np.int64)
        for one in lessons:
            if len(one.y) not in (0, len(one.ts)):
                raise ValueError(f"{len(one.ts)} {one.model} samples came with {len(one.y)} outcomes")
            np.maximum(self._told_ts, one.told_ts, out=self._told_ts)
        parts = [one for one in (self._waiting, *lessons) if one is not None and len(one.ts)]
        if not parts:
            return None
        known_ts = np.concatenate([one.known_ts for one in parts])
        shards = np.concatenate([one.shards for one in parts])
        order = np.lexsort((shards, known_ts))
        ready = max(int(np.searchsorted(known_ts[order], self._told_ts.min())), len(order) - self._most)
        x, y, ts = (np.concatenate([getattr(one, name) for one in parts]) for name in ("x", "y", "ts"))
        later = order[ready:]
        self._waiting = Lessons(
            parts[0].model, x[later], _some(y, later), ts[later], known_ts[later], shards[later], self._told_ts
        )
        now = order[:ready]
        return (x[now], _some(y, now), ts[now]) if ready else None

    def rest(self) -> Ordered | None:
        """All that still waits: the input has ended."""
        waiting, self._waiting = self._waiting, None
        return (waiting.x, waiting.y, waiting.ts) if waiting and len(waiting.ts) else None

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps: plain values and arrays."""
        return {"told_ts": self._told_ts, "waiting": asdict(self._waiting) if self._waiting else None}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._told_ts = state["told_ts"]
        self._waiting = Lessons(**state["waiting"]) if state["waiting"] else None


def _some(y: np.ndarray, places: np.ndarray) -> np.ndarray:
    return y[places] if len(y) else y
