"""The profile step: what every shopper of a user shard did, in windows, and what the steps behind it need to know.

In: event batches of one user shard. Out: for each a profile batch (a row for each shopper who acted, and for a slice of
those who did not), and dead letters for shoppers who withdrew their consent. It emits at every call. It keeps a row a
shopper (`state.profile_table`), bounded by `users_max`, and finds duplicates among each shopper's last 8 event ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog

from operators.kernels import profile as kernels
from operators.kernels.features import describe
from operators.kernels.neighbours import PAIRS_PER_ACT_MAX
from operators.kernels.placing import place
from operators.kernels.ranking import RECENT_FETCHED
from operators.visits import count_item_shards
from state.batches import (
    ACT,
    FETCH,
    PAIR,
    PROFILE,
    TOUCH,
    DeadLetter,
    DeadLetters,
    EventBatch,
    ProfileBatch,
    Receipt,
    Samples,
    gather_spans,
)
from state.features import DIMENSIONS
from state.metrics import OTHER_STREAM, STREAMS, Metrics
from state.profile_table import ID_CHUNK, ID_ROW, PROFILE_ROW, SHARD_ROW
from state.shop_clock import utc_offsets
from state.table import HashIndex, Table

log = structlog.get_logger(__name__)

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
SWEPT_ROWS_MIN = 4
SWEPT_SAMPLES_MAX = 4096
_ID_GARBAGE_MIN = 256


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How the profile step counts.

    `users_max` bounds the rows of a shard; once in `sample_every` events the shopper who acts becomes a sample: for the
    segments at once, for the propensities when their decision is closed; a call also looks at a slice of the others, a
    quarter as many as it has events, but at least SWEPT_ROWS_MIN and at most `sweep_rows`.
    """

    item_shards: int = 16
    users_max: int = 2_000_000
    session_gap_ms: int = 30 * 60_000
    purchase_horizon_ms: int = DAY_MS
    churn_horizon_ms: int = 14 * DAY_MS
    category_half_life_ms: int = 14 * DAY_MS
    sample_every: int = 16
    sweep_rows: int = 64
    timezone: str = "UTC"


