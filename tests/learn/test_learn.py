"""The learn step: what it publishes, when, and that neither cuts nor restarts change it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from river import base, linear_model, preprocessing

from operators.decayed_kmeans import DecayedKMeans
from operators.kernels import assign as kernels
from operators.kernels.logistic import STANDARD_MAX, cross_reference, logistic_reference
from operators.learn import MODELS, Learner, LearnSettings
from operators.learn.clusterers import make_clusterer
from operators.learn.segment_cards import RETIRED_MAX
from operators.segment_quality import adjusted_rand
from state.features import DIMENSIONS, MODEL_FEATURES, PROPENSITY_INPUTS, SEGMENT_DIMENSIONS
from state.metrics import Metrics
from state.models import ModelVersion, PopularModel, SegmentModel, ShardPopularity
from state.samples import Lessons, in_order
from tests.learn.fading_newton import FadingNewton

Personas = Callable[..., tuple[np.ndarray, np.ndarray]]
DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


def _samples(model: str, x: np.ndarray, y: np.ndarray | None = None, first: int = 0) -> Lessons:
    ts = START_MS + 1_000 * np.arange(first, first + len(x), dtype=np.int64)
    return in_order(model, x, np.zeros(0, np.uint8) if y is None else y, ts)


def _cuts(n: int, size: int) -> Iterator[slice]:
    return (slice(at, min(at + size, n)) for at in range(0, n, size))


def _learn(learner: Learner, x: np.ndarray, y: np.ndarray | None = None, size: int = 100, first: int = 0) -> list[Any]:
    out: list[ModelVersion] = []
    for cut in _cuts(len(x), size):
        out += learner.process([_samples(learner.key, x[cut], None if y is None else y[cut], first + cut.start)])
    return out


def _same(one: ModelVersion, other: ModelVersion) -> bool:
    """Equal in every field, arrays bit for bit (nan equals nan)."""
    assert type(one) is type(other)
    for name in one.__slots__:
        a, b = getattr(one, name), getattr(other, name)
        equal = np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b or (a != a and b != b)
        if not equal:
            return False
    return True


def _labels(model: SegmentModel, x: np.ndarray) -> np.ndarray:
    logs = kernels.signed_log1p_reference(x)
    held = np.full(len(x), -1, np.int32)
    return model.numbers[kernels.assign_reference(logs, model.mean, model.scale, model.centres, held, 1.0)[0]]


def _outcomes(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.lognormal(0.0, 1.0, (n, DIMENSIONS)).astype(np.float32)
    x[:, 3] = 0.0  # never varies
    odds = 1.5 * (np.log1p(x[:, 0]) - 0.8) - 1.2 * (np.log1p(x[:, 8]) - 0.8) - 0.7
    return x, (rng.random(n) < 1.0 / (1.0 + np.exp(-odds))).astype(np.uint8)


# Segments


def test_segments_appear_early_and_then_regularly(personas: Personas) -> None:
    """The first model at 128 samples, one more per 256, a last one at the end of input if anything came since."""
    x, _ = personas(0, 1_000)
    learner = Learner("segments", LearnSettings(), Metrics())
    versions = _learn(learner, x)
    assert [m.samples for m in versions] == [128, 384, 640, 896]
    assert [m.version for m in versions] == [1, 2, 3, 4]
    assert [m.samples for m in learner.finish()] == [1_000]
    assert learner.finish() == []


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_published_segments_are_the_personas(seed: int, personas: Personas) -> None:
    """Natural, heavy-tailed, drifting figures in; the published model alone finds who is who."""
    x, truth = personas(seed, 5_000, noise=0.6)
    model = _learn(Learner("segments", LearnSettings(segments=6), Metrics()), x)[-1]
    assert adjusted_rand(truth[-1_000:], _labels(model, x[-1_000:])) > 0.9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_numbers_stay_while_personas_drift(seed: int, personas: Personas) -> None:
    """A persona's shoppers have the same segment number in the first model and in the last."""
    x, truth = personas(seed, 6_000, noise=0.35)
    versions = _learn(Learner("segments", LearnSettings(segments=6), Metrics()), x)
    early, late = _labels(versions[1], x[:400]), _labels(versions[-1], x[-1_000:])
    for persona in range(6):
        was, now = early[truth[:400] == persona], late[truth[-1_000:] == persona]
        if len(was) and len(now):
            assert np.bincount(was).argmax() == np.bincount(now).argmax()
    assert np.nanmean([m.stability for m in versions]) > 0.95


