"""Slabs: rows taken and given back, chains of cells as dicts, and nothing that leaks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import DAY, Shop, line, logs
from slab_maker import make_slab, used

from operators.kernels.slabs import add_cell, cells_of, find_cell, free_chain, give_back, remove_cell, take_row
from state.profile_table import CELL_CHUNK, CELLS_A_CHUNK, SLABS

OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(("add", "add", "add", "remove", "free")),
        st.integers(1, 3),
        st.integers(0, 12),
        st.integers(-5, 5),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_chains_are_dicts(operations: list[tuple[int, str, int, int, int]]) -> None:
    """Three chains in one slab: each holds what a dict of (tag, key) would, in as few chunks as can be."""
    cells, chains, dicts = make_slab(CELL_CHUNK), [0, 0, 0], [dict[tuple[int, int], int]() for _ in range(3)]
    for which, operation, tag, key, amount in operations:
        chain, wanted = chains[which], dicts[which]
        cells.dirty[:] = 0
        if operation == "add":
            chain = add_cell(cells, chain, tag, key, amount)
            wanted[tag, key] = wanted.get((tag, key), 0) + amount
            assert cells.dirty[find_cell(cells, chain, tag, key)[0]]
        elif operation == "free":
            free_chain(cells, chain)
            chain, wanted = 0, {}
        elif (tag, key) in wanted:
            chain = remove_cell(cells, chain, *find_cell(cells, chain, tag, key))
            del wanted[tag, key]
        else:
            assert find_cell(cells, chain, tag, key)[0] == -1
        chains[which], dicts[which] = int(chain), wanted
        assert [cells_of(cells.rows, c) for c in chains] == dicts
    assert used(cells) == sum(-(-len(wanted) // CELLS_A_CHUNK) for wanted in dicts)
    for chain in chains:
        free_chain(cells, chain)
    assert used(cells) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=60))
def test_rows_given_back_are_taken_again_first(steps: list[int | None]) -> None:
    """None takes a row, a number gives one of those in use back: no row is had twice, and each one is empty."""
    slab, held = make_slab(CELL_CHUNK), list[int]()
    most = 0
    for step in steps:
        if step is None:
            row = int(take_row(slab))
            assert row not in held and not slab.words[row].any() and slab.dirty[row]
            slab.rows[row]["amounts"] = 7
            held.append(row)
            most = max(most, len(held))
        elif held:
            give_back(slab, held.pop(step % len(held)))
        assert used(slab) == len(held)
    assert slab.head[0] == most


def references(shop: Shop) -> dict[str, int]:
    """How many rows of each slab the shoppers in memory refer to."""
    (step,) = shop.steps.values()
    count = dict.fromkeys(("cells", "decisions", "carts", "attributes", "pending"), 0)
    for row in step.store.profiles.rows[: step.store.profiles.size]:
        for name, slab in (("cells", "cells"), ("tastes", "cells"), ("cart", "carts")):
            chain = int(row[name])
            while chain:
                count[slab] += 1
                chain = int(step.tables[slab].rows["next"][chain - 1])
        count["decisions"] += bool(row["purchase_decision"]) + bool(row["churn_decision"])
        for name, slab in (("attributes", "attributes"), ("pending", "pending")):
            count[slab] += bool(row[name])
    return count


@settings(max_examples=40, deadline=None)
@given(logs(most=60), st.integers(1, 30), st.booleans())
def test_nothing_leaks(log: list[bytes], size: int, cold: bool) -> None:
    """After any batch the rows in use are those that shoppers refer to; when all were erased, every row is free."""
    with tempfile.TemporaryDirectory() as directory:
        settings_ = {"sample_every": 1, "inactivity_ttl_ms": 20 * DAY, "bytes_max": 1}
        shop = Shop(1, Path(directory) if cold else None, **settings_)
        for at in range(0, len(log), size):
            shop.feed(*log[at : at + size])
            assert {name: used(shop.steps["u000"].store.slab(name)) for name in references(shop)} == references(shop)
        users = [f"{name}" for name in ("ann", "bob", "ünï", "x" * 16, "y" * 33)]
        shop.feed(*(line("erase", 1_800_000_000_000, user) for user in users))
        heads = dict(zip(SLABS, shop.steps["u000"].store.shard.rows["heads"][0].tolist(), strict=True))
        for name in references(shop):
            assert heads[name][0] == heads[name][2], name
        assert shop.rows() == {} and shop.steps["u000"].users == 0
