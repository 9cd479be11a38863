"""Model versions: what the learn step publishes and every shard applies. Arrays and names, never a River object."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from typing import NamedTuple

import numpy as np
import orjson

from state.features import PROPENSITY_INPUTS, SEGMENT_FEATURES


@dataclass(frozen=True, slots=True)
class SegmentCard:
    """What a person is told of a segment; `traits` is [(feature name, the segment's mean, all shoppers' mean)].

    `born_by` is one of birth, split, merge: new behaviour, part of the `parents`, or all of several of them.
    `retired_by` is one of death, split, merge ("" while it lives): its shoppers left, or went to the `heirs`.
    """

    number: int
    macro: int
    name: str
    traits: list[tuple[str, float, float]]
    share: float
    born_at: int  # event time, ms
    parents: list[int] = field(default_factory=list)
    retired_at: int = 0
    born_by: str = "birth"
    retired_by: str = ""
    heirs: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Emerging:
    """New behaviour that fits no segment: which share of the newest `samples` is far from all, and its `traits`."""

    share: float
    samples: int
    traits: list[tuple[str, float, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SegmentModel:
    """Discovered segments: the nearest centre of the standardised signed log1p features wins.

    `version` grows with each publication; `mean`, `scale` float32[d], d = SEGMENT_DIMENSIONS, of signed log1p,
    sign(x) * log1p(|x|); `centres` float32[k, d] in standardised space; `numbers`, `macros` int32[k]; `cards` of every
    segment, retired too; `samples` learned from so far; `silhouette`, `stability`, `davies_bouldin` figures of this
    version (nan when not yet known); `micro` int32[k] tells of how many micro-clusters a segment consists; `emerging`
    what fits none of the segments before.
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
    davies_bouldin: float = float("nan")
    micro: np.ndarray | None = None
    emerging: Emerging | None = None


@dataclass(frozen=True, slots=True)
class PropensityModel:
    """A published logistic regression: 1 / (1 + exp(-(bias + weights . z))), z the standardised inputs within bounds.

    The inputs are those of PROPENSITY_INPUTS: sign(x) * log1p(|x|) of each of a shopper's features, and products of
    some of these. `mean`, `scale`, `weights` float32[inputs]; z = (inputs - mean) / scale, where one beyond
    STANDARD_MAX (`operators.kernels.logistic`) counts as that. `target` is "purchase" or "churn"; `samples` learned
    from so far; `auc` the prequential area under the ROC curve (nan when not yet known).
    """

    target: str
    version: int
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    samples: int
    auc: float


CATEGORY_ITEMS = 20
"""Of how many items of a category it is known that they are popular."""


class ByCategory(NamedTuple):
    """Popular items of c categories, each one's best first."""

    categories: np.ndarray
    """uint64[c], ascending"""
    starts: np.ndarray
    """int64[c + 1]: the items of category k are items[starts[k]:starts[k + 1]]"""
    items: np.ndarray
    """uint64"""
    scores: np.ndarray
    """float32, as a shard tells them float64: their fading weights"""


def no_category() -> ByCategory:
    """Of no category anything."""
    return ByCategory(np.empty(0, np.uint64), np.zeros(1, np.int64), np.empty(0, np.uint64), np.empty(0, np.float32))


@dataclass(slots=True)
class ShardPopularity:
    """The most popular items of one item shard, with their fading weights at the shard's newest event time `ts`, which
    are float64, for one event of next year makes all others very small; now and then those of its larger categories too
    (None: they are as they were told last)."""

    shard: int
    items: np.ndarray
    scores: np.ndarray
    ts: int
    by_category: ByCategory | None = None


@dataclass(frozen=True, slots=True)
class BoughtTogether:
    """What is bought together with some items of one shard: of each of `items` uint64[n] the neighbours in an ANSWER
    row of `rows`, of which the first `most` that may be shown are to be told."""

    shard: int
    items: np.ndarray
    rows: np.ndarray
    most: int


@dataclass(frozen=True, slots=True)
class PopularModel:
    """The shop's most popular items now, best first: items uint64[n], scores float32[n]; and those of its larger
    categories."""

    version: int
    items: np.ndarray
    scores: np.ndarray
    by_category: ByCategory = field(default_factory=no_category)


ModelVersion = SegmentModel | PropensityModel | PopularModel


def pack_model(model: SegmentModel | PropensityModel) -> tuple[str, bytes]:
    """A model's name and its arrays as JSON: all that it takes to apply it, the cards of segments left out."""
    name = "segments" if isinstance(model, SegmentModel) else model.target
    fields = {f.name: getattr(model, f.name) for f in fields_of(model) if f.name not in ("cards", "emerging")}
    return name, orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)


def unpack_model(name: str, packed: bytes) -> SegmentModel | PropensityModel:
    """What `pack_model` packed. Raises ValueError, KeyError or TypeError for anything else."""
    told = orjson.loads(packed)
    if not isinstance(told, dict):
        raise ValueError(f"{name}: no model")
    arrays = {key: np.array(value, np.float32) for key, value in told.items() if key in ("mean", "scale", "weights")}
    inputs = len(SEGMENT_FEATURES if name == "segments" else PROPENSITY_INPUTS)
    if any(array.shape != (inputs,) for array in arrays.values()):
        raise ValueError(f"{name}: a model of other features")
    if name != "segments":
        return PropensityModel(**{**told, **arrays, "auc": _figure(told["auc"])})
    numbers = {key: np.array(told[key], np.int32) for key in ("numbers", "macros")}
    figures = {key: _figure(told[key]) for key in ("silhouette", "stability", "davies_bouldin")}
    centres = np.array(told["centres"], np.float32).reshape(len(numbers["numbers"]), inputs)
    return SegmentModel(**{**told, **arrays, **numbers, **figures, "centres": centres, "cards": [], "micro": None})


def _figure(value: float | None) -> float:
    return float("nan") if value is None else value
