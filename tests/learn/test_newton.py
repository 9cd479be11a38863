"""How a propensity learns: the kernel, its plain reference, and River's own models say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, optim, preprocessing

from operators.kernels.logistic import STANDARD_MAX
from operators.kernels.newton import learn_reference
from operators.learn.champion import Champion
from tests.learn.fading_newton import FADED_EVERY_STEPS, FadingNewton

ALWAYS = "always"


def _log(seed: int, n: int, e: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs of different scale, some all but equal to others, one that never varies; and outcomes."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(rng.normal(size=e), rng.lognormal(size=e), (n, e)).astype(np.float32)
    if e > 2:
        inputs[:, 1] = inputs[:, 0] + 1e-3 * inputs[:, 1]
        inputs[:, 2] = 0.0
    return inputs, (rng.random(n) < 0.3 + 0.4 * (inputs[:, 0] > inputs[:, 0].mean())).astype(np.uint8)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 8), st.floats(20.0, 1e6), st.data())
@settings(max_examples=40, deadline=None)
def test_kernel_is_its_plain_reference(seed: int, n: int, e: int, half_life: float, data: st.DataObject) -> None:
    """However the samples are cut into calls."""
    inputs, outcomes = _log(seed, n, e)
    champion = Champion(e, half_life, 0.01)
    cut = data.draw(st.integers(0, n))
    found = [champion.learn(inputs[:cut], outcomes[:cut]), champion.learn(inputs[cut:], outcomes[cut:])]
    fade = 0.5 ** (FADED_EVERY_STEPS / half_life)
    probabilities, weights, level = learn_reference(inputs, outcomes, 0.01, fade)
    np.testing.assert_allclose(np.concatenate(found), probabilities, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(champion.weights, weights[:-1], rtol=1e-4, atol=1e-6)
    assert champion.bias == pytest.approx(level + weights[-1], rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("half_life", [200.0, 20_000.0])
def test_champion_is_the_pipeline_of_river(half_life: float) -> None:
    """StandardScaler, bounded, and LogisticRegression by fading Newton steps, one dict at a time."""
    inputs, outcomes = _log(5, 1_500, 6)
    scaler, names = preprocessing.StandardScaler(), list("abcdef")
    regression = linear_model.LogisticRegression(FadingNewton(half_life=half_life), intercept_lr=0.01)
    said = []
    for row, outcome in zip(inputs.tolist(), outcomes.tolist(), strict=True):
        x = dict(zip(names, row, strict=True))
        z = {name: min(max(v, -STANDARD_MAX), STANDARD_MAX) for name, v in scaler.transform_one(x).items()}
        said.append(regression.predict_proba_one(z | {ALWAYS: 1.0})[True])
        scaler.learn_one(x)
        regression.learn_one(z | {ALWAYS: 1.0}, bool(outcome))
    champion = Champion(6, half_life, 0.01)
    np.testing.assert_allclose(champion.learn(inputs, outcomes), said, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(champion.weights, [regression.weights[name] for name in names], rtol=1e-4, atol=1e-6)
    assert champion.bias == pytest.approx(regression.intercept + regression.weights[ALWAYS], rel=1e-6)


def test_champion_goes_on_from_its_state() -> None:
    """Bit for bit."""
    inputs, outcomes = _log(6, 400, 5)
    whole, first, second = (Champion(5, 500.0, 0.01) for _ in range(3))
    expected = whole.learn(inputs, outcomes)
    first.learn(inputs[:150], outcomes[:150])
    second.restore(first.state())
    assert np.array_equal(second.learn(inputs[150:], outcomes[150:]), expected[150:])
    assert np.array_equal(second.weights, whole.weights)


def test_fading_newton_is_newton_until_it_fades() -> None:
    """With an endless half-life it is River's own optimizer; with a short one, old evidence loses its say."""
    rng = np.random.default_rng(5)
    endless, own = FadingNewton(lr=1.0, eps=10.0, half_life=1e15), optim.Newton(lr=1.0, eps=10.0)
    short = FadingNewton(lr=1.0, eps=10.0, half_life=200.0)
    w, v, u = ({"a": 0.0, "b": 0.0} for _ in range(3))
    for _ in range(4 * FADED_EVERY_STEPS):
        g = dict(zip("ab", rng.normal(size=2).tolist(), strict=True))
        w, v, u = endless.step(w, g), own.step(v, g), short.step(u, g)
    assert w == pytest.approx(v, rel=1e-9)
    assert np.trace(short._H_inv) > np.trace(own._H_inv)


def test_a_direction_without_evidence_is_never_trusted_more_than_in_the_beginning() -> None:
    """However long nothing came from it, the next step there is no leap."""
    optimizer = FadingNewton(lr=1.0, eps=10.0, half_life=50.0)
    w: dict[str, float] = {"a": 0.0, "b": 0.0}
    for _ in range(200 * FADED_EVERY_STEPS):
        w = optimizer.step(w, {"a": 0.3, "b": 0.0})
    assert (optimizer._H_inv.diagonal() <= 0.1 + 1e-12).all()
    before = w["b"]
    assert abs(optimizer.step(w, {"a": 0.0, "b": 1.0})["b"] - before) <= 0.1
