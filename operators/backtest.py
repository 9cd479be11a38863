"""What other rules would have made of the same history: two profile steps side by side over one log.

Each step asks its own rules of the same events. Compared are the members of each segment at the end of the log, and its
sizes day by day.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from operators.decode import Decoder, Limits
from operators.profile_rules import PlacedRules
from operators.profile_settings import DAY_MS, ProfileSettings
from operators.profiles import Profiles
from operators.rules.ruleset import Ruleset
from state.batches import RULE, DeadLetters, EventBatch, ProfileBatch, Pulse, RawBatch
from state.flow_control import FlowControl
from state.hashing import hash_text
from state.metrics import Metrics
from state.names import Names


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """A segment under the old rules and under the new ones.

    `is_old`, `is_new`: is it among those rules at all? `before`, `after` its shoppers at the end of the log; `enter`
    those only the new rules have in it, `leave` those only the old ones have. `days` its sizes at the end of each UTC
    day: (epoch ms of the day's beginning, under the old rules, under the new ones).
    """

    name: str
    is_old: bool
    is_new: bool
    before: int
    after: int
    enter: tuple[str, ...]
    leave: tuple[str, ...]
    days: tuple[tuple[int, int, int], ...]

    @property
    def overlap(self) -> float:
        """Shoppers in both over shoppers in either (Jaccard's index); 1 where nobody is in either."""
        both = self.before - len(self.leave)
        either = self.before + len(self.enter)
        return both / either if either else 1.0

    @property
    def churn(self) -> float:
        """The share of shoppers in either who are not in both; 0 for a segment that is new."""
        if not self.is_new:
            return 1.0
        return 1.0 - self.overlap if self.is_old else 0.0


@dataclass(slots=True)
class _Side:
    """One set of rules: its step, who is in what now, and how sizes changed by day."""

    ruleset: Ruleset
    step: Profiles
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    deltas: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    last_ts: int = 0
    """The newest moment of a change so far: an erasure is never told to have come before an entry it undid."""

    def take(self, values: list[EventBatch | Pulse]) -> None:
        for batch in self.step.process(values):
            if isinstance(batch, ProfileBatch) and (len(batch.changes) or batch.rows["erased"].any()):
                self._note(batch)

    def _note(self, batch: ProfileBatch) -> None:
        ids, rows = batch.ids.tobytes(), batch.rows
        users = [
            ids[at : at + length].decode(errors="replace")
            for at, length in zip(rows["user_at"].tolist(), rows["user_len"].tolist(), strict=True)
        ]
        erased = rows["erased"].astype(bool)
        for position, kind, before, after, at in batch.changes.tolist():
            if kind == RULE and not erased[position]:
                self._move(self.ruleset.names[max(before, after)], users[position], at, 1 if after >= 0 else -1)
        # Of who was erased no leaving is told, and what was told may be from before or after: their row is what counts.
        for position in np.flatnonzero(erased).tolist():
            at, inside = int(rows["event_ts"][position]), int(rows["rules"][position])
            for place, name in enumerate(self.ruleset.names):
                self._move(name, users[position], max(at, self.last_ts), 1 if inside >> place & 1 else -1)

    def _move(self, name: str, user: str, at: int, by: int) -> None:
        self.last_ts = max(self.last_ts, at)
        inside = user in self.members[name]
        if inside == (by > 0):
            return
        (self.members[name].add if by > 0 else self.members[name].discard)(user)
        self.deltas[name][at // DAY_MS] += by


class Backtest:
    """Takes raw batches of a log in order of time, and tells what the new rules change.

    `events` counts the records, `rejected` those of them that could not be taken in, by reason.
    It keeps what a worker's profile step keeps of every shopper, twice, and the ids of the members of each segment.
    """

    def __init__(
        self,
        old: Ruleset,
        new: Ruleset,
        settings: ProfileSettings,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        metrics, names = Metrics(), Names()
        self.events = 0
        self.rejected: Counter[str] = Counter()
        self._days: tuple[int, int] | None = None
        self._decoder = Decoder(names, metrics, FlowControl(2**62), 1, 1, limits, clock)
        self._parts: frozenset[int] = frozenset()
        self._sides = [
            _Side(
                ruleset,
                Profiles(
                    0,
                    settings,
                    metrics,
                    parts=lambda: self._parts,
                    rules=PlacedRules(ruleset, tuple(range(len(ruleset.names)))),
                ),
            )
            for ruleset in (old, new)
        ]

    def listed(self, parts: Iterable[str]) -> None:
        """These parts of the input will be read."""
        self._parts = frozenset(map(hash_text, parts))

    def take(self, batch: RawBatch) -> None:
        """Take a batch in."""
        self.events += len(batch)
        values: list[EventBatch | Pulse] = []
        for item in self._decoder([batch]):
            if isinstance(item, DeadLetters):
                self.rejected.update(letter.reason for letter in item.letters)
            elif isinstance(item[1], EventBatch | Pulse):
                values.append(item[1])
        for value in values:
            if isinstance(value, EventBatch) and len(value):
                first, last = (int(ts) // DAY_MS for ts in (value.rows["ts"].min(), value.rows["ts"].max()))
                before = self._days or (first, last)
                self._days = min(before[0], first), max(before[1], last)
        for side in self._sides:
            side.take(values)

    def report(self) -> list[SegmentChange]:
        """What became of each segment, in the order of the old rules, then the new ones."""
        old, new = self._sides
        names = dict.fromkeys((*old.ruleset.names, *new.ruleset.names))
        days = {day for side in self._sides for deltas in side.deltas.values() for day in deltas} | set(
            self._days or ()
        )
        span = range(min(days), max(days) + 1) if days else range(0)
        return [self._segment(name, span) for name in names]

    def _segment(self, name: str, span: range) -> SegmentChange:
        old, new = self._sides
        before, after = old.members[name], new.members[name]
        sizes, a, b = [], 0, 0
        for day in span:
            a, b = a + old.deltas[name][day], b + new.deltas[name][day]
            sizes.append((day * DAY_MS, a, b))
        return SegmentChange(
            name,
            name in old.ruleset.names,
            name in new.ruleset.names,
            len(before),
            len(after),
            tuple(sorted(after - before)),
            tuple(sorted(before - after)),
            tuple(sizes),
        )
