"""Our own recommender among the peers: the worker's kernels and steps, without the engine around them."""

from __future__ import annotations

import numpy as np

from benchmarks.recommendation_peers import LENGTH
from operators.covisit import Covisit, CovisitSettings
from operators.kernels.candidates import RECENT_FETCHED
from operators.kernels.list_types import Beside, Last, Lists, Shoppers
from operators.kernels.neighbours import PAIRS_PER_ACT_MAX, pairs_of
from operators.kernels.sessions import join, recent_since, remember
from operators.list_maker import ListMaker
from operators.list_settings import ListSettings
from operators.part_weights import PartWeights
from operators.profile_settings import ProfileSettings
from state.batches import (
    FETCH,
    PAIR,
    RECENT_ITEMS,
    TOUCH,
    AnswerBatch,
    FetchBatch,
    VisitBatch,
)
from state.compiled import kernel
from state.hashing import finish
from state.metrics import Metrics
from state.models import PopularModel, ShardPopularity
from state.profile_table import SESSION_ROW
from state.table import HashIndex

ASKED_AT_ONCE = 1024
_NO_PAIRS, _NO_TOUCHES = np.empty(0, PAIR), np.empty(0, TOUCH)


@kernel
def hashes_of(out):
    """The hash of every item by number, uint64[n]."""
    for i in range(len(out)):
        out[i] = finish(np.uint64(i + 1))


@kernel
def act(shoppers, items, ts, sessions, gap_ms, pairs, touches):
    """What the profile step does with views for co-visitation: pairs with the session's last items, touches.

    `shoppers` int64[n], `items` uint64[n], `ts` int64[n]; `sessions` SESSION_ROW[shoppers]; written: `pairs`
    PAIR[n * PAIRS_PER_ACT_MAX], `touches` TOUCH[n]; the number of pairs.
    """
    n_pairs = np.int64(0)
    strength = np.float32(1.0)
    for i in range(len(items)):
        s = sessions[shoppers[i]]
        item = items[i]
        visit = join(s, ts[i], gap_ms)
        if s.recent_n == 0 or s.recent[0] != item:
            together = recent_since(s, s.start[visit]) if visit >= 0 else 0
            n_pairs = pairs_of(item, s.recent, together, strength, pairs, n_pairs)
        remember(s, item, ts[i])
        touches[i].item = item
        touches[i].ts = ts[i]
        touches[i].price = -1
        touches[i].weight = strength
    return n_pairs


@kernel
def ask(histories, hashes, scratch, recent, recent_n, fetches):
    """The last different items of histories, and the questions for them.

    `histories` int64[n, h], newest first, -1 past the end; `hashes` uint64[items]; `scratch` SESSION_ROW[1]; written:
    `recent` uint64[n, RECENT_ITEMS], `recent_n` uint8[n], `fetches` FETCH[n * RECENT_FETCHED]; the number of questions.
    """
    asked = 0
    s = scratch[0]
    for i in range(len(histories)):
        s.recent_n = 0
        for k in range(RECENT_ITEMS):
            s.recent[k] = 0
            s.recent_ts[k] = 0
        for k in range(histories.shape[1] - 1, -1, -1):
            if histories[i, k] >= 0:
                remember(s, hashes[histories[i, k]], np.int64(histories.shape[1] - k))
        recent_n[i] = s.recent_n
        for k in range(RECENT_ITEMS):
            recent[i, k] = s.recent[k]
        for k in range(min(np.int64(s.recent_n), RECENT_FETCHED)):
            fetches[asked].item = s.recent[k]
            fetches[asked].position = i
            fetches[asked].slot = k
            asked += 1
    scratch[0].recent_n = 0
    return asked


