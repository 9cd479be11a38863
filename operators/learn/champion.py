"""The champion of a propensity: fading logistic regression on standardised inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.kernels import newton


class Champion:
    """What `operators.kernels.newton` learns of `inputs` inputs, as arrays of fixed size.

    What was learned weighs half after `half_life` samples; `level_rate` is that of the gradient descent by which the
    level follows, for it moves faster than what sets shoppers apart.
    """

    def __init__(self, inputs: int, half_life: float, level_rate: float) -> None:
        self._fade = 0.5 ** (newton.FADED_EVERY_STEPS / half_life)
        self._level_rate = level_rate
        self._mean, self._variance = np.zeros(inputs), np.zeros(inputs)
        self._weights = np.zeros(inputs + 1)
        self._inverse = np.eye(inputs + 1) / newton.EVIDENCE_MIN
        self._level, self._seen = np.zeros(1), np.zeros(1, np.int64)

    def learn(self, inputs: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
        """Learn samples, inputs float32[n, e] and outcomes uint8[n]; what each was given before, float64[n]."""
        probabilities = np.empty(len(inputs))
        newton.learn(
            inputs, outcomes, self._mean, self._variance, self._weights, self._inverse, self._level, self._seen,
            self._level_rate, self._fade, probabilities,
        )  # fmt: skip
        return probabilities

    def standardised(self, row: np.ndarray) -> np.ndarray:
        """float64[e] of inputs float32[e]: how many deviations from the mean, within STANDARD_MAX."""
        z = np.empty(len(row))
        newton.standardise(row, self._mean, self._variance, z)
        return z

    @property
    def standard(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale float32[e] of the inputs; an input that never varied is 0 to all: its scale is free."""
        scale = np.where(self._variance > 0.0, np.sqrt(self._variance), 1.0)
        return self._mean.astype(np.float32), scale.astype(np.float32)

    @property
    def weights(self) -> np.ndarray:
        """Weights float32[e] of the standardised inputs."""
        return self._weights[:-1].astype(np.float32)

    @property
    def bias(self) -> float:
        """Log odds of a shopper who is as all are."""
        return float(self._level[0] + self._weights[-1])

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps: arrays."""
        return {name: value.copy() for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave, with the half-life and rate of now."""
        vars(self).update(state)
