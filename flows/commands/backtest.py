"""Replay history under the rules of now and under others, and tell what changes: `coterie backtest`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.settings import Settings
from flows.sources import make_alignment
from flows.steps import limits, profile_settings
from operators.backtest import Backtest, SegmentChange
from operators.read_files import FileReader, LogError
from operators.rules.ruleset import Ruleset
from state.batches import RawBatch
from state.frontiers import Frontiers

CHURN_EXIT = 3
"""The new rules move more shoppers than is allowed."""

_PLOTTED_MAX = 12


def backtest(
    settings: Settings,
    old: Ruleset,
    new: Ruleset,
    logs: list[Path],
    churn_max: float | None,
    report: Path | None,
    plot: Path | None,
) -> int:
    """Compare two rulesets over logs: 0, or CHURN_EXIT where the churn of a segment is above `churn_max`. Raises
    LogError, also where nothing in the logs could be taken in: then nothing was compared."""
    test = Backtest(old, new, profile_settings(settings, 1, 1), limits(settings))
    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} events"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("backtest", total=None)
        test.listed(map(str, logs))
        for batch in in_step(settings, logs):
            test.take(batch)
            progress.update(task, completed=test.events)
    refused = sum(test.rejected.values())
    if test.events <= refused:
        found = ", ".join(f"{count:,} {reason}" for reason, count in test.rejected.most_common())
        raise LogError(
            f"{', '.join(map(str, logs))}: {found or 'no records'}, so nothing was compared; are these event logs?"
        )
    changes = test.report()
    worst = max(changes, key=lambda change: change.churn, default=None)
    _print(changes, test.events, refused)
    if report is not None:
        report.write_bytes(orjson.dumps(_figures(changes, test), option=orjson.OPT_INDENT_2) + b"\n")
    if plot is not None:
        _plot(changes, plot)
    if churn_max is not None and worst is not None and worst.churn > churn_max:
        console.print(
            f"segments.{worst.name}: churn {worst.churn:.1%} is above {churn_max:.1%}: the rule moves more shoppers"
            " than --churn-max allows",
            style="bold red",
            soft_wrap=True,
        )
        return CHURN_EXIT
    return 0


def in_step(settings: Settings, logs: list[Path]) -> Iterator[RawBatch]:
    """The batches of logs, read in step in event time; behind the last of each an empty one that says so."""
    alignment = make_alignment(settings, Frontiers())
    names = list(map(str, logs))
    alignment.tell(names)
    parts = [(name, FileReader(name), alignment.of(name)) for name in names]
    while parts:
        for part in list(parts):
            name, reader, pacer = part
            batch = reader.peek()
            if batch is None:
                parts.remove(part)
                reader.close()
                pacer.has_none(at_end=True)
                none = np.empty(0, np.int64)
                yield RawBatch(none.astype(np.uint8), none, none, none, name, 0, time.time(), name, ended=True)
            elif allowed := pacer.allow(batch):
                reader.advance(allowed)
                batch = batch.first(allowed)
                batch.part = name
                yield batch


def _print(changes: list[SegmentChange], events: int, refused: int) -> None:
    title = f"{events:,} events" + (f", {refused:,} of them refused" if refused else "")
    table = Table("segment", "before", "after", "enter", "leave", "overlap", "churn", title=title)
    for change in changes:
        name = change.name + ("" if change.is_old else " (new)") + ("" if change.is_new else " (gone)")
        table.add_row(
            name,
            f"{change.before:,}" if change.is_old else "",
            f"{change.after:,}" if change.is_new else "",
            f"{len(change.enter):,}",
            f"{len(change.leave):,}",
            f"{change.overlap:.1%}" if change.is_old and change.is_new else "",
            f"{change.churn:.1%}" if change.is_old else "",
        )
    Console(width=None if Console().is_terminal else 120).print(table)


def _figures(changes: list[SegmentChange], test: Backtest) -> dict[str, object]:
    return {
        "events": test.events,
        "rejected": dict(test.rejected),
        "segments": {
            change.name: {
                "old": change.is_old,
                "new": change.is_new,
                "before": change.before,
                "after": change.after,
                "enter": change.enter,
                "leave": change.leave,
                "overlap": round(change.overlap, 6),
                "churn": round(change.churn, 6),
                "days": [
                    {"day": datetime.fromtimestamp(ms / 1000, UTC).date().isoformat(), "before": a, "after": b}
                    for ms, a, b in change.days
                ],
            }
            for change in changes
        },
    }


def _plot(changes: list[SegmentChange], path: Path) -> None:
    """Sizes over time, a small chart for each of the segments that change most."""
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
    from matplotlib.figure import Figure

    shown = sorted(changes, key=lambda change: -change.churn)[:_PLOTTED_MAX]
    columns = min(3, max(1, len(shown)))
    rows = -(-max(1, len(shown)) // columns)
    figure = Figure(figsize=(4.5 * columns, 2.8 * rows), layout="constrained")
    for place, change in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        days = np.array([ms for ms, _, _ in change.days], "datetime64[ms]")
        if change.is_old:
            axes.plot(days, [a for _, a, _ in change.days], label="old rules", color="tab:gray", linestyle="--")
        if change.is_new:
            axes.plot(days, [b for _, _, b in change.days], label="new rules", color="tab:blue")
        axes.set_title(f"{change.name}, churn {change.churn:.0%}", fontsize=9)
        axes.tick_params(axis="x", labelrotation=30, labelsize=7)
        axes.set_ylim(bottom=0)
    if shown:
        figure.axes[0].legend(fontsize=7)
    figure.savefig(path)
