"""The propensity models: how likely a shopper buys soon, or stays away."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import linear_model, metrics, optim, preprocessing

from operators.learn.settings import LearnSettings
from operators.learn.transform import signed_logs
from state.features import MODEL_FEATURES
from state.metrics import Metrics
from state.models import PropensityModel


class PropensityLearner:
    """How likely an outcome is: River's StandardScaler and LogisticRegression on signed log1p; predict, then learn."""

    def __init__(self, target: str, settings: LearnSettings, metrics_: Metrics) -> None:
        self._target = target
        self._settings = settings
        self._metrics = metrics_
        self._scaler = preprocessing.StandardScaler()
        self._regression = linear_model.LogisticRegression(
            optim.SGD(settings.learning_rate), intercept_lr=settings.learning_rate
        )
        self._auc = metrics.RollingROCAUC(window_size=settings.auc_window_samples)
        self._auc_value = float("nan")
        self._samples = 0
        self._published_samples = 0
        self._due = settings.first_propensity_samples
        self.version = 0

    def learn(self, x: np.ndarray, y: np.ndarray, ts: np.ndarray) -> list[PropensityModel]:
        """Learn from samples in natural units, x[n, d] and outcomes y[n], one by one; the versions that became due."""
        if len(y) != len(x):
            raise ValueError(f"{len(x)} {self._target} samples came with {len(y)} outcomes")
        out: list[PropensityModel] = []
        scaler, regression, auc = self._scaler, self._regression, self._auc
        for row, outcome in zip(signed_logs(x).tolist(), y.tolist(), strict=True):
            features = dict(zip(MODEL_FEATURES, row, strict=True))
            happened = bool(outcome)
            auc.update(happened, regression.predict_proba_one(scaler.transform_one(features))[True])
            scaler.learn_one(features)
            regression.learn_one(scaler.transform_one(features), happened)
            self._samples += 1
            if self._samples >= self._due:
                self._due = self._samples + self._settings.publish_every_samples
                out += self._publish()
        return out

    def finish(self) -> list[PropensityModel]:
        """A last version, if anything was learned since the newest."""
        enough = self._samples >= self._settings.first_propensity_samples
        return self._publish() if enough and self._samples > self._published_samples else []

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        return {name: value for name, value in vars(self).items() if name not in ("_settings", "_metrics")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        vars(self).update(state)
        for rate in (self._regression.optimizer.lr, self._regression.intercept_lr):
            rate.learning_rate = self._settings.learning_rate
        self._show()

    def _publish(self) -> list[PropensityModel]:
        self.version += 1
        self._published_samples = self._samples
        value = float(self._auc.get())
        self._auc_value = value if value > 0.0 else float("nan")  # River says 0 while only one outcome was seen
        self._show()
        weights = self._regression.weights
        deviations = [self._scaler.vars[f] ** 0.5 for f in MODEL_FEATURES]
        return [
            PropensityModel(
                target=self._target,
                version=self.version,
                mean=np.array([self._scaler.means[f] for f in MODEL_FEATURES], np.float32),
                # A feature that never varied is 0 to River's scaler: its weight is 0, its scale is free.
                scale=np.array([s if s > 0.0 else 1.0 for s in deviations], np.float32),
                weights=np.array([weights.get(f, 0.0) for f in MODEL_FEATURES], np.float32),
                bias=float(self._regression.intercept),
                samples=self._samples,
                auc=self._auc_value,
            )
        ]

    def _show(self) -> None:
        if self._target == "purchase" and np.isfinite(self._auc_value):
            self._metrics.propensity_auc.set(self._auc_value)
