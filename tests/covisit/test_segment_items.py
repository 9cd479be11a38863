"""What the shoppers of each segment look at, as a process counts it, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.segment_items import (
    SEGMENT_ITEMS,
    SEGMENTS_KEPT,
    SegmentItems,
    no_segment_items,
    note_segment_acts,
    segment_items_reference,
)
from state.batches import ACT, PROFILE, SCORE

HALF_LIFE_MS = 1000


def noted(acts: list[tuple[int, int, int]], cut: int) -> SegmentItems:
    """The table after acts (segment, item, ts), so many in a batch, each of a shopper of its own."""
    table = no_segment_items()
    for begin in range(0, len(acts), cut):
        some = acts[begin : begin + cut]
        profiles, scores, batch = np.zeros(len(some), PROFILE), np.zeros(len(some), SCORE), np.zeros(len(some), ACT)
        batch["position"] = np.arange(len(some))
        scores["segment"], batch["item"], profiles["event_ts"] = (
            np.array(column) for column in zip(*some, strict=True)
        )
        note_segment_acts(batch, profiles, scores, HALF_LIFE_MS, table)
    return table


def kept(table: SegmentItems) -> dict[int, list[tuple[int, float]]]:
    return {
        int(table.numbers[s]): list(zip(table.items[s].tolist(), table.weights[s].tolist(), strict=True))[
            : table.counts[s]
        ]
        for s in range(SEGMENTS_KEPT)
        if table.numbers[s] >= 0
    }


@given(
    seed=st.integers(0, 2**32 - 1),
    segments=st.sampled_from([1, 3, SEGMENTS_KEPT + 8]),
    items=st.sampled_from([5, SEGMENT_ITEMS + 60]),
    cut=st.integers(1, 60),
)
@settings(max_examples=40, deadline=None)
def test_segments_keep_what_the_plain_reference_keeps(seed: int, segments: int, items: int, cut: int) -> None:
    """Past the room for items the lightest gives way, past that for segments the one not acted in for longest."""
    rng = np.random.default_rng(seed)
    n = 800
    ts = np.sort(rng.integers(1, 8 * HALF_LIFE_MS, n)) // 125 * 125  # in eighths: few rounded sums
    columns = (rng.integers(-1, segments, n), 1 + (items * rng.random(n) ** 2).astype(int), ts)
    acts = list(zip(*(column.tolist() for column in columns), strict=True))
    found, expected = kept(noted(acts, cut)), segment_items_reference(acts, HALF_LIFE_MS)
    assert found.keys() == expected.keys()
    for segment, entries in expected.items():
        assert [item for item, _ in found[segment]] == [item for item, _ in entries]
        np.testing.assert_allclose([w for _, w in found[segment]], [w for _, w in entries], rtol=1e-12)


def test_an_act_counts_half_a_half_life_later() -> None:
    """Five acts of two half-lives ago weigh no more than two of now."""
    table = noted([(4, 11, 1000)] * 5 + [(4, 12, 3000)] * 2, 3)
    assert kept(table) == {4: [(12, 2.0), (11, 1.25)]}


def test_a_shopper_without_a_segment_is_not_counted() -> None:
    """Before there is a model nobody has one."""
    assert kept(noted([(-1, 11, 1000)], 1)) == {}
