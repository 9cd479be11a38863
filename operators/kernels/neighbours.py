"""Which items are visited together: a row of fading neighbour weights for each item, updated pair by pair.

A row keeps the NEIGHBOURS heaviest neighbours by lossy counting: a new one takes the place of the lightest. They lie
by long weight, heaviest first: fading leaves their order alone, so that a neighbour only ever moves up past lighter
ones when it is written. Every weight is kept on two time scales, long and short. Nothing is ever multiplied down in
place to fade it: each pair of the shard makes the weight of the next one grow instead, and weights are only ever read
beside each other or beside that growth. When a scale's growth reaches GROWTH_MAX it is divided by it, and the scale
enters a new era; a row is brought to the present era by an exact power of two when it is next written, so that no sweep
ever touches (and journals) the whole table.

Sources: co-visitation counts, Davidson et al., "The YouTube video recommendation system" (RecSys 2010); the bounded
row, Manku and Motwani, "Approximate frequency counts over data streams" (VLDB 2002); fading by growing weights, Cormode
et al., "Forward decay" (ICDE 2009); shares of thin rows, additive smoothing with the unseen's share left to others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from state.batches import NEIGHBOURS
from state.compiled import kernel

SCALES = 2
"""Time scales of the weights: LONG knows the catalogue, SHORT the hour."""

LONG, SHORT = range(SCALES)

PAIR_WINDOW = 5
"""How many of the shopper's last items an act is paired with."""

DISTANCE_POWER = 1.5
BACK_WEIGHT = 0.75

FORWARD = np.array([(k + 1.0) ** -DISTANCE_POWER for k in range(PAIR_WINDOW)], np.float32)
"""Weight of item -> next item by how many acts lie between them."""

BACK = (BACK_WEIGHT * FORWARD).astype(np.float32)
"""Weight of the opposite direction."""

PAIRS_PER_ACT_MAX = 2 * PAIR_WINDOW

DOUBT = 4.0
"""What is added to the weight of a row before shares are taken of it, in fresh co-visits with the very next item: a row
that has seen little, or little of late, answers with small shares, and gives way to what else speaks for an item."""

ERA_BITS = 32
GROWTH_MAX = 2.0**ERA_BITS
WEIGHT_MIN = np.float32(2.0**-100)
"""Weights that fade below this are 0: it keeps the rows out of the slow subnormal numbers."""

ITEM_ROW = np.dtype(
    [
        ("item", "u8"),
        ("category", "u8"),  # 0: not known
        ("price", "i8"),  # money; -1: not known
        ("popularity", "f8"),  # log2 of the forward-decayed weight of its touches; -inf: none
        ("neighbours", "u8", (NEIGHBOURS,)),  # hashes, heaviest first; the first `count` are in use, the others are 0
        ("weights", "f4", (SCALES, NEIGHBOURS)),  # in units of the row's eras
        ("eras", "i4", (SCALES,)),
        ("whole", "f4"),  # long weight of all neighbours ever, also of those that gave way
        ("count", "u1"),
        ("untold", "u1"),  # of what is bought together alone: has the row changed since it was told?
    ],
    align=True,
)
"""What an item shard knows of one item: 560 bytes."""

SHARD_ROW = np.dtype(
    [("pairs", "i8"), ("event_ts", "i8"), ("growth", "f8", (SCALES,)), ("eras", "i4", (SCALES,))], align=True
)
"""One row for the shard: pairs seen, newest event time (ms), and of each scale the next pair's growth and the era."""


@kernel
def pairs_of(item, recent, recent_n, weight, out_pairs, at):
    """Write the pairs that an act on `item` makes with the shopper's `recent` items (uint64, newest first, the act not
    among them; the first `recent_n` count) to `out_pairs` (PAIR) from place `at`; the next free place.

    `weight` is what the kind of act is worth, above 0. At most PAIRS_PER_ACT_MAX places are written; an item makes no
    pair with itself.
    """
    for k in range(min(PAIR_WINDOW, recent_n)):
        other = recent[k]
        if other == item or other == 0:
            continue
        out_pairs[at].row = other
        out_pairs[at].other = item
        out_pairs[at].weight = weight * FORWARD[k]
        out_pairs[at + 1].row = item
        out_pairs[at + 1].other = other
        out_pairs[at + 1].weight = weight * BACK[k]
        at += 2
    return at


def pairs_of_reference(item: int, recent: list[int], weight: float) -> list[tuple[int, int, float]]:
    """The plain reference of `pairs_of`: (row, other, weight) of each pair."""
    pairs = []
    for distance, other in enumerate(recent[:PAIR_WINDOW], start=1):
        if other != item:
            pairs.append((other, item, weight / distance**DISTANCE_POWER))
            pairs.append((item, other, weight * BACK_WEIGHT / distance**DISTANCE_POWER))
    return pairs


