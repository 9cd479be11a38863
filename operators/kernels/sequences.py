"""Sequences of events as small automata: how far each shopper has come in each, kept as cells.

For each number of steps that a shopper has done in order, the cell holds the time at which the newest such run began: a
run that began later lies within the span for longer, so no other run needs to be kept. Cells run out with the span.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from operators.kernels.rules import EQUAL, GREATER, LESS
from operators.kernels.slabs import find_cell, push_cell, remove_cell
from operators.kernels.triggers import NEVER
from state.batches import CUSTOM, MONEY_UNIT, PURCHASE
from state.compiled import kernel

Sequences = namedtuple(
    "Sequences",
    [
        "rules",
        "starts",
        "within_ms",
        "stuck_at",
        "digests",
        "kinds",
        "customs",
        "tests",
        "fields",
        "accepted",
        "numbers",
        "first_hash",
        "last_hash",
        "hashes",
    ],
)
"""The sequences of a shop. Of sequence q: `rules` int64[q] its rule; its steps are starts[q] to starts[q + 1] (`starts`
int64[q + 1]); `within_ms`, `stuck_at`, `digests` int64[q]. Of step s: `kinds` int64[s], `customs` uint64[s], its tests
are tests[s] to tests[s + 1]. Of test t: `fields`, `accepted` int64[t], `numbers` float64[t]; of a text, one of
hashes[first_hash[t]:last_hash[t]]."""

ITEM_ID, CATEGORY, DEVICE, CHANNEL, COUNTRY, PRICE, QUANTITY, VALUE = range(8)
"""Fields of an event; the first five are texts."""

IN, NOT_IN = 1, 0
"""What a test of a text accepts; of a number it is a sum of LESS, EQUAL and GREATER."""

_STAGES = 16


@kernel
def _text_of(event, told, field):
    if field == ITEM_ID:
        return event.item
    if field == CATEGORY:
        return told[3]
    return told[field - DEVICE]


@kernel
def _passes(sequences, t, event, told, price):
    field = sequences.fields[t]
    if field <= COUNTRY:
        text = _text_of(event, told, field)
        found = False
        for k in range(sequences.first_hash[t], sequences.last_hash[t]):
            found |= text == sequences.hashes[k]
        return text != np.uint64(0) and found == (sequences.accepted[t] == IN)
    x = price / MONEY_UNIT if field == PRICE else event.value
    if field == PRICE and price < 0:
        return False
    n = sequences.numbers[t]
    sign = LESS if x < n else (EQUAL if x == n else GREATER)
    return sequences.accepted[t] & sign != 0


@kernel
def _matches(sequences, s, event, told, price):
    """Is an event, of the kind of step s, one that it asks for?"""
    kind = event.kind
    if kind == CUSTOM and event.aux != sequences.customs[s]:
        return False
    if kind == PURCHASE and event.value <= 0:
        return False
    for t in range(sequences.tests[s], sequences.tests[s + 1]):
        if not _passes(sequences, t, event, told, price):
            return False
    return True


@kernel
def _began(cells, chain, tag, digest):
    """When the newest run of a sequence began; -1 where there is none."""
    c, k = find_cell(cells, chain, tag, digest)
    return cells.rows[c].amounts[k] if c >= 0 else np.int64(-1)


@kernel
def go_on(cells, row, sequences, places, event, told, price):
    """See how far an event (EVENT row; `told` uint64[4] the hashes of its device, channel, country and category,
    `price` its money, -1 for none) takes its shopper in each sequence."""
    for q in range(len(sequences.rules)):
        first = sequences.starts[q]
        n = sequences.starts[q + 1] - first
        base = places[sequences.rules[q]] * _STAGES
        for k in range(n - 1, -1, -1):  # from the last: one event is one step of a run
            if sequences.kinds[first + k] != event.kind or not _matches(sequences, first + k, event, told, price):
                continue
            began = event.ts
            if k > 0:
                began = _began(cells, row.sequences, base + k, sequences.digests[q])
                if began < 0 or event.ts - began > sequences.within_ms[q] or event.ts < began:
                    continue
            c, j = find_cell(cells, row.sequences, base + k + 1, sequences.digests[q])
            if c < 0:
                row.sequences = push_cell(cells, row.sequences, base + k + 1, sequences.digests[q], began)
            elif cells.rows[c].amounts[j] < began:
                cells.rows[c].amounts[j] = began
                cells.dirty[c] = 1


@kernel
def _judged(sequences, q):
    """How many steps decide on a sequence."""
    return sequences.stuck_at[q] if sequences.stuck_at[q] > 0 else sequences.starts[q + 1] - sequences.starts[q]


@kernel
def judge(cells, row, sequences, places, at):
    """The bits (uint64) of the rules by sequence that hold as of `at`."""
    true = np.uint64(0)
    for q in range(len(sequences.rules)):
        base = places[sequences.rules[q]] * _STAGES
        stage = _judged(sequences, q)
        began = _began(cells, row.sequences, base + stage, sequences.digests[q])
        holds = began >= 0 and at - began <= sequences.within_ms[q]
        if holds and sequences.stuck_at[q] > 0:
            holds = _began(cells, row.sequences, base + stage + 1, sequences.digests[q]) < began
        if holds:
            true |= np.uint64(1) << np.uint64(places[sequences.rules[q]])
    return true


@kernel
def runs_out_ms(cells, row, sequences, places, now):
    """When, after now, a run that makes the shopper a member is over; NEVER where there is none."""
    at = NEVER
    for q in range(len(sequences.rules) if row.sequences > 0 else 0):
        tag = places[sequences.rules[q]] * _STAGES + _judged(sequences, q)
        began = _began(cells, row.sequences, tag, sequences.digests[q])
        if began >= 0 and began + sequences.within_ms[q] >= now:
            at = min(at, began + sequences.within_ms[q] + 1)
    return at


@kernel
def tidy(cells, row, sequences, places, now):
    """Give back one cell of a run that is over, or of a sequence that is no more; False where there is none."""
    c = np.int64(row.sequences) - 1
    while c >= 0:
        k = np.int64(cells.rows[c].count) - 1
        after = np.int64(cells.rows[c].next) - 1
        while k >= 0:
            alive = False
            for q in range(len(sequences.rules)):
                if (
                    cells.rows[c].tags[k] // _STAGES == places[sequences.rules[q]]
                    and cells.rows[c].keys[k] == sequences.digests[q]
                    and cells.rows[c].amounts[k] + sequences.within_ms[q] >= now
                ):
                    alive = True
            if not alive:
                row.sequences = remove_cell(cells, row.sequences, c, k)
                return True
            k -= 1
        c = after
    return False
