"""From the neighbours of a shopper's last items to one list: weigh, merge, leave out what was just seen, fill up.

An item's score is the sum, over the shopper's last items, of its score beside each times the weight of that one's place
in the history; of what it is beside the neighbours of the current item, times what those are beside it: two steps of a
walk; and of the weight of coming back, where it is one of the last items itself. Sources: weighted item-based scoring
over the recent session, Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018);
walks over co-visits, Baluja et al., "Video suggestion and discovery for YouTube" (WWW 2008); coming back, Anderson et
al., "The dynamics of repeat consumption" (WWW 2014).

The rules of a shop (`operators.kernels.list_rules`) multiply scores, down to 0 for what is not to be listed, and bound
the items of one category: of those the best stand in the list, and what comes after them by score in the places of the
others. What the goods tell of an item, by a miss of the cache each, is looked up of those alone whose score reaches
into the list. That the best stay, whatever order candidates come in, is a property of matroids: who is not among the
best of some is not among the best of more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from operators.kernels.candidates import (
    BESIDE,
    CANDIDATE,
    COMING_BACK,
    GIFT,
    GIFTS_MAX,
    POPULAR,
    RECENT_FETCHED,
    SECOND_STEP,
    SLOT_NEIGHBOURS,
    SLOTS,
    WALKS,
    add_up,
    gather,
    listed,
)
from operators.kernels.goods import slot_of
from operators.kernels.list_rules import RULED
from state.batches import LIST_LENGTH, RECENT_ITEMS
from state.compiled import borrowed, inlined, kernel
from state.profile_table import UNAVAILABLE

RUNG_BITS = 2
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


class Popular(NamedTuple):
    """Popular items, best first."""

    items: np.ndarray
    """uint64[m]"""
    scores: np.ndarray
    """float32[m], 0 or more"""


class Lists(NamedTuple):
    """Lists of n shoppers, best first; places past `counts` are 0."""

    items: np.ndarray
    """uint64[n, LIST_LENGTH]"""
    scores: np.ndarray
    """float32 likewise"""
    because: np.ndarray
    """uint64 likewise: the last item that gave most to the score, itself if it is one that comes back; 0: popular"""
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


RULED_SLOTS = 1024
"""Of the table of a shopper's ruled items, a power of two well above BOUGHT_MAX + SHOWN_MAX."""


@kernel
def _ruled_slot(table, item):
    s = item & np.uint64(RULED_SLOTS - 1)
    while table[s].item != 0 and table[s].item != item:
        s = (s + np.uint64(1)) & np.uint64(RULED_SLOTS - 1)
    return s


@kernel
def _factor(table, item):
    """What a score of the item is multiplied by."""
    s = _ruled_slot(table, item)
    return table[s].factor if table[s].item == item else np.float32(1.0)


@kernel
def _lay_out_ruled(ruled, start, end, table, used):
    """Put ruled[start:end] into `table` RULED[RULED_SLOTS], all free before; of an item that stands there twice, the
    lesser factor. `used` int64[RULED_SLOTS] tells the slots taken; how many."""
    n = 0
    for i in range(start, end):
        s = _ruled_slot(table, ruled[i].item)
        if table[s].item == 0:
            table[s].item = ruled[i].item
            table[s].factor = ruled[i].factor
            used[n] = s
            n += 1
        else:
            table[s].factor = min(table[s].factor, ruled[i].factor)
    return n


@kernel
def _last_of(best, size, category, most):
    """The last of `category` among the first `size` of `best`, if there are `most` of them; else -1."""
    found, at = 0, -1
    for k in range(size):
        if best[k].category == category:
            found += 1
            at = k
    return at if found >= most else -1


