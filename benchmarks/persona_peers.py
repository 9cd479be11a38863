"""Who is held against each other on drifting personas. Each predicts a batch's labels, then learns from the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import cluster, preprocessing
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.preprocessing import StandardScaler

from benchmarks.drifting_personas import FEATURES, Crowd
from operators.kernels import assign as kernels
from operators.learn import Learner, LearnSettings
from operators.learn.transform import signed_logs
from operators.score import ScoreSettings
from state.features import MODEL_FEATURES
from state.metrics import Metrics
from state.models import SegmentModel
from state.samples import in_order

_COLUMNS = [MODEL_FEATURES.index(name) for name in FEATURES]
_NO_OUTCOMES = np.zeros(0, np.uint8)

RUN_MS = 28 * 86_400_000
"""What a crowd's run takes in event time."""


class Ours:
    """The segment learner with its default settings, its published models applied to each event as by the score step.

    `settings` are the learner's; of the events every `sample_every`-th is a sample. It is not told how many personas
    there are.
    """

    def __init__(self, crowd: Crowd, settings: LearnSettings, sample_every: int = 1) -> None:
        self.metrics = Metrics()
        self.models: list[SegmentModel] = []
        self._learner = Learner("segments", settings, self.metrics)
        self._sample_every = sample_every
        self._seen = 0
        self._event_ms = RUN_MS // crowd.events
        self._held = np.full(crowd.shoppers, -1, np.int32)  # segment number by shopper
        self._near_ts = np.zeros(crowd.shoppers, np.int64)  # when that was last the nearest one

    def predict(self, x: np.ndarray, shopper: np.ndarray) -> np.ndarray:
        """Segment numbers; -1 before the first model."""
        if not self.models:
            return self._held[shopper]
        model = self.models[-1]
        place_of = np.full(int(model.numbers.max()) + 1, -1, np.int32)
        place_of[model.numbers] = np.arange(len(model.numbers), dtype=np.int32)
        now = self._held[shopper]
        held = np.where((now >= 0) & (now < len(place_of)), place_of[np.minimum(now, len(place_of) - 1)], -1)
        ts = self._event_ms * (self._seen + np.arange(len(x), dtype=np.int64))
        settings = ScoreSettings()
        held[ts - self._near_ts[shopper] > settings.stay_ms] = -1
        chosen, margin = np.empty(len(x), np.int32), np.empty(len(x), np.float32)
        logs = signed_logs(x)
        space = (model.mean, model.scale, model.centres)
        kernels.assign(logs, *space, held.astype(np.int32), settings.stay_factor, chosen, np.empty_like(chosen), margin)
        labels = model.numbers[chosen]
        near = (margin > 0.0) | (labels != now)
        self._near_ts[shopper[near]] = ts[near]
        self._held[shopper] = labels
        return labels

    def learn(self, x: np.ndarray) -> None:
        """Every so-manieth event is a sample."""
        first = -self._seen % self._sample_every
        ts = self._event_ms * (self._seen + np.arange(len(x), dtype=np.int64))[first :: self._sample_every]
        self._seen += len(x)
        x = np.ascontiguousarray(x[first :: self._sample_every])
        if len(x):
            self.models += self._learner.process([in_order("segments", x, _NO_OUTCOMES, ts)])

    @property
    def segments(self) -> int:
        return len(self.models[-1].numbers) if self.models else 0


class Refitted:
    """scikit-learn's KMeans with 10 starts, fitted anew every `every` events on the newest `window` of them, on
    standardised log1p; labels are kept over fits by optimal matching of the centres, as one would write it."""

    def __init__(self, segments: int, seed: int, every: int = 5_000, window: int = 10_000) -> None:
        self.segments = segments
        self._seed = seed
        self._every, self._window = every, window
        self._recent = np.zeros((0, len(FEATURES)))
        self._due = 1_000
        self._seen = 0
        self._fitted: tuple[StandardScaler, KMeans, np.ndarray] | None = None

    def predict(self, x: np.ndarray, shopper: np.ndarray) -> np.ndarray:
        if self._fitted is None:
            return np.full(len(x), -1)
        scaler, model, names = self._fitted
        return names[model.predict(scaler.transform(np.log1p(x[:, _COLUMNS].astype(np.float64))))]

    def learn(self, x: np.ndarray) -> None:
        logs = np.log1p(x[:, _COLUMNS].astype(np.float64))
        self._recent = np.concatenate([self._recent, logs])[-self._window :]
        self._seen += len(x)
        if self._seen < self._due:
            return
        self._due = self._seen + (self._every if self._fitted else self._every - self._seen)
        scaler = StandardScaler().fit(self._recent)
        model = KMeans(self.segments, n_init=10, random_state=self._seed).fit(scaler.transform(self._recent))
        names = np.arange(self.segments)
        if self._fitted:
            old_scaler, old, old_names = self._fitted
            before = scaler.transform(old_scaler.inverse_transform(old.cluster_centers_))
            gaps = ((model.cluster_centers_[:, None] - before[None]) ** 2).sum(2)
            rows, columns = linear_sum_assignment(gaps)
            names[rows] = old_names[columns]
        self._fitted = scaler, model, names


class MiniBatch:
    """scikit-learn's MiniBatchKMeans.partial_fit, a batch at a time, on log1p standardised by all that came so far."""

    def __init__(self, segments: int, seed: int) -> None:
        self.segments = segments
        self._scaler = StandardScaler()
        self._model = MiniBatchKMeans(segments, random_state=seed, n_init=10)
        self._fitted = False

    def predict(self, x: np.ndarray, shopper: np.ndarray) -> np.ndarray:
        if not self._fitted:
            return np.full(len(x), -1)
        return self._model.predict(self._scaler.transform(np.log1p(x[:, _COLUMNS].astype(np.float64))))

    def learn(self, x: np.ndarray) -> None:
        logs = np.log1p(x[:, _COLUMNS].astype(np.float64))
        self._scaler.partial_fit(logs)
        self._model.partial_fit(self._scaler.transform(logs))
        self._fitted = True


class OfRiver:
    """A clusterer of River behind its StandardScaler on log1p, event by event: predict, then learn."""

    def __init__(self, clusterer: Any) -> None:
        self._scaler = preprocessing.StandardScaler()
        self._clusterer = clusterer
        self._seen: set[int] = set()

    def predict(self, x: np.ndarray, shopper: np.ndarray) -> np.ndarray:
        """Learns too, as each event is learned from before the next is predicted."""
        labels = np.empty(len(x), np.int64)
        for i, row in enumerate(np.log1p(x[:, _COLUMNS].astype(np.float64)).tolist()):
            features = dict(zip(FEATURES, row, strict=True))
            point = self._scaler.transform_one(features)
            labels[i] = self._clusterer.predict_one(point)
            self._scaler.learn_one(features)
            self._clusterer.learn_one(self._scaler.transform_one(features))
        self._seen = set(labels.tolist())
        return labels

    def learn(self, x: np.ndarray) -> None:
        """Already done."""

    @property
    def segments(self) -> int:
        """Labels of the newest batch."""
        return len(self._seen)


def river_kmeans(segments: int, seed: int) -> OfRiver:
    """With the half-life that suits it best here; its default of .5 follows every single event."""
    return OfRiver(cluster.KMeans(n_clusters=segments, halflife=0.02, sigma=1.0, seed=seed))


def river_dbstream() -> OfRiver:
    """With a radius that about holds a persona, and fading slow enough to see them all."""
    return OfRiver(
        cluster.DBSTREAM(clustering_threshold=3.0, fading_factor=0.001, cleanup_interval=100, minimum_weight=3.0)
    )
