"""A shop for the tests: JSON lines through the real decoder into the profile steps of all its shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st

from operators.decode import Decoder, Limits
from operators.profile_features import features
from operators.profiles import Profiles, ProfileSettings
from state.batches import DeadLetters, EventBatch, ProfileBatch, RawBatch
from state.flow_control import FlowControl
from state.metrics import Metrics, read_samples
from state.names import Names

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


class Shop:
    """Decoder and profile steps of some user shards."""

    def __init__(self, shards: int = 1, **settings: Any) -> None:
        self.metrics, self.names = Metrics(), Names()
        self.settings = ProfileSettings(**settings)
        self.shards = shards
        limits = Limits(custom_names=frozenset(["review"]), future_seconds_max=0.0)
        control = FlowControl(10**9)
        self.decoder = Decoder(self.names, self.metrics, control, shards, 16, limits, lambda: READ_AT)
        self.steps = {f"u{n:03d}": Profiles(n, self.settings, self.metrics) for n in range(shards)}
        self.batches: list[ProfileBatch] = []
        self.letters: list[Any] = []
        self._offset = 0

    def decode(self, lines: Sequence[bytes]) -> list[tuple[str, EventBatch]]:
        """The event batches of some records, by the key of their shard; all records must be valid."""
        ends = np.cumsum([len(x) + 1 for x in lines], dtype=np.int64)
        starts = ends - [len(x) + 1 for x in lines]
        offsets = np.arange(self._offset, self._offset + len(lines), dtype=np.int64)
        self._offset += len(lines)
        buffer = np.frombuffer(b"\n".join(lines) + b"\n", np.uint8)
        out = self.decoder([RawBatch(buffer, starts, ends - 1, offsets, "log", 3, READ_AT)])
        refused = [letter for value in out if isinstance(value, DeadLetters) for letter in value.letters]
        assert not refused, refused
        return [value for value in out if not isinstance(value, DeadLetters) and isinstance(value[1], EventBatch)]

    def feed(self, *lines: bytes) -> list[ProfileBatch]:
        """Take records in as one batch; the profile batches that come of it, which are kept too."""
        return self.process(self.decode(lines)) if lines else []

    def process(self, events: Iterable[tuple[str, EventBatch]]) -> list[ProfileBatch]:
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
        made = [batch for step in self.steps.values() for batch in step.finish()]
        self.batches += made
        return made

    def counted(self, name: str, label: str = "") -> int:
        """A counter's figure so far, by its label's value where it has one."""
        metric = getattr(self.metrics, name)
        return int(sum(read_samples(metric.labels(label) if label else metric).values()))

    def rows(self) -> dict[str, Any]:
        """The row of every shopper, by id."""
        found: dict[str, Any] = {}
        for step in self.steps.values():
            table, ids = step.tables["profiles"], step.tables["ids"].rows["bytes"].reshape(-1)
            for row in table.rows[: table.size]:
                if row["hash"]:
                    at = 16 * int(row["id_chunk"])
                    user = ids[at : at + int(row["id_len"])].tobytes().decode()
                    assert user not in found, f"two rows of {user}"
                    found[user] = row
        return found

    def features(self, user: str, now: int | None = None) -> dict[str, Any]:
        """All features of a shopper, by the step's own catalogue."""
        return features(self.rows()[user], self.names, now)

    def samples(self, model: str) -> list[tuple[int, int, tuple[float, ...]]]:
        """(time, outcome, features) of everything a model was told so far, in order of time."""
        told = [s for batch in self.batches for s in batch.samples if s.model == model]
        rows = [
            (ts, y, tuple(x))
            for s in told
            for ts, y, x in zip(s.ts.tolist(), s.y.tolist() or [0] * len(s.ts), s.x.tolist(), strict=True)
        ]
        return sorted(rows)

    def image(self, *leave_out: str) -> dict[str, list[bytes]]:
        """Every table of every shard, row by row, as bytes; the fields in `leave_out` are left out."""
        return {
            f"{key}.{name}": [flat(row, *leave_out) for row in table.rows[: table.size]]
            for key, step in self.steps.items()
            for name, table in step.tables.items()
        }

    def kept(self, *leave_out: str) -> dict[str, bytes]:
        """All that is kept of every shopper, but for where: by id, as bytes."""
        return {user: flat(row, "id_chunk", *leave_out) for user, row in self.rows().items()}


