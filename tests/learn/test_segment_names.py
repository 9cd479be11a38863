"""Figures of quality are the textbook's, and names tell segments apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics

from operators.kernels.assign import distance_sums
from operators.segment_names import adjusted_rand, group_centres, name_of, silhouette, traits
from state.features import DIMENSIONS, MODEL_FEATURES

COLUMN = {name: j for j, name in enumerate(MODEL_FEATURES)}


def _centre(**gaps: float) -> np.ndarray:
    centre = np.zeros(DIMENSIONS)
    for name, gap in gaps.items():
        centre[COLUMN[name]] = gap
    return centre


def _sums(points: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    sums = np.empty((len(points), k))
    distance_sums(points, labels.astype(np.int32), sums)
    return sums


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
    groups = group_centres(centres, shares, sums, labels, None)
    assert adjusted_rand(groups, np.array([0, 0, 1, 1, 2, 2])) == 1.0
    assert adjusted_rand(group_centres(centres, shares, sums, labels, groups + 7), groups) == 1.0
    worse = np.array([0, 0, 0, 0, 1, 1])
    assert adjusted_rand(group_centres(centres, shares, sums, labels, worse), groups) == 1.0


def test_no_group_is_smaller_than_the_least_share() -> None:
    """A far segment with hardly any shoppers does not become a group of its own."""
    centres = np.array([[0, 0], [1, 0], [30, 0]], float)
    rng = np.random.default_rng(2)
    labels = np.r_[rng.integers(0, 2, 199), 2]
    points = centres[labels] + rng.normal(0, 0.1, (200, 2))
    groups = group_centres(centres, np.array([0.5, 0.49, 0.01]), _sums(points, labels, 3), labels, None)
    assert groups.tolist() == [0, 0, 0]


def test_names_say_who_when_and_how() -> None:
    """Role, daytime and the strongest feature, in words."""
    means = np.full(DIMENSIONS, 5.0)
    name = name_of(_centre(purchases_30d=1.2, hour_18_24_share=1.0, spend_30d=1.5), means, 1, set())
    assert name == "evening buyers, high spend"
    assert name_of(_centre(views_30d=1.0, hour_6_12_share=0.9), means, 2, set()) == "morning browsers"
    means[COLUMN["sessions_total"]] = 1.1
    assert name_of(_centre(sessions_total=-0.9), means, 3, set()) == "new visitors"


def test_names_are_never_taken_twice() -> None:
    """Where all words are used up the segment's number tells it apart."""
    centre, means, taken = (
        _centre(purchases_30d=1.2, spend_30d=1.5, session_minutes=1.0),
        np.full(DIMENSIONS, 5.0),
        set[str](),
    )
    for number in range(6):
        name = name_of(centre, means, number, taken)
        assert name not in taken
        taken.add(name)


def test_traits_are_the_strongest_features_with_both_means() -> None:
    """Strongest first, none that is hardly different."""
    own, everyone = np.full(DIMENSIONS, 2.34567), np.full(DIMENSIONS, 1.0)
    found = traits(_centre(views_30d=-2.0, carts_30d=0.5, clicks_30d=0.1), own, everyone)
    assert found == [("views_30d", 2.35, 1.0), ("carts_30d", 2.35, 1.0)]
