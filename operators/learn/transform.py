"""Signed log1p, by which all models see the features, and the products that propensities see besides."""

from __future__ import annotations

import numpy as np

from operators.kernels import assign as kernels
from operators.kernels.logistic import cross
from state.features import PROPENSITY_INPUTS


def signed_logs(x: np.ndarray) -> np.ndarray:
    """sign(x) * log1p(|x|) of features in natural units, float32[n, d]; 0 for what is no number."""
    logs = np.empty((len(x), x.shape[1]), np.float32)
    kernels.signed_log1p(np.ascontiguousarray(x, np.float32), logs)
    return logs


def propensity_inputs(x: np.ndarray) -> np.ndarray:
    """What propensities see of features in natural units, float32[n, d]: float32[n, e], PROPENSITY_INPUTS."""
    out = np.empty((len(x), len(PROPENSITY_INPUTS)), np.float32)
    cross(signed_logs(x), out)
    return out
