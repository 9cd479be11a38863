"""The profile step alone: its CPU an event, its bytes a shopper in memory and journal, and how these grow.

A generated log is decoded outside of the timing, in raw batches as large as the worker's, and each shard's step gets
its batches as they come. Names of scenarios are permanent.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from flows.logs import configure_logs
from flows.settings import Log
from operators.decode import Decoder, Limits
from operators.generate import ShopPlan
from operators.profile_settings import ProfileSettings
from operators.profiles import Profiles
from operators.read_generated import GeneratedReader
from state.batches import ITEM, EventBatch, user_key
from state.flow_control import FlowControl
from state.journal import Journal
from state.metrics import Metrics
from state.names import Names

USER_SHARDS = ITEM_SHARDS = 16
RECORDS_MAX = 4096
PART = "generated/0"
CLOCK_SECONDS = 4e9  # after every event of a plan


@dataclass(frozen=True, slots=True)
class Scenario:
    """A log, and at most how often it is run."""

    name: str
    plan: ShopPlan
    runs_max: int = 50


SCENARIOS = {
    s.name: s
    for s in (
        Scenario("profiles_100k", ShopPlan(seed=11, shoppers=100_000, items=10_000, categories=40, events=1_000_000)),
        Scenario(
            "profiles_100k_400c", ShopPlan(seed=11, shoppers=100_000, items=10_000, categories=400, events=1_000_000)
        ),
        Scenario(
            "profiles_1m",
            ShopPlan(seed=11, shoppers=1_000_000, items=10_000, categories=40, events=10_000_000),
            runs_max=1,
        ),
    )
}
WARM_UP = ShopPlan(seed=1, shoppers=200, items=200, categories=8, days=3, events=8_000)
BASE = "profiles_100k"
GROWTH = {"profiles_1m": "shoppers x 10", "profiles_100k_400c": "categories x 10"}
"""What each scenario is compared with BASE for."""


@dataclass(frozen=True, slots=True)
class TableFigures:
    """One of the step's tables over all shards: rows in use, bytes a row, bytes in use, held, and in the journal."""

    rows: int
    row_bytes: int
    used_bytes: int
    held_bytes: int
    journal_bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run cost: CPU of the step alone; the journal of a first snapshot, after the last event."""

    shoppers: int
    events: int
    categories: int
    cpu_seconds: float
    journal_bytes: int
    tables: dict[str, TableFigures]

    @property
    def event_us(self) -> float:
        """Microseconds of CPU an event."""
        return self.cpu_seconds / self.events * 1e6

    def shopper_bytes(self, kind: str) -> float:
        """Bytes a shopper over all tables: `used_bytes`, `held_bytes`."""
        return float(sum(getattr(table, kind) for table in self.tables.values()) / self.shoppers)


def measure(plan: ShopPlan) -> Figures:
    """Run a plan's events through the steps of all shards."""
    metrics = Metrics()
    steps = {user_key(s): Profiles(s, ProfileSettings(item_shards=ITEM_SHARDS), metrics) for s in range(USER_SHARDS)}
    events = cpu_ns = 0
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as folder:
        for key, batch in _decoded(plan, metrics, Path(folder)):
            step = steps[key]
            events += int(((batch.rows["head"] == 1) & (batch.rows["kind"] != ITEM)).sum())
            begun = time.thread_time_ns()
            step.process([batch])
            cpu_ns += time.thread_time_ns() - begun
        tables = {
            name: _table_figures(name, list(steps.values()), Path(folder)) for name in next(iter(steps.values())).tables
        }
        whole = sum(
            Journal(Path(folder), f"all-{key}", sync=False).save(step.tables).length for key, step in steps.items()
        )
    shoppers = sum(step.users for step in steps.values())
    return Figures(shoppers, events, plan.categories, cpu_ns / 1e9, whole, tables)


def _decoded(plan: ShopPlan, metrics: Metrics, folder: Path) -> Iterator[tuple[str, EventBatch]]:
    """The plan's events by user shard, a few thousand in memory at a time."""
    names = Names(folder, 0, 1_000_000)
    control = FlowControl(1)
    decoder = Decoder(names, metrics, control, USER_SHARDS, ITEM_SHARDS, Limits(), lambda: CLOCK_SECONDS)
    reader = GeneratedReader(plan, records_max=RECORDS_MAX)
    while (raw := reader.read()) is not None:
        raw.part = PART
        for value in decoder([raw]):
            if isinstance(value, tuple) and isinstance(value[1], EventBatch):
                yield value[0], value[1]
    names.close()


