"""The worker's figures, observed per batch: counters, gauges and histograms under the names of docs/INTERFACES.md.

Histograms are filled from whole arrays (one bincount per batch, not one call per event) and keep fine geometric bins
besides the coarse buckets that Prometheus sees, so that a run's report can tell its p50 and p99 within 2 %.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BINS_PER_DECADE = 116  # 10 ** (1 / 116) = 1.02: two per cent
_LOW, _DECADES = 1e-6, 12
_EDGES = _LOW * 10.0 ** (np.arange(_BINS_PER_DECADE * _DECADES + 1) / _BINS_PER_DECADE)
SECONDS_BUCKETS = tuple(m * 10.0**e for e in range(-4, 2) for m in (1.0, 2.5, 5.0))
LONG_BUCKETS = (*SECONDS_BUCKETS, 100.0, 600.0, 3600.0, 86400.0, 604800.0)
COUNT_BUCKETS = tuple(float(4**k) for k in range(9))


STREAMS = ("clicks", "purchases", "controls", "log", "generated")
"""Values of the label `stream`; any other source counts as OTHER_STREAM: labels come from closed sets."""

OTHER_STREAM = "other"

DRIFT_SIGNALS = ("inertia", "features")
"""Values of the label `signal`: samples lie farther from their segments; the mean of a feature has changed."""

LINEAGE = ("birth", "split", "merge", "death")
"""Values of the label `change`: how segments come and go."""


def read_samples(metric: Counter | Gauge, label: str = "") -> dict[str, float]:
    """A metric's values by one of its labels, summed over the others ("" for one without labels)."""
    out: dict[str, float] = {}
    for family in metric.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                name = sample.labels[label] if label else ""
                out[name] = out.get(name, 0.0) + sample.value
    return out


class Distribution:
    """Counts of values in fine geometric bins from 1e-6 to 1e6 (values outside fall into the first or last)."""

    def __init__(self) -> None:
        self.bins = np.zeros(len(_EDGES) + 1, np.int64)
        self.total = 0.0
        self.largest = 0.0

    def observe(self, values: np.ndarray) -> None:
        """Count an array of values."""
        if len(values) == 0:
            return
        self.bins += np.bincount(np.searchsorted(_EDGES, values), minlength=len(self.bins))
        self.total += float(values.sum())
        self.largest = max(self.largest, float(values.max()))

    def observe_one(self, value: float) -> None:
        """Count a single value."""
        self.bins[int(np.searchsorted(_EDGES, value))] += 1
        self.total += value
        self.largest = max(self.largest, value)

    @property
    def count(self) -> int:
        return int(self.bins.sum())

    def quantile(self, q: float) -> float:
        """The value below which a share q lies, within 2 %; nan when nothing was counted."""
        n = self.count
        if n == 0:
            return float("nan")
        place = int(np.searchsorted(np.cumsum(self.bins), q * n))
        return min(float(_EDGES[min(place, len(_EDGES) - 1)]), self.largest)

    def add(self, other: Distribution) -> None:
        """Take another process's counts in."""
        self.bins += other.bins
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def below(self, bound: float) -> int:
        """How many values are at or below a bound, to the bin."""
        return int(self.bins[: int(np.searchsorted(_EDGES, bound)) + 1].sum())


class Histogram(Collector):
    """A Prometheus histogram over Distributions, one per value of its label (or one, unlabelled)."""

    def __init__(
        self, registry: CollectorRegistry, name: str, help_text: str, buckets: tuple[float, ...], label: str = ""
    ) -> None:
        self.name, self.help_text, self.buckets, self.label = name, help_text, buckets, label
        self.by_label: dict[str, Distribution] = {}
        registry.register(self)

    def of(self, label: str = "") -> Distribution:
        """The distribution of a label's value."""
        found = self.by_label.get(label)
        if found is None:
            found = self.by_label[label] = Distribution()
        return found

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self.help_text, labels=[self.label] if self.label else [])
        for label, d in list(self.by_label.items()):
            bounds = [(f"{b:g}", float(d.below(b))) for b in self.buckets]
            family.add_metric([label] if self.label else [], [*bounds, ("+Inf", float(d.count))], sum_value=d.total)
        yield family


