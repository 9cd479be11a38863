"""The segment model: segments discovered by clustering, with numbers, names and cards that outlive a version."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from operators.decayed_kmeans import MATCH_SPREADS, match_centres
from operators.kernels import assign as kernels
from operators.learn.clusterers import SEGMENTS_MAX, configuration, make_clusters
from operators.learn.settings import LearnSettings
from operators.learn.transform import signed_logs
from operators.segment_names import adjusted_rand, group_centres, name_of, silhouette, traits
from state.features import DIMENSIONS
from state.metrics import Metrics
from state.models import SegmentCard, SegmentModel

RECENT_MAX = 1_024
"""Newest samples the segment learner keeps: for the means people are told, shares, parents."""

JUDGED_MAX = 512
"""Newest of those on which silhouette and stability are measured."""

RETIRED_MAX = 64
"""Most cards of retired segments a model carries; the oldest go first."""

SCALE_MIN = 0.05
"""Least standard deviation a feature is divided by, so that one that hardly ever varies is not blown up."""

PARENT_SHARE_MIN = 0.2
"""A new segment's parents are those it has this share of its shoppers from."""

RENAME_MOVE = 0.35
"""A segment keeps its name until its centre is so many standard deviations (root mean square) from where it got it."""

_CENTRELESS_WEIGHT = 0.5
"""A centre that weighs less than half a sample is no segment."""