def flat(row: Any, *leave_out: str) -> bytes:
    """A record's fields as bytes, without the padding between them."""
    return b"".join(row[name].tobytes() for name in row.dtype.names if name not in leave_out)


USERS = ("ann", "bob", "ünï", "x" * 16, "y" * 33)
ITEMS = ("i1", "i2", "i3", "i4", "i5", "i6", "i7")
CATEGORIES = ("lamps", "rugs", "mugs", "süß")
STEPS_MS = (0, 1, 1000, MINUTE, 4 * MINUTE, 29 * MINUTE, 31 * MINUTE, 3 * HOUR, DAY, 2 * DAY, 15 * DAY, 31 * DAY)
LATE_MS = (0, 0, 0, 0, 1, MINUTE, 5 * MINUTE, 2 * HOUR, 3 * DAY, 29 * DAY, 40 * DAY)

_PRICE = st.one_of(st.none(), st.integers(0, 90), st.sampled_from([9.99, 0.01, 1234.5]))
_LINE = st.tuples(
    st.sampled_from(ITEMS),
    st.sampled_from([None, *CATEGORIES]),
    st.sampled_from([1, 2, -1, 0.5, -3, 10]),
    st.sampled_from([0, 1, 9.99, 120.5]),
)


@st.composite
def logs(draw: st.DrawFn, most: int = 40, erase: bool = True, late: bool = True) -> list[bytes]:
    """Logs of any event types: late, told twice, with and without event ids, orders of several lines, returns."""
    now, out = BEGIN_MS + 7 * MINUTE, []
    kinds = ["view", "click", "search", "add_to_cart", "remove_from_cart", "wishlist", "purchase", "purchase"]
    kinds += ["custom", "impression", "consent", "identify", "profile"] + (["erase"] if erase else [])
    for _ in range(draw(st.integers(0, most))):
        now += draw(st.sampled_from(STEPS_MS))
        ts = now - (draw(st.sampled_from(LATE_MS)) if late else 0)
        if out and draw(st.integers(0, 9)) == 0:
            out.append(out[-draw(st.integers(1, min(len(out), 12)))])
            continue
        out.append(draw(_record(draw(st.sampled_from(kinds)), ts)))
    return out


@st.composite
def _record(draw: st.DrawFn, kind: str, ts: int) -> bytes:
    fields: dict[str, Any] = {}
    event_id = draw(st.one_of(st.none(), st.integers(0, 30)))
    if event_id is not None:
        fields["event_id"] = f"e{event_id}"
    if kind == "purchase":
        told = draw(st.lists(_LINE, min_size=1, max_size=4))
        keys = ("item_id", "category", "quantity", "unit_price")
        lines = [{k: v for k, v in zip(keys, values, strict=True) if v is not None} for values in told]
        fields |= {"order_id": "o", "lines": lines}
    elif kind == "consent":
        fields["granted"] = draw(st.booleans())
    elif kind == "identify":
        fields["anonymous_id"] = "anon"
    elif kind == "profile":
        fields["attributes"] = {"age": 3}
    elif kind == "impression":
        fields |= {"experiment": "x", "variant": "a"}
    elif kind == "custom":
        fields["name"] = "review"
    elif kind != "erase":
        fields["item_id"] = draw(st.sampled_from(ITEMS))
        for name, value in (("category", draw(st.sampled_from([None, *CATEGORIES]))), ("price", draw(_PRICE))):
            if value is not None:
                fields[name] = value
    return line(kind, ts, draw(st.sampled_from(USERS)), **fields)


def cuts(draw: st.DrawFn, count: int) -> list[slice]:
    """Any way to cut `count` records into batches."""
    bounds = sorted({0, count, *draw(st.lists(st.integers(0, count), max_size=6))})
    return [slice(a, b) for a, b in pairwise(bounds)]
