"""Samples whose outcome was known early wait until the time of their decision is up, as those of the others must."""

from __future__ import annotations

import heapq
from typing import Any
from zlib import crc32

import numpy as np

RELEASED_MAX = 8
"""Most waiting samples that one more sample sets free: so a call's work stays bounded."""

_HASH_BITS = 32

Lesson = tuple[np.ndarray, int]
"""Inputs of a sample and its outcome."""


class WaitingSamples:
    """Hands samples on in the order of their decisions, whatever came of them, when their time is up.

    An order is known at once, that there was none only when the horizon has passed. Who learns from outcomes as they
    come has at any time seen the orders of decisions whose other outcomes are still to come, and takes them to be more
    than they are (delayed feedback: Chapelle, "Modeling delayed feedback in display advertising", KDD 2014). So a
    sample of the early outcome waits until one of the late outcome has come whose decision is no older.

    At most `most` samples wait. Beyond it half of all samples, early and late alike, are left out by a hash, from then
    on and among those that wait; then half of the rest, and so on. Until the first late outcome nothing is handed on.
    """

    def __init__(self, late: int, most: int) -> None:
        self._late = late
        self._most = most
        self._heap: list[tuple[int, int, np.ndarray]] = []  # time of the decision, number of the sample, inputs
        self._number = 0
        self._passed = -1  # all decisions up to this time have an outcome
        self._level = 0  # of so many bits of the hash all must be 0
        self.left_out = 0

    def __len__(self) -> int:
        return len(self._heap)

    def take(self, inputs: np.ndarray, outcome: int, ts: int) -> list[Lesson]:
        """A sample, inputs float32[e], decided at `ts` (epoch ms); the samples to be learned from now, in order."""
        kept = self._kept(inputs, ts)
        self.left_out += not kept
        if outcome == self._late:
            self._passed = max(self._passed, ts)
        elif kept and ts > self._passed:
            self._wait(inputs, ts)
            kept = False
        out: list[Lesson] = []
        while self._heap and self._heap[0][0] <= self._passed and len(out) < RELEASED_MAX:
            out.append((heapq.heappop(self._heap)[2], 1 - self._late))
        if kept:
            out.append((inputs, outcome))
        return out

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps: plain values and arrays."""
        heap = sorted(self._heap, key=lambda one: one[:2])
        return {
            "ts": np.array([ts for ts, _, _ in heap], np.int64),
            "numbers": np.array([number for _, number, _ in heap], np.int64),
            "inputs": np.array([inputs for _, _, inputs in heap], np.float32),
            "number": self._number,
            "passed": self._passed,
            "level": self._level,
            "left_out": self.left_out,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        # A sorted list is a heap, and what comes out of a heap of different keys does not depend on how it lies.
        self._heap = list(zip(state["ts"].tolist(), state["numbers"].tolist(), state["inputs"], strict=True))
        self._number, self._passed, self._level = state["number"], state["passed"], state["level"]
        self.left_out = state["left_out"]

    def _wait(self, inputs: np.ndarray, ts: int) -> None:
        heapq.heappush(self._heap, (ts, self._number, inputs.copy()))
        self._number += 1
        while len(self._heap) > self._most and self._level < _HASH_BITS:
            self._level += 1
            before = len(self._heap)
            self._heap = [one for one in self._heap if self._kept(one[2], one[0])]
            self.left_out += before - len(self._heap)
            heapq.heapify(self._heap)

    def _kept(self, inputs: np.ndarray, ts: int) -> bool:
        return not self._level or crc32(inputs.tobytes(), ts & 0xFFFFFFFF) & ((1 << self._level) - 1) == 0
