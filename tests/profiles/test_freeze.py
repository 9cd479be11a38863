"""Packing a shopper into words and back: nothing is lost, and nothing stays behind."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, Shop, line, logs
from slab_maker import used

from operators.kernels import freeze as frozen
from state.profile_table import CELLS_A_CHUNK

OWN_SLABS = ("cells", "decisions", "carts", "attributes", "pending")


def pack(shop: Shop) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[int, int]]:
    """Freeze all shoppers of a shop: (rows, starts, words, first chunk of each row's id)."""
    store = shop.steps["u000"].store
    rows = np.flatnonzero(store.profiles.rows["hash"][: store.profiles.size]).astype(np.int32)
    ids = dict(zip(rows.tolist(), store.profiles.rows["id_chunk"][rows].tolist(), strict=True))
    cells = store.slab("cells")
    room = len(rows) * frozen.ROOM + 2 * CELLS_A_CHUNK * used(cells)
    words, starts = np.full(room, 77, np.uint64), np.empty(len(rows) + 1, np.int64)
    profiles, sessions = store.slab("profiles"), store.slab("sessions")
    at = frozen.freeze(profiles, sessions, store.slabs(), store.ids.rows.view(np.uint8), rows, starts, words)
    assert starts[-1] == at <= room
    return rows, starts, words[:at].copy(), ids


@settings(max_examples=60, deadline=None)
@given(logs(most=60), st.randoms(use_true_random=False))
def test_thawing_undoes_freezing(log: list[bytes], chosen_by: random.Random) -> None:
    """Into other rows, in any order: all that is kept is the same. In between rows are zero and slabs are free."""
    shop = Shop(sample_every=1)
    shop.feed(*log)
    before = shop.kept()
    rows, starts, words, ids = pack(shop)
    store = shop.steps["u000"].store
    names = [frozen.frozen_id(words, int(at)).decode() for at in starts[:-1]]
    assert set(names) == set(before)
    assert not store.profiles.words.any() and not store.sessions.words.any()
    assert all(used(store.slab(name)) == 0 for name in OWN_SLABS)
    assert all(store.profiles.dirty[rows]) and all(store.sessions.dirty[rows])
    order = list(range(len(rows)))
    chosen_by.shuffle(order)
    into = rows[order]
    for k, r in enumerate(into.tolist()):
        store.profiles.rows["id_chunk"][r] = ids[int(rows[k])]
    n = len(rows)
    slabs = store.slabs(cells=len(words), decisions=2 * n, carts=4 * n, attributes=n, pending=n)
    frozen.thaw(store.slab("profiles"), store.slab("sessions"), slabs, words, starts[:-1].copy(), into)
    assert shop.kept() == before


def test_a_full_shopper_fits_the_room() -> None:
    """Every slab in use, full carts and attributes, many cells, a long id: the stated room is enough."""
    shop = Shop(sample_every=1, browsed_depth_min=1)
    user = "ü" * 64
    for day in range(40):
        shop.feed(
            line("profile", BEGIN_MS + day * DAY, user, attributes={f"a{day}-{k}": k + 0.5 for k in range(16)}),
            *(line("add_to_cart", BEGIN_MS + day * DAY + k, user, item_id=f"i{k}", price=k + 1) for k in range(17)),
            line("view", BEGIN_MS + day * DAY + 99, user, item_id=f"j{day}", category=f"c{day}", device=f"d{day}"),
        )
    before = shop.kept()
    _, starts, words, _ = pack(shop)
    assert frozen.frozen_id(words, int(starts[0])).decode() == user and before[user]["attributes"]


def test_nobody_packs_into_nothing() -> None:
    """No rows, no words."""
    _, starts, words, _ = pack(Shop())
    assert starts.tolist() == [0] and len(words) == 0
