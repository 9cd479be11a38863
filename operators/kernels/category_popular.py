"""What is popular in each of the larger categories of an item shard, kept up as items are touched.

Of each category kept, the CATEGORY_ITEMS most popular items of the shard are known, most popular first. An item's
popularity never falls and orders items the same at any time (`operators.kernels.neighbours.touch`), so only an item
that is touched can rise, and a list that is kept up at each touch is exact. When there is no room for a further
category, it takes the place and the weight of the one that weighs least, and begins without items: Space-Saving,
Metwally et al., "Efficient computation of frequent and top-k elements in data streams" (ICDT 2005), with fading
weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from state.compiled import kernel
from state.models import CATEGORY_ITEMS


class CategoryLists(NamedTuple):
    """The popular items of c categories, the first `used[0]` of which are in use. No state: made from the items' rows.

    300 kB at 1,000 categories.
    """

    categories: np.ndarray
    """uint64[c]"""
    weights: np.ndarray
    """float64[c]: log2 of the forward-decayed weight of all touches"""
    counts: np.ndarray
    """int32[c]"""
    rows: np.ndarray
    """int32[c, CATEGORY_ITEMS]: rows of items, most popular first"""
    popularity: np.ndarray
    """float64[c, CATEGORY_ITEMS]: theirs, as ITEM_ROW has it"""
    used: np.ndarray
    """int64[1]"""
    hints: np.ndarray
    """int32[h], a power of two: by the end of its hash, where a category was found last"""


def no_categories(categories_max: int) -> CategoryLists:
    """Room for so many categories."""
    places = (categories_max, CATEGORY_ITEMS)
    return CategoryLists(
        np.zeros(categories_max, np.uint64),
        np.full(categories_max, -np.inf),
        np.zeros(categories_max, np.int32),
        np.zeros(places, np.int32),
        np.full(places, -np.inf),
        np.zeros(1, np.int64),
        np.zeros(1 << (4 * categories_max - 1).bit_length(), np.int32),
    )


def categories_of(items: np.ndarray, categories_max: int) -> CategoryLists:
    """The lists of the heaviest categories of ITEM_ROW[n], made anew: what a restart has to go by."""
    lists = no_categories(categories_max)
    rows = np.flatnonzero((items["category"] != 0) & (items["popularity"] > -np.inf))
    if len(rows) == 0:
        return lists
    rows = rows[np.lexsort((-items["popularity"][rows], items["category"][rows]))]
    categories, starts = np.unique(items["category"][rows], return_index=True)
    weights = np.logaddexp2.reduceat(items["popularity"][rows], starts)
    ends = np.append(starts[1:], len(rows))
    heaviest = np.argsort(-weights, kind="stable")[:categories_max]
    for place, c in enumerate(heaviest.tolist()):
        best = rows[starts[c] : min(ends[c], starts[c] + CATEGORY_ITEMS)]
        lists.rows[place, : len(best)] = best
        lists.popularity[place, : len(best)] = items["popularity"][best]
        lists.counts[place] = len(best)
    lists.categories[: len(heaviest)] = categories[heaviest]
    lists.weights[: len(heaviest)] = weights[heaviest]
    lists.used[0] = len(heaviest)
    return lists


@kernel
def _place_of(lists, category):
    """The place of a category, made where it is new; the lightest one gives way where there is no room."""
    used = lists.used[0]
    h = category & np.uint64(len(lists.hints) - 1)
    hinted = np.int64(lists.hints[h])
    if lists.categories[hinted] == category:
        return hinted
    place = -1
    for k in range(used):
        place = k if lists.categories[k] == category else place
    if place >= 0:
        lists.hints[h] = place
        return place
    if used < len(lists.categories):
        place = used
        lists.used[0] = used + 1
    else:
        place = 0
        for k in range(1, used):
            place = k if lists.weights[k] < lists.weights[place] else place
    lists.categories[place] = category
    lists.counts[place] = 0
    lists.hints[h] = place
    return place


@kernel
def note_popular(items, rows, touches, half_life_ms, lists):
    """Bring `lists` CategoryLists up to touches that `touch` has taken in.

    `items` ITEM_ROW[capacity]; `rows` int32[n] (-1: not kept), `touches` TOUCH[n]. Facts alone (weight 0) move nothing;
    an item whose category changed stands under both until it is told (`Covisit`), and moves at its next touch.
    """
    for n in range(len(touches)):
        r = rows[n]
        if r < 0 or not touches[n].weight > 0.0:
            continue
        category = items[r].category
        if category == 0:
            continue
        c = _place_of(lists, category)
        told = math.log2(touches[n].weight) + touches[n].ts / half_life_ms
        high, low = max(told, lists.weights[c]), min(told, lists.weights[c])
        lists.weights[c] = high + math.log2(1.0 + 2.0 ** (low - high))
        popularity, count = items[r].popularity, lists.counts[c]
        at = -1
        for k in range(count):
            at = k if lists.rows[c, k] == r else at
        if at < 0:
            if count < CATEGORY_ITEMS:
                at = count
                lists.counts[c] = count + 1
            elif popularity > lists.popularity[c, CATEGORY_ITEMS - 1]:
                at = CATEGORY_ITEMS - 1
            else:
                continue
        while at > 0 and lists.popularity[c, at - 1] < popularity:
            lists.rows[c, at] = lists.rows[c, at - 1]
            lists.popularity[c, at] = lists.popularity[c, at - 1]
            at -= 1
        lists.rows[c, at] = r
        lists.popularity[c, at] = popularity


def note_popular_reference(
    touches: Sequence[tuple[int, int, float, float]], categories_max: int
) -> dict[int, list[int]]:
    """The plain reference of `note_popular`: by category its most popular items, of touches (item, category, time in
    half-lives, weight), each item of one category. Equal popularity: who had it first."""
    popularity: dict[int, float] = {}
    weights: dict[int, float] = {}
    known: dict[int, list[int]] = {}
    for item, category, time, weight in touches:
        told = math.log2(weight) + time
        popularity[item] = float(np.logaddexp2(popularity.get(item, -math.inf), told))
        if category not in weights and len(weights) == categories_max:
            lightest = min(weights, key=lambda c: weights[c])
            known.pop(lightest)
            weights = {(category if c == lightest else c): w for c, w in weights.items()}  # its place and its weight
        weights[category] = float(np.logaddexp2(weights.get(category, -math.inf), told))
        entries = known.setdefault(category, [])
        if item not in entries:
            entries.append(item)
        entries.sort(key=lambda i: -popularity[i])
        del entries[CATEGORY_ITEMS:]
    return known
