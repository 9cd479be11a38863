"""Each kernel gives what its plain reference gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels import assign as kernels
from operators.score import SCORE_ROW
from state.batches import PROFILE, SCORE, TRANSITION

SHAPES = st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32 - 1))


def _model(rng: np.random.Generator, d: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, scale = rng.normal(size=d), rng.uniform(0.05, 3.0, d)
    return mean.astype(np.float32), scale.astype(np.float32), rng.normal(size=(k, d)).astype(np.float32)


@given(SHAPES)
@settings(max_examples=60, deadline=None)
def test_signed_log1p_keeps_the_sign_and_takes_no_number_for_zero(shape: tuple[int, int, int, int]) -> None:
    """Money sent back is negative; nan and infinities count as 0."""
    n, d, _, seed = shape
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3, 6, (n, d))).astype(np.float32)
    x[rng.random((n, d)) < 0.2] = rng.choice([0.0, np.nan, np.inf, -np.inf])
    out = np.empty_like(x)
    kernels.signed_log1p(x, out)
    np.testing.assert_allclose(out, kernels.signed_log1p_reference(x), rtol=1e-5, atol=1e-7)
    assert np.isfinite(out).all()


@given(SHAPES, st.floats(0.5, 1.0))
@settings(max_examples=60, deadline=None)
def test_assign_chooses_what_the_reference_chooses(shape: tuple[int, int, int, int], factor: float) -> None:
    """Centre and margin, with any centre held before, agree with NumPy."""
    n, d, k, seed = shape
    rng = np.random.default_rng(seed)
    mean, scale, centres = _model(rng, d, k)
    logs = rng.normal(size=(n, d)).astype(np.float32)
    held = rng.integers(-1, k, n).astype(np.int32)
    chosen, others, margin = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.float32)
    kernels.assign(logs, mean, scale, centres, held, factor, chosen, others, margin)
    expected, expected_others, expected_margin = kernels.assign_reference(logs, mean, scale, centres, held, factor)
    z = (logs - mean) / scale
    distances = np.sqrt(((z[:, None] - centres[None]) ** 2).sum(2))
    for i in np.flatnonzero(chosen != expected):  # only where rounding decides
        pair = distances[i, [chosen[i], expected[i]]] * np.where(
            [chosen[i] == held[i], expected[i] == held[i]], factor, 1.0
        )
        assert pair[0] == pytest.approx(pair[1], rel=1e-4)
    same = chosen == expected
    np.testing.assert_allclose(margin[same], expected_margin[same], atol=1e-4)
    for i in np.flatnonzero(same & (others != expected_others)):
        assert distances[i, others[i]] == pytest.approx(distances[i, expected_others[i]], rel=1e-4)
    assert (others != chosen).all() and (others >= 0).all() == (k > 1 or n == 0)
    assert ((margin >= 0.0) & (margin <= 1.0)).all()


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_opening_and_settling_a_batch_agree_with_plain_python(n: int, seed: int) -> None:
    """Fresh, erased and moving shoppers: counts, kept rows, marks and moves."""
    rng = np.random.default_rng(seed)
    kept = np.zeros(40, SCORE_ROW)
    kept["segment"] = rng.integers(-1, 6, 40)
    counts = np.bincount(kept["segment"][kept["segment"] >= 0], minlength=6)
    profiles = np.zeros(n, PROFILE)
    profiles["row"] = rng.choice(40, n, replace=False)
    profiles["fresh"], profiles["erased"] = rng.random(n) < 0.3, rng.random(n) < 0.3
    profiles["event_ts"] = rng.integers(0, 1_000, n)
    profiles["acts"] = rng.integers(0, 2, n)
    kept["near_ts"] = rng.integers(0, 1_000, 40)
    watermark_ts, stay_ms = int(rng.integers(0, 1_000)), int(rng.integers(0, 1_000))
    looks = np.where(profiles["acts"] > 0, profiles["event_ts"], np.maximum(profiles["event_ts"], watermark_ts))
    lately = (looks - kept["near_ts"][profiles["row"]] <= stay_ms).tolist()
    place_of = np.array([3, -1, 0, 1, 2], np.int32)  # number 1 is retired, 5 too
    erased = profiles["erased"].astype(bool).tolist()
    forgotten = (profiles["fresh"] | profiles["erased"]).astype(bool).tolist()
    plain_counts = counts.tolist()
    segments, rows = kept["segment"].tolist(), profiles["row"].tolist()
    expected = kernels.open_rows_reference(rows, forgotten, lately, segments, {0: 3, 2: 0, 3: 1, 4: 2}, plain_counts)
    before, held = np.empty(n, np.int32), np.empty(n, np.int32)
    kernels.open_rows(profiles, kept, place_of, counts, watermark_ts, stay_ms, before, held)
    assert (before.tolist(), held.tolist()) == expected

    scores = np.zeros(n, SCORE)
    scores["segment"] = rng.integers(-1, 6, n)
    scores["margin"] = rng.integers(0, 2, n) / 2
    scores["other"], scores["why_by"] = 3, 0.5
    after, near, near_before = scores["segment"].tolist(), scores["margin"] > 0.0, kept["near_ts"][rows]
    dirty, transitions = np.zeros(40, np.uint8), np.zeros(n, TRANSITION)
    moved = kernels.settle(profiles, before, scores, kept, dirty, counts, transitions)
    expected_kept, moves = kernels.settle_reference(before.tolist(), after, erased, plain_counts)
    assert kept["segment"][rows].tolist() == scores["segment"].tolist() == expected_kept
    assert transitions[:moved][["position", "before", "after"]].tolist() == moves
    assert transitions[:moved]["at"].tolist() == [profiles["event_ts"][i] for i, _, _ in moves]
    assert counts.tolist() == plain_counts
    assert scores["other"].tolist() == np.where(erased, -1, 3).tolist()
    assert (scores["why_by"] == np.where(erased, 0.0, 0.5)[:, None, None]).all()
    known = np.where(near | (scores["segment"] != before), profiles["event_ts"], near_before)
    assert kept["near_ts"][rows].tolist() == np.where(erased, 0, known).tolist()
    assert np.flatnonzero(dirty).tolist() == sorted(rows)


@given(SHAPES)
@settings(max_examples=40, deadline=None)
def test_clustering_loops_agree_with_their_references(shape: tuple[int, int, int, int]) -> None:
    """Nearest centres, Lloyd rounds, sequential learning."""
    n, d, k, seed = shape
    rng = np.random.default_rng(seed)
    points, centres = rng.normal(size=(n, d)), rng.normal(size=(k, d))
    labels, squared = np.empty(n, np.int32), np.empty(n)
    kernels.nearest(points, centres, labels, squared)
    expected, expected_squared = kernels.nearest_reference(points, centres)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(squared, expected_squared)

    refined, expected_refined = centres.copy(), centres.copy()
    kernels.lloyd(points, refined, 5, 1e-9)
    kernels.lloyd_reference(points, expected_refined, 5, 1e-9)
    np.testing.assert_allclose(refined, expected_refined)

    weights = rng.uniform(0.0, 5.0, k)
    learned, learned_weights = centres.copy(), weights.copy()
    kernels.learn_points(points, learned, learned_weights, 0.99)
    kernels.learn_points_reference(points, centres, weights, 0.99)
    np.testing.assert_allclose(learned, centres)
    np.testing.assert_allclose(learned_weights, weights)


@given(st.integers(1, 60), st.integers(1, 5), st.floats(0.5, 1.0), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_fading_moments_are_the_weighted_mean_and_variance(n: int, d: int, decay: float, seed: int) -> None:
    """The running figures equal those of NumPy over all points at once, each with its faded weight."""
    points = np.random.default_rng(seed).normal(3.0, 2.0, (n, d))
    mean, variance, weight = np.zeros(d), np.zeros(d), np.zeros(1)
    kernels.fade_moments(points, mean, variance, weight, decay)
    expected_mean, expected_variance = kernels.fade_moments_reference(points, decay)
    np.testing.assert_allclose(mean, expected_mean)
    np.testing.assert_allclose(variance, expected_variance, atol=1e-9)
