"""Model versions: what the learn step publishes and every shard applies. Arrays and names, never a River object."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class SegmentCard:
    """What a person is told of a segment; `traits` is [(feature name, the segment's mean, all shoppers' mean)]."""

    number: int
    macro: int
    name: str
    traits: list[tuple[str, float, float]]
    share: float
    born_at: int  # event time, ms
    parents: list[int] = field(default_factory=list)
    retired_at: int = 0


@dataclass(frozen=True, slots=True)
class SegmentModel:
    """Discovered segments: the nearest centre of the standardised signed log1p features wins.

    `version` grows with each publication; `mean`, `scale` float32[DIMENSIONS] of signed log1p, sign(x) * log1p(|x|);
    `centres` float32[k, DIMENSIONS] in standardised space; `numbers`, `macros` int32[k]; `cards` of every segment,
    retired too; `samples` learned from so far; `silhouette`, `stability` figures of this version (nan when not yet
    known).
    """

    version: int
    mean: np.ndarray
    scale: np.ndarray
    centres: np.ndarray
    numbers: np.ndarray
    macros: np.ndarray
    cards: list[SegmentCard]
    samples: int
    silhouette: float
    stability: float


@dataclass(frozen=True, slots=True)
class PropensityModel:
    """A published logistic regression: 1 / (1 + exp(-(bias + weights . (z - mean) / scale))), z = sign(x) * log1p(|x|).

    `target` is "purchase" or "churn"; `auc` the prequential area under the ROC curve so far (nan when not yet known).
    """

    target: str
    version: int
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    samples: int
    auc: float


@dataclass(frozen=True, slots=True)
class PopularModel:
    """The shop's most popular items now, best first: items uint64[n], scores float32[n]."""

    version: int
    items: np.ndarray
    scores: np.ndarray


ModelVersion = SegmentModel | PropensityModel | PopularModel
