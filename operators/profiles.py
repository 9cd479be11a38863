"""The profile step: what every shopper of a user shard did, and what the steps behind it need to know.

In: event batches of one user shard, and pulses of the input parts. Out: for each batch a profile batch (a row for each
shopper who acted, and for those whom the passing of time changed), and dead letters for shoppers who withdrew their
consent; pulses alone give a profile batch where there is something to say. What is kept of a shopper and what it means
is in docs/PROFILES.md, the tables in `state.profile_table`; bounds are `users_max` and `bytes_max`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import structlog

from operators.cold_tier import BACK, NEVER
from operators.contexts import Contexts
from operators.goods import Goods
from operators.kernels import profile as kernels
from operators.kernels.candidates import RECENT_FETCHED
from operators.kernels.features import describe
from operators.kernels.sweep import TRIGGERS_A_ROW, look_again, sweep
from operators.profile_rules import PlacedRules, ProfileRules
from operators.profile_settings import SWEPT_ROWS_MIN, ProfileSettings
from operators.profile_store import CELL_CHUNKS_A_ROW, ProfileStore
from operators.profile_workspace import Workspace, baskets_of, no_consent, pieces_of, samples_of
from operators.visits import count_item_shards
from operators.watermark import Watermark
from state.batches import (
    FETCH,
    ITEM,
    PROFILE,
    RULE,
    TRANSITION,
    TRIGGER,
    TRIGGERS,
    DeadLetters,
    EventBatch,
    ProfileBatch,
    Pulse,
    Receipt,
)
from state.cold_store import ColdStore
from state.metrics import OTHER_STREAM, STREAMS, Metrics
from state.shop_clock import utc_offsets

log = structlog.get_logger(__name__)

LOOKED_AT_MAX = 4096
"""Shoppers that are looked at in one go for what followed from absence."""

BROUGHT_BACK_MAX = LOOKED_AT_MAX // 2
"""Shoppers that are brought back from the cold tier for it in one go."""

CHANGES_AN_EVENT = 8
"""Room for so many changes of each rule an event, for time alone may change some between two; memory is not touched
before it is used. Past it changes in between are left out, counted, and the segments in the end are right."""

Out = list[ProfileBatch | DeadLetters]
_NOTHING = Receipt(np.empty(0, np.float64), np.empty(0, np.int64), {})


class Profiles:
    """One user shard's profiles.

    `cold` is where shoppers go for whom memory has no room; `parts` tells which input parts are being read (none: all
    that are heard of); `goods` is told what the shard hears of items.
    """

    def __init__(
        self,
        shard: int,
        settings: ProfileSettings,
        metrics: Metrics,
        stopping: Callable[[], bool] = lambda: False,
        cold: ColdStore | None = None,
        parts: Callable[[], frozenset[int]] = frozenset,
        rules: PlacedRules | None = None,
        goods: Goods | None = None,
    ) -> None:
        self.shard = shard
        self.settings = settings
        self.store = ProfileStore(settings.users_max, settings.bytes_max, cold)
        self.tables = self.store.tables
        self._goods = goods
        self._stopping = stopping
        self._parts = parts
        self._metrics = metrics
        self._watermark = Watermark()
        self._told_parts: dict[int, int] = {}
        self._zone = utc_offsets(settings.timezone)
        self._limits = settings.limits()
        placed = rules or PlacedRules.none()
        self._rules = ProfileRules(placed, settings)
        self.store.rules = placed.mask, placed.version
        self._told_tags = settings.told_tags()
        self._contexts = Contexts(settings)
        self._sequence = self._told_ts = 0
        self._told_of_no_room = False
        self._outcomes = {
            stream: [metrics.events.labels(stream, outcome) for outcome in ("accepted", "duplicate", "rejected")]
            for stream in (*STREAMS, OTHER_STREAM)
        }

    @property
    def users(self) -> int:
        """Shoppers it knows, those in the cold tier among them."""
        return self.store.users

    def restored(self) -> None:
        """Take up what follows from the loaded tables."""
        self.store.restored()
        parts = self.tables["parts"]
        known = {int(row["part"]): int(row["newest_ts"]) for row in parts.rows[: parts.size]}
        self._told_parts = dict(known)
        self._told_ts = now = int(self.store.shard.rows["watermark_ts"][0])
        self._watermark.restore(known, now)
        self.store.renew_rules(np.arange(self.store.profiles.size))
        self.store.look_at_all(now, self._limits)
        if self._goods is not None:
            self._goods.restore(self.tables["facts"].rows[: self.tables["facts"].size], self.shard == 0)

    def before_snapshot(self) -> None:
        """Bring the cold tier to the disk."""
        self.store.cold.before_snapshot()

    def process(self, values: list[EventBatch | Pulse]) -> Out:
        """Take batches in; of each a ProfileBatch, and DeadLetters where events were refused."""
        out: Out = []
        for value in values:
            if isinstance(value, Pulse):
                # In its turn: it tells of a time by which the events before it are taken in, and those alone.
                self._watermark.heard(value.part, value.newest_ts, value.idle_ms, value.ended)
            else:
                for piece in pieces_of(value):
                    out += self._take_in(piece)
        if not values or isinstance(values[-1], Pulse):
            out += self._look_around(SWEPT_ROWS_MIN)
        return [value for value in out if not isinstance(value, ProfileBatch) or _says_something(value)]

    def finish(self) -> Out:
        """At the end of input every shopper in memory is looked at once more, so that no record lags behind;
        not when the worker is asked to stop, for it has little time."""
        if self._stopping():
            return []
        out: Out = [*self._look_around(0)]
        for begin in range(0, self.store.profiles.size, LOOKED_AT_MAX):
            w = Workspace(0, LOOKED_AT_MAX)
            rows = np.arange(begin, min(begin + LOOKED_AT_MAX, self.store.profiles.size), dtype=np.int32)
            out.append(replace(self._describe(w, 0, rows, _NOTHING), last=True))
        return [batch for batch in out if isinstance(batch, ProfileBatch) and _says_something(batch)]

    def _take_in(self, batch: EventBatch) -> Out:
        n = len(batch)
        store = self.store
        rows, back = store.find(batch.rows, batch.buffer)
        n_told = int(np.count_nonzero(batch.rows["told"])) + 2 * n
        store.values.reserve(n_told)
        store.facts.reserve(n)
        over = self._lives_over(batch, rows)
        w = Workspace(n, max(n // 4, SWEPT_ROWS_MIN), len(over))
        begun_anew = self._sweep(w, over, int(batch.rows["ts"].max(initial=0)), 0)
        slabs = store.slabs(
            cells=(CELL_CHUNKS_A_ROW + self._rules.chunks_a_row) * n,
            decisions=2 * n,
            carts=2 * n,
            attributes=n,
            pending=n,
            rule_states=n,
            values=n_told,
            prices=n,
            facts=n,
        )
        found = np.zeros(4, np.int64)
        changes = np.empty((CHANGES_AN_EVENT * n + 1024) * self._rules.count, TRANSITION)
        counts = kernels.take_in(
            batch.rows,
            rows,
            store.slab("profiles"),
            store.slab("sessions"),
            slabs,
            store.shard.rows,
            self._zone,
            self._limits,
            (store.values.slot_hashes, store.values.slot_rows),
            (store.facts.slot_hashes, store.facts.slot_rows),
            self._told_tags,
            found,
            self._rules.of(store),
            begun_anew,
            store.place_of,
            w.who,
            w.flags,
            w.status,
            w.acts,
            w.pairs,
            w.touches,
            w.marks,
            w.samples,
            tuple(a[w.n_purchases :] for a in w.purchases),
            tuple(a[w.n_churns :] for a in w.churns),
            changes,
        )
        places, w.n_acts, w.n_pairs, w.n_touches, w.n_marks, w.n_samples, n_purchases, n_churns, n_changes = counts
        w.n_purchases += n_purchases
        w.n_churns += n_churns
        w.changed(changes[:n_changes])
        store.settle()
        w.changed(self._rules.settle(store, w.who[:places]))
        w.flags[store.place_of[back], 1] = BACK
        w.devices = self._contexts.devices(batch.rows, rows, w.status, store.place_of)
        self._count_found(found)
        w.baskets = baskets_of(batch.rows, (w.status == kernels.TAKEN) | (w.status == kernels.LATE))
        self._tell_goods(batch, w)
        self._hear(batch)
        out: Out = [*self._look_around(len(w.who) - n, w, places, self._receipt(batch, w.status))]
        refused = np.flatnonzero((w.status[:n] == kernels.REFUSED) & (batch.rows["head"] == 1))
        if len(refused):
            out.append(DeadLetters([no_consent(batch, int(i)) for i in refused]))
        return out

    def _lives_over(self, batch: EventBatch, rows: np.ndarray) -> np.ndarray:
        """Rows int32[k] of shoppers who come back after the end of their rows' lives, which the watermark has not told
        yet: they begin anew. (A batch spans less than a day, and no life is shorter.)"""
        known = np.flatnonzero(rows >= 0)
        newest = self.store.profiles.rows["event_ts"][rows[known]]
        over = (newest > 0) & (newest + self.settings.inactivity_ttl_ms <= batch.rows["ts"][known])
        if not over.any():
            return np.empty(0, np.int32)
        first = np.unique(rows[known], return_index=True)[1]  # a late event before it would have kept the row alive
        return np.asarray(rows[known[first[over[first]]]], np.int32)

    def _tell_goods(self, batch: EventBatch, w: Workspace) -> None:
        """Tell the goods of the process what was heard of items."""
        if self._goods is not None:
            if (batch.rows["kind"] == ITEM).any():
                self._goods.hear(batch.rows, self.shard == 0)
            self._goods.hear_acts(w.touches[: w.n_touches])

    def _hear(self, batch: EventBatch) -> None:
        """Note how far the batch's part of the input is."""
        newest = batch.newest_ts or int(batch.rows["ts"].max(initial=0))
        self._watermark.heard(batch.part, newest)
        if newest > self._told_parts.get(batch.part, 0):
            self._told_parts[batch.part] = newest
            parts = self.tables["parts"]
            at = np.flatnonzero(parts.rows["part"][: parts.size] == batch.part)
            row = int(at[0]) if len(at) else parts.extend(1)
            parts.rows[row] = (batch.part, newest)
            parts.dirty[row] = 1

    def _look_around(
        self, most: int, w: Workspace | None = None, acted: int = 0, receipt: Receipt | None = None
    ) -> list[ProfileBatch]:
        """See what follows from how far the watermark is: of the shoppers who acted (the first places of `w`), of all
        where something is due, and of up to `most` of those whose windows have changed."""
        store = self.store
        watermark = self._watermark.value(self._parts())
        store.shard.rows["watermark_ts"][0] = watermark
        store.shard.dirty[0] = 1
        out = []
        due, back = self._due(watermark)
        changed = self._changed(watermark, most)
        w = w or Workspace(0, len(due) + len(changed))
        w.make_room(acted + len(due) + len(changed))
        looked_at = np.concatenate([w.who[:acted], due, changed])
        out.append(self._describe(w, acted, looked_at, receipt or _NOTHING, back))
        while len(due) >= LOOKED_AT_MAX or len(back) >= BROUGHT_BACK_MAX:  # there may be more
            due, back = self._due(watermark)
            out.append(self._describe(Workspace(0, len(due)), 0, due, _NOTHING, back))
        if watermark > self._told_ts:  # not before the last batch: the others may lack samples known before it
            out[-1].told_ts = self._told_ts = watermark
        out[-1].left = store.leave()
        if len(out[-1].left):
            self._metrics.evictions.labels("profiles").inc(len(out[-1].left))
        return out

    def _due(self, watermark: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of shoppers where something is due, and which of them came back from the cold tier for it."""
        store = self.store
        back, _ = store.fetch_due(watermark, BROUGHT_BACK_MAX)
        due = np.flatnonzero(store.due[: store.profiles.size] <= watermark)[:LOOKED_AT_MAX].astype(np.int32)
        return np.union1d(due, back).astype(np.int32) if len(back) else due, back

    def _changed(self, watermark: int, most: int) -> np.ndarray:
        """Some of the rows whose windows have changed since they were looked at, in turn."""
        size, shard = self.store.profiles.size, self.store.shard.rows
        if most == 0 or size == 0:
            return np.empty(0, np.int32)
        changed = np.flatnonzero(self.store.change[:size] <= watermark)
        at = int(np.searchsorted(changed, shard["sweep_at"][0]))
        chosen = changed[at : at + most]
        if len(chosen) < most:
            chosen = np.concatenate([chosen, changed[: min(at, most - len(chosen))]])
        shard["sweep_at"][0] = int(chosen[-1]) + 1 if len(chosen) else 0
        return chosen.astype(np.int32)

    def _sweep(self, w: Workspace, looked_at: np.ndarray, until_ms: int, places: int) -> int:
        """Look at some rows as of a time: what follows goes to `w`, the rows behind its first `places`. The places."""
        if len(looked_at) == 0:
            return places
        store = self.store
        w.room_for_closing(len(looked_at))
        store.due[looked_at] = NEVER  # whoever is passed over is not to be looked at again
        found = np.empty(len(looked_at) * (TRIGGERS_A_ROW + self._rules.count), TRANSITION)
        places, n_purchases, n_churns, n_found = sweep(
            store.slab("profiles"),
            store.slab("sessions"),
            store.slabs(rule_states=len(looked_at)),
            looked_at,
            until_ms,
            self._limits,
            self._rules.of(store),
            store.place_of,
            w.who,
            w.flags,
            places,
            tuple(a[w.n_purchases :] for a in w.purchases),
            tuple(a[w.n_churns :] for a in w.churns),
            found,
        )
        w.n_purchases += n_purchases
        w.n_churns += n_churns
        w.changed(found[:n_found])
        store.settle()
        return int(places)

    def _describe(
        self, w: Workspace, acted: int, looked_at: np.ndarray, receipt: Receipt, back: np.ndarray | None = None
    ) -> ProfileBatch:
        """Look at some rows, and put together the batch of all shoppers acted or looked at."""
        store = self.store
        now = int(store.shard.rows["watermark_ts"][0])
        places = self._sweep(w, looked_at, now, acted)
        profiles, sessions, slabs = store.slab("profiles"), store.slab("sessions"), store.slabs()
        if back is not None and len(back):
            w.flags[store.place_of[back], 1] = BACK
        out = np.zeros(places, PROFILE)
        who = w.who[:places]
        id_bytes = np.empty(int(store.profiles.rows["id_len"][who].sum()), np.uint8)
        fetches = np.zeros(acted * RECENT_FETCHED, FETCH)
        ids = store.ids.rows.view(np.uint8)
        gap = self.settings.session_gap_ms
        _, n_fetches = describe(
            profiles, sessions, slabs.cells, slabs.values, ids, w.who, places, w.flags, acted, now, gap, out, id_bytes,
            fetches, RECENT_FETCHED,
        )  # fmt: skip
        self._contexts.describe(profiles, slabs.cells, slabs.values, who, w.devices, out)
        look_again(profiles, sessions, slabs, w.who, places, now, self._limits, store.due, store.change)
        store.place_of[who] = -1
        if w.flags[:places, 2].any():
            store.give_up(who[(w.flags[:places, 2] == 1) & (w.flags[:places, 0] == 0)])
        fetches = fetches[:n_fetches]
        self._count_changes(w.changes)
        self._sequence += 1
        return ProfileBatch(
            shard=self.shard,
            sequence=self._sequence,
            rows=out,
            ids=id_bytes,
            acts=w.acts[: w.n_acts],
            pairs=w.pairs[: w.n_pairs],
            baskets=w.baskets,
            touches=w.touches[: w.n_touches],
            marks=w.marks[: w.n_marks],
            fetches=fetches,
            samples=[
                *samples_of("segments", w.samples, w.n_samples),
                *samples_of("purchase", w.purchases, w.n_purchases),
                *samples_of("churn", w.churns, w.n_churns),
            ],
            receipt=receipt,
            item_shards=count_item_shards(fetches["item"], self.settings.item_shards),
            watermark_ts=now,
            changes=w.changes,
            members=store.shard.rows["members"][0].copy(),
        )

    def _count_changes(self, changes: np.ndarray) -> None:
        if len(changes) == 0:
            return
        triggers = changes["after"][changes["kind"] == TRIGGER]
        for kind, count in enumerate(np.bincount(triggers)):
            self._metrics.triggers.labels(TRIGGERS[kind]).inc(int(count))
        self._metrics.transitions.labels("trigger").inc(len(triggers))
        self._metrics.transitions.labels("rule").inc(int(np.count_nonzero(changes["kind"] == RULE)))

    def _count_found(self, found: np.ndarray) -> None:
        """Take note of values and facts that the kernel took in, and of what it had no room for."""
        self.store.values.size += int(found[0])
        self.store.facts.size += int(found[2])
        given_up, left_out = self.store.slab("pending").head, self.store.slab("rule_states").head
        items = found[3] * (self.shard == 0)  # every shard hears of every item
        counts = (("values", found[1]), ("catalogue", items), ("triggers", given_up[3]), ("rules", left_out[3]))
        for component, count in counts:
            if count:
                self._metrics.evictions.labels(component).inc(int(count))
        given_up[3] = left_out[3] = 0

    def _receipt(self, batch: EventBatch, status: np.ndarray) -> Receipt:
        """Count what became of the events, and note when those taken in were read."""
        head = (batch.rows["head"] == 1) & (batch.rows["kind"] != ITEM)
        fate = np.bincount(status[: len(batch)][head], minlength=6)
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
        return Receipt(
            batch.rows["read_at"][taken],
            batch.rows["ts"][taken],
            {batch.origin: events} if (events := int(head.sum())) else {},
        )


def _says_something(batch: ProfileBatch) -> bool:
    return bool(len(batch) or len(batch.left) or batch.receipt.done or batch.touches.size or batch.told_ts)
