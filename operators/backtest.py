"""What other rules would have made of the same history: two profile steps side by side over one log.

Each step asks its own rules of the same events. Compared are the members of each segment at the end of the log, and its
sizes day by day.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from operators.decode import Decoder, Limits
from operators.profile_rules import PlacedRules
from operators.profile_settings import DAY_MS, ProfileSettings
from operators.profiles import Profiles
from operators.rules.ruleset import Ruleset
from state.batches import RULE, EventBatch, ProfileBatch, Pulse, RawBatch
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
        return 1.0 - self.overlap if self.is_old else 0.0


@dataclass(slots=True)
class _Side:
    """One set of rules: its step, who is in what now, and how sizes changed by day."""

    ruleset: Ruleset
    step: Profiles
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    deltas: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

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
        for user, erased in zip(users, rows["erased"].tolist(), strict=True):
            if erased:
                self._forget(user, batch.watermark_ts)
        for position, kind, before, after, at in batch.changes.tolist():
            if kind == RULE:
                name = self.ruleset.names[max(before, after)]
                if after >= 0:
                    self._move(name, users[position], at, 1)
                else:
                    self._move(name, users[position], at, -1)

    def _forget(self, user: str, at: int) -> None:
        for name, members in self.members.items():
            if user in members:
                self._move(name, user, at, -1)

    def _move(self, name: str, user: str, at: int, by: int) -> None:
        inside = user in self.members[name]
        if inside == (by > 0):
            return
        (self.members[name].add if by > 0 else self.members[name].discard)(user)
        self.deltas[name][at // DAY_MS] += by


class Backtest:
    """Takes raw batches of a log in order of time, and tells what the new rules change.

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
        decoded = (item[1] for item in self._decoder([batch]) if isinstance(item, tuple))
        values = [value for value in decoded if isinstance(value, EventBatch | Pulse)]
        for side in self._sides:
            side.take(values)

    def report(self) -> list[SegmentChange]:
        """What became of each segment, in the order of the old rules, then the new ones."""
        old, new = self._sides
        names = dict.fromkeys((*old.ruleset.names, *new.ruleset.names))
        days = sorted({day for side in self._sides for deltas in side.deltas.values() for day in deltas})
        span = range(days[0], days[-1] + 1) if days else range(0)
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
