"""The propensity models: how likely a shopper buys soon, or stays away."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import structlog

from operators.learn.challenger import configuration, is_linear, make_challenger
from operators.learn.champion import Champion
from operators.learn.judged import Duel, Judged, Judgement
from operators.learn.settings import LearnSettings
from operators.learn.transform import propensity_inputs
from operators.learn.waiting import Lesson, WaitingSamples
from state.features import PROPENSITY_INPUTS
from state.metrics import Metrics
from state.models import PropensityModel

LATE_OUTCOME = {"purchase": 0, "churn": 1}
"""The outcome that is known only when the horizon has passed: that nothing was bought, that nobody came back."""

CHAMPION, CHALLENGER = "champion", "challenger"

Inputs = dict[Hashable, float]

log = structlog.get_logger(__name__)


class PropensityLearner:
    """How likely an outcome is: predict, then learn, in the order of the decisions.

    The champion is logistic regression by fading Newton steps on standardised PROPENSITY_INPUTS (`Champion`): what
    River's StandardScaler and LogisticRegression would learn, as a kernel. A challenger, if one is named, is any River
    classifier, and sees the same standardised inputs. Of both the newest predictions are judged, and a
    duel tells which leads. Published is whoever leads, if it is linear, else the champion: shards score whole batches
    and can apply nothing but weights, so of a tree that leads only a metric tells.

    Bounds: `waiting_samples_max` samples that wait, `auc_window_samples` predictions of either model; a challenger's
    own size is its own affair.
    """

    def __init__(self, target: str, settings: LearnSettings, metrics: Metrics) -> None:
        self._target = target
        self._settings = settings
        self._metrics = metrics
        self._champion = Champion(len(PROPENSITY_INPUTS), settings.half_life_samples, settings.learning_rate)
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
        left_out = self._waiting.left_out
        lessons: list[Lesson] = []
        for inputs, outcome, at in zip(propensity_inputs(x), y.tolist(), ts.tolist(), strict=True):
            lessons += self._waiting.take(inputs, outcome, at)
        if self._waiting.left_out > left_out:
            self._metrics.ignored.labels("samples").inc(self._waiting.left_out - left_out)
        out: list[PropensityModel] = []
        while lessons:
            now, lessons = lessons[: self._due - self._samples], lessons[self._due - self._samples :]
            self._learn(np.array([inputs for inputs, _ in now]), np.array([y for _, y in now], np.uint8))
            if self._samples >= self._due:
                self._due = self._samples + self._settings.publish_every_samples
                out += self._publish()
        return out

    def finish(self) -> list[PropensityModel]:
        """A last version, if anything was learned since the newest."""
        enough = self._samples >= self._settings.first_propensity_samples
        return self._publish() if enough and self._samples > self._published_samples else []

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps: River's models by the names of their own classes, all else as plain values."""
        return {
            "champion": self._champion.state(),
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
        self._champion.restore(state["champion"])
        self._waiting.restore(state["waiting"])
        self._judged[CHAMPION].restore(state["judged"][CHAMPION])
        if state["configuration"] == self._configuration:
            self._challenger = state["challenger"]
            self._judged[CHALLENGER].restore(state["judged"][CHALLENGER])
            self._duel.restore(state["duel"])
        self._samples, self._published_samples = state["samples"], state["published_samples"]
        self._due, self.version = state["due"], state["version"]
        if self.version:
            self._show()

    def _learn(self, inputs: np.ndarray, outcomes: np.ndarray) -> None:
        """Predict, then learn: inputs float32[n, e], outcomes uint8[n]."""
        self._samples += len(inputs)
        if self._challenger is None:
            self._judged[CHAMPION].note(self._champion.learn(inputs, outcomes), outcomes)
            return
        for k in range(len(inputs)):
            row, outcome, happened = inputs[k : k + 1], outcomes[k : k + 1], bool(outcomes[k])
            z: Inputs = dict(zip(PROPENSITY_INPUTS, self._champion.standardised(row[0]).tolist(), strict=True))
            said = self._challenged(z, happened)
            expected = self._champion.learn(row, outcome)
            self._judged[CHAMPION].note(expected, outcome)
            if said is not None:
                self._judged[CHALLENGER].note(np.array([said]), outcome)
                self._duel.note(float(expected[0]), said, happened)

    def _challenged(self, z: Inputs, happened: bool) -> float | None:
        """What the challenger says of a sample that it then learns from; None where there is none, or none any more:
        whatever goes wrong within it is not to stop the worker."""
        if self._challenger is None:
            return None
        try:
            said = _probability(self._challenger, z)
            self._challenger.learn_one(z, happened)
        except Exception as error:
            log.error(
                "the challenger failed and is left out until its settings change",
                target=self._target,
                challenger=self._settings.challenger,
                error=f"{type(error).__name__}: {error}",
            )
            self._challenger = None
            self._duel = Duel()
            self._metrics.challenger_leads.labels(target=self._target).set(0.0)
            return None
        return said

    @property
    def _published(self) -> str:
        return CHALLENGER if self._duel.challenger_leads and is_linear(self._challenger) else CHAMPION

    def _publish(self) -> list[PropensityModel]:
        self.version += 1
        self._published_samples = self._samples
        auc = self._show()[self._published].auc
        mean, scale = self._champion.standard
        weights, bias = self._champion.weights, self._champion.bias
        if self._published == CHALLENGER:
            linear: Any = self._challenger
            weights = np.array([linear.weights.get(name, 0.0) for name in PROPENSITY_INPUTS], np.float32)
            bias = float(linear.intercept)
        return [PropensityModel(self._target, self.version, mean, scale, weights, bias, self._samples, auc)]

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
