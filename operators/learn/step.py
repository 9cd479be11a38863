"""The step: one learner per model, which samples go to, and from which versions come."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import structlog

from operators.learn.popular import PopularLearner
from operators.learn.propensity import PropensityLearner
from operators.learn.sample_order import Ordered, SampleOrder
from operators.learn.segments import SegmentLearner
from operators.learn.settings import LearnSettings
from state.features import MODEL_FEATURES, SEGMENT_DIMENSIONS, SEGMENT_FEATURES
from state.metrics import Metrics
from state.models import ModelVersion, ShardPopularity
from state.samples import Lessons

log = structlog.get_logger(__name__)

SAMPLED = ("segments", "purchase", "churn")
"""The models that learn from samples."""

MODELS = (*SAMPLED, "popular")
"""The keys of the learn step, one per model."""


class Learner:
    """One model's learner: samples (or the shards' popular items) in, versions of the model out.

    `key` is one of MODELS. Emits a version when enough samples have come since the last one, and at the end of input. A
    model learns from each sample once, in one order, whatever way they come (`SampleOrder`): where no call learns from
    more than `samples_per_call_max`, the same samples give the same versions, bit for bit. `left_out` counts samples
    beyond that bound.
    Raises ValueError for an unknown key or a clusterer that cannot be made.
    """

    def __init__(self, key: str, settings: LearnSettings, metrics: Metrics, resume: bytes | None = None) -> None:
        makers: dict[str, Callable[[], SegmentLearner | PropensityLearner | PopularLearner]] = {
            "segments": lambda: SegmentLearner(settings, metrics),
            "purchase": lambda: PropensityLearner("purchase", settings, metrics),
            "churn": lambda: PropensityLearner("churn", settings, metrics),
            "popular": lambda: PopularLearner(settings),
        }
        if key not in makers:
            raise ValueError(f'no model is called "{key}"; there are {", ".join(MODELS)}')
        self.key = key
        self._features = SEGMENT_FEATURES if key == "segments" else MODEL_FEATURES
        self.left_out = 0
        self._order = SampleOrder()
        self._settings = settings
        self._metrics = metrics
        self._model = makers[key]()
        if resume is not None:
            self._restore(pickle.loads(resume))
        self._show_version()

    def process(self, values: Sequence[Lessons | ShardPopularity]) -> list[ModelVersion]:
        """Learn what is to be learned now; the versions that became due."""
        if isinstance(self._model, PopularLearner):
            out: list[ModelVersion] = list(self._model.learn([v for v in values if isinstance(v, ShardPopularity)]))
        else:
            out = self._learn(self._order.take([v for v in values if isinstance(v, Lessons)]))
        self._show_version()
        return out

    def finish(self) -> list[ModelVersion]:
        """End of input: a last version, if anything was learned since the newest."""
        out = self._learn(self._order.rest())
        out += self._model.finish()
        self._show_version()
        return out

    def snapshot(self) -> bytes:
        """All that the learner knows, for its `resume`."""
        state = {
            "features": self._features,
            "left_out": self.left_out,
            "order": self._order.state(),
            "model": self._model.state(),
        }
        return pickle.dumps(state, protocol=5)

    def _restore(self, state: dict[str, Any]) -> None:
        if state["features"] != self._features:
            log.warning("model starts anew: its features are not those of the snapshot", model=self.key)
            return
        self.left_out = state["left_out"]
        self._order.restore(state["order"])
        self._model.restore(state["model"])

    def _learn(self, samples: Ordered | None) -> list[ModelVersion]:
        """Learn from samples in order; every so-manieth where they are too many."""
        if samples is None or isinstance(self._model, PopularLearner):
            return []
        x, y, ts = samples
        x = np.ascontiguousarray(x[:, :SEGMENT_DIMENSIONS] if self.key == "segments" else x, np.float32)
        n, most = len(x), self._settings.samples_per_call_max
        if n > most:
            self.left_out += n - most
            self._metrics.ignored.labels("samples").inc(n - most)
            places = np.arange(most) * n // most
            x, y, ts = x[places], y[places] if len(y) == n else y, ts[places]
        return list(self._model.learn(x, y, ts))

    def _show_version(self) -> None:
        if self._model.version:
            self._metrics.model_version.labels(model=self.key).set(self._model.version)
