"""A long run within a budget: does the memory of the workers level off, and does whoever comes back find everything?

A log of several plans behind one another, each with the same shoppers and items at later times, goes through the whole
worker while its memory is looked at every second. Then a small one goes through twice, with and without a budget, and
every shopper's features must be the same.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from flows.children import free_ports
from flows.inspect import all_features
from flows.logs import configure_logs
from flows.redis_server import embedded_redis
from flows.replay import WorkerFailed, run_logs
from flows.settings import ConfigurationError, Log, load_settings
from operators.generate import ShopPlan, generate
from operators.read_files import open_to_write
from state.flow_control import FlowControl

PART_EVENTS_MAX = 5_000_000
"""A plan is drawn in memory: more events than this are several plans."""

PARTS_MIN = 4
"""So often every shopper comes back at least."""

PART_DAYS = 14
SAMPLE_SECONDS = 1.0
TOLD_PER_RUN = 20
"""Lines of the table: one every 5 % of the events, and one for the end."""

GROWTH_MAX = 1.1
"""The last quarter's memory over that of the second one, at most."""

EXAMPLES = 5

_TOLD = re.compile(r"^(coterie_\w*(?:evict|return|cold)\w*?(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)
"""Lines of the metrics that tell of shoppers leaving memory and coming back."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at the workers: seconds since the first event, events read, resident bytes of all, counts by name."""

    seconds: float
    events: int
    rss_bytes: int
    counts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a log: its events, looks from the first event on, the report of the workers."""

    events: int
    samples: list[Sample]
    report: dict[str, Any]

    def rss(self, begin: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """Events and resident bytes while the share of events read was in begin..end (the end is left out)."""
        chosen = [s for s in self.samples if begin <= s.events / self.events < end]
        return np.array([s.events for s in chosen]), np.array([s.rss_bytes for s in chosen])

    @property
    def counts(self) -> dict[str, float]:
        """The last counts that were seen."""
        return next((s.counts for s in reversed(self.samples) if s.counts), {})


class _Watch(threading.Thread):
    """Looks at the workers every SAMPLE_SECONDS, from their first event to their end."""

    def __init__(self, state: Path, ports: list[int]) -> None:
        super().__init__(daemon=True)
        self.samples: list[Sample] = []
        self.ended = threading.Event()
        self._in_flight = state / "run" / "in-flight"
        self._ports = ports

    def run(self) -> None:
        control: FlowControl | None = None
        begun: float | None = None
        while not self.ended.wait(SAMPLE_SECONDS):
            if control is None and self._in_flight.exists():
                control = FlowControl(1, path=self._in_flight)
            if control is not None and (events := control.events_read()):
                begun = begun or time.monotonic()
                self.samples.append(Sample(time.monotonic() - begun, events, _workers_rss(), self._counts()))

    def _counts(self) -> dict[str, float]:
        counts: dict[str, float] = {}
        for port in self._ports:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SAMPLE_SECONDS) as answer:
                    text = answer.read().decode()
            except OSError:  # at its end, or too busy to answer in time: the next look tells
                continue
            for name, value in _TOLD.findall(text):
                if "_created" not in name:
                    counts[name] = counts.get(name, 0.0) + float(value)
        return counts


def _workers_rss() -> int:
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            if "flows.worker" in child.cmdline():
                total += child.memory_info().rss
        except psutil.Error:  # it ended in the meantime
            continue
    return total


def write_long_log(plan: ShopPlan, events: int, path: Path) -> int:
    """Write about so many events of a plan's shop, as those of several plans in a row; how many lines they are.

    Each plan has another seed, event ids of its own and begins a day after the end of the one before, so that no event
    is older than one before it. The items are told anew by each.
    """
    parts = max(PARTS_MIN, -(-events // PART_EVENTS_MAX))
    begin = datetime.fromtimestamp(plan.start_ms / 1000, UTC)
    lines = 0
    with open_to_write(path) as write:
        for part in range(parts):
            start = (begin + part * timedelta(days=plan.days + 1)).isoformat()
            for chunk in generate(replace(plan, seed=plan.seed + part, events=events // parts, start=start)):
                write(chunk.replace(b'"event_id":"e', b'"event_id":"e%d-' % part))
                lines += chunk.count(b"\n")
    return lines


def run_log(log: Path, events: int, state: Path, processes: int, flags: dict[str, object]) -> Run:
    """Run a log to its end as fast as it goes, into a Redis of its own. Raises WorkerFailed, ConfigurationError."""
    port = free_ports(1, random.Random())[0]
    with embedded_redis() as url:
        given = {"redis.url": url, "state.directory": str(state), "log.level": "warning", "metrics.port": port}
        watch = _Watch(state, list(range(port, port + processes)))
        settings = load_settings(flags={**given, **flags})
        watch.start()
        try:
            report = run_logs(settings, [log], "max", processes, events)
        finally:
            watch.ended.set()
            watch.join()
    return Run(events, watch.samples, report)


@click.command("soak")
@click.option("--events", type=click.IntRange(100_000), default=20_000_000, show_default=True, help="Of the long run.")
@click.option("--shoppers", type=click.IntRange(1_000), default=1_000_000, show_default=True, help="Of the long run.")
@click.option("--memory-mb", type=click.IntRange(1), help="worker.profile_memory_mb; without it there is no budget.")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--exact-events", type=click.IntRange(50_000), default=400_000, show_default=True, help="Run twice.")
@click.option("--exact-shoppers", type=click.IntRange(100), default=20_000, show_default=True, help="Run twice.")
@click.option("--exact-memory-mb", type=click.IntRange(1), help="Their budget; by default as tight as the long run's.")
@click.option("--exact-only", is_flag=True, help="Leave the long run out.")
def soak(
    events: int,
    shoppers: int,
    memory_mb: int | None,
    processes: int,
    exact_events: int,
    exact_shoppers: int,
    exact_memory_mb: int | None,
    exact_only: bool,
) -> None:
    """Run for long, and tell how memory develops; exits 1 where it keeps growing, or a returning shopper differs."""
    configure_logs(Log(level="warning"))
    console = Console(width=140)
    if memory_mb is not None and exact_memory_mb is None:
        exact_memory_mb = max(1, memory_mb * exact_shoppers // shoppers)
    plan = ShopPlan(seed=21, shoppers=shoppers, items=10_000, categories=40, days=PART_DAYS, start="2025-01-01T00:00Z")
    small = replace(plan, shoppers=exact_shoppers, items=2_000)
    good = True
    try:
        if not exact_only:
            good = _long_run(console, plan, events, processes, memory_mb)
        if exact_memory_mb is not None:
            good = _exact(console, small, exact_events, processes, exact_memory_mb) and good
    except WorkerFailed as failure:
        sys.exit(failure.code)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    sys.exit(0 if good else 1)


def _budget(memory_mb: int | None) -> dict[str, object]:
    return {} if memory_mb is None else {"worker.profile_memory_mb": memory_mb}


def _long_run(console: Console, plan: ShopPlan, events: int, processes: int, memory_mb: int | None) -> bool:
    """The long run and its figures; whether memory levelled off."""
    flags = {**_budget(memory_mb), "worker.users_max": max(2_000_000, 2 * plan.shoppers)}
    with tempfile.TemporaryDirectory(prefix="coterie-soak-") as folder:
        log = Path(folder) / "soak.jsonl.zst"
        begun = time.monotonic()
        lines = write_long_log(plan, events, log)
        console.print(
            f"{lines:,} events of {plan.shoppers:,} shoppers, {log.stat().st_size / 1e6:,.0f} MB packed, written in"
            f" {time.monotonic() - begun:,.0f} s; budget {'none' if memory_mb is None else f'{memory_mb} MB'}"
        )
        run = run_log(log, lines, Path(folder) / "state", processes, flags)
    console.print(_over_time(run))
    report = run.report
    console.print(
        f"{report['events']:,} events at {report['events_per_second']:,} a second, {report['cpu_seconds']:,.0f} s of"
        f" CPU, {report['users']:,} shoppers in the tables at the end, rejected {report['rejected'] or 'none'}"
    )
    _tell_counts(console, run)
    return _levelled_off(console, run)


def _over_time(run: Run) -> Table:
    table = Table("events", title="memory of the workers over the run")
    names = sorted(run.counts)
    for column in ("share", "seconds", "RSS MB", *names):
        table.add_column(column, justify="right")
    told = -1
    for sample in run.samples:
        share = sample.events / run.events
        step = sample.events * TOLD_PER_RUN // run.events
        if step > told or sample is run.samples[-1]:
            told = step
            counts = [f"{sample.counts[name]:,.0f}" if name in sample.counts else "" for name in names]
            rss = f"{sample.rss_bytes / 1e6:,.0f}"
            table.add_row(f"{sample.events:,}", f"{share:.0%}", f"{sample.seconds:,.0f}", rss, *counts)
    return table


def _tell_counts(console: Console, run: Run) -> None:
    """Who left memory and came back: as the report tells, and as the metrics last told."""
    console.print(f"evictions {run.report['evictions'] or 'none'}")
    for name, count in run.counts.items():
        console.print(f"{name} {count:,.0f} when last seen", highlight=False, markup=False)


def _levelled_off(console: Console, run: Run) -> bool:
    """Tell the largest figure, the slope and the quarters. What follows the last event is no part of the quarters."""
    second, last = run.rss(0.25, 0.5)[1], run.rss(0.75, 1.0)[1]
    at, rss = run.rss(0.5, 1.0)
    if not len(second) or not len(last) or len(at) < 2:
        console.print("too short to tell whether memory levels off: give more --events")
        return False
    slope = float(np.polyfit(at / 1e6, rss / 1e6, 1)[0]) if np.ptp(at) else 0.0
    quarters = [float(np.median(quarter)) for quarter in (second, last)]
    growth = quarters[1] / quarters[0]
    largest, of_second, of_last = (x / 1e6 for x in (max(s.rss_bytes for s in run.samples), *quarters))
    console.print(f"RSS at most {largest:,.0f} MB; over the last half {slope:+.1f} MB a million events")
    console.print(
        f"median RSS of the second quarter {of_second:,.0f} MB, of the last {of_last:,.0f} MB: {growth:.3f} times,"
        f" at most {GROWTH_MAX} pass"
    )
    return growth <= GROWTH_MAX


def _exact(console: Console, plan: ShopPlan, events: int, processes: int, memory_mb: int) -> bool:
    """The same log with a budget and without; whether every shopper's features are the same."""
    with tempfile.TemporaryDirectory(prefix="coterie-soak-") as folder:
        log = Path(folder) / "exact.jsonl.zst"
        lines = write_long_log(plan, events, log)
        free = run_log(log, lines, Path(folder) / "free", processes, {})
        tight = run_log(log, lines, Path(folder) / "tight", processes, _budget(memory_mb))
        wanted, found = (all_features(Path(folder) / state) for state in ("free", "tight"))
    differing = [user for user in wanted.keys() | found.keys() if wanted.get(user) != found.get(user)]
    console.print(
        f"{lines:,} events without a budget and with {memory_mb} MB (in the tables at the end:"
        f" {free.report['users']:,} and {tight.report['users']:,} shoppers); features of {len(differing):,} of"
        f" {len(wanted):,} shoppers differ, {len(wanted.keys() - found.keys()):,} of them are missing"
    )
    _tell_counts(console, tight)
    for user in sorted(differing)[:EXAMPLES]:
        ours, theirs = wanted.get(user, {}), found.get(user, {})
        names = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
        console.print(f"{user}: " + ", ".join(f"{n} {ours.get(n)} / {theirs.get(n)}" for n in sorted(names)[:EXAMPLES]))
    return not differing
