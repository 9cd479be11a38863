"""What flows between the steps: batches of columns, never an object per event.

Every batch is rows of a NumPy record type (a column is `batch.rows["ts"]`), so that a gather, a split by shard or a
trip between processes is one operation over one array. Times are epoch milliseconds, UTC; money is in ten-thousandths
of the shop's currency (an integer, so that sums do not depend on the order of adding); ids are 64-bit hashes
(`state.hashing`), 0 for none, whose texts are in `state.names`, except the shopper's id, whose bytes travel along.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from state.features import DIMENSIONS
from state.marks import MARK
from state.samples import Samples
from state.spans import gather_spans

MONEY_UNIT = 10_000
"""Ten-thousandths: an amount of 2.55 is the integer 25500."""

RECENT_ITEMS = 8
"""How many of a shopper's last items a profile keeps, newest first."""

LIST_LENGTH = 20
"""How many recommendations a list holds."""

NEIGHBOURS = 32
"""How many neighbours an item's co-visitation row keeps."""

EXPLAINED = ("segment", "purchase", "churn")
"""Of what a score tells the strongest features: a row each of its `why` and `why_by`."""

WHY_LENGTH = 3
"""How many features are told of each."""

KINDS = (
    "view",
    "click",
    "search",
    "add_to_cart",
    "remove_from_cart",
    "wishlist",
    "purchase",
    "custom",
    "impression",
    "consent",
    "erase",
    "identify",
    "profile",
    "item",
)
"""Event types; an event's `kind` is its place in this tuple."""

(
    VIEW,
    CLICK,
    SEARCH,
    ADD_TO_CART,
    REMOVE_FROM_CART,
    WISHLIST,
    PURCHASE,
    CUSTOM,
    IMPRESSION,
    CONSENT,
    ERASE,
    IDENTIFY,
    PROFILE_EVENT,
    ITEM,
) = range(len(KINDS))

DIMENSIONS_TOLD = ("device", "channel", "country")
"""What an act may tell of its circumstances, besides the declared names of its context."""

CONTEXT_NAMES_MAX = 5
"""How many names of contexts can be declared."""

TOLD_MAX = len(DIMENSIONS_TOLD) + CONTEXT_NAMES_MAX

EVENT = np.dtype(
    [
        ("ts", "i8"),  # event time, ms
        ("user", "u8"),  # hash of the shopper's id; 0 for `item` events
        ("item", "u8"),
        ("category", "u8"),
        ("event_id", "u8"),  # hash of event_id, else of the record's bytes
        ("price", "i8"),  # money of one piece; -1 where the event gives none; attributes: ATTRIBUTE_TEXT and so on
        ("value", "f8"),  # custom: value or 0; consent: 1 or 0; item: likewise, -1 for not told; else quantity, or 1
        ("aux", "u8"),  # identify: hash of anonymous_id; custom: hash of name; impression: hash of experiment
        ("offset", "i8"),  # the record's offset in its partition, or line of its file
        ("read_at", "f8"),  # system time the record was read, epoch seconds
        ("dwell_ms", "i8"),  # how long an act lasted; -1 where it is not told
        ("told", "u8", (TOLD_MAX,)),  # hashes of device, channel, country and of the declared names of context, sorted
        ("user_at", "i4"),  # the shopper's id is buffer[user_at : user_at + user_len]
        ("user_len", "i4"),
        ("record", "i4"),  # which record of the raw batch
        ("kind", "u1"),
        ("head", "u1"),  # 1 on an event's first row: n lines, attributes or items shown are n rows, other events one
    ],
    align=True,
)
"""Of an attribute of a `profile` event: `item` its name, `category` its text (0: none or empty), `value` its number or
1 and 0 for a bool; the one row of an event without attributes (of an impression without items) has item 0."""

ATTRIBUTE_TEXT, ATTRIBUTE_NUMBER, ATTRIBUTE_BOOL = range(3)
"""What an attribute is: the `price` of its row."""

