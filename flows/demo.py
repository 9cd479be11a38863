"""`coterie demo`: a made-up shop through the whole worker, and what it learnt, on the screen."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import redis
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from flows.commands.records import connect, read_card, read_record, show_segments
from flows.inspect import features_of
from flows.redis_server import embedded_redis
from flows.replay import WorkerFailed, run_plan
from flows.settings import Settings
from operators import kernels
from operators.generate import ShopPlan, personas
from state.compiled import is_cached
from state.redis_keys import Keys

PLAN = ShopPlan(seed=7, shoppers=4_000, items=1_200, categories=16, days=21, events=150_000)
SHOWN_FEATURES = ("views_24h", "carts_24h", "purchases_30d", "spend_30d", "sessions_total", "favourite_category")
SHOWN_ITEMS = 6
SHOWN_TOGETHER = 3
SCANNED_MAX = 1_000


def demo(settings: Settings) -> int:
    """Generate a log, run it into a Redis of its own, and show segments, two shoppers, what is bought together and
    the run's figures."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="coterie-demo-") as folder, embedded_redis() as url:
        console.print(
            f"A shop: {PLAN.shoppers:,} shoppers, {PLAN.items:,} items, {PLAN.events:,} events in {PLAN.days} days."
        )
        settings = settings.with_values({"redis.url": url, "state.directory": str(Path(folder) / "state")})
        try:
            if not is_cached(Path(kernels.__path__[0]) / "profile.py"):
                console.print(
                    "The first start compiles the kernels: three to four minutes. Later ones find them compiled."
                )
                warm_up = {"redis.prefix": "warm-up:", "state.directory": str(Path(folder) / "warm-up")}
                run_plan(settings.with_values(warm_up), replace(PLAN, events=4_000, shoppers=200))
            figures = run_plan(settings, PLAN)
        except WorkerFailed as failure:
            return failure.code
        console.rule("segments, as `coterie segments` shows them")
        show_segments(settings, as_json=False)
        console.rule("two shoppers, as `coterie show USER` would explain them")
        with connect(settings) as client:
            console.print(
                Columns([_shopper(settings, client, user) for user in _two_shoppers(client, settings)], expand=True)
            )
        console.rule("bought together, as a product page would read it")
        with connect(settings) as client:
            for line in _together(client, Keys(settings.redis.prefix)):
                console.print(line)
        console.rule("the run")
        console.print(_figures(figures))
    return 0


def _two_shoppers(client: redis.Redis, settings: Settings) -> list[str]:
    """Two shoppers of different segments with a clear assignment and a list that rests on what they looked at."""
    prefix = Keys(settings.redis.prefix).user("")
    found: dict[str, tuple[float, str]] = {}
    for key in sorted(client.scan_iter(f"{prefix}*", count=500))[:SCANNED_MAX]:
        record = read_record(client, key)
        reasons = {because for _, _, because in record.get("recs") or [] if because != "popular"}
        worth = len(reasons) + float(record.get("margin") or 0.0) + float(record.get("purchase_propensity") or 0.0)
        segment, user = str(record.get("segment")), str(key, "utf-8").removeprefix(prefix)
        found[segment] = max(found.get(segment, (0.0, "")), (worth, user))
    return [user for _, user in sorted(found.values(), reverse=True)[:2]]


def _shopper(settings: Settings, client: redis.Redis, user: str) -> Panel:
    keys = Keys(settings.redis.prefix)
    record = read_record(client, keys.user(user))
    card = read_card(client, keys, str(record.get("segment")))
    features = features_of(settings, user) or {}
    truth = personas(PLAN)[int(user.removeprefix("u"))]
    grid = Table.grid(padding=(0, 1))
    grid.add_row("segment", f"[bold]{record.get('segment')}[/] {card.get('name', '')}")
    for name, mean, overall in (card.get("traits") or [])[:3]:
        grid.add_row("", f"[dim]{name} {mean:.3g} there, {overall:.3g} over all; here {_value(features.get(name))}[/]")
    grid.add_row("margin", f"{record.get('margin')} (0: between two segments, 1: right in this one)")
    grid.add_row("will buy", f"{record.get('purchase_propensity')} within a day; churn risk {record.get('churn_risk')}")
    grid.add_row("features", ", ".join(f"{name} {_value(features.get(name))}" for name in SHOWN_FEATURES))
    recommendations = [
        f"[bold]{item}[/] because of {because}" for item, _, because in (record.get("recs") or [])[:SHOWN_ITEMS]
    ]
    for index, line in enumerate(recommendations):
        grid.add_row("show next" if index == 0 else "", line)
    return Panel(grid, title=f"{user} (made as: {truth})", title_align="left")


def _together(client: redis.Redis, keys: Keys) -> list[str]:
    """Of the items for which it is clearest, what is bought with them, and the share that has of all that is."""
    prefix = keys.together("")
    lists = []
    for key in sorted(client.scan_iter(f"{prefix}*", count=500)):
        value = client.get(key)
        if isinstance(value, bytes):
            lists.append((orjson.loads(value)[:3], str(key, "utf-8").removeprefix(prefix)))
    clearest = sorted(lists, key=lambda entry: sum(score for _, score in entry[0]), reverse=True)[:SHOWN_TOGETHER]
    return [
        f"[bold]{item}[/] with " + ", ".join(f"{other} {score:.0%}" for other, score in beside)
        for beside, item in clearest
    ]


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _figures(figures: dict[str, Any]) -> Table:
    waits, quality = figures["event_to_redis_ms"], figures["quality"]
    grid = Table.grid(padding=(0, 2))
    grid.add_row("events", f"{figures['events']:,} read, {figures['accepted']:,} taken in")
    grid.add_row("speed", f"{figures['events_per_second']:,} events/s, {figures['cpu_seconds']:.1f} s of one core")
    grid.add_row("event to Redis", f"p50 {waits['p50']} ms, p99 {waits['p99']} ms (reading as fast as it can)")
    grid.add_row(
        "next item in the list of 20",
        f"{quality['hit_rate_20']:.1%} of {quality['judged']:,} acts judged before learning",
    )
    if quality["propensity_auc"] is not None:
        grid.add_row("purchase propensity", f"ROC-AUC {quality['propensity_auc']:.3f}, predicted before learning")
    return grid
