"""Judging the lists that stood: did what the shopper turned to next stand in the list they had before?"""

from __future__ import annotations

import numpy as np

from state.compiled import kernel
from state.rungs import RUNG_BITS

NOT_JUDGED = -1
"""The rank of an act that says nothing about a list."""


@kernel
def find_ranks(acts, row_of, lists, counts, ranks):
    """At which place of the list that stood was what a shopper turned to: predict, then learn.

    `acts` ACT[n] in event order; `row_of` int32[m], the table row of each place; `lists` uint64[rows, 20], `counts`
    uint8[rows]. `ranks` int8[n] is filled: 1 to 20, 0 where it is not in the list, NOT_JUDGED. An act is judged when
    the shopper had looked at another item before it, and when it is their first of the batch: for their further ones no
    list could have been served yet.
    """
    met = np.zeros(len(row_of), np.uint8)
    for i in range(len(acts)):
        place = acts[i].position
        ranks[i] = NOT_JUDGED
        if met[place]:
            continue
        met[place] = 1
        if acts[i].previous == np.uint64(0):
            continue
        ranks[i] = 0
        row = row_of[place]
        for k in range(counts[row]):
            if lists[row, k] == acts[i].item:
                ranks[i] = k + 1
                break


def find_ranks_reference(cases: list[tuple[int, int, int, list[int]]]) -> list[int]:
    """`find_ranks` in plain Python over (place, item, previous, standing list)."""
    first = {place: n for n, (place, *_) in reversed(list(enumerate(cases)))}
    return [
        (standing.index(item) + 1 if item in standing else 0) if previous and first[place] == n else NOT_JUDGED
        for n, (place, item, previous, standing) in enumerate(cases)
    ]


@kernel
def add_hits(ranks, rungs, hits, judged):
    """Add up what `find_ranks` found in lists, of acts with `rungs` uint64[n] of the list of each: to `hits`
    int64[RUNGS] by where the items came from, to `judged` float64[3] cases, hits and the sum of reciprocal ranks."""
    for i in range(len(ranks)):
        if ranks[i] < 0:
            continue
        judged[0] += 1
        if ranks[i] > 0:
            judged[1] += 1
            judged[2] += 1.0 / ranks[i]
            of_place = rungs[i] >> np.uint64(RUNG_BITS * (ranks[i] - 1))
            hits[of_place & np.uint64((1 << RUNG_BITS) - 1)] += 1


@kernel
def collect_answers(answers, list_rows, items, scores, counts, categories):
    """Lay ANSWER rows out by list and slot: items uint64[m, s, 32], scores float32[m, s, 32], counts uint8[m, s]; and
    the category of the item at the first slot, the current one, by list: categories uint64[m].

    `list_rows` int32 gives the list of each place (-1: none is made)."""
    for i in range(len(answers)):
        answer = answers[i]
        p, s = list_rows[answer.position], answer.slot
        if p >= 0:
            counts[p, s] = answer.count
            if s == 0:
                categories[p] = answer.category
            for k in range(answer.count):
                items[p, s, k] = answer.items[k]
                scores[p, s, k] = answer.scores[k]


@kernel
def choose(
    profiles, scores, held, dirty, rescored_by, alive_ts, who, list_rows, recent, recent_n, favourites, segments
):
    """Decide for each shopper of a batch whether to write the record, and whether to make a new list.

    Who did not act is written when their segments changed, or the margin or a propensity has moved by more than
    `rescored_by` since it was last written (by less, the record stays as it is), unless their newest event is older
    than `alive_ts`: their record has expired and is not to come back.
    `profiles` PROFILE[n], `scores` SCORE[n]; `held` LIST_ROW[rows], what stands in Redis (cleared here for who is new
    or erased), and its `dirty`. Out: `who` int32[n] the places to write, `list_rows` int32[n] the new list of each
    place or -1; `recent` uint64[n, 8], `recent_n` uint8[n], `favourites` uint64[n], `segments` int32[n] by list.
    Returns (places, lists).
    """
    n_who = n_lists = 0
    for p in range(len(profiles)):
        profile, score = profiles[p], scores[p]
        row = held[profile.row]
        anew = profile.fresh != 0 or profile.erased != 0
        if anew:
            for k in range(len(row.items)):
                row.items[k] = 0
            row.count = 0
            row.rungs = 0
            row.rules = 0
            row.segment = -1
            row.margin = 0
            row.purchase = 0
            row.churn = 0
            dirty[profile.row] = 1
        list_rows[p] = -1
        if profile.acts > 0 or profile.fresh:
            list_rows[p] = n_lists
            recent_n[n_lists] = profile.recent_n
            favourites[n_lists] = profile.favourite
            segments[n_lists] = score.segment
            for k in range(len(profile.recent)):
                recent[n_lists, k] = profile.recent[k]
            n_lists += 1
        purchase = np.float32(0.0) if np.isnan(score.purchase) else score.purchase
        churn = np.float32(0.0) if np.isnan(score.churn) else score.churn
        margin = np.float32(0.0) if np.isnan(score.margin) else score.margin
        moved = (
            score.segment != row.segment
            or profile.rules != row.rules
            or abs(margin - row.margin) > rescored_by
            or abs(purchase - row.purchase) > rescored_by
            or abs(churn - row.churn) > rescored_by
        )
        acted = profile.acts > 0 or anew
        if acted or (moved and profile.event_ts >= alive_ts):
            who[n_who] = p
            n_who += 1
    return n_who, n_lists


@kernel
def keep(profiles, scores, held, dirty, who, list_rows, items, counts, rungs):
    """Note what now stands in Redis of the places `who`; an erased shopper who did not act again stays cleared."""
    for i in range(len(who)):
        p = who[i]
        profile, score = profiles[p], scores[p]
        if profile.erased and profile.acts == 0:
            continue
        row = held[profile.row]
        row.segment = score.segment
        row.margin = 0.0 if np.isnan(score.margin) else score.margin
        row.rules = profile.rules
        row.purchase = 0.0 if np.isnan(score.purchase) else score.purchase
        row.churn = 0.0 if np.isnan(score.churn) else score.churn
        k = list_rows[p]
        if k >= 0:
            row.count = counts[k]
            row.rungs = rungs[k]
            for j in range(len(row.items)):
                row.items[j] = items[k, j]
        dirty[profile.row] = 1