def test_published_model_is_whole_and_consistent(personas: Personas) -> None:
    """Shapes and types of the contract; one card per live segment with a name of its own; shares sum to 1."""
    x, _ = personas(1, 3_000)
    for model in _learn(Learner("segments", LearnSettings(), Metrics()), x):
        k = len(model.numbers)
        assert model.centres.shape == (k, SEGMENT_DIMENSIONS)
        assert model.mean.dtype == model.scale.dtype == model.centres.dtype == np.float32
        assert model.numbers.dtype == model.macros.dtype == np.int32
        assert (model.scale > 0).all()
        live = [card for card in model.cards if not card.retired_at]
        assert [card.number for card in live] == model.numbers.tolist()
        assert [card.macro for card in live] == model.macros.tolist()
        assert len({card.name for card in live}) == k == len(set(model.numbers.tolist()))
        assert sum(card.share for card in live) == pytest.approx(1.0)
        assert all(START_MS <= card.born_at <= START_MS + 3_000_000 for card in model.cards)
        assert all(name in MODEL_FEATURES for card in live for name, _, _ in card.traits)
        assert 1 <= len(set(model.macros.tolist())) <= 4
        assert -1.0 <= model.silhouette <= 1.0


def test_retired_numbers_are_never_used_again(personas: Personas) -> None:
    """When the shoppers change altogether their segments retire, keep a card, and new numbers say where from."""
    learner = Learner("segments", LearnSettings(segments=4, half_life_samples=500), Metrics())
    versions: list[SegmentModel] = []
    for world in range(4):
        x, _ = personas(10 + world, 1_500, drift=0.0)
        versions += _learn(learner, x, first=1_500 * world)
    seen: dict[int, bool] = {}
    for model in versions:
        live = set(model.numbers.tolist())
        for number in live:
            assert not seen.get(number, False), "a retired number came back"
        seen.update({card.number: card.retired_at > 0 for card in model.cards})
    assert any(seen.values())
    assert len(versions[-1].cards) <= RETIRED_MAX + 64
    newcomers = [card for card in versions[-1].cards if card.number not in versions[0].numbers]
    assert any(card.parents for card in newcomers)


def test_cut_of_calls_does_not_change_the_segments(personas: Personas) -> None:
    """The same samples in calls of 7, 100 or 900 give the same versions, bit for bit."""
    x, _ = personas(2, 1_800)
    runs = [_learn(Learner("segments", LearnSettings(), Metrics()), x, size=size) for size in (7, 100, 900)]
    for other in runs[1:]:
        assert len(other) == len(runs[0])
        assert all(_same(a, b) for a, b in zip(runs[0], other, strict=True))


@pytest.mark.parametrize(
    ("clusterer", "params"),
    [
        ("operators.decayed_kmeans.DecayedKMeans", {}),
        ("river.cluster.KMeans", {"halflife": 0.05}),
    ],
)
@pytest.mark.parametrize("at", [50, 700, 1_100])
def test_restart_does_not_change_the_segments(
    at: int, clusterer: str, params: dict[str, Any], personas: Personas
) -> None:
    """A learner resumed from its snapshot publishes what the uninterrupted one publishes."""
    x, _ = personas(3, 1_800)
    settings = LearnSettings(clusterer=clusterer, clusterer_params=params)
    whole = Learner("segments", settings, Metrics())
    expected = _learn(whole, x)
    first = Learner("segments", settings, Metrics())
    found = _learn(first, x[:at])
    second = Learner("segments", settings, Metrics(), first.snapshot())
    found += _learn(second, x[at:], first=at)
    assert len(found) == len(expected)
    assert all(_same(a, b) for a, b in zip(found, expected, strict=True))


def test_other_clusterer_after_a_restart_begins_with_what_is_known(personas: Personas) -> None:
    """With another number of segments wanted, versions and numbers go on, and the new clusterer is at work at once."""
    x, _ = personas(4, 1_500, drift=0.0)
    first = Learner("segments", LearnSettings(segments=6), Metrics())
    before = _learn(first, x[:1_000])[-1]
    second = Learner("segments", LearnSettings(segments=3), Metrics(), first.snapshot())
    after = _learn(second, x[1_000:], first=1_000)[0]
    assert after.version == before.version + 1
    assert len(after.numbers) == 3
    assert not set(after.numbers.tolist()) & ({card.number for card in before.cards} - set(before.numbers.tolist()))


