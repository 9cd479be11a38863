"""Clusterers of River, or like River's: made from settings, fed and read as arrays."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Hashable
from typing import Any

import numpy as np
import structlog
from river import base

from operators.learn.settings import LearnSettings
from state.features import SEGMENT_DIMENSIONS as DIMENSIONS
from state.features import SEGMENT_FEATURES as MODEL_FEATURES

log = structlog.get_logger(__name__)

MICRO_CLUSTERS_MAX = 64
"""Most micro-clusters: of a clusterer with more centres the heaviest are taken."""

TRIAL_POINTS_MIN = 256
"""So many random points at least a clusterer has to learn before it is taken, and twice its warm-up."""

_CLUSTER_SOMETHING_ELSE = {"ODAC": "features", "TextClust": "texts"}

_BROKEN_CLUSTERERS = {
    "DenStream": "it tells micro-clusters apart only through a defect",
    "DBSTREAM": "it lets segments flow into one another",
}


def make_clusterer(settings: LearnSettings) -> base.Clusterer:
    """The clusterer that the settings name; ValueError says what is wrong with them."""
    path = settings.clusterer
    module_name, _, class_name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(
            f'learn.clusterer: found no "{path}"; give a dotted path such as "river.cluster.KMeans"'
        ) from None
    if not (isinstance(found, type) and issubclass(found, base.Clusterer)):
        raise ValueError(
            f'learn.clusterer: "{path}" is no river.base.Clusterer; give one such as "river.cluster.KMeans"'
        )
    if class_name in _CLUSTER_SOMETHING_ELSE:
        what = _CLUSTER_SOMETHING_ELSE[class_name]
        raise ValueError(
            f'learn.clusterer: "{path}" clusters {what}, not shoppers; give one such as "river.cluster.KMeans"'
        )
    if class_name in _BROKEN_CLUSTERERS:
        log.warning(
            "a clusterer known to be broken in this release of River",
            clusterer=path,
            why=_BROKEN_CLUSTERERS[class_name],
        )
    known = inspect.signature(found).parameters
    ours = {
        "n_clusters": settings.micro_clusters,
        "n_macro_clusters": settings.micro_clusters,
        "half_life": settings.half_life_samples,
        "warm_up": settings.first_segments_samples,
        "seed": settings.seed,
    }
    params = {name: value for name, value in ours.items() if name in known}
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        params["seed"] = settings.seed  # handed through to the clusterer inside
    params |= settings.clusterer_params
    try:
        clusterer = found(**params)
    except (TypeError, ValueError) as error:
        raise ValueError(f"learn.clusterer_params: {path} was not made: {error}; it takes {', '.join(known)}") from None
    try:
        trial = _as_arrays(found(**params), settings)
        points = max(TRIAL_POINTS_MIN, 2 * settings.first_segments_samples)
        trial.learn(np.random.default_rng(0).normal(size=(points, DIMENSIONS)))
        trial.read()
    except Exception as error:
        told = f"cannot learn with these: {type(error).__name__}: {error}"
        raise ValueError(f"learn.clusterer_params: {path} {told}; it takes {', '.join(known)}") from None
    return clusterer


def make_clusters(settings: LearnSettings) -> ArrayClusters | PointClusters:
    """The clusterer that the settings name, behind what the segments are learned with; raises as `make_clusterer`."""
    return _as_arrays(make_clusterer(settings), settings)


def _as_arrays(clusterer: Any, settings: LearnSettings) -> ArrayClusters | PointClusters:
    if hasattr(clusterer, "learn_array") and hasattr(clusterer, "rebase"):
        return ArrayClusters(clusterer)
    return PointClusters(clusterer, settings.half_life_samples)


def configuration(settings: LearnSettings) -> tuple[Any, ...]:
    """What a saved clusterer was made with: if that changes, a new one is made."""
    params = tuple(sorted((name, repr(value)) for name, value in settings.clusterer_params.items()))
    return (
        settings.clusterer,
        params,
        settings.micro_clusters,
        settings.half_life_samples,
        settings.first_segments_samples,
        settings.seed,
    )


class ArrayClusters:
    """A clusterer that learns from arrays: `learn_array`, `centre_array`, `weights`, `rebase`."""

    def __init__(self, clusterer: Any) -> None:
        self._clusterer = clusterer

    def learn(self, points: np.ndarray) -> None:
        """Learn from standardised points float64[n, d]."""
        self._clusterer.learn_array(points, MODEL_FEATURES)

    def read(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """(centres float64[k, d], weights float64[k] or None where it keeps none), or None before there are any."""
        centres = self._clusterer.centre_array
        return None if centres is None else (centres, self._clusterer.weights.copy())

    def rebase(self, shift: np.ndarray, factor: np.ndarray) -> None:
        """Move over to the standard in which a point p is (p - shift) / factor; both float64[d]."""
        self._clusterer.rebase(shift, factor)

    def quicken(self, points: np.ndarray) -> None:
        """Believe the newest standardised points float64[n, d] alone, where the clusterer can."""
        if hasattr(self._clusterer, "quicken"):
            self._clusterer.quicken(points)

    def hasten(self, weight_max: float) -> None:
        """Let nothing before count for more than so many samples, where the clusterer can."""
        if hasattr(self._clusterer, "hasten"):
            self._clusterer.hasten(weight_max)

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps: the clusterer, by the name of its own class."""
        return {"clusterer": self._clusterer}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._clusterer = state["clusterer"]


