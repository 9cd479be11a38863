"""Bytewax's side of every step: sources, keyed steps and sinks around classes that know nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.alignment import Alignment, Pacer
from operators.reader import Reader
from state.batches import RawBatch
from state.flow_control import FlowControl
from state.input_parts import InputParts
from state.journal import Journal, Marker
from state.metrics import Metrics
from state.table import Table

log = structlog.get_logger(__name__)

_IDLE_LINGERS_MAX = 5
"""A part that has nothing for long looks less often: once in so many lingers."""

IDLE_SECONDS = 1.0
"""A part at its end for so long is idle; it says so as often, and a shorter pause of its reading does not count."""


class TableStep(Protocol):
    """A step of one shard, whose state is tables."""

    tables: dict[str, Table]

    def process(self, values: list[Any]) -> list[Any]: ...
    def finish(self) -> list[Any]: ...
    def restored(self) -> None: ...


@contextmanager
def told(step: str, shard: int | None = None) -> Iterator[None]:
    """Log an exception with its step before it leaves: in a cluster the engine loses what it said."""
    try:
        yield
    except StopIteration:
        raise
    except Exception as error:
        place = {} if shard is None else {"shard": shard}
        log.exception("step failed", step=step, error=str(error), **place)
        raise


class SnapshotClock:
    """How long an epoch's snapshots hold a process up: they come in a burst, which the next call of a step ends."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._burst_seconds = 0.0

    def add(self, seconds: float) -> None:
        """One table's snapshot took so long."""
        self._metrics.snapshot.of().observe_one(seconds)
        self._burst_seconds += seconds

    def end_burst(self) -> None:
        """Events flow again."""
        if self._burst_seconds:
            self._metrics.snapshot_stall.of().observe_one(self._burst_seconds)
            self._burst_seconds = 0.0


