"""Random shops, and lists of them as the kernel makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from operators.kernels.candidates import RECENT_FETCHED
from operators.kernels.group_items import GroupItems, no_group_items
from operators.kernels.list_rules import Rules, no_rules
from operators.kernels.list_types import Beside, Ladder, Last, Lists, Popular, Shoppers
from operators.kernels.ranking import rank
from operators.kernels.remembered import (
    REMEMBERED_NEIGHBOURS,
    nothing_remembered,
)
from operators.list_settings import ListSettings
from state.batches import LIST_LENGTH, NEIGHBOURS, RECENT_ITEMS
from state.models import ByCategory
from state.rungs import CATEGORY, CONTEXT, POPULAR, RUNG_BITS, SEGMENT

Neighbours = list[list[tuple[int, float]]]
Rows = dict[int, list[tuple[int, float]]]
Ranked = list[tuple[int, float, int]]
RankedByRung = list[tuple[int, float, int, int]]


def ranked(
    shoppers: list[tuple[Neighbours, list[int]]],
    popular: list[tuple[int, float]] | None = None,
    settings: ListSettings = ListSettings(),
    beside: Rows | None = None,
) -> list[Ranked]:
    """Lists without the rungs their items came from."""
    return [[entry[:3] for entry in one] for one in ranked_by_rung(shoppers, popular, settings, beside)]


def ranked_by_rung(
    shoppers: list[tuple[Neighbours, list[int]]],
    popular: list[tuple[int, float]] | None = None,
    settings: ListSettings = ListSettings(),
    beside: Rows | None = None,
    who: list[tuple[int, int, int, int]] | None = None,
    categories: Rows | None = None,
    segments: Rows | None = None,
    contexts: Rows | None = None,
    order: Sequence[int] = (CATEGORY, SEGMENT, CONTEXT, POPULAR),
    tried: int = 0,
    rules: Rules | None = None,
) -> list[RankedByRung]:
    """Run the kernel over shoppers, each given as (neighbours of each recent item, recent items); `beside` are the
    neighbours of other items that are remembered, `who` tells each one's category, favourite one, segment and context,
    and `categories`, `segments` and `contexts` what is popular there."""
    n = len(shoppers)
    items = np.zeros((n, RECENT_FETCHED, NEIGHBOURS), np.uint64)
    scores = np.zeros((n, RECENT_FETCHED, NEIGHBOURS), np.float32)
    counts = np.zeros((n, RECENT_FETCHED), np.uint8)
    recent, recent_n = np.zeros((n, RECENT_ITEMS), np.uint64), np.zeros(n, np.uint8)
    for i, (neighbours, history) in enumerate(shoppers):
        recent[i, : len(history)], recent_n[i] = history, len(history)
        for slot, pairs in enumerate(neighbours):
            counts[i, slot] = len(pairs)
            for k, (item, score) in enumerate(pairs):
                items[i, slot, k], scores[i, slot, k] = item, score
    remembered = nothing_remembered(4096)
    for item, pairs in (beside or {}).items():
        row = remembered[item % 4096]
        row["item"] = item
        for k, (other, score) in enumerate(pairs):
            row["items"][k], row["scores"][k] = other, score
    popular = popular or []
    popular_items = np.array([item for item, _ in popular], np.uint64)
    popular_scores = np.array([score for _, score in popular], np.float32)
    # What stood in the output before must not show.
    out_items, because = np.full((2, n, LIST_LENGTH), 77, np.uint64)
    out_scores, out_n = np.full((n, LIST_LENGTH), 77, np.float32), np.full(n, 77, np.uint8)
    out_rungs = np.full(n, 77, np.uint64)
    lists = Lists(out_items, out_scores, because, out_n, out_rungs)
    told = np.array(who or [(0, 0, -1, 0)] * n).reshape(n, 4)
    kinds = (np.uint64, np.uint64, np.int32, np.uint64)
    shoppers_told = Shoppers(*(told[:, k].astype(kind) for k, kind in enumerate(kinds)))
    ladder = Ladder(
        by_category(categories or {}),
        by_group({number + 1: entries for number, entries in (segments or {}).items()}),
        by_group(contexts or {}),
        Popular(popular_items, popular_scores),
        np.array(order, np.int64),
        np.int64(tried),
    )
    neighbours_told = Beside(items, scores, counts)
    rank(
        neighbours_told,
        Last(recent, recent_n),
        shoppers_told,
        settings.weights(),
        remembered,
        ladder,
        rules or no_rules(n),
        lists,
    )
    rungs = (out_rungs[:, None] >> (RUNG_BITS * np.arange(LIST_LENGTH)).astype(np.uint64)) & np.uint64(
        (1 << RUNG_BITS) - 1
    )
    for i in range(n):
        for column in (out_items, out_scores, because, rungs):
            assert not column[i, out_n[i] :].any()
    return [
        list(zip(*(c[i].tolist() for c in (out_items, out_scores, because, rungs)), strict=True))[: out_n[i]]
        for i in range(n)
    ]


def by_category(rows: Rows) -> ByCategory:
    """What is popular in each category, best first."""
    known = sorted(rows)
    items = [item for category in known for item, _ in rows[category]]
    scores = [score for category in known for _, score in rows[category]]
    starts = np.cumsum([0, *(len(rows[category]) for category in known)])
    return ByCategory(np.array(known, np.uint64), starts, np.array(items, np.uint64), np.array(scores, np.float32))


def by_group(rows: Rows) -> GroupItems:
    """What is popular in each group, best first."""
    table = no_group_items()
    for place, (number, entries) in enumerate(rows.items()):
        table.numbers[place], table.counts[place] = number, len(entries)
        for k, (item, score) in enumerate(entries):
            table.items[place, k], table.weights[place, k] = item, score
    return table


def shopper(rng: np.random.Generator, catalogue: np.ndarray) -> tuple[Neighbours, list[int]]:
    """A random shopper: few distinct items and scores of few values, so that ties and repeats are common."""
    history = rng.choice(catalogue, rng.integers(0, RECENT_ITEMS + 1)).tolist()
    neighbours = []
    for _ in history[:RECENT_FETCHED]:
        others = rng.choice(catalogue, rng.integers(0, min(NEIGHBOURS, len(catalogue)) + 1), replace=False).tolist()
        neighbours.append([(other, float(np.float32(rng.integers(1, 9) / 8))) for other in others])
    return neighbours, history


def some_of(rng: np.random.Generator, catalogue: np.ndarray, most: int) -> list[tuple[int, float]]:
    """Some items, best first."""
    items = rng.choice(catalogue, rng.integers(0, min(most, len(catalogue)) + 1), replace=False).tolist()
    scores = np.sort(rng.integers(1, 500, len(items)))[::-1].astype(np.float32).tolist()
    return list(zip(items, scores, strict=True))


class RandomShop(NamedTuple):
    """Shoppers, the neighbours that are remembered, and a ladder: what is popular, by category, segment and context,
    who the shoppers are (known, unknown and none of each), and the order of the rungs."""

    catalogue: np.ndarray
    shoppers: list[tuple[Neighbours, list[int]]]
    beside: Rows
    popular: list[tuple[int, float]]
    categories: Rows
    segments: Rows
    contexts: Rows
    who: list[tuple[int, int, int, int]]
    order: list[int]

    @classmethod
    def drawn(cls, rng: np.random.Generator, size: int) -> RandomShop:
        """Of at most so many items, whose hashes share their low bits, so that the table of candidates collides."""
        catalogue = np.unique(rng.integers(1, 2**40, size, dtype=np.uint64) << np.uint64(rng.integers(0, 12)))
        places = {item % 4096: item for item in rng.permutation(catalogue).tolist()}
        beside = {
            item: [
                (other, float(np.float32(rng.integers(1, 9) / 8)))
                for other in rng.choice(catalogue, min(len(catalogue), REMEMBERED_NEIGHBOURS), replace=False).tolist()
            ]
            for item in places.values()
        }
        return cls(
            catalogue,
            [shopper(rng, catalogue) for _ in range(8)],
            beside,
            some_of(rng, catalogue, 50),
            {key: some_of(rng, catalogue, 20) for key in (3, 5, 9)},
            {key: some_of(rng, catalogue, 128) for key in (0, 4)},
            {key: some_of(rng, catalogue, 128) for key in (1, 5)},
            [
                (
                    int(rng.choice([0, 3, 5, 6])),
                    int(rng.choice([0, 3, 9])),
                    int(rng.choice([-1, 0, 2, 4])),
                    int(rng.choice([0, 1, 4, 5])),
                )
                for _ in range(8)
            ],
            rng.permutation([CATEGORY, SEGMENT, CONTEXT, POPULAR])[: rng.integers(1, 5)].tolist(),
        )

    def ladder_of(self, n: int) -> list[tuple[int, list[tuple[int, list[tuple[int, float]]]]]]:
        """The rungs as they apply to a shopper."""
        category, favourite, segment, context = self.who[n]
        found = {
            CATEGORY: [(c, self.categories.get(c, [])) for c in dict.fromkeys((category, favourite))],
            SEGMENT: [(segment, self.segments.get(segment, []))],
            CONTEXT: [(context, self.contexts.get(context, []))],
            POPULAR: [(0, self.popular)],
        }
        return [(rung, found[rung]) for rung in self.order]

    def ranked(self, chosen: ListSettings, tried: int, rules: Rules | None = None) -> list[RankedByRung]:
        """What the kernel makes of it."""
        ladder = self.who, self.categories, self.segments, self.contexts, self.order, tried
        return ranked_by_rung(self.shoppers, self.popular, chosen, self.beside, *ladder, rules)
