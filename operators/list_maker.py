"""From what the item shards answered to lists: what is laid out, remembered and ranked for a batch of shoppers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from operators.kernels.candidates import RECENT_FETCHED, TRIED
from operators.kernels.contexts import contexts_of
from operators.kernels.group_items import GroupItems, no_group_items, note_group_acts
from operators.kernels.list_rules import Rules, no_rules
from operators.kernels.list_types import Beside, Ladder, Last, Lists, Popular, Shoppers, empty_lists, unknown_shoppers
from operators.kernels.lists import collect_answers
from operators.kernels.ranking import rank
from operators.kernels.remembered import REMEMBERED_ROWS, nothing_remembered, remember_rows
from operators.kernels.rung_rates import best_first, compare_rungs, no_rates
from operators.list_settings import LadderSettings
from state.batches import ANSWER, NEIGHBOURS
from state.models import PopularModel
from state.rungs import CONTEXT, RUNGS, SEGMENT

DAY_MS = 86_400_000


class ListMemory(NamedTuple):
    """What the lists of a process have in common, shared by all its user shards. No state: after a restart it fills
    anew."""

    remembered: np.ndarray
    """REMEMBERED[rows]: the rows of neighbours that were answered to any of them, 13.6 MB"""
    segments: GroupItems
    """what the shoppers of each segment look at, 0.1 MB"""
    contexts: GroupItems
    """what is looked at in each context, 0.1 MB"""
    rates: np.ndarray
    """float64[RUNGS, 2]: how often the rungs of the ladder were hit (`compare_rungs`)"""

    @classmethod
    def empty(cls, rows: int = REMEMBERED_ROWS) -> ListMemory:
        """Room for so many rows of neighbours, a power of two."""
        return cls(nothing_remembered(rows), no_group_items(), no_group_items(), no_rates())


class ListMaker:
    """Makes lists of what stands beside shoppers' last items, filled up with what is popular.

    `memory` is what user shards share; `popular` what the shop likes, over all and by category: a new model replaces
    it.
    """

    def __init__(self, ladder: LadderSettings | None = None, memory: ListMemory | None = None) -> None:
        self.popular = PopularModel(0, np.empty(0, np.uint64), np.empty(0, np.float32))
        self.memory = ListMemory.empty() if memory is None else memory
        self._ladder = ladder or LadderSettings()
        self._rungs = [RUNGS.index(name) for name in self._ladder.rungs]
        self._half_life_ms = round(self._ladder.group_half_life_days * DAY_MS)

    def note_acts(self, acts: np.ndarray, profiles: np.ndarray, scores: np.ndarray) -> None:
        """Count ACT[n] in the segments and contexts of their shoppers: PROFILE[m], SCORE[m] by the acts' positions."""
        if SEGMENT in self._rungs:
            groups = (scores["segment"].astype(np.int64) + 1).astype(np.uint64)
            note_group_acts(acts, profiles, groups, self._half_life_ms, self.memory.segments)
        if CONTEXT in self._rungs:
            note_group_acts(acts, profiles, contexts_of(profiles), self._half_life_ms, self.memory.contexts)

    def contexts(self, profiles: np.ndarray, list_rows: np.ndarray) -> np.ndarray | None:
        """The numbers uint64[n] of the contexts of n shoppers with a list, of PROFILE[m]; None: nobody asks for them.

        `list_rows` int32[m] give the lists (-1: none), in their order."""
        return contexts_of(profiles[["band", "device"]][list_rows >= 0]) if CONTEXT in self._rungs else None

    def note_ranks(self, ranks: np.ndarray, counts: np.ndarray, rungs: np.ndarray) -> None:
        """Note at which places acts were found in the lists that stood, as `compare_rungs` takes them."""
        if self._ladder.measured:
            compare_rungs(ranks, counts, rungs, self.memory.rates)

    def remember(self, answers: np.ndarray, list_rows: np.ndarray, recent: np.ndarray) -> None:
        """Remember the rows of ANSWERs, of lists with the last items `recent`, and make no list of them."""
        remember_rows(answers, recent, list_rows, self.memory.remembered)

    def lay_out(
        self,
        answers: Sequence[np.ndarray],
        list_rows: np.ndarray,
        recent: np.ndarray,
        recent_n: np.ndarray,
        favourites: np.ndarray | None = None,
        segments: np.ndarray | None = None,
        contexts: np.ndarray | None = None,
    ) -> tuple[Beside, Last, Shoppers]:
        """What lists are made of, for shoppers with the last items `recent` uint64[n, 8], of which `recent_n` uint8[n]
        are known.

        `answers` are ANSWER arrays of several item shards; `list_rows` int32 gives the list of each answer's place.
        `favourites` uint64[n] are the categories the shoppers like best (0: none), `segments` int32[n] the numbers of
        their segments (-1: none); without both of them nothing is known. `contexts` uint64[n] are the numbers of what
        they act in (0: none).
        """
        n = len(recent)
        places = (n, RECENT_FETCHED, NEIGHBOURS)
        beside = Beside(np.empty(places, np.uint64), np.empty(places, np.float32), np.zeros(places[:2], np.uint8))
        who = unknown_shoppers(n)
        if favourites is not None and segments is not None:
            who = who._replace(favourites=favourites, segments=segments)
        if contexts is not None:
            who = who._replace(contexts=contexts)
        # Joined as bytes, for one call of each kernel: each costs as much as the rows of a few lists.
        rows = np.frombuffer(bytearray().join([rows.data for rows in answers]), ANSWER)
        collect_answers(rows, list_rows, *beside, who.categories)
        self.remember(rows, list_rows, recent)
        return beside, Last(recent, recent_n), who

    def make(self, beside: Beside, last: Last, who: Shoppers, weights: np.ndarray, rules: Rules | None = None) -> Lists:
        """Lists of what was laid out, by WEIGHTS[1]; `rules` hold for these lists (none: everything may be listed)."""
        n = len(last.known)
        lists = empty_lists(n)
        if n:
            held = rules or no_rules(n)
            rank(beside, last, who, weights, self.memory.remembered, self._rungs_now(), held, lists)
        return lists

    def _rungs_now(self) -> Ladder:
        measured, popular = self._ladder.measured, self.popular
        order = best_first(self._rungs, self.memory.rates) if measured else np.array(self._rungs, np.int64)
        of_all, tried = Popular(popular.items, popular.scores), np.int64(TRIED if measured else 0)
        return Ladder(popular.by_category, self.memory.segments, self.memory.contexts, of_all, order, tried)
