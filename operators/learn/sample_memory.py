"""What a learner remembers of its samples: the newest ones, and some of all that still count."""

from __future__ import annotations

from typing import Any

import numpy as np

NEWEST_MAX = 1_024
"""Newest samples at hand."""

KEPT_MAX = 1_024
"""Samples kept of all that count."""


class SampleMemory:
    """The newest samples in order, with their times, and a random choice of the last `remembered` ones.

    Who shops in the morning is not who shops at night, so what is usual must not be told by the newest samples alone:
    of the samples since `begin_anew` each is `kept` with the same chance, until there are `remembered`; from there on
    an old one's chance to be still kept falls exponentially, with that number as its mean. `kept` is float32[n, d] in
    no order, n at most KEPT_MAX. The same samples in any cut of calls leave the same.
    Source: Vitter, "Random sampling with a reservoir" (TOMS 1985); Aggarwal, "On biased reservoir sampling in the
    presence of stream evolution" (VLDB 2006).
    """

    def __init__(self, features: int, remembered: int, seed: int) -> None:
        self._newest = np.zeros((NEWEST_MAX, features), np.float32)  # a ring
        self._newest_ts = np.zeros(NEWEST_MAX, np.int64)
        self._count = 0
        self._kept = np.zeros((KEPT_MAX, features), np.float32)
        self._kept_of = 0
        self._remembered = max(remembered, KEPT_MAX)
        self._rng = np.random.default_rng(seed)

    def add(self, x: np.ndarray, ts: np.ndarray) -> None:
        """Take in samples float[n, d] of times int64[n] (epoch ms), in order; what is no finite number counts as 0."""
        x = np.where(np.isfinite(x), x, 0.0).astype(np.float32)
        places = np.arange(max(0, len(x) - NEWEST_MAX), len(x))
        self._newest[(self._count + places) % NEWEST_MAX] = x[places]
        self._newest_ts[(self._count + places) % NEWEST_MAX] = ts[places]
        self._count += len(x)
        self._keep(x)

    @property
    def kept(self) -> np.ndarray:
        """A choice of all that count (a copy): float32[n, d]."""
        return self._kept[: min(self._kept_of, KEPT_MAX)].copy()

    def newest(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The newest samples, oldest first, float32[n, d], and their times int64[n]; n at most `most`, NEWEST_MAX."""
        places = np.arange(self._count - min(self._count, NEWEST_MAX, most), self._count) % NEWEST_MAX
        return self._newest[places], self._newest_ts[places]

    def begin_anew(self, newest: int) -> None:
        """Keep nothing but so many of the newest samples: those before count no more."""
        self._kept_of = 0
        self._keep(self.newest(newest)[0])

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps; how many are remembered is a setting."""
        return {name: value for name, value in vars(self).items() if name != "_remembered"}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        vars(self).update(state)

    def _keep(self, x: np.ndarray) -> None:
        for row in x:
            place = self._kept_of
            if place >= KEPT_MAX:
                place = int(self._rng.integers(min(place + 1, self._remembered)))
            if place < KEPT_MAX:
                self._kept[place] = row
            self._kept_of += 1
