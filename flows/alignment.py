"""Reading the parts of the input in step: none runs ahead of the others in event time.

What is learnt of a shopper does not depend on the order of coming within the lateness. Live topics keep to that by
themselves; a backlog of several, read as fast as it goes, does not, unless whoever is ahead waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from operators.kernels.event_times import NO_TIME, steady_times
from state.batches import RawBatch
from state.frontiers import AT_END, PARTS_MAX, READ, UNKNOWN, UNOPENED, Frontiers

UNKNOWN_SECONDS_MAX = 10.0
"""The others wait so long for a part of which nothing is known: its broker is out of reach, say."""


class Alignment:
    """Holds parts back that are ahead of the slowest one by more than `ahead_ms` of event time (None: holds nothing).

    A part at its end, for now or for good, holds nobody back; one whose next record is not known does so from its
    newest, for UNKNOWN_SECONDS_MAX. Records dated past the clock by more than `future_ms` count for nothing. `clock`
    gives epoch seconds; `monotonic` seconds that are not set back, the same for all processes.
    """

    def __init__(
        self,
        ahead_ms: int | None = None,
        future_ms: int = 0,
        frontiers: Frontiers | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ahead_ms = ahead_ms
        self._future_ms = future_ms
        self._frontiers = Frontiers() if frontiers is None else frontiers
        self._clock = clock
        self._monotonic = monotonic
        self._listed: list[str] = []
        self._since = monotonic()

    def tell(self, parts: list[str]) -> None:
        """These are all the parts, in the order in which every process has them. Raises ValueError past PARTS_MAX."""
        if len(parts) > PARTS_MAX:
            raise ValueError(f"the input has {len(parts)} parts; at most {PARTS_MAX} can be read")
        self._listed = parts

    def of(self, part: str) -> Pacer:
        """What holds this part back; a part that is not listed is not held."""
        holds = self._ahead_ms is not None and len(self._listed) > 1 and part in self._listed
        return Pacer(self, self._listed.index(part) if holds else None)

    def rows(self) -> np.ndarray:
        """FRONTIER rows of all parts that are listed."""
        return self._frontiers.rows[: len(self._listed)]

    def limit_ms(self, place: int) -> int:
        """The event time up to which the part in this place may be read now."""
        rows = self.rows()
        state = rows["state"]
        since = np.where(state == UNOPENED, self._since, rows["since"])
        given_up = (state != READ) & (self._monotonic() - since >= UNKNOWN_SECONDS_MAX)
        holds = (state != AT_END) & ~given_up
        holds[place] = False
        least = int(rows["ts"][holds].min(initial=np.iinfo(np.int64).max // 2))
        assert self._ahead_ms is not None
        return least + self._ahead_ms

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return self._monotonic()

    def newest_ms(self) -> int:
        """The latest event time that is believed."""
        return int(self._clock() * 1000) + self._future_ms


class Pacer:
    """Tells how far one part may be read, and the others how far it is."""

    def __init__(self, alignment: Alignment, place: int | None) -> None:
        self._alignment = alignment
        self._place = place
        self._row: Any = None if place is None else alignment.rows()[place]
        self._seen: tuple[int, int] | None = None
        self._times = np.empty(0, np.int64)

    def allow(self, batch: RawBatch) -> int:
        """These records are next: how many of them may be handed out?"""
        if self._place is None:
            return len(batch)
        seen = (int(batch.offsets[0]), len(batch))
        if seen != self._seen:
            self._seen = seen
            buffer, starts, ends, _ = batch.arrays()
            self._times = steady_times(buffer, starts, ends, self._alignment.newest_ms())
        allowed = int(np.searchsorted(self._times, self._alignment.limit_ms(self._place), side="right"))
        next_ms = self._times[min(allowed, len(batch) - 1)]
        if next_ms != NO_TIME:
            self._row["ts"] = next_ms
        self._row["state"] = READ
        return allowed

    def has_none(self, at_end: bool) -> None:
        """It has no record now: because there is none, or because it is not known whether there is one?"""
        if self._place is None:
            return
        state = AT_END if at_end else UNKNOWN
        if state == UNKNOWN and self._row["state"] != UNKNOWN:
            self._row["since"] = self._alignment.now()
        self._row["state"] = state
