"""The figures of a run: what each process counted, and all of them together as the report."""

from __future__ import annotations

import math
import re
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from prometheus_client import Counter, Gauge

from flows.steps import Steps
from operators.contender import Comparison
from operators.list_tally import ListTally
from state.metrics import Distribution, Metrics, read_samples

SCHEMA = 1
_FOUND = re.compile(r"s\d+")  # the id of a segment that was found; no rule can be named so


def write_figures(path: Path, metrics: Metrics, steps: Steps, began_at: float, stopped: bool) -> None:
    """Write what one process counted, for `read_report`."""
    steps.observe_state()
    cases, hits, ranks = steps.judged()
    figures = {
        "began_at": began_at,
        "stopped": stopped,
        "ended_at": time.time(),
        "cpu_seconds": time.process_time(),
        "rss_bytes_max": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "events": _by_label(metrics.events, "outcome"),
        "dead_letters": _by_label(metrics.dead_letters, "reason"),
        "duplicates": _total(metrics.duplicates),
        "late": _total(metrics.late_events),
        "transitions": _total(metrics.transitions),
        "evictions": _by_label(metrics.evictions, "component"),
        "redis_retries": _total(metrics.redis_retries),
        "users": _total(metrics.state_users),
        "items": _total(metrics.state_items),
        "segments": sum(bool(_FOUND.fullmatch(s)) for s in read_samples(metrics.segment_users, "segment")),
        "judged": [cases, hits, ranks],
        "lists": steps.tally.packed(),
        "compared": steps.comparison.sums,
        "part_factors": steps.contenders[0].weights.factors,
        "propensity_auc": _reading(metrics.propensity_auc),
        "silhouette": _reading(metrics.silhouette),
        "stability_ari": _reading(metrics.stability),
        "event_to_redis": _distribution(metrics.event_to_redis.of()),
        "snapshot_stall": _distribution(metrics.snapshot_stall.of()),
        "steps": {name: d.total for name, d in metrics.step_seconds.by_label.items()},
        "models": _by_label(metrics.model_version, "model"),
    }
    path.write_bytes(orjson.dumps(figures, option=orjson.OPT_SERIALIZE_NUMPY))


def read_report(paths: list[Path]) -> dict[str, Any]:
    """Bring the figures of all processes together: the report of docs/INTERFACES.md."""
    all_figures = [orjson.loads(p.read_bytes()) for p in paths]
    rejected = _sum_tables([f["dead_letters"] for f in all_figures])
    no_room = sum(f["evictions"].get("users", 0) for f in all_figures)
    if no_room:
        rejected["no_room"] = no_room
    outcomes = _sum_tables([f["events"] for f in all_figures])
    seconds = max(f["ended_at"] for f in all_figures) - min(f["began_at"] for f in all_figures)
    cases, hits, ranks = (sum(f["judged"][k] for f in all_figures) for k in range(3))
    events = sum(outcomes.values())
    waits = _merged([f["event_to_redis"] for f in all_figures])
    stalls = _merged([f["snapshot_stall"] for f in all_figures])
    steps = _sum_tables([f["steps"] for f in all_figures])
    in_steps = sum(steps.values())
    tally, items = ListTally(), sum(f["items"] for f in all_figures)
    for figures in all_figures:
        tally.add(figures["lists"])
    compared = np.sum([f["compared"] for f in all_figures], axis=0)
    learned_most = max(all_figures, key=lambda f: f["judged"][1])
    return {
        "schema": SCHEMA,
        "events": events,
        "accepted": outcomes.get("accepted", 0),
        "rejected": rejected,
        "duplicates": sum(f["duplicates"] for f in all_figures),
        "late": sum(f["late"] for f in all_figures),
        "users": sum(f["users"] for f in all_figures),
        "items": items,
        "segments": sum(f["segments"] for f in all_figures),
        "transitions": sum(f["transitions"] for f in all_figures),
        "evictions": _sum_tables([f["evictions"] for f in all_figures]),
        "redis_retries": sum(f["redis_retries"] for f in all_figures),
        "processes": len(all_figures),
        "stopped": any(f["stopped"] for f in all_figures),
        "seconds": round(seconds, 3),
        "events_per_second": round(events / seconds) if seconds else 0,
        "cpu_seconds": round(sum(f["cpu_seconds"] for f in all_figures), 3),
        "rss_bytes_max": max(f["rss_bytes_max"] for f in all_figures),
        "event_to_redis_ms": _milliseconds(waits, "p50", "p99", "max"),
        "snapshot_stall_ms": _milliseconds(stalls, "p50", "max"),
        "quality": {
            "hit_rate_20": hits / cases if cases else None,
            "mrr_20": ranks / cases if cases else None,
            "judged": int(cases),
            "coverage": min(tally.items_listed() / items, 1.0) if items else None,
            "novelty_bits": tally.novelty_bits(),
            "rungs": tally.by_rung(),
            "part_factors": {part: round(factor, 3) for part, factor in learned_most["part_factors"].items()},
            "challenger": Comparison(compared).figures() or None,
            **{key: _first(all_figures, key) for key in ("propensity_auc", "silhouette", "stability_ari")},
        },
        "steps": {
            name: {"seconds": round(s, 3), "share": round(s / in_steps, 3)}
            for name, s in sorted(steps.items(), key=lambda kv: -kv[1])
        },
        "models": _sum_tables([f["models"] for f in all_figures]),
    }


def _by_label(metric: Counter | Gauge, label: str) -> dict[str, int]:
    return {name: int(value) for name, value in read_samples(metric, label).items() if value}


def _total(metric: Counter | Gauge) -> int:
    return int(sum(s.value for family in metric.collect() for s in family.samples if not s.name.endswith("_created")))


def _reading(gauge: Gauge) -> float | None:
    """A gauge's value; None where no model has given one yet."""
    value = read_samples(gauge)[""]
    return None if math.isnan(value) else value


def _distribution(d: Distribution) -> dict[str, Any]:
    return {"bins": d.bins, "total": d.total, "largest": d.largest}


def _merged(parts: list[dict[str, Any]]) -> Distribution:
    whole = Distribution()
    for part in parts:
        one = Distribution()
        one.bins, one.total, one.largest = np.array(part["bins"], np.int64), part["total"], part["largest"]
        whole.add(one)
    return whole


def _milliseconds(d: Distribution, *names: str) -> dict[str, float | None]:
    if d.count == 0:
        return dict.fromkeys(names)
    values = {"p50": d.quantile(0.5), "p99": d.quantile(0.99), "max": d.largest}
    return {name: round(values[name] * 1000, 2) for name in names}


def _sum_tables(tables: list[dict[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            out[name] = out.get(name, 0) + value
    return out


def _first(figures: list[dict[str, Any]], key: str) -> float | None:
    """The reading of the one process that keeps the model."""
    return next((f[key] for f in figures if f[key] is not None), None)
