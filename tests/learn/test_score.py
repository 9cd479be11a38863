"""The score step: who is in which segment, who moved, and that a restart forgets nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.kernels import assign as kernels
from operators.kernels.logistic import cross_reference, logistic_reference
from operators.score import Score, ScoreSettings
from state.batches import (
    ACT,
    FETCH,
    PAIR,
    PROFILE,
    TOUCH,
    TRANSITION_KINDS,
    ProfileBatch,
    Receipt,
    ScoredBatch,
    SegmentCounts,
)
from state.features import DIMENSIONS, PROPENSITY_INPUTS
from state.metrics import Metrics
from state.models import PropensityModel, SegmentModel
from state.table import Table

START_MS = 1_700_000_000_000


def _model(centres: list[float], numbers: list[int], version: int = 1) -> SegmentModel:
    """Centres on a line: the first feature's log1p, unscaled; all other features 0."""
    places = np.zeros((len(centres), DIMENSIONS), np.float32)
    places[:, 0] = centres
    return SegmentModel(
        version=version,
        mean=np.zeros(DIMENSIONS, np.float32),
        scale=np.ones(DIMENSIONS, np.float32),
        centres=places,
        numbers=np.array(numbers, np.int32),
        macros=np.array(numbers, np.int32) // 2,
        cards=[],
        samples=1_000,
        silhouette=0.5,
        stability=1.0,
    )


def _propensity(target: str, weight: float, bias: float) -> PropensityModel:
    weights = np.zeros(len(PROPENSITY_INPUTS), np.float32)
    weights[0] = weight
    ones = np.ones(len(PROPENSITY_INPUTS), np.float32)
    return PropensityModel(target, 3, 0 * ones, ones, weights, bias, 500, 0.8)


def _batch(
    rows: list[int],
    at: list[float],
    fresh: list[int] | None = None,
    erased: list[int] | None = None,
    ts: int = START_MS,
) -> ProfileBatch:
    """Shoppers by table row, each standing at a place on the line of the centres."""
    profiles = np.zeros(len(rows), PROFILE)
    profiles["row"] = rows
    profiles["x"][:, 0] = np.expm1(at)
    profiles["event_ts"] = ts + np.arange(len(rows))
    profiles["acts"] = 1
    profiles["fresh"] = fresh or 0
    profiles["erased"] = erased or 0
    nothing = Receipt(np.zeros(0), np.zeros(0, np.int64), {})
    empty = [np.zeros(0, dtype) for dtype in (ACT, PAIR, TOUCH, FETCH)]
    return ProfileBatch(0, 0, profiles, np.zeros(0, np.uint8), *empty, [], nothing, 1)


def _scored(out: list[ScoredBatch | SegmentCounts]) -> ScoredBatch:
    return next(value for value in out if isinstance(value, ScoredBatch))


def _counts(out: list[ScoredBatch | SegmentCounts]) -> list[int]:
    return next(value.counts.tolist() for value in out if isinstance(value, SegmentCounts))


def test_without_a_model_nobody_is_in_a_segment() -> None:
    """Segment and group -1, propensities unknown, no transition."""
    step = Score(0, Metrics())
    batch = _batch([0, 1], [0.0, 2.0], fresh=[1, 1])
    scored = _scored(step.process([batch]))
    assert scored.profiles is batch
    assert scored.scores["segment"].tolist() == [-1, -1]
    assert scored.scores["macro"].tolist() == [-1, -1]
    assert np.isnan(scored.scores["purchase"]).all() and np.isnan(scored.scores["churn"]).all()
    assert len(scored.transitions) == 0


def test_what_is_looked_at_when_the_input_has_ended_waits_for_the_last_models() -> None:
    """However late a model comes, it scores the last batches, in their order, and each of them once."""
    step = Score(0, Metrics())
    first, second = (replace(_batch([row], [4.0]), last=True, sequence=row) for row in (0, 1))
    assert not any(isinstance(value, ScoredBatch) for value in step.process([first, second]))
    step.process([_model([0.0, 4.0], [2, 5])])
    *scored, counts = step.finish()
    assert [value.profiles.sequence for value in scored if isinstance(value, ScoredBatch)] == [0, 1]
    assert all(value.scores["segment"].tolist() == [5] for value in scored if isinstance(value, ScoredBatch))
    assert isinstance(counts, SegmentCounts) and counts.counts[5] == 2
    assert not any(isinstance(value, ScoredBatch) for value in step.finish())


