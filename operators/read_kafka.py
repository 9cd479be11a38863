"""Kafka as a source: one consumer per process, a reader per partition, whole record batches at a time.

Where the library's place for whole batches (`operators.kafka_batches`) is gone or gives other records than its own
reader, the records are taken from `poll()` one by one, ten times slower and just as right.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from operators.kafka_batches import (
    CHUNK_BYTES_MAX,
    RECORDS_MAX,
    Chunk,
    Item,
    batch_records_class,
    check_seam,
    codec_hint,
    join_values,
)
from operators.kafka_outage import Outage
from operators.reader import Reader
from state.batches import RawBatch

log = logging.getLogger(__name__)

FETCH_BYTES_MAX = 16 << 20
PARTITION_FETCH_BYTES_MAX = 2 << 20
FETCH_WAIT_MS_MAX = 500
CONNECT_SECONDS_MAX = 15.0
LOOKUP_SECONDS_MAX = 10.0
POLL_CHUNKS_MAX = 4
"""How many chunks one poll may unpack, over all partitions."""
QUEUE_CHUNKS_MAX = 2
"""No more is fetched while a reader leaves so many chunks waiting."""
REQUEST_SECONDS_MAX = 10.0
"""A broker that leaves a request unanswered for so long is taken for gone; the connection is made anew."""
STARTS = ("earliest", "latest")
ISOLATIONS = ("read_committed", "read_uncommitted")


class KafkaReadError(Exception):
    """Kafka cannot be read; the text says where, what was found and what to do."""


def connect(kind: Any, **settings: Any) -> Any:
    """Make one of kafka-python's clients; where that fails, end the thread that it has started."""
    started: list[Any] = []

    def network(**config: Any) -> Any:
        started.append(kind.DEFAULT_CONFIG["kafka_client"](**config))
        return started[0]

    try:
        return kind(**{"kafka_client": network, **settings})
    except BaseException:
        for client in started:
            client.close()
        raise