class _Idleness:
    """How long a part has been at its end for now, by a monotonic clock, and when that is to be told.

    Whether a part is at its end may be unknown: there is no room to read it, or its broker is out of reach. When that
    lasts, its idleness is over without a record, and what was told of it is to be taken back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._since: float | None = None
        self._seen = 0.0
        self._told: float | None = None

    def at_end(self) -> int:
        """It is at its end: for so many ms by now, if that is to be told; else 0."""
        now = self._seen = self._monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < IDLE_SECONDS or (self._told is not None and now - self._told < IDLE_SECONDS):
            return 0
        self._told = now
        return int((now - self._since) * 1000)

    def unknown(self) -> bool:
        """It may or may not be at its end. Is what was told to be taken back?"""
        if self._since is None or self._monotonic() - self._seen < IDLE_SECONDS:
            return False
        return self.over()

    def over(self) -> bool:
        """Records came. Was it told?"""
        was_told = self._told is not None
        self._since = self._told = None
        return was_told


class _Part(StatefulSourcePartition[RawBatch, Any]):
    """One reader. It never blocks: with little to read, or too much under way, it asks to be woken a little later, and
    it hands out no more than its pacer allows.

    Small batches cost as much as large ones, so after one that was not full all parts wait for the next multiple of the
    linger: by then there is more to read, and they wake together. Batches without records tell how far a part is that
    has none: once it has been at its end for IDLE_SECONDS, at most once in IDLE_SECONDS; when that is no longer known;
    and at its end for good. A part without a name tells nothing.
    """

    def __init__(
        self,
        name: str,
        reader: Reader,
        pacer: Pacer,
        control: FlowControl,
        linger_seconds: float,
        batch_records_max: int,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._name = name
        self._reader = reader
        self._pacer = pacer
        self._control = control
        self._linger = max(linger_seconds, 0.0005)
        self._full = batch_records_max // 2
        self._clock = clock
        self._waits = 0
        self._idleness = _Idleness(monotonic)
        self._ended = False
        self._awake: datetime | None = None

    def next_batch(self) -> Iterable[RawBatch]:
        self._awake = None
        if self._control.stopping or self._ended:
            raise StopIteration
        batch, held, caught_up = None, False, False
        if self._control.has_room():
            with told("read"):
                batch, held = self._read()
                self._ended = batch is None and not held and self._reader.exhausted
                caught_up = batch is None and not held and self._reader.caught_up
                if batch is None and not held:
                    self._pacer.has_none(self._ended or caught_up)
        if held and batch is None:
            return [self._news()] if self._idleness.over() else []
        if self._ended:
            if not self._name:
                raise StopIteration
            return [self._news(ended=True)]
        self._waits = 0 if batch is not None else min(self._waits + 1, _IDLE_LINGERS_MAX)
        if batch is None or (len(batch) < self._full and not held):
            wait = self._linger * max(self._waits, 1)
            self._awake = datetime.fromtimestamp((self._clock() // wait + 1) * wait, UTC)
        if batch is not None:
            self._idleness.over()
            self._control.read(len(batch))
            batch.part = self._name
            return [batch]
        if caught_up:
            idle_ms = self._idleness.at_end()
            return [self._news(idle_ms)] if idle_ms else []
        return [self._news()] if self._idleness.unknown() else []

    def _read(self) -> tuple[RawBatch | None, bool]:
        """The next records that may be handed out; were there more of them?"""
        batch = self._reader.peek()
        if batch is None:
            return None, False
        allowed = self._pacer.allow(batch)
        if allowed == 0:
            return None, True
        self._reader.advance(allowed)
        return batch.first(allowed), allowed < len(batch)

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> Any:
        return self._reader.position()

    def close(self) -> None:
        self._reader.close()

    def _news(self, idle_ms: int = 0, ended: bool = False) -> RawBatch:
        """A batch without records."""
        none = np.empty(0, np.int64)
        return RawBatch(np.empty(0, np.uint8), none, none, none, "", 0, self._clock(), self._name, idle_ms, ended)


class _Retired(Reader):
    """A part that a snapshot knows and that is no longer read, a topic left out say: it keeps its position."""

    exhausted = True
    caught_up = False

    def __init__(self, position: Any) -> None:
        self._position = position

    def peek(self) -> None:
        return None

    def advance(self, records: int) -> None:
        return

    def position(self) -> Any:
        return self._position

    def close(self) -> None:
        return


class Source(FixedPartitionedSource[RawBatch, Any]):
    """All parts of the input: `open_part(name, position)` gives the reader of a part.

    `known` are the parts that the state has a position of: the engine wants each of them listed, read or not. It asks
    for the list in every process, so `inputs` is told the parts that are read wherever they are read; `alignment` keeps
    them in step. `clock` gives epoch seconds, `monotonic` seconds that are not set back.
    """

    def __init__(
        self,
        parts: Callable[[], list[str]],
        open_part: Callable[[str, Any], Reader],
        control: FlowControl,
        linger_seconds: float,
        batch_records_max: int,
        known: frozenset[str] = frozenset(),
        inputs: InputParts | None = None,
        alignment: Alignment | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._listed: frozenset[str] = frozenset()
        self._parts = parts
        self._open = open_part
        self._control = control
        self._linger_seconds = linger_seconds
        self._batch_records_max = batch_records_max
        self._inputs = InputParts() if inputs is None else inputs
        self._alignment = Alignment() if alignment is None else alignment
        self._clock = clock
        self._monotonic = monotonic

    def list_parts(self) -> list[str]:
        with told("read"):
            self._listed = frozenset(self._parts())
        self._inputs.tell(self._listed)
        self._alignment.tell(sorted(self._listed))
        retired = sorted(self._known - self._listed)
        if retired:
            log.warning("parts of the state are no longer read; their positions are kept", step="read", parts=retired)
        return [*sorted(self._listed), *retired]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> _Part:
        with told("read"):
            retired = for_part not in self._listed
            reader: Reader = _Retired(resume_state) if retired else self._open(for_part, resume_state)
        return _Part(
            "" if retired else for_part,
            reader,
            self._alignment.of(for_part),
            self._control,
            self._linger_seconds,
            self._batch_records_max,
            self._clock,
            self._monotonic,
        )


def _nothing() -> None:
    """What a step without more to bring to the disk does before a snapshot."""


class TableLogic(StatefulBatchLogic[Any, Any, Any]):
    """A shard's step: made at the first batch that names the shard, snapshotted as a marker into its journal."""

    def __init__(self, host: TableHost, resume: tuple[int, Marker, bytes] | None) -> None:
        self._host = host
        self._step: TableStep | None = None
        self._journal: Journal | None = None
        self._shard = -1
        if resume is not None:
            shard, marker, extra = resume
            with told(host.name, shard):
                self._make(shard)
                assert self._journal is not None and self._step is not None
                self._journal.load(marker, self._step.tables)
                self._step.restored()
                if extra:
                    getattr(self._step, "restore_extra")(extra)  # noqa: B009 - only steps that give one take one

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        host = self._host
        host.snapshots.end_burst()
        with told(host.name, self._shard):
            if self._step is None:
                self._make(host.shard_of(values[0]))
                assert self._journal is not None
                self._journal.start_afresh()
            assert self._step is not None
            with host.metrics.step(host.name, sum(map(host.events_of, values))):
                return self._step.process([host.unwrap(v) for v in values]), False

    def on_eof(self) -> tuple[list[Any], bool]:
        with told(self._host.name, self._shard):
            return (self._step.finish() if self._step else []), False

    def snapshot(self) -> tuple[int, Marker, bytes]:
        assert self._journal is not None and self._step is not None
        start = time.perf_counter()
        with told(self._host.name, self._shard):
            getattr(self._step, "before_snapshot", _nothing)()
            marker = self._journal.save(self._step.tables)
            extra: bytes = getattr(self._step, "extra_state", bytes)()
        self._host.snapshots.add(time.perf_counter() - start)
        return self._shard, marker, extra

    def _make(self, shard: int) -> None:
        self._shard = shard
        self._step = self._host.make(shard)
        self._journal = self._host.journal(f"{self._host.name}-{shard:03d}")
        self._host.live[shard] = (self._step, self._journal)


