"""Compiled loops of the propensities: what they see of a shopper, and how likely the outcome is.

Shapes: n rows, d features (MODEL_FEATURES), e inputs (PROPENSITY_INPUTS). Rows are C-contiguous and float32.
"""

from __future__ import annotations

import math

import numpy as np

from state.compiled import kernel
from state.features import CROSSED_PAIRS

STANDARD_MAX = 4.0
"""No input counts as farther from its mean than so many standard deviations: those who have not acted for long are
unlike all whom a propensity learned from (they had just acted), and one figure shall not decide alone."""

_PAIRS = np.array(CROSSED_PAIRS, np.int64)


@kernel
def cross(logs, out):
    """out float32[n, e]: signed log1p of the features, logs float32[n, d], then the products of CROSSED_PAIRS."""
    d = logs.shape[1]
    for i in range(logs.shape[0]):
        for j in range(d):
            out[i, j] = logs[i, j]
        for k in range(_PAIRS.shape[0]):
            out[i, d + k] = logs[i, _PAIRS[k, 0]] * logs[i, _PAIRS[k, 1]]


def cross_reference(logs: np.ndarray) -> np.ndarray:
    """The plain reference of `cross`: float32[n, e]."""
    return np.concatenate([logs, logs[:, _PAIRS[:, 0]] * logs[:, _PAIRS[:, 1]]], axis=1)


@kernel
def logistic(inputs, mean, scale, weights, bias, out):
    """out float32[n] = 1 / (1 + exp(-(bias + weights . z))), where z is (inputs - mean) / scale, within STANDARD_MAX;
    mean, scale, weights float32[e]."""
    for i in range(inputs.shape[0]):
        total = bias
        for j in range(inputs.shape[1]):
            z = (inputs[i, j] - mean[j]) / scale[j]
            total += weights[j] * min(max(z, -STANDARD_MAX), STANDARD_MAX)
        if total >= 0.0:
            out[i] = 1.0 / (1.0 + math.exp(-total))
        else:
            grown = math.exp(total)
            out[i] = grown / (1.0 + grown)


def logistic_reference(
    inputs: np.ndarray, mean: np.ndarray, scale: np.ndarray, weights: np.ndarray, bias: float
) -> np.ndarray:
    """The plain reference of `logistic`."""
    z = np.clip((inputs.astype(np.float64) - mean) / scale, -STANDARD_MAX, STANDARD_MAX)
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (bias + z @ weights.astype(np.float64)))), np.float32)
