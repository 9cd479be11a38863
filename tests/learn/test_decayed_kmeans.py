"""The default clusterer is a good River estimator and a better clusterer of drifting shoppers than River's own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from river import cluster
from river.checks import common

from operators.decayed_kmeans import DecayedKMeans, match_centres
from operators.segment_quality import adjusted_rand
from state.features import SEGMENT_DIMENSIONS

MODEL_CHECKS = (
    common.check_repr,
    common.check_str,
    common.check_tags,
    common.check_clone_same_class,
    common.check_clone_is_idempotent,
    common.check_init_has_default_params_for_tests,
    common.check_init_default_params_are_not_mutable,
    common.check_doc,
    common.check_clone_changes_memory_addresses,
    common.check_mutate_can_be_idempotent,
    common.check_pickling_supports_roundtrip,
    common.check_repr_roundtrips_clone,
    common.check_clone_with_new_params_applies,
    common.check_get_params_matches_signature,
)

STREAM_CHECKS = (
    common.check_learn_one,
    common.check_pickling,
    common.check_shuffle_features_no_impact,
    common.check_emerging_features,
    common.check_disappearing_features,
    common.check_radically_disappearing_features,
    common.check_predict_one_pure,
    common.check_predict_one_before_any_learn,
    common.check_no_state_aliasing_with_input,
    common.check_clone_is_independent,
    common.check_seeding_is_idempotent,
    common.check_bounded_memory_growth,
)


def _small() -> DecayedKMeans:
    return DecayedKMeans(**next(iter(DecayedKMeans._unit_test_params())))


def _blobs(seed: int, n: int, k: int = 4, d: int = 6, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    places = rng.uniform(-4.0, 4.0, (k, d))
    truth = rng.integers(0, k, n)
    return places[truth] + rng.normal(0.0, spread, (n, d)), truth


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
def test_river_accepts_it_as_an_estimator(check: Callable[..., None]) -> None:
    """River's own laws for every estimator hold."""
    check(_small())


@pytest.mark.parametrize("check", STREAM_CHECKS, ids=lambda check: check.__name__)
def test_river_accepts_what_it_does_on_a_stream(check: Callable[..., None]) -> None:
    """River's own laws that need data hold: purity, emerging and disappearing features, seeds, bounded memory."""
    points, truth = _blobs(3, 400)
    stream = [
        ({f"f{j}": v for j, v in enumerate(row)}, y) for row, y in zip(points.tolist(), truth.tolist(), strict=True)
    ]
    check(_small(), stream)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_drifting_personas_better_than_river_kmeans(
    seed: int, personas: Callable[..., tuple[np.ndarray, np.ndarray]]
) -> None:
    """Predict, then learn, on six personas in twenty dimensions: near the truth, and clearly above River's KMeans."""
    x, truth = personas(seed, 4_000, noise=0.9)
    logs = np.log1p(x[:, :SEGMENT_DIMENSIONS].astype(np.float64))
    points = (logs - logs[:500].mean(0)) / np.maximum(logs[:500].std(0), 0.05)
    ours = DecayedKMeans(n_clusters=6, half_life=2_000, seed=seed)
    labels = []
    for at in range(0, len(points), 50):
        labels += ours.predict_array(points[at : at + 50]).tolist()
        ours.learn_array(points[at : at + 50])
    theirs = cluster.KMeans(n_clusters=6, seed=seed)
    their_labels = []
    for row in points.tolist():
        features = dict(enumerate(row))
        their_labels.append(theirs.predict_one(features))
        theirs.learn_one(features)
    found = adjusted_rand(truth[-2_000:], np.array(labels[-2_000:]))
    assert found > 0.9
    assert found > adjusted_rand(truth[-2_000:], np.array(their_labels[-2_000:])) + 0.1


def test_cut_of_calls_changes_nothing() -> None:
    """One call, many calls and point by point give the same state, bit for bit."""
    points, _ = _blobs(1, 1_500)
    whole, cut, single = (DecayedKMeans(4, warm_up=32, reservoir=128, seed=5) for _ in range(3))
    whole.learn_array(points)
    rng = np.random.default_rng(0)
    at = 0
    while at < len(points):
        size = int(rng.integers(1, 200))
        cut.learn_array(points[at : at + size])
        at += size
    for row in points.tolist():
        single.learn_one(dict(enumerate(row)))
    for other in (cut, single):
        assert pickle.dumps(other.centers) == pickle.dumps(whole.centers)
        assert (other.weights == whole.weights).all()
        assert (other.identities == whole.identities).all()


def test_snapshot_in_the_middle_changes_nothing() -> None:
    """A pickled and restored clusterer goes on as the one that was never interrupted."""
    points, _ = _blobs(2, 1_200)
    whole = DecayedKMeans(4, warm_up=32, reservoir=128, seed=5)
    whole.learn_array(points[:700])
    resumed = pickle.loads(pickle.dumps(whole))
    whole.learn_array(points[700:])
    resumed.learn_array(points[700:])
    assert pickle.dumps(whole) == pickle.dumps(resumed)