class Ours:
    """Sessions and pairs as the profile step makes them, the co-visitation step of one shard, the ranking of the
    personalize step, whose weights follow what shoppers turn to or stay as given; the shop's popular items are those of
    the shard. `items` bounds the numbers of items."""

    def __init__(
        self,
        shoppers: int,
        items: int,
        current_out: bool = True,
        settings: CovisitSettings | None = None,
        learn_weights: bool = True,
    ):
        self._covisit = Covisit(0, Metrics(), settings or CovisitSettings(item_shards=1))
        self._lists = ListMaker()
        self._weights = PartWeights(ListSettings(leave_out=1 if current_out else 0, learn_weights=learn_weights))
        self._gap_ms = ProfileSettings(item_shards=1).session_gap_ms
        self._sessions, self._scratch = np.zeros(shoppers, SESSION_ROW), np.zeros(1, SESSION_ROW)
        self.hashes = np.empty(items, np.uint64)
        hashes_of(self.hashes)
        self._numbers = HashIndex()
        self._numbers.find_or_add(self.hashes, 0)
        self._touched = np.zeros(items, bool)

    def learn(self, shoppers: np.ndarray, items: np.ndarray, ts: np.ndarray) -> None:
        pairs, touches = np.zeros(len(items) * PAIRS_PER_ACT_MAX, PAIR), np.zeros(len(items), TOUCH)
        self._touched[items] = True
        who, first = np.unique(shoppers, return_index=True)
        self._weights.learn(0, who, self.hashes[items[first]])
        n = act(shoppers, self.hashes[items], ts, self._sessions, self._gap_ms, pairs, touches)
        self._listen(self._covisit.process([VisitBatch(pairs[:n], touches)]))

    def settle(self) -> None:
        """A worker makes a list after every act, and so has met the row of every item; here they are asked for now."""
        self._listen(self._covisit.finish())
        items = np.flatnonzero(self._touched)
        for at in range(0, len(items), ASKED_AT_ONCE):
            recent = np.zeros((len(items[at : at + ASKED_AT_ONCE]), RECENT_ITEMS), np.uint64)
            recent[:, 0] = self.hashes[items[at : at + ASKED_AT_ONCE]]
            fetches = np.zeros(len(recent), FETCH)
            fetches["item"], fetches["position"] = recent[:, 0], np.arange(len(recent))
            for rows in self._ask(fetches):
                self._lists.remember(rows, np.arange(len(recent), dtype=np.int32), recent)

    def _listen(self, said: list[AnswerBatch | ShardPopularity]) -> None:
        for popular in said:
            if isinstance(popular, ShardPopularity):
                self._lists.popular = PopularModel(0, popular.items, popular.scores.astype(np.float32))

    def _ask(self, fetches: np.ndarray) -> list[np.ndarray]:
        said = self._covisit.process([VisitBatch(_NO_PAIRS, _NO_TOUCHES, [FetchBatch(0, 0, fetches)])])
        self._listen(said)
        return [answer.rows for answer in said if isinstance(answer, AnswerBatch)]

    def lists(self, shoppers: np.ndarray, histories: np.ndarray) -> np.ndarray:
        laid_out = self._laid_out(histories)
        lists = self._lists.make(*laid_out, self._weights.in_force)
        if len(shoppers) and shoppers[0] >= 0:
            beside, last, _ = laid_out
            self._weights.note(0, shoppers, beside, last, self._lists.memory.remembered, lists)
        numbers = self._numbers.find(lists.items.reshape(-1)).reshape(lists.items.shape)
        return np.where(np.arange(LENGTH) < lists.counts[:, None], numbers, -1)

    def ranked(self, histories: np.ndarray) -> Lists:
        """Lists as the worker makes them, of hashes."""
        return self._lists.make(*self._laid_out(histories), self._weights.in_force)

    def _laid_out(self, histories: np.ndarray) -> tuple[Beside, Last, Shoppers]:
        n = len(histories)
        recent, recent_n = np.empty((n, RECENT_ITEMS), np.uint64), np.empty(n, np.uint8)
        fetches = np.empty(n * RECENT_FETCHED, FETCH)
        asked = ask(histories, self.hashes, self._scratch, recent, recent_n, fetches)
        answers = self._ask(fetches[:asked])
        return self._lists.lay_out(answers, np.arange(n, dtype=np.int32), recent, recent_n)

    def size(self) -> tuple[int, int]:
        """Items known, and the bytes they take."""
        return self._covisit.items.size, self._covisit.nbytes
