"""Compiled loops over the space of the models: transform, nearest centres, sequential k-means.

Every kernel is a pure function over arrays beside its plain reference. Shapes: n rows, d features, k centres. Rows are
C-contiguous; what comes from a profile is float32, what a clusterer learns in is float64.
"""

from __future__ import annotations

import math

import numpy as np

from state.compiled import kernel


@kernel
def signed_log1p(x, out):
    """out[i, j] = sign(x) * log1p(|x|) of x float32[n, d]; a value that is no finite number counts as 0.

    Takes the weight out of heavy tails (money, counts) and keeps the sign of returns.
    """
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = x[i, j]
            if v == 0.0 or not math.isfinite(v):
                out[i, j] = 0.0
            elif v > 0.0:
                out[i, j] = math.log1p(v)
            else:
                out[i, j] = -math.log1p(-v)


def signed_log1p_reference(x: np.ndarray) -> np.ndarray:
    """The plain reference of `signed_log1p`: float32[n, d]."""
    clean = np.where(np.isfinite(x), x, 0.0).astype(np.float64)
    return np.asarray(np.sign(clean) * np.log1p(np.abs(clean)), np.float32)


@kernel
def assign(logs, mean, scale, centres, held, factor, chosen, others, margin):
    """The centre of each row: the nearest one, unless the row holds a centre that is not clearly farther.

    logs float32[n, d or more], of which the first d count; mean, scale float32[d]; centres float32[k, d], k >= 1, in
    standardised space; held int32[n], the centre each row is at (-1: none). A row leaves it only for one nearer than
    `factor` times the distance to it. chosen int32[n] is filled; others int32[n] with the nearest other centre (-1 with
    a single one); margin float32[n]: 1 - d / d', where d is the Euclidean distance to the chosen centre and d' to the
    nearest other one, between 0 and 1 (0 where it stays with a farther centre, 1 with a single centre).
    """
    n = logs.shape[0]
    k, d = centres.shape
    z = np.empty(d, np.float32)
    for i in range(n):
        for j in range(d):
            z[j] = (logs[i, j] - mean[j]) / scale[j]
        first, second = math.inf, math.inf
        kept = math.inf
        nearest, next_one = 0, -1
        for c in range(k):
            total = 0.0
            for j in range(d):
                gap = z[j] - centres[c, j]
                total += gap * gap
            if total < first:
                next_one = nearest if c > 0 else -1
                first, second, nearest = total, first, c
            elif total < second:
                second, next_one = total, c
            if c == held[i]:
                kept = total
        first, second, kept = math.sqrt(first), math.sqrt(second), math.sqrt(kept)
        if 0 <= held[i] < k and nearest != held[i] and first >= factor * kept:
            chosen[i], others[i] = held[i], nearest
            margin[i] = 0.0
        else:
            chosen[i], others[i] = nearest, next_one
            margin[i] = 0.0 if second == 0.0 else 1.0 - first / second


