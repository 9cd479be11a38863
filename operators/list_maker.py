"""From what the item shards answered to lists: what is laid out, remembered and ranked for a batch of shoppers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.kernels.lists import collect_answers, empty_lists
from operators.kernels.ranking import RECENT_FETCHED, rank
from operators.kernels.remembered import nothing_remembered, remember_rows
from state.batches import NEIGHBOURS, RECENT_ITEMS

Lists = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Of n lists: items uint64[n, 20], scores float32[n, 20], because uint64[n, 20], counts uint8[n], rungs uint64[n]."""


class ListMaker:
    """Makes lists of what stands beside shoppers' last items, filled up with what is popular.

    The first `leave_out` of the last items stay out of the list. `remembered` REMEMBERED[rows] is shared by all user
    shards of a process: rows that were answered to any of them, 13.6 MB, which serve the lists of all. `popular`
    uint64[m] and `popular_scores` float32[m] are the shop's, best first; a new model replaces them.
    """

    def __init__(self, leave_out: int, remembered: np.ndarray | None = None) -> None:
        self.popular = np.empty(0, np.uint64)
        self.popular_scores = np.empty(0, np.float32)
        self._leave_out = min(leave_out, RECENT_ITEMS)
        self._remembered = nothing_remembered() if remembered is None else remembered

    def remember(self, answers: np.ndarray, list_rows: np.ndarray, recent: np.ndarray) -> None:
        """Remember the rows of ANSWERs, of lists with the last items `recent`, and make no list of them."""
        remember_rows(answers, recent, list_rows, self._remembered)

    def make(
        self, answers: Sequence[np.ndarray], list_rows: np.ndarray, recent: np.ndarray, recent_n: np.ndarray
    ) -> Lists:
        """Lists for shoppers with the last items `recent` uint64[n, 8], of which `recent_n` uint8[n] are known.

        `answers` are ANSWER arrays of several item shards; `list_rows` int32 gives the list of each answer's place.
        """
        n = len(recent)
        lists = empty_lists(n)
        if n == 0:
            return lists
        items = np.empty((n, RECENT_FETCHED, NEIGHBOURS), np.uint64)
        scores = np.empty((n, RECENT_FETCHED, NEIGHBOURS), np.float32)
        counts = np.zeros((n, RECENT_FETCHED), np.uint8)
        for rows in answers:
            collect_answers(rows, list_rows, items, scores, counts)
            self.remember(rows, list_rows, recent)
        rank(
            items,
            scores,
            counts,
            recent,
            recent_n,
            self._leave_out,
            self._remembered,
            self.popular,
            self.popular_scores,
            *lists,
        )
        return lists