class KafkaHub:
    """One consumer for all the parts of a process: no group, no commits, read where it is told to.

    The consumer is made when it is first needed. `start` is where a part without a position begins; `isolation` decides
    whether records of open and aborted transactions are seen; `options` are further settings of kafka-python's
    KafkaConsumer (security_protocol, ssl_cafile, sasl_mechanism ...). Bounds: a fetch of `fetch_bytes_max` (and
    `partition_fetch_bytes_max` of one partition, except that a single larger record batch is always fetched whole), and
    QUEUE_CHUNKS_MAX + POLL_CHUNKS_MAX chunks waiting for a reader. To be used from one thread.
    """

    def __init__(
        self,
        bootstrap: str,
        whole_batches: bool = True,
        *,
        start: str = "earliest",
        isolation: str = "read_committed",
        records_max: int = RECORDS_MAX,
        chunk_bytes_max: int = CHUNK_BYTES_MAX,
        fetch_bytes_max: int = FETCH_BYTES_MAX,
        partition_fetch_bytes_max: int = PARTITION_FETCH_BYTES_MAX,
        connect_seconds_max: float = CONNECT_SECONDS_MAX,
        options: Mapping[str, Any] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if start not in STARTS:
            raise ValueError(f"kafka start: {start!r} is none of {', '.join(STARTS)}")
        if isolation not in ISOLATIONS:
            raise ValueError(f"kafka isolation: {isolation!r} is none of {', '.join(ISOLATIONS)}")
        self.bootstrap = bootstrap
        self.whole_batches = whole_batches
        self.start = start
        self.isolation = isolation
        self.records_max = records_max
        self.chunk_bytes_max = chunk_bytes_max
        self.fetch_bytes_max = fetch_bytes_max
        self.partition_fetch_bytes_max = partition_fetch_bytes_max
        self.connect_seconds_max = connect_seconds_max
        self.options = dict(options or {})
        self.polls = 0
        self._consumer: Any = None
        self._readers: dict[TopicPartition, KafkaReader] = {}
        self.failure: KafkaReadError | None = None
        self._monotonic = monotonic
        self._outage = Outage(bootstrap, monotonic)

    def partitions(self, topics: Iterable[str]) -> list[tuple[str, int]]:
        """All (topic, partition) of the topics, in order.

        Raises KafkaReadError for a topic that is not there, and when no broker answers.
        """
        consumer = self._connected()
        found: list[tuple[str, int]] = []
        for topic in topics:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                there = sorted(consumer.topics())
                near = difflib.get_close_matches(topic, there, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"topics there: {', '.join(there[:20]) or 'none'}."
                text = f"Kafka at {self.bootstrap} has no topic {topic!r}; {hint} Create it, or set other topics."
                raise KafkaReadError(text)
            found += [(topic, number) for number in sorted(numbers)]
        return found

    def reader(
        self, topic: str, partition: int, position: int | None, clock: Callable[[], float] = time.time
    ) -> KafkaReader:
        """Begin to read a partition at an offset (None: at `start`); `clock` gives epoch seconds.

        Raises KafkaReadError when the broker does not answer, ValueError when the partition has a reader already.
        """
        tp = TopicPartition(topic, partition)
        if tp in self._readers:
            raise ValueError(f"{topic}[{partition}] is being read already")
        consumer = self._connected()
        if position is None:
            lookup = consumer.beginning_offsets if self.start == "earliest" else consumer.end_offsets
            try:
                position = int(lookup([tp], timeout_ms=LOOKUP_SECONDS_MAX * 1000)[tp])
            except kafka_errors.KafkaError as error:
                text = f"Kafka at {self.bootstrap} does not tell where {topic}[{partition}] begins: {error!r}"
                raise KafkaReadError(text) from error
        reader = KafkaReader(self, topic, partition, position, clock)
        self._readers[tp] = reader
        self._assign(list(self._readers))
        return reader

    def poll(self) -> None:
        """Hand what has been fetched to the readers' queues, and have more fetched; does not wait.

        Raises KafkaReadError when reading on is impossible.
        """
        if self.failure:
            raise self.failure
        self.polls += 1
        if any(len(reader._queue) >= QUEUE_CHUNKS_MAX and not reader._is_held for reader in self._readers.values()):
            return
        consumer = self._connected()
        self._fetch_for_those_who_read()
        limit = POLL_CHUNKS_MAX if self.whole_batches else self.records_max
        try:
            polled = consumer.poll(timeout_ms=0, max_records=limit)
        except kafka_errors.OffsetOutOfRangeError as error:
            self._restart_at_earliest(dict(error.args[0]))
            return
        except kafka_errors.LogTruncationError as error:
            self._restart_where_logs_part(error.divergent_offsets)
            return
        except kafka_errors.RetriableError:
            polled = {}
        except Exception as error:
            # kafka-python would spin on the records that it cannot unpack: do not poll it again.
            text = f"Kafka at {self.bootstrap} cannot be read: {error!r}{codec_hint(error)}"
            self.failure = KafkaReadError(text)
            raise self.failure from error
        self._outage.look(consumer, self._readers)
        for tp, items in polled.items():
            reader = self._readers.get(tp)
            if reader is None:
                continue
            reader._take(self._chunks(items))

    def _fetch_for_those_who_read(self) -> None:
        """Have no more fetched for readers that are held back and have enough; what came in the meantime is dropped,
        and fetched again when they need it.

        Not by the consumer's own pause(): in 3.0.12 what was fetched for a paused partition can stay parked for ever.
        """
        assigned = self._consumer.assignment()
        fed = [
            tp
            for tp, reader in self._readers.items()
            if not reader._is_held or len(reader._queue) < (QUEUE_CHUNKS_MAX if tp in assigned else 1)
        ]
        if fed and set(fed) != assigned:
            self._assign(fed)

    def _assign(self, fed: list[TopicPartition]) -> None:
        """Have these partitions fetched and no others, each from where its reader's records end."""
        assigned = self._consumer.assignment()
        self._consumer.assign(fed)
        for tp in fed:
            if tp not in assigned:
                self._consumer.seek(tp, self._readers[tp]._fetch_from)

    def close(self) -> None:
        """Close the connection; the readers with it."""
        self._readers.clear()
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=1000)
            self._consumer = None

    def _chunks(self, items: list[Any]) -> Iterator[Chunk]:
        """Chunks of what poll() gave for one partition: ours as they are, the library's records joined."""
        if isinstance(items[0], Item):
            for item in items:
                yield item.chunk
        else:
            yield join_values([r.value for r in items], [r.offset for r in items], items[-1].offset + 1)

    def _fetched_to(self, tp: TopicPartition) -> int | None:
        """Where the consumer will read on; past control records and compacted ones, which no reader sees."""
        if self._consumer is None:
            return None
        state = self._consumer._subscription.assignment.get(tp)
        position = state.position if state else None
        return None if position is None else int(position.offset)

    def _highwater(self, tp: TopicPartition) -> int | None:
        state = None if self._consumer is None else self._consumer._subscription.assignment.get(tp)
        return None if state is None else state.highwater

    def _has_more(self, tp: TopicPartition) -> bool:
        """May the partition have more than what its reader has got: fetched and not yet unpacked, or out of reach?"""
        if self._consumer is None or tp in self._outage.away:
            return True
        return any(fetched.topic_partition == tp for fetched in self._consumer._fetcher._completed_fetches.copy())

    def _leave(self, tp: TopicPartition) -> None:
        if self._readers.pop(tp, None) is None:
            return
        if self._readers:
            self._assign(list(self._readers))
        else:
            self.close()

    def _connected(self) -> Any:
        if self._consumer is None:
            self._consumer = self._connect()
        return self._consumer

    def _connect(self) -> Any:
        settings: dict[str, Any] = {
            "bootstrap_servers": [server.strip() for server in self.bootstrap.split(",")],
            "client_id": "coterie",
            "group_id": None,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "allow_auto_create_topics": False,
            "isolation_level": self.isolation,
            "fetch_max_wait_ms": FETCH_WAIT_MS_MAX,
            "fetch_max_bytes": self.fetch_bytes_max,
            "max_partition_fetch_bytes": self.partition_fetch_bytes_max,
            "bootstrap_timeout_ms": int(self.connect_seconds_max * 1000),
            "request_timeout_ms": int(REQUEST_SECONDS_MAX * 1000),
            "reconnect_backoff_max_ms": 1000,
            "metrics_enabled": False,
            **self.options,
        }
        try:
            consumer = connect(KafkaConsumer, **settings)
        except kafka_errors.KafkaConfigurationError as error:
            raise KafkaReadError(f"kafka options: {error}") from error
        except (kafka_errors.KafkaError, OSError) as error:
            raise KafkaReadError(
                f"no Kafka broker answers at {self.bootstrap} ({error!r}) after {self.connect_seconds_max:g} s; "
                "is it running, and are address and security settings right?"
            ) from error
        if self.whole_batches:
            try:
                base = consumer._fetcher.PartitionRecords
                check_seam(base)
                consumer._fetcher.PartitionRecords = batch_records_class(base, self.records_max, self.chunk_bytes_max)
            except Exception as error:
                self.whole_batches = False
                log.warning(
                    "this kafka-python gives no whole record batches (%r): reading single records, slower", error
                )
        # Its own lines repeat several times a second while a broker is away; the outage is told of once, here.
        library_log = logging.getLogger("kafka")
        if library_log.level == logging.NOTSET:
            library_log.setLevel(logging.CRITICAL)
        self._outage = Outage(self.bootstrap, self._monotonic)
        return consumer

    def _restart_at_earliest(self, lost_at: dict[TopicPartition, int]) -> None:
        """Positions outside what the broker holds: say what was lost and go on at its first record."""
        for tp, position in lost_at.items():
            try:
                first = int(self._consumer.beginning_offsets([tp], timeout_ms=LOOKUP_SECONDS_MAX * 1000)[tp])
                end = int(self._consumer.end_offsets([tp], timeout_ms=LOOKUP_SECONDS_MAX * 1000)[tp])
            except kafka_errors.RetriableError:
                continue  # the next poll finds it out of range again
            if position < first:
                lost = f"{first - position} records were deleted before they were read"
            else:
                lost = "the log is shorter than when it was read: the topic was made anew, or a broker lost records"
            log.error(
                "%s[%d]: offset %d is outside the retained range %d to %d; %s. Reading on at %d.",
                tp.topic, tp.partition, position, first, end, lost, first,
            )  # fmt: skip
            self._move(tp, first)

    def _restart_where_logs_part(self, divergent: Mapping[TopicPartition, Any]) -> None:
        """A new leader lacks records that we have read: go on where its log parts from ours."""
        for tp, found in divergent.items():
            if found is None:
                self._restart_at_earliest({tp: self._fetched_to(tp) or 0})
                continue
            log.error(
                "%s[%d]: the leader's log was cut at offset %d; %d records that were read are gone. Reading on there.",
                tp.topic, tp.partition, found.offset, (self._fetched_to(tp) or found.offset) - found.offset,
            )  # fmt: skip
            self._move(tp, int(found.offset))

    def _move(self, tp: TopicPartition, offset: int) -> None:
        reader = self._readers.get(tp)
        if reader is not None:
            reader._moved(offset)
        if tp in self._consumer.assignment():  # else it is looked up when it is fetched again
            self._consumer.seek(tp, offset)


class KafkaReader(Reader):
    """One partition of a topic, read through its hub. A live source: it never ends."""

    exhausted = False

    def __init__(self, hub: KafkaHub, topic: str, partition: int, position: int, clock: Callable[[], float]) -> None:
        self.topic = topic
        self.partition = partition
        self._hub = hub
        self._tp = TopicPartition(topic, partition)
        self._clock = clock
        self._position = position
        self._moved_to: int | None = None
        self._queue: deque[tuple[Chunk, float]] = deque()
        self._polls_seen = 0
        self._is_held = False
        """Were records looked at and not moved past?"""
        self._highwater: int | None = None

    def peek(self) -> RawBatch | None:
        """The next records, at most `records_max` of them, without moving on, or None when none are here yet.

        A null value is an empty span. Raises KafkaReadError where records cannot be read: a checksum that fails, a
        compression whose library is missing.
        """
        if not self._queue:
            # One poll serves all readers: only who has seen the last one go by asks for another.
            if self._polls_seen < self._hub.polls and self._hub.failure is None:
                self._polls_seen = self._hub.polls
            else:
                self._hub.poll()
                self._polls_seen = self._hub.polls
            if not self._queue:
                self.position()  # past what is handed to nobody, such as control records
                return None
        chunk, read_at = self._queue[0]
        if chunk.error:
            where = f"{self.topic}[{self.partition}]"
            raise KafkaReadError(f"{where}: records from offset {chunk.next_offset} on cannot be read: {chunk.error}")
        n = min(len(chunk.starts), self._hub.records_max)
        if n == 0:
            self.advance(0)
            return None
        self._is_held = True
        starts, ends, offsets = chunk.starts[:n], chunk.ends[:n], chunk.offsets[:n]
        return RawBatch(chunk.buffer, starts, ends, offsets, self.topic, self.partition, read_at)

    def advance(self, records: int) -> None:
        """Move on past so many of the records that `peek` gave."""
        self._is_held = False
        chunk, read_at = self._queue.popleft()
        if records < len(chunk.starts):
            n = records
            rest = Chunk(chunk.buffer, chunk.starts[n:], chunk.ends[n:], chunk.offsets[n:], chunk.next_offset)
            self._queue.appendleft((rest, read_at))
            self._position = int(rest.offsets[0])
        else:
            self._position = chunk.next_offset

    def position(self) -> int:
        """Offset of the next record after everything that was handed out: where to resume."""
        if not self._queue:
            fetched_to = self._hub._fetched_to(self._tp)
            if fetched_to is not None and fetched_to > self._position:
                self._position = fetched_to
        return self._position

    def lag(self) -> int | None:
        """Records not yet handed out; None before the broker has told. Any thread may ask: it only looks."""
        highwater = self._hub._highwater(self._tp)
        self._highwater = highwater = self._highwater if highwater is None else highwater
        return None if highwater is None else max(highwater - self._position, 0)

    @property
    def caught_up(self) -> bool:
        """Was everything handed out, by what the leader told last? It tells at least every FETCH_WAIT_MS_MAX.

        So after a pause it may be long true when it no longer is. Where the leader has gone without closing the
        connection, it stays true for REQUEST_SECONDS_MAX at most.
        """
        return not self._queue and self.lag() == 0 and not self._hub._has_more(self._tp)

    def close(self) -> None:
        """Stop reading; the last reader closes the connection."""
        self._queue.clear()
        self._hub._leave(self._tp)

    def _take(self, chunks: Iterable[Chunk]) -> None:
        read_at = self._clock()
        for chunk in chunks:
            self._queue.append((chunk, read_at))

    @property
    def _fetch_from(self) -> int:
        """The offset behind all that was fetched for it."""
        return self._queue[-1][0].next_offset if self._queue else self._position

    def _moved(self, offset: int) -> None:
        self._queue.clear()
        self._position = offset
