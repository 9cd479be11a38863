"""Who is held against each other: each learns from a stream of (shopper, item) and makes lists from last items.

A peer has `learn(shoppers, items, ts)` with int64[n] of events in order, `settle()` when all there was to learn has
been learned, and `lists(shoppers, histories)` -> int64[n, 20], best first, -1 where there is none: of n shoppers (-1:
nobody who was learned from) with their last items, int64[n, HISTORY], newest first, -1 past the end. The current item
is left out of a list, or stays (`current_out`). What falls short of 20 items is filled up with what is popular.
"""

from __future__ import annotations

import heapq
import math
import random
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

LENGTH = 20
HISTORY = 20
"""How many of a shopper's last items a peer is told, repeats included."""


class Peer(Protocol):
    """What is asked of every recommender."""

    def learn(self, shoppers: np.ndarray, items: np.ndarray, ts: np.ndarray) -> None:
        """Take events in, in their order."""

    def settle(self) -> None:
        """All there was to learn has been learned."""

    def lists(self, shoppers: np.ndarray, histories: np.ndarray) -> np.ndarray:
        """A list for each shopper."""


class Popularity:
    """What is popular: counts of events that halve every `half_life_events`, sorted anew every `every` events."""

    def __init__(self, current_out: bool = True, half_life_events: float = 20_000, every: int = 500) -> None:
        self.best: list[int] = []
        self._current_out = current_out
        self._rate = 2.0 ** (1.0 / half_life_events)
        self._every = every
        self._growth = 1.0
        self._weights: dict[int, float] = defaultdict(float)
        self._wait = 1

    def learn(self, shoppers: np.ndarray, items: np.ndarray, ts: np.ndarray) -> None:
        """A count for each event, later ones growing."""
        for item in items.tolist():
            self.add(item)

    def add(self, item: int) -> None:
        """One event."""
        self._growth *= self._rate
        self._weights[item] += self._growth
        self._wait -= 1
        if self._wait == 0:
            self._wait = self._every
            self.settle()

    def settle(self) -> None:
        """Sort, and keep the weights in the range of numbers."""
        best = heapq.nlargest(2 * LENGTH, self._weights.items(), key=lambda entry: (entry[1], -entry[0]))
        self.best = [item for item, _ in best]
        if self._growth > 1e200:
            for item in self._weights:
                self._weights[item] /= self._growth
            self._growth = 1.0

    def lists(self, shoppers: np.ndarray, histories: np.ndarray) -> np.ndarray:
        """The same for all, but for the current item."""
        out = np.full((len(shoppers), LENGTH), -1, np.int64)
        for row, current in zip(out, histories[:, 0].tolist(), strict=True):
            self.fill(row, [], current if self._current_out else -1)
        return out

    def fill(self, row: np.ndarray, items: list[int], left_out: int) -> None:
        """Write `items`, and then what is popular, into a list of LENGTH."""
        if len(items) < LENGTH:
            have = {*items, left_out}
            items = items + [item for item in self.best if item not in have]
        items = items[:LENGTH]
        row[: len(items)] = items


class _Scored:
    """A peer that learns event by event and scores candidates from a history (newest first)."""

    def __init__(self, current_out: bool) -> None:
        self.popularity = Popularity()
        self._current_out = current_out

    def learn(self, shoppers: np.ndarray, items: np.ndarray, ts: np.ndarray) -> None:
        for shopper, item in zip(shoppers.tolist(), items.tolist(), strict=True):
            self.popularity.add(item)
            self.learn_one(shopper, item)

    def settle(self) -> None:
        self.popularity.settle()

    def lists(self, shoppers: np.ndarray, histories: np.ndarray) -> np.ndarray:
        out = np.full((len(shoppers), LENGTH), -1, np.int64)
        for row, shopper, padded in zip(out, shoppers.tolist(), histories.tolist(), strict=True):
            history = [item for item in padded if item >= 0]
            scores = self.scores(shopper, history) if history else {}
            left_out = history[0] if history and self._current_out else -1
            scores.pop(left_out, None)
            best = heapq.nlargest(LENGTH, scores.items(), key=lambda entry: (entry[1], -entry[0]))
            self.popularity.fill(row, [item for item, _ in best], left_out)
        return out

    def learn_one(self, shopper: int, item: int) -> None:
        raise AssertionError

    def scores(self, shopper: int, history: list[int]) -> dict[int, float]:
        raise AssertionError


class LastItem(_Scored):
    """Co-visitation at its plainest: how often an item came right after the current one, and before it."""

    def __init__(self, current_out: bool = True) -> None:
        super().__init__(current_out)
        self._counts: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
        self._last: dict[int, int] = {}

    def learn_one(self, shopper: int, item: int) -> None:
        before = self._last.get(shopper, item)
        self._last[shopper] = item
        if before != item:
            self._counts[before][item] += 1.0
            self._counts[item][before] += 1.0

    def scores(self, shopper: int, history: list[int]) -> dict[int, float]:
        return dict(self._counts.get(history[0], {}))