def _table_figures(name: str, steps: list[Profiles], folder: Path) -> TableFigures:
    tables = [step.tables[name] for step in steps]
    return TableFigures(
        rows=sum(t.size for t in tables),
        row_bytes=tables[0].rows.dtype.itemsize,
        used_bytes=sum(t.size * t.rows.dtype.itemsize for t in tables),
        held_bytes=sum(t.nbytes for t in tables),
        journal_bytes=sum(
            Journal(folder, f"{name}-{shard}", sync=False).save({name: t}).length for shard, t in enumerate(tables)
        ),
    )


@click.command("profile_step")
@click.option(
    "--runs", type=click.IntRange(1, 50), default=3, show_default=True, help="Runs of each; the median CPU is told."
)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures there.")
@click.argument("names", nargs=-1, type=click.Choice(list(SCENARIOS)))
def profile_step(runs: int, out: Path | None, names: tuple[str, ...]) -> None:
    """Measure the profile step alone, NAMES or all. profiles_1m takes three minutes and 4 GB, and runs once."""
    configure_logs(Log(level="warning"))
    console = Console(width=140)
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}; one thread")
    measure(WARM_UP)
    found: dict[str, list[Figures]] = {}
    for name in names or SCENARIOS:
        scenario = SCENARIOS[name]
        found[name] = [measure(scenario.plan) for _ in range(min(runs, scenario.runs_max))]
    console.print(_costs(found))
    console.print(_by_table(found))
    if BASE in found and len(found) > 1:
        console.print(_growth(found))
    if out:
        whole: dict[str, Any] = {name: [asdict(figures) for figures in all_runs] for name, all_runs in found.items()}
        out.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))


def _event_us(runs: list[Figures]) -> float:
    return statistics.median(run.event_us for run in runs)


def _right(title: str, *columns: str) -> Table:
    table = Table("scenario", title=title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _costs(found: dict[str, list[Figures]]) -> Table:
    """All but the CPU is the same in every run."""
    columns = ("shoppers", "events", "categories", "runs", "us of CPU an event", "B a shopper", "with spare", "journal")
    table = _right("the profile step (bytes a shopper: rows in use, tables with spare room, first snapshot)", *columns)
    for name, runs in found.items():
        one = runs[0]
        table.add_row(
            name,
            f"{one.shoppers:,}",
            f"{one.events:,}",
            f"{one.categories}",
            f"{len(runs)}",
            f"{_event_us(runs):.2f}",
            f"{one.shopper_bytes('used_bytes'):,.0f}",
            f"{one.shopper_bytes('held_bytes'):,.0f}",
            f"{one.journal_bytes / one.shoppers:,.0f}",
        )
    return table


def _by_table(found: dict[str, list[Figures]]) -> Table:
    columns = ("table", "rows", "B a row", "rows a shopper", "B a shopper", "with spare", "journal")
    table = _right("its tables: bytes a shopper", *columns)
    for name, (one, *_) in found.items():
        for title, figures in one.tables.items():
            table.add_row(
                name,
                title,
                f"{figures.rows:,}",
                f"{figures.row_bytes:,}",
                f"{figures.rows / one.shoppers:.3f}",
                f"{figures.used_bytes / one.shoppers:,.1f}",
                f"{figures.held_bytes / one.shoppers:,.1f}",
                f"{figures.journal_bytes / one.shoppers:,.1f}",
            )
        table.add_section()
    return table


def _growth(found: dict[str, list[Figures]]) -> Table:
    columns = ("us of CPU an event", "B a shopper", "with spare", "journal a shopper")
    table = _right(f"growth: how many times the figures of {BASE}", *columns)
    base = found[BASE]
    for name, what in GROWTH.items():
        if name in found:
            runs, one = found[name], found[name][0]
            ratios = [_event_us(runs) / _event_us(base)]
            ratios += [one.shopper_bytes(k) / base[0].shopper_bytes(k) for k in ("used_bytes", "held_bytes")]
            ratios.append(one.journal_bytes / one.shoppers / (base[0].journal_bytes / base[0].shoppers))
            table.add_row(what, *(f"{ratio:.2f}" for ratio in ratios))
    return table