class Profiles:
    """One user shard's profiles."""

    def __init__(
        self, shard: int, settings: ProfileSettings, metrics: Metrics, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._stopping = stopping
        self.shard = shard
        self.settings = settings
        self.tables = {"profiles": Table(PROFILE_ROW), "ids": Table(ID_ROW), "shard": Table(SHARD_ROW, 1)}
        self.tables["shard"].extend(1)
        self._metrics = metrics
        self._index = HashIndex()
        self._free = np.empty(0, np.int32)
        self._id_garbage = 0  # rows of the table of ids that no shopper's id lies in any more
        self._place_of = np.full(64, -1, np.int32)
        self._zone = utc_offsets(settings.timezone)
        self._limits = np.array(
            [
                settings.session_gap_ms,
                settings.purchase_horizon_ms,
                settings.churn_horizon_ms,
                settings.category_half_life_ms,
                settings.sample_every,
            ],
            np.int64,
        )
        self._sequence = 0
        self._told_of_no_room = False
        self._outcomes = {
            stream: [metrics.events.labels(stream, outcome) for outcome in ("accepted", "duplicate", "rejected")]
            for stream in (*STREAMS, OTHER_STREAM)
        }

    @property
    def users(self) -> int:
        """Shoppers in the table."""
        return self._index.size

    def restored(self) -> None:
        """Build the index and the list of free rows from the loaded table."""
        table = self.tables["profiles"]
        hashes = table.rows["hash"][: table.size]
        self._index.rebuild(hashes)
        self._place_of = np.full(len(table.rows), -1, np.int32)
        self._free = np.flatnonzero(hashes == 0).astype(np.int32)
        self._id_garbage = self.tables["ids"].size - int(_chunks(table.rows["id_len"][: table.size]).sum())

    def process(self, values: list[EventBatch]) -> list[ProfileBatch | DeadLetters]:
        """Take batches in; of each a ProfileBatch, and DeadLetters where events were refused."""
        out: list[ProfileBatch | DeadLetters] = []
        for batch in values:
            out += self._take_in(batch)
        return out

    def finish(self) -> list[ProfileBatch]:
        """At the end of input every shopper is looked at once more, so that no record lags behind the models known by
        then; not when the worker is asked to stop, for it has little time."""
        if self._stopping():
            return []
        table = self.tables["profiles"]
        out = []
        for begin in range(0, table.size, 4096):
            workspace = _Workspace(0, 4096)
            out.append(
                self._describe(workspace, 0, begin, min(begin + 4096, table.size), Receipt(_NO_TIMES, _NO_STAMPS, {}))
            )
        return [batch for batch in out if len(batch)]

    def _take_in(self, batch: EventBatch) -> list[ProfileBatch | DeadLetters]:
        n = len(batch)
        rows = self._place(batch)
        table, shard = self.tables["profiles"], self.tables["shard"]
        swept = min(max(n // 4, SWEPT_ROWS_MIN), self.settings.sweep_rows)
        w = _Workspace(n, swept)
        places, w.n_acts, w.n_pairs, w.n_touches, w.n_samples, w.n_purchases, w.n_churns = kernels.take_in(
            batch.rows,
            rows,
            table.rows,
            table.words,
            table.dirty,
            shard.rows,
            self._zone,
            self._limits,
            kernels.MEASURE_OF,
            self._place_of,
            w.who,
            w.flags,
            w.status,
            w.acts,
            w.pairs,
            w.touches,
            w.samples,
            w.purchases,
            w.churns,
        )
        shard.dirty[0] = 1
        receipt = self._receipt(batch, w.status)
        begin = int(shard.rows["sweep_at"][0])
        begin = 0 if begin >= table.size else begin
        end = min(begin + swept, table.size)
        shard.rows["sweep_at"][0] = end
        out: list[ProfileBatch | DeadLetters] = [self._describe(w, places, begin, end, receipt)]
        self._free_erased(w, places)
        refused = np.flatnonzero((w.status[:n] == kernels.REFUSED) & (batch.rows["head"] == 1))
        if len(refused):
            out.append(DeadLetters([_refusal(batch, int(i)) for i in refused]))
        return out

    def _place(self, batch: EventBatch) -> np.ndarray:
        """Rows of the batch's shoppers, made where they are new; -1 where there is no room left."""
        n = len(batch)
        table, ids = self.tables["profiles"], self.tables["ids"]
        table.reserve(n)
        ids.reserve(int(_chunks(batch.rows["user_len"]).sum()))
        self._index.reserve(n)
        rows = np.empty(n, np.int32)
        size, id_rows, free_left, added = place(
            batch.rows,
            batch.buffer,
            self._index.slot_hashes,
            self._index.slot_rows,
            table.rows,
            ids.rows.view(np.uint8),
            self._free,
            table.size,
            self.settings.users_max,
            ids.size,
            rows,
        )
        table.extend(size - table.size)
        ids.extend(id_rows - ids.size)
        self._free = self._free[:free_left]
        self._index.size += added
        if len(self._place_of) < len(table.rows):
            self._place_of = np.full(len(table.rows), -1, np.int32)
        return rows

    def _describe(self, w: _Workspace, acted: int, begin: int, end: int, receipt: Receipt) -> ProfileBatch:
        """Sweep rows[begin:end] and put together the batch of all shoppers acted or swept."""
        table = self.tables["profiles"]
        now = int(self.tables["shard"].rows["watermark_ts"][0])
        tail_p = tuple(a[w.n_purchases :] for a in w.purchases)
        tail_c = tuple(a[w.n_churns :] for a in w.churns)
        places, n_purchases, n_churns = kernels.sweep(
            table.rows, table.dirty, begin, end, now, self._limits, self._place_of, w.who, acted, tail_p, tail_c
        )
        out = np.zeros(places, PROFILE)
        id_bytes = np.empty(int(table.rows["id_len"][w.who[:places]].sum()), np.uint8)
        fetches = np.zeros(acted * RECENT_FETCHED, FETCH)
        ids = self.tables["ids"].rows.view(np.uint8)
        _, n_fetches = describe(
            table.rows, ids, w.who, places, w.flags, acted, now, out, id_bytes, fetches, RECENT_FETCHED
        )
        self._place_of[w.who[:places]] = -1
        fetches = fetches[:n_fetches]
        self._sequence += 1
        return ProfileBatch(
            shard=self.shard,
            sequence=self._sequence,
            rows=out,
            ids=id_bytes,
            acts=w.acts[: w.n_acts],
            pairs=w.pairs[: w.n_pairs],
            touches=w.touches[: w.n_touches],
            fetches=fetches,
            samples=[
                *_samples("segments", w.samples, w.n_samples),
                *_samples("purchase", w.purchases, w.n_purchases + n_purchases),
                *_samples("churn", w.churns, w.n_churns + n_churns),
            ],
            receipt=receipt,
            item_shards=count_item_shards(fetches["item"], self.settings.item_shards),
            watermark_ts=now,
        )

    def _receipt(self, batch: EventBatch, status: np.ndarray) -> Receipt:
        """Count what became of the events, and note when those taken in were read."""
        head = batch.rows["head"] == 1
        fate = np.bincount(status[: len(batch)][head], minlength=5)
        taken_in, duplicate, rejected = self._outcomes[self._metrics.stream_of(batch.source)]
        taken_in.inc(int(fate[kernels.TAKEN] + fate[kernels.LATE]))
        if fate[kernels.DUPLICATE]:
            self._metrics.duplicates.inc(int(fate[kernels.DUPLICATE]))
            duplicate.inc(int(fate[kernels.DUPLICATE]))
        if fate[kernels.REFUSED]:
            self._metrics.dead_letters.labels("no_consent").inc(int(fate[kernels.REFUSED]))
            rejected.inc(int(fate[kernels.REFUSED]))
        if fate[kernels.LATE]:
            self._metrics.late_events.inc(int(fate[kernels.LATE]))
        if fate[kernels.NO_ROOM]:
            if not self._told_of_no_room:
                self._told_of_no_room = True
                log.error(
                    "no room for further shoppers; events of new ones are refused and counted",
                    step="profiles",
                    shard=self.shard,
                    users_max=self.settings.users_max,
                    remedy="raise worker.users_max",
                )
            self._metrics.evictions.labels("users").inc(int(fate[kernels.NO_ROOM]))
            rejected.inc(int(fate[kernels.NO_ROOM]))
        taken = head & ((status[: len(batch)] == kernels.TAKEN) | (status[: len(batch)] == kernels.LATE))
        return Receipt(batch.rows["read_at"][taken], batch.rows["ts"][taken], {batch.origin: int(head.sum())})

    def _free_erased(self, w: _Workspace, places: int) -> None:
        """Give back the rows of shoppers who asked to be forgotten (and did not act again since)."""
        gone = w.who[:places][(w.flags[:places, 2] == 1) & (w.flags[:places, 0] == 0)]
        if len(gone) == 0:
            return
        table, ids = self.tables["profiles"], self.tables["ids"]
        for row in gone.tolist():
            first, length = int(table.rows["id_chunk"][row]), int(table.rows["id_len"][row])
            last = first + -(-length // ID_CHUNK)
            ids.rows["bytes"][first:last] = 0
            ids.dirty[first:last] = 1
            self._id_garbage += last - first
            table.words[row] = 0
            table.dirty[row] = 1
        if self._id_garbage > max(_ID_GARBAGE_MIN, ids.size // 2):
            self._compact_ids()
        self._index.rebuild(table.rows["hash"][: table.size])
        self._free = np.sort(np.concatenate([self._free, gone])).astype(np.int32)

    def _compact_ids(self) -> None:
        """Lay the ids of the living behind one another, in the order of their rows."""
        table, ids = self.tables["profiles"], self.tables["ids"]
        rows = np.flatnonzero(table.rows["hash"][: table.size])
        counts = _chunks(table.rows["id_len"][rows])
        bytes_kept, starts = gather_spans(ids.rows["bytes"], table.rows["id_chunk"][rows], counts)
        ids.resize(len(bytes_kept))
        ids.rows["bytes"][: ids.size] = bytes_kept
        ids.dirty[: ids.size] = 1
        table.rows["id_chunk"][rows] = starts
        table.dirty[rows] = 1
        self._id_garbage = 0


class _Workspace:
    """The arrays one call writes into; a batch of n events touches at most n shoppers, and sweeps some more."""

    def __init__(self, n: int, swept: int) -> None:
        self.who = np.empty(n + swept, np.int32)
        self.flags = np.zeros((max(n, 1), 3), np.int32)
        self.status = np.empty(n, np.uint8)
        self.acts = np.zeros(n, ACT)
        self.pairs = np.zeros(n * PAIRS_PER_ACT_MAX, PAIR)
        self.touches = np.zeros(n, TOUCH)
        self.samples = _sample_arrays(n)
        self.purchases = _sample_arrays(2 * n + min(swept, SWEPT_SAMPLES_MAX))  # an order may close a decision twice
        self.churns = _sample_arrays(n + min(swept, SWEPT_SAMPLES_MAX))
        self.n_acts = self.n_pairs = self.n_touches = 0
        self.n_samples = self.n_purchases = self.n_churns = 0


def _chunks(lengths: np.ndarray) -> np.ndarray:
    """Rows of the table of ids that ids of these lengths take."""
    chunks: np.ndarray = (lengths + ID_CHUNK - 1) // ID_CHUNK
    return chunks


_NO_TIMES = np.empty(0, np.float64)
_NO_STAMPS = np.empty(0, np.int64)


def _sample_arrays(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty((n, DIMENSIONS), np.float32), np.zeros(n, np.uint8), np.empty(n, np.int64)


def _samples(model: str, arrays: tuple[np.ndarray, np.ndarray, np.ndarray], n: int) -> list[Samples]:
    x, y, ts = arrays
    return [Samples(model, x[:n], y[:n] if model != "segments" else y[:0], ts[:n])] if n else []


def _refusal(batch: EventBatch, i: int) -> DeadLetter:
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
