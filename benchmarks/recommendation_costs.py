"""What do lists cost, in time and in memory, as a catalogue grows?

A made-up shop whose items are visited in runs along a hidden order; some runs begin far more often than others. First
every item is visited twice, by two different runs. Then, at batches of 256 events of as many shoppers, what one batch
costs is measured: learning (pairs, touches, rows of the items) per event, and making lists (questions, answers,
ranking) per list, by the worker's kernels and steps in one shard, without the engine around them. The figures are the
median of the batches, in microseconds of the clock on the wall: on a machine that does something else they are too
high. Bytes are those of the items' rows and their index, by item, room for more included; what a process remembers of
rows that passed by comes once.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.recommendation_ours import Ours
from benchmarks.recommendation_peers import HISTORY
from operators.covisit import CovisitSettings
from operators.kernels.remembered import REMEMBERED, REMEMBERED_ROWS

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BATCH = 256
BATCHES = 400
RUN = 8
STEP_MS = 60_000
PAUSE_MS = 2 * 3_600_000
"""Between the runs of one shopper: longer than a session's gap."""
SKEW = 3
"""Runs begin at items * u ** SKEW of the hidden order, u uniform from 0 to 1."""


class Shop:
    """Visits in batches of BATCH shoppers, each of whom makes a step of a run of RUN items."""

    def __init__(self, items: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.order = self.rng.permutation(items)
        self.ts = 0

    def runs(self, starts: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """(shoppers, items, ts, histories) of each step of runs that begin at places of the hidden order, int64[n]."""
        shoppers = np.arange(len(starts))
        histories = np.full((len(starts), HISTORY), -1, np.int64)
        steps = []
        for step in range(RUN):
            items = self.order[(starts + step) % len(self.order)]
            histories = np.column_stack([items, histories[:, :-1]])
            steps.append((shoppers, items, np.full(len(starts), self.ts), histories))
            self.ts += STEP_MS
        self.ts += PAUSE_MS
        return steps

    def catalogue(self) -> list[np.ndarray]:
        """Where runs begin that together visit every item twice, BATCH at a time, in a random order."""
        starts = self.rng.permutation(np.arange(0, len(self.order), RUN // 2))
        return [starts[at : at + BATCH] for at in range(0, len(starts), BATCH)]

    def popular(self) -> np.ndarray:
        """Where BATCH runs begin, as shoppers would."""
        return (len(self.order) * self.rng.random(BATCH) ** SKEW).astype(np.int64)


def costs(items: int, batches: int, seed: int) -> dict[str, float]:
    """Figures of one size of catalogue."""
    shop = Shop(items, seed)
    peer = Ours(BATCH, items, settings=CovisitSettings(item_shards=1, items_max=items))
    for starts in shop.catalogue():
        for shoppers, visited, ts, _ in shop.runs(starts):
            peer.learn(shoppers, visited, ts)
    peer.settle()
    update_us, list_us = [], []
    for _ in range(-(-batches // RUN)):
        for shoppers, visited, ts, histories in shop.runs(shop.popular()):
            begun = time.perf_counter()
            peer.learn(shoppers, visited, ts)
            learned = time.perf_counter()
            peer.ranked(histories)
            listed = time.perf_counter()
            update_us.append((learned - begun) / BATCH * 1e6)
            list_us.append((listed - learned) / BATCH * 1e6)
    known, nbytes = peer.size()
    return {
        "items": known,
        "update_us": float(np.median(update_us)),
        "list_us": float(np.median(list_us)),
        "item_bytes": nbytes / known,
        "remembered_bytes": REMEMBERED.itemsize * REMEMBERED_ROWS,
    }


@click.command("recommendation_costs")
@click.option("--items", "sizes", multiple=True, type=click.IntRange(RUN), help="Sizes of the catalogue.")
@click.option("--batches", default=BATCHES, show_default=True, type=click.IntRange(1), help="Measured, of each size.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
def recommendation_costs(sizes: tuple[int, ...], batches: int, seed: int, out: Path | None) -> None:
    """Measure what an update and a list of 20 cost, and an item in memory, from a thousand items to a million."""
    console = Console(width=120)
    console.print((__doc__ or "").split("\n\n", 1)[1], highlight=False, markup=False)
    costs(1_000, RUN, seed)  # compiles
    found = [costs(items, batches, seed) for items in sizes or SIZES]
    table = Table("items", "us/update", "us/list", "bytes/item", "bytes remembered")
    for column in table.columns:
        column.justify = "right"
    for f in found:
        table.add_row(
            f"{f['items']:,}",
            f"{f['update_us']:.2f}",
            f"{f['list_us']:.2f}",
            f"{f['item_bytes']:,.0f}",
            f"{f['remembered_bytes']:,}",
        )
    console.print(table)
    if out:
        out.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
