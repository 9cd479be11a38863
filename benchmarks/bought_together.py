"""How good is what is told to be bought together with an item? Beside exact counts and what else one would take.

Protocol (prequential: predict, then learn). The orders of a log come in their order. Of an order of several items a few
are drawn, and for each of them ten items are asked that would be bought together with it: a case. Then the order is
learned from. The first 30 % of the orders are learned from and not judged. HR@10: share of the cases where one of the
ten stood in the order, MRR@10: mean of 1 / the first such place, P@10: mean share of the ten that stood in it.

`co-visits`: what lists would show a shopper who looks at the item, where the lines of an order are views that follow
one another. The exact ones count every pair ever seen, without bound and without fading, and order what was bought with
an item by `count`, in how many orders both were, by `cosine`, count / sqrt(orders of the other), or by `lift`, count /
orders of the other, of pairs that were in five orders at least. us: CPU of one core to learn an order.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.recommendation_ours import Ours
from benchmarks.recommendation_peers import HISTORY, Popularity
from benchmarks.recommendation_sets import LOGS
from operators.baskets import Baskets
from operators.convert import convert
from operators.covisit import CovisitSettings
from operators.profile_workspace import baskets_of
from state.batches import EVENT, PURCHASE
from state.metrics import Metrics

TOLD = 10
WARM_UP_SHARE = 0.3
ASKED_MAX = 4
"""So many items of an order are asked for."""
SUPPORT_MIN = 5

Order = list[int]
SCENARIOS = {
    "together_online_retail": ("online-retail", "online_retail.csv.gz"),
    "together_completejourney": ("completejourney", "completejourney_transactions_sample.csv.gz"),
}


def orders_of(log: Path) -> tuple[list[Order], int]:
    """The different items bought in each order of a log, numbered in order of appearance, and how many there are."""
    numbers: dict[str, int] = {}
    orders = []
    with log.open("rb") as file:
        for event in map(orjson.loads, file):
            if event["type"] == "purchase":
                bought = dict.fromkeys(line["item_id"] for line in event["lines"] if line["quantity"] > 0)
                orders.append([numbers.setdefault(item, len(numbers)) for item in bought])
    return orders, len(numbers)


class Teller(Protocol):
    """Learns orders, and tells what is bought together with items."""

    def learn(self, order: Order) -> None: ...

    def tell(self, items: Sequence[int]) -> list[list[int]]: ...


class Together:
    """Ours, in one shard."""

    def __init__(self, items: int) -> None:
        settings = CovisitSettings(item_shards=1)
        self._baskets = Baskets(0, settings.half_life_basket_pairs, items, TOLD, Metrics())

    def learn(self, order: Order) -> None:
        events = np.zeros(len(order), EVENT)
        events["kind"], events["item"], events["value"] = PURCHASE, np.array(order) + 1, 1.0
        events["head"][:1] = 1
        self._baskets.learn(baskets_of(events, np.ones(len(order), bool)))

    def tell(self, items: Sequence[int]) -> list[list[int]]:
        rows = self._baskets.beside(np.array(items, np.uint64) + np.uint64(1))
        return [(row["items"][: min(row["count"], TOLD)].astype(int) - 1).tolist() for row in rows]


class Covisits:
    """The worker's lists, to which the lines of an order are views."""

    def __init__(self, items: int, orders: int) -> None:
        self._ours, self._at = Ours(orders, items), 0

    def learn(self, order: Order) -> None:
        n = len(order)
        self._ours.learn(np.full(n, self._at), np.array(order, np.int64), np.full(n, 3_600_000 * self._at))
        self._at += 1

    def tell(self, items: Sequence[int]) -> list[list[int]]:
        histories = np.full((len(items), HISTORY), -1, np.int64)
        histories[:, 0] = items
        nobody = np.full(len(items), -1)
        return [[item for item in told[:TOLD] if item >= 0] for told in self._ours.lists(nobody, histories).tolist()]


