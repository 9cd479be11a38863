"""Where segments come from and where they go: births, splits, merges, deaths, read from the newest samples."""

from __future__ import annotations

import numpy as np

PARENT_SHARE_MIN = 0.2
"""A segment's parents are those it has this share of its shoppers from; its heirs those that have it of its own."""

STRANGE_SHARE_MIN = 0.5
"""A new segment is born, not split off, if this share of its shoppers was far from every segment before."""

DEAD_SAMPLES_MAX = 2
"""A segment with so few of the newest samples has died, whoever has them now."""


def origin(before: np.ndarray, far: np.ndarray, retired: set[int]) -> tuple[str, list[int]]:
    """How a new segment came, and its parents by number, the greatest part first.

    Of its newest samples: `before` int[n] the segment's number in the version before, `far` bool[n] whether it was far
    from it. Parents that are all `retired`, several of them, have merged; else it split off.
    """
    if not len(before) or far.mean() >= STRANGE_SHARE_MIN:
        return "birth", []
    parents = _greatest(before)
    if not parents:
        return "birth", []
    return ("merge" if len(parents) > 1 and set(parents) <= retired else "split"), parents


def fate(now: np.ndarray) -> tuple[str, list[int]]:
    """How a segment went, and its heirs by number: `now` int[n], where the newest samples that would be its own are."""
    if len(now) <= DEAD_SAMPLES_MAX:
        return "death", []
    heirs = _greatest(now)
    return ("split" if len(heirs) > 1 else "merge"), heirs


def _greatest(numbers: np.ndarray) -> list[int]:
    known, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [int(known[k]) for k in order.tolist() if counts[k] >= PARENT_SHARE_MIN * len(numbers)]