class _Sessions(_Scored):
    """Sessions by item, the newest ones only, for recommenders by nearest sessions."""

    def __init__(self, current_out: bool, sessions_by_item: int) -> None:
        super().__init__(current_out)
        self.sessions: dict[int, dict[int, None]] = {}  # different items, in order
        self.newest: dict[int, int] = {}  # when the session acted last
        self.by_item: dict[int, deque[int]] = defaultdict(lambda: deque(maxlen=sessions_by_item))
        self.counts: dict[int, int] = defaultdict(int)  # sessions that have the item
        self._events = 0

    def learn_one(self, shopper: int, item: int) -> None:
        session = self.sessions.setdefault(shopper, {})
        self._events += 1
        self.newest[shopper] = self._events
        if item not in session:
            session[item] = None
            self.by_item[item].append(shopper)
            self.counts[item] += 1


class VmisKnn(_Sessions):
    """VMIS-kNN: Kersbergen, Sprangers, Schelter, "Serenade: low-latency session-based recommendation in e-commerce at
    scale" (SIGMOD 2022), learning from each event.

    Of the last `window` items, newest first, each one's newest sessions are visited: sessions sampled by recency, at
    most `m`, their similarity the sum of the items' linearly decaying weights. The `k` most similar (the newer of
    equals) vote for their items, each by its similarity, by the place of the newest item shared, and by the items'
    inverse document frequency. An own session does not vote.
    """

    def __init__(self, m: int = 500, k: int = 100, window: int = 5, current_out: bool = True) -> None:
        super().__init__(current_out, m)
        self._m, self._k, self._window = m, k, window

    def scores(self, shopper: int, history: list[int]) -> dict[int, float]:
        recent = list(dict.fromkeys(history[: self._window]))
        length = len(history[: self._window])
        places = {item: history.index(item) for item in recent}
        similar: dict[int, float] = {}
        oldest: list[tuple[int, int]] = []
        for item in recent:
            weight = (length - places[item]) / len(recent)
            for session in reversed(self.by_item.get(item, ())):
                if session == shopper:
                    continue
                if session in similar:
                    similar[session] += weight
                elif len(similar) < self._m:
                    similar[session] = weight
                    heapq.heappush(oldest, (self.newest[session], session))
                elif self.newest[session] > oldest[0][0]:
                    _, dropped = heapq.heapreplace(oldest, (self.newest[session], session))
                    del similar[dropped]
                    similar[session] = weight
                else:
                    break
        nearest = heapq.nlargest(self._k, similar.items(), key=lambda entry: (entry[1], self.newest[entry[0]]))
        scores: dict[int, float] = defaultdict(float)
        for session, similarity in nearest:
            items = self.sessions[session]
            vote = similarity * (1.0 - 0.1 * (1 + next(places[item] for item in recent if item in items)))
            for item in items:
                scores[item] += vote
        sessions = len(self.sessions)
        return {item: score * math.log(sessions / self.counts[item]) for item, score in scores.items()}


class SKnn(_Sessions):
    """Session kNN: Jannach and Ludewig, "When recurrent neural networks meet the neighborhood for session-based
    recommendation" (RecSys 2017), with their sampling by recency, learning from each event.

    Of the sessions that share an item with the current one the newest `sample` are compared by the cosine of their sets
    of items; the `k` most similar vote for their items by it. An own session does not vote.
    """

    def __init__(self, k: int = 100, sample: int = 500, current_out: bool = True) -> None:
        super().__init__(current_out, sample)
        self._k, self._sample = k, sample

    def scores(self, shopper: int, history: list[int]) -> dict[int, float]:
        current = set(history)
        shared: dict[int, int] = defaultdict(int)
        for item in current:
            for session in self.by_item.get(item, ()):
                shared[session] += 1
        shared.pop(shopper, None)
        newest = heapq.nlargest(self._sample, shared, key=self.newest.__getitem__)
        cosine = {s: shared[s] / math.sqrt(len(current) * len(self.sessions[s])) for s in newest}
        scores: dict[int, float] = defaultdict(float)
        for session, similarity in heapq.nlargest(self._k, cosine.items(), key=lambda entry: entry[1]):
            for item in self.sessions[session]:
                scores[item] += similarity
        return dict(scores)


