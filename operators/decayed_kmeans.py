"""The default clusterer: k-means that forgets, seeds itself from recent points and keeps its centres' identities."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import base
from scipy.optimize import linear_sum_assignment

from operators.kernels import assign as kernels

LLOYD_ROUNDS = 20
LLOYD_TOLERANCE = 1e-3
MATCH_SPREADS = 0.75
"""How far a centre may jump and remain itself, in spreads (root mean square distance of a point to its centre)."""


QUICK_RESTARTS = 2
"""k-means++ seedings tried where the newest points are to be followed at once."""


CLUSTERS_MAX = 1_024
"""Most centres: seeding and matching take time by their square."""
POINTS_MAX = 1_048_576
"""Most points that are kept, or waited for."""


def _within(name: str, value: float, low: float, high: float | None) -> None:
    if isinstance(value, str) or not (low <= value <= (high or np.inf)):
        raise ValueError(f"{name}: {value!r} is not " + (f"from {low} to {high}" if high else f"{low} or more"))


class DecayedKMeans(base.Clusterer):
    """Sequential k-means with exponential forgetting, made to survive a bad start and a drifting stream.

    The first `warm_up` points are only collected; k-means++ with several restarts then places the centres. From there
    each point moves its nearest centre by one over that centre's fading weight. A reservoir keeps recent points: on a
    doubling schedule a centre that has lost its points is placed anew among the points that are worst served, and the
    whole set is seeded again from the reservoir where that lowers the inertia clearly. Inertia and seeding leave the
    farthest points out, so that outliers get no centre of their own. At a reseed, new centres take the identities of
    old ones by optimal matching; one that is nowhere near an old one gets a new identity, and none is ever used twice.

    Learning is sequential: the same points in any cut of calls give the same state, bit for bit. Points should be
    standardised. What is missing in a point counts as 0, and so does what is no finite number.

    Parameters
    ----------
    n_clusters
        Number of centres.
    half_life
        After so many points an old point counts for half.
    warm_up
        Points collected before the centres are placed.
    reservoir
        Recent points kept for reseeding.
    keep_every
        Once the reservoir is full, every so many points one takes the place of a random one in it.
    min_share
        A centre with less than this share of the weight is placed anew.
    restarts
        k-means++ seedings tried at each (re)seed, the best is taken.
    trim
        Share of the nearest points that counts for the inertia.
    reseed_gain
        A reseed is taken if it lowers the trimmed inertia by this share.
    check_points_max
        Longest gap, in points, between looks for lost centres; the gap doubles up to it.
    reseed_points_max
        Longest gap, in points, between tries of a reseed; the gap doubles up to it.
    features_max
        Features known by name at the most; further ones are ignored.
    seed
        Random seed.

    Attributes
    ----------
    centers : dict
        Identity -> {feature: value}, empty during the warm-up.

    References
    ----------
    [^1]: Arthur, D. and Vassilvitskii, S., 2007. k-means++: the advantages of careful seeding. SODA.
    [^2]: Sculley, D., 2010. Web-scale k-means clustering. WWW.
    [^3]: Kuhn, H., 1955. The Hungarian method for the assignment problem.

    Examples
    --------
    >>> from operators.decayed_kmeans import DecayedKMeans
    >>> model = DecayedKMeans(n_clusters=2, warm_up=4, seed=7)
    >>> for x in ({"a": 1.0}, {"a": 1.2}, {"a": 9.0}, {"a": 9.1}):
    ...     model.learn_one(x)
    >>> model.predict_one({"a": 1.1}) == model.predict_one({"a": 0.9})
    True
    >>> model.predict_one({"a": 1.1}) == model.predict_one({"a": 9.0})
    False
    """

    def __init__(
        self,
        n_clusters: int = 8,
        half_life: int = 20_000,
        warm_up: int = 128,
        reservoir: int = 2_048,
        keep_every: int = 4,
        min_share: float = 0.005,
        restarts: int = 8,
        trim: float = 0.98,
        reseed_gain: float = 0.01,
        check_points_max: int = 4_096,
        reseed_points_max: int = 32_768,
        features_max: int = 1_024,
        seed: int | None = None,
    ) -> None:
        for name, value, low, high in (
            ("n_clusters", n_clusters, 1, CLUSTERS_MAX),
            ("warm_up", warm_up, 1, POINTS_MAX),
            ("reservoir", reservoir, 1, POINTS_MAX),
            ("keep_every", keep_every, 1, POINTS_MAX),
            ("restarts", restarts, 1, 1_024),
            ("check_points_max", check_points_max, 1, None),
            ("reseed_points_max", reseed_points_max, 1, None),
            ("features_max", features_max, 1, None),
        ):
            if not isinstance(value, int | np.integer):
                raise ValueError(f"{name}: {value!r} is not a whole number")
            _within(name, value, low, high)
        _within("half_life", half_life, 1, None)
        for name, share in (("min_share", min_share), ("trim", trim), ("reseed_gain", reseed_gain)):
            _within(name, share, 0, 1)
        self.n_clusters = n_clusters
        self.half_life = half_life
        self.warm_up = warm_up
        self.reservoir = reservoir
        self.keep_every = keep_every
        self.min_share = min_share
        self.restarts = restarts
        self.trim = trim
        self.reseed_gain = reseed_gain
        self.check_points_max = check_points_max
        self.reseed_points_max = reseed_points_max
        self.features_max = features_max
        self.seed = seed
        self.n_seen = 0
        self.weights = np.zeros(0)
        self._centres: np.ndarray | None = None
        self._identities = np.zeros(0, np.int64)
        self._next_identity = 0
        self._columns: dict[Any, int] = {}
        self._recent = np.zeros((reservoir, 0), np.float32)
        self._recent_n = 0
        self._next_check = 2 * warm_up
        self._next_reseed = 2 * warm_up
        self._fresh_from = 0
        self._rng = np.random.default_rng(seed)

    @classmethod
    def _unit_test_params(cls):  # type: ignore[no-untyped-def]
        yield {"n_clusters": 5, "warm_up": 16, "reservoir": 64, "seed": 42}

    # One point at a time: the contract of river.base.Clusterer.

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Learn from one point given as {feature: number}."""
        for name in x:
            if name not in self._columns and len(self._columns) < self.features_max:
                self._columns[name] = len(self._columns)
        if self._columns:
            self._widen(len(self._columns))
            self._learn(self._vector(x))

    def predict_one(self, x: dict[Any, Any]) -> int:
        """Identity of the centre nearest to a point; 0 during the warm-up."""
        if self._centres is None:
            return 0
        return int(self._predict(self._vector(x))[0])

    # Many points as an array: column j is the feature named j, unless `names` says otherwise.

    def learn_array(self, points: np.ndarray, names: tuple[Any, ...] | None = None) -> None:
        """Learn from float[n, d], row by row; the columns stand in the same order at every call."""
        d = points.shape[1]
        if not self._columns:
            self._columns = {name: j for j, name in enumerate(names or range(d))}
            self._widen(d)
        if d != len(self._columns):
            raise ValueError(f"points of {d} features, but this clusterer has learned {len(self._columns)}")
        self._learn(_clean(points))

    def predict_array(self, points: np.ndarray) -> np.ndarray:
        """Identities int64[n] of the centres nearest to float[n, d]; 0 during the warm-up."""
        if self._centres is None:
            return np.zeros(len(points), np.int64)
        return self._predict(_clean(points))

    @property
    def centers(self) -> dict[int, dict[Any, float]]:
        """Identity -> {feature: value}, as River's own clusterers show them."""
        if self._centres is None:
            return {}
        names = list(self._columns)
        return {
            int(i): dict(zip(names, c, strict=True))
            for i, c in zip(self._identities, self._centres.tolist(), strict=True)
        }

    @property
    def centre_array(self) -> np.ndarray | None:
        """Centres float64[k, d] (a copy), in the order of `identities` and `weights`; None during the warm-up."""
        return None if self._centres is None else self._centres.copy()

    @property
    def identities(self) -> np.ndarray:
        """Identities int64[k] of the centres."""
        return self._identities.copy()

    def rebase(self, shift: np.ndarray, factor: np.ndarray) -> None:
        """Move to another coordinate system: every point p this model knows becomes (p - shift) / factor.

        For a caller whose standardising changes: the model stays what it was, seen through the new standard.
        """
        if self._centres is not None:
            self._centres = (self._centres - shift) / factor
        self._recent[: self._recent_n] = (self._recent[: self._recent_n] - shift) / factor

    def quicken(self, points: np.ndarray) -> None:
        """Believe the newest points float[n, d] alone, for what was learned before no longer holds.

        They become the reservoir; the centres are refined on them, or seeded anew where that serves clearly better, and
        keep their identities as at a reseed. Weights are the numbers of these points, so that the centres move as fast
        as ones so young, and the schedule of looks begins anew. Nothing happens during the warm-up.
        """
        if self._centres is None or not len(points):
            return
        points = _clean(points[-self.reservoir :])
        self._recent[: len(points)] = points
        self._recent_n = len(points)
        self._fresh_from = self.n_seen
        self._reseed(refine=True)
        self.weights = np.bincount(_nearest(points, self._centres)[0], minlength=self.n_clusters).astype(np.float64)
        self._replace_lost()
        self._next_check = self._next_reseed = self._after(self.warm_up)

    def hasten(self, weight_max: float) -> None:
        """Let nothing learned before count for more than `weight_max` points, so that the centres move faster."""
        self.weights *= min(1.0, weight_max / max(float(self.weights.sum()), 1e-9))

    def _vector(self, x: dict[Any, Any]) -> np.ndarray:
        row = [0.0] * len(self._columns)
        for name, value in x.items():
            column = self._columns.get(name)
            if column is not None:
                row[column] = value
        return _clean(np.array([row]))

    def _widen(self, features: int) -> None:
        """Make room for features not seen before; they were 0 in all points so far."""
        more = features - self._recent.shape[1]
        if more > 0:
            self._recent = np.pad(self._recent, ((0, 0), (0, more)))
            if self._centres is not None:
                self._centres = np.ascontiguousarray(np.pad(self._centres, ((0, 0), (0, more))))

    def _predict(self, points: np.ndarray) -> np.ndarray:
        assert self._centres is not None
        return np.asarray(self._identities[_nearest(points, self._centres)[0]])

    def _learn(self, points: np.ndarray) -> None:
        at = 0
        while at < len(points):
            until = self.warm_up if self._centres is None else min(self._next_check, self._next_reseed)
            part = points[at : at + max(until - self.n_seen, 1)]
            at += len(part)
            self._keep(part)
            if self._centres is not None:
                kernels.learn_points(part, self._centres, self.weights, 0.5 ** (1.0 / self.half_life))
            self.n_seen += len(part)
            if self._centres is None:
                if self.n_seen >= self.warm_up:
                    self._start()
                continue
            if self.n_seen >= self._next_check:
                self._next_check = self._after(self.check_points_max)
                self._replace_lost()
            if self.n_seen >= self._next_reseed:
                self._next_reseed = self._after(self.reseed_points_max)
                self._reseed()

    def _after(self, points_max: int) -> int:
        """The count of points at which to look again: the gap doubles since the last fresh start."""
        return self.n_seen + min(max(self.n_seen - self._fresh_from, self.warm_up), points_max)

    def _keep(self, points: np.ndarray) -> None:
        """Put points into the reservoir: all while there is room, then every `keep_every`-th in a random place."""
        room = min(self.reservoir - self._recent_n, len(points))
        if room:
            self._recent[self._recent_n : self._recent_n + room] = points[:room]
            self._recent_n += room
        rest = np.arange(room, len(points))
        rest = rest[(self.n_seen + rest) % self.keep_every == 0]
        if len(rest):
            self._recent[(self._rng.random(len(rest)) * self.reservoir).astype(np.int64)] = points[rest]

    def _start(self) -> None:
        points = self._recent[: self._recent_n].astype(np.float64)
        self._centres, _ = self._seed(points, self.restarts)
        self.weights = np.bincount(_nearest(points, self._centres)[0], minlength=self.n_clusters).astype(np.float64)
        self._identities = np.arange(self.n_clusters)
        self._next_identity = self.n_clusters

    def _replace_lost(self) -> None:
        """Place centres that lost their points anew, each on one of the (trimmed) points farthest from any centre."""
        assert self._centres is not None
        total = self.weights.sum()
        points = self._recent[: self._recent_n].astype(np.float64)
        for c in np.flatnonzero(self.weights < self.min_share * total).tolist():
            others = np.delete(self._centres, c, axis=0)
            if not len(others):
                return
            squared = _nearest(points, others)[1]
            squared[squared > np.quantile(squared, self.trim)] = 0.0
            place = self._draw(squared)
            if place < 0:
                return
            self._centres[c] = points[place]
            self.weights[c] = 2.0 * self.min_share * total
            self._identities[c] = self._next_identity
            self._next_identity += 1

    def _reseed(self, refine: bool = False) -> None:
        """Seed again from the reservoir; taken if its trimmed inertia is clearly below the centres' after Lloyd.

        If it is not, the centres stay, or with `refine` go where Lloyd's rounds moved them.
        """
        assert self._centres is not None
        points = self._recent[: self._recent_n].astype(np.float64)
        refined = self._centres.copy()
        kernels.lloyd(points, refined, LLOYD_ROUNDS, LLOYD_TOLERANCE)
        seeded, inertia = self._seed(points, QUICK_RESTARTS if refine else self.restarts)
        if inertia >= (1.0 - self.reseed_gain) * self._inertia(points, refined):
            if refine:
                self._centres = refined
            return
        labels = _nearest(points, seeded)[0]
        shares = np.bincount(labels, minlength=len(seeded)) / len(points)
        spread = float(np.sqrt(inertia / len(points)))
        reach = np.full(len(self._centres), MATCH_SPREADS * spread)
        matched = match_centres(seeded, shares, self._centres, self.weights / self.weights.sum(), reach)
        identities = np.empty(len(seeded), np.int64)
        for c, old in enumerate(matched.tolist()):
            identities[c] = self._identities[old] if old >= 0 else self._next_identity
            self._next_identity += old < 0
        self.weights = shares * self.weights.sum()
        self._centres, self._identities = seeded, identities

    def _seed(self, points: np.ndarray, restarts: int) -> tuple[np.ndarray, float]:
        """The best of so many k-means++ seedings with Lloyd rounds: (centres, trimmed inertia)."""
        best: tuple[np.ndarray, float] | None = None
        for _ in range(restarts):
            centres = np.empty((self.n_clusters, points.shape[1]))
            centres[0] = points[int(self._rng.random() * len(points))]
            squared = _nearest(points, centres[:1])[1]
            for c in range(1, self.n_clusters):
                place = self._draw(np.minimum(squared, np.quantile(squared, self.trim)))
                centres[c] = points[max(place, 0)]
                squared = np.minimum(squared, _nearest(points, centres[c : c + 1])[1])
            kernels.lloyd(points, centres, LLOYD_ROUNDS, LLOYD_TOLERANCE)
            inertia = self._inertia(points, centres)
            if best is None or inertia < best[1]:
                best = centres, inertia
        assert best is not None
        return best

    def _draw(self, weights: np.ndarray) -> int:
        """A place drawn with the given weights; -1 where all are 0."""
        sums = np.cumsum(weights)
        if not sums[-1] > 0.0:
            return -1
        return min(int(np.searchsorted(sums, self._rng.random() * sums[-1], side="right")), len(weights) - 1)

    def _inertia(self, points: np.ndarray, centres: np.ndarray) -> float:
        squared = _nearest(points, centres)[1]
        return float(np.minimum(squared, np.quantile(squared, self.trim)).sum())


