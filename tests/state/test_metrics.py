"""Figures: quantiles as NumPy has them, names as other programs know them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from state.metrics import COUNT_BUCKETS, SECONDS_BUCKETS, Distribution, Histogram, Metrics

# The page of interfaces: what dashboards hold on to, with the labels.
NAMES = {
    "events_total": ("stream", "outcome"),
    "event_to_redis_seconds": (),
    "freshness_seconds": (),
    "step_seconds": ("step",),
    "batch_events": ("step",),
    "consumer_lag_records": ("topic", "partition"),
    "watermark_lag_seconds": (),
    "in_flight_events": (),
    "dead_letters_total": ("reason",),
    "duplicates_total": (),
    "late_events_total": (),
    "redis_write_seconds": (),
    "redis_retries_total": (),
    "snapshot_seconds": (),
    "journal_bytes": (),
    "state_users": (),
    "state_bytes": ("component",),
    "evictions_total": ("component",),
    "segment_users": ("segment",),
    "transitions_total": ("kind",),
    "model_version": ("model",),
    "drift_total": ("signal",),
    "recs_hit_rate_20": (),
    "recs_mrr_20": (),
    "recs_listed_items": (),
    "recs_novelty_bits": (),
    "recs_items_total": ("rung",),
    "recs_hits_total": ("rung",),
    "propensity_auc": (),
    "propensity_model_auc": ("model", "target"),
    "propensity_log_loss": ("model", "target"),
    "propensity_calibration_error": ("model", "target"),
    "propensity_challenger_leads": ("target",),
    "segment_silhouette": (),
    "segment_stability_ari": (),
}
HISTOGRAMS = {n for n in NAMES if n.endswith("_seconds") and n != "watermark_lag_seconds"} | {"batch_events"}


def families(registry: CollectorRegistry) -> dict[str, object]:
    return {f.name: f for f in text_string_to_metric_families(generate_latest(registry).decode())}


def test_every_metric_of_the_interface_is_there() -> None:
    """Each name, of the right type and with exactly its labels, from the first scrape on or from its first figure."""
    metrics = Metrics()
    found = families(metrics.registry)
    for name, labels in NAMES.items():
        family = found[f"coterie_{name.removesuffix('_total')}"]
        kind = "histogram" if name in HISTOGRAMS else "counter" if name.endswith("_total") else "gauge"
        assert family.type == kind, name  # type: ignore[attr-defined]
        assert family.documentation, name  # type: ignore[attr-defined]
        of = metrics.registry._names_to_collectors.get(f"coterie_{name}")
        if of is not None and kind != "histogram":
            assert tuple(of._labelnames) == labels, name  # type: ignore[attr-defined]
    for histogram in (metrics.step_seconds, metrics.batch_events):
        assert histogram.label == "step"
    assert metrics.event_to_redis.label == metrics.freshness.label == metrics.redis_write.label == ""


@pytest.mark.parametrize("seed", range(4))
def test_quantiles_are_within_two_per_cent(seed: int) -> None:
    """Against NumPy, over values of eight decades, counted in arrays and one by one, in two parts."""
    random = np.random.default_rng(seed)
    values = np.exp(random.normal(-4, 3, 20_001)).clip(2e-6, 9e5)
    one, other = Distribution(), Distribution()
    one.observe(values[:15_000])
    for value in values[15_000:].tolist():
        other.observe_one(value)
    one.add(other)
    assert one.count == len(values)
    assert one.total == pytest.approx(values.sum())
    assert one.largest == values.max()
    for q in (0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert one.quantile(q) == pytest.approx(exact, rel=0.0201), q


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e9), max_size=50), st.sampled_from(SECONDS_BUCKETS + COUNT_BUCKETS))
def test_counts_below_a_bound_are_right_to_the_bin(values: list[float], bound: float) -> None:
    """What is two per cent below the bound is counted, what is above it is not."""
    d = Distribution()
    d.observe(np.array(values))
    assert sum(v <= bound * 0.98 for v in values) <= d.below(bound) <= sum(v <= bound * 1.0000001 for v in values)
    assert d.count == len(values)


def test_a_batch_of_just_a_bucket_size_falls_into_that_bucket() -> None:
    """`le` means at most: batches of 1,024 events are counted under le="1024"."""
    assert {events: _alone_below(events) for events in COUNT_BUCKETS} == dict.fromkeys(COUNT_BUCKETS, 1)


def _alone_below(value: float) -> int:
    d = Distribution()
    d.observe_one(value)
    return d.below(value)


def test_nothing_counted_is_no_number() -> None:
    """Without a value there is no quantile, and no sample in the output."""
    d = Distribution()
    d.observe(np.empty(0))
    assert np.isnan(d.quantile(0.5)) and d.count == 0 and d.below(1.0) == 0
    registry = CollectorRegistry()
    Histogram(registry, "empty_seconds", "Nothing.", SECONDS_BUCKETS)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert family.name == "empty_seconds" and not family.samples


def test_histograms_are_what_prometheus_reads() -> None:
    """Cumulative buckets that end in +Inf, a count, a sum; one series per label value, odd ones escaped."""
    registry = CollectorRegistry()
    histogram = Histogram(registry, "x_seconds", "Some.", SECONDS_BUCKETS, "step")
    random = np.random.default_rng(1)
    values = {'a "b"\\c': random.exponential(0.1, 500), "d": np.array([0.0, 1e9])}
    for label, array in values.items():
        histogram.of(label).observe(array)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert family.type == "histogram"
    for label, array in values.items():
        samples = [s for s in family.samples if s.labels["step"] == label]
        buckets = {float(s.labels["le"]): s.value for s in samples if s.name == "x_seconds_bucket"}
        counts = list(buckets.values())
        assert list(buckets) == sorted(buckets) and counts == sorted(counts)
        assert buckets[float("inf")] == len(array) == next(s.value for s in samples if s.name == "x_seconds_count")
        assert next(s.value for s in samples if s.name == "x_seconds_sum") == pytest.approx(array.sum())
        assert buckets[0.1] == pytest.approx((array <= 0.1).sum(), abs=0.03 * len(array))


def test_a_step_is_timed_though_it_fails() -> None:
    """An exception passes through, and its call is counted."""
    metrics = Metrics()
    with pytest.raises(ZeroDivisionError), metrics.step("decode", 5):
        raise ZeroDivisionError
    assert metrics.step_seconds.of("decode").count == 1
    assert metrics.batch_events.of("decode").largest == 5.0
    assert Metrics("other_").registry is not metrics.registry
