"""Compiled loops that tell why a shopper is scored as they are: the few features that count most, for the record.

`operators.explain_segment` and `operators.explain_propensity` tell the same of one shopper, of all features and in
full. Shapes: n rows, d features (those of segments, or MODEL_FEATURES), e inputs (PROPENSITY_INPUTS), k centres.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.logistic import STANDARD_MAX
from state.batches import EXPLAINED, WHY_LENGTH
from state.compiled import kernel
from state.features import CROSSED_PAIRS

SEGMENT = EXPLAINED.index("segment")

_MAX = np.float32(STANDARD_MAX)
_PAIRS = np.array(CROSSED_PAIRS, np.int64)


@kernel
def _keep(which, amounts, feature, amount):
    """Put a feature among the strongest, int32[WHY_LENGTH] and float32[WHY_LENGTH], in place of the last of them: the
    greatest amount either way comes first, of equal ones the earlier feature. The size of what is last now."""
    size = abs(amount)
    at = WHY_LENGTH - 1
    while at > 0 and size > abs(amounts[at - 1]):
        which[at], amounts[at] = which[at - 1], amounts[at - 1]
        at -= 1
    which[at], amounts[at] = feature, amount
    return abs(amounts[WHY_LENGTH - 1])


def _strongest_reference(parts: np.ndarray) -> list[list[tuple[int, float]]]:
    """Of amounts float[n, d] the WHY_LENGTH greatest either way of each row, 0 left out: [(feature, amount)]."""
    parts = parts.astype(np.float32)
    order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :WHY_LENGTH]
    return [[(j, float(row[j])) for j in places if row[j]] for row, places in zip(parts, order.tolist(), strict=True)]


@kernel
def strongest_pulls(logs, mean, scale, centres, numbers, chosen, others, scores):
    """What holds each row at its centre rather than at the nearest other one.

    logs float32[n, d or more], mean, scale float32[d], centres float32[k, d] as of `assign`, chosen and others int32[n]
    what it filled (-1: there is no other one), numbers int32[k]. Of scores SCORE[n] `other` and the row SEGMENT of
    `why` and `why_by` (0 until now) are filled: the features in which the squared distance to the other centre exceeds
    that to the chosen one most.
    """
    d = centres.shape[1]
    for i in range(logs.shape[0]):
        if others[i] < 0:
            continue
        score = scores[i]
        which, amounts = score.why[SEGMENT], score.why_by[SEGMENT]
        score.other = numbers[others[i]]
        least = np.float32(0.0)
        for j in range(d):
            z = np.float64((logs[i, j] - mean[j]) / scale[j])
            own, other = z - centres[chosen[i], j], z - centres[others[i], j]
            gap = np.float32(other * other - own * own)
            if gap > least:
                least = _keep(which, amounts, j, gap)


def strongest_pulls_reference(
    logs: np.ndarray, mean: np.ndarray, scale: np.ndarray, centres: np.ndarray, chosen: np.ndarray, others: np.ndarray
) -> list[list[tuple[int, float]]]:
    """The plain reference of `strongest_pulls`: of each row [(feature, amount)]."""
    z = ((logs[:, : len(mean)] - mean) / scale).astype(np.float64)
    gaps = (z - centres[others]) ** 2 - (z - centres[chosen]) ** 2
    return _strongest_reference(np.where((others[:, None] >= 0) & (gaps > 0.0), gaps, 0.0))


@kernel
def strongest_contributions(inputs, mean, scale, weights, place, scores):
    """What adds to the log-odds of each row or takes from them, a product of two features being theirs in halves.

    inputs float32[n, e], mean, scale, weights float32[e] as of `logistic`. Of scores SCORE[n] the row `place` of `why`
    and `why_by` (0 until now) is filled.
    """
    d = inputs.shape[1] - _PAIRS.shape[0]
    terms = np.empty(inputs.shape[1], np.float32)
    for i in range(inputs.shape[0]):
        for j in range(inputs.shape[1]):
            z = (inputs[i, j] - mean[j]) / scale[j]
            terms[j] = weights[j] * min(max(z, -_MAX), _MAX)
        for k in range(_PAIRS.shape[0]):
            half = np.float32(0.5) * terms[d + k]
            terms[_PAIRS[k, 0]] += half
            terms[_PAIRS[k, 1]] += half
        which, amounts = scores[i].why[place], scores[i].why_by[place]
        least = np.float32(0.0)
        for j in range(d):
            if abs(terms[j]) > least:
                least = _keep(which, amounts, j, terms[j])


def strongest_contributions_reference(
    inputs: np.ndarray, mean: np.ndarray, scale: np.ndarray, weights: np.ndarray
) -> list[list[tuple[int, float]]]:
    """The plain reference of `strongest_contributions`: of each row [(feature, amount)]."""
    terms = np.clip((inputs.astype(np.float64) - mean) / scale, -STANDARD_MAX, STANDARD_MAX) * weights
    parts = terms[:, : inputs.shape[1] - len(CROSSED_PAIRS)].copy()
    for pair, term in zip(CROSSED_PAIRS, terms[:, parts.shape[1] :].T, strict=True):
        for feature in pair:
            parts[:, feature] += term / 2.0
    return _strongest_reference(parts)
