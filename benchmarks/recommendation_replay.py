"""Are the lists of the whole worker as good as those of its kernels? A real log through a worker, beside the benchmark.

The stream of a scenario of `recommendations` is written as a log of views, told a second after each other, and goes
through one worker with a Redis of its own, so many events a second. Beside the report stands what `recommendations`
finds for `ours` on the same events, all of them judged from the first on, one at a time and in batches of as many
events as come within one linger of the worker. Both count fresh cases: the worker judges the first act of a shopper in
a batch. Its batches differ in size and its popular items come by way of the learn step, so the figures are near each
other and not equal. Times are made up in both, so that both see the same sessions.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.recommendation_sets import LOGS, SCENARIOS, Scenario, Stream
from benchmarks.recommendations import CONTENDERS, prequential
from flows.logs import configure_logs
from flows.redis_server import embedded_redis
from flows.replay import run_logs
from flows.settings import Log, load_settings

EVENT_MS = 1000
LOG_BEGIN_MS = 1_577_836_800_000
OURS = CONTENDERS[0]


def a_second_apart(stream: Stream) -> Stream:
    """The same events in the same order, EVENT_MS from one to the next."""
    return replace(stream, ts=LOG_BEGIN_MS + EVENT_MS * np.arange(len(stream), dtype=np.int64))


def write_views(stream: Stream, path: Path) -> None:
    """A stream as a log of views."""
    with path.open("wb") as file:
        columns = (stream.shopper.tolist(), stream.item.tolist(), stream.ts.tolist())
        for n, (shopper, item, ts) in enumerate(zip(*columns, strict=True)):
            event = {"type": "view", "ts": ts, "event_id": str(n), "user_id": f"u{shopper}", "item_id": f"i{item}"}
            file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))


def through_a_worker(stream: Stream, events_per_second: float) -> tuple[dict[str, Any], float]:
    """The report of one worker, and its linger in seconds. Raises WorkerFailed."""
    with tempfile.TemporaryDirectory(prefix="coterie-lists-") as folder, embedded_redis() as url:
        log, state = Path(folder) / "views.jsonl", str(Path(folder) / "state")
        write_views(stream, log)
        settings = load_settings(flags={"redis.url": url, "state.directory": state, "log.level": "warning"})
        speed = str(events_per_second * EVENT_MS / 1000)
        return run_logs(settings, [log], speed, 1, len(stream)), settings.worker.linger_ms / 1000


@click.command("recommendation_replay")
@click.option("--scenario", "name", default="recommend_rsc15", show_default=True, type=click.Choice(list(SCENARIOS)))
@click.option("--events", default=40_000, show_default=True, help="So many of the first events.")
@click.option("--rate", default=1000.0, show_default=True, help="Events a second.")
def recommendation_replay(name: str, events: int, rate: float) -> None:
    """Hold the lists of a whole worker against those of the benchmark, on a real log."""
    configure_logs(Log(level="warning"))
    scenario = SCENARIOS[name]
    absent = [file for file in scenario.files if not (LOGS / file).exists()]
    if absent:
        raise click.ClickException(f"{LOGS / absent[0]} is not there")
    stream = a_second_apart(scenario.load(LOGS)[0].first(events))
    report, linger_seconds = through_a_worker(stream, rate)
    quality = report["quality"]
    table = Table("lists of", title=f"{name}: {len(stream):,} events, {rate:,.0f} a second")
    for column in ("cases", "HR@20", "MRR@20", "coverage"):
        table.add_column(column, justify="right")
    table.add_row("the worker", *_cells(quality["judged"], quality["hit_rate_20"], quality["mrr_20"]), _cell(quality))
    as_it_is = Scenario(scenario.name, scenario.meaning, (), scenario.load, sessions=False)
    for batch in (1, max(round(rate * linger_seconds), 2)):
        found = prequential(as_it_is, OURS, stream, batch, seed=0, warm_up_share=0.0)
        assert found.fresh_cases is not None and found.fresh_hr is not None and found.fresh_mrr is not None
        fresh = _cells(found.fresh_cases, found.fresh_hr, found.fresh_mrr)
        table.add_row(f"ours, batches of {batch}, fresh cases", *fresh, f"{found.coverage:.3f}")
    Console(width=120).print(table)


def _cells(cases: int, hit_rate: float, mrr: float) -> tuple[str, str, str]:
    return f"{cases:,}", f"{hit_rate:.4f}", f"{mrr:.4f}"


def _cell(quality: dict[str, Any]) -> str:
    return f"{quality['coverage']:.3f}"