class Metrics:
    """Every figure a worker keeps. One per process, handed to the steps; `registry` is what /metrics shows."""

    def __init__(self, prefix: str = "coterie_") -> None:
        self.registry = registry = CollectorRegistry()
        self.streams = {name: name for name in STREAMS}
        """Which stream a source belongs to: topics are added by their roles."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(prefix + name.removesuffix("_total"), text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(prefix + name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], label: str = "") -> Histogram:
            return Histogram(registry, prefix + name, text, buckets, label)

        self.events = counter(
            "events_total", "Events by stream and outcome (accepted, rejected, duplicate).", "stream", "outcome"
        )
        self.dead_letters = counter("dead_letters_total", "Records refused, by reason.", "reason")
        self.duplicates = counter("duplicates_total", "Events dropped as duplicates.")
        self.late_events = counter("late_events_total", "Events older than every window that could hold them.")
        self.redis_retries = counter("redis_retries_total", "Writes to Redis tried again.")
        self.evictions = counter("evictions_total", "Rows given up for want of room.", "component")
        self.ignored = counter(
            "ignored_total", "What was passed over for a bound or for want of a declaration.", "what"
        )
        self.transitions = counter("transitions_total", "Changes of segment.", "kind")
        self.triggers = counter("triggers_total", "What followed from nothing happening.", "trigger")
        self.drift = counter("drift_total", "Drifts detected.", "signal")
        self.event_to_redis = histogram(
            "event_to_redis_seconds", "From reading an event to Redis's answer.", SECONDS_BUCKETS
        )
        self.freshness = histogram("freshness_seconds", "From event time to Redis's answer.", LONG_BUCKETS)
        self.step_seconds = histogram("step_seconds", "Time of one call of a step.", SECONDS_BUCKETS, "step")
        self.batch_events = histogram("batch_events", "Events in one call of a step.", COUNT_BUCKETS, "step")
        self.redis_write = histogram("redis_write_seconds", "One pipeline to Redis and its answers.", SECONDS_BUCKETS)
        self.snapshot = histogram("snapshot_seconds", "Writing one table's snapshot.", SECONDS_BUCKETS)
        self.snapshot_stall = histogram(
            "snapshot_stall_seconds", "How long one epoch's snapshots held a process up.", SECONDS_BUCKETS
        )
        self.consumer_lag = gauge("consumer_lag_records", "Records not yet read.", "topic", "partition")
        self.watermark_lag = gauge("watermark_lag_seconds", "System time less the watermark.")
        self.in_flight = gauge("in_flight_events", "Events read and not yet answered for.")
        self.journal_bytes = gauge("journal_bytes", "Bytes of all journals of this process.")
        self.state_users = gauge("state_users", "Shoppers known.")
        self.cold_users = gauge("cold_users", "Those of them in the cold tier.")
        self.state_items = gauge("state_items", "Items in the tables.")
        self.state_bytes = gauge("state_bytes", "Bytes of state in memory.", "component")
        self.segment_users = gauge("segment_users", "Shoppers in each segment.", "segment")
        self.model_version = gauge("model_version", "Newest version of each model.", "model")
        self.hit_rate = gauge("recs_hit_rate_20", "Share of acts whose item stood in the shopper's list before.")
        self.mrr = gauge("recs_mrr_20", "Mean reciprocal rank of those items.")
        self.listed_items = gauge("recs_listed_items", "Different items that stood in a list.")
        self.novelty = gauge("recs_novelty_bits", "Mean of -log2 of the share of acts that fell on listed items.")
        self.rung_items = counter("recs_items_total", "Items of lists, by where they came from.", "rung")
        self.rung_hits = counter("recs_hits_total", "Those of them that were turned to next.", "rung")
        self.part_factor = gauge(
            "recs_part_factor", "What each part of the lists' scores counts, in what the settings say.", "part"
        )
        self.contender_hit_rate = gauge("recs_contender_hit_rate_20", "Hit rate over the same acts.", "contender")
        self.contender_mrr = gauge("recs_contender_mrr_20", "Mean reciprocal rank over the same acts.", "contender")
        self.lists_challenger_leads = gauge(
            "recs_challenger_leads", "1 while the challenger's lists are better beyond noise."
        )
        self.propensity_auc = gauge("propensity_auc", "Prequential ROC-AUC of the purchase propensity.")
        self.model_auc = gauge("propensity_model_auc", "Prequential ROC-AUC of each model.", "model", "target")
        self.model_log_loss = gauge("propensity_log_loss", "Prequential log loss of each model.", "model", "target")
        self.model_calibration = gauge(
            "propensity_calibration_error", "Expected calibration error of each model, 10 bins.", "model", "target"
        )
        self.challenger_leads = gauge(
            "propensity_challenger_leads", "1 while the challenger is better beyond noise.", "target"
        )
        self.silhouette = gauge("segment_silhouette", "Silhouette of the segments on recent samples.")
        self.stability = gauge("segment_stability_ari", "Adjusted Rand index between successive segment models.")
        self.davies_bouldin = gauge("segment_davies_bouldin", "Davies-Bouldin index of the segments, lower is better.")
        self.emerging = gauge("segment_emerging_share", "Share of recent samples far from every segment.")
        self.lineage = counter("segment_changes_total", "Segments that came or went, by how.", "change")
        for unknown_yet in (
            self.hit_rate,
            self.mrr,
            self.novelty,
            self.propensity_auc,
            self.silhouette,
            self.davies_bouldin,
            self.stability,
            self.emerging,
        ):
            unknown_yet.set(float("nan"))

    def stream_of(self, source: str) -> str:
        """The label of a source."""
        return self.streams.get(source, OTHER_STREAM)

    @contextmanager
    def step(self, name: str, events: int) -> Iterator[None]:
        """Time one call of a step over so many events."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.step_seconds.of(name).observe_one(time.perf_counter() - start)
            self.batch_events.of(name).observe_one(float(max(events, 1)))
