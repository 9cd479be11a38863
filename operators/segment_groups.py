"""Groups of centres: micro-clusters into segments, segments into groups of segments, as many as lie best apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import linkage

from operators.segment_quality import silhouette

COPIES = 128
"""A centre stands in the tree once for each 1/128 of the shoppers, so that Ward's method knows its weight."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """`groups_min` (fewer where fewer lie apart) to `groups_max` groups, each of `share_min` of the shoppers; others
    than those of now must be better by `gain`, a part of their quality. A grouping's quality is its silhouette times
    the number of its groups to the `fineness`."""

    groups_min: int
    groups_max: int
    share_min: float
    gain: float
    fineness: float


SEGMENTS = Grouping(groups_min=4, groups_max=12, share_min=0.02, gain=0.05, fineness=1.0 / 3.0)
"""Micro-clusters into segments (the settings say how many at the most).

The silhouette alone is as high, or higher, where neighbours are thrown together: of six personas it finds two, three
or six, with hardly a difference, and falls steeply past six. So of two that are about as good the finer is taken.
"""

MACROS = Grouping(groups_min=2, groups_max=4, share_min=0.05, gain=0.15, fineness=0.0)
"""Segments into groups of segments."""


def group_centres(
    centres: np.ndarray,
    shares: np.ndarray,
    sums: np.ndarray,
    labels: np.ndarray,
    current: np.ndarray | None,
    how: Grouping,
) -> np.ndarray:
    """Groups int64[k] of the centres float[k, d], counted from 0: a tree of them, cut where the quality is best.

    The tree is Ward's, in which each centre weighs its share (`shares` float[k], sum 1). A cut's groups that hold too
    few shoppers go to the nearest group that does not, so nothing fragments. The silhouette is that of sampled points
    (`sums` float[n, k], `labels` int[n], see `silhouette`). The groups of now (`current` int[k]; None: there are none)
    stay unless others are better by the gain. All in one group where nothing lies apart.
    Source: Ward, "Hierarchical grouping to optimize an objective function" (1963).
    """
    best, found = (1, 0.0), np.zeros(len(centres), np.int64)  # groups up to the least number wanted, then quality
    if current is not None:
        groups = _folded(np.unique(current, return_inverse=True)[1], centres, shares, how.share_min)
        if groups.max() < how.groups_max:
            quality = max(0.0, _quality(groups, sums, labels, how)) * (1.0 + how.gain)
            best, found = (min(int(groups.max()) + 1, how.groups_min), quality), groups
    if len(centres) < 2:
        return found
    tried: set[bytes] = set()
    for cut in _cuts(centres, shares, 2 * how.groups_max):
        groups = _folded(cut, centres, shares, how.share_min)
        if not 0 < groups.max() < how.groups_max or groups.tobytes() in tried:
            continue
        tried.add(groups.tobytes())
        quality = _quality(groups, sums, labels, how)
        rank = (min(int(groups.max()) + 1, how.groups_min), quality)
        if quality > 0.0 and rank > best:
            best, found = rank, groups
    return found


def _cuts(centres: np.ndarray, shares: np.ndarray, groups_max: int) -> Iterator[np.ndarray]:
    """Ward's tree cut into fewer and fewer groups, int64[k] each, from `groups_max` (or a group each) down to two."""
    copies = np.repeat(np.arange(len(centres)), np.maximum(np.rint(shares * COPIES), 1).astype(np.int64))
    first = np.searchsorted(copies, np.arange(len(centres)))
    groups = np.arange(len(copies))  # the node of the tree that each copy is in
    for merge, (one, other) in enumerate(linkage(centres[copies], "ward")[:-1, :2].astype(np.int64).tolist()):
        groups[(groups == one) | (groups == other)] = len(copies) + merge
        if len(copies) - merge - 1 <= groups_max:
            yield np.unique(groups[first], return_inverse=True)[1]


def group_means(groups: np.ndarray, centres: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means float[g, d] of the groups' centres, weighted by share, and the groups' shares float[g]."""
    total = np.bincount(groups, weights=shares)
    means = np.zeros((len(total), centres.shape[1]))
    np.add.at(means, groups, shares[:, None] * centres)
    return means / np.maximum(total, 1e-12)[:, None], total


def _folded(groups: np.ndarray, centres: np.ndarray, shares: np.ndarray, share_min: float) -> np.ndarray:
    """The groups, counted from 0 in the order of the centres; the centres of too small ones go to the nearest other."""
    means, total = group_means(groups, centres, shares)
    large = np.flatnonzero(total >= share_min)
    if len(large) == 0:
        return np.zeros(len(groups), np.int64)
    if len(large) < len(total):
        gaps = ((centres[:, None] - means[large][None]) ** 2).sum(2)
        groups = np.where(total[groups] >= share_min, groups, large[gaps.argmin(1)])
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _quality(groups: np.ndarray, sums: np.ndarray, labels: np.ndarray, how: Grouping) -> float:
    """The silhouette of the points by group, more worth the finer it is; 0 where there is only one group."""
    apart = silhouette(_by_group(sums, groups), groups[labels])
    return float(apart * (groups.max() + 1.0) ** how.fineness) if np.isfinite(apart) else 0.0


def _by_group(sums: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Sums of distances float[n, k] to each centre's points, as sums to each group's."""
    member = np.zeros((len(groups), int(groups.max()) + 1))
    member[np.arange(len(groups)), groups] = 1.0
    return np.asarray(sums @ member)
