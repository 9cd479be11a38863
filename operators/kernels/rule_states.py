"""Who enters and leaves the rule segments, and when: in event time, however the events were batched.

A condition is a matter of the shopper's features, which change by events and by the passing of time. So it is asked
after each event, and at each time at which a feature it looks at crosses a number it is compared with. Where a shopper
acts once in a batch, as most do, that is done for many at the end of it (`settle_all`); who acts again in the same
batch, or acts after time has changed something, is caught up with first (`catch_up`).
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from operators.kernels.feature_columns import features_of
from operators.kernels.feature_crossings import crossing_of, stays
from operators.kernels.rules import evaluate_one
from operators.kernels.sequences import judge, runs_out_ms, tidy
from operators.kernels.slabs import give_back, take_row
from operators.kernels.triggers import NEVER
from state.batches import RULE
from state.compiled import borrowed, inlined, kernel
from state.profile_table import RULE_STATES_MAX

Rules = namedtuple(
    "Rules",
    [
        "plan",
        "thresholds",
        "code",
        "constants",
        "hashes",
        "absents",
        "places",
        "hold_ms",
        "version",
        "members",
        "sequences",
        "numbers",
        "texts",
        "points",
        "values",
        "truths",
        "room",
    ],
)
"""The rules of a shop as kernels see them.

`plan` Plan and `thresholds` Thresholds of the features; `code`, `constants`, `hashes` the program; `absents`
float64[k] what stands for a number that is not there; `places` int64[rules] the bit of each rule in a set of them;
`hold_ms` int64[rules]; `version` of them all, 0 to 255; `members` int64[RULES_MAX] how many shoppers each bit has;
`sequences` Sequences. Room for one shopper: `numbers` float64[k], `texts` uint64[t], `points` float64[scores], `values`
float64[STACK_MAX], `truths` int64[STACK_MAX], `room` Room.
"""


@kernel
def fill_absent(numbers, absents):
    """Put what stands for a number that is not there (nan) in its place."""
    for i in range(len(numbers)):
        for k in range(len(absents)):
            if np.isnan(numbers[i, k]):
                numbers[i, k] = absents[k]


@kernel
def _find_state(states, row, rule):
    if row.rule_states > 0:
        held = states.rows[row.rule_states - 1]
        for k in range(np.int64(held.count)):
            if held.rule[k] == rule:
                return k
    return -1


@kernel
def _forget_state(states, row, k):
    held = states.rows[row.rule_states - 1]
    last = np.int64(held.count) - 1
    held.rule[k] = held.rule[last]
    held.since[k] = held.since[last]
    held.rule[last] = 0
    held.since[last] = 0
    held.count = last
    states.dirty[row.rule_states - 1] = 1
    if last == 0:
        give_back(states, row.rule_states - 1)
        row.rule_states = 0


@kernel
def _hold_from(states, row, rule, at):
    """Let a rule hold the shopper from `at` on; False where there is no room for it."""
    if row.rule_states == 0:
        row.rule_states = take_row(states) + 1
    held = states.rows[row.rule_states - 1]
    n = np.int64(held.count)
    if n == RULE_STATES_MAX:
        return False
    held.rule[n] = rule
    held.since[n] = at
    held.count = n + 1
    states.dirty[row.rule_states - 1] = 1
    return True


@kernel
def _tell(out, n, position, before, after, at):
    out[n].position = position
    out[n].kind = RULE
    out[n].before = before
    out[n].after = after
    out[n].at = at
    return n + 1


@kernel
def _enter_and_leave(states, row, rules, true, position, at, out, n):
    for k in range(len(rules.places)):
        place = rules.places[k]
        bit = np.uint64(1) << np.uint64(place)
        is_member = row.rules & bit != 0
        holds = true & bit != 0
        held = _find_state(states, row, place)
        if held >= 0 and (holds or not is_member or rules.hold_ms[k] == 0):
            _forget_state(states, row, held)  # true again; or a hold of a rule that said something else
            held = -1
        if not holds and not is_member:
            continue
        if holds:
            if not is_member:
                row.rules |= bit
                rules.members[place] += 1
                n = _tell(out, n, position, -1, place, at)
            continue
        if rules.hold_ms[k] > 0:
            if held < 0 and _hold_from(states, row, place, at):
                continue
            if held >= 0:
                ends = states.rows[row.rule_states - 1].since[held] + rules.hold_ms[k]
                if at < ends:
                    continue
                _forget_state(states, row, held)
        row.rules &= ~bit
        rules.members[place] -= 1
        n = _tell(out, n, position, place, -1, at)
    return n


@inlined
def settle(slabs, row, rules, true, position, at, out, n):
    """The conditions whose bits are in `true` (uint64), those of sequences still to be added, hold as of `at`: write
    what the shopper enters and leaves to `out` (TRANSITION) from place n on, which has room for as many as there are
    rules; how many there are now."""
    if row.sequences > 0 and len(rules.sequences.rules) > 0:
        while row.sequences > 0 and tidy(slabs.cells, row, rules.sequences, rules.places, at):
            pass
        true |= judge(slabs.cells, row, rules.sequences, rules.places, at)
    if true == row.rules and row.rule_states == 0:
        return n
    return _enter_and_leave(slabs.rule_states, row, rules, true, position, at, out, n)


@inlined
def _soonest(slabs, row, rules, crossing_ms, now):
    """When, after now, a feature crosses a number, a run of a sequence is over or a rule lets go; 0 for never."""
    at = np.int64(crossing_ms)
    if row.sequences > 0:
        at = min(at, runs_out_ms(slabs.cells, row, rules.sequences, rules.places, now))
    if row.rule_states > 0:
        held = slabs.rule_states.rows[row.rule_states - 1]
        for j in range(np.int64(held.count)):
            for k in range(len(rules.places)):
                ends = held.since[j] + rules.hold_ms[k]
                if rules.places[k] == held.rule[j] and ends > now:
                    at = min(at, ends)
    return max(at, now + 1) if at < NEVER else np.int64(0)


@inlined
def _ask(profiles, sessions, slabs, rules, r, at, gap_ms):
    """The bits of the conditions that hold as of `at` for the shopper of row r."""
    numbers, texts = rules.numbers, rules.texts
    features_of(profiles.rows[r], sessions.rows[r], slabs, at, gap_ms, rules.plan, rules.room, numbers, texts)
    for k in range(len(numbers)):
        if np.isnan(numbers[k]):
            numbers[k] = rules.absents[k]
    return evaluate_one(
        rules.code,
        rules.constants,
        rules.hashes,
        numbers,
        texts,
        rules.places,
        rules.points,
        rules.values,
        rules.truths,
    )


@kernel
def _next_ms(profiles, sessions, slabs, rules, r, at, gap_ms):
    """When after `at` time alone may change a segment of the shopper of row r."""
    row = profiles.rows[r]
    crossing_ms = crossing_of(row, sessions.rows[r], slabs, at, gap_ms, rules.plan, rules.thresholds, rules.room)
    return _soonest(slabs, row, rules, crossing_ms, at)


@kernel
def pass_time(profiles, sessions, slabs, rules, r, until_ms, gap_ms, position, out, n):
    """See what time alone changes for the shopper of row r up to `until_ms`, as far as `out` has room for it: how many
    transitions there are now. Where it had not, the row's `crossing` is still to come."""
    row = profiles.rows[r]
    while 0 < row.crossing <= until_ms and n + len(rules.places) <= len(out):
        true = _ask(profiles, sessions, slabs, rules, r, row.crossing, gap_ms)
        n = settle(slabs, row, rules, true, position, row.crossing, out, n)
        row.crossing = _next_ms(profiles, sessions, slabs, rules, r, row.crossing, gap_ms)
        row.rules_version = rules.version
        profiles.dirty[r] = 1
    return n