def match_centres(
    new: np.ndarray, new_shares: np.ndarray, old: np.ndarray, old_shares: np.ndarray, reach: np.ndarray
) -> np.ndarray:
    """For each new centre float[m, d] the place of the old one (of float[k, d]) whose identity it takes, or -1.

    Only pairs nearer than `reach` float[k] (by old centre; or float[m, k], by pair) may match. Among those the whole
    matching is optimal (Hungarian method): it keeps as many shoppers as it can in the segment they know, near pairs
    before far ones, for a pair is worth the smaller of its two shares, less the part of the reach it has moved.
    """
    distances = np.sqrt(((new[:, None, :] - old[None, :, :]) ** 2).sum(2))
    nearness = np.maximum(1.0 - distances / np.maximum(reach, 1e-12), 0.0)
    worth = nearness * np.maximum(np.minimum(new_shares[:, None], old_shares[None, :]), 1e-9)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    matched = np.full(len(new), -1, np.int64)
    matched[rows] = np.where(worth[rows, columns] > 0.0, columns, -1)
    return matched


def _clean(points: np.ndarray) -> np.ndarray:
    """Points as float64, C-contiguous, without what is no finite number."""
    points = np.ascontiguousarray(points, np.float64)
    return points if np.isfinite(points).all() else np.nan_to_num(points, nan=0.0, posinf=0.0, neginf=0.0)


def _nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, squared = np.empty(len(points), np.int32), np.empty(len(points))
    kernels.nearest(points, centres, labels, squared)
    return labels, squared