@pytest.mark.parametrize(
    ("clusterer", "params"),
    [
        ("river.cluster.KMeans", {"halflife": 0.05}),
        ("river.cluster.KMeans", {}),
        ("river.cluster.STREAMKMeans", {"chunk_size": 20, "sigma": 1.5}),
        ("river.cluster.DBSTREAM", {"clustering_threshold": 3.0}),
        ("river.cluster.CluStream", {"max_micro_clusters": 12, "n_macro_clusters": 4}),
    ],
)
def test_any_river_clusterer_can_be_put_in(clusterer: str, params: dict[str, Any], personas: Personas) -> None:
    """Named by its dotted path, it learns and its segments are published; every shopper of the sample is in one."""
    x, _ = personas(5, 700)
    learner = Learner("segments", LearnSettings(clusterer=clusterer, clusterer_params=params), Metrics())
    model = _learn(learner, x)[-1]
    assert np.isfinite(model.centres).all()
    assert set(_labels(model, x[-200:]).tolist()) <= set(model.numbers.tolist())


class LabelsOnly(base.Clusterer):
    """A clusterer that gives labels and shows nothing else."""

    def __init__(self, n_clusters: int = 6, seed: int | None = None) -> None:
        self.n_clusters = n_clusters
        self.seed = seed
        self._inner = DecayedKMeans(n_clusters, warm_up=64, seed=seed)

    def learn_one(self, x: dict[Any, Any]) -> None:
        self._inner.learn_one(x)

    def predict_one(self, x: dict[Any, Any]) -> int:
        return 100 + self._inner.predict_one(x)


def test_clusterer_that_shows_no_centres_is_read_by_its_labels(
    personas: Personas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `centers`, each label's fading mean stands for it."""
    monkeypatch.setitem(sys.modules, "shop", types.SimpleNamespace(LabelsOnly=LabelsOnly))
    x, truth = personas(6, 3_000, noise=0.35)
    settings = LearnSettings(segments=6, half_life_samples=500, clusterer="shop.LabelsOnly")
    model = _learn(Learner("segments", settings, Metrics()), x)[-1]
    assert adjusted_rand(truth[-600:], _labels(model, x[-600:])) > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LearnSettings(clusterer="river.cluster.Kmeans"), 'found no "river.cluster.Kmeans"'),
        (LearnSettings(clusterer="nowhere"), 'found no "nowhere"'),
        (LearnSettings(clusterer="river.linear_model.LinearRegression"), "is no river.base.Clusterer"),
        (LearnSettings(clusterer="river.cluster.TextClust"), "clusters texts"),
        (
            LearnSettings(clusterer="river.cluster.KMeans", clusterer_params={"centres": 3}),
            "centres.*it takes n_clusters",
        ),
        (
            LearnSettings(clusterer="river.cluster.KMeans", clusterer_params={"n_clusters": 0}),
            "cannot learn with these: ValueError.*it takes n_clusters",
        ),
    ],
)
def test_wrong_clusterer_is_named_in_the_message(settings: LearnSettings, message: str) -> None:
    """The message says which setting, what was found, and what to do."""
    with pytest.raises(ValueError, match=message):
        make_clusterer(settings)


def test_samples_beyond_the_bound_are_left_out_evenly_and_counted(personas: Personas) -> None:
    """No call learns from more than the bound."""
    x, _ = personas(7, 1_000)
    learner = Learner("segments", LearnSettings(samples_per_call_max=300), Metrics())
    versions = learner.process([_samples("segments", x[:600]), _samples("segments", x[600:], first=600)])
    assert learner.left_out == 700
    assert [m.samples for m in versions] == [128]
    assert [m.samples for m in learner.finish()] == [300]


def test_wild_figures_do_not_break_the_segments(personas: Personas) -> None:
    """nan, infinities and huge amounts among the samples leave a finite model."""
    x, _ = personas(8, 800)
    x[::5, 3], x[::7, 4], x[::50, 8], x[::60, 9] = np.nan, np.inf, 3e38, -3e38
    for model in _learn(Learner("segments", LearnSettings(), Metrics()), x):
        assert np.isfinite(model.centres).all() and np.isfinite(model.scale).all()
        assert all(np.isfinite(value) for card in model.cards for _, *means in card.traits for value in means)


