"""Two models, judged on the same samples before they learn them: who leads, and what is published."""

from __future__ import annotations

import pickle
import sys
import types
from typing import Any

import numpy as np
import pytest
from river import base

from operators.kernels.assign import signed_log1p_reference
from operators.kernels.logistic import cross_reference, logistic_reference
from operators.learn import Learner, LearnSettings
from operators.learn.challenger import make_challenger
from operators.learn.judged import DUEL_SAMPLES, Duel, Judged
from operators.learn.measures import calibration_error, log_loss, roc_auc
from state.features import DIMENSIONS, PROPENSITY_INPUTS
from state.metrics import Metrics
from state.models import PropensityModel
from state.samples import in_order

TREE = "river.tree.HoeffdingTreeClassifier"
LINEAR = "river.linear_model.LogisticRegression"


def _ringed(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes that hang on two figures being alike, which no line tells, and trees find."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, DIMENSIONS), np.float32)
    x[:, :2] = rng.integers(0, 2, (n, 2)) * 3
    y = ((x[:, 0] == x[:, 1]) ^ (rng.random(n) < 0.1)).astype(np.uint8)
    y[-1] = 0
    return x, y


def _learn(learner: Learner, x: np.ndarray, y: np.ndarray, first: int = 0, size: int = 250) -> list[Any]:
    out: list[Any] = []
    for at in range(0, len(x), size):
        part = slice(at, at + size)
        ts = np.arange(first + at, first + at + len(x[part]), dtype=np.int64)
        out += learner.process([in_order(learner.key, x[part], y[part], ts)])
    return out


def _told(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"coterie_propensity_{name}", labels)


def _applied(model: PropensityModel, x: np.ndarray) -> np.ndarray:
    inputs = cross_reference(signed_log1p_reference(x))
    return logistic_reference(inputs, model.mean, model.scale, model.weights, model.bias)


def test_a_tree_that_leads_is_told_of_and_the_champion_goes_on_being_published() -> None:
    """Shards score with weights, so there must always be some; the metric says that a better model is at hand."""
    x, y = _ringed(9_000)
    metrics = Metrics()
    versions = _learn(Learner("purchase", LearnSettings(challenger=TREE), metrics), x, y)
    alone = _learn(Learner("purchase", LearnSettings(), Metrics()), x, y)
    assert _told(metrics, "challenger_leads", target="purchase") == 1.0
    labels = {"target": "purchase"}
    assert _told(metrics, "log_loss", model="challenger", **labels) < _told(
        metrics, "log_loss", model="champion", **labels
    )
    assert _told(metrics, "model_auc", model="challenger", **labels) > 0.8
    assert len(versions) == len(alone)
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(versions, alone, strict=True))
    assert versions[-1].auc == _told(metrics, "model_auc", model="champion", **labels)


def test_a_linear_challenger_that_leads_is_published() -> None:
    """The published arrays then give what the challenger says."""
    learner = Learner("churn", LearnSettings(challenger=LINEAR), Metrics())
    rng = np.random.default_rng(4)
    x = rng.lognormal(0.0, 1.0, (1_000, DIMENSIONS)).astype(np.float32)
    y = (rng.random(1_000) < 0.5).astype(np.uint8)
    y[-8:] = 1
    _learn(learner, x, y)
    model = learner._model
    model._duel.challenger_leads = True
    published = model._publish()[0]
    weights = model._challenger.weights
    z = model._champion.standardised(np.zeros(len(PROPENSITY_INPUTS), np.float32))
    total = model._challenger.intercept + sum(weights[n] * v for n, v in zip(PROPENSITY_INPUTS, z, strict=True))
    found = _applied(published, np.zeros((1, DIMENSIONS), np.float32))[0]
    assert found == pytest.approx(1.0 / (1.0 + np.exp(-total)), abs=1e-4)
    model._duel.challenger_leads = False
    assert not np.array_equal(model._publish()[0].weights, published.weights)


