"""The compiled loop by which a propensity learns: logistic regression on standardised inputs, by fading Newton steps.

It is what River's StandardScaler and LogisticRegression with its online Newton optimizer do one dict at a time, at a
fortieth of the time; the tests hold it against them.
"""

from __future__ import annotations

import math

import numpy as np

from operators.kernels.logistic import STANDARD_MAX
from state.compiled import kernel

EVIDENCE_MIN = 10.0
"""What the evidence of every direction begins with, and never falls below: else the next gradient in a direction from
which nothing came for long would be a leap."""

FADED_EVERY_STEPS = 64
"""Evidence is faded once in so many steps, for all of them together."""


@kernel
def standardise(row, mean, variance, z):
    """z float64[e] = (row - mean) / deviation, within STANDARD_MAX; 0 for an input that has not varied."""
    for j in range(len(row)):
        z[j] = 0.0
        if variance[j] > 0.0:
            z[j] = min(max((row[j] - mean[j]) / math.sqrt(variance[j]), -STANDARD_MAX), STANDARD_MAX)


@kernel
def learn(inputs, outcomes, mean, variance, weights, inverse, level, seen, level_rate, fade, probabilities):
    """Predict each sample, then learn it: `inputs` float32[n, e], `outcomes` uint8[n], `probabilities` float64[n].

    The model moves on: `mean`, `variance` float64[e] of the inputs so far (Welford); `weights` float64[e + 1], the last
    that of an input which is always 1; `inverse` float64[e + 1, e + 1], that of the evidence A, which is EVIDENCE_MIN I
    and the sum of fading g g^T; `level` float64[1], beside the weights, by gradient descent at `level_rate`; `seen`
    int64[1], samples. A step goes by A^-1 g: where the probabilities are right g g^T is the Hessian on average, so that
    these are Newton's own steps. Evidence is multiplied by `fade` once in FADED_EVERY_STEPS.

    Source: Hazan, Agarwal and Kale, "Logarithmic regret algorithms for online convex optimization", Machine Learning 69
    (2007); fading as in recursive least squares, Haykin, "Adaptive Filter Theory", chapter 10.
    """
    e = inputs.shape[1]
    z, turned = np.ones(e + 1), np.empty(e + 1)
    for i in range(inputs.shape[0]):
        standardise(inputs[i], mean, variance, z[:e])
        raw = level[0]
        for j in range(e + 1):
            raw += weights[j] * z[j]
        expected = 1.0 / (1.0 + math.exp(-raw)) if raw >= 0.0 else 1.0 - 1.0 / (1.0 + math.exp(raw))
        probabilities[i] = expected

        seen[0] += 1
        for j in range(e):
            off = inputs[i, j] - mean[j]
            mean[j] += off / seen[0]
            variance[j] += (off * (inputs[i, j] - mean[j]) - variance[j]) / seen[0]

        slope = expected - outcomes[i]
        level[0] -= level_rate * slope
        # Sherman and Morrison: A + g g^T has the inverse A^-1 - (A^-1 g)(A^-1 g)^T / (1 + g^T A^-1 g).
        grown = 1.0
        for j in range(e + 1):
            total = 0.0
            for k in range(e + 1):
                total += inverse[j, k] * z[k]
            turned[j] = total * slope
            grown += turned[j] * z[j] * slope
        for j in range(e + 1):
            part = turned[j] / grown
            weights[j] -= part
            for k in range(e + 1):
                inverse[j, k] -= part * turned[k]
        if seen[0] % FADED_EVERY_STEPS == 0:
            _fade(inverse, fade)


@kernel
def _fade(inverse, fade):
    """Evidence times `fade`; scaled on both sides alike where it would fall too low, so that it stays symmetric."""
    n = inverse.shape[0]
    sides = np.empty(n)
    for j in range(n):
        sides[j] = math.sqrt(max(inverse[j, j] / fade * EVIDENCE_MIN, 1.0))
    for j in range(n):
        for k in range(n):
            inverse[j, k] = inverse[j, k] / fade / (sides[j] * sides[k])


def learn_reference(
    inputs: np.ndarray, outcomes: np.ndarray, level_rate: float, fade: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """The plain reference of `learn`, from nothing: probabilities, weights, level. It keeps A itself and solves it."""
    probabilities, level = [], 0.0
    weights: np.ndarray = np.zeros(inputs.shape[1] + 1)
    evidence: np.ndarray = np.eye(len(weights)) * EVIDENCE_MIN
    for i, (row, outcome) in enumerate(zip(inputs.astype(np.float64), outcomes.tolist(), strict=True)):
        known = inputs[: i or 1].astype(np.float64)
        deviation = known.std(0)
        z = np.where(deviation > 0.0, (row - known.mean(0)) / np.where(deviation > 0.0, deviation, 1.0), 0.0) * (i > 0)
        z = np.append(np.clip(z, -STANDARD_MAX, STANDARD_MAX), 1.0)
        probabilities.append(0.5 * (1.0 + np.tanh(0.5 * (level + weights @ z))))
        slope = probabilities[-1] - outcome
        evidence += slope * slope * np.outer(z, z)
        weights, level = weights - np.linalg.solve(evidence, slope * z), level - level_rate * slope
        if (i + 1) % FADED_EVERY_STEPS == 0:
            inverse = np.linalg.inv(evidence) / fade
            sides = np.sqrt(np.maximum(inverse.diagonal() * EVIDENCE_MIN, 1.0))
            evidence = np.linalg.inv(inverse / np.outer(sides, sides))
    return np.array(probabilities), weights, level