def test_shoppers_all_alike_are_one_segment() -> None:
    """No second segment is made up where nothing differs."""
    x = np.ones((900, DIMENSIONS), np.float32)
    model = _learn(Learner("segments", LearnSettings(), Metrics()), x)[-1]
    assert len(model.numbers) == 1
    assert np.isnan(model.silhouette)


def test_gauges_show_the_newest_version(personas: Personas) -> None:
    """Version, silhouette and stability are on the metrics page, also right after a restart."""
    x, _ = personas(9, 900)
    metrics = Metrics()
    learner = Learner("segments", LearnSettings(), metrics)
    model = _learn(learner, x)[-1]
    resumed = Metrics()
    Learner("segments", LearnSettings(), resumed, learner.snapshot())
    for page in (metrics, resumed):
        assert page.registry.get_sample_value("coterie_model_version", {"model": "segments"}) == model.version
        assert page.registry.get_sample_value("coterie_segment_silhouette") == model.silhouette
        assert page.registry.get_sample_value("coterie_segment_stability_ari") == model.stability


# Propensities


def _by_hand(x: np.ndarray, y: np.ndarray) -> tuple[list[float], Callable[[np.ndarray], list[float]]]:
    """What River's own scaler and regression say before they learn each sample, and what they say in the end."""
    scaler, settings = preprocessing.StandardScaler(), LearnSettings()
    optimizer = FadingNewton(half_life=settings.half_life_samples)
    regression = linear_model.LogisticRegression(optimizer, intercept_lr=settings.learning_rate)

    def seen(row: list[float]) -> dict[Any, float]:
        z = scaler.transform_one(dict(zip(PROPENSITY_INPUTS, row, strict=True)))
        return {"always": 1.0} | {name: min(max(value, -STANDARD_MAX), STANDARD_MAX) for name, value in z.items()}

    predicted = []
    for row, outcome in zip(_inputs(x).tolist(), y.tolist(), strict=True):
        z = seen(row)
        predicted.append(regression.predict_proba_one(z)[True])
        scaler.learn_one(dict(zip(PROPENSITY_INPUTS, row, strict=True)))
        regression.learn_one(z, bool(outcome))
    return predicted, lambda x: [regression.predict_proba_one(seen(row))[True] for row in _inputs(x).tolist()]


def _inputs(x: np.ndarray) -> np.ndarray:
    return cross_reference(kernels.signed_log1p_reference(x))


def test_published_propensity_is_the_pipeline_of_river() -> None:
    """The published numbers, applied as shards apply them, give River's own predict_proba_one."""
    x, y = _outcomes(0, 1_000)
    y = _late_last(y)
    model = _learn(Learner("purchase", LearnSettings(publish_every_samples=936), Metrics()), x, y)[-1]
    assert model.samples == 1_000
    _, in_the_end = _by_hand(x, y)
    found = logistic_reference(_inputs(x), model.mean, model.scale, model.weights, model.bias)
    np.testing.assert_allclose(found, in_the_end(x), rtol=1e-4, atol=1e-5)


def _late_last(y: np.ndarray) -> np.ndarray:
    """Outcomes whose last is one known late, so that all before it can be learned from."""
    y = y.copy()
    y[-8:] = 0
    return y


def test_auc_is_prequential() -> None:
    """Each outcome is predicted before it is learned: the rank statistic over those predictions."""
    x, y = _outcomes(1, 1_500)
    y = _late_last(y)
    metrics = Metrics()
    model = _learn(Learner("purchase", LearnSettings(publish_every_samples=1_436), metrics), x, y)[-1]
    scores, positive = np.array(_by_hand(x, y)[0]), y.astype(bool)
    above = (scores[positive][:, None] > scores[~positive][None]).mean()
    equal = (scores[positive][:, None] == scores[~positive][None]).mean()
    assert model.auc == pytest.approx(above + equal / 2, abs=1e-6)
    assert model.auc > 0.62
    assert metrics.registry.get_sample_value("coterie_propensity_auc") == model.auc
    labels = {"model": "champion", "target": "purchase"}
    assert metrics.registry.get_sample_value("coterie_propensity_model_auc", labels) == model.auc
    right = np.where(positive, scores, 1.0 - scores)
    loss = metrics.registry.get_sample_value("coterie_propensity_log_loss", labels)
    assert loss == pytest.approx(-np.log(right).mean(), abs=1e-6)


