"""The whole worker on generated logs: run the scenarios and print their tables."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.scenarios import SCENARIOS, median, run, warm_up
from flows.logs import configure_logs
from flows.settings import Log


@click.command("worker")
@click.option(
    "--runs", type=click.IntRange(1, 50), default=3, show_default=True, help="Runs of each; medians are told."
)
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Write all reports there.")
@click.argument("names", nargs=-1, type=click.Choice(list(SCENARIOS)))
def worker(runs: int, out: Path | None, names: tuple[str, ...]) -> None:
    """Measure the worker on generated logs, NAMES or all scenarios."""
    configure_logs(Log(level="warning"))
    console = Console(width=140)
    chosen = names or tuple(SCENARIOS)
    console.print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()};"
        f" medians of {runs} runs, Redis and generator on the same machine"
    )
    reports: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="coterie-bench-logs-") as folder:
        warm_up(Path(folder))
        for name in chosen:
            reports[name] = run(SCENARIOS[name], runs, Path(folder))
    console.print(_totals(reports))
    console.print(_shares(reports))
    if out:
        out.write_bytes(orjson.dumps(reports, option=orjson.OPT_INDENT_2))


def _totals(reports: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table("scenario", "what", title="the whole worker")
    for column in (
        "events/s",
        "us of CPU an event",
        "to Redis p50 ms",
        "p99 ms",
        "RSS MB",
        "snapshot p50 ms",
        "max ms",
    ):
        table.add_column(column, justify="right")
    for name, runs in reports.items():
        events = median(runs, "events")
        table.add_row(
            name,
            SCENARIOS[name].meaning,
            f"{median(runs, 'events_per_second'):,.0f}",
            f"{median(runs, 'cpu_seconds') / events * 1e6:.1f}",
            f"{median(runs, 'event_to_redis_ms', 'p50'):.1f}",
            f"{median(runs, 'event_to_redis_ms', 'p99'):.1f}",
            f"{median(runs, 'rss_bytes_max') / 1e6:.0f}",
            f"{median(runs, 'snapshot_stall_ms', 'p50'):.0f}",
            f"{median(runs, 'snapshot_stall_ms', 'max'):.0f}",
        )
    return table


def _shares(reports: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table("step", title="each step's time: us an event (share of all steps)")
    for name in reports:
        table.add_column(name, justify="right")
    for step in next(iter(reports.values()))[0]["steps"]:
        cells = []
        for runs in reports.values():
            events, seconds = median(runs, "events"), median(runs, "steps", step, "seconds")
            cells.append(f"{seconds / events * 1e6:.2f} ({median(runs, 'steps', step, 'share'):.0%})")
        table.add_row(step, *cells)
    return table
