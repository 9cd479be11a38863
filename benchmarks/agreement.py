"""Do several runs over one log come to the same? Twice on one process, and once on two.

Exact fields must be the same in all of them; learned ones in the two runs on one process. On two processes models learn
from the same samples in the same order, but a version reaches a shopper sooner or later, and who acted within a day
stays in a segment while it is near enough: there the discovered segments are compared by the adjusted Rand index over
all shoppers, and the propensities by their mean absolute difference.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import redis
from rich.console import Console
from rich.table import Table

from flows.logs import configure_logs
from flows.redis_server import embedded_redis
from flows.replay import run_logs
from flows.settings import Log, load_settings
from operators.generate import ShopPlan, write_log
from operators.segment_quality import adjusted_rand
from state.redis_keys import Keys

PLAN = ShopPlan(seed=23, shoppers=20_000, items=2_000, categories=40, days=14, events=300_000)
EXACT = ("event_ts", "version", "rules")
LEARNED = ("segment", "macro", "margin", "purchase_propensity", "churn_risk", "why", "recs")
AGREEMENT_MIN = 0.98

Records = dict[str, dict[str, str]]


def outcome_of(log: Path, processes: int) -> tuple[Records, dict[str, str]]:
    """Every user record, and the last models, after a replay of the log. Raises WorkerFailed."""
    with tempfile.TemporaryDirectory(prefix="coterie-agreement-") as state, embedded_redis() as url:
        settings = load_settings(flags={"redis.url": url, "state.directory": state, "log.level": "warning"})
        run_logs(settings, [log], "max", processes, PLAN.events)
        with redis.Redis.from_url(url, decode_responses=True) as client:
            keys = sorted(client.scan_iter("coterie:user:*", count=5_000))
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.hgetall(key)
            return dict(zip(keys, pipeline.execute(), strict=True)), client.hgetall(Keys(settings.redis.prefix).models)


def same_share(one: Records, other: Records, name: str) -> float:
    """The share of shoppers, of those in either, whose field is the same in both."""
    users = one.keys() | other.keys()
    return sum(one.get(u, {}).get(name) == other.get(u, {}).get(name) for u in users) / max(len(users), 1)


def rand_index(one: Records, other: Records) -> float:
    """How alike the discovered segments of all shoppers are."""
    users = sorted(one.keys() & other.keys())
    first, second = (np.array([run[u].get("segment", "") for u in users]) for run in (one, other))
    return adjusted_rand(np.unique(first, return_inverse=True)[1], np.unique(second, return_inverse=True)[1])


def _difference(one: Records, other: Records, name: str) -> float:
    users = one.keys() & other.keys()
    pairs = [(one[u].get(name), other[u].get(name)) for u in users]
    apart = [abs(float(a) - float(b)) for a, b in pairs if a is not None and b is not None]
    return float(np.mean(apart)) if apart else float("nan")


@click.command("agreement")
def agreement() -> None:
    """Replay one log three times, and tell where the records differ; exits 1 where they differ more than they may."""
    configure_logs(Log(level="warning"))
    console = Console(width=140)
    with tempfile.TemporaryDirectory(prefix="coterie-agreement-") as folder:
        log = Path(folder) / "shop.jsonl"
        write_log(PLAN, log)
        (first, models), (again, models_again), (two, models_of_two) = (outcome_of(log, n) for n in (1, 1, 2))
    table = Table("field", "same, one process twice", "same, two processes", title=f"{len(first):,} shoppers")
    good = True
    for name in (*EXACT, *LEARNED):
        twice, others = same_share(first, again, name), same_share(first, two, name)
        table.add_row(name, f"{twice:.4%}", f"{others:.2%}")
        good = good and twice == 1.0 and (name in LEARNED or others == 1.0)
    table.add_row("models", *("same" if models == other else "differ" for other in (models_again, models_of_two)))
    good = good and models == models_again == models_of_two
    console.print(table)
    alike = rand_index(first, two)
    console.print(f"segments on two processes: adjusted Rand index {alike:.4f}, at least {AGREEMENT_MIN}")
    for name in ("purchase_propensity", "churn_risk"):
        console.print(f"{name} on two processes: {_difference(first, two, name):.5f} apart on average")
    sys.exit(0 if good and alike >= AGREEMENT_MIN else 1)
