"""From the neighbours of a shopper's last items to one list: weigh, merge, leave out what was just seen, fill up.

An item's score is the sum, over the shopper's last items, of its score beside each times the weight of that one's place
in the history; of what it is beside the neighbours of the current item, times what those are beside it: two steps of a
walk; and of the weight of coming back, where it is one of the last items itself. Sources: weighted item-based scoring
over the recent session, Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018);
walks over co-visits, Baluja et al., "Video suggestion and discovery for YouTube" (WWW 2008); coming back, Anderson et
al., "The dynamics of repeat consumption" (WWW 2014).

What is then free is filled up by the ladder: what is popular in the category of the current item and in the one the
shopper likes best, in their segment, in the whole shop. Which of these goes first differs from shop to shop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from operators.kernels.candidates import (
    BESIDE,
    CANDIDATE,
    CATEGORY,
    COMING_BACK,
    GIFT,
    GIFTS_MAX,
    POPULAR,
    RECENT_FETCHED,
    SECOND_STEP,
    SEGMENT,
    SLOT_NEIGHBOURS,
    SLOTS,
    WALKS,
    add_up,
    gather,
    listed,
)
from operators.kernels.segment_items import SegmentItems, place_of_segment
from state.batches import LIST_LENGTH, RECENT_ITEMS
from state.compiled import borrowed, inlined, kernel
from state.models import ByCategory

RUNG_BITS = 3
"""The rungs of a list are one uint64: of place k the bits from RUNG_BITS * k on."""


class Beside(NamedTuple):
    """The neighbours of each of the last items of n shoppers, best first (count 0: none)."""

    items: np.ndarray
    """uint64[n, RECENT_FETCHED, NEIGHBOURS]"""
    scores: np.ndarray
    """float32 likewise"""
    counts: np.ndarray
    """uint8[n, RECENT_FETCHED]"""


class Last(NamedTuple):
    """The last items of n shoppers, newest first, and how many are known."""

    items: np.ndarray
    """uint64[n, RECENT_ITEMS]"""
    known: np.ndarray
    """uint8[n]"""


class Shoppers(NamedTuple):
    """What the ladder goes by, of n shoppers."""

    categories: np.ndarray
    """uint64[n]: of the current item; 0: not known"""
    favourites: np.ndarray
    """uint64[n]: the category liked best; 0: none"""
    segments: np.ndarray
    """int32[n]: number of the segment; -1: none"""


def unknown_shoppers(n: int) -> Shoppers:
    """Nothing is known of n shoppers."""
    return Shoppers(np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.full(n, -1, np.int32))


class Popular(NamedTuple):
    """Popular items, best first."""

    items: np.ndarray
    """uint64[m]"""
    scores: np.ndarray
    """float32[m], 0 or more"""


class Ladder(NamedTuple):
    """What fills lists up."""

    categories: ByCategory
    segments: SegmentItems
    popular: Popular
    order: np.ndarray
    """int64: some of CATEGORY, SEGMENT and POPULAR, the one that is to have most places first"""
    tried: np.int64
    """Each of the others has one in so many of the free places for sure; 0: none"""


class Lists(NamedTuple):
    """Lists of n shoppers, best first; places past `counts` are 0."""

    items: np.ndarray
    """uint64[n, LIST_LENGTH]"""
    scores: np.ndarray
    """float32 likewise"""
    because: np.ndarray
    """uint64 likewise: the last item that gave most to the score, itself if it is one that comes back; of what is
    popular in a category that, in a segment its number, in the whole shop 0"""
    counts: np.ndarray
    """uint8[n]"""
    rungs: np.ndarray
    """uint64[n]: one of RUNGS for each place, RUNG_BITS each"""


def empty_lists(n: int) -> Lists:
    """Room for n lists."""
    return Lists(
        np.zeros((n, LIST_LENGTH), np.uint64),
        np.zeros((n, LIST_LENGTH), np.float32),
        np.zeros((n, LIST_LENGTH), np.uint64),
        np.zeros(n, np.uint8),
        np.zeros(n, np.uint64),
    )


@inlined
def _best(table, used, candidates, last, left_out, best):
    """Write the best LIST_LENGTH candidates to `best` CANDIDATE[LIST_LENGTH], best first, equal scores by hash, and
    free the table; how many. The first `left_out` of `last` are not among them."""
    size = 0
    for c in range(candidates):
        s = used[c]
        item, score = table[s].item, table[s].score
        table[s].item = 0
        if size == LIST_LENGTH and score < best[LIST_LENGTH - 1].score:
            continue
        if listed(last, left_out, item):
            continue
        at = min(size, LIST_LENGTH - 1)
        if size == LIST_LENGTH and score == best[at].score and best[at].item < item:
            continue
        while at > 0:
            above = best[at - 1].score
            if above > score or (above == score and best[at - 1].item < item):
                break
            best[at].item = best[at - 1].item
            best[at].score = above
            best[at].source = best[at - 1].source
            at -= 1
        best[at].item = item
        best[at].score = score
        best[at].source = table[s].source
        size = min(size + 1, LIST_LENGTH)
    return size


@kernel
def _total(scores, begin, end):
    total = np.float32(0.0)
    for p in range(begin, end):
        total += np.float32(scores[p])
    return total


@kernel
def _fill_up(lists, n, most, items, scores, begin, end, total, last, left_out, rung, why):
    """Put items[begin:end], best first, at the end of list n as far as there is room, at most so many. An item's score
    is its share of `total`, that of scores[begin:end], but never above that of the item before it."""
    size = np.int64(lists.counts[n])
    for p in range(begin, end):
        if size == LIST_LENGTH or most == 0:
            break
        item = items[p]
        if listed(lists.items[n], size, item) or listed(last, left_out, item):
            continue
        score = np.float32(scores[p]) / total if total > 0 else np.float32(0.0)
        if size > 0:
            score = min(score, lists.scores[n, size - 1])
        lists.items[n, size] = item
        lists.scores[n, size] = score
        lists.because[n, size] = why
        lists.rungs[n] |= np.uint64(rung) << np.uint64(RUNG_BITS * size)
        size += 1
        most -= 1
    lists.counts[n] = size


@kernel
def _from_category(lists, n, most, known, category, last, left_out):
    """Fill list n up with what is popular in a category, of ByCategory `known`: at most so many places; how many are
    left of them."""
    if category == 0:
        return most
    k = np.searchsorted(known.categories, category)
    if k == len(known.categories) or known.categories[k] != category:
        return most
    before = np.int64(lists.counts[n])
    begin, end = known.starts[k], known.starts[k + 1]
    total = _total(known.scores, begin, end)
    _fill_up(lists, n, most, known.items, known.scores, begin, end, total, last, left_out, CATEGORY, category)
    return most - (np.int64(lists.counts[n]) - before)


@kernel
def _from_rung(lists, n, rung, most, who, ladder, popular_total, last, left_out):
    """Fill list n up from one rung of the ladder, at most so many places."""
    if rung == CATEGORY:
        category, favourite = who.categories[n], who.favourites[n]
        most = _from_category(lists, n, most, ladder.categories, category, last, left_out)
        if favourite != category and most > 0:
            _from_category(lists, n, most, ladder.categories, favourite, last, left_out)
    elif rung == SEGMENT:
        of, number = ladder.segments, who.segments[n]
        place = place_of_segment(of, number) if number >= 0 else -1
        if place >= 0:
            of_it = np.int64(of.counts[place])
            items, weights = of.items[place], of.weights[place]
            total = _total(weights, 0, of_it)
            _fill_up(lists, n, most, items, weights, 0, of_it, total, last, left_out, SEGMENT, np.uint64(number))
    else:
        of_all = ladder.popular
        end, why = len(of_all.items), np.uint64(0)
        _fill_up(lists, n, most, of_all.items, of_all.scores, 0, end, popular_total, last, left_out, POPULAR, why)


@kernel
def _climb(lists, n, who, ladder, popular_total, last, left_out):
    """Fill list n up, rung by rung: first the best one but for what the others are to have, then those, then whatever
    is free."""
    free = LIST_LENGTH - np.int64(lists.counts[n])
    tried = free // ladder.tried if ladder.tried > 0 else 0
    rungs = len(ladder.order)
    if tried > 0:
        for k in range(rungs):
            most = free - (rungs - 1) * tried if k == 0 else tried
            if most > 0:
                _from_rung(lists, n, ladder.order[k], most, who, ladder, popular_total, last, left_out)
    for k in range(rungs):
        if lists.counts[n] < LIST_LENGTH:
            _from_rung(lists, n, ladder.order[k], LIST_LENGTH, who, ladder, popular_total, last, left_out)


@kernel
def rank(beside, last, who, weights, remembered, ladder, lists):
    """Make each shopper's list of at most LIST_LENGTH items, best first; equal scores by hash.

    Of n shoppers: `beside` Beside and `last` Last, of which the first `leave_out` of `weights` WEIGHTS[1] stay out of
    the list. A last item that stands there twice counts at its newest place only. `remembered` REMEMBERED[rows] are the
    neighbours of other items, as far as they are known. `ladder` Ladder fills the list up, by `who` Shoppers: such an
    item's score is its share of all scores of its rung, but never above that of the item before it. Written: `lists`
    Lists.
    """
    gifts, used = np.empty(GIFTS_MAX, GIFT), np.empty(GIFTS_MAX, np.int64)
    table, best = np.zeros(SLOTS, CANDIDATE), np.empty(LIST_LENGTH, CANDIDATE)
    beside, last, who, weights, remembered, ladder, lists = borrowed(
        (beside, last, who, weights, remembered, ladder, lists)
    )
    popular_total = _total(ladder.popular.scores, 0, len(ladder.popular.scores))
    for n in range(len(lists.counts)):
        recent, known = last.items[n], np.int64(last.known[n])
        given = gather(beside.items[n], beside.scores[n], beside.counts[n], recent, known, weights, remembered, gifts)
        candidates = add_up(gifts, given, table, used)
        left_out = min(weights[0].leave_out, known)
        size = _best(table, used, candidates, recent, left_out, best)
        rungs = np.uint64(0)
        for k in range(size):
            lists.items[n, k] = best[k].item
            lists.scores[n, k] = best[k].score
            lists.because[n, k] = recent[best[k].source % RECENT_ITEMS]
            rungs |= np.uint64(best[k].source // RECENT_ITEMS) << np.uint64(RUNG_BITS * k)
        lists.counts[n] = size
        lists.rungs[n] = rungs
        if size < LIST_LENGTH:
            _climb(lists, n, who, ladder, popular_total, recent, left_out)
        for k in range(np.int64(lists.counts[n]), LIST_LENGTH):
            lists.items[n, k] = 0
            lists.scores[n, k] = 0.0
            lists.because[n, k] = 0


def rank_reference(
    neighbours: Sequence[Sequence[tuple[int, float]]],
    recent: Sequence[int],
    weights: np.ndarray,
    remembered: Mapping[int, Sequence[tuple[int, float]]],
    ladder: Sequence[tuple[int, Sequence[tuple[int, Sequence[tuple[int, float]]]]]],
    tried: int,
) -> list[tuple[int, float, int, int]]:
    """The plain reference of `rank` for one shopper: (item, score, because, rung), of (item, score) by place in
    `recent`; and of the rungs of the ladder as they apply to them, in order: (rung, [(because, [(item, score)])])."""
    w = weights[0]
    given: dict[int, list[tuple[np.float32, int, int]]] = {}
    for slot, pairs in enumerate(neighbours[: min(RECENT_FETCHED, len(recent))]):
        if recent[slot] not in recent[:slot]:
            for item, score in pairs[: SLOT_NEIGHBOURS[slot]]:
                given.setdefault(item, []).append((np.float32(score) * w["slots"][slot], recent[slot], BESIDE))
    for item, score in neighbours[0][:WALKS] if recent else ():
        for other, further in remembered.get(item, ()):
            if other != recent[0]:
                step = np.float32(score) * w["second_step"] * np.float32(further)
                given.setdefault(other, []).append((step, recent[0], SECOND_STEP))
    for slot, item in enumerate(recent):
        if slot >= w["leave_out"] and item not in recent[:slot]:
            given.setdefault(item, []).append((w["returns"][slot], item, COMING_BACK))
    out_of_list = set(recent[: w["leave_out"]])
    merged = [
        (item, sum((gift[0] for gift in gifts), np.float32(0.0)), *max(gifts, key=lambda gift: gift[0])[1:])
        for item, gifts in given.items()
        if item not in out_of_list
    ]
    merged = sorted(merged, key=lambda entry: (-entry[1], entry[0]))[:LIST_LENGTH]
    free = LIST_LENGTH - len(merged)
    trial = free // tried if tried else 0
    turns = [(k, free - (len(ladder) - 1) * trial if k == 0 else trial) for k in range(len(ladder))] if trial else []
    for k, most in [*turns, *((k, LIST_LENGTH) for k in range(len(ladder)))]:
        rung, lists = ladder[k]
        for reason, popular in lists:
            total = sum((np.float32(s) for _, s in popular), np.float32(0.0))
            for item, score in popular:
                new = item not in out_of_list and all(item != entry[0] for entry in merged)
                if new and most > 0 and len(merged) < LIST_LENGTH:
                    share = np.float32(score) / total if total > 0 else np.float32(0.0)
                    merged.append((item, min(share, merged[-1][1]) if merged else share, reason, rung))
                    most -= 1
    return [(item, float(score), reason, rung) for item, score, reason, rung in merged]
