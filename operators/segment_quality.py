"""How good segments are: apart from each other, and the same from one model to the next."""

from __future__ import annotations

import numpy as np


def distances(points: np.ndarray) -> np.ndarray:
    """Euclidean distances float64[n, n] between all points float64[n, d]."""
    squares = (points**2).sum(1)
    between = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2.0 * points @ points.T, 0.0))
    np.fill_diagonal(between, 0.0)
    return np.asarray(between)


def sums_by_label(between: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Sums float64[n, k] of each point's distances (float64[n, n]) to all points of each label int[n] below k."""
    member = np.zeros((len(labels), k))
    member[np.arange(len(labels)), labels] = 1.0
    return np.asarray(between @ member)


def silhouette(sums: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of points with labels int[n] below k; nan where there is only one label.

    `sums` float[n, k]: of each point's distances to all points of each label (`sums_by_label`). Source:
    Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis" (1987).
    """
    counts = np.bincount(labels, minlength=sums.shape[1])
    if np.count_nonzero(counts) < 2:
        return float("nan")
    rows = np.arange(len(labels))
    own_count = counts[labels]
    own = sums[rows, labels] / np.maximum(own_count - 1, 1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    means[rows, labels] = np.inf
    other = means.min(1)
    larger = np.maximum(own, other)
    alone = (own_count < 2) | (larger == 0.0)
    return float(np.where(alone, 0.0, (other - own) / np.where(alone, 1.0, larger)).mean())


def adjusted_rand(first: np.ndarray, second: np.ndarray) -> float:
    """How alike two labellings of the same points are: 1 the same, 0 as if by chance; nan for no points.

    Source: Hubert and Arabie, "Comparing partitions" (1985).
    """
    n = len(first)
    if n == 0:
        return float("nan")
    _, a = np.unique(first, return_inverse=True)
    _, b = np.unique(second, return_inverse=True)
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1.0)

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1.0)).sum() / 2.0)

    both, rows, columns, all_pairs = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), n * (n - 1.0) / 2.0
    expected = rows * columns / all_pairs if all_pairs else 0.0
    most = (rows + columns) / 2.0
    return 1.0 if most == expected else (both - expected) / (most - expected)


def davies_bouldin(points: np.ndarray, labels: np.ndarray) -> float:
    """Mean over labels of the worst (spread + other's spread) / distance of the two centres; nan for one label.

    points float64[n, d], labels int[n]; a spread is the mean distance of a label's points to their mean. The lower the
    better. Source: Davies and Bouldin, "A cluster separation measure" (1979).
    """
    known = np.unique(labels)
    if len(known) < 2:
        return float("nan")
    means = np.stack([points[labels == label].mean(0) for label in known])
    spreads = np.array(
        [np.sqrt(((points[labels == label] - means[k]) ** 2).sum(1)).mean() for k, label in enumerate(known)]
    )
    gaps = np.sqrt(((means[:, None] - means[None]) ** 2).sum(2))
    np.fill_diagonal(gaps, np.inf)
    ratios = (spreads[:, None] + spreads[None]) / np.maximum(gaps, 1e-12)
    return float(ratios.max(1).mean())