def test_propensity_publishes_early_and_then_regularly() -> None:
    """First at 64 samples, then per 256, and at the end of input; the AUC is unknown before both outcomes were seen."""
    x, y = _outcomes(2, 700)
    learner = Learner("churn", LearnSettings(), Metrics())
    versions = _learn(learner, x, np.ones(len(x), np.uint8))
    assert [m.samples for m in versions] == [64, 320, 576]
    assert all(m.target == "churn" and np.isnan(m.auc) for m in versions)
    assert [m.samples for m in learner.finish()] == [700]
    few = Learner("churn", LearnSettings(), Metrics())
    assert _learn(few, x[:63], y[:63]) == []
    assert few.finish() == []


@pytest.mark.parametrize("size", [1, 333])
def test_neither_cuts_nor_a_restart_change_a_propensity(size: int) -> None:
    """Other calls and a resume in the middle give the same versions, bit for bit."""
    x, y = _outcomes(3, 900)
    expected = _learn(Learner("churn", LearnSettings(), Metrics()), x, y)
    first = Learner("churn", LearnSettings(), Metrics())
    found = _learn(first, x[:400], y[:400], size)
    found += _learn(Learner("churn", LearnSettings(), Metrics(), first.snapshot()), x[400:], y[400:], size, first=400)
    assert len(found) == len(expected)
    assert all(_same(a, b) for a, b in zip(found, expected, strict=True))


def test_changed_learning_rate_holds_after_a_restart() -> None:
    """The setting wins over the snapshot."""
    x, y = _outcomes(4, 600)
    first = Learner("churn", LearnSettings(), Metrics())
    _learn(first, x[:300], y[:300])
    frozen = Learner("churn", LearnSettings(learning_rate=0.0), Metrics(), first.snapshot())
    level = frozen._model._champion._level[0]
    assert level != 0.0
    _learn(frozen, x[300:], y[300:])
    assert frozen._model._champion._level[0] == level


# Popular items


def _popularity(shard: int, items: list[int], scores: list[float], ts: int) -> ShardPopularity:
    return ShardPopularity(shard, np.array(items, np.uint64), np.array(scores, np.float32), ts)


def test_popular_items_of_all_shards_meet_at_the_newest_time() -> None:
    """A list three days older counts for half; of each shard the newest list stands; best first, cut to the bound."""
    learner = Learner("popular", LearnSettings(popular_n=3, popular_half_life_days=3.0), Metrics())
    learner.process([_popularity(0, [5, 6], [100.0, 90.0], START_MS - DAY_MS)])
    (model,) = learner.process(
        [_popularity(0, [1, 2], [8.0, 3.0], START_MS), _popularity(1, [3, 4], [5.0, 4.0], START_MS + 3 * DAY_MS)]
    )
    assert isinstance(model, PopularModel)
    assert model.items.tolist() == [3, 1, 4]
    assert model.scores.tolist() == [5.0, 4.0, 4.0]
    assert model.version == 2


def test_popular_items_are_published_only_when_they_changed() -> None:
    """The same lists again say nothing; the end of input says all, and so does a restart after it."""
    learner = Learner("popular", LearnSettings(), Metrics())
    lists = [_popularity(0, [1, 2], [8.0, 3.0], START_MS)]
    assert learner.finish() == []
    (model,) = learner.process(lists)
    assert learner.process(lists) == []
    resumed = Learner("popular", LearnSettings(), Metrics(), learner.snapshot())
    assert [m.version for m in resumed.process(lists)] == [model.version]
    assert resumed.process(lists) == []
    assert [m.version for m in resumed.finish()] == [model.version]


def test_unknown_model_is_refused() -> None:
    """The message lists the models there are."""
    with pytest.raises(ValueError, match="segments, purchase, churn, popular"):
        Learner("segmets", LearnSettings(), Metrics())


@pytest.mark.parametrize("clusterer", [LearnSettings().clusterer, "river.cluster.KMeans"])
@pytest.mark.parametrize("key", MODELS)
def test_a_snapshot_names_no_class_of_the_learn_step(key: str, clusterer: str) -> None:
    """The step's own modules can be renamed without losing what was learned."""
    learner = Learner(key, LearnSettings(clusterer=clusterer), Metrics())
    x, y = _outcomes(5, 200)
    learner.process([_popularity(0, [1], [8.0], START_MS)] if key == "popular" else [_samples(key, x, y)])
    assert learner.finish()
    assert b"operators.learn" not in learner.snapshot()
