"""Event logs through the whole worker, to their end: the report, and what the demo and the benchmarks run."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flows.report import read_report
from flows.settings import Settings
from flows.state_directory import prepare_state
from flows.supervisor import run_cluster, worker_command
from operators.generate import ShopPlan
from state.flow_control import FlowControl


class WorkerFailed(Exception):
    """A worker failed and has told why; `code` is what the command ends with."""

    def __init__(self, code: int) -> None:
        super().__init__("a worker failed; its log says why")
        self.code = code


def replay(
    settings: Settings, logs: list[Path], speed: str, processes: int, report: Path | None, events: int | None = None
) -> int:
    """Run logs through `processes` workers; write and tell the report. The exit code: 0 done, 1 failed.

    `events` is the number of records where it is known (for the progress bar).
    """
    try:
        figures = run_logs(settings, logs, speed, processes, events)
    except WorkerFailed as failure:
        return failure.code
    if report:
        report.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    _tell(figures)
    return 0


def run_logs(
    settings: Settings, logs: list[Path], speed: str, processes: int, events: int | None = None
) -> dict[str, Any]:
    """Run logs through the workers; the report. Raises WorkerFailed (the log says why)."""
    given = ["--speed", speed, *(word for path in logs for word in ("--log", str(path.resolve())))]
    return _run_to_the_end(settings, given, processes, events)


def run_plan(settings: Settings, plan: ShopPlan) -> dict[str, Any]:
    """Run the generated log of a plan through one worker; the report. Raises WorkerFailed (the log says why)."""
    return _run_to_the_end(settings, ["--plan", msgspec.json.encode(plan).decode()], 1, plan.events)


def _run_to_the_end(settings: Settings, given: list[str], processes: int, events: int | None) -> dict[str, Any]:
    prepare_state(settings)
    settings = settings if settings.is_given("metrics.port") else settings.with_values({"metrics.port": 0})
    with tempfile.TemporaryDirectory(prefix="coterie-figures-") as folder:

        def command(process: int, launch: Path) -> Sequence[str]:
            return [*worker_command(process, launch), "--figures", folder, *given]

        control = settings.state.directory / "run" / "in-flight"
        with _Progress(control, events):
            code = run_cluster(settings, processes, command=command, restarts_max=0)
        found = sorted(Path(folder).glob("figures-*.json"))
        if code != 0 or len(found) < processes:
            raise WorkerFailed(code or 1)
        return read_report(found)


class _Progress:
    """A bar of the events read so far, from the counters that the workers share."""

    def __init__(self, control: Path, events: int | None) -> None:
        self._control = control
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._show, args=(events,), daemon=True)

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _show(self, events: int | None) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("events"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("events", total=events, note="starting; the first start compiles for a while")
            control: FlowControl | None = None
            while not self._done.wait(0.1):
                if control is None and self._control.exists():
                    control = FlowControl(1, path=self._control)
                if control is not None and control.events_read():
                    progress.update(task, completed=control.events_read(), note="")


def _tell(figures: dict[str, Any]) -> None:
    waits = figures["event_to_redis_ms"]
    lines: list[tuple[str, Callable[[], str]]] = [
        (
            "events",
            lambda: (
                f"{figures['events']:,} read, {figures['accepted']:,} taken in, {figures['duplicates']:,} duplicates"
            ),
        ),
        ("rejected", lambda: ", ".join(f"{n:,} {reason}" for reason, n in figures["rejected"].items()) or "none"),
        ("shoppers", lambda: f"{figures['users']:,}, items {figures['items']:,}, segments {figures['segments']}"),
        ("speed", lambda: f"{figures['events_per_second']:,} events/s over {figures['seconds']:.1f} s"),
        ("to Redis", lambda: f"p50 {waits['p50']} ms, p99 {waits['p99']} ms, max {waits['max']} ms"),
    ]
    console = Console(stderr=True)
    for name, text in lines:
        console.print(f"[bold]{name:>10}[/]  {text()}", highlight=False)
