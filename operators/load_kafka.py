"""Send event logs to Kafka at a chosen pace: what `coterie load` does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors

from operators.read_kafka import connect

CLICKS, PURCHASES, CONTROLS = "clicks", "purchases", "controls"
TOPIC_OF_TYPE = {"purchase": PURCHASES, **dict.fromkeys(("consent", "erase", "identify", "profile", "item"), CONTROLS)}
"""Topics of the event types; all others go to CLICKS, and so does what is no event, for the worker to refuse."""

UNANSWERED_MAX = 50_000
"""So many records may be on their way; the next one waits for the oldest."""
PROGRESS_EVERY = 1_000
ANSWER_SECONDS_MAX = 120.0
CONNECT_SECONDS_MAX = 15.0
LINGER_MS = 20
BATCH_BYTES = 64 << 10
RECORD_BYTES_MAX = 1 << 20
NAP_SECONDS_MIN = 0.002
"""Shorter waits are not slept; they add up until they are worth it."""


class LoadError(Exception):
    """Lines cannot be sent; the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to send: `rate` events a second, `speed` times the log's own pace by `ts`, or (neither) at once."""

    rate: float | None = None
    speed: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and self.speed is not None:
            raise ValueError("pace: give a rate or a speed, not both")
        if any(value is not None and not value > 0 for value in (self.rate, self.speed)):
            raise ValueError("pace: rate and speed are numbers above 0")


@dataclass(slots=True)
class LoadResult:
    """What was sent: records, seconds it took, bytes of their values, and records by topic."""

    sent: int = 0
    seconds: float = 0.0
    bytes: int = 0
    per_topic: dict[str, int] = field(default_factory=dict)


def route(line: bytes) -> tuple[str, bytes | None, int | None]:
    """(topic, record key, event time in ms or None) of a line: the key is the user id, of an `item` event the item id.

    Kafka partitions by the key's hash, so the events of a shopper keep their order within a topic. A line that is no
    event goes to CLICKS without a key.
    """
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return CLICKS, None, None
    if not isinstance(event, dict):
        return CLICKS, None, None
    kind = event.get("type")
    topic = TOPIC_OF_TYPE.get(kind, CLICKS) if isinstance(kind, str) else CLICKS
    key = event.get("item_id" if kind == "item" else "user_id")
    is_id = isinstance(key, (str, int)) and not isinstance(key, bool)
    return topic, str(key).encode() if is_id else None, _event_ms(event.get("ts"))


def _event_ms(ts: object) -> int | None:
    if isinstance(ts, int) and not isinstance(ts, bool):
        return ts
    if isinstance(ts, str):
        try:
            moment = datetime.fromisoformat(ts)
        except ValueError:
            return None
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return None


