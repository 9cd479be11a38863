"""Which items an order brings together: every two of its lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from state.batches import PURCHASE
from state.compiled import kernel

BASKET_MAX = 32
"""Of a larger order its first so many different items are paired: what it makes grows with their square."""


@kernel
def _items_of(events, taken, head, basket):
    """The different items that were bought (not sent back) in the order that begins at `head`, at most BASKET_MAX, to
    `basket` uint64[BASKET_MAX]: (how many, where the next event begins)."""
    size, i = 0, head
    while i < len(events) and (i == head or not events[i].head):
        item = events[i].item
        if taken[head] and events[i].value > 0 and size < BASKET_MAX:
            known = False
            for k in range(size):
                known |= basket[k] == item
            if not known:
                basket[size] = item
                size += 1
        i += 1
    return size, i


@kernel
def count_basket_pairs(events, taken):
    """How many pairs `basket_pairs` will write."""
    basket = np.empty(BASKET_MAX, np.uint64)
    pairs, i = 0, 0
    while i < len(events):
        if events[i].kind == PURCHASE:
            size, i = _items_of(events, taken, i, basket)
            pairs += size * (size - 1)
        else:
            i += 1
    return pairs


@kernel
def basket_pairs(events, taken, pairs):
    """Write the pairs of the orders among `events` EVENT[n] of which `taken` bool[n] says that they were taken in to
    `pairs` PAIR, in event order.

    In the row of each item of an order every other one gets 1 / sqrt(of how many there are): a large order says less
    of each of its pairs, and more in all.
    """
    basket = np.empty(BASKET_MAX, np.uint64)
    at, i = 0, 0
    while i < len(events):
        if events[i].kind != PURCHASE:
            i += 1
            continue
        size, i = _items_of(events, taken, i, basket)
        if size > 1:
            weight = np.float32(1.0 / np.sqrt(size - 1.0))
            for k in range(size):
                for j in range(size):
                    if j != k:
                        pairs[at].row = basket[k]
                        pairs[at].other = basket[j]
                        pairs[at].weight = weight
                        at += 1


def basket_pairs_reference(orders: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, int, float]]:
    """The plain reference of `basket_pairs`, of the lines (item, quantity) of each order taken in: (row, other,
    weight)."""
    pairs = []
    for lines in orders:
        items = list(dict.fromkeys(item for item, quantity in lines if quantity > 0))[:BASKET_MAX]
        pairs += [(a, b, (len(items) - 1.0) ** -0.5) for a in items for b in items if a != b]
    return pairs