PROFILE = np.dtype(
    [
        ("user", "u8"),
        ("event_ts", "i8"),  # newest event taken in
        ("version", "i8"),  # events taken in, ever: a write without an event (a re-scoring) leaves it as it is
        ("row", "i4"),  # the shopper's row, the same in every table of the user shard
        ("user_at", "i4"),  # span in ProfileBatch.ids
        ("user_len", "i4"),
        ("acts", "i4"),  # events in this batch; 0 for a shopper who was swept
        ("fresh", "u1"),  # the row is new (or reused): what later steps hold for it is to be forgotten first; 2: and
        # what they put aside for the shopper taken up, who is back from the cold tier
        ("rules", "u8"),  # rule segments the shopper is in, a bit each
        ("erased", "u1"),  # the shopper goes: delete the record, clear the row
        ("band", "u1"),  # of the hours of the context: 1 for 00-03 to 8 for 21-24; 0: not asked for
        ("recent_n", "u1"),
        ("recent", "u8", (RECENT_ITEMS,)),  # last items, newest first
        ("favourite", "u8"),  # the category of the greatest fading weight; 0: none is known
        ("device", "u8"),  # of the context (operators.kernels.contexts); 0: none is known, or asked for
        ("x", "f4", (DIMENSIONS,)),  # state.features.MODEL_FEATURES, natural units
    ],
    align=True,
)

ACT = np.dtype([("position", "i4"), ("item", "u8"), ("previous", "u8")], align=True)
"""One item-bearing act, in event order: the shopper's place in the batch, the item, the item before it (0: none)."""

PAIR = np.dtype([("row", "u8"), ("other", "u8"), ("weight", "f4")], align=True)
"""Add `weight` to neighbour `other` in the row of item `row`."""

FETCH = np.dtype([("item", "u8"), ("position", "i4"), ("slot", "u1")], align=True)
"""Ask for the neighbours of `item`, which stands at place `slot` of the shopper's recent items."""

TOUCH = np.dtype([("item", "u8"), ("category", "u8"), ("ts", "i8"), ("price", "i8"), ("weight", "f4")], align=True)
"""An item was acted upon (weight: how much that says of its popularity), or an `item` event told its facts (0)."""

ANSWER = np.dtype(
    [
        ("category", "u8"),  # of the item that was asked for; 0: not known
        ("position", "i4"),
        ("slot", "u1"),
        ("count", "u1"),
        ("items", "u8", (NEIGHBOURS,)),
        ("scores", "f4", (NEIGHBOURS,)),
    ],
    align=True,
)
"""The neighbours of one fetched item, best first, scores normalised to the row's whole weight."""

SCORE = np.dtype(
    [
        ("segment", "i4"),  # stable segment number (s7 is 7); -1 before there is a model
        ("macro", "i4"),
        ("margin", "f4"),
        ("purchase", "f4"),
        ("churn", "f4"),
        ("model", "i4"),  # version of the segment model
        ("other", "i4"),  # number of the nearest other segment; -1 where there is none
        ("why", "i4", (len(EXPLAINED), WHY_LENGTH)),  # of each of EXPLAINED the strongest features: places in `x`
        ("why_by", "f4", (len(EXPLAINED), WHY_LENGTH)),  # how strong they are, strongest first; 0 where there is none
    ],
    align=True,
)

TRANSITION = np.dtype(
    [("position", "i4"), ("kind", "u1"), ("before", "i4"), ("after", "i4"), ("at", "i8")],
    align=True,
)
"""A shopper's change of segment: `kind` is a place in TRANSITION_KINDS; `before`, `after` the number of a segment or
the place of a rule, -1 for none."""

TRANSITION_KINDS = ("cluster", "rule", "trigger")
CLUSTER, RULE, TRIGGER = range(len(TRANSITION_KINDS))

TRIGGERS = ("cart_abandoned", "browsed_without_buying", "lapsed")
"""What follows from nothing happening; of a transition of kind "trigger", `after` is a place in this tuple."""

