"""Which rung of the ladder goes first: how often what each of them shows is what a shopper turns to next.

What is popular in a category is worth a lot in one shop and little in another, where people turn from bread to butter.
So rungs are held against each other on the lists that stood: predict, then learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.kernels.candidates import TRIED
from state.compiled import kernel
from state.rungs import CATEGORY, RUNG_BITS, RUNGS

COMPARED = 2
"""By so many places of each rung of the ladder in a list they are compared."""

COMPARED_MAX = 200_000.0

PLACES_BEFORE = 1000.0
"""A rung counts as if one of so many places had been hit before the first was judged."""


def no_rates() -> np.ndarray:
    """`rates` of `compare_rungs` before the first list was judged."""
    return np.zeros((len(RUNGS), 2))


def best_first(ladder: Sequence[int], rates: np.ndarray) -> np.ndarray:
    """Rungs int64 by how often their places were hit, the most often first; of equal ones as they stood."""
    hit = {rung: (float(rates[rung, 0]) + 1.0) / (float(rates[rung, 1]) + PLACES_BEFORE) for rung in ladder}
    return np.array(sorted(ladder, key=lambda rung: -hit[rung]), np.int64)


@kernel
def _rung_at(rungs, k):
    return np.int64((rungs >> np.uint64(RUNG_BITS * k)) & np.uint64((1 << RUNG_BITS) - 1))


@kernel
def compare_rungs(ranks, counts, rungs, rates):
    """Add up how often the rungs of the ladder were hit, by acts and the lists that stood before each.

    `ranks` int8[n] as `find_ranks` writes them, `counts` uint8[n] and `rungs` uint64[n] of the lists; added to: `rates`
    float64[RUNGS, 2], of the first COMPARED places of each rung how many were hit and how many there were, all halved
    when there are COMPARED_MAX of one. Rungs are compared by what each of them shows first, and where the ladder filled
    TRIED places and more, for in others only the best one of it stands. Others than those of the ladder count nothing.
    """
    seen = np.zeros(len(rates), np.int64)
    for i in range(len(ranks)):
        if ranks[i] < 0:
            continue
        begin = np.int64(counts[i])
        while begin > 0 and _rung_at(rungs[i], begin - 1) >= CATEGORY:
            begin -= 1
        if counts[i] - begin < TRIED:
            continue
        seen[:] = 0
        for k in range(begin, counts[i]):
            rung = _rung_at(rungs[i], k)
            seen[rung] += 1
            if seen[rung] <= COMPARED:
                rates[rung, 0] += ranks[i] == k + 1
                rates[rung, 1] += 1.0
                if rates[rung, 1] >= COMPARED_MAX:
                    rates[:] *= 0.5


def compare_rungs_reference(cases: Sequence[tuple[int, Sequence[int]]]) -> dict[int, list[int]]:
    """The plain reference, short of halving: by rung hits and places, of (rank, rung of each place); ladder last."""
    rates: dict[int, list[int]] = {}
    for rank, rungs in cases:
        filled = [(place, rung) for place, rung in enumerate(rungs, start=1) if rung >= CATEGORY]
        for rung in {rung for _, rung in filled} if rank >= 0 and len(filled) >= TRIED else ():
            places = [place for place, other in filled if other == rung][:COMPARED]
            known = rates.setdefault(rung, [0, 0])
            known[0] += rank in places
            known[1] += len(places)
    return rates
