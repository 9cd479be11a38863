"""Judging the lists that stood: did what the shopper turned to next stand in the list they had before?"""

from __future__ import annotations

import numpy as np

from state.batches import LIST_LENGTH
from state.compiled import kernel


@kernel
def judge(acts, row_of, lists, counts, out):
    """Score acts against the standing lists: predict, then learn.

    `acts` ACT[n] in event order; `row_of` int32[m], the table row of each place; `lists` uint64[rows, 20], `counts`
    uint8[rows]. An act counts when the shopper had looked at another item before it, and when it is their first of the
    batch: for their further ones no list could have been served yet. `out` float64[3] is added to: cases, hits, sum of
    reciprocal ranks.
    """
    judged = np.zeros(len(row_of), np.uint8)
    for i in range(len(acts)):
        place = acts[i].position
        if judged[place]:
            continue
        judged[place] = 1
        if acts[i].previous == np.uint64(0):
            continue
        out[0] += 1
        row = row_of[place]
        for k in range(counts[row]):
            if lists[row, k] == acts[i].item:
                out[1] += 1
                out[2] += 1.0 / (k + 1)
                break


def judge_reference(cases: list[tuple[int, int, int, list[int]]]) -> tuple[int, int, float]:
    """`judge` in plain Python over (place, item, previous, standing list)."""
    first = {place: (item, previous, standing) for place, item, previous, standing in reversed(cases)}
    counted = [(item, standing) for item, previous, standing in first.values() if previous]
    ranks = [standing.index(item) + 1 for item, standing in counted if item in standing]
    return len(counted), len(ranks), sum(1.0 / r for r in ranks)


@kernel
def collect_answers(answers, items, scores, counts):
    """Lay ANSWER rows out by place and slot: items uint64[m, s, 32], scores float32[m, s, 32], counts uint8[m, s]."""
    for i in range(len(answers)):
        answer = answers[i]
        p, s = answer.position, answer.slot
        counts[p, s] = answer.count
        for k in range(answer.count):
            items[p, s, k] = answer.items[k]
            scores[p, s, k] = answer.scores[k]


def empty_lists(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Room for n lists: items uint64[n, 20], scores float32[n, 20], because uint64[n, 20], counts uint8[n]."""
    return (
        np.zeros((n, LIST_LENGTH), np.uint64),
        np.zeros((n, LIST_LENGTH), np.float32),
        np.zeros((n, LIST_LENGTH), np.uint64),
        np.zeros(n, np.uint8),
    )
