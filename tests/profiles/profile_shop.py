"""A shop for the tests: JSON lines through the real decoder into the profile steps of all its shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from operators.decode import Decoder, Limits
from operators.goods import Goods
from operators.kernels.carts import load
from operators.kernels.slabs import cells_of, slab_of
from operators.profile_features import features
from operators.profile_rules import PlacedRules
from operators.profile_settings import ProfileSettings
from operators.profiles import Profiles
from state.batches import (
    TRIGGER,
    TRIGGERS,
    DeadLetter,
    DeadLetters,
    EventBatch,
    ProfileBatch,
    Pulse,
    RawBatch,
    VisitBatch,
)
from state.cold_store import ColdStore
from state.flow_control import FlowControl
from state.hashing import hash_text
from state.journal import Journal, Marker
from state.metrics import Metrics, read_samples
from state.names import Names
from state.profile_table import CART
from state.table import Table

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
BEGIN_MS = 1_772_409_600_000  # Monday, 2 March 2026, in the middle of no tile
READ_AT = 1.9e9


def line(type_: str, ts: int, user: str | int = "ann", **fields: Any) -> bytes:
    """A record as it stands in a log."""
    return json.dumps({"type": type_, "ts": ts, "user_id": user, **fields}, ensure_ascii=False).encode()


def order(ts: int, *lines: tuple[str, float, float], user: str | int = "ann", **fields: Any) -> bytes:
    """A purchase of (item, quantity, unit price) lines."""
    told = [{"item_id": i, "category": f"c-{i}", "quantity": q, "unit_price": p} for i, q, p in lines]
    return line("purchase", ts, user, order_id="o", lines=told, **fields)


CUSTOM = ("review", "scroll")
CONTEXT = ("campaign", "weather")


class Shop:
    """Decoder and profile steps of some user shards; with `cold`, shoppers may leave for a folder.

    `parts` are the input parts that are listed (none: all that are heard of). All records must be valid, but for
    reasons in `refusals`: such dead letters are kept in `refused`.
    """

    def __init__(
        self,
        shards: int = 1,
        cold: Path | None = None,
        parts: Sequence[str] = (),
        refusals: frozenset[str] = frozenset(),
        rules: PlacedRules | None = None,
        goods: Goods | None = None,
        **settings: Any,
    ) -> None:
        self.metrics, self.names, self.parts = Metrics(), Names(), tuple(parts)
        self.settings = ProfileSettings(**{"custom_names": CUSTOM, "context_names": CONTEXT, **settings})
        self.shards, self.cold, self.rules, self.goods = shards, cold, rules, goods
        self.decoder = self._decoder()
        self.steps = {f"u{n:03d}": self._step(n) for n in range(shards)}
        self.batches: list[ProfileBatch] = []
        self.letters: list[Any] = []
        self.refusals, self.refused = refusals, list[DeadLetter]()
        self._offset = 0

    def _decoder(self) -> Decoder:
        limits = Limits(
            custom_names=frozenset(self.settings.custom_names),
            context_names=frozenset(self.settings.context_names),
            future_seconds_max=0.0,
        )
        control = FlowControl(10**9)
        return Decoder(self.names, self.metrics, control, self.shards, 16, limits, lambda: READ_AT)

    def _step(self, shard: int) -> Profiles:
        cold = ColdStore(self.cold, f"profiles-{shard}", sync=False) if self.cold else None
        listed = frozenset(map(hash_text, self.parts))
        parts, rules, goods = (lambda: listed), self.rules, self.goods
        return Profiles(shard, self.settings, self.metrics, cold=cold, parts=parts, rules=rules, goods=goods)

    def decode(self, lines: Sequence[bytes], part: str = "log") -> list[tuple[str, EventBatch | Pulse]]:
        """What is for the profile steps of some records, by the key of their shard."""
        ends = np.cumsum([len(x) + 1 for x in lines], dtype=np.int64)
        starts = ends - [len(x) + 1 for x in lines]
        offsets = np.arange(self._offset, self._offset + len(lines), dtype=np.int64)
        self._offset += len(lines)
        buffer = np.frombuffer(b"\n".join(lines) + b"\n", np.uint8)
        out = self.decoder([RawBatch(buffer, starts, ends - 1, offsets, "log", 3, READ_AT, part=part)])
        refused = [letter for value in out if isinstance(value, DeadLetters) for letter in value.letters]
        assert self.refusals.issuperset(letter.reason for letter in refused), refused
        self.refused += refused
        return [value for value in out if not isinstance(value, DeadLetters) and not isinstance(value[1], VisitBatch)]

    def feed(self, *lines: bytes, part: str = "log") -> list[ProfileBatch]:
        """Take records in as one batch; the profile batches that come of it, which are kept too."""
        return self.process(self.decode(lines, part)) if lines else []

    def pulse(self, newest_ts: int, idle_ms: int = 0, ended: bool = False, part: str = "log") -> list[ProfileBatch]:
        """Tell every shard how far a part of the input is."""
        of = hash_text(part)
        return self.process((key, Pulse(shard, of, newest_ts, idle_ms, ended)) for shard, key in enumerate(self.steps))

    def feed_in(self, lines: Sequence[bytes], size: int) -> None:
        """Take records in, in batches of one size."""
        for at in range(0, len(lines), size):
            self.feed(*lines[at : at + size])

    def process(self, events: Iterable[tuple[str, EventBatch | Pulse]]) -> list[ProfileBatch]:
        """Hand event batches to the steps they are for."""
        made = []
        for key, batch in events:
            for value in self.steps[key].process([batch]):
                if isinstance(value, DeadLetters):
                    self.letters += value.letters
                else:
                    made.append(value)
        self.batches += made
        return made

    def finish(self) -> list[ProfileBatch]:
        """The end of input, in every shard."""
        made = [batch for step in self.steps.values() for batch in step.finish() if isinstance(batch, ProfileBatch)]
        self.batches += made
        return made

    def snapshot(self, directory: Path) -> dict[str, Marker]:
        """Bring all that is kept to journals in a directory; what is needed to resume there, by shard."""
        markers = {}
        for key, step in self.steps.items():
            step.before_snapshot()
            markers[key] = Journal(directory, key, sync=False).save(step.tables)
        return markers

    def resumed(
        self,
        directory: Path,
        markers: dict[str, Marker] | None = None,
        rules: PlacedRules | None = None,
        goods: Goods | None = None,
    ) -> Shop:
        """A new shop that resumes at a snapshot of this one, by way of its journals: one of now, if none is given; with
        the same rules, if no others are given."""
        if markers is None:
            markers = self.snapshot(directory)
        settings = {name: getattr(self.settings, name) for name in self.settings.__dataclass_fields__}
        again = Shop(self.shards, self.cold, self.parts, self.refusals, rules or self.rules, goods, **settings)
        again.names, again._offset = self.names, self._offset
        again.decoder = again._decoder()
        for key, marker in markers.items():
            Journal(directory, key, sync=False).load(marker, again.steps[key].tables)
            again.steps[key].restored()
        return again

    def counted(self, name: str, label: str = "") -> int:
        """A counter's figure so far, by its label's value where it has one."""
        metric = getattr(self.metrics, name)
        return int(sum(read_samples(metric.labels(label) if label else metric).values()))

    def rows(self) -> dict[str, tuple[Profiles, int]]:
        """The step and the row of every shopper in memory, by id."""
        found: dict[str, tuple[Profiles, int]] = {}
        for step in self.steps.values():
            store = step.store
            for row in np.flatnonzero(store.profiles.rows["hash"][: store.profiles.size]).tolist():
                user = store.id_of(row).decode()
                assert user not in found, f"two rows of {user}"
                found[user] = step, row
        return found

    def row(self, user: str) -> Any:
        """A shopper's PROFILE_ROW."""
        step, row = self.rows()[user]
        return step.store.profiles.rows[row]

    def features(self, user: str, now: int | None = None) -> dict[str, Any]:
        """All features of a shopper, by the step's own catalogue."""
        step, row = self.rows()[user]
        return features(step.tables, row, self.names, self.settings, now)

    def each_features(self, now: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """All features of one shopper in memory after the other, with their ids."""
        for user, (step, row) in self.rows().items():
            yield user, features(step.tables, row, self.names, self.settings, now)

    def every_feature(self, now: int | None = None) -> dict[str, dict[str, Any]]:
        """All features of all shoppers in memory."""
        return dict(self.each_features(now))

    def told_triggers(self) -> list[tuple[str, str, int]]:
        """(user, name, at) of every trigger told so far, sorted."""
        return sorted(found for batch in self.batches for found in _triggers(batch))

    def triggers(self) -> set[tuple[str, str, int]]:
        """The triggers told so far; each at most once, as holds where nobody was erased and told of again."""
        told = self.told_triggers()
        assert len(told) == len(set(told)), "a trigger was told twice"
        return set(told)

    def samples(self, model: str) -> list[tuple[int, int, tuple[float, ...]]]:
        """(time, outcome, features) of everything a model was told so far, in order of time."""
        told = [s for batch in self.batches for s in batch.samples if s.model == model]
        rows = [
            (ts, y, tuple(x))
            for s in told
            for ts, y, x in zip(s.ts.tolist(), s.y.tolist() or [0] * len(s.ts), s.x.tolist(), strict=True)
        ]
        return sorted(rows)

    def kept(self, *leave_out: str) -> dict[str, dict[str, Any]]:
        """All that is kept of every shopper in memory, but for where it lies: by id, what its row and all it refers to
        say. The columns in `leave_out` are left out."""
        return {
            user: _kept(step.tables, row, leave_out)
            for user, (step, row) in sorted(self.rows().items())
            if step.store.profiles.rows[row]["events"]
        }


REFERENCES = ("cells", "tastes", "purchase_decision", "churn_decision", "cart", "attributes", "pending", "id_chunk")
DECISIONS = ("purchase_decision", "churn_decision")


def _kept(tables: dict[str, Table], r: int, leave_out: Sequence[str]) -> dict[str, Any]:
    row, session = tables["profiles"].rows[r], tables["sessions"].rows[r]
    hashes = tables["values"].rows["hash"]
    tastes = {(tag, int(hashes[key])): n for (tag, key), n in cells_of(tables["cells"].rows, row["tastes"]).items()}
    out: dict[str, Any] = {name: row[name].tolist() for name in row.dtype.names if name not in REFERENCES}
    out |= {f"session.{name}": session[name].tolist() for name in session.dtype.names}
    out["cells"], out["tastes"] = cells_of(tables["cells"].rows, row["cells"]), tastes
    cart = np.zeros(1, CART)
    load(slab_of(tables["carts"]), row["cart"], cart[0])
    out["cart"] = flat(cart[0], "next") if row["cart"] else None
    for name, table in (
        ("purchase_decision", "decisions"),
        ("churn_decision", "decisions"),
        ("attributes", "attributes"),
    ):
        out[name] = flat(tables[table].rows[row[name] - 1], "next") if row[name] else None
    out["pending"] = []
    if row["pending"]:
        waiting = tables["pending"].rows[row["pending"] - 1]
        columns = (waiting[name][: waiting["count"]].tolist() for name in ("trigger", "cause", "at"))
        out["pending"] = sorted(zip(*columns, strict=True))
    # Which of the newest ids are known does not depend on where the oldest of them stands.
    out["seen"] = sorted(out["seen"])
    return {name: value for name, value in out.items() if name not in (*leave_out, "seen_at")}


def _triggers(batch: ProfileBatch) -> list[tuple[str, str, int]]:
    ids, rows = batch.ids.tobytes(), batch.rows
    found = batch.changes[batch.changes["kind"] == TRIGGER]
    spans = [(int(rows["user_at"][p]), int(rows["user_len"][p])) for p in found["position"]]
    return [
        (ids[at : at + length].decode(), TRIGGERS[after], ts)
        for (at, length), after, ts in zip(spans, found["after"].tolist(), found["at"].tolist(), strict=True)
    ]


def flat(row: Any, *leave_out: str) -> bytes:
    """A record's fields as bytes, without the padding between them."""
    return b"".join(row[name].tobytes() for name in row.dtype.names if name not in leave_out)


USERS = ("ann", "bob", "ünï", "x" * 16, "y" * 33)
ITEMS = ("i1", "i2", "i3", "i4", "i5", "i6", "i7")
CATEGORIES = ("lamps", "rugs", "mugs", "süß")
STEPS_MS = (0, 1, 1000, MINUTE, 4 * MINUTE, 29 * MINUTE, 31 * MINUTE, 3 * HOUR, DAY, 2 * DAY, 15 * DAY, 31 * DAY)
LATE_MS = (0, 0, 0, 0, 1, MINUTE, 5 * MINUTE, 2 * HOUR, 3 * DAY, 29 * DAY, 40 * DAY)

NEAR_MS = (0, 0, 0, 1, 1000, MINUTE, 4 * MINUTE, 9 * MINUTE, 10 * MINUTE)
"""Within the bounds of lateness."""

_PRICE = st.one_of(st.none(), st.integers(0, 90), st.sampled_from([9.99, 0.01, 1234.5]))
_LINE = st.tuples(
    st.sampled_from(ITEMS),
    st.sampled_from([None, *CATEGORIES]),
    st.sampled_from([1, 2, -1, 0.5, -3, 10]),
    st.sampled_from([0, 1, 9.99, 120.5]),
)
_TOLD = {
    "device": ("phone", "tablet", "desktop"),
    "channel": ("app", "web"),
    "country": ("DE", "FR", "AT", "CH"),
}
_CONTEXT = {"campaign": ("spring", "mail"), "weather": ("sun", "rain", "snow")}
_ATTRIBUTES = st.dictionaries(
    st.sampled_from(["age", "club", "newsletter", "size"]),
    st.one_of(st.integers(-5, 5), st.booleans(), st.sampled_from(["", "gold", "silver", 2.5])),
    max_size=3,
)


@st.composite
def logs(
    draw: st.DrawFn,
    most: int = 40,
    erase: bool = True,
    late: Sequence[int] = LATE_MS,
    rights: bool = True,
    users: Sequence[str] = USERS,
    steps: Sequence[int] = STEPS_MS,
) -> list[bytes]:
    """Logs of any event types: late, told twice, with and without event ids, orders of several lines, returns."""
    now, out = BEGIN_MS + 7 * MINUTE, []
    kinds = ["view", "click", "search", "add_to_cart", "add_to_cart", "remove_from_cart", "wishlist", "purchase"]
    kinds += ["purchase", "custom", "impression", "identify", "profile"]
    kinds += (["erase"] if erase else []) + (["consent", "item"] if rights else [])
    for _ in range(draw(st.integers(0, most))):
        now += draw(st.sampled_from(steps))
        ts = now - draw(st.sampled_from(late))
        if out and draw(st.integers(0, 9)) == 0:
            out.append(out[-draw(st.integers(1, min(len(out), 12)))])
            continue
        out.append(draw(_record(draw(st.sampled_from(kinds)), ts, users)))
    return out


@st.composite
def _record(draw: st.DrawFn, kind: str, ts: int, users: Sequence[str]) -> bytes:
    fields: dict[str, Any] = {}
    event_id = draw(st.one_of(st.none(), st.integers(0, 30)))
    if event_id is not None:
        fields["event_id"] = f"e{event_id}"
    if kind == "item":
        told = {"category": st.sampled_from(CATEGORIES), "price": st.integers(0, 50), "brand": st.sampled_from("xyz")}
        told["available"] = st.booleans()
        fields |= {"item_id": draw(st.sampled_from(ITEMS)), **draw(st.fixed_dictionaries({}, optional=told))}
        return json.dumps({"type": "item", "ts": ts, **fields}, ensure_ascii=False).encode()
    context = {name: st.sampled_from(values) for name, values in _CONTEXT.items()}
    if draw(st.integers(0, 2)) == 0:
        fields["context"] = draw(st.fixed_dictionaries({}, optional=context))
    if kind == "purchase":
        told_lines = draw(st.lists(_LINE, min_size=1, max_size=4))
        keys = ("item_id", "category", "quantity", "unit_price")
        lines = [{k: v for k, v in zip(keys, values, strict=True) if v is not None} for values in told_lines]
        fields |= {"order_id": "o", "lines": lines}
    elif kind == "consent":
        fields["granted"] = draw(st.booleans())
    elif kind == "identify":
        fields["anonymous_id"] = "anon"
    elif kind == "profile":
        fields["attributes"] = draw(_ATTRIBUTES)
    elif kind == "impression":
        fields |= {"experiment": "x", "variant": "a"}
        fields |= draw(st.fixed_dictionaries({}, optional={"item_ids": st.lists(st.sampled_from(ITEMS), max_size=3)}))
    elif kind == "custom":
        fields["name"] = draw(st.sampled_from(CUSTOM))
        value = draw(st.sampled_from([None, 1, 2.5, -0.125, 1e6]))
        fields |= {} if value is None else {"value": value}
    elif kind != "erase":
        fields["item_id"] = draw(st.sampled_from(ITEMS))
        optional = {name: st.sampled_from(values) for name, values in _TOLD.items()}
        optional |= {"dwell_ms": st.sampled_from([0, 1500, 2.5]), "quantity": st.sampled_from([1, 3, 0.5])}
        fields |= draw(st.fixed_dictionaries({}, optional=optional))
        for name, value in (("category", draw(st.sampled_from([None, *CATEGORIES]))), ("price", draw(_PRICE))):
            if value is not None:
                fields[name] = value
    return line(kind, ts, draw(st.sampled_from(users)), **fields)


def cuts(draw: st.DrawFn, count: int) -> list[slice]:
    """Any way to cut `count` records into batches."""
    bounds = sorted({0, count, *draw(st.lists(st.integers(0, count), max_size=6))})
    return [slice(a, b) for a, b in pairwise(bounds)]


def in_order(log: list[bytes]) -> list[bytes]:
    """A log in order of time."""
    return sorted(log, key=lambda record: json.loads(record)["ts"])
