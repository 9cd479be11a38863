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
from operators.rules.acts import move_of
from operators.rules.wording import bounds_of, can_move, is_recency, is_whole, moved, only_grows, step_of
from state.features import CATALOGUE, CROSSED_PAIRS, DIMENSIONS, MODEL_FEATURES, SHARES, Feature
from state.models import PropensityModel

STEPS = 64
"""So many values on either side of a feature's own are tried for a change, evenly spaced in its logarithm, and besides
of a count the next `NEAREST`."""

NEAREST = 8
VALUE_MAX = 1e12
"""No feature is told to go farther up or down than this."""

LIFELONG = tuple(
    name
    for name in MODEL_FEATURES
    if name in {share.name for share in SHARES} or name in ("order_gap_days_mean", "order_gap_days_spread")
)
"""Features of a whole life, which no single act takes anywhere: never told as what would change a propensity."""


@dataclass(frozen=True, slots=True)
class Change:
    """One feature at another value, in natural units, with what goes with it (`operators.rules.acts`), all others as
    they are, and the propensity then.

    `deviations` is how far that is, in standard deviations of the features' signed log1p among the samples; `changed`
    every feature that is another one, by name; `sentence` tells it to a person.
    """

    feature: str
    value: float
    after: float
    propensity: float
    deviations: float
    changed: dict[str, float]
    sentence: str


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

    Smallest in standard deviations, all that goes with it among them, of changes that could be: counts by whole steps,
    money by cents, nothing below or above what a feature can be, what only grows up or, of the time since an act, to 0
    by an act now; LIFELONG features stay. Values stay within STANDARD_MAX deviations of the mean, where the model is at
    home. It tells what the model would say, not what would come of it.
    """
    rising = wanted > propensity_of(model, x)
    features = dict(zip(MODEL_FEATURES, x.astype(np.float64).tolist(), strict=True))
    best: Change | None = None
    for name in MODEL_FEATURES:
        feature = CATALOGUE[name]
        if name not in among or name in LIFELONG or not can_move(feature, features):
            continue
        for up in (False, True):
            values, move = _values(model, feature, features[name], up), move_of(feature, features, up)
            if not values:
                continue
            moves = [move.to(features, name, value) for value in values]
            changed = np.array([[{**features, **one}[n] for n in MODEL_FEATURES] for one in moves], np.float32)
            told = _propensities(model, changed)
            far = _deviations(model, x, changed)
            reached = np.flatnonzero((told >= wanted) if rising else (told <= wanted))
            if len(reached):
                at = int(reached[np.argmin(far[reached])])
                if best is None or far[at] < best.deviations:
                    told_as = moved(feature, features[name], values[at])
                    found = float(told[at]), float(far[at]), moves[at], told_as
                    best = Change(name, features[name], values[at], *found)
    return best


def _values(model: PropensityModel, feature: Feature, own: float, up: bool) -> list[float]:
    """Values of a feature to be tried above its own one or below it, in natural units, nearest first."""
    if is_recency(feature):
        if not up or own < 0.0:  # an act now; who never did it has nothing to wait for
            return [] if up or own == 0.0 else [0.0]
    elif not up and only_grows(feature):
        return []
    step, (least, most) = step_of(feature), bounds_of(feature, up)
    j = MODEL_FEATURES.index(feature.name)
    end = float(model.mean[j]) + (STANDARD_MAX if up else -STANDARD_MAX) * float(model.scale[j])
    at, end = (float(np.sign(v) * min(abs(v), math.log1p(VALUE_MAX))) for v in (_log(own), end))
    if abs(own) > VALUE_MAX or (end <= at if up else end >= at):
        return []
    logs = np.linspace(at, end, STEPS + 1)[1:]
    aimed = (np.sign(logs) * np.expm1(np.abs(logs))).tolist()
    steps = [math.ceil((value - own) / step) if up else math.floor((value - own) / step) for value in aimed]
    if is_whole(feature):
        steps += range(1, NEAREST + 1) if up else range(-NEAREST, 0)
    values = {round(own + n * step, 9) for n in sorted(set(steps), key=abs)}
    return sorted((v for v in values if least <= v <= most and v != own), key=lambda v: abs(v - own))


def _deviations(model: PropensityModel, x: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """How far from x all that changes is together, in standard deviations, of float32[n, DIMENSIONS]: float64[n]."""
    gaps = signed_logs(changed).astype(np.float64) - signed_logs(x[None])
    return np.asarray(np.sqrt(((gaps / model.scale[:DIMENSIONS]) ** 2).sum(1)))


def _log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _standardised(model: PropensityModel, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip((inputs.astype(np.float64) - model.mean) / model.scale, -STANDARD_MAX, STANDARD_MAX))


def _propensities(model: PropensityModel, x: np.ndarray) -> np.ndarray:
    """Of shoppers x float32[n, DIMENSIONS]: float64[n]."""
    odds = model.bias + _standardised(model, propensity_inputs(x)) @ model.weights.astype(np.float64)
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * odds)))
