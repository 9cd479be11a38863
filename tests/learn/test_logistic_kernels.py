"""What propensities see, and what they say: each kernel gives what its plain reference gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.logistic import STANDARD_MAX, cross, cross_reference, logistic, logistic_reference
from state.features import CROSSED_FEATURES, DIMENSIONS, MODEL_FEATURES, PROPENSITY_INPUTS

SEEDS = st.integers(0, 2**32 - 1)


@given(st.integers(0, 40), st.integers(1, 12), st.floats(-40, 40), SEEDS)
@settings(max_examples=60, deadline=None)
def test_logistic_is_the_logistic_function(n: int, e: int, bias: float, seed: int) -> None:
    """Also far out, where exp would overflow."""
    rng = np.random.default_rng(seed)
    mean, scale = rng.normal(size=e).astype(np.float32), rng.uniform(0.05, 3.0, e).astype(np.float32)
    inputs, weights = rng.normal(size=(n, e)).astype(np.float32), (30.0 * rng.normal(size=e)).astype(np.float32)
    out = np.empty(n, np.float32)
    logistic(inputs, mean, scale, weights, bias, out)
    np.testing.assert_allclose(out, logistic_reference(inputs, mean, scale, weights, bias), rtol=1e-3, atol=1e-6)


def test_no_input_counts_beyond_the_bound() -> None:
    """A shopper a thousand deviations away is told of like one at the bound."""
    one = np.ones(1, np.float32)
    out = np.empty(4, np.float32)
    inputs = np.array([[STANDARD_MAX], [1e3], [-STANDARD_MAX], [-1e3]], np.float32)
    logistic(inputs, 0 * one, one, one, 0.0, out)
    assert out[0] == out[1] and out[2] == out[3] and out[0] > 0.98


@given(st.integers(0, 20), SEEDS)
@settings(max_examples=30, deadline=None)
def test_products_follow_the_features(n: int, seed: int) -> None:
    """The features first, then every product of two of the crossed ones, by name."""
    logs = np.random.default_rng(seed).normal(size=(n, DIMENSIONS)).astype(np.float32)
    out = np.empty((n, len(PROPENSITY_INPUTS)), np.float32)
    cross(logs, out)
    np.testing.assert_array_equal(out, cross_reference(logs))
    k = len(CROSSED_FEATURES)
    assert len(set(PROPENSITY_INPUTS)) == DIMENSIONS + k * (k + 1) // 2
    for place, name in enumerate(PROPENSITY_INPUTS[DIMENSIONS:], DIMENSIONS):
        a, b = (MODEL_FEATURES.index(factor) for factor in name.split(" x "))
        np.testing.assert_array_equal(out[:, place], logs[:, a] * logs[:, b])