def assign_reference(
    logs: np.ndarray, mean: np.ndarray, scale: np.ndarray, centres: np.ndarray, held: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The plain reference of `assign`: (chosen, others, margin)."""
    z = (logs[:, : len(mean)] - mean) / scale
    chosen, others, margin = [], [], []
    for row, own in zip(z, held.tolist(), strict=True):
        distances = np.sqrt(((row - centres).astype(np.float64) ** 2).sum(1))
        order = np.argsort(distances, kind="stable")
        nearest = int(order[0])
        if 0 <= own < len(centres) and nearest != own and distances[nearest] >= factor * distances[own]:
            chosen.append(own)
            others.append(nearest)
            margin.append(0.0)
        else:
            other = distances[order[1]] if len(order) > 1 else math.inf
            chosen.append(nearest)
            others.append(int(order[1]) if len(order) > 1 else -1)
            margin.append(1.0 - distances[nearest] / other if other > 0.0 else 0.0)
    return np.array(chosen, np.int32), np.array(others, np.int32), np.array(margin, np.float32)


@kernel
def open_rows(profiles, kept, place_of, counts, watermark_ts, stay_ms, before, held):
    """Where the shoppers of a batch stand before it is scored.

    profiles PROFILE[n], their rows within `kept` (SCORE_ROW); place_of int32: segment number -> place of its centre, -1
    for none; counts int64 by segment number, long enough for every number in `kept`. What a fresh or erased row held
    leaves the counts. before int32[n] is filled with the segment number held (-1: none); held int32[n] with its place,
    -1 also where it was last the nearest one, at an event of theirs, more than `stay_ms` ago: as of their newest event,
    or of the watermark for who did not act.
    """
    for i in range(len(profiles)):
        row = profiles[i].row
        number = kept[row].segment
        if number >= 0 and (profiles[i].fresh or profiles[i].erased):
            counts[number] -= 1
            number = -1
        before[i] = number
        now = profiles[i].event_ts if profiles[i].acts > 0 else max(watermark_ts, profiles[i].event_ts)
        lately = now - kept[row].near_ts <= stay_ms
        held[i] = place_of[number] if lately and 0 <= number < len(place_of) else -1


def open_rows_reference(
    rows: list[int],
    forgotten: list[bool],
    lately: list[bool],
    segments: list[int],
    place_of: dict[int, int],
    counts: list[int],
) -> tuple[list[int], list[int]]:
    """The plain reference of `open_rows`: (before, held), who was near their segment `lately`; changes `counts`."""
    before = []
    for row, forget in zip(rows, forgotten, strict=True):
        number = segments[row]
        if forget and number >= 0:
            counts[number] -= 1
            number = -1
        before.append(number)
    return before, [place_of.get(number, -1) if late else -1 for number, late in zip(before, lately, strict=True)]


@kernel
def settle(profiles, before, scores, kept, dirty, counts, transitions):
    """Write down where the shoppers of a batch stand after it: kept, dirty and counts are brought up to date.

    scores SCORE[n]; an erased shopper's is cleared. Who is in the nearest segment (a margin, or one just entered) is
    near it as of their newest event. transitions TRANSITION[n]: the first places are filled, one for each shopper (not
    erased) whose segment is not the one `before` int32[n]; their number is the result.
    """
    moved = 0
    for i in range(len(profiles)):
        row = profiles[i].row
        if profiles[i].erased:
            scores[i].segment = -1
            scores[i].macro = -1
            scores[i].margin = 0.0
            scores[i].purchase = np.nan
            scores[i].churn = np.nan
            scores[i].other = -1
            scores[i].why_by[:] = 0.0
            kept[row].near_ts = 0
        elif scores[i].segment != before[i]:
            if before[i] >= 0:
                counts[before[i]] -= 1
            if scores[i].segment >= 0:
                counts[scores[i].segment] += 1
            transitions[moved].position = i
            transitions[moved].kind = 0
            transitions[moved].before = before[i]
            transitions[moved].after = scores[i].segment
            transitions[moved].at = profiles[i].event_ts
            moved += 1
        if not profiles[i].erased and (scores[i].segment != before[i] or scores[i].margin > 0.0):
            kept[row].near_ts = profiles[i].event_ts
        kept[row].segment = scores[i].segment
        kept[row].macro = scores[i].macro
        dirty[row] = 1
    return moved


def settle_reference(
    before: list[int], after: list[int], erased: list[bool], counts: list[int]
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The plain reference of `settle`: segments kept, (position, before, after) of the moves; changes `counts`."""
    kept, moves = [], []
    for i, (was, now, gone) in enumerate(zip(before, after, erased, strict=True)):
        kept.append(-1 if gone else now)
        if not gone and was != now:
            moves.append((i, was, now))
            if was >= 0:
                counts[was] -= 1
            if now >= 0:
                counts[now] += 1
    return kept, moves


@kernel
def nearest(points, centres, labels, squared):
    """Nearest centre of each point float64[n, d] among float64[k, d]: its place and its squared distance are filled."""
    for i in range(points.shape[0]):
        best, place = math.inf, 0
        for c in range(centres.shape[0]):
            total = 0.0
            for j in range(points.shape[1]):
                gap = points[i, j] - centres[c, j]
                total += gap * gap
            if total < best:
                best, place = total, c
        labels[i] = place
        squared[i] = best


def nearest_reference(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The plain reference of `nearest`: (labels, squared)."""
    squared = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(2)
    return squared.argmin(1).astype(np.int32), squared.min(1)


@kernel
def learn_points(points, centres, weights, decay):
    """Sequential k-means with forgetting: point by point, all weights fade by `decay`, the nearest centre gains 1 and
    moves towards the point by 1 / its weight. centres float64[k, d] and weights float64[k] are changed in place.

    Source: MacQueen, "Some methods for classification and analysis of multivariate observations" (1967), with the
    exponential forgetting of streaming k-means.
    """
    for i in range(points.shape[0]):
        best, place = math.inf, 0
        for c in range(centres.shape[0]):
            weights[c] *= decay
            total = 0.0
            for j in range(points.shape[1]):
                gap = points[i, j] - centres[c, j]
                total += gap * gap
            if total < best:
                best, place = total, c
        weights[place] += 1.0
        for j in range(points.shape[1]):
            centres[place, j] += (points[i, j] - centres[place, j]) / weights[place]


def learn_points_reference(points: np.ndarray, centres: np.ndarray, weights: np.ndarray, decay: float) -> None:
    """The plain reference of `learn_points`, likewise in place."""
    for point in points:
        weights *= decay
        place = int(((point - centres) ** 2).sum(1).argmin())
        weights[place] += 1.0
        centres[place] += (point - centres[place]) / weights[place]


@kernel
def lloyd(points, centres, rounds, tolerance):
    """Batch k-means: up to `rounds` rounds from the given centres, changed in place, until none moves by `tolerance`
    in any feature; a centre without points stays. float64[n, d] and float64[k, d].

    Source: Lloyd, "Least squares quantization in PCM" (1982).
    """
    k, d = centres.shape
    sums = np.empty((k, d), np.float64)
    counts = np.empty(k, np.float64)
    for _ in range(rounds):
        sums[:] = 0.0
        counts[:] = 0.0
        for i in range(points.shape[0]):
            best, place = math.inf, 0
            for c in range(k):
                total = 0.0
                for j in range(d):
                    gap = points[i, j] - centres[c, j]
                    total += gap * gap
                if total < best:
                    best, place = total, c
            counts[place] += 1.0
            for j in range(d):
                sums[place, j] += points[i, j]
        moved = 0.0
        for c in range(k):
            if counts[c] > 0.0:
                for j in range(d):
                    new = sums[c, j] / counts[c]
                    moved = max(moved, abs(new - centres[c, j]))
                    centres[c, j] = new
        if moved < tolerance:
            break


def lloyd_reference(points: np.ndarray, centres: np.ndarray, rounds: int, tolerance: float) -> None:
    """The plain reference of `lloyd`, likewise in place."""
    for _ in range(rounds):
        labels, _ = nearest_reference(points, centres)
        before = centres.copy()
        for c in range(len(centres)):
            if (labels == c).any():
                centres[c] = points[labels == c].mean(0)
        if np.abs(centres - before).max() < tolerance:
            break


@kernel
def fade_moments(points, mean, variance, weight, decay):
    """Running mean and variance float64[d] of points float64[n, d] with forgetting, in place; weight float64[1] is the
    fading number of points so far. Source: West, "Updating mean and variance estimates" (CACM 1979).
    """
    for i in range(points.shape[0]):
        weight[0] = weight[0] * decay + 1.0
        step = 1.0 / weight[0]
        for j in range(points.shape[1]):
            gap = points[i, j] - mean[j]
            mean[j] += step * gap
            variance[j] = (1.0 - step) * (variance[j] + step * gap * gap)


def fade_moments_reference(points: np.ndarray, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """The plain reference of `fade_moments` from nothing: the weighted mean and (population) variance."""
    weights = decay ** np.arange(len(points) - 1, -1, -1.0)
    mean = np.average(points, axis=0, weights=weights)
    return mean, np.average((points - mean) ** 2, axis=0, weights=weights)