class PointClusters:
    """Any other River clusterer, a dict per point: its own `centers` are read, else the fading means of its labels.

    It cannot be moved to a new standard and adapts to it by itself. Bounded by MICRO_CLUSTERS_MAX labels.
    """

    def __init__(self, clusterer: base.Clusterer, half_life_samples: int) -> None:
        self._clusterer = clusterer
        self._decay = 0.5 ** (1.0 / half_life_samples)
        self._labels: dict[Any, tuple[float, int, np.ndarray]] = {}  # label -> weight at a sample, that sample, mean
        self._seen = 0

    def learn(self, points: np.ndarray) -> None:
        """Learn from standardised points float64[n, d], one by one."""
        for row, point in zip(points.tolist(), points, strict=True):
            features: dict[Hashable, Any] = dict(zip(MODEL_FEATURES, row, strict=True))
            self._clusterer.learn_one(features)
            self._seen += 1
            if not hasattr(self._clusterer, "centers"):
                self._average(self._clusterer.predict_one(features), point)

    def read(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """(centres float64[k, d], weights float64[k] or None where it keeps none), or None before there are any."""
        if not hasattr(self._clusterer, "centers"):
            found = [(mean, weight * self._decay ** (self._seen - at)) for weight, at, mean in self._labels.values()]
            return (np.array([m for m, _ in found]), np.array([w for _, w in found])) if found else None
        centres = np.array([[float(c.get(f, 0.0)) for f in MODEL_FEATURES] for c in self._clusterer.centers.values()])
        places = centres[np.isfinite(centres).all(axis=1)] if len(centres) else centres
        return (places, None) if len(places) else None  # one that is nowhere is nobody's nearest

    def rebase(self, shift: np.ndarray, factor: np.ndarray) -> None:
        """Move what is kept beside the clusterer to the standard in which a point p is (p - shift) / factor."""
        self._labels = {label: (w, at, (mean - shift) / factor) for label, (w, at, mean) in self._labels.items()}

    def quicken(self, points: np.ndarray) -> None:
        """A clusterer of River forgets at its own pace; only the means of its labels begin with their newest points."""
        self.hasten(float(len(points)))

    def hasten(self, weight_max: float) -> None:
        """Let no label's mean count for more than `weight_max` samples."""
        self._labels = {label: (min(w, weight_max), at, mean) for label, (w, at, mean) in self._labels.items()}

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps: the clusterer, by the name of its own class, and the means of its labels."""
        return {"clusterer": self._clusterer, "labels": self._labels, "seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._clusterer, self._labels, self._seen = state["clusterer"], state["labels"], state["seen"]

    def _average(self, label: Any, point: np.ndarray) -> None:
        weight, at, mean = self._labels.get(label, (0.0, self._seen, np.zeros(DIMENSIONS)))
        weight = weight * self._decay ** (self._seen - at) + 1.0
        self._labels[label] = (weight, self._seen, mean + (point - mean) / weight)
        if len(self._labels) > MICRO_CLUSTERS_MAX:
            lightest = min(
                self._labels, key=lambda k: self._labels[k][0] * self._decay ** (self._seen - self._labels[k][1])
            )
            del self._labels[lightest]
