"""Where a worker's events come from: Kafka's topics, log files or the built-in generator, as the engine's source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.engine import Reader, Source
from flows.settings import Settings
from operators.generate import ShopPlan
from operators.read_files import FileReader, PacedReader
from operators.read_generated import GeneratedReader
from operators.read_kafka import KafkaHub, KafkaReader
from state.flow_control import FlowControl
from state.metrics import Metrics


def log_source(settings: Settings, control: FlowControl, logs: list[Path], speed: str) -> Source:
    """Log files, a part each."""

    def open_part(part: str, position: Any) -> Reader:
        index = int(part.split("/")[1])
        reader = FileReader(logs[index], position, settings.worker.batch_records_max, partition=index)
        return reader if speed == "max" else PacedReader(reader, float(speed))

    parts = [f"log/{index:03d}/{path.name}" for index, path in enumerate(logs)]
    return Source(
        lambda: parts, open_part, control, settings.worker.linger_ms / 1000, settings.worker.batch_records_max
    )


def kafka_source(settings: Settings, control: FlowControl, metrics: Metrics, lags: list[Callable[[], None]]) -> Source:
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

    topics = (*kafka.clicks, *kafka.purchases, *kafka.controls)
    return Source(
        lambda: [f"{topic}/{number}" for topic, number in hub.partitions(topics)],
        open_part,
        control,
        settings.worker.linger_ms / 1000,
        settings.worker.batch_records_max,
    )


def generated_source(settings: Settings, control: FlowControl, plan: ShopPlan) -> Source:
    """The made-up log of a plan: one part."""

    def open_part(part: str, position: Any) -> Reader:
        return GeneratedReader(plan, position, settings.worker.batch_records_max)

    return Source(
        lambda: ["generated/0"], open_part, control, settings.worker.linger_ms / 1000, settings.worker.batch_records_max
    )
