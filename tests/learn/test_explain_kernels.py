"""What a score tells of its reasons is what the plain references tell, and what explains a shopper in full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.explain_propensity import contributions
from operators.explain_segment import pull
from operators.kernels import explain as kernels
from operators.score import Score
from state.batches import (
    ACT,
    EXPLAINED,
    FETCH,
    PAIR,
    PROFILE,
    SCORE,
    TOUCH,
    WHY_LENGTH,
    ProfileBatch,
    Receipt,
    ScoredBatch,
)
from state.features import CROSSED_PAIRS, DIMENSIONS, MODEL_FEATURES, PROPENSITY_INPUTS, SEGMENT_DIMENSIONS
from state.metrics import Metrics
from state.models import PropensityModel, SegmentModel

SEEDS = st.integers(0, 2**32 - 1)
SEGMENT, PURCHASE, CHURN = range(len(EXPLAINED))
Told = list[tuple[int, float]]


def _told(scores: np.ndarray, place: int) -> list[Told]:
    """Of each row [(feature, amount)]; behind the first amount of 0 there is none."""
    found = []
    for which, amounts in zip(scores["why"][:, place].tolist(), scores["why_by"][:, place].tolist(), strict=True):
        parts = [(j, amount) for j, amount in zip(which, amounts, strict=True) if amount]
        assert not any(amounts[len(parts) :])
        found.append(parts)
    return found


def _same(found: Told, expected: Told) -> None:
    """The same features and amounts; rounding may decide between two that are as strong."""
    sizes = [abs(amount) for _, amount in found]
    assert sizes == sorted(sizes, reverse=True)
    assert [amount for _, amount in found] == pytest.approx([amount for _, amount in expected], rel=1e-3, abs=1e-4)
    assert len({j for j, _ in found}) == len(found)
    for (j, amount), (k, other) in zip(found, expected, strict=True):
        assert j == k or any(abs(abs(amount) - abs(x)) < 1e-3 * abs(x) + 1e-4 for _, x in expected if x != other)


@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 9), SEEDS)
@settings(max_examples=80, deadline=None)
def test_the_strongest_pulls_are_those_of_the_reference(n: int, d: int, k: int, seed: int) -> None:
    """Few features or many, a single centre, any centre for the next one, features in which both centres agree."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.normal(size=d).astype(np.float32), rng.uniform(0.05, 3.0, d).astype(np.float32)
    centres = rng.integers(-2, 3, (k, d)).astype(np.float32)
    logs = rng.normal(size=(n, d + int(rng.integers(0, 3)))).astype(np.float32)
    chosen = rng.integers(0, k, n).astype(np.int32)
    others = np.where(k > 1, (chosen + rng.integers(1, max(k, 2), n)) % k, -1).astype(np.int32)
    numbers, scores = rng.permutation(100)[:k].astype(np.int32), np.zeros(n, SCORE)
    scores["other"] = -1
    kernels.strongest_pulls(logs, mean, scale, centres, numbers, chosen, others, scores)
    assert scores["other"].tolist() == [int(numbers[other]) if other >= 0 else -1 for other in others]
    expected = kernels.strongest_pulls_reference(logs, mean, scale, centres, chosen, others)
    for found, wanted in zip(_told(scores, SEGMENT), expected, strict=True):
        _same(found, wanted)
        assert all(amount > 0.0 for _, amount in found)
    assert not scores["why_by"][:, SEGMENT + 1 :].any()


