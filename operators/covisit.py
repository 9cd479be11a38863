"""What is visited together and what is popular: by item shard, neighbour lists are learned and asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from operators.baskets import Baskets
from operators.item_rows import ItemRows
from operators.kernels import neighbours
from operators.kernels.category_popular import categories_of, no_categories, note_popular
from operators.kernels.neighbours import SHARD_ROW
from state.batches import ANSWER, PAIR, TOUCH, AnswerBatch, FetchBatch, VisitBatch
from state.metrics import Metrics
from state.models import CATEGORY_ITEMS, BoughtTogether, ByCategory, ShardPopularity
from state.table import Table

DAY_MS = 86_400_000
PAIRS_PER_EVENT = 4
"""Pairs an event makes on average: 3.3 and 4.4 in the logs tried, PAIRS_PER_ACT_MAX at most."""


@dataclass(frozen=True, slots=True)
class CovisitSettings:
    """How the neighbour lists of one item shard fade and how large they get.

    `half_lives_events` (long, short): after so many events of the whole shop a co-visit counts half; a shard counts the
    pairs it sees, which are its 1 / `item_shards` of all. `short_weight`: what the short share adds to a score. After
    `half_life_baskets` pairs of what is bought together (an order of n items makes n (n - 1) of them) such a pair
    counts half; `together_n` items are told that are bought with another. `items_max` bounds the rows of a shard, of
    either kind. `popular_n` items are told every
    `popular_every_batches` calls, their popularity halving in `popularity_half_life_days` of event time; those of up to
    `categories_max` categories once in `categories_every` such tellings, at first more often.
    """

    item_shards: int = 16
    half_lives_events: tuple[float, float] = (500_000.0, 2_000.0)
    half_life_baskets: float = 1_000_000.0
    together_n: int = 10
    short_weight: float = 0.25
    items_max: int = 200_000
    popular_n: int = 100
    popular_every_batches: int = 16
    popularity_half_life_days: float = 3.0
    categories_max: int = 1000
    categories_every: int = 16

    @property
    def half_lives_pairs(self) -> tuple[float, float]:
        """The half-lives (long, short), in pairs of one shard; at least one."""
        long, short = (max(1.0, events * PAIRS_PER_EVENT / self.item_shards) for events in self.half_lives_events)
        return long, short

    @property
    def half_life_basket_pairs(self) -> float:
        """The half-life of what is bought together, in pairs of one shard; at least one."""
        return max(1.0, self.half_life_baskets / self.item_shards)

    @property
    def told_of_category(self) -> int:
        """How many items of a category a shard tells. Items are spread over the shards by their hashes: of the
        CATEGORY_ITEMS most popular ones hardly ever more than these are in the same shard."""
        share = CATEGORY_ITEMS / self.item_shards
        return min(CATEGORY_ITEMS, math.ceil(share + 4.0 * math.sqrt(share)))


Out = list[AnswerBatch | ShardPopularity | BoughtTogether]


class Covisit:
    """Learns which items are visited together, and answers what to show beside an item.

    In: VisitBatch of one item shard: pairs and touches in event order, then questions. Out: one AnswerBatch for each
    question, which knows every pair of the call, an ANSWER row for each fetch (count 0 for an item that is not known);
    and, at the first call, every `popular_every_batches` calls and at the end, the shard's most popular items, and at
    times those of its larger categories (`operators.kernels.category_popular`), and what is bought together with items
    of which that has changed (`operators.baskets`).

    Keeps a row of ITEM_ROW for each item (560 bytes and some 24 in the index), at most `items_max`: for new ones the
    least popular give way (counted in `evictions{component="items"}`), and what they had learned is gone; what stands
    beside others still names them. As long as none has to, the tables depend on the order of pairs and touches alone,
    not on how they were cut into batches, as long as an item is touched no later than in the call that pairs it first.
    Method: see `operators.kernels.neighbours`.
    """

    def __init__(self, shard: int, metrics: Metrics, settings: CovisitSettings) -> None:
        self.shard = shard
        self.settings = settings
        self._rows = ItemRows(settings.items_max, metrics.evictions.labels("items"), self._look_at_all)
        self._baskets = Baskets(
            shard, settings.half_life_basket_pairs, settings.items_max, settings.together_n, metrics
        )
        self.items = self._rows.table
        self.state = Table(SHARD_ROW, 1)
        self.state.extend(1)
        self.state.rows["growth"][0] = 1.0
        self.tables = {"items": self.items, "shard": self.state, **self._baskets.tables}
        self._rates = np.array([2.0 ** (1.0 / pairs) for pairs in settings.half_lives_pairs])
        self._half_life_ms = settings.popularity_half_life_days * DAY_MS
        self._calls = 0
        # Two items change places in popularity only when one is touched, so the most popular ones are always among
        # those of the last look and the items touched since.
        self._popular = np.empty(0, np.int32)
        self._touched: list[np.ndarray] = []
        self._by_category = no_categories(settings.categories_max)

    @property
    def nbytes(self) -> int:
        """Bytes held in memory: the rows of the items and their index."""
        return self._rows.nbytes

    def process(self, values: list[VisitBatch]) -> Out:
        """Learn all of `values`, then answer all of their questions."""
        self._learn(_joined([v.touches for v in values], TOUCH), _joined([v.pairs for v in values], PAIR))
        self._baskets.learn(_joined([v.baskets for v in values if len(v.baskets)], PAIR))
        out: Out = [*self._answers([f for v in values for f in v.fetches])]
        tellings, between = divmod(self._calls, self.settings.popular_every_batches)
        if between == 0:
            often = self.settings.categories_every
            early = tellings < often and tellings & (tellings - 1) == 0  # while most is new
            out += [self._popularity(early or tellings % often == 0), *self._baskets.tell()]
        self._calls += 1
        return out

    def finish(self) -> Out:
        """The shard's most popular items, a last time, and what is bought together as far as that is not told yet."""
        return [self._popularity(categories=True), *self._baskets.tell_all()]

    def restored(self) -> None:
        """Rebuild the indices and find the most popular items, from the tables."""
        self._rows.restored()
        self._baskets.restored()
        self._look_at_all()

    def _look_at_all(self) -> None:
        """Find what is popular from the rows alone."""
        self._popular = np.empty(0, np.int32)
        self._touched = [np.arange(self.items.size, dtype=np.int32)]
        self._by_category = categories_of(self.items.rows[: self.items.size], self.settings.categories_max)

    def _learn(self, touches: np.ndarray, pairs: np.ndarray) -> None:
        rows = self._rows.find_or_add(np.concatenate([touches["item"], pairs["row"]]))
        touched, paired = rows[: len(touches)], rows[len(touches) :]
        items, dirty, state = self.items.rows, self.items.dirty, self.state.rows
        if len(touches):
            neighbours.touch(items, dirty, touched, touches, state, self._half_life_ms)
            note_popular(items, touched, touches, self._half_life_ms, self._by_category)
            self._touched.append(touched)
        if len(pairs):
            neighbours.update(items, dirty, paired, pairs, state, self._rates)
        if len(rows):
            self.state.dirty[0] = 1

    def _answers(self, questions: list[FetchBatch]) -> list[AnswerBatch]:
        if not questions:
            return []
        fetches = _joined([q.rows for q in questions], questions[0].rows.dtype)
        out = np.zeros(len(fetches), ANSWER)
        if len(fetches):
            rows = self._rows.find(fetches["item"])
            neighbours.answer(self.items.rows, rows, fetches, self.state.rows, self.settings.short_weight, False, out)
        ends = np.cumsum([len(q.rows) for q in questions]).tolist()
        return [
            AnswerBatch(q.shard, q.sequence, out[end - len(q.rows) : end])
            for q, end in zip(questions, ends, strict=True)
        ]

    def _popularity(self, categories: bool) -> ShardPopularity:
        popularity = self.items.rows["popularity"]
        floor = popularity[self._popular].min() if len(self._popular) == self.settings.popular_n else -np.inf
        candidates = np.concatenate([self._popular, *self._touched])
        known = popularity[candidates]
        candidates = np.unique(candidates[(candidates >= 0) & (known >= floor) & (known > -np.inf)])
        best_first = np.lexsort((self.items.rows["item"][candidates], -popularity[candidates]))
        self._popular = candidates[best_first[: self.settings.popular_n]]
        self._touched = []
        ts = int(self.state.rows["event_ts"][0])
        scores = np.exp2(popularity[self._popular] - ts / self._half_life_ms)
        by_category = self._of_categories(ts) if categories else None
        return ShardPopularity(self.shard, self.items.rows["item"][self._popular], scores, ts, by_category)

    def _of_categories(self, ts: int) -> ByCategory:
        """The most popular items of each category that is kept, with their fading weights at `ts`."""
        known, used = self._by_category, int(self._by_category.used[0])
        # One that moved to another category since it was touched is not told; such are few.
        looked_at = min(self.settings.told_of_category + 2, CATEGORY_ITEMS)
        order = np.argsort(known.categories[:used])
        rows = known.rows[:used, :looked_at][order]
        there = np.arange(looked_at) < known.counts[order, None]
        there &= self.items.rows["category"][rows] == known.categories[order, None]
        there &= np.cumsum(there, axis=1) <= self.settings.told_of_category
        some = there.any(axis=1)
        scores = np.exp2(known.popularity[:used, :looked_at][order][there] - ts / self._half_life_ms)
        return ByCategory(
            known.categories[order[some]],
            np.concatenate([[0], np.cumsum(there[some].sum(axis=1))]).astype(np.int64),
            self.items.rows["item"][rows[there]],
            scores,
        )


def _joined(parts: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Arrays behind one another; a single one as it is."""
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0])
    return np.concatenate(parts) if parts else np.empty(0, dtype)
