"""When what was learned no longer holds: change detectors over the samples, before the learner has seen them."""

from __future__ import annotations

import numpy as np
from river import drift

DELTA = 0.002
"""A detector's chance of a false alarm, River's default; each feature's is this by their number."""

RATIO_MAX = 4.0
"""No sample counts as farther from its segment than so many times the usual squared distance: outliers are no drift."""

FEATURE_SPAN = 2.0
"""A block's mean is looked at from -1 to 1 standard deviations, for the detector takes values of 0 to 1."""


class DriftWatch:
    """Two signals of change, each by ADWIN, which keeps a window as long as its mean has not changed.

    "inertia": the squared distance of a sample to its nearest segment, over what was usual when the segments were
    published; only a rise counts. "features": the mean of any feature, a block of samples at a time. What is usual for
    the features is set anew after each alarm.
    Source: Bifet and Gavalda, "Learning from time-changing data with adaptive windowing" (SDM 2007).
    """

    def __init__(self, features: int) -> None:
        self._inertia = drift.ADWIN(delta=DELTA)
        self._features = [drift.ADWIN(delta=DELTA / features, clock=1) for _ in range(features)]
        self._mean: np.ndarray | None = None
        self._scale = np.ones(features)

    def begin(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Take mean and scale float64[d] as what is usual of the features, if nothing is yet."""
        if self._mean is None:
            self._mean, self._scale = mean.copy(), scale.copy()

    def other_segments(self) -> None:
        """There are other segments: what was usual of the distances to them means nothing now."""
        self._inertia = drift.ADWIN(delta=DELTA)

    def look(self, logs: np.ndarray, ratios: np.ndarray) -> list[str]:
        """The signals of a block: its samples float[n, d] by signed log1p, and their squared distances float[n] as
        parts of the usual one."""
        found = []
        for ratio in (np.minimum(ratios, RATIO_MAX) / RATIO_MAX).tolist():
            before = self._inertia.estimation
            self._inertia.update(ratio)
            if self._inertia.drift_detected and self._inertia.estimation > before:
                found = ["inertia"]
        if found:
            self._inertia = drift.ADWIN(delta=DELTA)
        if self._mean is None:
            return found
        block = ((logs - self._mean) / self._scale).mean(0) / FEATURE_SPAN + 0.5
        alarm = False
        for detector, value in zip(self._features, np.clip(block, 0.0, 1.0).tolist(), strict=True):
            detector.update(value)
            alarm = alarm or detector.drift_detected
        if alarm:
            found.append("features")
            self._features = [drift.ADWIN(delta=DELTA / len(self._features), clock=1) for _ in self._features]
            self._mean = None
        return found
