"""Raw records into events by user shard: the first step of the path, without state that outlives the process.

In: RawBatch. Out: (user key, EventBatch) for each user shard that has events, (item key, VisitBatch) for the facts of
`item` events, (user key, Pulse) for shards that would not hear of an input part otherwise, and the DeadLetters of a
call. A compiled scanner takes the plain majority, the authority the rest; rows keep the order of the records. `item`
events go to every user shard, in their place among its events. Records that end here (dead letters, `item` events) are
closed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from operators.kernels.event_rows import HASHED, TEXTS, event_rows, hash_spans, put_hashes, split, split_rows
from operators.kernels.scan import SPANS, rows_max, scan, texts_max
from operators.kernels.told import TEXT
from operators.pulses import InputPart
from state.batches import (
    EVENT,
    ITEM,
    PAIR,
    REASONS,
    TOUCH,
    DeadLetter,
    DeadLetters,
    EventBatch,
    Pulse,
    RawBatch,
    VisitBatch,
    item_key,
    user_key,
)
from state.events import Authority, Event
from state.flow_control import FlowControl
from state.hashing import hash_text
from state.metrics import OTHER_STREAM, STREAMS, Metrics
from state.names import Names

RAW_BYTES_MAX = 4096
"""How much of a refused record its dead letter repeats."""

_LEARNT = [HASHED.index("item"), HASHED.index("category"), *range(len(HASHED), TEXTS)]
_USER_AT = EVENT.names.index("user_at")  # type: ignore[union-attr]

Decoded = tuple[str, EventBatch | VisitBatch | Pulse] | DeadLetters


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record may be: its bytes, its event time (epoch ms; seconds ahead of the clock), declared names."""

    bytes_max: int = 65_536
    oldest_ms: int = 631_152_000_000
    future_seconds_max: float = 600.0
    custom_names: frozenset[str] = frozenset()
    context_names: frozenset[str] = frozenset()

    def authority(self) -> Authority:
        """The authority that holds records to these limits."""
        return Authority(self.bytes_max, self.oldest_ms, self.custom_names, self.context_names)


@dataclass(slots=True)
class Taken:
    """What the authority made of some records of one batch.

    `rows` tuples of EVENT and `texts` what is to be hashed of them (`event_rows`); `extra` the shoppers' ids that do
    not stand in the buffer, to be put behind it; `items` how many rows are `item` events; `letters` the refused;
    `undeclared` names of contexts.
    """

    batch: RawBatch
    rows: list[tuple[object, ...]] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    extra: bytearray = field(default_factory=bytearray)
    items: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    undeclared: int = 0

    def take(self, index: int, authority: Authority, newest_ms: int) -> None:
        """Let the authority decide on one record of the batch."""
        batch = self.batch
        record, offset = batch.record(index), int(batch.offsets[index])
        event = authority.parse(record, newest_ms)
        if not isinstance(event, Event):
            raw = record[:RAW_BYTES_MAX]
            self.letters.append(
                DeadLetter(event.reason, event.path, event.detail, batch.source, batch.partition, offset, raw)
            )
        else:
            rows, texts = event_rows(event, record, index, int(batch.starts[index]), offset, batch.read_at)
            if rows[0][_USER_AT] == -1:
                at = len(batch.buffer) + len(self.extra)
                rows = [(*row[:_USER_AT], at, *row[_USER_AT + 1 :]) for row in rows]
                self.extra += event.user.encode()
            self.rows += rows
            self.texts += texts
            self.items += event.kind == ITEM
            self.undeclared += event.undeclared

    def events(self, names: Names) -> np.ndarray:
        """EVENT rows; their items, categories and what they tell are learnt."""
        rows = np.array(self.rows, EVENT)
        put_hashes(rows, _hashed(self.texts, names))
        return rows

    def buffer(self) -> np.ndarray:
        """The batch's buffer, and behind it the ids that do not stand in it."""
        return (
            np.concatenate([self.batch.buffer, np.frombuffer(self.extra, np.uint8)])
            if self.extra
            else self.batch.buffer
        )


def item_touches(rows: np.ndarray) -> np.ndarray:
    """TOUCH rows of the `item` events among EVENT rows: facts that say nothing of popularity."""
    items = rows[rows["kind"] == ITEM]
    touches = np.zeros(len(items), TOUCH)
    for column in ("item", "category", "ts", "price"):
        touches[column] = items[column]
    return touches


def _hashed(texts: list[bytes], names: Names) -> np.ndarray:
    """Hashes uint64[n, TEXTS] of texts in that order (0 for an empty one); the columns _LEARNT go to the names."""
    buffer = np.frombuffer(b"".join(texts), np.uint8)
    lengths = np.array([len(text) for text in texts], np.int64)
    starts = np.cumsum(lengths) - lengths
    hashes = np.empty(len(texts), np.uint64)
    hash_spans(buffer, starts, lengths, hashes)
    for column in _LEARNT:
        names.learn_spans(buffer, hashes[column::TEXTS], starts[column::TEXTS], lengths[column::TEXTS])
    return hashes.reshape(-1, TEXTS)


def decode_reference(batch: RawBatch, limits: Limits, newest_ms: int) -> Taken:
    """What a Decoder is to make of a batch, by the authority alone; event times after `newest_ms` are refused."""
    taken = Taken(batch)
    authority = limits.authority()
    for index in range(len(batch)):
        taken.take(index, authority, newest_ms)
    return taken