class SegmentLearner:
    """Discovered segments: signed log1p, standardised, clustered; numbers, groups, names and cards kept over versions.

    Between two publications all samples are standardised alike, by the mean and scale that the next version will carry;
    after it they are set anew from the fading moments, and a clusterer that can (`rebase`) moves over with them.
    """

    def __init__(self, settings: LearnSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._clusters = make_clusters(settings)
        self._configuration = configuration(settings)
        self._recent = np.zeros((RECENT_MAX, DIMENSIONS), np.float32)  # natural units, a ring
        self._samples = 0
        self._newest_ts = 0
        self._moments = (np.zeros(DIMENSIONS), np.zeros(DIMENSIONS), np.zeros(1))  # mean, variance, weight
        self._mean: np.ndarray | None = None  # the standard in force; none before the first samples
        self._scale = np.ones(DIMENSIONS)
        self._due = settings.first_segments_samples
        self._published_samples = 0
        self._next_number = 0
        self._next_macro = 0
        self._named: dict[int, tuple[str, np.ndarray]] = {}  # number -> name, and the centre (log1p) that got it
        self._model: SegmentModel | None = None

    @property
    def version(self) -> int:
        """Of the newest model; 0 before the first."""
        return self._model.version if self._model else 0

    def learn(self, x: np.ndarray, y: np.ndarray, ts: np.ndarray) -> list[SegmentModel]:
        """Learn from samples in natural units, x[n, d] of times ts[n] (epoch ms); the versions that became due."""
        out: list[SegmentModel] = []
        at = 0
        while at < len(x):
            stop = min(len(x), at + max(self._due - self._samples, 1))
            self._absorb(x[at:stop], ts[at:stop])
            at = stop
            if self._samples >= self._due:
                self._due = self._samples + self._settings.publish_every_samples
                out += self._publish()
        return out

    def finish(self) -> list[SegmentModel]:
        """A last version, if anything was learned since the newest."""
        return self._publish() if self._mean is not None and self._samples > self._published_samples else []

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        kept = {name: value for name, value in vars(self).items() if name not in ("_settings", "_metrics")}
        return kept | {"_clusters": self._clusters.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        wanted = self._configuration
        vars(self).update({name: value for name, value in state.items() if name != "_clusters"})
        if self._configuration == wanted:
            self._clusters.restore(state["_clusters"])
        else:
            # Another clusterer is wanted than the one that was saved: it begins with the newest samples.
            self._configuration = wanted
            if self._mean is not None:
                self._clusters.learn(self._standardised(signed_logs(self._newest(RECENT_MAX))))
        self._show()

    def _absorb(self, x: np.ndarray, ts: np.ndarray) -> None:
        places = np.arange(max(0, len(x) - RECENT_MAX), len(x))
        self._recent[(self._samples + places) % RECENT_MAX] = np.where(np.isfinite(x[places]), x[places], 0.0)
        logs = signed_logs(x)
        kernels.fade_moments(logs.astype(np.float64), *self._moments, 0.5 ** (1.0 / self._settings.half_life_samples))
        self._samples += len(x)
        self._newest_ts = max(self._newest_ts, int(ts.max()))
        if self._mean is not None:
            self._clusters.learn(self._standardised(logs))
        elif self._samples >= self._settings.first_segments_samples:
            self._set_standard()
            self._clusters.learn(self._standardised(signed_logs(self._newest(RECENT_MAX))))

    def _newest(self, most: int) -> np.ndarray:
        """The newest samples, oldest first, in natural units: float32[n, d]."""
        n = min(self._samples, RECENT_MAX, most)
        return np.asarray(self._recent[np.arange(self._samples - n, self._samples) % RECENT_MAX])

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
        read = self._clusters.read()
        if read is None or self._mean is None:
            return []
        natural = self._newest(RECENT_MAX)
        points = self._standardised(signed_logs(natural))
        centres, weights = _worth_keeping(*read, points)
        labels, squared = _nearest(points, centres)
        shares = weights / weights.sum()
        before = self._model
        numbers, old_labels = self._number(centres, shares, points, float(np.sqrt(squared.mean())))
        judged = slice(-JUDGED_MAX, None)
        sums = np.empty((len(points[judged]), len(centres)))
        kernels.distance_sums(points[judged], labels[judged], sums)
        macros = self._macros(centres, shares, numbers, sums, labels[judged])
        stability = float("nan")
        if before is not None:
            stability = adjusted_rand(before.numbers[old_labels[judged]], numbers[labels[judged]])
        self._model = SegmentModel(
            version=self.version + 1,
            mean=self._mean.astype(np.float32),
            scale=self._scale.astype(np.float32),
            centres=centres.astype(np.float32),
            numbers=numbers,
            macros=macros,
            cards=self._cards(centres, shares, numbers, macros, natural, labels, old_labels),
            samples=self._samples,
            silhouette=silhouette(sums, labels[judged]),
            stability=stability,
        )
        self._published_samples = self._samples
        self._set_standard()
        self._show()
        return [self._model]

    def _number(
        self, centres: np.ndarray, shares: np.ndarray, points: np.ndarray, spread: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Stable numbers int32[k] of the centres, and each point's place in the version before (none before: zeros)."""
        before = self._model
        matched = np.full(len(centres), -1, np.int64)
        old_labels = np.zeros(len(points), np.int32)
        if before is not None:
            # What the version before was, seen through the standard now in force.
            old = self._standardised(before.centres.astype(np.float64) * before.scale + before.mean)
            old_labels = _nearest(points, old)[0]
            live = {card.number: card.share for card in before.cards if not card.retired_at}
            old_shares = np.array([live[n] for n in before.numbers.tolist()])
            matched = match_centres(centres, shares, old, old_shares, np.full(len(old), MATCH_SPREADS * spread))
        numbers = np.empty(len(centres), np.int32)
        for place, old_place in enumerate(matched.tolist()):
            if old_place >= 0 and before is not None:
                numbers[place] = before.numbers[old_place]
            else:
                numbers[place] = self._next_number
                self._next_number += 1
        return numbers, old_labels

    def _macros(
        self, centres: np.ndarray, shares: np.ndarray, numbers: np.ndarray, sums: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """Stable numbers int32[k] of the centres' groups: each that of the old group it shares most shoppers with."""
        before: dict[int, int] = {}
        if self._model is not None:
            before = dict(zip(self._model.numbers.tolist(), self._model.macros.tolist(), strict=True))
        known = [before.get(number, -1) for number in numbers.tolist()]
        groups = group_centres(centres, shares, sums, labels, None if -1 in known else np.array(known))
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

    def _cards(
        self,
        centres: np.ndarray,
        shares: np.ndarray,
        numbers: np.ndarray,
        macros: np.ndarray,
        natural: np.ndarray,
        labels: np.ndarray,
        old_labels: np.ndarray,
    ) -> list[SegmentCard]:
        """Cards of the live segments in the order of the centres, then those of the retired, newest first."""
        old = {card.number: card for card in self._model.cards} if self._model else {}
        names = self._names(centres, shares, numbers, natural, labels)
        all_mean = natural.mean(0, dtype=np.float64)
        cards = []
        for place, number in enumerate(numbers.tolist()):
            known = old.pop(number, None)
            cards.append(
                SegmentCard(
                    number=number,
                    macro=int(macros[place]),
                    name=names[number],
                    traits=traits(centres[place], self._own_mean(place, centres, natural, labels), all_mean),
                    share=float(shares[place]),
                    born_at=known.born_at if known else self._newest_ts,
                    parents=known.parents if known else self._parents(old_labels[labels == place]),
                )
            )
        retired = [
            card if card.retired_at else replace(card, share=0.0, retired_at=self._newest_ts) for card in old.values()
        ]
        retired.sort(key=lambda card: (-card.retired_at, -card.number))
        return cards + retired[:RETIRED_MAX]

    def _names(
        self, centres: np.ndarray, shares: np.ndarray, numbers: np.ndarray, natural: np.ndarray, labels: np.ndarray
    ) -> dict[int, str]:
        """A name for each live segment, unlike all others; one that has not moved much keeps the name it has."""
        logs = centres * self._scale + np.asarray(self._mean)
        named: dict[int, tuple[str, np.ndarray]] = {}
        for place, number in enumerate(numbers.tolist()):
            if number in self._named:
                moved = (logs[place] - self._named[number][1]) / self._scale
                if np.sqrt((moved**2).mean()) < RENAME_MOVE:
                    named[number] = self._named[number]
        taken = {name for name, _ in named.values()}
        for place in np.argsort(-shares, kind="stable").tolist():
            number = int(numbers[place])
            if number not in named:
                name = name_of(centres[place], self._own_mean(place, centres, natural, labels), number, taken)
                named[number] = (name, logs[place])
                taken.add(name)
        self._named = named
        return {number: name for number, (name, _) in named.items()}

    def _own_mean(self, place: int, centres: np.ndarray, natural: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Means float64[d] of a segment's newest samples in natural units; of its centre where it has none."""
        own = natural[labels == place]
        if len(own):
            return np.asarray(own.mean(0, dtype=np.float64))
        centre = centres[place] * self._scale + np.asarray(self._mean)
        return np.asarray(np.sign(centre) * np.expm1(np.abs(centre)))

    def _parents(self, places: np.ndarray) -> list[int]:
        """The segments before, by number, that a new segment has its shoppers from, greatest part first."""
        if self._model is None or not len(places):
            return []
        parts = np.bincount(places, minlength=len(self._model.numbers)) / len(places)
        order = np.argsort(-parts, kind="stable")
        return [int(self._model.numbers[p]) for p in order.tolist() if parts[p] >= PARENT_SHARE_MIN]

    def _show(self) -> None:
        if self._model is not None:
            for gauge, value in (
                (self._metrics.silhouette, self._model.silhouette),
                (self._metrics.stability, self._model.stability),
            ):
                if np.isfinite(value):
                    gauge.set(value)


def _worth_keeping(
    centres: np.ndarray, weights: np.ndarray | None, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The centres that hold shoppers, SEGMENTS_MAX at the most, and their weights (from `points` if not given)."""
    if weights is None:
        weights = np.bincount(_nearest(points, centres)[0], minlength=len(centres)).astype(np.float64)
    places = np.flatnonzero(weights >= _CENTRELESS_WEIGHT)
    if len(places) == 0:
        places = np.array([int(weights.argmax())])
    heaviest = places[np.argsort(-weights[places], kind="stable")[:SEGMENTS_MAX]]
    places = np.sort(heaviest)
    return np.ascontiguousarray(centres[places]), np.maximum(weights[places], 1e-9)


def _nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, squared = np.empty(len(points), np.int32), np.empty(len(points))
    kernels.nearest(points, centres, labels, squared)
    return labels, squared
