"""Turns rules by sequence into what `operators.kernels.sequences` runs."""

from __future__ import annotations

import numpy as np

from operators.kernels import sequences as k
from operators.kernels.sequences import Sequences
from operators.rules.programs import ACCEPTED
from operators.rules.read import Rules
from operators.rules.sequences import NUMBERS, TEXTS, Test
from state.hashing import hash_text

_FIELDS = {name: place for place, name in enumerate((*TEXTS, *NUMBERS))}


def compile_sequences(rules: Rules) -> Sequences:
    """The arrays of all sequences, in the order of the rules."""
    found = [(place, rule.sequence) for place, rule in enumerate(rules.by_name.values()) if rule.sequence is not None]
    sequences = [sequence for _, sequence in found]
    steps = [step for sequence in sequences for step in sequence.steps]
    tests = [test for step in steps for test in step.tests]
    ends = np.cumsum([0, *(len(test.texts) for test in tests)])
    return Sequences(
        rules=np.array([place for place, _ in found], np.int64),
        starts=np.cumsum([0, *(len(sequence.steps) for sequence in sequences)]).astype(np.int64),
        within_ms=np.array([sequence.within_ms for sequence in sequences], np.int64),
        stuck_at=np.array([sequence.stuck_at for sequence in sequences], np.int64),
        digests=np.array([sequence.digest for sequence in sequences], np.int64),
        kinds=np.array([step.kind for step in steps], np.int64),
        customs=np.array([hash_text(step.custom) if step.custom else 0 for step in steps], np.uint64),
        tests=np.cumsum([0, *(len(step.tests) for step in steps)]).astype(np.int64),
        fields=np.array([_FIELDS[test.field] for test in tests], np.int64),
        accepted=np.array([_accepted(test) for test in tests], np.int64),
        numbers=np.array([test.number for test in tests], np.float64),
        first_hash=ends[:-1].astype(np.int64),
        last_hash=ends[1:].astype(np.int64),
        hashes=np.array([hash_text(text) for test in tests for text in test.texts], np.uint64),
    )


def _accepted(test: Test) -> int:
    if test.texts:
        return k.IN if test.is_in else k.NOT_IN
    return ACCEPTED[test.operator]
