"""Filling a list up: what is popular in a category, a segment, a context, the whole shop, as far as its rules let it.

What is popular in the category of the current item and in the one the shopper likes best, in their segment, in the
whole shop, in the context they act in: which of these rungs goes first differs from shop to shop.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.candidates import listed
from operators.kernels.gate import factor_of, last_of
from operators.kernels.goods import slot_of
from operators.kernels.group_items import place_of_group
from state.batches import LIST_LENGTH
from state.compiled import kernel
from state.profile_table import UNAVAILABLE
from state.rungs import CATEGORY, CONTEXT, POPULAR, RUNG_BITS, SEGMENT


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
def _from_categories(lists, n, most, known, category, favourite, last, left_out, gate, weary):
    """Fill list n up with what is popular in two categories (0: none), of ByCategory `known`: at most so many places
    in all."""
    for turn in range(1 if favourite == category else 2):
        wanted = favourite if turn else category
        k = np.searchsorted(known.categories, wanted)
        if wanted == 0 or k == len(known.categories) or known.categories[k] != wanted:
            continue
        before = np.int64(lists.counts[n])
        begin, end = known.starts[k], known.starts[k + 1]
        total = total_of(known.scores, begin, end)
        _fill_up(
            lists, n, most, known.items, known.scores, begin, end, total, last, left_out, CATEGORY, wanted, gate, weary
        )
        most -= np.int64(lists.counts[n]) - before


@kernel
def _from_group(lists, n, most, of, number, last, left_out, rung, why, gate, weary):
    """Fill list n up with what is popular in a group (0: none), of GroupItems: at most so many places."""
    place = place_of_group(of, number) if number != np.uint64(0) else -1
    if place >= 0:
        end = np.int64(of.counts[place])
        items, weights = of.items[place], of.weights[place]
        total = total_of(weights, 0, end)
        _fill_up(lists, n, most, items, weights, 0, end, total, last, left_out, rung, why, gate, weary)


@kernel
def climb(lists, n, who, ladder, popular_total, last, left_out, gate):
    """Fill list n up, rung by rung: first the best one but for what the others are to have, then those, then whatever
    is free; what the shopper is weary of comes last."""
    free = LIST_LENGTH - np.int64(lists.counts[n])
    tried = free // ladder.tried if ladder.tried > 0 else 0
    rungs = len(ladder.order)
    of_all = ladder.popular
    for turn in range(3 * rungs if gate.ruled[0] > 0 else 2 * rungs):
        for_sure = free - (rungs - 1) * tried if turn == 0 and tried > 0 else tried
        most = for_sure if turn < rungs else np.int64(LIST_LENGTH)
        if most <= 0 or lists.counts[n] == LIST_LENGTH:
            continue
        rung, weary = ladder.order[turn % rungs], turn >= 2 * rungs
        if rung == CATEGORY:
            category, favourite = who.categories[n], who.favourites[n]
            _from_categories(lists, n, most, ladder.categories, category, favourite, last, left_out, gate, weary)
        elif rung == SEGMENT:
            number, of = who.segments[n], ladder.segments
            group, why = np.uint64(number + 1), np.uint64(number)
            _from_group(lists, n, most, of, group, last, left_out, rung, why, gate, weary)
        elif rung == CONTEXT:
            group = who.contexts[n]
            _from_group(lists, n, most, ladder.contexts, group, last, left_out, rung, group, gate, weary)
        else:
            items, end, why = of_all.items, len(of_all.items), np.uint64(0)
            total = popular_total
            _fill_up(lists, n, most, items, of_all.scores, 0, end, total, last, left_out, POPULAR, why, gate, weary)