CART_ABANDONED, BROWSED, LAPSED = range(len(TRIGGERS))


@dataclass(slots=True)
class RawBatch:
    """Records as they were read: one buffer, the spans of the values in it, their offsets.

    `buffer` uint8[bytes]; `starts`, `ends`, `offsets` int64[n]; `source` a topic or a file's name; `partition` its
    number (0 for a file); `read_at` epoch seconds. `part` is the engine's name of the input part. A batch without
    records tells that the part has been read to its end for now, for `idle_ms` already, or for good (`ended`); with
    neither, that it is no longer known to be at its end.
    """

    buffer: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    offsets: np.ndarray
    source: str
    partition: int
    read_at: float
    part: str = ""
    idle_ms: int = 0
    ended: bool = False

    def __len__(self) -> int:
        return len(self.starts)

    def first(self, records: int) -> RawBatch:
        """The same batch, of its first so many records only."""
        if records == len(self):
            return self
        return replace(self, starts=self.starts[:records], ends=self.ends[:records], offsets=self.offsets[:records])

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Buffer, starts, ends and offsets, each contiguous and read-only: whatever a source hands in, a kernel that
        is given them is compiled once."""
        wanted = ((self.buffer, np.uint8), (self.starts, np.int64), (self.ends, np.int64), (self.offsets, np.int64))
        views = [np.ascontiguousarray(array, dtype).view() for array, dtype in wanted]
        for view in views:
            view.flags.writeable = False
        buffer, starts, ends, offsets = views
        return buffer, starts, ends, offsets

    def record(self, index: int) -> bytes:
        """The bytes of one record."""
        return self.buffer[self.starts[index] : self.ends[index]].tobytes()


@dataclass(slots=True)
class EventBatch:
    """Decoded events of one user shard: rows of EVENT and the buffer of the ids.

    Every shard gets the rows of `item` events (kind ITEM: user 0, `told[0]` the hash of the brand) at their place among
    those of its shoppers. `origin` is the number of the process that read them: what its count of events in flight is
    told when they are done (those of `item` events are told by the decoder). `source`, `partition` and the rows'
    `offset` say where they came from; `part` is the hash of the input part's name, `newest_ts` its newest event time.
    """

    rows: np.ndarray
    buffer: np.ndarray
    origin: int = 0
    source: str = ""
    partition: int = 0
    shard: int = 0
    part: int = 0
    newest_ts: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes only the bytes of the ids travel, not the whole buffer."""
        rows = self.rows.copy()
        ids, starts = gather_spans(self.buffer, rows["user_at"], rows["user_len"])
        rows["user_at"] = starts
        where = (self.origin, self.source, self.partition, self.shard, self.part, self.newest_ts)
        return (EventBatch, (rows, ids, *where))


@dataclass(slots=True, frozen=True)
class Pulse:
    """How far an input part is, told to a user shard that got none of its events for a while.

    `part` the hash of its name; `newest_ts` its newest event time (0: none since the start); `idle_ms` for how long it
    has been read to its end (0: it is being read); `ended`: for good.
    """

    shard: int
    part: int
    newest_ts: int
    idle_ms: int = 0
    ended: bool = False

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)
class DeadLetter:
    """A record that could not be taken in: why (one of REASONS), where in it, what was found, where it came from."""

    reason: str
    path: str
    detail: str
    source: str
    partition: int
    offset: int
    raw: bytes


REASONS = (
    "bad_json",
    "unknown_type",
    "missing_field",
    "bad_field",
    "too_large",
    "too_old",
    "from_the_future",
    "no_consent",
)


@dataclass(slots=True)
class DeadLetters:
    """Dead letters on their way to the dead letter sink."""

    letters: list[DeadLetter]


@dataclass(slots=True)
class Receipt:
    """What happened to events on their way, so that the sink can answer for every one of them.

    `read_at` float64[n] and `ts` int64[n]: of each event taken in; `done` maps the process that read them to how many
    events (taken in or dropped) this batch closes.
    """

    read_at: np.ndarray
    ts: np.ndarray
    done: dict[int, int]


