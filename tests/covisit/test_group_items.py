"""What the shoppers of each group look at, as a process counts it, against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.group_items import (
    GROUP_ITEMS,
    GROUPS_KEPT,
    GroupItems,
    group_items_reference,
    no_group_items,
    note_group_acts,
)
from state.batches import ACT, PROFILE

HALF_LIFE_MS = 1000
LARGE = 2**63
"""Numbers of contexts have their highest bits set as often as not."""


def noted(acts: list[tuple[int, int, int]], cut: int) -> GroupItems:
    """The table after acts (group, item, ts), so many in a batch, each of a shopper of its own."""
    table = no_group_items()
    for begin in range(0, len(acts), cut):
        some = acts[begin : begin + cut]
        profiles, batch = np.zeros(len(some), PROFILE), np.zeros(len(some), ACT)
        batch["position"] = np.arange(len(some))
        groups, items, times = zip(*some, strict=True)
        batch["item"], profiles["event_ts"] = items, times
        note_group_acts(batch, profiles, np.array(groups, np.uint64), HALF_LIFE_MS, table)
    return table


def kept(table: GroupItems) -> dict[int, list[tuple[int, float]]]:
    return {
        int(table.numbers[g]): list(zip(table.items[g].tolist(), table.weights[g].tolist(), strict=True))[
            : table.counts[g]
        ]
        for g in range(GROUPS_KEPT)
        if table.numbers[g] > 0
    }


@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.sampled_from([1, 3, GROUPS_KEPT + 8]),
    beyond=st.sampled_from([0, LARGE]),
    items=st.sampled_from([5, GROUP_ITEMS + 60]),
    cut=st.integers(1, 60),
)
@settings(max_examples=40, deadline=None)
def test_groups_keep_what_the_plain_reference_keeps(seed: int, groups: int, beyond: int, items: int, cut: int) -> None:
    """Past the room for items the lightest gives way, past that for groups the one not acted in for longest."""
    rng = np.random.default_rng(seed)
    n = 800
    ts = np.sort(rng.integers(1, 8 * HALF_LIFE_MS, n)) // 125 * 125  # in eighths: few rounded sums
    columns = (rng.integers(0, groups + 1, n), 1 + (items * rng.random(n) ** 2).astype(int), ts)
    drawn = zip(*(column.tolist() for column in columns), strict=True)
    acts = [(group + beyond if group else 0, item, at) for group, item, at in drawn]
    found, expected = kept(noted(acts, cut)), group_items_reference(acts, HALF_LIFE_MS)
    assert found.keys() == expected.keys()
    for group, entries in expected.items():
        assert [item for item, _ in found[group]] == [item for item, _ in entries]
        np.testing.assert_allclose([w for _, w in found[group]], [w for _, w in entries], rtol=1e-12)


def test_an_act_counts_half_a_half_life_later() -> None:
    """Five acts of two half-lives ago weigh no more than two of now."""
    table = noted([(4, 11, 1000)] * 5 + [(4, 12, 3000)] * 2, 3)
    assert kept(table) == {4: [(12, 2.0), (11, 1.25)]}


def test_a_shopper_without_a_group_is_not_counted() -> None:
    """Before there is a model nobody has a segment; who tells no device is in no context of devices."""
    assert kept(noted([(0, 11, 1000)], 1)) == {}