@given(st.integers(0, 30), st.sampled_from([PURCHASE, CHURN]), SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_strongest_contributions_are_those_of_the_reference(n: int, place: int, seed: int) -> None:
    """Inputs beyond all bounds, and weights of which many are 0."""
    rng = np.random.default_rng(seed)
    e = len(PROPENSITY_INPUTS)
    mean, scale = rng.normal(size=e).astype(np.float32), rng.uniform(0.05, 3.0, e).astype(np.float32)
    weights = (rng.normal(size=e) * (rng.random(e) < rng.random())).astype(np.float32)
    inputs = (rng.normal(size=(n, e)) * 10.0 ** rng.uniform(-1, 3, (n, e))).astype(np.float32)
    scores = np.zeros(n, SCORE)
    kernels.strongest_contributions(inputs, mean, scale, weights, place, scores)
    expected = kernels.strongest_contributions_reference(inputs, mean, scale, weights)
    for found, wanted in zip(_told(scores, place), expected, strict=True):
        _same(found, wanted)
    assert not np.delete(scores["why_by"], place, axis=1).any()
    assert not scores["why"][scores["why_by"] == 0.0].any()


def test_of_equals_the_earlier_feature_is_told() -> None:
    """As whoever explains a shopper in full has them; a product adds to both of its factors."""
    e = len(PROPENSITY_INPUTS)
    inputs, zero, one = np.ones((1, e), np.float32), np.zeros(e, np.float32), np.ones(e, np.float32)
    weights, scores = zero.copy(), np.zeros(2, SCORE)
    weights[:5] = (0.25, -0.25, 0.25, -0.25, 0.25)
    kernels.strongest_contributions(inputs, zero, one, weights, PURCHASE, scores[:1])
    assert _told(scores, PURCHASE)[0] == [(0, 0.25), (1, -0.25), (2, 0.25)]
    weights[DIMENSIONS + CROSSED_PAIRS.index((CROSSED_PAIRS[0][0], CROSSED_PAIRS[-1][0]))] = -4.0
    kernels.strongest_contributions(inputs, zero, one, weights, PURCHASE, scores[1:])
    both = sorted((CROSSED_PAIRS[0][0], CROSSED_PAIRS[-1][0]))
    assert _told(scores, PURCHASE)[1] == [(both[0], -2.0), (both[1], -2.0), (0, 0.25)]


def _models(rng: np.random.Generator, segments: int) -> tuple[SegmentModel, list[PropensityModel]]:
    d, e, k = SEGMENT_DIMENSIONS, len(PROPENSITY_INPUTS), segments
    mean, scale = rng.normal(1.0, 0.3, d).astype(np.float32), rng.uniform(0.2, 2.0, d).astype(np.float32)
    centres, numbers = rng.normal(size=(k, d)).astype(np.float32), rng.permutation(40)[:k].astype(np.int32)
    found = SegmentModel(1, mean, scale, centres, numbers, np.zeros(k, np.int32), [], 1_000, 0.5, 1.0)
    space = [(rng.uniform(0.5, 2.0, e), rng.uniform(0.3, 2.0, e), rng.normal(0.0, 0.3, e)) for _ in (PURCHASE, CHURN)]
    propensities = [
        PropensityModel(target, 1, *(a.astype(np.float32) for a in arrays), -0.5, 100, 0.8)
        for target, arrays in zip(("purchase", "churn"), space, strict=True)
    ]
    return found, propensities


def _batch(rng: np.random.Generator, n: int) -> ProfileBatch:
    profiles = np.zeros(n, PROFILE)
    profiles["row"], profiles["acts"] = np.arange(n), 1
    profiles["x"] = rng.lognormal(0.5, 1.0, (n, DIMENSIONS)) * rng.choice([-1, 0, 1, 1], (n, DIMENSIONS))
    none = [np.zeros(0, kind) for kind in (ACT, PAIR, TOUCH, FETCH)]
    receipt = Receipt(np.zeros(0), np.zeros(0, np.int64), {})
    return ProfileBatch(0, 0, profiles, np.zeros(0, np.uint8), *none, [], receipt, 1)


@given(st.integers(1, 8), SEEDS)
@settings(max_examples=40, deadline=None)
def test_scores_tell_the_reasons_that_are_told_in_full(segments: int, seed: int) -> None:
    """Random shoppers and models; twice, so that some stay with a centre that is no longer the nearest."""
    rng = np.random.default_rng(seed)
    model, propensities = _models(rng, segments)
    step = Score(0, Metrics())
    for batch in (_batch(rng, 20), _batch(rng, 20)):
        out = step.process([model, *propensities, batch])
        scores = next(value for value in out if isinstance(value, ScoredBatch)).scores
        for x, score, *told in zip(batch.rows["x"], scores, *(_told(scores, place) for place in range(3)), strict=True):
            held = pull(model, x, int(score["segment"]))
            assert held is not None and held.other == score["other"]
            full = [(MODEL_FEATURES.index(name), amount) for name, amount in held.features[:WHY_LENGTH]]
            _same(told[SEGMENT], [(j, amount) for j, amount in full if amount > 0.0])
            for place, propensity in zip((PURCHASE, CHURN), propensities, strict=True):
                parts = contributions(propensity, x)[:WHY_LENGTH]
                _same(told[place], [(MODEL_FEATURES.index(name), amount) for name, amount in parts])


def test_who_is_erased_or_not_scored_has_no_reasons() -> None:
    """Nothing stays of the scores of an erased shopper; without a model there is nothing to tell."""
    rng = np.random.default_rng(3)
    model, propensities = _models(rng, 3)
    step, batch = Score(0, Metrics()), _batch(rng, 2)
    (without,) = (value for value in step.process([batch]) if isinstance(value, ScoredBatch))
    assert not without.scores["why_by"].any() and without.scores["other"].tolist() == [-1, -1]
    batch.rows["erased"] = (1, 0)
    (scored,) = (v for v in step.process([model, *propensities, batch]) if isinstance(v, ScoredBatch))
    assert scored.scores["other"][0] == -1 and not scored.scores["why_by"][0].any()
    assert scored.scores["other"][1] >= 0 and scored.scores["why_by"][1].all()