class Popular:
    """What is popular, whatever is asked for."""

    def __init__(self) -> None:
        self._popularity = Popularity()

    def learn(self, order: Order) -> None:
        for item in order:
            self._popularity.add(item)

    def tell(self, items: Sequence[int]) -> list[list[int]]:
        return [[other for other in self._popularity.best if other != item][:TOLD] for item in items]


class Exact:
    """Every pair ever seen, scored by its count and how many orders either of its items was in."""

    def __init__(self, score: str) -> None:
        self._score = score
        self._orders: Counter[int] = Counter()
        self._counts: dict[int, Counter[int]] = defaultdict(Counter)

    def learn(self, order: Order) -> None:
        self._orders.update(order)
        for item in order:
            self._counts[item].update(order)

    def tell(self, items: Sequence[int]) -> list[list[int]]:
        return [heapq.nlargest(TOLD, *self._scored(item)) for item in items]

    def _scored(self, item: int) -> tuple[list[int], object]:
        counts, orders = self._counts[item], self._orders
        if self._score == "lift":
            others = [other for other, count in counts.items() if count >= SUPPORT_MIN and other != item]
            return others, lambda other: counts[other] / orders[other]
        others = [other for other in counts if other != item]
        if self._score == "count":
            return others, counts.__getitem__
        return others, lambda other: counts[other] / orders[other] ** 0.5


def judged(teller: Teller, orders: list[Order], seed: int) -> dict[str, float]:
    """One teller through one log."""
    rng = np.random.default_rng(seed)
    cases, hits, reciprocal, precision, seconds = 0, 0, 0.0, 0.0, 0.0
    for n, order in enumerate(orders):
        if len(order) > 1 and n >= WARM_UP_SHARE * len(orders):
            asked = rng.choice(order, min(ASKED_MAX, len(order)), replace=False).tolist()
            for item, told in zip(asked, teller.tell(asked), strict=True):
                places = [place for place, other in enumerate(told, start=1) if other in order and other != item]
                cases += 1
                hits += bool(places)
                reciprocal += 1.0 / places[0] if places else 0.0
                precision += len(places) / TOLD
        begun = time.thread_time()
        teller.learn(order)
        seconds += time.thread_time() - begun
    return {
        "cases": cases,
        "hr": hits / cases,
        "mrr": reciprocal / cases,
        "precision": precision / cases,
        "learn_us": seconds / len(orders) * 1e6,
    }


def _tellers(items: int, orders: int) -> Iterator[tuple[str, Teller]]:
    yield "ours", Together(items)
    yield "co-visits", Covisits(items, orders)
    yield "popularity, fading", Popular()
    for score in ("count", "cosine", "lift"):
        yield f"exact {score}", Exact(score)


@click.command("bought_together")
@click.option("--only", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="Only these scenarios.")
@click.option("--orders", "orders_max", type=click.IntRange(2), help="Only so many of the first orders.")
@click.option("--seed", default=0, show_default=True, help="Of which items are asked for.")
def bought_together(names: tuple[str, ...], orders_max: int | None, seed: int) -> None:
    """Hold what is bought together against the orders of real logs."""
    console = Console(width=120)
    console.print((__doc__ or "").split("\n\n", 1)[1], highlight=False, markup=False)
    for name in names or tuple(SCENARIOS):
        format, file = SCENARIOS[name]
        if not (LOGS / file).exists():
            console.print(f"{name}: {LOGS / file} is not there; left out")
            continue
        with tempfile.TemporaryDirectory(prefix="coterie-together-") as folder:
            log = Path(folder) / "orders.jsonl"
            convert(format, LOGS / file, log)
            orders, items = orders_of(log)
        orders = orders[:orders_max]
        table = Table("peer", title=f"{name}: {len(orders):,} orders of {items:,} items")
        for column in ("cases", "HR@10", "MRR@10", "P@10", "us/order"):
            table.add_column(column, justify="right")
        for peer, teller in _tellers(items, len(orders)):
            f = judged(teller, orders, seed)
            cells = (f"{f['cases']:,.0f}", f"{f['hr']:.4f}", f"{f['mrr']:.4f}", f"{f['precision']:.4f}")
            table.add_row(peer, *cells, f"{f['learn_us']:.1f}")
        console.print(table)
