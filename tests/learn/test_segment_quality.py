"""Figures of quality are the textbook's, and centres are grouped as they lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics
from sklearn.metrics import davies_bouldin_score, silhouette_score

from operators.segment_groups import MACROS, SEGMENTS, Grouping, group_centres, group_means
from operators.segment_quality import adjusted_rand, davies_bouldin, distances, silhouette, sums_by_label


def _sums(points: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    return sums_by_label(distances(points), labels, k)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60))
def test_adjusted_rand_is_that_of_river(pairs: list[tuple[int, int]]) -> None:
    """River's own measure, pair by pair, gives the same number."""
    oracle = metrics.AdjustedRand()
    for first, second in pairs:
        oracle.update(first, second)
    found = adjusted_rand(np.array([a for a, _ in pairs]), np.array([b for _, b in pairs]))
    assert found == pytest.approx(oracle.get(), abs=1e-9)


def test_silhouette_follows_its_definition() -> None:
    """Point by point, by the definition, with a label of a single point and one that is empty."""
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    labels[0] = 4
    values = []
    for i, label in enumerate(labels):
        own = [float(np.linalg.norm(points[i] - points[j])) for j in range(40) if labels[j] == label and j != i]
        if not own:
            values.append(0.0)
            continue
        others = [np.mean([np.linalg.norm(points[i] - p) for p in points[labels == o]]) for o in set(labels) - {label}]
        a, b = np.mean(own), min(others)
        values.append((b - a) / max(a, b))
    assert silhouette(_sums(points, labels, 5), labels) == pytest.approx(np.mean(values))


def test_silhouette_of_one_label_is_unknown() -> None:
    """There is nothing to be apart from."""
    assert np.isnan(silhouette(np.ones((3, 1)), np.zeros(3, np.int64)))


def test_groups_hold_the_segments_that_lie_together() -> None:
    """Six centres in three places give three groups; groups of now stay while no cut is clearly better."""
    rng = np.random.default_rng(1)
    centres = np.array([[0, 0], [1, 0], [20, 0], [21, 0], [0, 20], [1, 20]], float)
    labels = rng.integers(0, 6, 300)
    points = centres[labels] + rng.normal(0, 0.2, (300, 2))
    shares = np.full(6, 1 / 6)
    sums = _sums(points, labels, 6)
    groups = group_centres(centres, shares, sums, labels, None, MACROS)
    assert adjusted_rand(groups, np.array([0, 0, 1, 1, 2, 2])) == 1.0
    assert adjusted_rand(group_centres(centres, shares, sums, labels, groups + 7, MACROS), groups) == 1.0
    worse = np.array([0, 0, 0, 0, 1, 1])
    assert adjusted_rand(group_centres(centres, shares, sums, labels, worse, MACROS), groups) == 1.0


def test_no_group_is_smaller_than_the_least_share() -> None:
    """A far segment with hardly any shoppers does not become a group of its own."""
    centres = np.array([[0, 0], [1, 0], [30, 0]], float)
    rng = np.random.default_rng(2)
    labels = np.r_[rng.integers(0, 2, 199), 2]
    points = centres[labels] + rng.normal(0, 0.1, (200, 2))
    groups = group_centres(centres, np.array([0.5, 0.49, 0.01]), _sums(points, labels, 3), labels, None, MACROS)
    assert groups[2] in (groups[0], groups[1])


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    """Silhouette and Davies-Bouldin index of random labels, some of them without points."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 2, 3, 6], 80)
    points = rng.normal(size=(80, 5)) + labels[:, None] * 0.5
    assert silhouette(_sums(points, labels, 8), labels) == pytest.approx(silhouette_score(points, labels))
    assert davies_bouldin(points, labels) == pytest.approx(davies_bouldin_score(points, labels))


def test_davies_bouldin_of_one_label_is_unknown() -> None:
    """There is nothing to be apart from."""
    assert np.isnan(davies_bouldin(np.ones((3, 2)), np.ones(3, np.int64)))


@pytest.mark.parametrize("seed", range(5))
def test_many_micro_clusters_become_as_many_segments_as_there_are(seed: int) -> None:
    """Twenty centres over five clouds that touch: five groups, one for each, from the micro-clusters alone."""
    rng = np.random.default_rng(seed)
    places = np.array([[0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6], [6, 6, 6]], float)
    truth = rng.integers(0, 5, 500)
    points = places[truth] + rng.normal(0.0, 1.0, (500, 3))
    cloud = np.repeat(np.arange(5), 4)
    centres = np.stack([points[truth == c][:1].mean(0) * 0.3 + places[c] * 0.7 + rng.normal(0, 0.5, 3) for c in cloud])
    labels = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
    shares = np.bincount(labels, minlength=20) / 500
    groups = group_centres(centres, shares, _sums(points, labels, 20), labels, None, SEGMENTS)
    assert adjusted_rand(groups, cloud) == 1.0
    means, total = group_means(groups, centres, shares)
    assert total.sum() == pytest.approx(1.0)
    assert np.abs(means[groups] - places[cloud]).max() < 1.5


def test_fewest_groups_are_made_where_so_many_lie_apart_at_all() -> None:
    """Two clouds of three heaps each: two groups lie best apart, but at least three are wanted."""
    rng = np.random.default_rng(3)
    centres = np.array([[0, 0], [0, 3], [3, 0], [90, 0], [90, 3], [93, 0]], float)
    labels = rng.integers(0, 6, 300)
    points = centres[labels] + rng.normal(0, 0.5, (300, 2))
    sums = _sums(points, labels, 6)
    two = Grouping(groups_min=2, groups_max=6, share_min=0.02, gain=0.05, fineness=0.0)
    assert group_centres(centres, np.full(6, 1 / 6), sums, labels, None, two).max() + 1 == 2
    more = group_centres(centres, np.full(6, 1 / 6), sums, labels, None, replace(two, groups_min=3))
    assert more.max() + 1 >= 3
    one = np.zeros((1, 2))
    alone = group_centres(one, np.ones(1), np.zeros((5, 1)), np.zeros(5, np.int32), None, replace(two, groups_min=3))
    assert alone.tolist() == [0]


def test_groups_never_exceed_their_number() -> None:
    """Whatever lies apart, there are no more groups than are wanted."""
    centres = 10.0 * np.arange(20.0)[:, None]
    labels = np.repeat(np.arange(20), 10)
    points = centres[labels] + np.tile(np.linspace(-0.1, 0.1, 10), 20)[:, None]
    groups = group_centres(centres, np.full(20, 0.05), _sums(points, labels, 20), labels, None, SEGMENTS)
    assert groups.max() + 1 == SEGMENTS.groups_max
