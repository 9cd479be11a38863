"""Why a shopper is in a discovered segment: the features that pull there rather than to the next one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.learn.transform import signed_logs
from state.features import SEGMENT_DIMENSIONS, SEGMENT_FEATURES
from state.models import SegmentModel


@dataclass(frozen=True, slots=True)
class Pull:
    """A shopper between their segment and the next nearest, by number (-1: there is no other).

    `features` [(name, pull)], strongest first: by how much the squared distance to the next segment's centre exceeds
    that to the own one in this feature, in squared standard deviations; below 0 it speaks for the next one. `margin`
    is how much nearer the own centre is, 0 to 1 (0: as far as the next, or farther).
    """

    own: int
    other: int
    margin: float
    features: list[tuple[str, float]]


def pull(model: SegmentModel, x: np.ndarray, own: int) -> Pull | None:
    """What holds a shopper with features x float32[>= SEGMENT_DIMENSIONS] (natural units) in segment `own`; None where
    the model does not know that segment."""
    places = np.flatnonzero(model.numbers == own)
    if len(places) == 0:
        return None
    logs = signed_logs(np.asarray(x, np.float32)[None, :SEGMENT_DIMENSIONS])[0]
    squares = ((logs - model.mean) / model.scale - model.centres.astype(np.float64)) ** 2
    distances = np.sqrt(squares.sum(1))
    mine = int(places[0])
    others = np.delete(np.arange(len(distances)), mine)
    if len(others) == 0:
        return Pull(own, -1, 1.0, [])
    next_one = int(others[np.argmin(distances[others])])
    gaps = squares[next_one] - squares[mine]
    order = np.argsort(-gaps, kind="stable")
    farther = float(distances[next_one])
    margin = max(0.0, 1.0 - float(distances[mine]) / farther) if farther > 0 else 0.0
    told = [(SEGMENT_FEATURES[j], round(float(gaps[j]), 4)) for j in order.tolist()]
    return Pull(own, int(model.numbers[next_one]), margin, told)
