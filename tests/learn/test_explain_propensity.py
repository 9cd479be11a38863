"""What is told of a propensity adds up to it, and the change that is told turns it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.explain_propensity import contributions, smallest_change
from operators.kernels.logistic import logistic
from operators.learn.transform import propensity_inputs
from state.features import MODEL_FEATURES, PROPENSITY_INPUTS
from state.models import PropensityModel

ORDERS, VIEWS = MODEL_FEATURES.index("purchases_total"), MODEL_FEATURES.index("views_24h")


def _model(seed: int | None = None, **weights: float) -> PropensityModel:
    """Random weights, or none but those given by the name of the input (`_x_` between the factors of a product)."""
    e = len(PROPENSITY_INPUTS)
    w, mean, scale = np.zeros(e), np.zeros(e), np.ones(e)
    if seed is not None:
        rng = np.random.default_rng(seed)
        w, mean, scale = rng.normal(0.0, 0.3, e), rng.uniform(0.5, 2.0, e), rng.uniform(0.5, 2.0, e)
    for name, weight in weights.items():
        w[PROPENSITY_INPUTS.index(name.replace("_x_", " x "))] = weight
    mean, scale, w = (a.astype(np.float32) for a in (mean, scale, w))
    return PropensityModel("purchase", 1, mean, scale, w, -0.5, 100, 0.8)


def _shopper(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0.5, 1.0, len(MODEL_FEATURES)).astype(np.float32)


def _told(model: PropensityModel, x: np.ndarray) -> float:
    out = np.empty(1, np.float32)
    logistic(propensity_inputs(x[None]), model.mean, model.scale, model.weights, model.bias, out)
    return float(out[0])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_contributions_add_up_to_the_propensity(seed: int) -> None:
    """With the mean shopper's log-odds they give what the shards' kernel gives; every feature is told once."""
    model, x = _model(seed), _shopper(seed)
    found = contributions(model, x)
    odds = model.bias + sum(part for _, part in found)
    assert 1.0 / (1.0 + np.exp(-odds)) == pytest.approx(_told(model, x), abs=1e-5)
    assert sorted(name for name, _ in found) == sorted(MODEL_FEATURES)
    sizes = [abs(part) for _, part in found]
    assert sizes == sorted(sizes, reverse=True)


def test_a_product_is_its_factors_in_halves() -> None:
    """And a square is its feature's alone."""
    x = np.zeros(len(MODEL_FEATURES), np.float32)
    x[ORDERS], x[MODEL_FEATURES.index("days_known")] = np.expm1(1.0), np.expm1(2.0)
    found = dict(contributions(_model(purchases_total_x_days_known=0.3, purchases_total_x_purchases_total=0.2), x))
    assert found["days_known"] == pytest.approx(0.3, abs=1e-6)
    assert found["purchases_total"] == pytest.approx(0.3 + 0.2, abs=1e-6)
    assert sum(map(abs, found.values())) == pytest.approx(0.8, abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
@settings(max_examples=40, deadline=None)
def test_the_change_that_is_told_turns_the_propensity(seed: int, wanted: float) -> None:
    """With that one value, the shards' kernel says what was wanted or more (less, if less was wanted)."""
    model, x = _model(seed), _shopper(seed)
    before, change = _told(model, x), smallest_change(model, x, wanted)
    if change is not None:
        x[MODEL_FEATURES.index(change.feature)] = change.changed
        after = _told(model, x)
        assert after == pytest.approx(change.propensity, abs=1e-4)
        assert (after >= wanted - 1e-4) if wanted > before else (after <= wanted + 1e-4)


def test_the_smallest_change_is_the_smallest() -> None:
    """Of two features the one that has to move less, by as much as the weights say; none where none can do it."""
    x = np.zeros(len(MODEL_FEATURES), np.float32)
    model = _model(purchases_total=0.5, views_24h=0.25)
    change = smallest_change(model, x, 0.5)  # the log-odds are to rise by .5
    assert change is not None and change.feature == "purchases_total"
    assert change.deviations == pytest.approx(1.0, abs=0.07)
    assert change.changed == pytest.approx(np.expm1(1.0), rel=0.2)
    other = smallest_change(model, x, 0.5, among=["views_24h"])
    assert other is not None and other.deviations == pytest.approx(2.0, abs=0.07)
    assert smallest_change(model, x, 0.99) is None
    assert smallest_change(model, x, 0.1) is None  # nothing falls below zero
