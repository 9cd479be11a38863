"""What models learn from, on its way from the profile steps to the learn step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

EVER = np.iinfo(np.int64).max


@dataclass(slots=True)
class Samples:
    """Samples of one model from one batch of a user shard.

    `model` is "segments", "purchase" or "churn"; `x` float32[n, DIMENSIONS] in natural units; `y` uint8[n], the
    outcomes (empty for "segments"); `ts` int64[n] the times of the decisions, `known_ts` int64[n] when their outcomes
    were known (epoch ms).
    """

    model: str
    x: np.ndarray
    y: np.ndarray
    ts: np.ndarray
    known_ts: np.ndarray


@dataclass(slots=True)
class Lessons(Samples):
    """Samples of one model from any shards, each shard's in its own order; `shards` int64[n] whose.

    `told_ts` int64[user shards]: all of a shard's samples that were known before that time have been handed over with
    these (0: nothing new from it).
    """

    shards: np.ndarray
    told_ts: np.ndarray


class _Batch(Protocol):
    shard: int
    samples: list[Samples]
    told_ts: int


def lessons_of(models: Iterable[str], batches: Iterable[_Batch], user_shards: int) -> list[Lessons]:
    """What profile batches have for each of the models, in their order."""
    parts: dict[str, list[tuple[int, Samples]]] = {model: [] for model in models}
    told_ts = np.zeros(user_shards, np.int64)
    for batch in batches:
        told_ts[batch.shard] = max(told_ts[batch.shard], batch.told_ts)
        for samples in batch.samples:
            parts[samples.model].append((batch.shard, samples))
    return [_joined(model, of_it, told_ts) for model, of_it in parts.items() if of_it or told_ts.any()]


def in_order(model: str, x: np.ndarray, y: np.ndarray, ts: np.ndarray) -> Lessons:
    """Samples of a single shard in the order of their times, to be learned without waiting for others."""
    return Lessons(model, x, y, ts, ts, np.zeros(len(ts), np.int64), np.array([EVER]))


def _joined(model: str, parts: list[tuple[int, Samples]], told_ts: np.ndarray) -> Lessons:
    if not parts:
        none = np.empty(0, np.int64)
        return Lessons(model, np.empty((0, 0), np.float32), np.empty(0, np.uint8), none, none, none, told_ts)
    of_it = [samples for _, samples in parts]
    return Lessons(
        model,
        np.concatenate([s.x for s in of_it]),
        np.concatenate([s.y for s in of_it]),
        np.concatenate([s.ts for s in of_it]),
        np.concatenate([s.known_ts for s in of_it]),
        np.repeat([shard for shard, _ in parts], [len(s.ts) for s in of_it]),
        told_ts,
    )
