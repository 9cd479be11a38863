"""The scenarios: a generated log of a fixed seed, and how it is run through the whole worker. Names are permanent."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.redis_server import embedded_redis
from flows.replay import run_logs
from flows.settings import load_settings
from operators.generate import ShopPlan, write_log

MILLION = ShopPlan(seed=11, shoppers=100_000, items=10_000, categories=40, days=14, events=1_000_000)
PACED = ShopPlan(seed=12, shoppers=20_000, items=5_000, categories=40, days=2, events=200_000)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A log and the way it is run: `speed` as for `coterie replay`, `processes` workers."""

    name: str
    meaning: str
    plan: ShopPlan
    speed: str
    processes: int = 1


SCENARIOS = {
    s.name: s
    for s in (
        Scenario("worker_1m", "1M events of 100k shoppers, as fast as one process goes", MILLION, "max"),
        Scenario("worker_1m_2p", "the same on two processes", MILLION, "max", 2),
        Scenario(
            "paced_5k", "200k events at 5,000 a second on average: what a shopper waits", PACED, str(2 * 86_400 / 40)
        ),
    )
}


def run(scenario: Scenario, runs: int, folder: Path) -> list[dict[str, Any]]:
    """The reports of so many runs of a scenario, after one that is not counted where kernels had to be compiled."""
    log = folder / f"{scenario.name}.jsonl"
    if not log.exists():
        write_log(scenario.plan, log)
    return [_run_once(scenario, log) for _ in range(runs)]


def warm_up(folder: Path) -> None:
    """Compile all kernels (or find them in the cache) before anything is measured."""
    log = folder / "warm-up.jsonl"
    write_log(ShopPlan(seed=1, shoppers=200, items=200, categories=8, days=3, events=8_000), log)
    _run_once(Scenario("warm_up", "", MILLION, "max"), log)


def _run_once(scenario: Scenario, log: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as state, embedded_redis() as url:
        settings = load_settings(flags={"redis.url": url, "state.directory": state, "log.level": "warning"})
        return run_logs(settings, [log], scenario.speed, scenario.processes, scenario.plan.events)


def median(reports: list[dict[str, Any]], *path: str) -> float:
    """The median of a figure over runs; nan where a run has none."""
    values = []
    for report in reports:
        value: Any = report
        for key in path:
            value = value[key]
        values.append(float("nan") if value is None else float(value))
    return statistics.median(values)