def test_first_segment_is_a_transition_from_none() -> None:
    """Nearest centre, its stable number and group, a margin, the shopper's event time; the metric counts it."""
    metrics = Metrics()
    step = Score(0, metrics)
    out = step.process([_model([0.0, 4.0], [2, 5]), _batch([0, 1], [1.0, 3.5])])
    scored = _scored(out)
    assert scored.scores["segment"].tolist() == [2, 5]
    assert scored.scores["macro"].tolist() == [1, 2]
    assert scored.scores["model"].tolist() == [1, 1]
    np.testing.assert_allclose(scored.scores["margin"], [1 - 1 / 3, 1 - 0.5 / 3.5], rtol=1e-5)
    moves = scored.transitions
    assert moves["position"].tolist() == [0, 1]
    assert moves["before"].tolist() == [-1, -1]
    assert moves["after"].tolist() == [2, 5]
    assert moves["at"].tolist() == [START_MS, START_MS + 1]
    assert [TRANSITION_KINDS[k] for k in moves["kind"]] == ["cluster", "cluster"]
    assert _counts(out) == [0, 0, 1, 0, 0, 1]
    assert metrics.registry.get_sample_value("coterie_transitions_total", {"kind": "cluster"}) == 2


def test_shopper_between_two_segments_stays_until_the_other_is_clearly_nearer() -> None:
    """A move needs less than the stay factor of the old distance; staying with the farther centre has no margin."""
    step = Score(0, Metrics(), ScoreSettings(stay_factor=0.9))
    step.process([_model([0.0, 2.0], [0, 1]), _batch([0], [0.5])])
    undecided = _scored(step.process([_batch([0], [1.04])]))
    assert undecided.scores["segment"].tolist() == [0]
    assert undecided.scores["margin"].tolist() == [0.0]
    assert len(undecided.transitions) == 0
    gone = _scored(step.process([_batch([0], [1.2])]))
    assert gone.scores["segment"].tolist() == [1]
    assert gone.transitions[["before", "after"]].tolist() == [(0, 1)]
    back = _scored(step.process([_batch([0], [0.96])]))
    assert back.scores["segment"].tolist() == [1]


def test_shopper_between_two_segments_does_not_stay_for_ever() -> None:
    """A day after their segment was last the nearest one they go to whichever is, when next seen or looked at."""
    day = ScoreSettings().stay_ms
    for late, acts in ((0, 1), (1, 1), (1, 0)):
        step = Score(0, Metrics())
        step.process([_model([0.0, 2.0], [0, 1]), _batch([0], [0.5]), _batch([0], [1.04], ts=START_MS + day)])
        later = _batch([0], [1.04], ts=START_MS + (day + late if acts else 0))
        later.rows["acts"] = acts
        scored = _scored(step.process([replace(later, watermark_ts=START_MS + day + late)]))
        assert scored.scores["segment"].tolist() == [late]


def test_shopper_of_a_retired_segment_goes_to_the_nearest_one() -> None:
    """Nothing holds a shopper in a segment that no longer lives."""
    step = Score(0, Metrics())
    step.process([_model([0.0, 2.0], [0, 1]), _batch([0], [0.1])])
    out = step.process([_model([2.0, 0.2], [1, 7], version=2), _batch([0], [0.15])])
    scored = _scored(out)
    assert scored.transitions[["before", "after"]].tolist() == [(0, 7)]
    assert scored.scores["model"].tolist() == [2]
    assert sum(_counts(out)) == 1


def test_models_apply_to_what_stands_after_them() -> None:
    """In one call: a batch, a model, the batch again."""
    step = Score(0, Metrics())
    out = step.process([_batch([0], [0.0]), _model([0.0], [4]), _batch([0], [0.0])])
    assert [value.scores["segment"].tolist() for value in out if isinstance(value, ScoredBatch)] == [[-1], [4]]