class RiverMf:
    """River's BiasedMF on 1 for what was acted upon and 0 for `negatives` items drawn beside it; an item's score is
    what the model foretells. It knows shoppers, not sessions; who is new is told what is best on the whole."""

    def __init__(self, items: int, current_out: bool = True, factors: int = 16, negatives: int = 3, seed: int = 0):
        from river import optim, reco

        self._model = reco.BiasedMF(
            n_factors=factors, latent_optimizer=optim.SGD(0.05), bias_optimizer=optim.SGD(0.05), seed=seed
        )
        self._current_out = current_out
        self._negatives = negatives
        self._random = random.Random(seed)
        self._items: list[int] = []
        self._known = np.zeros(items, bool)
        self._latents, self._biases = np.zeros((items, factors)), np.full(items, -np.inf)

    def learn(self, shoppers: np.ndarray, items: np.ndarray, ts: np.ndarray) -> None:
        for shopper, item in zip(shoppers.tolist(), items.tolist(), strict=True):
            if not self._known[item]:
                self._known[item] = True
                self._items.append(item)
            drawn = [self._items[self._random.randrange(len(self._items))] for _ in range(self._negatives)]
            for learned, rating in [(item, 1.0), *((other, 0.0) for other in drawn)]:
                self._model.learn_one(shopper, learned, rating)
                self._latents[learned] = self._model.i_latents[learned]
                self._biases[learned] = self._model.i_biases[learned]

    def settle(self) -> None:
        pass

    def lists(self, shoppers: np.ndarray, histories: np.ndarray) -> np.ndarray:
        out = np.full((len(shoppers), LENGTH), -1, np.int64)
        for row, shopper, current in zip(out, shoppers.tolist(), histories[:, 0].tolist(), strict=True):
            known = shopper in self._model.u_latents
            scores = self._biases + (self._latents @ self._model.u_latents[shopper] if known else 0.0)
            if self._current_out and current >= 0:
                scores[current] = -np.inf
            best = np.argpartition(-scores, LENGTH)[:LENGTH] if len(scores) > LENGTH else np.arange(len(scores))
            best = best[np.argsort(-scores[best], kind="stable")]
            best = best[scores[best] > -np.inf]
            row[: len(best)] = best
        return out


class Refitted:
    """A model of the package `implicit`, fitted anew every `every` events to all shoppers and items until then:
    `cosine` or `bm25` (item to item, 100 neighbours each), or `als` (64 factors), which folds a history in. A list is
    made from the shopper's last items as the model knows them."""

    def __init__(
        self, kind: str, shoppers: int, items: int, current_out: bool = True, every: int = 10_000, seed: int = 0
    ) -> None:
        self._kind, self._shape = kind, (shoppers, items)
        self._current_out, self._every, self._seed = current_out, every, seed
        self._popularity = Popularity()
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []
        self._wait = every
        self._model: Any = None

    def learn(self, shoppers: np.ndarray, items: np.ndarray, ts: np.ndarray) -> None:
        self._popularity.learn(shoppers, items, ts)
        self._seen.append((shoppers, items))
        self._wait -= len(items)
        if self._wait <= 0:
            self._fit()

    def settle(self) -> None:
        self._popularity.settle()
        self._fit()

    def _fit(self) -> None:
        from implicit.als import AlternatingLeastSquares
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

        shoppers, items = (np.concatenate(column) for column in zip(*self._seen, strict=True))
        self._wait = self._every
        acts = _matrix(shoppers, items, self._shape)
        with threadpool_limits(1, "blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it turns its own intermediate results into another format
            if self._kind == "als":
                self._model = AlternatingLeastSquares(factors=64, iterations=10, random_state=self._seed, num_threads=1)
            else:
                self._model = {"cosine": CosineRecommender, "bm25": BM25Recommender}[self._kind](K=100, num_threads=1)
            self._model.fit(acts, show_progress=False)

    def lists(self, shoppers: np.ndarray, histories: np.ndarray) -> np.ndarray:
        out = np.full((len(shoppers), LENGTH), -1, np.int64)
        best = np.full((len(shoppers), 0), -1, np.int64)
        scores = np.zeros((len(shoppers), 0))
        if self._model is not None:
            told = (histories >= 0) & (histories < self._shape[1])
            rows = np.repeat(np.arange(len(shoppers)), told.sum(axis=1))
            liked = _matrix(rows, histories[told], (len(shoppers), self._shape[1]))
            options = {"recalculate_user": True} if self._kind == "als" else {}
            with threadpool_limits(1, "blas"):
                best, scores = self._model.recommend(
                    np.arange(len(shoppers)), liked, N=LENGTH + 1, filter_already_liked_items=False, **options
                )
        for row, current, items, worth in zip(out, histories[:, 0].tolist(), best, scores, strict=True):
            left_out = current if self._current_out else -1
            good = (items >= 0) & (items != left_out) & (worth > 0.0)
            self._popularity.fill(row, items[good].tolist(), left_out)
        return out


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """Ones where there was an act, however often."""
    matrix = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


def newest_first(items: Iterable[int]) -> np.ndarray:
    """A history int64[HISTORY] of items given oldest first."""
    row = np.full(HISTORY, -1, np.int64)
    last = list(items)[::-1][:HISTORY]
    row[: len(last)] = last
    return row