@kernel
def _enter_era(items, r, scale, era):
    """Bring a row's weights of one scale to the present era; exact, for the factor is a power of two."""
    factor = np.float32(math.ldexp(1.0, -ERA_BITS * min(era - items[r].eras[scale], 8)))
    for k in range(NEIGHBOURS):
        w = items[r].weights[scale, k] * factor
        items[r].weights[scale, k] = w if w >= WEIGHT_MIN else np.float32(0.0)
    if scale == LONG:
        items[r].whole *= factor
    items[r].eras[scale] = era


@kernel
def update(items, dirty, rows, pairs, shard, rates):
    """Learn pairs in their order.

    `items` ITEM_ROW[capacity]; `dirty` uint8[capacity], set where a row changed; `rows` int32[n] the row of each pair's
    item (-1: not kept, the pair is passed over); `pairs` PAIR[n]; `shard` SHARD_ROW[1], advanced by n pairs; `rates`
    float64[SCALES], the growth from one pair to the next. Weights must be positive.
    """
    long_growth, short_growth = shard[0].growth[LONG], shard[0].growth[SHORT]
    long_era, short_era = shard[0].eras[LONG], shard[0].eras[SHORT]
    for n in range(len(pairs)):
        r = rows[n]
        if r >= 0:
            other = pairs[n].other
            add_long = np.float32(long_growth * pairs[n].weight)
            add_short = np.float32(short_growth * pairs[n].weight)
            if items[r].eras[LONG] != long_era:
                _enter_era(items, r, LONG, long_era)
            if items[r].eras[SHORT] != short_era:
                _enter_era(items, r, SHORT, short_era)
            items[r].whole += add_long
            # Without branches, so that the compiler scans several neighbours at a time.
            place = -1
            for k in range(NEIGHBOURS):
                place = k if items[r].neighbours[k] == other else place
            if place >= 0:
                long_weight = items[r].weights[LONG, place] + add_long
                short_weight = items[r].weights[SHORT, place] + add_short
            else:
                place = min(items[r].count, NEIGHBOURS - 1)
                items[r].count = place + 1
                long_weight, short_weight = add_long, add_short
            while place > 0 and items[r].weights[LONG, place - 1] < long_weight:
                items[r].neighbours[place] = items[r].neighbours[place - 1]
                items[r].weights[LONG, place] = items[r].weights[LONG, place - 1]
                items[r].weights[SHORT, place] = items[r].weights[SHORT, place - 1]
                place -= 1
            items[r].neighbours[place] = other
            items[r].weights[LONG, place] = long_weight
            items[r].weights[SHORT, place] = short_weight
            dirty[r] = 1
        long_growth *= rates[LONG]
        if long_growth >= GROWTH_MAX:
            long_growth /= GROWTH_MAX
            long_era += 1
        short_growth *= rates[SHORT]
        if short_growth >= GROWTH_MAX:
            short_growth /= GROWTH_MAX
            short_era += 1
    shard[0].pairs += len(pairs)
    shard[0].growth[LONG] = long_growth
    shard[0].growth[SHORT] = short_growth
    shard[0].eras[LONG] = long_era
    shard[0].eras[SHORT] = short_era


def update_reference(pairs: list[tuple[int, int, float]], rates: tuple[float, float]) -> dict[int, list[list[Any]]]:
    """The plain reference of `update`, from the first pair on: by row, lists of [other, long weight, short weight].

    Here an era's end sweeps all weights at once; brought to the same era, those of `update` are equal to the last bit.
    """
    table: dict[int, list[list[Any]]] = {}
    growth = [1.0] * SCALES
    for item, other, weight in pairs:
        row = table.setdefault(item, [])
        added = [np.float32(growth[scale] * float(np.float32(weight))) for scale in (LONG, SHORT)]
        known = [entry for entry in row if entry[0] == other]
        if known:
            known[0][1:] = [known[0][1] + added[LONG], known[0][2] + added[SHORT]]
        else:
            row[NEIGHBOURS - 1 :] = []
            row.append([other, *added])
        row.sort(key=lambda entry: -entry[1 + LONG])
        for scale in (LONG, SHORT):
            growth[scale] *= rates[scale]
            if growth[scale] >= GROWTH_MAX:
                growth[scale] /= GROWTH_MAX
                for entry in (e for entries in table.values() for e in entries):
                    entry[1 + scale] = faded(entry[1 + scale], 1)
    return table


