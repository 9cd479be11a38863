"""Tiled windows: exact to a tile, whatever comes late."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS

from operators.kernels.windows import add_amounts, advance, count, window_reference
from operators.profile_features import window
from state.profile_table import PROFILE_ROW, TILE_MS, TILES

SPANS = {"1h": (0, 12), "24h": (1, 24), "7d": (2, 7), "30d": (2, 30)}
STEPS_MS = (0, 1, 299_999, 300_000, 3_599_999, 3_600_000, 86_400_000, 5 * 86_400_000, 30 * 86_400_000)
BACK_MS = (0, 0, 0, 1, 300_000, 3_600_000, 3_600_001, 23 * 3_600_000, 86_400_000, 29 * 86_400_000, 31 * 86_400_000)


@numba.njit
def _take(rows, times, pieces, money, alive):
    for i in range(len(times)):
        alive[i] = advance(rows[0], times[i])
        count(rows[0], alive[i], times[i], 2)
        add_amounts(rows[0], alive[i], times[i], pieces[i], money[i])


def took(times: list[int], amounts: list[int]) -> tuple[np.void, list[int]]:
    rows, alive = np.zeros(1, PROFILE_ROW), np.zeros(len(times), np.int64)
    money = np.array(amounts, np.int64)
    _take(rows, np.array(times, np.int64), 1000 * money, money, alive)
    return rows[0], alive.tolist()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(STEPS_MS), st.sampled_from(BACK_MS), st.integers(-50, 50)), max_size=40),
    st.sampled_from([0, 1, 300_000, 3_600_000, 86_400_000, 6 * 86_400_000, 29 * 86_400_000, 60 * 86_400_000]),
)
def test_windows_are_exact_to_a_tile(steps: list[tuple[int, int, int]], after: int) -> None:
    """Counts and sums of each window are those of the plain list, at the newest event and later."""
    now, times = BEGIN_MS + 12_345, list[int]()
    for step, back, _ in steps:
        now += step
        times.append(now - back)
    amounts = [amount for _, _, amount in steps]
    row, _ = took(times, amounts)
    for span, (ring, tiles) in SPANS.items():
        for measure, values in (("searches", [1] * len(times)), ("items_bought", amounts), ("spend", amounts)):
            unit = 1000 if measure == "items_bought" else 1
            events = [(ts, unit * value) for ts, value in zip(times, values, strict=True)]
            asked = max(times, default=now) + after
            wanted = window_reference(events, TILE_MS[ring], tiles, TILES[ring], asked)
            assert window(row, measure, span, asked) == wanted, (span, measure)


@pytest.mark.parametrize(("ring", "bit"), [(0, 1), (1, 2), (2, 4)])
def test_a_ring_takes_its_oldest_tile_and_none_before(ring: int, bit: int) -> None:
    """The first moment of the oldest tile is alive, the last one before it is not."""
    head = BEGIN_MS // TILE_MS[ring]
    oldest = (head - TILES[ring] + 1) * TILE_MS[ring]
    _, alive = took([BEGIN_MS, oldest, oldest - 1], [1, 1, 1])
    assert [bool(a & bit) for a in alive] == [True, True, False]


def test_the_reference_knows_a_case_by_hand() -> None:
    """Three tiles of ten: an event too late is left out, one that the ring has passed too."""
    events = [(5, 1), (25, 2), (1, 4), (44, 8), (26, 16), (19, 32)]
    assert window_reference(events, 10, 3, 3, 44) == 2 + 8 + 16
    assert window_reference(events, 10, 2, 3, 44) == 8
    assert window_reference(events, 10, 3, 3, 55) == 8
    assert window_reference(events, 10, 3, 3, 35) == 2 + 16
