"""Bring event logs in: send them to Kafka, or make them from public data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flows.settings import Settings


def load_logs(
    settings: Settings, logs: list[Path], topic: str | None, rate: float | None, speed: str | None, partitions: int
) -> int:
    """Send logs to Kafka, one after the other, `rate` events a second or `speed` times their own pace ("max": at once).

    Raises LoadError, LogError.
    """
    from operators.load_kafka import Pace, create_topics, load

    kafka = settings.kafka
    configured = (*kafka.clicks, *kafka.purchases, *kafka.controls)
    if topic in configured:  # the worker wants to find all of its topics
        create_topics(kafka.bootstrap, list(dict.fromkeys(configured)), partitions, options=kafka.options)
    pace = Pace(rate, None if speed in (None, "max") else float(speed or 1))
    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} events sent"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("load", total=None)
        result = load(
            _lines(logs),
            settings.kafka.bootstrap,
            topic,
            pace,
            lambda sent: progress.update(task, completed=sent),
            partitions=partitions,
            options=settings.kafka.options,
        )
    topics = ", ".join(f"{count:,} to {name}" for name, count in result.per_topic.items()) or "none"
    console.print(f"{result.sent:,} events ({result.bytes:,} bytes) in {result.seconds:.1f} s: {topics}", markup=False)
    return 0


def convert_file(format_name: str, source: Path, out: Path, skipped: Path | None) -> int:
    """Convert a public data set, and tell on standard error what became of every line. Raises ConvertError."""
    from operators.convert import FORMATS, convert

    if format_name not in FORMATS:
        known = ", ".join(FORMATS)
        raise click.BadParameter(f"there is no format {format_name!r}; formats are {known}", param_hint="FORMAT")
    accounting = convert(format_name, source, out, skipped)
    click.echo(accounting.table(), err=True)
    return 0


def _lines(logs: list[Path]) -> Iterator[bytes]:
    from operators.read_files import open_lines

    for path in logs:
        with open_lines(path) as lines:
            yield from (line.rstrip(b"\r\n") for line in lines)
