"""Drawing at random: a generator for each purpose, and choices in proportion to weights."""

from __future__ import annotations

import numpy as np

from operators.generate.plan import ShopPlan


def random_for(plan: ShopPlan, purpose: int) -> np.random.Generator:
    """A random generator of its own for each purpose, so that a change in one leaves the others as they were."""
    return np.random.default_rng([plan.seed, purpose])


def draw(weights: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Places drawn in proportion to weights, one for each u of [0, 1)."""
    total = np.cumsum(weights)
    drawn: np.ndarray = np.minimum(np.searchsorted(total, u * total[-1], side="right"), len(weights) - 1)
    return drawn


def draw_by(table: np.ndarray, rows: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The same with a row of weights for each draw: table float[k, n], rows int[m], u float[m]."""
    drawn = np.zeros(len(rows), np.int64)
    for row in range(len(table)):
        mine = np.flatnonzero(rows == row)
        drawn[mine] = draw(table[row], u[mine])
    return drawn
