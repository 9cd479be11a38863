"""The tables of one shard's shoppers: finding rows, making room, and the way to the cold tier and back."""

from __future__ import annotations

import numpy as np

from operators.cold_tier import NEVER, ColdTier
from operators.kernels import freeze as frozen
from operators.kernels.placing import place
from operators.kernels.slabs import Slab, Slabs, slab_of
from operators.kernels.sweep import look_again
from state.batches import EVENT
from state.cold_store import ColdStore
from state.profile_table import CELLS_A_CHUNK, ID_CHUNK, RULES_MAX, SLABS, TABLES, UNAVAILABLE
from state.spans import gather_spans
from state.table import HashIndex, Table

_ID_GARBAGE_MIN = 256
CELL_CHUNKS_A_ROW = 5
"""Chunks that one EVENT row may begin: fourteen cells in two chains."""

LEAVE_SHARE = 8
"""When there are too many, at least so much of those in memory leaves at once: one in eight; one in eight stays."""

OF_THE_SHOP = ("values", "prices", "facts")
"""Slabs that no shopper's leaving makes smaller: the budget is not theirs."""


class ProfileStore:
    """Rows of shoppers by id, the slabs they refer to, and the cold tier.

    `users_max` bounds the shoppers, those in the cold tier among them, `bytes_max` the bytes of their rows (0:
    no bound): past it the least recently seen leave for the cold tier. `due` and `change` int64[rows] say when a
    shopper is to be looked at next.
    """

    def __init__(self, users_max: int, bytes_max: int = 0, cold: ColdStore | None = None) -> None:
        self.tables = {name: Table(dtype, 1 if name == "shard" else 64) for name, dtype in TABLES.items()}
        self.tables["shard"].extend(1)
        self.cold = ColdTier(cold)
        self.tables["cold"] = self.cold.table
        self.profiles, self.sessions = self.tables["profiles"], self.tables["sessions"]
        self.ids, self.shard = self.tables["ids"], self.tables["shard"]
        self.index = HashIndex()
        self.values, self.facts = HashIndex(), HashIndex()
        self.place_of = np.full(64, -1, np.int32)
        self.due = np.zeros(64, np.int64)
        self.change = np.zeros(64, np.int64)
        self.rules = 0, 0
        """The bits of all rule segments, and their version."""
        self._users_max = users_max
        self._bytes_max = bytes_max if cold is not None else 0
        self._free = np.empty(0, np.int32)
        self._id_garbage = 0  # rows of the table of ids that no shopper's id lies in any more
        self._slabs: dict[str, Slab] = {}

    @property
    def users(self) -> int:
        """Shoppers, those in the cold tier among them."""
        return self.index.size + self.cold.size

    @property
    def nbytes_used(self) -> int:
        """Bytes of the shoppers' rows in memory, and of what is kept beside them."""
        heads = self.shard.rows["heads"][0]
        used = sum(
            (int(heads[k, 0]) - int(heads[k, 2])) * dtype.itemsize
            for k, (name, dtype) in enumerate(SLABS.items())
            if name not in OF_THE_SHOP
        )
        row = self.profiles.dtype.itemsize + self.sessions.dtype.itemsize + 20
        return used + self.index.size * row + self.ids.size * ID_CHUNK

    def restored(self) -> None:
        """Build indexes and the list of free rows from the loaded tables."""
        hashes = self.profiles.rows["hash"][: self.profiles.size]
        self.index.rebuild(hashes)
        self.values.rebuild(self.tables["values"].rows["hash"][: self.tables["values"].size])
        facts = self.tables["facts"].rows[: self.tables["facts"].size]
        self.facts.rebuild(facts["item"])
        self.shard.rows["facts_out"][0] = np.count_nonzero(facts["available"] == UNAVAILABLE)
        self._slabs = {}
        self._fit()
        self._free = np.flatnonzero(hashes == 0).astype(np.int32)
        self._id_garbage = self.ids.size - int(_chunks(self.profiles.rows["id_len"][: self.profiles.size]).sum())
        self.cold.restored()

    def look_at_all(self, now: int, limits: np.ndarray) -> None:
        """When every shopper in memory is to be looked at next."""
        who = np.arange(self.profiles.size, dtype=np.int32)
        profiles, sessions, slabs = self.slab("profiles"), self.slab("sessions"), self.slabs()
        look_again(profiles, sessions, slabs, who, len(who), now, limits, self.due, self.change)

    def slab(self, name: str) -> Slab:
        """A table as kernels see it; read anew after anything that may make it grow."""
        table, known = self.tables[name], self._slabs.get(name)
        if known is None or known.rows is not table.rows:
            heads = self.shard.rows["heads"][0]
            head = heads[list(SLABS).index(name)] if name in SLABS else None
            known = self._slabs[name] = slab_of(table, head)
        return known

    def slabs(self, **wanted: int) -> Slabs:
        """All slabs, with room for so many more rows of each."""
        for name, count in wanted.items():
            self.tables[name].reserve(count)
        return Slabs(*(self.slab(name) for name in SLABS))

    def settle(self) -> None:
        """After kernels have taken rows in use: let the tables know."""
        for name, begun in zip(SLABS, self.shard.rows["heads"][0, :, 0].tolist(), strict=True):
            table = self.tables[name]
            if begun > table.size:
                table.extend(begun - table.size)
        self.shard.dirty[0] = 1

    def find(self, rows: np.ndarray, buffer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows int32[n] of the shoppers of EVENT rows, made where they are new, fetched where they are in the cold
        tier; -1 where there is no room. And which rows came back from the cold tier."""
        n = len(rows)
        self.profiles.reserve(n)
        self.sessions.reserve(n)
        self.ids.reserve(int(_chunks(rows["user_len"]).sum()))
        self.index.reserve(n)
        found, made = np.empty(n, np.int32), np.empty(n, np.int32)
        room, known = self._users_max - self.users, np.zeros(n, np.uint8)
        if room < n and self.cold.size and (store := self.cold.ready()):
            known[:] = store.has(rows["user"])
        size, id_rows, free_left, added = place(
            rows,
            buffer,
            self.index.slot_hashes,
            self.index.slot_rows,
            self.profiles.rows,
            self.ids.rows.view(np.uint8),
            self._free,
            self.profiles.size,
            room,
            known,
            self.ids.size,
            found,
            made,
        )
        grown = size - self.profiles.size
        self.profiles.extend(grown)
        self.sessions.extend(grown)
        self.ids.extend(id_rows - self.ids.size)
        self._free = self._free[:free_left]
        self.index.size += added
        self._fit()
        return found, self._thaw(made[:added])

    def give_up(self, gone: np.ndarray) -> None:
        """Give rows back whose shoppers are to be forgotten; all they referred to is given back already."""
        if len(gone) == 0:
            return
        self._drop_ids(self._id_rows(gone))
        self.profiles.words[gone] = 0
        self.profiles.dirty[gone] = 1
        self._free_rows(gone)

    def leave(self) -> np.ndarray:
        """If there is too much in memory: the least recently seen go to the cold tier. uint64[k, 2]: hash and row."""
        nothing = np.empty((0, 2), np.uint64)
        store = self.cold.ready() if self._bytes_max else None
        used_bytes = self.nbytes_used
        if store is None or used_bytes <= self._bytes_max:
            return nothing
        rows = np.flatnonzero(self.profiles.rows["hash"][: self.profiles.size])
        few, most = len(rows) // LEAVE_SHARE, len(rows) - len(rows) // LEAVE_SHARE
        count = min(max(few, int(len(rows) * (1 - self._bytes_max / used_bytes))), most) if few else 0
        if count == 0:
            return nothing
        seen = self.profiles.rows["event_ts"][rows]
        leaving = np.sort(rows[np.argpartition(seen, count - 1)[:count]]).astype(np.int32)
        hashes = self.profiles.rows["hash"][leaving].copy()
        cells = self.slab("cells")
        room = len(leaving) * frozen.ROOM + 2 * CELLS_A_CHUNK * int(cells.head[0] - cells.head[2])
        words, starts = np.empty(room, np.uint64), np.empty(len(leaving) + 1, np.int64)
        dues = self.due[leaving].copy()
        id_rows = self._id_rows(leaving)
        used = frozen.freeze(
            self.slab("profiles"),
            self.slab("sessions"),
            self.slabs(),
            self.ids.rows.view(np.uint8),
            leaving,
            starts,
            words,
        )
        store.put(hashes, dues, starts, words[:used])
        self._drop_ids(id_rows)
        self._free_rows(leaving)
        self.settle()
        return np.stack([hashes, leaving.astype(np.uint64)], axis=1)

    def fetch_due(self, watermark: int, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Bring those back from the cold tier who are to be looked at: their rows."""
        store = self.cold.ready() if self.cold.size else None
        none = np.empty(0, np.int32)
        hashes = store.due(watermark, most) if store else none
        if store is None or len(hashes) == 0:
            return none, none
        _, starts, words = store.peek(hashes)
        return self.find(*_as_events(hashes, starts, words))

    def adopt(self, hashes: np.ndarray, starts: np.ndarray, words: np.ndarray) -> None:
        """Take packed shoppers in who have no row yet."""
        known = self.index.find(hashes) >= 0
        events, buffer = _as_events(hashes, starts, words)
        rows, _ = self.find(events, buffer)
        new = np.flatnonzero(~known)
        self._unpack(rows[new], starts[new], words)

    def id_of(self, row: int) -> bytes:
        """The id of the shopper of a row."""
        at = int(self.profiles.rows["id_chunk"][row])
        length = int(self.profiles.rows["id_len"][row])
        return self.ids.rows["bytes"][at : at + -(-length // ID_CHUNK)].tobytes()[:length]

    def _thaw(self, made: np.ndarray) -> np.ndarray:
        """Fill new rows of shoppers who are in the cold tier; which rows those are."""
        store = self.cold.ready() if self.cold.size and len(made) else None
        none: np.ndarray = made[:0]
        if store is None:
            return none
        hashes = self.profiles.rows["hash"][made]
        known = store.has(hashes)
        rows: np.ndarray = made[known]
        hashes = hashes[known]
        if len(rows) == 0:
            return none
        _, starts, words = store.peek(hashes)
        same = [self.id_of(r) == frozen.frozen_id(words, at) for r, at in zip(rows, starts.tolist(), strict=False)]
        if not all(same):  # another id of the same hash: it stays where it is
            rows, hashes = rows[same], hashes[same]
        _, starts, words = store.take(hashes)
        self._unpack(rows, starts[:-1], words)
        return rows

    def _unpack(self, rows: np.ndarray, starts: np.ndarray, words: np.ndarray) -> None:
        n = len(rows)
        slabs = self.slabs(
            cells=len(words) // 2 + 3 * n, decisions=2 * n, carts=4 * n, attributes=n, pending=n, rule_states=n
        )
        frozen.thaw(self.slab("profiles"), self.slab("sessions"), slabs, words, np.ascontiguousarray(starts), rows)
        self.settle()
        self.renew_rules(rows)

    def renew_rules(self, rows: np.ndarray) -> None:
        """Have shoppers asked anew who were last asked by other rules, and leave the segments that are gone."""
        mask, version = self.rules
        table = self.profiles
        stale = rows[(table.rows["rules_version"][rows] != version) & (table.rows["hash"][rows] > 0)]
        if len(stale) == 0:
            return
        now = np.maximum(table.rows["event_ts"][stale], max(int(self.shard.rows["watermark_ts"][0]), 1))
        asked = (table.rows["events"][stale] > 0) & (table.rows["refused"][stale] == 0) & (mask > 0)
        gone = table.rows["rules"][stale] & ~np.uint64(mask)
        for bit in range(RULES_MAX if gone.any() else 0):
            self.shard.rows["members"][0, bit] -= np.count_nonzero(gone >> np.uint64(bit) & np.uint64(1))
        table.rows["rules"][stale] &= np.uint64(mask)
        table.rows["crossing"][stale] = np.where(asked, now, 0)
        table.rows["rules_version"][stale] = version
        table.dirty[stale] = 1

    def _fit(self) -> None:
        """Columns beside the table are as long as it is."""
        n = len(self.profiles.rows)
        if len(self.place_of) < n:
            more = n - len(self.place_of)
            self.place_of = np.concatenate([self.place_of, np.full(more, -1, np.int32)])
            self.due = np.concatenate([self.due, np.zeros(more, np.int64)])
            self.change = np.concatenate([self.change, np.zeros(more, np.int64)])

    def _id_rows(self, rows: np.ndarray) -> np.ndarray:
        """The rows of the table of ids that the ids of some shoppers lie in."""
        counts = _chunks(self.profiles.rows["id_len"][rows])
        before = np.cumsum(counts) - counts
        first = self.profiles.rows["id_chunk"][rows]
        taken: np.ndarray = np.arange(int(counts.sum())) + np.repeat(first - before, counts)
        return taken

    def _drop_ids(self, id_rows: np.ndarray) -> None:
        self.ids.rows["bytes"][id_rows] = 0
        self.ids.dirty[id_rows] = 1
        self._id_garbage += len(id_rows)

    def _free_rows(self, gone: np.ndarray) -> None:
        self.index.rebuild(self.profiles.rows["hash"][: self.profiles.size])
        self._free = np.sort(np.concatenate([self._free, gone])).astype(np.int32)
        self.due[gone] = self.change[gone] = NEVER
        if self._id_garbage > max(_ID_GARBAGE_MIN, self.ids.size // 2):
            self._compact_ids()

    def _compact_ids(self) -> None:
        """Lay the ids of the living behind one another, in the order of their rows."""
        rows = np.flatnonzero(self.profiles.rows["hash"][: self.profiles.size])
        counts = _chunks(self.profiles.rows["id_len"][rows])
        kept, starts = gather_spans(self.ids.rows["bytes"], self.profiles.rows["id_chunk"][rows], counts)
        self.ids.resize(len(kept))
        self.ids.rows["bytes"][: self.ids.size] = kept
        self.ids.dirty[: self.ids.size] = 1
        self.profiles.rows["id_chunk"][rows] = starts
        self.profiles.dirty[rows] = 1
        self._id_garbage = 0


def _chunks(lengths: np.ndarray) -> np.ndarray:
    """Rows of the table of ids that ids of these lengths take."""
    chunks: np.ndarray = (lengths + ID_CHUNK - 1) // ID_CHUNK
    return chunks


def _as_events(hashes: np.ndarray, starts: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """EVENT rows that name packed shoppers, and the buffer of their ids."""
    ids = [frozen.frozen_id(words, at) for at in starts[:-1].tolist()]
    rows = np.zeros(len(ids), EVENT)
    rows["user"] = hashes
    rows["user_len"] = [len(i) for i in ids]
    rows["user_at"] = np.cumsum(rows["user_len"]) - rows["user_len"]
    return rows, np.frombuffer(b"".join(ids), np.uint8)
