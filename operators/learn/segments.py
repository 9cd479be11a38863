"""The segment model: segments discovered by clustering, with numbers, names and cards that outlive a version."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from operators.decayed_kmeans import MATCH_SPREADS, match_centres
from operators.kernels import assign as kernels
from operators.learn.clusterers import MICRO_CLUSTERS_MAX, configuration, make_clusters
from operators.learn.drift import DriftWatch
from operators.learn.sample_memory import NEWEST_MAX, SampleMemory
from operators.learn.segment_cards import Fit, SegmentCards
from operators.learn.settings import LearnSettings
from operators.learn.transform import signed_logs
from operators.segment_groups import MACROS, SEGMENTS, group_centres, group_means
from operators.segment_names import traits
from operators.segment_quality import adjusted_rand, davies_bouldin, distances, silhouette, sums_by_label
from state.features import SEGMENT_DIMENSIONS as DIMENSIONS
from state.metrics import Metrics
from state.models import Emerging, SegmentModel

JUDGED_MAX = 512
"""Samples of those kept on which silhouette and stability are measured."""

SCALE_MIN = 0.05
"""Least standard deviation a feature is divided by, so that one that hardly ever varies is not blown up."""

WATCH_SAMPLES = 32
"""Drift is looked for once in so many samples."""

QUICK_SAMPLES = 1_024
"""So long after samples went astray the micro-clusters are placed by what came since, at every publication."""

QUICK_SAMPLES_MIN = 256
"""That many samples they are placed by at the least, some of before the alarm, which comes late."""

QUICK_PUBLISH_SAMPLES = 128
"""In that time versions are no farther apart."""

HASTY_SAMPLES = 4_096
"""When the mean of a feature has changed, nothing before counts for more than so many samples."""

JUDGE_SAMPLES = 1_024
"""Segments are grouped anew and judged once in so many samples, for that costs most; more often while there are few."""

FAR_SPREADS = 1.6
"""A sample this many spreads (root mean square distance to the centre) from the nearest segment fits none."""

MOVED_SPREADS = 2.0
"""A segment that keeps its shoppers may move so many spreads from one version to the next and remain itself."""

EMERGING_TOLD_MIN = 16
"""Traits of samples that fit no segment are told from so many on."""

_CENTRELESS_WEIGHT = 0.5
"""A centre that weighs less than half a sample is no micro-cluster."""


class SegmentLearner:
    """Discovered segments: signed log1p, standardised, clustered; numbers, groups, names and cards kept over versions.

    The clusterer's centres are micro-clusters, many and without identity. Neighbouring ones are grouped into segments,
    as many as lie best apart, which keep their numbers by optimal matching and their extent unless another grouping is
    clearly better. When samples fall out of the segments (`DriftWatch`) the micro-clusters are placed by what came
    since, and a version is published at once.

    Between two publications all samples are standardised alike, by the mean and scale that the next version will carry;
    after it they are set anew from the fading moments, and a clusterer that can (`rebase`) moves over with them.
    """

    def __init__(self, settings: LearnSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clusters = make_clusters(settings)
        self._configuration = configuration(settings)
        self._memory = SampleMemory(DIMENSIONS, settings.half_life_samples, settings.seed)  # natural units
        self._samples = 0
        self._newest_ts = 0
        self._moments = (np.zeros(DIMENSIONS), np.zeros(DIMENSIONS), np.zeros(1))  # mean, variance, weight
        self._mean: np.ndarray | None = None  # the standard in force; none before the first samples
        self._scale = np.ones(DIMENSIONS)
        self._due = settings.first_segments_samples
        self._published_samples = 0
        self._next_number = 0
        self._next_macro = 0
        self._cards = SegmentCards(metrics)
        self._model: SegmentModel | None = None
        self._watch = DriftWatch(DIMENSIONS)
        self._usual = np.ones(1)  # mean squared distance of a sample to each of the model's centres
        self._astray_at = -QUICK_SAMPLES
        self._judged_at = 0
        self._asleep: dict[int, tuple[np.ndarray, float]] = {}  # number -> centre (log1p) and share it had

    @property
    def version(self) -> int:
        """Of the newest model; 0 before the first."""
        return self._model.version if self._model else 0

    def learn(self, x: np.ndarray, y: np.ndarray, ts: np.ndarray) -> list[SegmentModel]:
        """Learn from samples in natural units, x[n, d] of times ts[n] (epoch ms); the versions that became due."""
        out: list[SegmentModel] = []
        at = 0
        while at < len(x):
            stop = min(
                len(x), at + max(self._due - self._samples, 1), at + WATCH_SAMPLES - self._samples % WATCH_SAMPLES
            )
            self._absorb(x[at:stop], ts[at:stop])
            at = stop
            if self._samples % WATCH_SAMPLES == 0:
                self._look_for_drift()
            if self._samples >= self._due:
                out += self._publish()
        return out

    def finish(self) -> list[SegmentModel]:
        """A last version, if anything was learned since the newest."""
        return self._publish() if self._mean is not None and self._samples > self._published_samples else []

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        kept = {name: value for name, value in vars(self).items() if name not in ("_settings", "_metrics")}
        return kept | {
            "_clusters": self._clusters.state(),
            "_cards": self._cards.named,
            "_watch": self._watch.state(),
            "_memory": self._memory.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        wanted = self._configuration
        kept = {
            name: value for name, value in state.items() if name not in ("_clusters", "_cards", "_watch", "_memory")
        }
        vars(self).update(kept)
        self._cards.named = state["_cards"]
        self._watch.restore(state["_watch"])
        self._memory.restore(state["_memory"])
        if self._configuration == wanted:
            self._clusters.restore(state["_clusters"])
        else:
            # Another clusterer is wanted than the one that was saved: it begins with the newest samples.
            self._configuration = wanted
            if self._mean is not None:
                self._clusters.learn(self._standardised(signed_logs(self._memory.newest(NEWEST_MAX)[0])))
        self._show()

    def _look_for_drift(self) -> None:
        """Hold the newest samples against the newest version: learn faster, and publish at once, where it is passed."""
        if self._model is None:
            return
        newest, ts = self._memory.newest(WATCH_SAMPLES)
        logs = signed_logs(newest).astype(np.float64)
        labels, squared = _nearest(
            (logs - self._model.mean) / self._model.scale, self._model.centres.astype(np.float64)
        )
        for signal in self._watch.look(logs, squared / self._usual[labels], self._scale, ts):
            self._metrics.drift.labels(signal=signal).inc()
            quick = signal == "inertia"
            weight_max = QUICK_SAMPLES if quick else HASTY_SAMPLES
            self._moments[2][0] = min(self._moments[2][0], weight_max)
            self._due = self._samples
            if quick:
                self._astray_at = self._samples
                self._memory.begin_anew(QUICK_SAMPLES_MIN)
            else:
                self._clusters.hasten(weight_max)

    def _absorb(self, x: np.ndarray, ts: np.ndarray) -> None:
        self._memory.add(x, ts)
        logs = signed_logs(x)
        kernels.fade_moments(logs.astype(np.float64), *self._moments, 0.5 ** (1.0 / self._settings.half_life_samples))
        self._samples += len(x)
        self._newest_ts = max(self._newest_ts, int(ts.max()))
        if self._mean is not None:
            self._clusters.learn(self._standardised(logs))
        elif self._samples >= self._settings.first_segments_samples:
            self._set_standard()
            self._clusters.learn(self._standardised(signed_logs(self._memory.newest(NEWEST_MAX)[0])))

    def _standardised(self, logs: np.ndarray) -> np.ndarray:
        return np.asarray((logs - self._mean) / self._scale, np.float64)

    def _set_standard(self) -> None:
        mean, scale = self._mean, self._scale
        # Through float32, for that is how the shards will see them.
        self._mean = self._moments[0].astype(np.float32).astype(np.float64)
        self._scale = np.maximum(np.sqrt(self._moments[1]), SCALE_MIN).astype(np.float32).astype(np.float64)
        if mean is not None:
            self._clusters.rebase((self._mean - mean) / scale, self._scale / scale)

    def _publish(self) -> list[SegmentModel]:
        since = self._samples - self._astray_at
        quick = since < QUICK_SAMPLES
        gap = self._settings.publish_every_samples
        self._due = self._samples + (min(gap, QUICK_PUBLISH_SAMPLES) if quick else gap)
        natural = self._memory.kept
        points = self._standardised(signed_logs(natural)) if self._mean is not None else np.zeros((0, DIMENSIONS))
        if quick and len(points):
            self._clusters.quicken(points)
        read = self._clusters.read()
        if read is None or self._mean is None:
            return []
        self._model = self._made(*_worth_keeping(*read, points), natural, points)
        self._published_samples = self._samples
        self._set_standard()
        self._show()
        return [self._model]

    def _made(self, micro: np.ndarray, weights: np.ndarray, natural: np.ndarray, points: np.ndarray) -> SegmentModel:
        """The next version, of micro-clusters float64[m, d] and the samples kept (natural units, standardised)."""
        before = self._model
        old_centres = np.zeros((0, DIMENSIONS))
        if before is not None:
            # What the version before was, seen through the standard now in force.
            old_centres = self._standardised(before.centres.astype(np.float64) * before.scale + before.mean)
        judged, micro_shares = points[-JUDGED_MAX:], weights / weights.sum()
        between = distances(judged) if self._to_be_judged() else None
        groups = self._groups(micro, micro_shares, judged, between, old_centres)
        centres, shares = group_means(groups, micro, micro_shares)
        labels, squared = _nearest(points, centres)
        old_labels, far = self._seen_before(points, old_centres)
        newest = self._memory.newest(self._settings.publish_every_samples)[0]
        strange = newest[self._seen_before(self._standardised(signed_logs(newest)), old_centres)[1]]
        numbers = self._number(
            centres, shares, old_centres, _reach(labels, old_labels, far, (len(centres), len(old_centres)), squared)
        )
        if before is not None and between is None and not set(numbers.tolist()) <= set(before.numbers.tolist()):
            between = distances(judged)
        if between is None and before is not None:
            known = dict(zip(before.numbers.tolist(), before.macros.tolist(), strict=True))
            macros = np.array([known[number] for number in numbers.tolist()], np.int32)
            apart, index = before.silhouette, before.davies_bouldin
        else:
            assert between is not None
            self._judged_at = self._samples
            sums = sums_by_label(between, labels[-JUDGED_MAX:], len(centres))
            macros = self._macros(centres, shares, numbers, sums, labels[-JUDGED_MAX:])
            apart, index = silhouette(sums, labels[-JUDGED_MAX:]), davies_bouldin(judged, labels[-JUDGED_MAX:])
        stability = float("nan")
        if before is not None:
            stability = adjusted_rand(before.numbers[old_labels[-JUDGED_MAX:]], numbers[labels[-JUDGED_MAX:]])
            if set(before.numbers.tolist()) != set(numbers.tolist()):
                self._watch.other_segments()
        counts = np.maximum(np.bincount(labels, minlength=len(centres)), 1)
        usual = np.bincount(labels, weights=squared, minlength=len(centres)) / counts
        self._usual = np.maximum(usual, max(0.1 * float(squared.mean()), 1e-9))
        return SegmentModel(
            version=self.version + 1,
            mean=np.asarray(self._mean, np.float32),
            scale=self._scale.astype(np.float32),
            centres=centres.astype(np.float32),
            numbers=numbers,
            macros=macros,
            cards=self._cards.make(
                before.cards if before else [],
                Fit(
                    centres=centres,
                    shares=shares,
                    numbers=numbers,
                    macros=macros,
                    mean=np.asarray(self._mean),
                    scale=self._scale,
                    natural=natural,
                    now=numbers[labels],
                    before=before.numbers[old_labels] if before else np.zeros(0, np.int32),
                    far=far,
                ),
                self._newest_ts,
            ),
            samples=self._samples,
            silhouette=apart,
            stability=stability,
            davies_bouldin=index,
            micro=np.bincount(groups, minlength=len(centres)).astype(np.int32),
            emerging=self._emerging(strange, len(newest), natural),
        )

    def _to_be_judged(self) -> bool:
        since = self._samples - self._judged_at
        young = self._samples < 4 * JUDGE_SAMPLES or self._samples - self._astray_at < QUICK_SAMPLES
        return self._model is None or young or since >= JUDGE_SAMPLES

    def _groups(
        self,
        micro: np.ndarray,
        shares: np.ndarray,
        judged: np.ndarray,
        between: np.ndarray | None,
        old_centres: np.ndarray,
    ) -> np.ndarray:
        """The segment int64[m] of each micro-cluster, by place: those of now where they will do (or are not judged)."""
        if between is None:
            return np.unique(_nearest(micro, old_centres)[0], return_inverse=True)[1]
        labels = _nearest(judged, micro)[0]
        sums = sums_by_label(between, labels, len(micro))
        current = _nearest(micro, old_centres)[0] if len(old_centres) else None
        return group_centres(
            micro,
            shares,
            sums,
            labels,
            current,
            replace(SEGMENTS, groups_min=self._settings.segments_min, groups_max=self._settings.segments),
        )

    def _seen_before(self, points: np.ndarray, old_centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each point's place in the version before, int32[n], and whether it was far from it; zeros without one."""
        if not len(old_centres):
            return np.zeros(len(points), np.int32), np.zeros(len(points), bool)
        labels, squared = _nearest(points, old_centres)
        return labels, squared > FAR_SPREADS**2 * self._usual[labels]

    def _emerging(self, strange: np.ndarray, of: int, usual: np.ndarray) -> Emerging:
        """What fits none of the segments before: the `strange` ones of so many newest samples, beside `usual` ones."""
        told: list[tuple[str, float, float]] = []
        if len(strange) >= EMERGING_TOLD_MIN:
            centre = self._standardised(signed_logs(strange)).mean(0)
            told = traits(centre, strange.mean(0, dtype=np.float64), usual.mean(0, dtype=np.float64))
        return Emerging(len(strange) / of, of, told)

    def _number(self, centres: np.ndarray, shares: np.ndarray, old: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """Stable numbers int32[k] of the centres; `old` float64[o, d] are those of the version before, `reach`
        float64[k, o] how far each pair may lie apart."""
        before = self._model
        matched = np.full(len(centres), -1, np.int64)
        if before is not None:
            live = {card.number: card.share for card in before.cards if not card.retired_at}
            old_shares = np.array([live[n] for n in before.numbers.tolist()])
            matched = match_centres(centres, shares, old, old_shares, reach)
        numbers = np.full(len(centres), -1, np.int32)
        if before is not None:
            numbers[matched >= 0] = before.numbers[matched[matched >= 0]]
        self._wake(numbers, centres, shares, reach)
        for place in np.flatnonzero(numbers < 0).tolist():
            numbers[place] = self._next_number
            self._next_number += 1
        if before is not None:
            self._put_to_sleep(before, numbers, old_shares)
        return numbers

    def _wake(self, numbers: np.ndarray, centres: np.ndarray, shares: np.ndarray, reach: np.ndarray) -> None:
        """Give centres without a number (-1) that of a segment that was just now where they are."""
        new, asleep = np.flatnonzero(numbers < 0), list(self._asleep)
        if not len(new) or not asleep:
            return
        places = self._standardised(np.stack([self._asleep[number][0] for number in asleep]))
        asleep_shares = np.array([self._asleep[number][1] for number in asleep])
        near = np.full(len(asleep), float(reach.min()))
        for place, found in zip(
            new, match_centres(centres[new], shares[new], places, asleep_shares, near), strict=True
        ):
            if found >= 0:
                numbers[place] = asleep[found]

    def _put_to_sleep(self, before: SegmentModel, numbers: np.ndarray, old_shares: np.ndarray) -> None:
        """While segments are placed by few samples one may be missed; its number is held ready until that is over."""
        if self._samples - self._astray_at >= QUICK_SAMPLES:
            self._asleep.clear()
            return
        for number in numbers.tolist():
            self._asleep.pop(number, None)
        for place, number in enumerate(before.numbers.tolist()):
            if number not in numbers:
                centre = before.centres[place].astype(np.float64) * before.scale + before.mean
                self._asleep[number] = (centre, float(old_shares[place]))

    def _macros(
        self, centres: np.ndarray, shares: np.ndarray, numbers: np.ndarray, sums: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """Stable numbers int32[k] of the centres' groups: each that of the old group it shares most shoppers with."""
        before: dict[int, int] = {}
        if self._model is not None:
            before = dict(zip(self._model.numbers.tolist(), self._model.macros.tolist(), strict=True))
        known = [before.get(number, -1) for number in numbers.tolist()]
        groups = group_centres(centres, shares, sums, labels, None if -1 in known else np.array(known), MACROS)
        old = sorted(set(before.values()))
        common = np.zeros((groups.max() + 1, len(old)))
        for number, group, share in zip(numbers.tolist(), groups.tolist(), shares.tolist(), strict=True):
            if number in before:
                common[group, old.index(before[number])] += share
        out = np.empty(len(common), np.int32)
        taken: set[int] = set()
        for group in np.argsort(-common.sum(1), kind="stable").tolist():
            free = [(common[group, i], -i) for i in range(len(old)) if old[i] not in taken and common[group, i] > 0.0]
            if free:
                out[group] = old[-max(free)[1]]
            else:
                out[group] = self._next_macro
                self._next_macro += 1
            taken.add(int(out[group]))
        return np.asarray(out[groups])

    def _show(self) -> None:
        if self._model is not None:
            for gauge, value in (
                (self._metrics.silhouette, self._model.silhouette),
                (self._metrics.davies_bouldin, self._model.davies_bouldin),
                (self._metrics.stability, self._model.stability),
                (self._metrics.emerging, self._model.emerging.share if self._model.emerging else float("nan")),
            ):
                if np.isfinite(value):
                    gauge.set(value)


def _worth_keeping(
    centres: np.ndarray, weights: np.ndarray | None, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The centres that hold shoppers, at most MICRO_CLUSTERS_MAX, and their weights (from `points` if not given)."""
    if weights is None:
        weights = np.bincount(_nearest(points, centres)[0], minlength=len(centres)).astype(np.float64)
    places = np.flatnonzero(weights >= _CENTRELESS_WEIGHT)
    if len(places) == 0:
        places = np.array([int(weights.argmax())])
    heaviest = places[np.argsort(-weights[places], kind="stable")[:MICRO_CLUSTERS_MAX]]
    places = np.sort(heaviest)
    return np.ascontiguousarray(centres[places]), np.maximum(weights[places], 1e-9)


def _reach(
    labels: np.ndarray, old_labels: np.ndarray, far: np.ndarray, shape: tuple[int, int], squared: np.ndarray
) -> np.ndarray:
    """How far float64[k, o] a new and an old centre may lie apart and be the same segment.

    A part of the spread; more where each has most of the other's samples, for then it is the segment that has moved.
    """
    spread = float(np.sqrt(squared.mean()))
    reach = np.full(shape, MATCH_SPREADS * spread)
    if shape[1]:
        common = np.zeros(shape)
        np.add.at(common, (labels[~far], old_labels[~far]), 1.0)
        own, old = np.bincount(labels, minlength=shape[0]), np.bincount(old_labels, minlength=shape[1])
        reach[(common > 0.5 * own[:, None]) & (common > 0.5 * old[None])] = MOVED_SPREADS * spread
    return reach


def _nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, squared = np.empty(len(points), np.int32), np.empty(len(points))
    kernels.nearest(points, centres, labels, squared)
    return labels, squared
