"""Where a worker's events come from: Kafka's topics, log files or the built-in generator, as the engine's source.

Each takes the parts that the state knows (`known`), whom to tell of those that are read (`inputs`) and what keeps them
in step (`alignment`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.alignment import Alignment
from flows.engine import Source
from flows.settings import ConfigurationError, Settings
from operators.generate import ShopPlan
from operators.read_files import FileReader, PacedReader
from operators.read_generated import GeneratedReader
from operators.read_kafka import KafkaHub, KafkaReader
from operators.reader import Reader
from state.flow_control import FlowControl
from state.frontiers import Frontiers
from state.input_parts import InputParts
from state.metrics import Metrics


def make_alignment(settings: Settings, frontiers: Frontiers) -> Alignment:
    """What keeps the parts in step: to half the lateness, which leaves the other half to each part's own disorder."""
    ahead_ms = round(settings.shop.lateness_minutes * 60_000 / 2)
    return Alignment(ahead_ms, round(settings.events.future_seconds_max * 1000), frontiers)


def log_source(
    settings: Settings,
    control: FlowControl,
    logs: list[Path],
    speed: str,
    known: frozenset[str],
    inputs: InputParts,
    alignment: Alignment,
) -> Source:
    """Log files, a part each; at a pace each keeps to its own time, and is not aligned with the others."""

    def open_part(part: str, position: Any) -> Reader:
        path = paths[part]
        reader = FileReader(path, position, settings.worker.batch_records_max, partition=list(paths).index(part))
        return reader if speed == "max" else PacedReader(reader, float(speed))

    paths = {f"log:{path.resolve()}": path for path in logs}
    return Source(
        lambda: list(paths),
        open_part,
        control,
        settings.worker.linger_ms / 1000,
        settings.worker.batch_records_max,
        known,
        inputs,
        alignment if speed == "max" else None,
    )


def kafka_source(
    settings: Settings,
    control: FlowControl,
    metrics: Metrics,
    lags: list[Callable[[], None]],
    known: frozenset[str],
    inputs: InputParts,
    alignment: Alignment,
) -> Source:
    """Kafka's topics, a part for each partition; one consumer for all parts of this process."""
    kafka = settings.kafka
    hub = KafkaHub(
        kafka.bootstrap,
        kafka.whole_batches,
        start=kafka.start,
        isolation=kafka.isolation,
        records_max=settings.worker.batch_records_max,
        options=kafka.options,
    )

    def open_part(part: str, position: Any) -> KafkaReader:
        topic, _, number = part.rpartition("/")
        reader = hub.reader(topic, int(number), position)
        gauge = metrics.consumer_lag.labels(topic, number)
        lags.append(lambda: gauge.set(float("nan") if (lag := reader.lag()) is None else lag))
        return reader

    roles = {"clicks": kafka.clicks, "purchases": kafka.purchases, "controls": kafka.controls}
    topics = tuple(dict.fromkeys(topic for role in roles.values() for topic in role))
    if not topics:
        raise ConfigurationError("kafka: clicks, purchases and controls are all empty; name a topic to read")
    metrics.streams.update({topic: role for role, named in roles.items() for topic in named})
    return Source(
        lambda: [f"{topic}/{number}" for topic, number in hub.partitions(topics)],
        open_part,
        control,
        settings.worker.linger_ms / 1000,
        settings.worker.batch_records_max,
        known,
        inputs,
        alignment,
    )


def generated_source(
    settings: Settings,
    control: FlowControl,
    plan: ShopPlan,
    known: frozenset[str],
    inputs: InputParts,
    alignment: Alignment,
) -> Source:
    """The made-up log of a plan: one part."""

    def open_part(part: str, position: Any) -> Reader:
        return GeneratedReader(plan, position, settings.worker.batch_records_max)

    return Source(
        lambda: ["generated/0"],
        open_part,
        control,
        settings.worker.linger_ms / 1000,
        settings.worker.batch_records_max,
        known,
        inputs,
        alignment,
    )
