"""What one call of the profile step takes in, the arrays it writes into, and what becomes of its samples."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from operators.contexts import NO_DEVICES
from operators.kernels.baskets import basket_pairs, count_basket_pairs
from operators.kernels.neighbours import PAIRS_PER_ACT_MAX
from operators.profile_settings import DAY_MS
from state.batches import ACT, PAIR, TOUCH, TRANSITION, DeadLetter, EventBatch
from state.features import DIMENSIONS
from state.marks import MARK
from state.samples import Samples


class Workspace:
    """The arrays one call writes into; a batch of n events touches at most n shoppers, and looks at some more.

    `closed` rows are looked at before the events are taken in.
    """

    changes: np.ndarray
    """TRANSITION rows: triggers, and rule segments entered and left, so far."""
    devices: np.ndarray
    """uint64: of the first places the devices that events told, where contexts are asked for"""

    def __init__(self, n: int, looked_at: int, closed: int = 0) -> None:
        self.who = np.empty(n + looked_at, np.int32)
        self.flags = np.zeros((max(n + looked_at, 1), 3), np.int32)
        self.status = np.empty(n, np.uint8)
        self.acts = np.zeros(n, ACT)
        self.pairs = np.zeros(n * PAIRS_PER_ACT_MAX, PAIR)
        self.baskets = np.empty(0, PAIR)
        self.touches = np.zeros(n, TOUCH)
        self.marks = np.empty(n, MARK)
        self.samples = _sample_arrays(n)
        self.purchases = _sample_arrays(2 * n + closed)  # an order may close a decision twice
        self.churns = _sample_arrays(n + closed)
        self.changes = np.empty(0, TRANSITION)
        self.devices = NO_DEVICES
        self.n_acts = self.n_pairs = self.n_touches = self.n_marks = 0
        self.n_samples = self.n_purchases = self.n_churns = 0

    def make_room(self, places: int) -> None:
        """Make room for more shoppers to be looked at."""
        more = places - len(self.who)
        if more <= 0:
            return
        self.who = np.concatenate([self.who, np.empty(more, np.int32)])
        self.flags = np.concatenate([self.flags, np.zeros((more, 3), np.int32)])

    def changed(self, more: np.ndarray) -> None:
        """Take TRANSITION rows in, behind those before."""
        if len(more):
            self.changes = np.concatenate([self.changes, more])

    def room_for_closing(self, rows: int) -> None:
        """Make room for a decision of each model of each row looked at."""
        self.purchases = _longer(self.purchases, self.n_purchases + rows)
        self.churns = _longer(self.churns, self.n_churns + rows)


SampleArrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Features, outcomes, times of the decisions, times at which the outcomes were known."""


def _sample_arrays(n: int) -> SampleArrays:
    return np.empty((n, DIMENSIONS), np.float32), np.zeros(n, np.uint8), np.empty(n, np.int64), np.empty(n, np.int64)


def _longer(arrays: SampleArrays, n: int) -> SampleArrays:
    if len(arrays[0]) >= n:
        return arrays
    longer = _sample_arrays(n)
    for old, new in zip(arrays, longer, strict=True):
        new[: len(old)] = old
    return longer


def samples_of(model: str, arrays: SampleArrays, n: int) -> list[Samples]:
    """A model's samples, as they were found; for the segments without outcomes."""
    if n == 0:
        return []
    x, y, ts, known_ts = (a[:n] for a in arrays)
    return [Samples(model, x, y if model != "segments" else y[:0], ts, known_ts)]


def baskets_of(events: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """PAIR rows of what was bought together in the orders among EVENT rows, of those that were taken in, bool[n]."""
    pairs = np.empty(count_basket_pairs(events, taken), PAIR)
    if len(pairs):
        basket_pairs(events, taken, pairs)
    return pairs


def pieces_of(batch: EventBatch) -> list[EventBatch]:
    """A batch in pieces that span no more than a day of event time each: the watermark follows, and few triggers of a
    shopper have to wait for it, however small the shop."""
    newest = np.maximum.accumulate(batch.rows["ts"])
    if len(batch) == 0 or newest[-1] - newest[0] <= DAY_MS:
        return [batch]
    days = (newest - newest[0]) // DAY_MS
    cuts = np.flatnonzero((np.diff(days) > 0) & (batch.rows["head"][1:] == 1)) + 1
    bounds = [0, *cuts.tolist(), len(batch)]
    last = len(bounds) - 2
    return [
        replace(batch, rows=batch.rows[a:b], newest_ts=batch.newest_ts if k == last else int(newest[b - 1]))
        for k, (a, b) in enumerate(pairwise(bounds))
    ]


def no_consent(batch: EventBatch, i: int) -> DeadLetter:
    """A dead letter for an event whose shopper withdrew consent, without the record, for it may not be kept."""
    return DeadLetter(
        reason="no_consent",
        path="user_id",
        detail="the shopper has withdrawn consent; the record is not kept",
        source=batch.source,
        partition=batch.partition,
        offset=int(batch.rows["offset"][i]),
        raw=b"",
    )