def create_topics(
    bootstrap: str,
    topics: Iterable[str],
    partitions: int = 4,
    replication: int = -1,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Make the topics that are not there yet (`replication` -1: the broker's default); the names of those made.

    Raises LoadError when no broker answers or one refuses.
    """
    try:
        admin = connect(KafkaAdminClient, **_connection(bootstrap, options))
        try:
            there = set(admin.list_topics())
            new = {
                topic: {"num_partitions": partitions, "replication_factor": replication}
                for topic in dict.fromkeys(topics)
                if topic not in there
            }
            if new:
                admin.create_topics(new, wait_for_metadata=True)
            return list(new)
        finally:
            admin.close()
    except kafka_errors.TopicAlreadyExistsError:
        return []  # another one was faster
    except (kafka_errors.KafkaError, OSError) as error:
        text = f"topics cannot be made in Kafka at {bootstrap}: {error!r}; is it running, and is the address right?"
        raise LoadError(text) from error


def load(
    lines: Iterable[bytes],
    bootstrap: str,
    topic: str | None = None,
    pace: Pace = Pace(),
    progress: Callable[[int], None] | None = None,
    *,
    partitions: int = 4,
    replication: int = -1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    options: Mapping[str, Any] | None = None,
) -> LoadResult:
    """Send lines of an event log to Kafka: to `topic`, or by event type (`route`); topics that are missing are made.

    Blank lines are passed over; any other line goes out as it is, for the worker to judge. `progress` is told the
    number sent so far, every PROGRESS_EVERY records and at the end. `clock` gives seconds and `sleep` waits. `options`
    are further settings of kafka-python's clients (security). Returns when all in-sync replicas have every record;
    raises LoadError, which names the line, as soon as one cannot be sent.
    """
    create_topics(bootstrap, [topic] if topic else [CLICKS, PURCHASES, CONTROLS], partitions, replication, options)
    try:
        producer = connect(
            KafkaProducer,
            acks="all",
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            max_request_size=RECORD_BYTES_MAX,
            **_connection(bootstrap, options),
        )
    except (kafka_errors.KafkaError, OSError) as error:
        raise LoadError(f"no Kafka broker answers at {bootstrap}: {error!r}") from error
    result = LoadResult()
    waiting: deque[tuple[int, Any]] = deque()
    timer = _Timer(pace, clock, sleep)
    began = clock()
    try:
        for number, line in enumerate(lines, 1):
            value = line.rstrip(b"\r\n")
            if not value.strip():
                continue
            by_type, key, ts = route(value)
            timer.wait(result.sent, ts)
            to = topic or by_type
            try:
                # The record's own time stays that of sending: retention goes by it, and old logs would be deleted.
                waiting.append((number, producer.send(to, value, key)))
            except (kafka_errors.KafkaError, AssertionError) as error:
                raise LoadError(_cannot(number, to, bootstrap, value, error)) from error
            result.sent += 1
            result.bytes += len(value)
            result.per_topic[to] = result.per_topic.get(to, 0) + 1
            while waiting and (waiting[0][1].is_done or len(waiting) > UNANSWERED_MAX):
                _answer(*waiting.popleft(), bootstrap)
            if progress and result.sent % PROGRESS_EVERY == 0:
                progress(result.sent)
        # Not by flush(): in 3.0.12 it fails when a batch is divided because the broker found it too large.
        while waiting:
            _answer(*waiting.popleft(), bootstrap)
    finally:
        producer.close(timeout=5)
    result.seconds = clock() - began
    if progress:
        progress(result.sent)
    return result


def _answer(number: int, future: Any, bootstrap: str) -> None:
    """Wait for the broker's word on a line; LoadError where it is no."""
    try:
        future.get(timeout=ANSWER_SECONDS_MAX)
    except kafka_errors.KafkaError as error:
        raise LoadError(_cannot(number, "", bootstrap, b"", error)) from error


def _cannot(number: int, topic: str, bootstrap: str, value: bytes, error: Exception) -> str:
    if isinstance(error, kafka_errors.MessageSizeTooLargeError) and value:
        return f"line {number}: {len(value)} bytes, a Kafka record may have {RECORD_BYTES_MAX}; remove the line"
    where = f"topic {topic!r} of Kafka at {bootstrap}" if topic else f"Kafka at {bootstrap}"
    return f"line {number} cannot be sent to {where}: {error!r}"


def _connection(bootstrap: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "bootstrap_servers": [server.strip() for server in bootstrap.split(",")],
        "client_id": "coterie-load",
        "bootstrap_timeout_ms": int(CONNECT_SECONDS_MAX * 1000),
        **(options or {}),
    }


class _Timer:
    """Holds each event back until its time has come."""

    def __init__(self, pace: Pace, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.pace = pace
        self.clock = clock
        self.sleep = sleep
        self.began = clock()
        self.first_ms: int | None = None

    def wait(self, sent: int, ts: int | None) -> None:
        """Before event number `sent` (from 0) of event time `ts`."""
        if self.pace.rate is not None:
            due = sent / self.pace.rate
        elif self.pace.speed is not None and ts is not None:
            if self.first_ms is None:
                self.first_ms = ts
            due = (ts - self.first_ms) / 1000 / self.pace.speed
        else:
            return
        left = self.began + due - self.clock()
        if left >= NAP_SECONDS_MIN:
            self.sleep(left)
