"""The propensity models: how likely a shopper buys soon, or stays away."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
from river import linear_model, preprocessing

from operators.fading_newton import FadingNewton
from operators.kernels.logistic import STANDARD_MAX
from operators.learn.challenger import configuration, is_linear, make_challenger
from operators.learn.judged import Duel, Judged, Judgement
from operators.learn.settings import LearnSettings
from operators.learn.transform import propensity_inputs
from operators.learn.waiting import WaitingSamples
from state.features import PROPENSITY_INPUTS
from state.metrics import Metrics
from state.models import PropensityModel

LATE_OUTCOME = {"purchase": 0, "churn": 1}
"""The outcome that is known only when the horizon has passed: that nothing was bought, that nobody came back."""

CHAMPION, CHALLENGER = "champion", "challenger"

ALWAYS = "always"
"""An input that is always 1: with it the champion's level is learned together with its weights."""

Inputs = dict[Hashable, float]


class PropensityLearner:
    """How likely an outcome is: predict, then learn, in the order of the decisions.

    The champion is River's StandardScaler and LogisticRegression on PROPENSITY_INPUTS; standardised inputs count up to
    STANDARD_MAX, as they do where the model is applied. Weights and level are learned by fading Newton steps; the
    intercept beside them follows by plain gradient descent, for the level moves faster than what sets shoppers apart.

    A challenger, if one is named, sees the same standardised inputs. Of both the newest predictions are judged, and a
    duel tells which leads. Published is whoever leads, if it is linear, else the champion: shards score whole batches
    and can apply nothing but weights, so of a tree that leads only a metric tells.

    Bounds: `waiting_samples_max` samples that wait, `auc_window_samples` predictions of either model; a challenger's
    own size is its own affair.
    """

    def __init__(self, target: str, settings: LearnSettings, metrics: Metrics) -> None:
        self._target = target
        self._settings = settings
        self._metrics = metrics
        self._scaler = preprocessing.StandardScaler()
        self._regression = linear_model.LogisticRegression(
            FadingNewton(half_life=settings.half_life_samples), intercept_lr=settings.learning_rate
        )
        self._challenger = make_challenger(settings)
        self._configuration = configuration(settings)
        self._waiting = WaitingSamples(LATE_OUTCOME[target], settings.waiting_samples_max)
        self._judged = {CHAMPION: Judged(settings.auc_window_samples), CHALLENGER: Judged(settings.auc_window_samples)}
        self._duel = Duel()
        self._samples = 0
        self._published_samples = 0
        self._due = settings.first_propensity_samples
        self.version = 0

    def learn(self, x: np.ndarray, y: np.ndarray, ts: np.ndarray) -> list[PropensityModel]:
        """Learn from samples in natural units, x[n, d], outcomes y[n], times of the decisions ts[n]; the versions that
        became due."""
        if len(y) != len(x):
            raise ValueError(f"{len(x)} {self._target} samples came with {len(y)} outcomes")
        out: list[PropensityModel] = []
        left_out = self._waiting.left_out
        for inputs, outcome, at in zip(propensity_inputs(x), y.tolist(), ts.tolist(), strict=True):
            for row, happened in self._waiting.take(inputs, outcome, at):
                self._learn_one(row, bool(happened))
                if self._samples >= self._due:
                    self._due = self._samples + self._settings.publish_every_samples
                    out += self._publish()
        if self._waiting.left_out > left_out:
            self._metrics.ignored.labels("samples").inc(self._waiting.left_out - left_out)
        return out

    def finish(self) -> list[PropensityModel]:
        """A last version, if anything was learned since the newest."""
        enough = self._samples >= self._settings.first_propensity_samples
        return self._publish() if enough and self._samples > self._published_samples else []

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps: River's models by the names of their own classes, all else as plain values."""
        return {
            "scaler": self._scaler,
            "regression": self._regression,
            "challenger": self._challenger,
            "configuration": self._configuration,
            "waiting": self._waiting.state(),
            "judged": {name: judged.state() for name, judged in self._judged.items()},
            "duel": self._duel.state(),
            "samples": self._samples,
            "published_samples": self._published_samples,
            "due": self._due,
            "version": self.version,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; a challenger other than the saved one begins anew."""
        self._scaler, self._regression = state["scaler"], state["regression"]
        self._waiting.restore(state["waiting"])
        self._judged[CHAMPION].restore(state["judged"][CHAMPION])
        if state["configuration"] == self._configuration:
            self._challenger = state["challenger"]
            self._judged[CHALLENGER].restore(state["judged"][CHALLENGER])
            self._duel.restore(state["duel"])
        self._samples, self._published_samples = state["samples"], state["published_samples"]
        self._due, self.version = state["due"], state["version"]
        self._regression.intercept_lr.learning_rate = self._settings.learning_rate
        self._regression.optimizer.half_life = self._settings.half_life_samples
        if self.version:
            self._show()

    def _learn_one(self, inputs: np.ndarray, happened: bool) -> None:
        features: Inputs = dict(zip(PROPENSITY_INPUTS, inputs.tolist(), strict=True))
        z = self._standardised(features)
        seen = {**z, ALWAYS: 1.0}
        expected = self._regression.predict_proba_one(seen)[True]
        self._judged[CHAMPION].note(expected, happened)
        if self._challenger is not None:
            said = _probability(self._challenger, z)
            self._judged[CHALLENGER].note(said, happened)
            self._duel.note(expected, said, happened)
        self._scaler.learn_one(features)
        self._regression.learn_one(seen, happened)
        if self._challenger is not None:
            self._challenger.learn_one(z, happened)
        self._samples += 1

    def _standardised(self, features: Inputs) -> Inputs:
        return {
            name: z if -STANDARD_MAX <= z <= STANDARD_MAX else math.copysign(STANDARD_MAX, z)
            for name, z in self._scaler.transform_one(features).items()
        }

    @property
    def _published(self) -> str:
        return CHALLENGER if self._duel.challenger_leads and is_linear(self._challenger) else CHAMPION

    def _publish(self) -> list[PropensityModel]:
        self.version += 1
        self._published_samples = self._samples
        model: Any = self._challenger if self._published == CHALLENGER else self._regression
        figures = self._show()[self._published]
        deviations = [self._scaler.vars[f] ** 0.5 for f in PROPENSITY_INPUTS]
        weights = model.weights
        return [
            PropensityModel(
                target=self._target,
                version=self.version,
                mean=np.array([self._scaler.means[f] for f in PROPENSITY_INPUTS], np.float32),
                # An input that never varied is 0 to River's scaler: its weight is 0, its scale is free.
                scale=np.array([s if s > 0.0 else 1.0 for s in deviations], np.float32),
                weights=np.array([weights.get(f, 0.0) for f in PROPENSITY_INPUTS], np.float32),
                bias=float(model.intercept + weights.get(ALWAYS, 0.0)),
                samples=self._samples,
                auc=figures.auc,
            )
        ]

    def _show(self) -> dict[str, Judgement]:
        """Put the figures of both models on the metrics page, and give them back."""
        shown = {CHAMPION: self._judged[CHAMPION].figures()}
        if self._challenger is not None:
            shown[CHALLENGER] = self._judged[CHALLENGER].figures()
            self._metrics.challenger_leads.labels(target=self._target).set(float(self._duel.challenger_leads))
        for name, figures in shown.items():
            labels = {"model": name, "target": self._target}
            self._metrics.model_auc.labels(**labels).set(figures.auc)
            self._metrics.model_log_loss.labels(**labels).set(figures.log_loss)
            self._metrics.model_calibration.labels(**labels).set(figures.calibration_error)
        auc = shown[self._published].auc
        if self._target == "purchase" and np.isfinite(auc):
            self._metrics.propensity_auc.set(auc)
        return shown


def _probability(classifier: Any, z: Inputs) -> float:
    """What a classifier gives an outcome; an even chance while it knows of none."""
    told = classifier.predict_proba_one(z)
    found = float(told.get(True, 0.0)) if told else 0.5
    return found if math.isfinite(found) else 0.5
