"""Signed log1p, by which all models see the features."""

from __future__ import annotations

import numpy as np

from operators.kernels import assign as kernels


def signed_logs(x: np.ndarray) -> np.ndarray:
    """sign(x) * log1p(|x|) of features in natural units, float32[n, d]; 0 for what is no number."""
    logs = np.empty((len(x), x.shape[1]), np.float32)
    kernels.signed_log1p(np.ascontiguousarray(x, np.float32), logs)
    return logs