def test_no_challenger_shows_no_figures_of_one() -> None:
    """A gauge that nobody sets does not stand on the page."""
    x, y = _ringed(600)
    metrics = Metrics()
    _learn(Learner("purchase", LearnSettings(), metrics), x, y)
    assert _told(metrics, "model_auc", model="champion", target="purchase") is not None
    assert _told(metrics, "model_auc", model="challenger", target="purchase") is None
    assert _told(metrics, "challenger_leads", target="purchase") is None


def test_equals_do_not_change_places() -> None:
    """In 300 duels of two forecasts that are as good as each other, chance may decide a few and no more."""
    rng = np.random.default_rng(7)
    taken = 0
    for _ in range(300):
        duel = Duel()
        p = rng.uniform(0.2, 0.8, DUEL_SAMPLES)
        for mine, theirs, happened in zip(
            np.clip(p + rng.normal(0, 0.1, len(p)), 0.01, 0.99),
            np.clip(p + rng.normal(0, 0.1, len(p)), 0.01, 0.99),
            rng.random(len(p)) < p,
            strict=True,
        ):
            duel.note(mine, theirs, happened)
        taken += duel.challenger_leads
    assert taken <= 3


def test_the_lead_changes_after_whole_duels_and_comes_back() -> None:
    """Not before DUEL_SAMPLES; and who is no longer better loses it likewise."""
    duel = Duel()
    rng = np.random.default_rng(8)
    for n, happened in enumerate((rng.random(2 * DUEL_SAMPLES) < 0.5).tolist()):
        assert not duel.challenger_leads or n >= DUEL_SAMPLES
        duel.note(0.5, 0.7 if happened else 0.3, happened)
    assert duel.challenger_leads
    for happened in (rng.random(DUEL_SAMPLES) < 0.5).tolist():
        duel.note(0.7 if happened else 0.3, 0.5, happened)
    assert not duel.challenger_leads and duel.z > 3.0


@pytest.mark.parametrize("challenger", [TREE, LINEAR])
@pytest.mark.parametrize("at", [100, 2_300])
def test_half_a_snapshot_and_the_rest_are_the_whole(at: int, challenger: str) -> None:
    """Versions and figures are the same, bit for bit, whoever leads."""
    x, y = _ringed(4_600)
    settings = LearnSettings(challenger=challenger)
    metrics, resumed = Metrics(), Metrics()
    whole = _learn(Learner("purchase", settings, metrics), x, y)
    first = Learner("purchase", settings, Metrics())
    found = _learn(first, x[:at], y[:at])
    found += _learn(Learner("purchase", settings, resumed, first.snapshot()), x[at:], y[at:], at)
    assert len(found) == len(whole)
    for one, other in zip(found, whole, strict=True):
        assert one.bias == other.bias and np.array_equal(one.weights, other.weights)
        assert np.array_equal([one.auc], [other.auc], equal_nan=True)
    for name in ("model_auc", "log_loss", "calibration_error"):
        for model in ("champion", "challenger"):
            labels = {"model": model, "target": "purchase"}
            assert _told(metrics, name, **labels) == _told(resumed, name, **labels)


def test_another_challenger_after_a_restart_begins_anew() -> None:
    """What the champion knows stays; nothing of the old challenger is held for the new one."""
    x, y = _ringed(9_000)
    first = Learner("purchase", LearnSettings(challenger=TREE), Metrics())
    before = _learn(first, x, y)[-1]
    assert first._model._duel.challenger_leads
    metrics = Metrics()
    second = Learner("purchase", LearnSettings(challenger=LINEAR), metrics, first.snapshot())
    assert not second._model._duel.challenger_leads
    assert _told(metrics, "model_auc", model="champion", target="purchase") is not None
    assert np.isnan(_told(metrics, "model_auc", model="challenger", target="purchase"))
    assert second.finish()[0].version == before.version + 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LearnSettings(challenger="river.tree.HoeffdingTree"), 'found no "river.tree.HoeffdingTree"; give a dotted'),
        (LearnSettings(challenger="nowhere"), 'found no "nowhere"'),
        (LearnSettings(challenger="river.cluster.KMeans"), "is no river.base.Classifier"),
        (LearnSettings(challenger="river.ensemble.VotingClassifier"), "tells no probabilities"),
        (LearnSettings(challenger=TREE, challenger_params={"depth": 3}), "was not made.*it takes grace_period"),
        (
            LearnSettings(challenger=TREE, challenger_params={"grace_period": "a"}),
            "challenger_params: .* cannot learn with these: TypeError: .*it takes grace_period",
        ),
        (LearnSettings(challenger="river.naive_bayes.MultinomialNB"), "cannot learn with these: .*it takes alpha"),
        (
            LearnSettings(challenger="river.forest.ARFClassifier", challenger_params={"n_models": 0}),
            "predicts nothing after 256 samples; it takes n_models",
        ),
    ],
)
def test_wrong_challenger_is_named_in_the_message(settings: LearnSettings, message: str) -> None:
    """The message says which setting, what was found, and what to do."""
    with pytest.raises(ValueError, match=message):
        make_challenger(settings)


