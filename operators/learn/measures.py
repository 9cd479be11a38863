"""How good probabilities are, from what came of them; all of p float[n] and outcomes y (0 or 1) [n]."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

BINS = 10
SURE = 1e-6
"""A probability nearer to 0 or 1 than this counts as being so near: being wrong costs 14 at most."""


def roc_auc(p: np.ndarray, y: np.ndarray) -> float:
    """The share of pairs, one with the outcome and one without, that p ranks rightly (ties half); nan without pairs."""
    with_it = int(np.count_nonzero(y))
    without = len(y) - with_it
    if with_it == 0 or without == 0:
        return float("nan")
    ranks = float(rankdata(p)[np.asarray(y, bool)].sum())
    return (ranks - with_it * (with_it + 1) / 2) / (with_it * without)


def log_losses(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Minus the log of the probability given to what came, float64[n]."""
    right = np.where(np.asarray(y, bool), p, 1.0 - np.asarray(p, np.float64))
    return np.asarray(-np.log(np.clip(right, SURE, 1.0 - SURE)))


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    """Mean of `log_losses`; nan of none."""
    return float(log_losses(p, y).mean()) if len(y) else float("nan")


def calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error: |mean p - share of outcomes| averaged over BINS bins of equal mass; nan of none.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities" (AAAI 2015); equal mass as in
    Nguyen and O'Connor, "Posterior calibration and exploratory analysis" (EMNLP 2015).
    """
    if len(y) == 0:
        return float("nan")
    order = np.argsort(p, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    return float(sum(abs(float(p[b].mean()) - float(y[b].mean())) * len(b) for b in bins) / len(y))