class TableHost:
    """What all shards of one step have in common; `live` holds the steps and journals of this process by shard."""

    def __init__(
        self,
        name: str,
        make: Callable[[int], Any],
        shard_of: Callable[[Any], int],
        journal: Callable[[str], Journal],
        metrics: Metrics,
        snapshots: SnapshotClock,
        events_of: Callable[[Any], int],
    ) -> None:
        self.name = name
        self.make = make
        self.shard_of = shard_of
        self.journal = journal
        self.metrics = metrics
        self.snapshots = snapshots
        self.events_of = events_of
        self.live: dict[int, tuple[Any, Journal]] = {}

    def __call__(self, resume: Any) -> TableLogic:
        return TableLogic(self, resume)

    @staticmethod
    def unwrap(value: Any) -> Any:
        """A broadcast's content; anything else as it is."""
        return value.content if isinstance(value, Broadcast) else value


class Broadcast:
    """Something every user shard is told, addressed to one of them."""

    __slots__ = ("content", "shard")

    def __init__(self, shard: int, content: Any) -> None:
        self.shard = shard
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return Broadcast, (self.shard, self.content)


class BlobLogic(StatefulBatchLogic[Any, Any, Any]):
    """A single-key step whose small state goes through the engine's own recovery store as bytes."""

    def __init__(self, name: str, step: Any, metrics: Metrics, snapshots: SnapshotClock) -> None:
        self._name = name
        self._step = step
        self._metrics = metrics
        self._snapshots = snapshots

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        self._snapshots.end_burst()
        with told(self._name), self._metrics.step(self._name, len(values)):
            return self._step.process(values), False

    def on_eof(self) -> tuple[list[Any], bool]:
        with told(self._name):
            return self._step.finish(), False

    def snapshot(self) -> Any:
        start = time.perf_counter()
        with told(self._name):
            state: Any = self._step.snapshot()
        self._snapshots.add(time.perf_counter() - start)
        return state


class _SinkPart(StatelessSinkPartition[Any]):
    def __init__(
        self, name: str, write: Callable[[list[Any]], None], close: Callable[[], None], metrics: Metrics
    ) -> None:
        self._name = name
        self._write = write
        self._close = close
        self._metrics = metrics

    def write_batch(self, items: list[Any]) -> None:
        with told(self._name), self._metrics.step(self._name, len(items)):
            self._write(items)

    def close(self) -> None:
        self._close()


class Sink(DynamicSink[Any]):
    """A sink around `write(items)` and `close()`; one per worker."""

    def __init__(
        self, name: str, write: Callable[[list[Any]], None], close: Callable[[], None], metrics: Metrics
    ) -> None:
        self._make: Callable[[], _SinkPart] = lambda: _SinkPart(name, write, close, metrics)

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _SinkPart:
        return self._make()


def logged(name: str, mapper: Callable[[list[Any]], list[Any]]) -> Callable[[list[Any]], list[Any]]:
    """A stateless step that says in the log where an exception came from before the engine ends the process."""

    def run(items: list[Any]) -> list[Any]:
        with told(name):
            return mapper(items)

    return run
