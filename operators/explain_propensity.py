"""Why a propensity is what it is: what each feature adds to it, and the smallest change of one that would turn it.

Plain array code over a published model and a shopper's features; nothing of River.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from operators.kernels.logistic import STANDARD_MAX
from operators.learn.transform import propensity_inputs, signed_logs
from state.features import CROSSED_PAIRS, DIMENSIONS, MODEL_FEATURES
from state.models import PropensityModel

STEPS = 64
"""So many values on either side of a feature's own are tried for a change, evenly spaced in its logarithm."""


@dataclass(frozen=True, slots=True)
class Change:
    """One feature at another value, in natural units, all others as they are, and the propensity with it.

    `deviations` is how far that is, in standard deviations of the feature's signed log1p among the samples.
    """

    feature: str
    value: float
    changed: float
    propensity: float
    deviations: float


def contributions(model: PropensityModel, x: np.ndarray) -> list[tuple[str, float]]:
    """(feature, what it adds to the log-odds) of every feature, greatest first, x float32[DIMENSIONS] in natural units.

    The mean shopper's log-odds (`model.bias`) plus all of these are the shopper's: a linear model's own Shapley values
    (Strumbelj and Kononenko, "Explaining prediction models and individual predictions with feature contributions",
    KAIS 2014), where a product of two features is theirs in halves.
    """
    terms = (_standardised(model, propensity_inputs(x[None]))[0] * model.weights).tolist()
    parts = terms[:DIMENSIONS]
    for (a, b), term in zip(CROSSED_PAIRS, terms[DIMENSIONS:], strict=True):
        parts[a] += term / 2.0
        parts[b] += term / 2.0
    order = sorted(range(DIMENSIONS), key=lambda j: (-abs(parts[j]), j))
    return [(MODEL_FEATURES[j], parts[j]) for j in order]


def propensity_of(model: PropensityModel, x: np.ndarray) -> float:
    """What the model says of one shopper, x float32[DIMENSIONS] in natural units."""
    return float(_propensities(model, x[None])[0])


def smallest_change(
    model: PropensityModel, x: np.ndarray, wanted: float, among: Collection[str] = MODEL_FEATURES
) -> Change | None:
    """The smallest change of one feature that brings the propensity to `wanted` or past it; None if none does.

    Smallest in standard deviations. Values stay within STANDARD_MAX deviations of the mean, where the model is at
    home, and one that is not negative does not become so. It tells what the model would say, not what would come of it.
    """
    own = float(_propensities(model, x[None])[0])
    rising = wanted > own
    best: Change | None = None
    for name in MODEL_FEATURES:
        if name not in among:
            continue
        j = MODEL_FEATURES.index(name)
        values = _values(model, x, j)
        changed = np.repeat(x[None].astype(np.float32), len(values), axis=0)
        changed[:, j] = values
        told = _propensities(model, changed)
        far = np.abs(signed_logs(changed)[:, j] - signed_logs(x[None])[0, j]) / model.scale[j]
        reached = np.flatnonzero((told >= wanted) if rising else (told <= wanted))
        if len(reached):
            at = int(reached[np.argmin(far[reached])])
            if best is None or far[at] < best.deviations:
                best = Change(name, float(x[j]), float(values[at]), float(told[at]), float(far[at]))
    return best


def _values(model: PropensityModel, x: np.ndarray, j: int) -> np.ndarray:
    """Values float32 of a feature to be tried, in natural units."""
    own = math.copysign(math.log1p(abs(float(x[j]))), float(x[j]))
    low, high = model.mean[j] - STANDARD_MAX * model.scale[j], model.mean[j] + STANDARD_MAX * model.scale[j]
    if x[j] >= 0.0:
        low = max(low, 0.0)
    below = np.linspace(own, min(low, own), STEPS + 1)[1:]
    above = np.linspace(own, max(high, own), STEPS + 1)[1:]
    logs = np.concatenate([below, above])
    return np.asarray(np.sign(logs) * np.expm1(np.abs(logs)), np.float32)


def _standardised(model: PropensityModel, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip((inputs.astype(np.float64) - model.mean) / model.scale, -STANDARD_MAX, STANDARD_MAX))


def _propensities(model: PropensityModel, x: np.ndarray) -> np.ndarray:
    """Of shoppers x float32[n, DIMENSIONS]: float64[n]."""
    odds = model.bias + _standardised(model, propensity_inputs(x)) @ model.weights.astype(np.float64)
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * odds)))