def test_propensities_are_the_logistic_of_the_published_models() -> None:
    """Each target by its own model; one that has none is unknown."""
    step = Score(0, Metrics())
    first = _scored(step.process([_propensity("purchase", 2.0, -1.0), _batch([0, 1], [0.0, 1.5])]))
    np.testing.assert_allclose(first.scores["purchase"], 1 / (1 + np.exp([1.0, -2.0])), rtol=1e-5)
    assert np.isnan(first.scores["churn"]).all()
    second = _scored(step.process([_propensity("churn", -1.0, 0.5), _batch([0], [1.0])]))
    np.testing.assert_allclose(second.scores["churn"], [1 / (1 + np.exp(0.5))], rtol=1e-5)
    assert np.isfinite(second.scores["purchase"]).all()


def test_fresh_row_knows_nothing_of_who_had_it_before() -> None:
    """A reused row starts from none, and its former shopper is no longer counted."""
    step = Score(0, Metrics())
    step.process([_model([0.0, 2.0], [0, 1]), _batch([0], [0.1])])
    scored = _scored(step.process([_batch([0], [1.05], fresh=[1])]))
    assert scored.transitions[["before", "after"]].tolist() == [(-1, 1)]
    assert _counts(step.finish()) == [0, 1]


def test_erased_shopper_leaves_no_trace() -> None:
    """No transition, no scores, no count, a cleared row."""
    step = Score(0, Metrics())
    step.process([_model([0.0, 2.0], [0, 1]), _propensity("purchase", 1.0, 0.0), _batch([0, 1], [0.1, 0.1])])
    scored = _scored(step.process([_batch([0, 1], [1.9, 0.1], erased=[1, 0])]))
    assert scored.scores["segment"].tolist() == [-1, 0]
    assert np.isnan(scored.scores["purchase"]).tolist() == [True, False]
    assert len(scored.transitions) == 0
    assert _counts(step.finish()) == [1, 0]
    assert step.tables["scores"].rows["segment"][:2].tolist() == [-1, 0]
    assert _counts(Score.finish(step)) == [1, 0]


def test_counts_come_with_a_model_every_so_many_calls_and_at_the_end() -> None:
    """Not with each batch."""
    step = Score(3, Metrics(), ScoreSettings(counts_every_calls=4))
    told = [len(step.process([_batch([0], [0.0])])) - 1 for _ in range(9)]
    assert told == [0, 0, 0, 1, 0, 0, 0, 1, 0]
    out = step.process([_model([0.0], [0])])
    assert [type(value) for value in out] == [SegmentCounts]
    assert [value.shard for value in step.finish() if isinstance(value, SegmentCounts)] == [3]


def test_rows_not_yet_scored_are_in_no_segment() -> None:
    """The table grows to the highest row; rows in between wait with -1, and no wrong row is written."""
    step = Score(0, Metrics())
    step.process([_model([0.0], [0]), _batch([5], [0.0])])
    table = step.tables["scores"]
    assert table.size == 6
    assert table.rows["segment"][:6].tolist() == [-1] * 5 + [0]
    with pytest.raises(ValueError, match="row -1"):
        step.process([_batch([-1], [0.0])])


def _restart(step: Score) -> Score:
    """A new step with the tables' rows and the extra state of the old one."""
    other = Score(step.shard, Metrics())
    old, new = step.tables["scores"], Table(step.tables["scores"].dtype)
    new.extend(old.size)
    new.rows[: new.size] = old.rows[: old.size]
    other.tables["scores"] = new
    other.restore_extra(step.extra_state())
    other.restored()
    return other


