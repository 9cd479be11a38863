"""When what was learned no longer holds: change detectors over the samples, before the learner has seen them."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import drift

DELTA = 0.002
"""A detector's chance of a false alarm, River's default; each feature's is this by their number."""

RATIO_MAX = 4.0
"""No sample counts as farther from its segment than so many times the usual squared distance: outliers are no drift."""

RISE_MIN = 0.25
"""An alarm means that the newest RISE_SAMPLES lie farther from their segments than usual by this part: a detector that
has seen thousands of samples finds changes that are real and of no account."""

RISE_SAMPLES = 128

SUSPECT_SAMPLES = 512
"""So long after a detector found a change it may turn out to be large enough."""

FEATURE_SPAN = 2.0
"""A block's mean is looked at from -1 to 1 standard deviations, for the detector takes values of 0 to 1."""

HOUR_MS = 3_600_000
HOURS = 24

HOUR_SAMPLES_MIN = 8
"""From so many samples on an hour of the day is known; with fewer, those of several days are taken together."""


class UsualByHour:
    """What figures usually are at each hour of the day, for who shops in the morning is not who shops at night.

    Of each hour a mean float64[d] that halves the weight of all days before with each new one; a day is part of it only
    when it is over, so that nothing is usual by itself.
    """

    def __init__(self, figures: int) -> None:
        self._mean = np.full((HOURS, figures), np.nan)
        self._sum = np.zeros((HOURS, figures))
        self._count = np.zeros(HOURS, np.int64)
        self._day = np.full(HOURS, -1, np.int64)

    def of(self, values: np.ndarray, ts: np.ndarray) -> np.ndarray:
        """What was usual on earlier days, float64[n, d], at the times `ts` int64[n] (epoch ms) of `values`
        float64[n, d], which are then taken in; nan at an hour that no earlier day tells of."""
        expected = np.empty(values.shape)
        hours = ts // HOUR_MS
        cuts = np.flatnonzero(np.diff(hours)) + 1
        for part in np.split(np.arange(len(ts)), cuts):
            day, hour = divmod(int(hours[part[0]]), HOURS)
            if day != self._day[hour] and self._count[hour] >= HOUR_SAMPLES_MIN:
                newest, known = self._sum[hour] / self._count[hour], self._mean[hour]
                self._mean[hour] = np.where(np.isnan(known), newest, (known + newest) / 2)
                self._sum[hour], self._count[hour] = 0.0, 0
            self._day[hour] = day
            self._sum[hour] += values[part].sum(0)
            self._count[hour] += len(part)
            expected[part] = self._mean[hour]
        return expected


class DriftWatch:
    """Two signals of change, each by ADWIN, which keeps a window as long as its mean has not changed.

    "inertia": the squared distance of a sample to its nearest segment, over what was usual when the segments were
    published; only a rise of account. "features": the mean of any feature, a block of samples at a time. Both are held
    against what was usual at that hour on the days before (`UsualByHour`), so that a day's course is no change; of the
    first day nothing can be told. After an alarm, what is usual is learned anew.
    Source: Bifet and Gavalda, "Learning from time-changing data with adaptive windowing" (SDM 2007).
    """

    def __init__(self, features: int) -> None:
        self._usual_ratio, self._usual_logs = UsualByHour(1), UsualByHour(features)
        self._inertia = drift.ADWIN(delta=DELTA)
        self._features = [drift.ADWIN(delta=DELTA / features, clock=1) for _ in range(features)]
        self._newest: list[float] = []  # how much farther than usual the newest samples lie
        self._suspect = 0  # samples for which a change found may still turn out to be large

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        return {**vars(self), "_usual_ratio": vars(self._usual_ratio), "_usual_logs": vars(self._usual_logs)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        usual = ("_usual_ratio", "_usual_logs")
        vars(self).update({name: value for name, value in state.items() if name not in usual})
        for name in usual:
            vars(getattr(self, name)).update(state[name])

    def other_segments(self) -> None:
        """There are other segments: what was usual of the distances to them means nothing now."""
        self._inertia = drift.ADWIN(delta=DELTA)

    def look(self, logs: np.ndarray, ratios: np.ndarray, scale: np.ndarray, ts: np.ndarray) -> list[str]:
        """The signals of a block: its samples float[n, d] by signed log1p of standard deviations `scale` float64[d],
        their squared distances float[n] as parts of the usual one, and their times int64[n] (epoch ms)."""
        signals = []
        if self._rises(np.minimum(ratios, RATIO_MAX), ts):
            signals.append("inertia")
            self._inertia, self._usual_ratio = drift.ADWIN(delta=DELTA), UsualByHour(1)
            self._newest, self._suspect = [], 0
        if self._shifts(logs, scale, ts):
            signals.append("features")
            features = len(self._features)
            self._usual_logs = UsualByHour(features)
            self._features = [drift.ADWIN(delta=DELTA / features, clock=1) for _ in self._features]
        return signals

    def _rises(self, ratios: np.ndarray, ts: np.ndarray) -> bool:
        beyond = ratios - self._usual_ratio.of(ratios[:, None], ts)[:, 0]
        known = beyond[~np.isnan(beyond)]
        self._newest = [*self._newest, *known.tolist()][-RISE_SAMPLES:]
        for value in np.clip((known + 1.0) / RATIO_MAX, 0.0, 1.0).tolist():
            before = self._inertia.estimation
            self._inertia.update(value)
            risen = self._inertia.drift_detected and self._inertia.estimation > before
            self._suspect = SUSPECT_SAMPLES if risen else max(self._suspect - 1, 0)
        return self._suspect > 0 and len(self._newest) == RISE_SAMPLES and float(np.mean(self._newest)) >= RISE_MIN

    def _shifts(self, logs: np.ndarray, scale: np.ndarray, ts: np.ndarray) -> bool:
        beyond = (logs - self._usual_logs.of(logs, ts)) / scale
        beyond = beyond[~np.isnan(beyond).any(1)]
        found = False
        if len(beyond):
            block = np.clip(beyond.mean(0) / FEATURE_SPAN + 0.5, 0.0, 1.0)
            for detector, value in zip(self._features, block.tolist(), strict=True):
                detector.update(value)
                found = found or detector.drift_detected
        return found