@dataclass(slots=True)
class ProfileBatch:
    """A row for each shopper who acted (or was swept) in a batch of one user shard.

    `rows` PROFILE[n]; `ids` uint8, the bytes of the shoppers' ids; `acts` ACT and `marks` MARK in event order; `pairs`
    PAIR, `touches` TOUCH and `baskets` PAIR (what was bought together) for the item shards; `fetches` FETCH; `samples`
    for the learn step; `changes` TRANSITION, triggers and rule segments entered or left; `left` uint64[k, 2], hash and
    row of shoppers who left for the cold tier and whose rows are free from now on; `sequence` numbers the batches of a
    shard within a process; `item_shards` how many item shards will answer; `watermark_ts` the shard's watermark; all
    `samples` known before `told_ts` are told with this batch (0: nothing new); `last`: the input has ended, so the last
    models are to score it; `members` int64[rules] how many shoppers of the shard are in each rule segment, by place.
    """

    shard: int
    sequence: int
    rows: np.ndarray
    ids: np.ndarray
    acts: np.ndarray
    pairs: np.ndarray
    touches: np.ndarray
    fetches: np.ndarray
    samples: list[Samples]
    receipt: Receipt
    item_shards: int
    watermark_ts: int = 0
    told_ts: int = 0
    last: bool = False
    members: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    changes: np.ndarray = field(default_factory=lambda: np.empty(0, TRANSITION))
    left: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    marks: np.ndarray = field(default_factory=lambda: np.empty(0, MARK))
    baskets: np.ndarray = field(default_factory=lambda: np.empty(0, PAIR))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class FetchBatch:
    """One user shard's questions to one item shard: rows of FETCH and whom to answer."""

    shard: int
    sequence: int
    rows: np.ndarray


@dataclass(slots=True)
class VisitBatch:
    """What one item shard has to learn and to answer: PAIR and TOUCH rows in event order, PAIR rows of `baskets` (what
    was bought together), then the questions."""

    pairs: np.ndarray
    touches: np.ndarray
    fetches: list[FetchBatch] = field(default_factory=list)
    baskets: np.ndarray = field(default_factory=lambda: np.empty(0, PAIR))


@dataclass(slots=True)
class AnswerBatch:
    """One item shard's answer to one user shard's batch: rows of ANSWER."""

    shard: int
    sequence: int
    rows: np.ndarray


@dataclass(slots=True)
class ScoredBatch:
    """A profile batch with its scores (SCORE, row by row) and the transitions they mean."""

    profiles: ProfileBatch
    scores: np.ndarray
    transitions: np.ndarray


@dataclass(slots=True)
class SegmentCounts:
    """How many shoppers of a user shard each segment holds: `counts` int64 by number of the discovered ones, `members`
    int64 by place of the rules."""

    shard: int
    counts: np.ndarray
    members: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(slots=True)
class WriteBatch:
    """Redis commands, packed as RESP: of shopper `i` they are commands[starts[i]:starts[i+1]].

    `users` uint64[n], their ids at `id_at`, `id_len` int32[n] of `id_bytes` uint8; `versions` int64[n], `per_user`
    int32[n] commands of each (all answered in order); `always` further commands, `always_n` of them; `receipt` for the
    events they close.
    """

    users: np.ndarray
    id_bytes: np.ndarray
    id_at: np.ndarray
    id_len: np.ndarray
    versions: np.ndarray
    commands: np.ndarray
    starts: np.ndarray
    per_user: np.ndarray
    always: bytes
    always_n: int
    receipt: Receipt | None

    def user_id(self, i: int) -> bytes:
        """The id of shopper `i`."""
        return self.id_bytes[self.id_at[i] : self.id_at[i] + self.id_len[i]].tobytes()


def user_key(shard: int) -> str:
    """The engine's key of a user shard."""
    return f"u{shard:03d}"


def item_key(shard: int) -> str:
    """The engine's key of an item shard."""
    return f"i{shard:03d}"
