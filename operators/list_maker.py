"""From what the item shards answered to lists: what is laid out, remembered and ranked for a batch of shoppers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.kernels.candidates import RECENT_FETCHED
from operators.kernels.list_rules import Rules, no_rules
from operators.kernels.lists import collect_answers
from operators.kernels.ranking import Beside, Last, Lists, Popular, empty_lists, rank
from operators.kernels.remembered import nothing_remembered, remember_rows
from state.batches import NEIGHBOURS


class ListMaker:
    """Makes lists of what stands beside shoppers' last items, filled up with what is popular.

    `remembered` REMEMBERED[rows] is shared by all user shards of a process: rows that were answered to any of them,
    13.6 MB, which serve the lists of all. `popular` are the shop's items; a new model replaces them.
    """

    def __init__(self, remembered: np.ndarray | None = None) -> None:
        self.popular = Popular(np.empty(0, np.uint64), np.empty(0, np.float32))
        self.remembered = nothing_remembered() if remembered is None else remembered

    def remember(self, answers: np.ndarray, list_rows: np.ndarray, recent: np.ndarray) -> None:
        """Remember the rows of ANSWERs, of lists with the last items `recent`, and make no list of them."""
        remember_rows(answers, recent, list_rows, self.remembered)

    def lay_out(
        self, answers: Sequence[np.ndarray], list_rows: np.ndarray, recent: np.ndarray, recent_n: np.ndarray
    ) -> tuple[Beside, Last]:
        """What lists are made of, for shoppers with the last items `recent` uint64[n, 8], of which `recent_n` uint8[n]
        are known.

        `answers` are ANSWER arrays of several item shards; `list_rows` int32 gives the list of each answer's place.
        """
        places = (len(recent), RECENT_FETCHED, NEIGHBOURS)
        beside = Beside(np.empty(places, np.uint64), np.empty(places, np.float32), np.zeros(places[:2], np.uint8))
        for rows in answers:
            collect_answers(rows, list_rows, *beside)
            self.remember(rows, list_rows, recent)
        return beside, Last(recent, recent_n)

    def make(self, beside: Beside, last: Last, weights: np.ndarray, rules: Rules | None = None) -> Lists:
        """Lists of what was laid out, by WEIGHTS[1]; `rules` hold for these lists (none: everything may be listed)."""
        n = len(last.known)
        lists = empty_lists(n)
        if n:
            rank(beside, last, weights, self.remembered, self.popular, rules or no_rules(n), lists)
        return lists