@pytest.mark.parametrize("seed", [0, 1])
def test_restart_changes_nothing(seed: int) -> None:
    """Scores, transitions and counts of a resumed step are those of the uninterrupted one, byte for byte."""
    rng = np.random.default_rng(seed)
    whole, resumed = Score(1, Metrics()), Score(1, Metrics())
    models = [_model([0.0, 1.0, 2.0], [0, 1, 2]), _model([0.3, 1.4, 2.2, 3.0], [0, 3, 2, 4], version=2)]
    for call in range(40):
        rows = rng.choice(50, 8, replace=False)
        fresh, erased = (rng.random(8) < 0.1).astype(int).tolist(), (rng.random(8) < 0.1).astype(int).tolist()
        batch = _batch(rows.tolist(), rng.uniform(0, 3, 8).tolist(), fresh, erased)
        values = [
            *([_propensity("churn", call, 0.0)] if call == 5 else []),
            *([models[call // 20]] if call % 20 == 3 else []),
            batch,
        ]
        if call in (2, 11, 30):
            resumed = _restart(resumed)
        expected, found = whole.process(values), resumed.process(values)
        assert len(expected) == len(found)
        assert _scored(expected).scores.tobytes() == _scored(found).scores.tobytes()
        assert _scored(expected).transitions.tobytes() == _scored(found).transitions.tobytes()
    assert _counts(whole.finish()) == _counts(resumed.finish())


def test_counts_equal_a_count_over_all_rows() -> None:
    """After any mix of moves, reuse and erasure the running counts are those of the table."""
    rng = np.random.default_rng(4)
    step = Score(0, Metrics())
    for call in range(30):
        if call % 10 == 0:
            centres = rng.uniform(0, 3, 4).tolist()
            step.process([_model(centres, (np.arange(4) + call // 10).tolist(), version=call + 1)])
        rows = rng.choice(40, 10, replace=False).tolist()
        fresh, erased = (rng.random(10) < 0.2).astype(int).tolist(), (rng.random(10) < 0.2).astype(int).tolist()
        step.process([_batch(rows, rng.uniform(0, 3, 10).tolist(), fresh, erased)])
        table = step.tables["scores"]
        segments = table.rows["segment"][: table.size]
        counts = np.array(_counts(step.finish()))
        np.testing.assert_array_equal(counts, np.bincount(segments[segments >= 0], minlength=len(counts)))


def test_every_written_row_is_marked_for_the_journal() -> None:
    """Rows of a batch are dirty, others are not."""
    step = Score(0, Metrics())
    step.process([_model([0.0], [0]), _batch([0, 1, 2], [0.0, 0.0, 0.0])])
    step.tables["scores"].dirty[:] = 0
    step.process([_batch([1], [0.0])])
    assert step.tables["scores"].dirty[:3].tolist() == [0, 1, 0]


def test_scores_are_those_of_the_references() -> None:
    """Random shoppers, centres and weights in all dimensions, against the plain references."""
    rng = np.random.default_rng(8)
    model = replace(
        _model([0.0] * 5, list(range(5))),
        mean=rng.normal(1.0, 0.3, DIMENSIONS).astype(np.float32),
        scale=rng.uniform(0.2, 2.0, DIMENSIONS).astype(np.float32),
        centres=rng.normal(size=(5, DIMENSIONS)).astype(np.float32),
    )
    weights = rng.normal(size=len(PROPENSITY_INPUTS)).astype(np.float32)
    propensity = replace(_propensity("purchase", 0.0, 0.3), weights=weights)
    batch = _batch(list(range(200)), [0.0] * 200)
    batch.rows["x"] = rng.lognormal(0.5, 1.0, (200, DIMENSIONS)) * rng.choice([-1, 0, 1], (200, DIMENSIONS))
    scored = _scored(Score(0, Metrics()).process([model, propensity, batch]))
    logs = kernels.signed_log1p_reference(batch.rows["x"])
    held = np.full(200, -1, np.int32)
    chosen, _, margin = kernels.assign_reference(logs, model.mean, model.scale, model.centres, held, 0.9)
    assert (scored.scores["segment"] == model.numbers[chosen]).mean() > 0.99  # rounding may decide a tie
    np.testing.assert_allclose(scored.scores["margin"], margin, atol=1e-4)
    p = propensity
    expected = logistic_reference(cross_reference(logs), p.mean, p.scale, p.weights, p.bias)
    np.testing.assert_allclose(scored.scores["purchase"], expected, atol=1e-5)


def test_a_propensity_of_an_earlier_release_is_not_applied() -> None:
    """A snapshot may hold one that sees fewer inputs: it is passed over until a new version comes."""
    first = Score(0, Metrics())
    known = _propensity("churn", 1.0, 0.0)
    old = replace(known, target="purchase", mean=known.mean[:20], scale=known.scale[:20], weights=known.weights[:20])
    first.process([old, known])
    second = Score(0, Metrics())
    second.restore_extra(first.extra_state())
    scored = _scored(second.process([_batch([0], [1.0])]))
    assert np.isnan(scored.scores["purchase"][0]) and scored.scores["churn"][0] > 0.5
