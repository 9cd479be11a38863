"""Filling a list up: what is popular in a category, in a segment, in the whole shop, as far as the shop's rules let it.

What is popular in the category of the current item and in the one the shopper likes best, in their segment, in the
whole shop: which of these rungs goes first differs from shop to shop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.kernels.candidates import CATEGORY, POPULAR, SEGMENT, listed
from operators.kernels.goods import slot_of
from operators.kernels.list_types import RUNG_BITS
from operators.kernels.segment_items import place_of_segment
from state.batches import LIST_LENGTH
from state.compiled import kernel
from state.profile_table import UNAVAILABLE

RULED_SLOTS = 1024
"""Of the table of a shopper's ruled items, a power of two well above BOUGHT_MAX + SHOWN_MAX."""


@kernel
def _ruled_slot(table, item):
    s = item & np.uint64(RULED_SLOTS - 1)
    while table[s].item != 0 and table[s].item != item:
        s = (s + np.uint64(1)) & np.uint64(RULED_SLOTS - 1)
    return s


@kernel
def factor_of(table, item):
    """What a score of the item is multiplied by."""
    s = _ruled_slot(table, item)
    return table[s].factor if table[s].item == item else np.float32(1.0)


@kernel
def lay_out_ruled(ruled, start, end, table, used):
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
def last_of(best, size, category, most):
    """The last of `category` among the first `size` of `best`, if there are `most` of them; else -1."""
    found, at = 0, -1
    for k in range(size):
        if best[k].category == category:
            found += 1
            at = k
    return at if found >= most else -1


class Gate(NamedTuple):
    """What the rules of a shop leave of what a list may be filled up with."""

    tired: np.ndarray
    """RULED[RULED_SLOTS]: the shopper's items that are not to be listed, or that they are weary of"""
    ruled: np.ndarray
    """int64[1]: how many these are"""
    goods: np.ndarray
    """GOOD[slots]"""
    limits: np.ndarray
    """int64[2] of Rules"""
    best: np.ndarray
    """CANDIDATE[LIST_LENGTH]: the category of what stands in the list so far"""


@kernel
def total_of(scores, begin, end):
    """The sum of scores[begin:end], added up as float32 from the first on."""
    total = np.float32(0.0)
    for p in range(begin, end):
        total += np.float32(scores[p])
    return total


@kernel
def _fill_up(lists, n, most, items, scores, begin, end, total, last, left_out, rung, why, gate, weary):
    """Put items[begin:end], best first, at the end of list n as far as there is room and the `gate` Gate lets them in,
    at most so many: those the shopper is weary of alone, or none of them. An item's score is its share of `total`, that
    of scores[begin:end], times its factor, but never above that of the item before it."""
    to_look_up = gate.limits[0] > 0 or gate.limits[1] > 0
    size = np.int64(lists.counts[n])
    for p in range(begin, end):
        if size == LIST_LENGTH or most == 0:
            break
        item = items[p]
        if listed(lists.items[n], size, item) or listed(last, left_out, item):
            continue
        factor = np.float32(1.0)
        if gate.ruled[0] > 0:
            factor = factor_of(gate.tired, item)
        if factor == 0 or (factor < 1) != weary:
            continue
        if to_look_up:
            good = gate.goods[slot_of(gate.goods, item)]
            if good.available == UNAVAILABLE:
                continue
            if gate.limits[1] > 0 and good.category != 0:
                if last_of(gate.best, size, good.category, gate.limits[1]) >= 0:
                    continue
            gate.best[size].category = good.category
        score = np.float32(scores[p]) / total if total > 0 else np.float32(0.0)
        score *= factor
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
def _from_category(lists, n, most, known, category, last, left_out, gate, weary):
    """Fill list n up with what is popular in a category, of ByCategory `known`: at most so many places; how many are
    left of them."""
    if category == 0:
        return most
    k = np.searchsorted(known.categories, category)
    if k == len(known.categories) or known.categories[k] != category:
        return most
    before = np.int64(lists.counts[n])
    begin, end = known.starts[k], known.starts[k + 1]
    total = total_of(known.scores, begin, end)
    _fill_up(
        lists, n, most, known.items, known.scores, begin, end, total, last, left_out, CATEGORY, category, gate, weary
    )
    return most - (np.int64(lists.counts[n]) - before)


@kernel
def _from_rung(lists, n, rung, most, who, ladder, popular_total, last, left_out, gate, weary):
    """Fill list n up from one rung of the ladder, at most so many places."""
    if rung == CATEGORY:
        category, favourite = who.categories[n], who.favourites[n]
        most = _from_category(lists, n, most, ladder.categories, category, last, left_out, gate, weary)
        if favourite != category and most > 0:
            _from_category(lists, n, most, ladder.categories, favourite, last, left_out, gate, weary)
    elif rung == SEGMENT:
        of, number = ladder.segments, who.segments[n]
        place = place_of_segment(of, number) if number >= 0 else -1
        if place >= 0:
            of_it = np.int64(of.counts[place])
            items, weights = of.items[place], of.weights[place]
            total = total_of(weights, 0, of_it)
            _fill_up(
                lists, n, most, items, weights, 0, of_it, total, last, left_out, SEGMENT, np.uint64(number), gate, weary
            )
    else:
        of_all = ladder.popular
        end, why = len(of_all.items), np.uint64(0)
        _fill_up(
            lists,
            n,
            most,
            of_all.items,
            of_all.scores,
            0,
            end,
            popular_total,
            last,
            left_out,
            POPULAR,
            why,
            gate,
            weary,
        )


@kernel
def climb(lists, n, who, ladder, popular_total, last, left_out, gate):
    """Fill list n up, rung by rung: first the best one but for what the others are to have, then those, then whatever
    is free; what the shopper is weary of comes last."""
    free = LIST_LENGTH - np.int64(lists.counts[n])
    tried = free // ladder.tried if ladder.tried > 0 else 0
    rungs = len(ladder.order)
    if tried > 0:
        for k in range(rungs):
            most = free - (rungs - 1) * tried if k == 0 else tried
            if most > 0:
                _from_rung(lists, n, ladder.order[k], most, who, ladder, popular_total, last, left_out, gate, False)
    for k in range(rungs):
        if lists.counts[n] < LIST_LENGTH:
            _from_rung(lists, n, ladder.order[k], LIST_LENGTH, who, ladder, popular_total, last, left_out, gate, False)
    if gate.ruled[0] > 0:
        for k in range(rungs):
            if lists.counts[n] < LIST_LENGTH:
                _from_rung(
                    lists, n, ladder.order[k], LIST_LENGTH, who, ladder, popular_total, last, left_out, gate, True
                )
