"""The popular model: what the whole shop likes, from what each item shard saw."""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.learn.settings import LearnSettings
from state.batches import ShardPopularity
from state.models import PopularModel


class PopularLearner:
    """The shop's popular items: the newest list of each item shard, brought to one time and merged.

    Keeps one list per item shard, whose number is fixed.
    """

    def __init__(self, settings: LearnSettings) -> None:
        self._settings = settings
        self._lists: dict[int, ShardPopularity] = {}
        self._model: PopularModel | None = None

    @property
    def version(self) -> int:
        """Of the newest model; 0 before the first."""
        return self._model.version if self._model else 0

    def learn(self, lists: list[ShardPopularity]) -> list[PopularModel]:
        """Take in the shards' newest lists; a version, if that changed anything."""
        for one in lists:
            self._lists[one.shard] = one
        if not lists:
            return []
        items, scores = self._merged()
        if self._model and np.array_equal(items, self._model.items) and np.array_equal(scores, self._model.scores):
            return []
        self._model = PopularModel(self.version + 1, items, scores)
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

    def _merged(self) -> tuple[np.ndarray, np.ndarray]:
        lists = [self._lists[shard] for shard in sorted(self._lists)]
        newest = max(one.ts for one in lists)
        half_life_ms = self._settings.popular_half_life_days * 86_400_000.0
        items = np.concatenate([one.items for one in lists]).astype(np.uint64)
        scores = np.concatenate([one.scores * 0.5 ** ((newest - one.ts) / half_life_ms) for one in lists])
        order = np.lexsort((items, -scores))[: self._settings.popular_n]
        return items[order], scores[order].astype(np.float32)