class Decoder:
    """The decode step of one process.

    `names` learns the texts of items, categories and what events tell; `metrics` and `flow_control` are told of every
    record; `clock` gives epoch seconds. `undeclared` counts names in contexts that no configuration declares. Of each
    part of the input that it reads it keeps an InputPart.
    """

    def __init__(
        self,
        names: Names,
        metrics: Metrics,
        flow_control: FlowControl,
        user_shards: int,
        item_shards: int,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.undeclared = 0
        self._names = names
        self._metrics = metrics
        self._flow_control = flow_control
        self._user_shards = user_shards
        self._item_shards = item_shards
        self._limits = limits
        self._clock = clock
        self._authority = limits.authority()
        self._customs = np.array([hash_text(name) for name in sorted(limits.custom_names)], np.uint64)
        self._contexts = np.array([hash_text(name) for name in sorted(limits.context_names)], np.uint64)
        self._user_keys = [user_key(shard) for shard in range(user_shards)]
        self._parts: dict[str, InputPart] = {}
        self._rows = np.empty(0, EVENT)
        self._spans = np.empty(0, SPANS)
        self._texts = np.empty(0, TEXT)
        self._counters = {
            stream: (metrics.events.labels(stream, "accepted"), metrics.events.labels(stream, "rejected"))
            for stream in (*STREAMS, OTHER_STREAM)
        }
        self._ignored = metrics.ignored.labels("context_names")
        self._refused = {reason: metrics.dead_letters.labels(reason) for reason in REASONS}

    def __call__(self, batches: list[RawBatch]) -> list[Decoded]:
        """Decode batches: each one's events by user shard, its items' facts, pulses; last, the dead letters of all."""
        out: list[Decoded] = []
        letters: list[DeadLetter] = []
        closed = 0
        with self._metrics.step("decode", sum(map(len, batches))):
            now = self._clock()
            newest_ms = int((now + self._limits.future_seconds_max) * 1000)
            for batch in batches:
                if len(batch) or batch.part:
                    part = self._part(batch.part)
                    taken = self._decode(batch, part, now, newest_ms, out)
                    letters += taken.letters
                    closed += len(taken.letters) + taken.items
                    for pulse in part.pulses(now, batch.idle_ms, batch.ended):
                        out.append((self._user_keys[pulse.shard], pulse))
            if letters:
                out.append(DeadLetters(letters))
                for reason, count in Counter(letter.reason for letter in letters).items():
                    self._refused[reason].inc(count)
        if closed:
            self._flow_control.done(closed)
        self._names.publish()
        return out

    def _part(self, name: str) -> InputPart:
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = InputPart.named(name, self._user_shards)
        return part

    def _decode(self, batch: RawBatch, part: InputPart, now: float, newest_ms: int, out: list[Decoded]) -> Taken:
        taken = Taken(batch)
        n = len(batch)
        if n == 0:
            return taken
        rows, status = self._scan(batch, newest_ms)
        for index in np.flatnonzero(status).tolist():
            taken.take(index, self._authority, newest_ms)
        if taken.rows:
            rows = np.concatenate([rows, taken.events(self._names)])
            rows = rows[np.argsort(rows["record"], kind="stable")]
        if len(rows):
            part.newest_ts = max(part.newest_ts, int(rows["ts"].max()))
            self._send_events(rows, taken, part, now, out)
        if taken.items:
            self._send_items(item_touches(rows), out)
        self.undeclared += taken.undeclared
        if taken.undeclared:
            self._ignored.inc(taken.undeclared)
        accepted, rejected = self._counters[self._metrics.stream_of(batch.source)]
        accepted.inc(taken.items)  # the profile step decides on all others
        rejected.inc(len(taken.letters))
        return taken

    def _scan(self, batch: RawBatch, newest_ms: int) -> tuple[np.ndarray, np.ndarray]:
        n = len(batch)
        room = rows_max(n, int((batch.ends - batch.starts).sum()))
        if room > len(self._rows):
            self._rows = np.empty(room, EVENT)
            self._spans = np.empty(room, SPANS)
        if texts_max(n) > len(self._texts):
            self._texts = np.empty(texts_max(n), TEXT)
        status = np.empty(n, np.uint8)
        made, noted, undeclared = scan(
            *batch.arrays(),
            self._limits.bytes_max,
            self._limits.oldest_ms,
            newest_ms,
            float(batch.read_at),
            self._customs,
            self._contexts,
            self._rows,
            self._spans,
            self._texts,
            status,
        )
        self.undeclared += undeclared
        if undeclared:
            self._ignored.inc(undeclared)
        rows, spans, texts = self._rows[:made], self._spans[:made], self._texts[:noted]
        self._names.learn_spans(batch.buffer, rows["item"], spans["item_at"], spans["item_len"])
        self._names.learn_spans(batch.buffer, rows["category"], spans["category_at"], spans["category_len"])
        self._names.learn_spans(batch.buffer, texts["hash"], texts["at"], texts["len"])
        return rows, status

    def _send_events(self, rows: np.ndarray, taken: Taken, part: InputPart, now: float, out: list[Decoded]) -> None:
        batch, buffer, origin = taken.batch, taken.buffer(), self._flow_control.process
        sorted_rows = np.empty(split_rows(len(rows), taken.items, self._user_shards), EVENT)
        bounds = np.empty(self._user_shards + 1, np.int64)
        split(rows, self._user_shards, sorted_rows, bounds)
        ends = bounds.tolist()
        for shard, key in enumerate(self._user_keys):
            if ends[shard] < ends[shard + 1]:
                of = sorted_rows[ends[shard] : ends[shard + 1]]
                where = (origin, batch.source, batch.partition, shard, part.hash, part.newest_ts)
                out.append((key, EventBatch(of, buffer, *where)))
                part.heard(shard, now)

    def _send_items(self, touches: np.ndarray, out: list[Decoded]) -> None:
        shards = touches["item"] % np.uint64(self._item_shards)
        for shard in np.unique(shards).tolist():
            out.append((item_key(shard), VisitBatch(np.empty(0, PAIR), touches[shards == shard])))
