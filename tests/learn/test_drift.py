"""When shoppers change: learning quickens, segments come, go and keep their numbers, and people are told."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import orjson
import pytest

from operators.catalogue import EMERGING, Catalogue
from operators.decayed_kmeans import DecayedKMeans
from operators.kernels import assign as kernels
from operators.learn import Learner, LearnSettings
from operators.learn.drift import DriftWatch, UsualByHour
from operators.learn.lineage import fate, origin
from operators.segment_quality import adjusted_rand
from state.features import DIMENSIONS
from state.metrics import DRIFT_SIGNALS, LINEAGE, Metrics
from state.models import SegmentModel
from state.samples import in_order

CHANGE_AT = 3_000
TICK_MS = 60_000
"""Between two samples: the change comes after two days."""

NO_OUTCOMES = np.zeros(0, np.uint8)


def _crowd(seed: int, n: int = 6_000, change_at: int = CHANGE_AT) -> tuple[np.ndarray, np.ndarray]:
    """Five personas, of which the first is somewhere else altogether from `change_at` on."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.5, 4.0, (6, DIMENSIONS))
    truth = rng.integers(0, 5, n)
    place = np.where((truth == 0) & (np.arange(n) >= change_at), 5, truth)
    return np.expm1(level[place] + rng.normal(0.0, 0.5, (n, DIMENSIONS))).astype(np.float32), truth


def _learn(learner: Learner, x: np.ndarray, size: int = 100, first: int = 0) -> list[Any]:
    out: list[Any] = []
    for at in range(0, len(x), size):
        ts = TICK_MS * np.arange(first + at, first + min(at + size, len(x)), dtype=np.int64) + 1
        out += learner.process([in_order("segments", x[at : at + size], NO_OUTCOMES, ts)])
    return out


def _labels(model: SegmentModel, x: np.ndarray) -> np.ndarray:
    logs = kernels.signed_log1p_reference(x)
    held = np.full(len(x), -1, np.int32)
    return model.numbers[kernels.assign_reference(logs, model.mean, model.scale, model.centres, held, 1.0)[0]]


def _count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"coterie_{name}", labels) or 0.0


@pytest.mark.parametrize("seed", range(3))
def test_abrupt_change_is_learned_within_a_few_hundred_samples(seed: int) -> None:
    """Whoever changed is in a segment of their own soon after; all others keep the number they had."""
    x, truth = _crowd(seed)
    metrics = Metrics()
    versions = _learn(Learner("segments", LearnSettings(), metrics), x)
    before = [m for m in versions if m.samples <= CHANGE_AT][-1]
    soon = [m for m in versions if m.samples <= CHANGE_AT + 800][-1]
    assert _count(metrics, "drift_total", signal="inertia") >= 1
    assert adjusted_rand(truth[-1_000:], _labels(soon, x[-1_000:])) > 0.95
    others = truth[-1_000:] > 0
    for persona in range(1, 5):
        was = _labels(before, x[CHANGE_AT - 500 : CHANGE_AT][truth[CHANGE_AT - 500 : CHANGE_AT] == persona])
        now = _labels(versions[-1], x[-1_000:][truth[-1_000:] == persona])
        assert np.bincount(was).argmax() == np.bincount(now).argmax()
    assert others.any()


