"""River's online Newton steps with fading evidence: what the weights of a propensity are learned by."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import optim

FADED_EVERY_STEPS = 64
"""Evidence is faded once in so many steps, for all of them together."""


class FadingNewton(optim.Newton):
    """Online Newton steps whose evidence loses half its weight in `half_life` steps, so that weights go on moving.

    Keeps A = eps I + sum of fading g g^T as its inverse, and steps by lr A^-1 g: with lr 1 on a logistic loss whose
    probabilities are right, g g^T is the Hessian on average, so that these are Newton's own steps. In a direction from
    which nothing comes any more, A never falls below eps: else the next gradient there would be a leap.

    Source: Hazan, Agarwal and Kale, "Logarithmic regret algorithms for online convex optimization", Machine Learning 69
    (2007); fading as in recursive least squares, Haykin, "Adaptive Filter Theory", chapter 10.
    """

    def __init__(self, lr: float = 1.0, eps: float = 10.0, half_life: float = 20_000.0) -> None:
        super().__init__(lr, eps)
        self.half_life = half_life

    def _step_with_dict(self, w: Any, g: Any) -> Any:
        w = super()._step_with_dict(w, g)
        if (self.n_iterations + 1) % FADED_EVERY_STEPS == 0:
            self._fade()
        return w

    def _fade(self) -> None:
        inverse = self._H_inv
        inverse /= 0.5 ** (FADED_EVERY_STEPS / self.half_life)
        diagonal = inverse.diagonal() * self.eps
        if (over := diagonal > 1.0).any():
            # Scaled on both sides alike, it stays symmetric and positive.
            inverse[over, :] /= np.sqrt(diagonal[over])[:, None]
            inverse[:, over] /= np.sqrt(diagonal[over])
