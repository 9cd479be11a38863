"""What is read of a clusterer that is not ours."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import base

from operators.learn.clusterers import PointClusters
from state.features import SEGMENT_FEATURES


class Nowhere(base.Clusterer):
    """A clusterer whose centres are what it is told they are."""

    def __init__(self) -> None:
        self.centers: dict[int, dict[Any, float]] = {}

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Learns nothing."""

    def predict_one(self, x: dict[Any, Any]) -> int:
        return 0


def test_a_centre_that_is_nowhere_is_left_out() -> None:
    """Else it would poison the segments, and with them every shopper's distance to them."""
    clusterer = Nowhere()
    clusters = PointClusters(clusterer, 100)
    assert clusters.read() is None
    clusterer.centers = {0: dict.fromkeys(SEGMENT_FEATURES, 1.0), 1: {SEGMENT_FEATURES[0]: float("nan")}}
    found = clusters.read()
    assert found is not None and found[1] is None and np.array_equal(found[0], np.ones((1, len(SEGMENT_FEATURES))))
    clusterer.centers[0][SEGMENT_FEATURES[1]] = float("inf")
    assert clusters.read() is None
