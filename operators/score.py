"""The score step: applies the newest models to every profile row of a user shard and tells who changed segment."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from operators.cold_tier import ColdTier
from operators.kernels import assign as kernels
from operators.kernels.explain import strongest_contributions, strongest_pulls
from operators.kernels.logistic import cross, logistic
from state.batches import EXPLAINED, SCORE, TRANSITION, ProfileBatch, ScoredBatch, SegmentCounts
from state.cold_store import ColdStore
from state.features import DIMENSIONS, PROPENSITY_INPUTS
from state.metrics import Metrics
from state.models import PropensityModel, SegmentModel
from state.table import Table

NO_SEGMENT = -1

SCORE_ROW = np.dtype([("near_ts", "i8"), ("segment", "i4"), ("macro", "i4")], align=True)
"""What is kept of a shopper: segment number and group (-1: none), and the event time (ms) at which that segment was
last the nearest one."""


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """`stay_factor`: a shopper moves only to a centre nearer than this part of the distance to the one of now, until
    `stay_ms` of event time after the event at which that one was last the nearest: then any nearer one will do. So
    nobody goes to and fro between two segments while they shop, and where a shopper ends up does not depend for long
    on which versions of the model happened to see them.

    `counts_every_calls`: how often the shard tells how many shoppers each segment holds.
    """

    stay_factor: float = 0.7
    stay_ms: int = 86_400_000
    counts_every_calls: int = 16


@dataclass(slots=True)
class _Models:
    """The newest versions, how many calls came since the counts were last told, and the counts, which those of shoppers
    in the cold tier are part of."""

    segments: SegmentModel | None = None
    propensities: dict[str, PropensityModel] = field(default_factory=dict)
    calls: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    members: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


class Score:
    """One user shard's scores.

    In: profile batches and model versions, taken as they stand. Out: one ScoredBatch per profile batch, a transition
    wherever a shopper's segment number changed (or came to be), and the shard's SegmentCounts when a segment model
    arrived, every `counts_every_calls` calls and at the end of input. What is looked at when the input has ended waits
    for the last models, so that records do not depend on how far learning happened to be behind. Keeps a row per
    shopper, at the place of the shopper's profile row (bounded as the profiles are), and the newest version of each
    model. Until a model is there, segment and group are -1 and propensities nan.
    """

    def __init__(
        self, shard: int, metrics: Metrics, settings: ScoreSettings | None = None, cold: ColdStore | None = None
    ) -> None:
        self.shard = shard
        self._cold = ColdTier(cold)
        self.tables = {"scores": Table(SCORE_ROW), "cold": self._cold.table}
        self._settings = settings or ScoreSettings()
        self._metrics = metrics
        self._models = _Models()
        self._last: list[ProfileBatch] = []
        self._place_of = np.full(1, NO_SEGMENT, np.int32)  # segment number -> place of its centre
        self._counts = np.zeros(1, np.int64)

    def process(
        self, values: Sequence[ProfileBatch | SegmentModel | PropensityModel]
    ) -> list[ScoredBatch | SegmentCounts]:
        """Score the batches of one call; models apply to what stands after them."""
        out: list[ScoredBatch | SegmentCounts] = []
        tell = False
        for value in values:
            if isinstance(value, SegmentModel):
                self._take_segments(value)
                tell = True
            elif isinstance(value, PropensityModel):
                self._models.propensities[value.target] = value
            elif isinstance(value, ProfileBatch) and value.last:
                self._last.append(value)
            elif isinstance(value, ProfileBatch):
                out.append(self._score(value))
        self._models.calls += 1
        if tell or self._models.calls >= self._settings.counts_every_calls:
            out.append(self._count())
        return out

    def finish(self) -> list[ScoredBatch | SegmentCounts]:
        """What waited for the last models, and the shard's counts."""
        last, self._last = self._last, []
        return [*map(self._score, last), self._count()]

    def _count(self) -> SegmentCounts:
        self._models.calls = 0
        return SegmentCounts(self.shard, self._counts.copy(), self._models.members)

    def restored(self) -> None:
        """Count anew after the tables were loaded."""
        table = self.tables["scores"]
        self._cold.restored()
        segments = table.rows["segment"][: table.size]
        self._counts = np.bincount(segments[segments >= 0], minlength=len(self._place_of)).astype(np.int64)

    def extra_state(self) -> bytes:
        """The models in force: what survives a restart besides the tables."""
        self._models.counts = self._counts
        return pickle.dumps(self._models, protocol=5)

    def before_snapshot(self) -> None:
        """Bring the cold tier to the disk."""
        self._cold.before_snapshot()

    def restore_extra(self, state: bytes) -> None:
        """Take over what `extra_state` gave."""
        self._models = pickle.loads(state)
        self._counts = self._models.counts
        # A model of an earlier release may see other features: it would be read beyond its end.
        self._models.propensities = {
            target: p for target, p in self._models.propensities.items() if len(p.weights) == len(PROPENSITY_INPUTS)
        }
        if self._models.segments is not None:
            self._take_segments(self._models.segments)

    def _take_segments(self, model: SegmentModel) -> None:
        self._models.segments = model
        highest = int(model.numbers.max(initial=0))
        self._place_of = np.full(highest + 1, NO_SEGMENT, np.int32)
        self._place_of[model.numbers] = np.arange(len(model.numbers), dtype=np.int32)
        self._reserve_counts(highest)

    def _score(self, batch: ProfileBatch) -> ScoredBatch:
        self._models.members = batch.members
        profiles = np.ascontiguousarray(batch.rows)
        n = len(profiles)
        model = self._models.segments
        version = model.version if model else 0
        unknown = np.array((NO_SEGMENT, NO_SEGMENT, 0.0, np.nan, np.nan, version, NO_SEGMENT, 0, 0.0), SCORE)
        scores = np.full(n, unknown)
        transitions = np.zeros(n, TRANSITION)
        if n == 0:
            self._send_away(batch)
            return ScoredBatch(batch, scores, transitions)
        self._make_rows(profiles["row"])
        table = self.tables["scores"]
        profiles = self._cold.bring_back(profiles, table)
        before, held = np.empty(n, np.int32), np.empty(n, np.int32)
        stay_ms, watermark_ts = self._settings.stay_ms, batch.watermark_ts
        kernels.open_rows(profiles, table.rows, self._place_of, self._counts, watermark_ts, stay_ms, before, held)
        logs = np.empty((n, DIMENSIONS), np.float32)
        kernels.signed_log1p(np.ascontiguousarray(profiles["x"]), logs)
        if model is not None:
            self._assign(model, logs, held, scores)
        if self._models.propensities:
            inputs = np.empty((n, len(PROPENSITY_INPUTS)), np.float32)
            cross(logs, inputs)
            for target, p in self._models.propensities.items():
                out = np.empty(n, np.float32)
                logistic(inputs, p.mean, p.scale, p.weights, p.bias, out)
                scores[target] = out
                strongest_contributions(inputs, p.mean, p.scale, p.weights, EXPLAINED.index(target), scores)
        moved = kernels.settle(profiles, before, scores, table.rows, table.dirty, self._counts, transitions)
        if moved:
            self._metrics.transitions.labels(kind="cluster").inc(moved)
        self._send_away(batch)
        if len(batch.changes):
            return ScoredBatch(batch, scores, np.concatenate([transitions[:moved], batch.changes]))
        return ScoredBatch(batch, scores, transitions[:moved])

    def _send_away(self, batch: ProfileBatch) -> None:
        """Rows of shoppers who left for the cold tier; the counts go on counting them."""
        if len(batch.left):
            gone = self._cold.send_away(batch.left, self.tables["scores"])
            self.tables["scores"].rows[gone] = (0, NO_SEGMENT, NO_SEGMENT)

    def _assign(self, model: SegmentModel, logs: np.ndarray, held: np.ndarray, scores: np.ndarray) -> None:
        """Fill segment, macro and margin, and why; a shopper whose segment no longer lives is free to go to any."""
        n, space, factor = len(logs), (model.mean, model.scale, model.centres), self._settings.stay_factor
        chosen, others, margin = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.float32)
        kernels.assign(logs, *space, held, factor, chosen, others, margin)
        scores["segment"] = model.numbers[chosen]
        scores["macro"] = model.macros[chosen]
        scores["margin"] = margin
        strongest_pulls(logs, *space, model.numbers, chosen, others, scores)

    def _make_rows(self, places: np.ndarray) -> None:
        """Make the table's rows for profiles that are new; ValueError for a row below 0."""
        if places.min() < 0:
            raise ValueError(f"shard {self.shard}: a profile of row {int(places.min())}")
        table = self.tables["scores"]
        missing = int(places.max()) + 1 - table.size
        if missing > 0:
            first = table.extend(missing)
            table.rows["segment"][first : table.size] = NO_SEGMENT
            table.rows["macro"][first : table.size] = NO_SEGMENT

    def _reserve_counts(self, highest: int) -> None:
        if highest >= len(self._counts):
            self._counts = np.pad(self._counts, (0, highest + 1 - len(self._counts)))
