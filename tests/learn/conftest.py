"""Shoppers of known personas, in natural units, whose habits drift: the truth that segments are held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from state.features import DIMENSIONS, MODEL_FEATURES, SEGMENT_DIMENSIONS

PERSONAS = 6
HOURS_AT = MODEL_FEATURES.index("hour_0_6_share")


def _personas(seed: int, n: int, noise: float = 0.35, drift: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Heavy-tailed counts and money (log-normal about each persona's own level) and shares of the day: (x, persona)."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(0.0, 3.0, (PERSONAS, SEGMENT_DIMENSIONS))
    end = start + rng.normal(0.0, drift, start.shape)
    favourite = rng.integers(0, 4, PERSONAS)
    persona = rng.choice(PERSONAS, n, p=rng.dirichlet(np.full(PERSONAS, 8.0)))
    passed = np.linspace(0.0, 1.0, n)[:, None]
    level = (1.0 - passed) * start[persona] + passed * end[persona] + rng.normal(0.0, noise, (n, SEGMENT_DIMENSIONS))
    x = np.expm1(np.maximum(level, 0.0))
    x[:, MODEL_FEATURES.index("spend_30d")] *= 100.0
    x[:, MODEL_FEATURES.index("average_order_value")] *= 30.0
    hours = rng.gamma(0.7, 1.0, (n, 4)) + 1e-6
    hours[np.arange(n), favourite[persona]] += 3.0
    x[:, HOURS_AT : HOURS_AT + 4] = hours / hours.sum(1, keepdims=True)
    # What segments do not look at is the same for all.
    return np.pad(x, ((0, 0), (0, DIMENSIONS - SEGMENT_DIMENSIONS))).astype(np.float32), persona


@pytest.fixture
def personas() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """`personas(seed, n, noise, drift)` -> (x float32[n, DIMENSIONS], persona int[n])."""
    return _personas