def test_no_challenger_is_none() -> None:
    """The default."""
    assert make_challenger(LearnSettings()) is None


def test_a_window_of_another_size_begins_with_the_newest_judged() -> None:
    """After a change of the settings the figures go on with what is there."""
    rng = np.random.default_rng(3)
    p, y = rng.random(50), rng.random(50) < 0.5
    judged = Judged(30)
    for cut in (slice(0, 7), slice(7, 47), slice(47, 50)):  # the second is longer than the window
        judged.note(p[cut], y[cut])
    state = pickle.loads(pickle.dumps(judged.state()))
    for window in (10, 30, 80):
        other = Judged(window)
        other.restore(state)
        newest = slice(50 - min(window, 30), 50)
        assert other.figures().auc == pytest.approx(roc_auc(p[newest], y[newest]))
        assert other.figures().log_loss == pytest.approx(log_loss(p[newest], y[newest]))


def test_measures_of_what_is_known() -> None:
    """A perfect ranking, its opposite, ties; the loss of an even chance; a forecast that is off by a tenth."""
    y = np.array([0, 0, 1, 1])
    assert roc_auc(np.array([0.1, 0.2, 0.3, 0.4]), y) == 1.0
    assert roc_auc(np.array([0.4, 0.3, 0.2, 0.1]), y) == 0.0
    assert roc_auc(np.full(4, 0.5), y) == 0.5
    assert np.isnan(roc_auc(np.full(2, 0.5), np.ones(2)))
    assert log_loss(np.full(4, 0.5), y) == pytest.approx(np.log(2))
    p = np.repeat(np.arange(10) / 10 + 0.05, 100)
    exact = np.concatenate([np.arange(100) < 10 * k + 5 for k in range(10)])
    assert calibration_error(p, exact) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(p - 0.04, exact) == pytest.approx(0.04, abs=1e-9)


class Breaks(base.Classifier):
    """A classifier that learns for a while."""

    def __init__(self, after: int = 400) -> None:
        self.after = after

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        self.after -= 1
        if self.after < 0:
            raise ZeroDivisionError("one too many")

    def predict_proba_one(self, x: dict[Any, Any]) -> dict[Any, float]:
        return {True: 0.5, False: 0.5}


def test_a_challenger_that_fails_is_left_out_and_the_champion_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a restart with the same settings; nothing of it leads."""
    monkeypatch.setitem(sys.modules, "shop", types.SimpleNamespace(Breaks=Breaks))
    x, y = _ringed(900, 3)
    metrics, alone = Metrics(), Metrics()
    settings = LearnSettings(challenger="shop.Breaks")
    learner = Learner("purchase", settings, metrics)
    versions = _learn(learner, x, y)
    expected = _learn(Learner("purchase", LearnSettings(), alone), x, y)
    assert [v.weights.tobytes() for v in versions] == [v.weights.tobytes() for v in expected] and len(versions) > 1
    assert learner._model._challenger is None and _told(metrics, "challenger_leads", target="purchase") == 0.0
    again = Learner("purchase", settings, Metrics(), learner.snapshot())
    assert again._model._challenger is None
