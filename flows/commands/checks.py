"""`coterie check`: is what the worker needs there, before the worker is started? A line for each thing looked at."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import redis

from flows.commands.records import connect
from flows.settings import Settings, redacted
from state.store import read_store

REDIS_VERSION_MIN = (6, 0)
KAFKA_SECONDS_MAX = 5.0
"""How long a broker may take to answer: whoever checks waits for it, a worker waits longer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `outcome` is "ok", "warning" or "failed"."""

    outcome: str
    what: str
    text: str


def check(settings: Settings) -> int:
    """Look at the state directory, Redis and Kafka and print what was found; the exit code, 1 if something failed."""
    parts: tuple[tuple[str, Callable[[Settings], Iterator[Finding]]], ...] = (
        ("segments", _check_segments),
        ("learn", _check_learn),
        ("state", _check_state),
        ("redis", _check_redis),
        ("kafka", _check_kafka),
    )
    failed = False
    _tell(Finding("ok", "settings", "valid"))
    for what, look in parts:
        try:
            for finding in look(settings):
                _tell(finding)
        except Exception as error:  # whatever stands in the way of one is to be told, and the others still looked at
            failed = True
            _tell(Finding("failed", what, redacted(" ".join(str(error).split())) or type(error).__name__))
    return 1 if failed else 0


def _tell(finding: Finding) -> None:
    sys.stdout.write(f"{finding.outcome:<8} {finding.what:<9} {finding.text}\n")
    sys.stdout.flush()


def _check_segments(settings: Settings) -> Iterator[Finding]:
    from operators.rules.ruleset import Ruleset

    ruleset = Ruleset.of(settings.segments, settings.events.custom_names, settings.events.context_names)
    features = len({*ruleset.numbers, *ruleset.texts})
    yield Finding("ok", "segments", f"{len(ruleset.names)} rules over {features} features: {', '.join(ruleset.names)}")


def _check_learn(settings: Settings) -> Iterator[Finding]:
    from flows.steps import learn_settings
    from operators.learn.clusterers import make_clusterer

    yield Finding("ok", "learn", f"segments by {type(make_clusterer(learn_settings(settings))).__name__}")


def _check_state(settings: Settings) -> Iterator[Finding]:
    directory = settings.state.directory
    if not directory.exists():
        with tempfile.TemporaryFile(dir=directory.absolute().parent):
            yield Finding("ok", "state", f"{directory} can be made")
        return
    with tempfile.TemporaryFile(dir=directory):
        yield Finding("ok", "state", f"{directory} can be written")
    store = read_store(directory)
    if store is not None:
        store.agrees(settings.state.user_shards, settings.state.item_shards)
        yield Finding("ok", "state", f"made with {store.user_shards} user shards, {store.item_shards} item shards")


def _check_redis(settings: Settings) -> Iterator[Finding]:
    address = redacted(settings.redis.url)
    try:
        with connect(settings) as client:
            client.ping()
            info: dict[str, Any] = dict(client.info())
    except (redis.RedisError, OSError) as error:
        raise ConnectionError(f"{address}: {error}; is Redis there? (--redis URL or redis.url)") from error
    version = str(info.get("redis_version", "unknown"))
    yield Finding("ok", "redis", f"{address}: version {version}")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < REDIS_VERSION_MIN:
        yield Finding(
            "warning", "redis", f"version {version} is older than {'.'.join(map(str, REDIS_VERSION_MIN))}, untested"
        )
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        yield Finding(
            "warning", "redis", f"maxmemory-policy {policy} can drop records before their time; set noeviction"
        )


def _check_kafka(settings: Settings) -> Iterator[Finding]:
    from operators.read_kafka import KafkaHub

    kafka = settings.kafka
    hub = KafkaHub(kafka.bootstrap, options=kafka.options, connect_seconds_max=KAFKA_SECONDS_MAX)
    try:
        counts = Counter(topic for topic, _ in hub.partitions((*kafka.clicks, *kafka.purchases, *kafka.controls)))
    finally:
        hub.close()
    for topic, partitions in counts.items():
        yield Finding("ok", "kafka", f"{kafka.bootstrap}: topic {topic}, {partitions} partitions")
