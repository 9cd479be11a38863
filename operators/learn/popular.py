"""The popular model: what the whole shop likes, and what in each of its larger categories, from what each item shard
saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from operators.learn.settings import LearnSettings
from state.models import CATEGORY_ITEMS, ByCategory, PopularModel, ShardPopularity, no_category


class PopularLearner:
    """The shop's popular items: the newest lists of each item shard, brought to one time and merged.

    Keeps one list per item shard, whose number is fixed, and one of its categories. Those come more rarely, and are
    merged when all shards have told theirs, or one has for the second time. They are no part of a snapshot, but what
    was made of them is: after a restart item shards tell them anew, and shoppers' shards are told the version there is.
    """

    def __init__(self, settings: LearnSettings) -> None:
        self._settings = settings
        self._lists: dict[int, ShardPopularity] = {}
        self._categories: dict[int, tuple[int, ByCategory]] = {}
        self._waiting: set[int] = set()
        self._is_told = False
        self._model: PopularModel | None = None

    @property
    def version(self) -> int:
        """Of the newest model; 0 before the first."""
        return self._model.version if self._model else 0

    def learn(self, lists: list[ShardPopularity]) -> list[PopularModel]:
        """Take in the shards' newest lists; a version, if that changed anything."""
        if not lists:
            return []
        again = False
        for one in lists:
            self._lists[one.shard] = replace(one, by_category=None)
            if one.by_category is not None:
                again |= one.shard in self._waiting
                self._waiting.add(one.shard)
                self._categories[one.shard] = one.ts, one.by_category
        items, scores = self._merged()
        by_category = self._model.by_category if self._model else no_category()
        if self._waiting and (again or len(self._waiting) >= len(self._lists)):
            self._waiting.clear()
            by_category = merged_categories(
                list(self._categories.values()), self._half_life_ms, self._settings.categories_max
            )
        known = self._model
        if known is None or not all(map(np.array_equal, (items, scores, *by_category), _arrays(known))):
            self._model = PopularModel(self.version + 1, items, scores, by_category)
        elif self._is_told:
            return []
        self._is_told = True
        assert self._model is not None
        return [self._model]

    def finish(self) -> list[PopularModel]:
        """The newest version once more."""
        return [self._model] if self._model else []

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps."""
        return {"_lists": self._lists, "_model": self._model}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        vars(self).update(state)

    @property
    def _half_life_ms(self) -> float:
        return self._settings.popular_half_life_days * 86_400_000.0

    def _merged(self) -> tuple[np.ndarray, np.ndarray]:
        lists = [self._lists[shard] for shard in sorted(self._lists)]
        newest = max(one.ts for one in lists)
        items = np.concatenate([one.items for one in lists]).astype(np.uint64)
        scores = np.concatenate([one.scores * 0.5 ** ((newest - one.ts) / self._half_life_ms) for one in lists])
        order = np.lexsort((items, -scores))[: self._settings.popular_n]
        return items[order], scores[order].astype(np.float32)


def merged_categories(told: list[tuple[int, ByCategory]], half_life_ms: float, categories_max: int) -> ByCategory:
    """The lists of several shards, each with its time (ms), as one: of the `categories_max` categories whose items
    weigh most, the CATEGORY_ITEMS best; equal ones by hash."""
    newest = max(ts for ts, _ in told)
    categories = np.concatenate([np.repeat(one.categories, np.diff(one.starts)) for _, one in told])
    items = np.concatenate([one.items for _, one in told])
    scores = np.concatenate([one.scores * 0.5 ** ((newest - ts) / half_life_ms) for ts, one in told])
    order = np.lexsort((items, -scores, categories))
    categories, items, scores = categories[order], items[order], scores[order]
    known, starts, counts = np.unique(categories, return_index=True, return_counts=True)
    if len(known) == 0:
        return no_category()
    best = np.arange(len(items)) - np.repeat(starts, counts) < CATEGORY_ITEMS
    weights = np.add.reduceat(np.where(best, scores, 0.0), starts)
    kept = np.sort(np.lexsort((known, -weights))[:categories_max])
    best &= np.repeat(np.isin(np.arange(len(known)), kept), counts)
    ends = np.cumsum(np.minimum(counts[kept], CATEGORY_ITEMS))
    return ByCategory(
        known[kept], np.concatenate([[0], ends]).astype(np.int64), items[best], scores[best].astype(np.float32)
    )


def _arrays(model: PopularModel) -> tuple[np.ndarray, ...]:
    return model.items, model.scores, *model.by_category
