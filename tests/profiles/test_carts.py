"""The cart kernel: acts in order of time whatever their order of arrival, and the game they are played by."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from slab_maker import make_slab, record, used

from operators.kernels.carts import empty_until, load, pieces_after, play, play_reference, put, store
from state.profile_table import CART, CART_ACTS, CART_CHUNK, CART_CHUNK_ACTS

Act = tuple[int, int, int, int]  # time, item, pieces, price
ACTS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.integers(1, 4),
        st.sampled_from([1000, 2000, 500, -1000, -3000, 0]),
        st.sampled_from([-1, 0, 9, 10_000, 33_333]),
    ),
    max_size=24,
)


def filled(acts: list[Act]) -> np.void:
    cart = record(CART)
    for ts, item, pieces, price in acts:
        put(cart, item, ts, pieces, price)
    return cart


def acts_of(cart: np.void) -> list[Act]:
    columns = (cart[name][: cart["count"]].tolist() for name in ("ts", "items", "pieces", "prices"))
    return list(zip(*columns, strict=True))


def played(cart: np.void) -> tuple[int, ...]:
    return tuple(map(int, play(cart, np.zeros(CART_ACTS, np.int64))))


@settings(max_examples=200, deadline=None)
@given(ACTS)
def test_the_newest_acts_are_kept_in_order_and_played(acts: list[Act]) -> None:
    """Whatever the order of arrival: pieces, items, value, and since when there is anything."""
    cart = filled(acts)
    newest = sorted(acts)[-CART_ACTS:]
    assert acts_of(cart) == newest[::-1]
    assert played(cart) == play_reference(newest)


@settings(max_examples=150, deadline=None)
@given(ACTS)
def test_pieces_after_an_act_are_those_of_the_acts_up_to_it(acts: list[Act]) -> None:
    """At every place; what is held of each item stands at its newest act up to there."""
    cart = filled(acts)
    held = np.full(CART_ACTS, 7, np.int64)
    kept = acts_of(cart)
    for place in range(len(kept)):
        upto = kept[place:]
        assert pieces_after(cart, place, held) == play_reference(upto)[0]
        for k, (_, item, _, _) in enumerate(kept):
            is_newest = k >= place and item not in [one[1] for one in kept[place:k]]
            of_item = [act for act in upto if act[1] == item]
            assert held[k] == (play_reference(of_item)[0] if is_newest else 0)


@settings(max_examples=100, deadline=None)
@given(ACTS, st.integers(0, 13))
def test_an_order_takes_the_acts_up_to_it(acts: list[Act], ts: int) -> None:
    """Those that came later stay as they were."""
    cart = filled(acts)
    wanted = [act for act in acts_of(cart) if act[0] > ts]
    assert empty_until(cart, ts) == len(wanted) == int(cart["count"])
    assert acts_of(cart) == wanted


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), ACTS), max_size=12))
def test_carts_are_kept_in_as_few_chunks_as_can_be(carts: list[tuple[int, list[Act]]]) -> None:
    """Three carts in one slab that grow, shrink and end: each reads as it was stored, and nothing of it stays."""
    slab, chains, wanted = make_slab(CART_CHUNK), [0, 0, 0], [list[Act]() for _ in range(3)]
    for which, acts in carts:
        cart = filled(acts)
        chains[which], wanted[which] = int(store(slab, chains[which], cart)), acts_of(cart)
        for chain, acts_wanted in zip(chains, wanted, strict=True):
            found = filled([(9, 9, 9, 9)] * CART_ACTS)
            load(slab, chain, found)
            assert acts_of(found) == acts_wanted
        assert used(slab) == sum(-(-len(one) // CART_CHUNK_ACTS) for one in wanted)


def test_an_empty_cart_holds_nothing() -> None:
    """No act, no pieces, no time."""
    assert played(record(CART)) == (0, 0, 0, 0)


def test_a_cart_that_was_empty_in_between_begins_anew() -> None:
    """Since when it holds something counts from then; the newest price told of an item counts."""
    acts = [(1, 1, 1000, 500), (2, 1, -1000, -1), (3, 1, 2000, 700), (4, 2, 1000, -1), (5, 1, 1000, -1)]
    assert played(filled(acts)) == (4000, 2, 2100, 3) == play_reference(acts)