@inlined
def _best(table, used, candidates, last, left_out, tired, any_tired, goods, limits, best):
    """Write the best LIST_LENGTH candidates to `best` CANDIDATE[LIST_LENGTH], best first, equal scores by hash, and
    free the table; how many. The first `left_out` of `last` are not among them.

    `tired` RULED[RULED_SLOTS] is looked into where there is `any_tired`, `goods` where `limits` (of Rules) ask for it.
    """
    size = 0
    to_look_up = limits[0] > 0 or limits[1] > 0
    for c in range(candidates):
        s = used[c]
        item, score = table[s].item, table[s].score
        table[s].item = 0
        if any_tired:
            factor = _factor(tired, item)
            if factor == 0:
                continue
            score *= factor
        if size == LIST_LENGTH and score < best[LIST_LENGTH - 1].score:
            continue
        if listed(last, left_out, item):
            continue
        at = min(size, LIST_LENGTH - 1)
        full = size == LIST_LENGTH
        category = np.uint32(0)
        if to_look_up:
            good = goods[slot_of(goods, item)]
            if good.available == UNAVAILABLE:
                continue
            if limits[1] > 0 and good.category != 0:
                category = good.category
                last_of_it = _last_of(best, size, category, limits[1])
                if last_of_it >= 0:
                    at, full = last_of_it, True
        if full and (score < best[at].score or (score == best[at].score and best[at].item < item)):
            continue
        size += not full
        while at > 0:
            above = best[at - 1].score
            if above > score or (above == score and best[at - 1].item < item):
                break
            best[at].item = best[at - 1].item
            best[at].score = above
            best[at].source = best[at - 1].source
            best[at].category = best[at - 1].category
            at -= 1
        best[at].item = item
        best[at].score = score
        best[at].source = table[s].source
        best[at].category = category
    return size


@kernel
def _sort_weary(items, shares, tired, weary, order, order_shares):
    """Of popular items with these shares, best first, note which are ruled (`weary` uint8), and write those that sink
    to `order` int64 (their places) with what they score, best first; how many."""
    n = 0
    for p in range(len(items)):
        factor = _factor(tired, items[p])
        weary[p] = factor < 1
        if 0 < factor < 1:
            share = shares[p] * factor
            at = n
            while at > 0 and order_shares[at - 1] < share:
                order[at] = order[at - 1]
                order_shares[at] = order_shares[at - 1]
                at -= 1
            order[at] = p
            order_shares[at] = share
            n += 1
    return n