@inlined
def catch_up(profiles, sessions, slabs, rules, r, acted, until_ms, gap_ms, position, out, n):
    """Before an event at `until_ms` is taken in: what followed for the shopper of row r from the one before, where that
    was in this batch (`acted`), and from the time in between. How many transitions there are now. Where `out` has no
    room for all, those in between are left out, and that is counted in the head of the slab."""
    row = profiles.rows[r]
    if acted and n + len(rules.places) <= len(out):
        true = _ask(profiles, sessions, slabs, rules, r, row.event_ts, gap_ms)
        n = settle(slabs, row, rules, true, position, row.event_ts, out, n)
        # When time changes something matters only if that comes first: asked after its last event the shopper is told.
        if stays(rules.numbers, sessions.rows[r], row.event_ts, until_ms - 1, gap_ms, rules.plan, rules.thresholds):
            row.crossing = _soonest(slabs, row, rules, NEVER, row.event_ts)
        else:
            row.crossing = _next_ms(profiles, sessions, slabs, rules, r, row.event_ts, gap_ms)
    if 0 < row.crossing < until_ms:
        n = pass_time(profiles, sessions, slabs, rules, r, until_ms - 1, gap_ms, position, out, n)
    if n + len(rules.places) > len(out):
        slabs.rule_states.head[3] += 1
    return n


@kernel
def settle_all(profiles, slabs, rules, who, as_of, true, crossing, out, n):
    """The conditions of the shoppers of rows who[i], at positions i, hold as of as_of[i]: `true` uint8[m, rules];
    `crossing` int64[m] when time may change a feature next."""
    profiles, slabs, rules = borrowed((profiles, slabs, rules))
    for i in range(len(who)):
        row = profiles.rows[who[i]]
        row.crossing = 0
        if row.events == 0 or row.refused:
            continue
        bits = np.uint64(0)
        for k in range(len(rules.places)):
            bits |= np.uint64(true[i, k]) << np.uint64(rules.places[k])
        n = settle(slabs, row, rules, bits, i, as_of[i], out, n)
        row.crossing = _soonest(slabs, row, rules, crossing[i], as_of[i])
        row.rules_version = rules.version
        profiles.dirty[who[i]] = 1
    return n