def faded(weight: np.float32, eras: int) -> np.float32:
    """A weight as it stands so many eras later."""
    later = weight * np.float32(math.ldexp(1.0, -ERA_BITS * eras))
    return later if later >= WEIGHT_MIN else np.float32(0.0)


@kernel
def answer(items, rows, fetches, shard, short_weight, of_whole, out):
    """Answer fetches: each item's category and its neighbours, best first, equal scores by hash.

    `items` ITEM_ROW[capacity]; `rows` int32[n] (-1: unknown item); `fetches` FETCH[n]; `shard` SHARD_ROW[1]; `out`
    ANSWER[n], zeroed. A neighbour's score is its share of the row's long weight plus `short_weight` times its share of
    the short weight, each of the row's weight and DOUBT: the shares of a row sum to less than 1. The long weight is
    that of the neighbours there are, or with `of_whole` that of all there ever were.
    """
    for n in range(len(fetches)):
        out[n].position = fetches[n].position
        out[n].slot = fetches[n].slot
        r = rows[n]
        if r < 0:
            continue
        out[n].category = items[r].category
        count = np.int64(items[r].count)
        long_total = _doubt(shard[0].growth[LONG], shard[0].eras[LONG] - items[r].eras[LONG])
        short_total = _doubt(shard[0].growth[SHORT], shard[0].eras[SHORT] - items[r].eras[SHORT])
        for k in range(count):
            long_total += items[r].weights[LONG, k]
            short_total += items[r].weights[SHORT, k]
        if of_whole:
            long_total = _doubt(shard[0].growth[LONG], shard[0].eras[LONG] - items[r].eras[LONG]) + items[r].whole
        long_factor, short_factor = 1.0 / long_total, short_weight / short_total
        for k in range(count):
            item = items[r].neighbours[k]
            score = np.float32(items[r].weights[LONG, k] * long_factor + items[r].weights[SHORT, k] * short_factor)
            at = k
            while at > 0:
                above = out[n].scores[at - 1]
                if above > score or (above == score and out[n].items[at - 1] < item):
                    break
                out[n].scores[at] = above
                out[n].items[at] = out[n].items[at - 1]
                at -= 1
            out[n].scores[at] = score
            out[n].items[at] = item
        out[n].count = count


@kernel
def _doubt(growth, eras):
    """DOUBT as it is written now, in the units of a row that was written so many eras ago."""
    return DOUBT * growth * math.ldexp(1.0, ERA_BITS * min(eras, 8))


def answer_reference(
    neighbours: dict[int, list[float]], growth: Sequence[float], eras: Sequence[int], short_weight: float
) -> list[tuple[int, float]]:
    """The plain reference of `answer` for one item: (neighbour, score), best first; of each scale the shard's `growth`
    and the `eras` since the row was written."""
    totals = [
        sum((w[scale] for w in neighbours.values()), DOUBT * growth[scale] * 2.0 ** (ERA_BITS * min(eras[scale], 8)))
        for scale in (LONG, SHORT)
    ]
    scores = {
        o: w[LONG] * (1.0 / totals[LONG]) + w[SHORT] * (short_weight / totals[SHORT]) for o, w in neighbours.items()
    }
    return sorted(scores.items(), key=lambda pair: (-np.float32(pair[1]), pair[0]))


@kernel
def touch(items, dirty, rows, touches, shard, half_life_ms):
    """Take in touches: facts of the items where given, and their fading popularity.

    `rows` int32[n] (-1: not kept); `touches` TOUCH[n]; `shard` SHARD_ROW[1], whose event time moves on. Popularity is
    log2(sum of weight * 2**(ts / half_life_ms)): it orders items the same at any time, never falls, and a late touch
    counts for what it would count had it come in time.
    """
    for n in range(len(touches)):
        shard[0].event_ts = max(shard[0].event_ts, touches[n].ts)
        r = rows[n]
        if r < 0:
            continue
        if touches[n].category != 0:
            items[r].category = touches[n].category
        if touches[n].price >= 0:
            items[r].price = touches[n].price
        if touches[n].weight > 0.0:
            told = math.log2(touches[n].weight) + touches[n].ts / half_life_ms
            known = items[r].popularity
            high, low = max(told, known), min(told, known)
            items[r].popularity = high + math.log2(1.0 + 2.0 ** (low - high))
        dirty[r] = 1


def touch_reference(touches: list[tuple[int, int, float]], half_life_ms: float, now_ms: int) -> dict[int, float]:
    """The plain reference of `touch`'s popularity: item -> fading weight at `now_ms`, of touches (item, ts, weight)."""
    weights: dict[int, float] = {}
    for item, ts, weight in touches:
        weights[item] = weights.get(item, 0.0) + weight * 2.0 ** ((ts - now_ms) / half_life_ms)
    return weights