@kernel
def rank(beside, last, weights, remembered, popular, rules, lists):
    """Make each shopper's list of at most LIST_LENGTH items, best first; equal scores by hash.

    Of n shoppers: `beside` Beside and `last` Last, of which the first `leave_out` of `weights` WEIGHTS[1] stay out of
    the list. A last item that stands there twice counts at its newest place only. `remembered` REMEMBERED[rows] are the
    neighbours of other items, as far as they are known. `popular` Popular fills the list up: such an item's score is
    its share of all scores in it, but never above that of the item before it. `rules` Rules hold for all of them.
    Written: `lists` Lists.
    """
    gifts, used = np.empty(GIFTS_MAX, GIFT), np.empty(GIFTS_MAX, np.int64)
    table, best = np.zeros(SLOTS, CANDIDATE), np.empty(LIST_LENGTH, CANDIDATE)
    tired, tired_used = np.zeros(RULED_SLOTS, RULED), np.empty(RULED_SLOTS, np.int64)
    shares, weary = np.empty(len(popular.items), np.float32), np.zeros(len(popular.items), np.uint8)
    order, order_shares = np.empty(len(popular.items), np.int64), np.empty(len(popular.items), np.float32)
    beside, last, weights, remembered, popular, lists = borrowed((beside, last, weights, remembered, popular, lists))
    rules = borrowed(rules)
    to_look_up = rules.limits[0] > 0 or rules.limits[1] > 0
    popular_total = np.float32(0.0)
    for p in range(len(popular.items)):
        popular_total += popular.scores[p]
    for p in range(len(popular.items)):
        shares[p] = popular.scores[p] / popular_total if popular_total > 0 else np.float32(0.0)
    for n in range(len(lists.counts)):
        recent, known = last.items[n], np.int64(last.known[n])
        given = gather(beside.items[n], beside.scores[n], beside.counts[n], recent, known, weights, remembered, gifts)
        candidates = add_up(gifts, given, table, used)
        left_out = min(weights[0].leave_out, known)
        start, end = rules.starts[n], rules.starts[n + 1]
        any_tired = end > start
        n_tired = _lay_out_ruled(rules.ruled, start, end, tired, tired_used) if any_tired else 0
        size = _best(table, used, candidates, recent, left_out, tired, any_tired, rules.goods, rules.limits, best)
        rungs = np.uint64(0)
        for k in range(size):
            lists.items[n, k] = best[k].item
            lists.scores[n, k] = best[k].score
            lists.because[n, k] = recent[best[k].source % RECENT_ITEMS]
            rungs |= np.uint64(best[k].source // RECENT_ITEMS) << np.uint64(RUNG_BITS * k)
        sinking = t = p = 0
        if any_tired and size < LIST_LENGTH:
            sinking = _sort_weary(popular.items, shares, tired, weary, order, order_shares)
        while size < LIST_LENGTH:
            while any_tired and p < len(popular.items) and weary[p]:
                p += 1
            if t < sinking and (p == len(popular.items) or order_shares[t] > shares[p]):
                item, score = popular.items[order[t]], order_shares[t]
                t += 1
            elif p < len(popular.items):
                item, score = popular.items[p], shares[p]
                p += 1
            else:
                break
            if listed(lists.items[n], size, item) or listed(recent, left_out, item):
                continue
            if to_look_up:
                good = rules.goods[slot_of(rules.goods, item)]
                if good.available == UNAVAILABLE:
                    continue
                best[size].category = good.category
                if rules.limits[1] > 0 and good.category != 0:
                    if _last_of(best, size, good.category, rules.limits[1]) >= 0:
                        continue
            if size > 0:
                score = min(score, lists.scores[n, size - 1])
            lists.items[n, size] = item
            lists.scores[n, size] = score
            lists.because[n, size] = 0
            rungs |= np.uint64(POPULAR) << np.uint64(RUNG_BITS * size)
            size += 1
        for i in range(n_tired):
            tired[tired_used[i]].item = 0
        lists.counts[n] = size
        lists.rungs[n] = rungs
        for k in range(size, LIST_LENGTH):
            lists.items[n, k] = 0
            lists.scores[n, k] = 0.0
            lists.because[n, k] = 0


def rank_reference(
    neighbours: Sequence[Sequence[tuple[int, float]]],
    recent: Sequence[int],
    weights: np.ndarray,
    remembered: Mapping[int, Sequence[tuple[int, float]]],
    popular: Sequence[tuple[int, float]],
    factors: Mapping[int, float] = MappingProxyType({}),
    category_of: Mapping[int, int] = MappingProxyType({}),
    category_max: int = 0,
) -> list[tuple[int, float, int, int]]:
    """The plain reference of `rank` for one shopper: (item, score, because, rung), of (item, score) by place in
    `recent`. `factors` of items, 0 for those that are not to be listed; `category_of` those of which it is known."""
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
    weary = {item: np.float32(factors.get(item, 1.0)) for item in [*given, *(item for item, _ in popular)]}
    candidates = [
        (
            item,
            np.float32(sum((g[0] for g in gifts), np.float32(0.0)) * weary[item]),
            *max(gifts, key=lambda g: g[0])[1:],
        )
        for item, gifts in given.items()
    ]
    total = sum((np.float32(s) for _, s in popular), np.float32(0.0))
    total = total if total > 0 else np.float32(1.0)
    shares = [(item, np.float32(np.float32(score) / total * weary[item]), 0, POPULAR) for item, score in popular]
    best = sorted(candidates, key=lambda entry: (-entry[1], entry[0])) + sorted(
        shares, key=lambda e: (-e[1], weary[e[0]] < 1)
    )
    laid: list[tuple[int, np.float32, int, int]] = []
    count: Counter[int] = Counter()
    out_of_list = {*recent[: w["leave_out"]], *(item for item, factor in weary.items() if factor == 0)}
    for item, value, reason, rung in best:
        category = category_of.get(item, 0)
        if len(laid) == LIST_LENGTH or item in out_of_list or (category_max and count[category] >= category_max):
            continue
        laid.append((item, min(value, laid[-1][1]) if laid else value, reason, rung))
        out_of_list.add(item)
        count[category] += category != 0
    return [(item, float(score), reason, rung) for item, score, reason, rung in laid]
