"""The cards of segments: names and traits that people understand, and the lineage, kept from version to version."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from operators.learn.lineage import fate, origin
from operators.segment_names import name_of, traits
from state.metrics import Metrics
from state.models import SegmentCard

RETIRED_MAX = 64
"""Most cards of retired segments a model carries; the oldest go first."""

RENAME_MOVE = 0.35
"""A segment keeps its name until its centre is so many standard deviations (root mean square) from where it got it."""

RENAME_MOVE_ONE = 0.75
"""Or until one feature alone has moved so far: a name that says "evening" must not outlive the evenings."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A version in the making, as the cards need it.

    Of the k segments: `centres` float64[k, d] standardised by `mean`, `scale` float64[d], `shares` float64[k],
    `numbers` and `macros` int32[k]. Of n samples, a choice of all that count: `natural` float32[n, d] in natural units,
    the number of the segment each is in `now` and was in `before` (int32[n]; empty at first), whether it was `far` from
    that bool[n].
    """

    centres: np.ndarray
    shares: np.ndarray
    numbers: np.ndarray
    macros: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    natural: np.ndarray
    now: np.ndarray
    before: np.ndarray
    far: np.ndarray

    def own_mean(self, place: int) -> np.ndarray:
        """Means float64[d] of a segment's samples in natural units; of its centre where it has none."""
        own = self.natural[self.now == self.numbers[place]]
        if len(own):
            return np.asarray(own.mean(0, dtype=np.float64))
        centre = self.centres[place] * self.scale + self.mean
        return np.asarray(np.sign(centre) * np.expm1(np.abs(centre)))


class SegmentCards:
    """Makes each version's cards from those of the version before; `named` is what a snapshot keeps of it.

    `named`: number -> name, and the centre float64[d] (log1p) that got it; bounded by the live segments.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.named: dict[int, tuple[str, np.ndarray]] = {}

    def make(self, known: list[SegmentCard], fit: Fit, newest_ts: int) -> list[SegmentCard]:
        """Cards of the live segments in the order of the centres, then those of the retired, newest first."""
        old = {card.number: card for card in known}
        names = self._names(fit)
        all_mean = fit.natural.mean(0, dtype=np.float64)
        cards = []
        for place, number in enumerate(fit.numbers.tolist()):
            card = old.pop(number, None) or self._newborn(number, fit, newest_ts)
            if card.retired_at:  # it was missed for a moment only
                card = replace(card, retired_at=0, retired_by="", heirs=[])
            cards.append(
                replace(
                    card,
                    macro=int(fit.macros[place]),
                    name=names[number],
                    traits=traits(fit.centres[place], fit.own_mean(place), all_mean),
                    share=float(fit.shares[place]),
                )
            )
        retired = [card if card.retired_at else self._retire(card, fit, newest_ts) for card in old.values()]
        retired.sort(key=lambda card: (-card.retired_at, -card.number))
        return cards + retired[:RETIRED_MAX]

    def _newborn(self, number: int, fit: Fit, newest_ts: int) -> SegmentCard:
        born_by, parents = "birth", list[int]()
        if len(fit.before):
            own = fit.now == number
            gone = set(fit.before.tolist()) - set(fit.numbers.tolist())
            born_by, parents = origin(fit.before[own], fit.far[own], gone)
        self._metrics.lineage.labels(change=born_by).inc()
        return SegmentCard(number, 0, "", [], 0.0, newest_ts, parents, born_by=born_by)

    def _retire(self, card: SegmentCard, fit: Fit, newest_ts: int) -> SegmentCard:
        retired_by, heirs = fate(fit.now[(fit.before == card.number) & ~fit.far])
        self._metrics.lineage.labels(change=retired_by).inc()
        return replace(card, share=0.0, retired_at=newest_ts, retired_by=retired_by, heirs=heirs)

    def _names(self, fit: Fit) -> dict[int, str]:
        """A name for each live segment, unlike all others; one that has not moved much keeps the name it has."""
        logs = fit.centres * fit.scale + fit.mean
        named: dict[int, tuple[str, np.ndarray]] = {}
        for place, number in enumerate(fit.numbers.tolist()):
            if number in self.named:
                moved = (logs[place] - self.named[number][1]) / fit.scale
                if np.sqrt((moved**2).mean()) < RENAME_MOVE and np.abs(moved).max() < RENAME_MOVE_ONE:
                    named[number] = self.named[number]
        taken = {name for name, _ in named.values()}
        for place in np.argsort(-fit.shares, kind="stable").tolist():
            number = int(fit.numbers[place])
            if number not in named:
                name = name_of(fit.centres[place], fit.own_mean(place), number, taken)
                named[number] = (name, logs[place])
                taken.add(name)
        self.named = named
        return {number: name for number, (name, _) in named.items()}
