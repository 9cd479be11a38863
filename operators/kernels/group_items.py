"""What the shoppers of each group look at: fading counts, bounded, of the acts that pass through one process.

A group is a segment, or a context (hour and device). Which of them a shopper is in is known only where lists are made,
and a flow has no loops; so what is popular in a group is counted there, by each process of the acts of its own
shoppers, in a table of fixed size that all of its user shards share. Of a group GROUP_ITEMS items are kept: a further
one takes the place and the weight of the lightest (Space-Saving, Metwally et al., "Efficient computation of frequent
and top-k elements in data streams", ICDT 2005). It is no state: after a restart it fills anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from state.compiled import kernel

GROUPS_KEPT = 64
"""Of so many groups items are kept; of a further one in place of the one that was acted in least lately."""

GROUP_ITEMS = 128


class GroupItems(NamedTuple):
    """The items of GROUPS_KEPT groups, heaviest first: 132 kB."""

    numbers: np.ndarray
    """uint64[GROUPS_KEPT]: numbers of groups; 0: free"""
    seen: np.ndarray
    """int64[GROUPS_KEPT]: which act was the group's last"""
    counts: np.ndarray
    """int32[GROUPS_KEPT]: items kept"""
    items: np.ndarray
    """uint64[GROUPS_KEPT, GROUP_ITEMS]"""
    weights: np.ndarray
    """float64 likewise: of an act in the present half-life 1 to 2, half as much in the one before"""
    clock: np.ndarray
    """int64[2]: acts so far, the present half-life (event time over its length; -1 before the first act)"""


def no_group_items() -> GroupItems:
    """A table that knows nothing."""
    places = (GROUPS_KEPT, GROUP_ITEMS)
    return GroupItems(
        np.zeros(GROUPS_KEPT, np.uint64),
        np.zeros(GROUPS_KEPT, np.int64),
        np.zeros(GROUPS_KEPT, np.int32),
        np.zeros(places, np.uint64),
        np.zeros(places),
        np.array([0, -1]),
    )


@kernel
def place_of_group(table, number):
    """The place of a group, -1 where nothing of it is kept."""
    place = -1
    for k in range(GROUPS_KEPT):
        place = k if table.numbers[k] == number else place
    return place


@kernel
def _make_place(table, number):
    """A place for a group that has none: a free one, else that of the group whose last act is longest ago."""
    place = 0
    for k in range(GROUPS_KEPT):
        if table.numbers[k] == np.uint64(0):
            place = k
            break
        if table.seen[k] < table.seen[place]:
            place = k
    table.numbers[place] = number
    table.counts[place] = 0
    return place


@kernel
def note_group_acts(acts, profiles, groups, half_life_ms, table):
    """Count acts in the groups of their shoppers.

    `acts` ACT[n]; by their positions `profiles` PROFILE[m], whose newest event tells the time, and `groups` uint64[m]
    (0: none, the act is not counted); `table` GroupItems. An act counts half a half-life later.
    """
    for n in range(len(acts)):
        p = acts[n].position
        number = groups[p]
        if number == np.uint64(0):
            continue
        ts = profiles[p].event_ts
        period = ts // half_life_ms
        if period > table.clock[1]:
            if table.clock[1] >= 0:
                factor = 2.0 ** -np.float64(min(period - table.clock[1], 1000))
                for g in range(GROUPS_KEPT):
                    for k in range(table.counts[g]):
                        table.weights[g, k] *= factor
            table.clock[1] = period
        weight = 2.0 ** (ts / half_life_ms - table.clock[1])
        place = place_of_group(table, number)
        if place < 0:
            place = _make_place(table, number)
        table.clock[0] += 1
        table.seen[place] = table.clock[0]
        item, count = acts[n].item, table.counts[place]
        at = -1
        for k in range(count):
            at = k if table.items[place, k] == item else at
        if at < 0:
            if count < GROUP_ITEMS:
                at = int(count)
                table.counts[place] = count + 1
                table.weights[place, at] = 0.0
            else:
                at = GROUP_ITEMS - 1
        weight += table.weights[place, at]
        while at > 0 and table.weights[place, at - 1] < weight:
            table.items[place, at] = table.items[place, at - 1]
            table.weights[place, at] = table.weights[place, at - 1]
            at -= 1
        table.items[place, at] = item
        table.weights[place, at] = weight


def group_items_reference(
    acts: Sequence[tuple[int, int, int]], half_life_ms: int
) -> dict[int, list[tuple[int, float]]]:
    """The plain reference: by group, (item, weight as of the present half-life), heaviest first, of acts (group, item,
    ts). What came to its weight first stands before what came to the same weight later."""
    kept: dict[int, list[tuple[int, float]]] = {}
    now = max((ts // half_life_ms for group, _, ts in acts if group), default=0)
    last: dict[int, int] = {}
    for n, (group, item, ts) in enumerate(acts):
        if group == 0:
            continue
        if group not in kept and len(kept) == GROUPS_KEPT:
            kept.pop(min(kept, key=lambda g: last[g]))
        last[group] = n
        entries = dict(kept.get(group, []))
        if item not in entries and len(entries) == GROUP_ITEMS:
            entries[item] = entries.pop(kept[group][-1][0])
        entries[item] = entries.get(item, 0.0) + 2.0 ** (ts / half_life_ms - now)
        kept[group] = sorted(entries.items(), key=lambda entry: -entry[1])
    return kept
