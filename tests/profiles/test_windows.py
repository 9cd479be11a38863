"""Tiled windows: exact to a tile, whatever comes late."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE
from slab_maker import make_slab, used

from operators.kernels.slabs import Slab, add_cell, cells_of
from operators.kernels.windows import (
    LENGTHS,
    SIZES_MS,
    TILE_MS,
    WINDOWS,
    coarsened,
    custom_tag,
    next_change_ms,
    roll,
    window_reference,
    window_sums,
)
from state.hashing import hash_text
from state.profile_table import CELL_CHUNK, MEASURE_TAGS

STEPS_MS = (0, 1, 5 * MINUTE - 1, 5 * MINUTE, HOUR - 1, HOUR, DAY, 5 * DAY, 30 * DAY)
BACK_MS = (0, 0, 0, 1, 5 * MINUTE, HOUR, HOUR + 1, 23 * HOUR, DAY, 29 * DAY, 31 * DAY)
AFTER_MS = (0, 1, 5 * MINUTE, HOUR, DAY, 6 * DAY, 29 * DAY, 60 * DAY)

Act = tuple[int, int, int]  # time, tag, amount


@st.composite
def acts_over_time(draw: st.DrawFn) -> list[Act]:
    """Acts as they arrive, some of them late."""
    now, out = BEGIN_MS + 12_345, list[Act]()
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from(STEPS_MS))
        ts = now - draw(st.sampled_from(BACK_MS))
        out.append((ts, draw(st.integers(1, MEASURE_TAGS - 1)), draw(st.integers(-50, 50))))
    return out


def taken_in(acts: list[Act]) -> tuple[Slab, int]:
    """A slab and the chain of cells of these acts, as `take_in` adds them."""
    cells, chain, newest = make_slab(CELL_CHUNK), 0, 0
    for ts, tag, amount in acts:
        if ts // TILE_MS > newest // TILE_MS:
            chain = int(roll(cells, chain, ts // TILE_MS))
        newest = max(newest, ts)
        key = int(coarsened(ts // TILE_MS, newest // TILE_MS))
        if key >= 0:
            chain = int(add_cell(cells, chain, tag, key, amount))
    return cells, chain


@settings(max_examples=150, deadline=None)
@given(acts_over_time(), st.sampled_from(AFTER_MS))
def test_windows_are_exact_to_a_tile(acts: list[Act], after: int) -> None:
    """Sums of every measure and window are those of the plain list, at the newest act and later; and days with acts."""
    cells, chain = taken_in(acts)
    now = max((ts for ts, _, _ in acts), default=BEGIN_MS) + after
    sums = np.full((MEASURE_TAGS, WINDOWS), 77, np.int64)
    active = window_sums(cells, chain, now, sums)
    assert not sums[0].any()
    for tag in range(1, MEASURE_TAGS):
        told = [(ts, amount) for ts, of, amount in acts if of == tag]
        assert sums[tag].tolist() == [window_reference(told, w, now) for w in range(WINDOWS)], tag
    assert active == len({ts // DAY for ts, _, _ in acts if ts // DAY > now // DAY - 30})


@settings(max_examples=100, deadline=None)
@given(acts_over_time(), st.randoms(use_true_random=False))
def test_what_is_kept_does_not_depend_on_the_order_of_acts(acts: list[Act], chosen_by: random.Random) -> None:
    """Any order gives the same cells, and no more of them than tiles with acts."""
    cells, chain = taken_in(acts)
    other = list(acts)
    chosen_by.shuffle(other)
    other_cells, other_chain = taken_in(other)
    assert cells_of(other_cells.rows, other_chain) == cells_of(cells.rows, chain)
    assert used(other_cells) == used(cells)


@settings(max_examples=150, deadline=None)
@given(acts_over_time(), st.sampled_from(AFTER_MS))
def test_the_next_change_is_when_the_next_act_leaves_a_window(acts: list[Act], after: int) -> None:
    """From the definition of windows, over the plain list; a year on when none will."""
    cells, chain = taken_in(acts)
    now = max((ts for ts, _, _ in acts), default=BEGIN_MS) + after
    leave = [(ts // size + n) * size for ts, _, _ in acts for size, n in zip(SIZES_MS, LENGTHS, strict=True)]
    wanted = min((at for at in leave if at > now), default=now + 365 * DAY)
    assert next_change_ms(cells, chain, now) == wanted


@pytest.mark.parametrize(("size", "n"), [(HOUR // 12, 12), (HOUR, 24), (DAY, 30)])
def test_the_oldest_tile_is_taken_and_none_before(size: int, n: int) -> None:
    """The first moment of the oldest tile keeps its tile's size; the last one before it goes to a coarser tile."""
    now = BEGIN_MS + 13 * HOUR + 35 * MINUTE
    oldest = (now // size - n + 1) * size
    assert coarsened(oldest // TILE_MS, now // TILE_MS) == oldest // TILE_MS
    before = (oldest - 1) // TILE_MS
    coarser = {12: before // 12 * 12, 24: before // 288 * 288, 30: -1}[n]
    assert coarsened(before, now // TILE_MS) == coarser != before


def test_nothing_rolls_to_nothing() -> None:
    """An empty chain stays one, and takes no row."""
    cells = make_slab(CELL_CHUNK)
    assert roll(cells, 0, BEGIN_MS // TILE_MS) == 0 and used(cells) == 0


def test_tags_of_customs_are_apart_from_measures() -> None:
    """Count and value of a custom event have tags of their own, above all others."""
    tags = [int(custom_tag(np.uint64(hash_text(name)), k)) for name in ("review", "scroll") for k in (0, 1)]
    assert len(set(tags)) == 4 and min(tags) > MEASURE_TAGS


def test_the_reference_knows_a_case_by_hand() -> None:
    """Of acts of 13:04, 13:59 and 14:58 an hour as of 14:01 has the second, and the third once it is there."""
    at = BEGIN_MS + 13 * HOUR
    acts = [(at + 4 * MINUTE, 1), (at + 59 * MINUTE, 2), (at + 118 * MINUTE, 4)]
    assert window_reference(acts[:2], 0, at + 61 * MINUTE) == 2
    assert window_reference(acts, 0, at + 118 * MINUTE) == 4
    assert [window_reference(acts, w, at + 118 * MINUTE) for w in (1, 2, 3)] == [7, 7, 7]
    assert [window_reference(acts, w, at + 7 * DAY) for w in (1, 2, 3)] == [0, 0, 7]