def test_slow_drift_keeps_identities() -> None:
    """Centres that wander far in small steps are the same centres at the end."""
    points, truth = _blobs(7, 6_000)
    points += np.linspace(0.0, 3.0, len(points))[:, None]
    model = DecayedKMeans(4, warm_up=64, reservoir=256, half_life=500, seed=1)
    model.learn_array(points[:500])
    before = {int(t): set(model.predict_array(points[400:500][truth[400:500] == t]).tolist()) for t in range(4)}
    model.learn_array(points[500:])
    after = {int(t): set(model.predict_array(points[-100:][truth[-100:] == t]).tolist()) for t in range(4)}
    assert all(len(identities) == 1 for identities in before.values())
    assert before == after


def test_centre_that_lost_its_points_moves_where_points_are_and_is_a_new_one() -> None:
    """When a group goes and another comes, the group that came gets an identity never used before."""
    points, truth = _blobs(5, 8_000, k=4)
    first, second = points[:3_000][truth[:3_000] < 3], points[3_000:][truth[3_000:] > 0]
    model = DecayedKMeans(
        3, warm_up=64, reservoir=256, half_life=300, check_points_max=256, reseed_points_max=512, seed=1
    )
    model.learn_array(first)
    known = set(model.identities.tolist())
    model.learn_array(second)
    labels = model.predict_array(second[-500:])
    newcomers = set(labels[truth[3_000:][truth[3_000:] > 0][-500:] == 3].tolist())
    assert len(newcomers) == 1
    assert not newcomers & known
    assert adjusted_rand(truth[3_000:][truth[3_000:] > 0][-500:], labels) == pytest.approx(1.0)


def test_no_number_in_a_point_poisons_no_centre() -> None:
    """nan and infinities count as 0."""
    points, _ = _blobs(4, 300)
    points[::7, 2] = np.nan
    points[::11, 3] = np.inf
    model = DecayedKMeans(4, warm_up=32, reservoir=64, seed=1)
    model.learn_array(points)
    model.learn_one({0: float("nan"), 1: 1.0})
    assert all(np.isfinite(list(centre.values())).all() for centre in model.centers.values())


def test_same_point_over_and_over_is_no_trouble() -> None:
    """With fewer different points than centres the others have no weight."""
    model = DecayedKMeans(4, warm_up=16, reservoir=64, half_life=100, seed=1)
    model.learn_array(np.ones((2_000, 3)))
    assert (model.weights >= 0.5).sum() == 1
    assert list(model.centers[model.predict_one({0: 1.0, 1: 1.0, 2: 1.0})].values()) == [1.0, 1.0, 1.0]


def test_rebase_sees_the_same_model_through_another_standard() -> None:
    """Shifted and scaled along with its points, the model assigns them as before."""
    points, _ = _blobs(6, 600)
    model = DecayedKMeans(4, warm_up=32, reservoir=64, seed=1)
    model.learn_array(points)
    before = model.predict_array(points)
    shift, factor = np.arange(6.0), np.full(6, 2.5)
    model.rebase(shift, factor)
    assert (model.predict_array((points - shift) / factor) == before).all()


def test_points_of_another_width_are_refused() -> None:
    """An array whose columns are not those learned is an error that says both numbers."""
    model = DecayedKMeans(2, warm_up=4)
    model.learn_array(np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"4 features.*learned 3"):
        model.learn_array(np.zeros((1, 4)))


def test_features_are_bounded() -> None:
    """Names past the bound are ignored."""
    model = DecayedKMeans(2, warm_up=4, reservoir=8, features_max=3, seed=1)
    for i in range(20):
        model.learn_one({f"f{i}": 1.0})
    assert all(len(centre) == 3 for centre in model.centers.values())


def test_matching_prefers_large_segments_and_never_exceeds_the_reach() -> None:
    """Of two new centres beside one old the larger takes its identity; one far from all gets none."""
    old = np.array([[0.0, 0.0], [10.0, 0.0]])
    new = np.array([[0.4, 0.0], [-0.4, 0.0], [20.0, 0.0]])
    matched = match_centres(new, np.array([0.1, 0.5, 0.4]), old, np.array([0.6, 0.4]), np.full(2, 2.0))
    assert matched.tolist() == [-1, 0, -1]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"n_clusters": 0}, "n_clusters: 0 is not from 1 to 1024"),
        ({"n_clusters": 2.5}, "n_clusters: 2.5 is not a whole number"),
        ({"n_clusters": 100_000}, "n_clusters: 100000 is not from 1 to 1024"),
        ({"half_life": 0}, "half_life: 0 is not 1 or more"),
        ({"half_life": "x"}, "half_life: 'x' is not 1 or more"),
        ({"half_life": float("nan")}, "half_life: nan is not 1 or more"),
        ({"warm_up": -1}, "warm_up: -1 is not from 1 to"),
        ({"restarts": 0}, "restarts: 0 is not from 1 to 1024"),
        ({"trim": 2.0}, "trim: 2.0 is not from 0 to 1"),
        ({"min_share": -1.0}, "min_share: -1.0 is not from 0 to 1"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(params: dict[str, Any], told: str) -> None:
    """Where it is made, not when it has learned for an hour."""
    with pytest.raises(ValueError, match=told):
        DecayedKMeans(**params)