@pytest.mark.parametrize("seed", range(4))
def test_small_segment_keeps_its_number_through_a_change_of_others(seed: int) -> None:
    """Of the few samples right after the change it has hardly any; whoever is in it stays who they were."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.5, 4.0, (8, DIMENSIONS))
    truth = rng.choice(6, 5_000, p=(0.25, 0.25, 0.15, 0.15, 0.15, 0.05))
    place = np.where((truth < 2) & (np.arange(5_000) >= CHANGE_AT), truth + 6, truth)
    x = np.expm1(level[place] + rng.normal(0.0, 0.6, (5_000, DIMENSIONS))).astype(np.float32)
    versions = _learn(Learner("segments", LearnSettings(), Metrics()), x)
    before = [m for m in versions if m.samples <= CHANGE_AT][-1]
    was = _labels(before, x[:CHANGE_AT][truth[:CHANGE_AT] == 5])
    now = _labels(versions[-1], x[-1_000:][truth[-1_000:] == 5])
    assert np.bincount(was).argmax() == np.bincount(now).argmax()
    card = next(c for c in versions[-1].cards if c.number == np.bincount(now).argmax())
    assert not card.retired_at and not card.heirs and card.born_at < TICK_MS * CHANGE_AT


def test_change_is_published_at_once() -> None:
    """A version comes with the alarm, not when the next was due."""
    x, _ = _crowd(1)
    settings = LearnSettings(publish_every_samples=5_000)
    versions = _learn(Learner("segments", settings, Metrics()), x)
    assert any(CHANGE_AT < m.samples < CHANGE_AT + 300 for m in versions)


@pytest.mark.parametrize("seed", range(3))
def test_steady_shoppers_raise_no_alarm(seed: int) -> None:
    """Nothing changes: no drift is counted, and no segment comes or goes after the first few versions."""
    x, _ = _crowd(seed, 8_000, change_at=8_000)
    metrics = Metrics()
    versions = _learn(Learner("segments", LearnSettings(), metrics), x)
    assert all(_count(metrics, "drift_total", signal=signal) == 0 for signal in DRIFT_SIGNALS)
    assert all(set(m.numbers.tolist()) == set(versions[-1].numbers.tolist()) for m in versions[-20:])
    assert len(versions[-1].numbers) == 5


def test_new_behaviour_is_told_as_emerging_and_then_becomes_a_segment() -> None:
    """First a share of the samples fits no segment, on the metric and the catalogue; then a segment is born of them."""
    x, _ = _crowd(2)
    metrics = Metrics()
    learner = Learner("segments", LearnSettings(), metrics)
    versions = _learn(learner, x)
    calm = [m for m in versions if 1_000 < m.samples <= CHANGE_AT]
    after = [m for m in versions if CHANGE_AT < m.samples <= CHANGE_AT + 300]
    assert max(m.emerging.share for m in calm) < 0.05
    found = max(after, key=lambda m: m.emerging.share)
    assert found.emerging.share > 0.05
    (fields,) = Catalogue(Metrics()).process([found])
    told = orjson.loads(fields[EMERGING])
    assert told["share"] == pytest.approx(found.emerging.share, abs=1e-4)
    born = [card for card in versions[-1].cards if card.born_at > TICK_MS * CHANGE_AT and card.born_by == "birth"]
    assert born and not born[0].parents
    assert _count(metrics, "segment_emerging_share") < 0.05
    assert _count(metrics, "segment_changes_total", change="birth") >= 6


@pytest.mark.parametrize("at", [CHANGE_AT - 10, CHANGE_AT + 210, CHANGE_AT + 777])
def test_restart_around_a_change_changes_nothing(at: int) -> None:
    """Detectors, quick learning and lineage go on from a snapshot as if there had been none."""
    x, _ = _crowd(0, 4_500)
    whole = Learner("segments", LearnSettings(), Metrics())
    _learn(whole, x)
    first = Learner("segments", LearnSettings(), Metrics())
    _learn(first, x[:at], 64)
    second = Learner("segments", LearnSettings(), Metrics(), first.snapshot())
    for start in range(at, len(x), 41):
        cut = x[start : start + 41]
        ts = TICK_MS * np.arange(start, start + len(cut), dtype=np.int64) + 1
        second.process([in_order("segments", cut, NO_OUTCOMES, ts)])
    (expected,), (found,) = whole.finish(), second.finish()
    for name in expected.__slots__:
        a, b = getattr(expected, name), getattr(found, name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b or (a != a and b != b), name


def test_lineage_says_where_from_and_where_to() -> None:
    """By the newest samples: births are far from all, splits leave a parent, merges take all of several."""
    before = np.repeat([3, 4], [60, 40])
    assert origin(before, np.ones(100, bool), set()) == ("birth", [])
    assert origin(before, np.zeros(100, bool), {3, 4}) == ("merge", [3, 4])
    assert origin(before, np.zeros(100, bool), {4}) == ("split", [3, 4])
    assert origin(np.full(9, 3), np.zeros(9, bool), {3}) == ("split", [3])
    assert fate(np.zeros(0, np.int32)) == ("death", [])
    assert fate(np.repeat([7, 8], [70, 30])) == ("split", [7, 8])
    assert fate(np.repeat([7, 8], [95, 5])) == ("merge", [7])
    assert {"birth", "split", "merge", "death"} == set(LINEAGE)


def _watched(second: float, shift: float, day: bool = False) -> list[tuple[int, str]]:
    """Signals, with their blocks, of blocks half an hour long over five days; from the fourth on distances are `second`
    times as large and a feature is `shift` higher, or with `day` only between noon and 6 pm, but every day."""
    rng = np.random.default_rng(0)
    watch = DriftWatch(3)
    found = []
    for block in range(5 * 48):
        other = block % 48 in range(24, 36) if day else block >= 4 * 48
        logs = rng.normal(0.0, 1.0, (32, 3)) + np.array([shift * other, 0.0, 0.0])
        ratios = rng.gamma(6.0, 1.0 / 6.0, 32) * (second if other else 1.0)
        ts = 1_800_000 * block + 56_000 * np.arange(32)
        found += [(block, signal) for signal in watch.look(logs, ratios, np.ones(3), ts)]
    return found


def test_drift_watch_tells_a_rise_of_distances_from_a_fall() -> None:
    """A fall is no drift: the segments fit better. A feature's change is another signal than the distances'."""
    assert _watched(1.0, 0.0) == []
    assert _watched(0.5, 0.0) == []
    ((at, signal),) = _watched(1.6, 0.0)
    assert signal == "inertia" and 192 <= at < 200
    ((at, signal),) = _watched(1.0, 1.5)
    assert signal == "features" and 192 <= at < 240


def test_rise_of_no_account_is_no_drift() -> None:
    """A detector finds it; nobody has to learn anew for it."""
    assert _watched(1.1, 0.0) == []


def test_what_is_so_every_day_is_no_drift() -> None:
    """Other shoppers in the afternoon, farther from their segments, and that from the first day on."""
    assert _watched(1.6, 1.5, day=True) == []


def test_usual_by_hour_is_what_earlier_days_told() -> None:
    """Nothing on the first day; then the day before, then half of it and half of what was before that; an hour that had
    too few samples waits for those of the next day."""
    usual = UsualByHour(1)
    nine = 9 * 3_600_000 + 60_000 * np.arange(10)
    day = 86_400_000
    assert np.isnan(usual.of(np.full((10, 1), 2.0), nine)).all()
    assert usual.of(np.full((10, 1), 4.0), nine + day).tolist() == [[2.0]] * 10
    assert usual.of(np.full((4, 1), 8.0), nine[:4] + 2 * day).tolist() == [[3.0]] * 4
    assert usual.of(np.full((4, 1), 6.0), nine[:4] + 3 * day).tolist() == [[3.0]] * 4
    assert usual.of(np.full((1, 1), 0.0), nine[:1] + 4 * day).tolist() == [[5.0]]
    assert np.isnan(usual.of(np.zeros((1, 1)), nine[:1] + 4 * day + 3_600_000)).all()


def test_quickened_clusterer_is_where_the_newest_points_are() -> None:
    """What it learned before counts no more; with the same points a pickled one does the same."""
    rng = np.random.default_rng(1)
    old, new = rng.normal(0.0, 0.2, (2_000, 4)), rng.normal(5.0, 0.2, (300, 4))
    model = DecayedKMeans(3, warm_up=64, reservoir=512, seed=1)
    model.quicken(new)  # during the warm-up nothing happens
    assert model.centers == {}
    model.learn_array(old)
    other = pickle.loads(pickle.dumps(model))
    model.quicken(new)
    other.quicken(new)
    assert pickle.dumps(model) == pickle.dumps(other)
    assert all(abs(value - 5.0) < 1.0 for centre in model.centers.values() for value in centre.values())
    assert model.weights.sum() == pytest.approx(len(new), rel=0.1)
    model.hasten(30.0)
    assert model.weights.sum() <= 30.0 + 1e-9
