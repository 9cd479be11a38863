"""The weights of a list's parts, learned from what shoppers turned to in it: one for all user shards of a process.

Conditional logit: of the items of a list, one was turned to, and item k with probability exp(b . x_k) / sum exp(b .
x_j), where x_k are the shares that each part gave it (McFadden, "Conditional logit analysis of qualitative choice
behavior", 1974). The gradient is taken down by River's AdaGrad. What counts in a ranking is how b's parts stand to one
another: the neighbours of the current item keep their weight, the others follow.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from river import optim

from operators.kernels.list_types import Beside, Last, Lists
from operators.kernels.parts import CURRENT, PARTS, parts_of
from operators.list_settings import ListSettings

SHOPPERS_PER_SAMPLE = 32
"""Lists of one in so many shoppers are learned from."""
WAITING_MAX = 4096
"""So many lists wait for what their shoppers turn to next; of more the oldest is forgotten."""
FACTOR_BOUNDS = (0.1, 10.0)
"""How far a part's weight may go from what the settings say, as a factor."""
STEEPNESS = 10.0
"""b at the start: a list's item with .1 more is turned to e times as often."""
STEP = 0.5
"""AdaGrad's learning rate."""


State = tuple[int, list[float], list[float]]


class PartWeights:
    """`in_force` WEIGHTS[1] is what lists are to be made with: the settings' weights, at first.

    Where it does not learn (`learns`, by the settings) it stays with them. It is state of the process as far as `state`
    goes; the lists that wait are not.
    """

    def __init__(self, settings: ListSettings) -> None:
        self._given = settings.weights()
        self.in_force = self._given.copy()
        self.learns = settings.learn_weights
        self._b: dict[Hashable, float] = dict.fromkeys(range(len(PARTS)), STEEPNESS)
        self._optimizer = optim.AdaGrad(STEP)
        self.learned_from = 0
        self._waiting: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    @property
    def factors(self) -> dict[str, float]:
        """What each part's weight is times that of the settings."""
        low, high = FACTOR_BOUNDS
        return {name: min(max(self._b[k] / self._b[CURRENT], low), high) for k, name in enumerate(PARTS)}

    def note(
        self, shard: int, rows: np.ndarray, beside: Beside, last: Last, remembered: np.ndarray, lists: Lists
    ) -> None:
        """Keep what some of the lists were made of, `lists` of shoppers `rows` int32[n] of a user shard."""
        wanted = np.flatnonzero((rows % SHOPPERS_PER_SAMPLE == 0) & (lists.counts > 1))
        if not self.learns or len(wanted) == 0:
            return
        parts = np.empty((len(wanted), lists.items.shape[1], len(PARTS)), np.float32)
        parts_of(beside, last, self._given, remembered, lists, wanted, parts)
        for i, k in enumerate(wanted.tolist()):
            size, key = int(lists.counts[k]), (shard, int(rows[k]))
            self._waiting.pop(key, None)
            self._waiting[key] = lists.items[k, :size].copy(), parts[i, :size]
        while len(self._waiting) > WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]

    def learn(self, shard: int, rows: np.ndarray, items: np.ndarray) -> None:
        """Shoppers `rows` int32[n] of a user shard turned to `items` uint64[n]: each judged by the list before it."""
        wanted = np.flatnonzero(rows % SHOPPERS_PER_SAMPLE == 0) if self._waiting else ()
        learned = False
        for k in wanted:
            listed, parts = self._waiting.pop((shard, int(rows[k])), (None, None))
            if listed is None or parts is None:
                continue
            at = np.flatnonzero(listed == items[k])
            if len(at):
                self._learn_one(parts.astype(np.float64), int(at[0]))
                learned = True
        if learned:
            self._apply()

    def state(self) -> State:
        """What `take_up` takes: lists learned from, b, and the sums of AdaGrad."""
        return (
            self.learned_from,
            [self._b[k] for k in range(len(PARTS))],
            [self._optimizer.g2[k] for k in range(len(PARTS))],
        )

    def take_up(self, state: State) -> None:
        """Go on from what a shard's snapshot kept, unless more than that is known already."""
        learned_from, b, sums = state
        if self.learns and learned_from > self.learned_from:
            self.learned_from = learned_from
            self._b = dict(enumerate(b))
            self._optimizer.g2.update(enumerate(sums))
            self._apply()

    def _learn_one(self, parts: np.ndarray, chosen: int) -> None:
        b = np.array([self._b[k] for k in range(len(PARTS))])
        steep = parts @ b
        shares = np.exp(steep - steep.max())
        gradient = (shares / shares.sum()) @ parts - parts[chosen]
        self._optimizer.step(self._b, dict(enumerate(gradient.tolist())))
        least = STEEPNESS / 1000  # below 0 a part would speak against what it points to
        self._b = {part: max(value, least) for part, value in self._b.items()}
        self.learned_from += 1

    def _apply(self) -> None:
        _, earlier, second_step, coming_back = self.factors.values()
        self.in_force["slots"][:, 1:] = self._given["slots"][:, 1:] * earlier
        self.in_force["second_step"] = self._given["second_step"] * second_step
        self.in_force["returns"] = self._given["returns"] * coming_back
