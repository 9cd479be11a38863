"""The cart of one shopper: its newest acts since the last order, played in order of time whenever it is looked at."""

from __future__ import annotations

import numpy as np

from operators.kernels.slabs import give_back, take_row
from state.compiled import kernel
from state.profile_table import CART_ACTS, CART_CHUNK_ACTS

VALUE_MAX = 1e17
"""Most that one item of a cart is worth, in money: 10^13 of the shop's currency."""


@kernel
def load(carts, chain, cart):
    """Copy a cart from its chunks (`chain`: the first one plus one, 0 for none) into a CART record."""
    n = 0
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = carts.rows[c]
        for k in range(chunk.count):
            cart.items[n] = chunk.items[k]
            cart.ts[n] = chunk.ts[k]
            cart.prices[n] = chunk.prices[k]
            cart.pieces[n] = chunk.pieces[k]
            n += 1
        c = np.int64(chunk.next) - 1
    cart.count = n


@kernel
def store(carts, chain, cart):
    """Copy a CART record into chunks, begun and given back as need be; the first chunk plus one, 0 for none."""
    if cart.count == 0:
        c = np.int64(chain) - 1
        while c >= 0:
            after = np.int64(carts.rows[c].next) - 1
            give_back(carts, c)
            c = after
        return np.int64(0)
    first = np.int64(chain)
    if first == 0:
        first = take_row(carts) + 1
    c = first - 1
    n = 0
    while True:
        chunk = carts.rows[c]
        carts.dirty[c] = 1
        chunk.count = min(np.int64(cart.count) - n, CART_CHUNK_ACTS)
        for k in range(CART_CHUNK_ACTS):
            used = k < chunk.count
            chunk.items[k] = cart.items[n] if used else np.uint64(0)
            chunk.ts[k] = cart.ts[n] if used else 0
            chunk.prices[k] = cart.prices[n] if used else 0
            chunk.pieces[k] = cart.pieces[n] if used else 0
            n += used
        after = np.int64(chunk.next) - 1
        if n == cart.count:
            chunk.next = 0
            while after >= 0:
                more = np.int64(carts.rows[after].next) - 1
                give_back(carts, after)
                after = more
            return first
        if after < 0:
            after = take_row(carts)
            carts.rows[c].next = after + 1
        c = after


@kernel
def _before(cart, k, ts, item, pieces, price):
    """Is the act at place k older than one of (ts, item, pieces, price)?"""
    if cart.ts[k] != ts:
        return cart.ts[k] < ts
    if cart.items[k] != item:
        return cart.items[k] < item
    if cart.pieces[k] != pieces:
        return cart.pieces[k] < pieces
    return cart.prices[k] < price


@kernel
def put(cart, item, ts, pieces, price):
    """Put a cart act (pieces in thousandths, negative: taken out; price -1: not told) at its place in a CART, newest
    first. With no room the oldest goes."""
    n = np.int64(cart.count)
    at = n
    if n == CART_ACTS:
        at = n - 1
        if not _before(cart, at, ts, item, pieces, price):
            return
    else:
        cart.count = n + 1
    while at > 0 and _before(cart, at - 1, ts, item, pieces, price):
        cart.items[at] = cart.items[at - 1]
        cart.ts[at] = cart.ts[at - 1]
        cart.pieces[at] = cart.pieces[at - 1]
        cart.prices[at] = cart.prices[at - 1]
        at -= 1
    cart.items[at] = item
    cart.ts[at] = ts
    cart.pieces[at] = pieces
    cart.prices[at] = price


@kernel
def empty_until(cart, ts):
    """An order at `ts`: the acts up to then go. How many are left."""
    n = np.int64(cart.count)
    while n > 0 and cart.ts[n - 1] <= ts:
        n -= 1
    cart.count = n
    return n


@kernel
def pieces_after(cart, last, held):
    """Pieces in the cart after the act at place `last`; `held` int64[CART_ACTS] gets those of each item, at the place
    of the item's newest act."""
    total = np.int64(0)
    for k in range(CART_ACTS):
        held[k] = 0
    for k in range(np.int64(cart.count) - 1, last - 1, -1):
        before = np.int64(0)
        for j in range(k + 1, np.int64(cart.count)):
            if cart.items[j] == cart.items[k]:
                before = held[j]
                held[j] = 0
                break
        held[k] = max(before + cart.pieces[k], 0)
        total += held[k] - before
    return total


@kernel
def play(cart, held):
    """The whole cart: (pieces, different items, value in money, since when in ms; 0 when it is empty)."""
    since = np.int64(0)
    for k in range(np.int64(cart.count) - 1, -1, -1):
        if pieces_after(cart, k, held) == 0:
            since = np.int64(0)
        elif since == 0:
            since = cart.ts[k]
    pieces = lines = value = np.int64(0)
    for k in range(np.int64(cart.count)):
        if held[k] > 0:
            lines += 1
            pieces += held[k]
            for j in range(k, np.int64(cart.count)):
                if cart.items[j] == cart.items[k] and cart.prices[j] >= 0:
                    value += np.int64(min(np.round(held[k] * (cart.prices[j] / 1000)), VALUE_MAX))
                    break
    return pieces, lines, value, since


def play_reference(acts: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    """`play` of acts (time, item, pieces, price) in plain Python."""
    held: dict[int, int] = {}
    price: dict[int, int] = {}
    since = 0
    for ts, item, pieces, told in sorted(acts):
        held[item] = max(held.get(item, 0) + pieces, 0)
        if told >= 0:
            price[item] = told
        since = (since or ts) if any(held.values()) else 0
    left = {item: n for item, n in held.items() if n > 0}
    value = sum(round(n * (price.get(item, 0) / 1000)) for item, n in left.items())
    return sum(left.values()), len(left), value, since
