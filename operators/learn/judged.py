"""Two models predict the same samples before they learn them: how good each is, and which is better beyond noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.learn.measures import SURE, calibration_error, log_loss, roc_auc

DUEL_SAMPLES = 2_000
"""A duel is decided once so many samples were predicted by both, and the next one begins."""

DUEL_Z_MIN = 3.0
"""Mean difference of the log losses over its standard error: what happens by chance once in 740 duels."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Figures over the newest samples; nan where they are not yet known."""

    auc: float
    log_loss: float
    calibration_error: float


class Judged:
    """The newest `window` predictions of a model and what came of them."""

    def __init__(self, window: int) -> None:
        self._p = np.zeros(window)
        self._y = np.zeros(window, np.uint8)
        self._seen = 0

    def note(self, probabilities: np.ndarray, happened: np.ndarray) -> None:
        """Predictions float64[n], made before their outcomes uint8[n] were learned."""
        window = len(self._p)
        newest = np.arange(max(0, len(probabilities) - window), len(probabilities))
        places = (self._seen + newest) % window
        self._p[places], self._y[places] = probabilities[newest], happened[newest]
        self._seen += len(probabilities)

    def figures(self) -> Judgement:
        """The figures as they stand; sorts the window, so not for every sample."""
        n = min(self._seen, len(self._p))
        p, y = self._p[:n], self._y[:n]
        return Judgement(roc_auc(p, y), log_loss(p, y), calibration_error(p, y))

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        return {"p": self._p.copy(), "y": self._y.copy(), "seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; with another window, from the newest of what it holds."""
        window, seen = len(state["p"]), state["seen"]
        if window == len(self._p):
            self._p[:], self._y[:], self._seen = state["p"], state["y"], seen
            return
        kept = np.arange(seen - min(seen, window, len(self._p)), seen) % window
        self._seen = len(kept)
        self._p[: len(kept)], self._y[: len(kept)] = state["p"][kept], state["y"][kept]


class Duel:
    """Which of two models leads: a paired one-sided test on their log losses, over windows that do not overlap.

    The other takes the lead when over DUEL_SAMPLES samples it lost less, with a z of at least DUEL_Z_MIN. Windows do
    not overlap, so that looking often does not turn chance into a verdict. The differences count as independent; those
    of one shopper's samples are not quite, which is why the bar is high. Source: Diebold and Mariano, "Comparing
    predictive accuracy", Journal of Business & Economic Statistics 13 (1995).
    """

    def __init__(self) -> None:
        self.challenger_leads = False
        self.z = float("nan")  # of the last duel, in favour of whoever did not lead
        self._n = 0
        self._sum = self._squares = 0.0

    def note(self, champion: float, challenger: float, happened: bool) -> None:
        """What both gave as the probability of an outcome."""
        difference = _loss(champion, happened) - _loss(challenger, happened)
        self._n += 1
        self._sum += difference
        self._squares += difference * difference
        if self._n < DUEL_SAMPLES:
            return
        mean = self._sum / self._n
        error = math.sqrt(max(self._squares / self._n - mean * mean, 0.0) / self._n)
        gain = -mean if self.challenger_leads else mean
        self.z = gain / error if error > 0.0 else 0.0
        if self.z >= DUEL_Z_MIN:
            self.challenger_leads = not self.challenger_leads
        self._n, self._sum, self._squares = 0, 0.0, 0.0

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        return dict(vars(self))

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        vars(self).update(state)


def _loss(probability: float, happened: bool) -> float:
    right = probability if happened else 1.0 - probability
    return -math.log(min(max(right, SURE), 1.0 - SURE))
