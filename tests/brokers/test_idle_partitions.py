"""When a partition says that it is idle: at its end, known to be, and free to read on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clocks import Clock
from kafka import KafkaProducer

from flows.engine import Source
from operators.read_kafka import KafkaHub
from state.batches import RawBatch
from state.flow_control import FlowControl

WAIT_SECONDS_MAX = 120.0


class Partition:
    """A partition as the engine reads it, on a clock of its own; its reader is looked at for what the broker told."""

    def __init__(self, hub: KafkaHub, topic: str, in_flight_max: int = 1000, position: int | None = None) -> None:
        self.name = f"{topic}/0"
        self.topic = topic
        self.bootstrap = hub.bootstrap
        self.control = FlowControl(in_flight_max)
        self.clock = Clock()
        self.reader = hub.reader(topic, 0, position)
        source = Source(lambda: [self.name], lambda *_: self.reader, self.control, 0.02, 4096, monotonic=self.clock)
        source.list_parts()
        self.part: Any = source.build_part("read", self.name, None)

    def send(self, value: bytes) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap)
        producer.send(self.topic, value, partition=0).get(timeout=WAIT_SECONDS_MAX)
        producer.close()

    def turn(self, seconds: float = 0.0) -> list[RawBatch]:
        """So much later, what the part hands out; it is never to be called again at once."""
        self.clock.now += seconds
        batches = list(self.part.next_batch())
        assert self.part.next_awake() is not None
        assert all(batch.part == self.name for batch in batches)
        return batches

    def wait(self, seconds: float = 0.0) -> list[RawBatch]:
        """The same where it is at its end: an answer of the broker that has just come is looked at first."""
        batches = self.turn(seconds)
        return batches if self.reader.caught_up else batches + self.read_to(0)

    def read_to(self, offset: int) -> list[RawBatch]:
        """What it hands out until the broker has told that there is no more; its clock stands still."""
        batches: list[RawBatch] = []
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while self.reader.position() < offset or not self.reader.caught_up:
            assert time.monotonic() < deadline, "waited too long"
            batches += self.turn()
            time.sleep(0.001)
        return batches


@pytest.fixture
def partition(kafka_bootstrap: str, kafka_topic: Callable[..., str]) -> Iterator[Callable[..., Partition]]:
    """Make partitions of new topics, closed at the test's end."""
    hubs: list[KafkaHub] = []

    def make(whole_batches: bool = True, **settings: Any) -> Partition:
        hubs.append(KafkaHub(kafka_bootstrap, whole_batches))
        return Partition(hubs[-1], kafka_topic(), **settings)

    yield make
    for hub in hubs:
        hub.close()


BOTH_PATHS = pytest.mark.parametrize("whole_batches", [True, False], ids=["whole_batches", "single_records"])


def idle(batches: list[RawBatch]) -> list[int]:
    """For how many ms it has been idle, of batches that say so."""
    assert not any(len(batch) or batch.ended for batch in batches)
    return [batch.idle_ms for batch in batches]


@BOTH_PATHS
def test_a_partition_at_its_end_says_so_after_a_second_and_then_once_a_second(whole_batches, partition) -> None:
    """With how long it has been there; until a record comes. Nothing of it counts as read."""
    p = partition(whole_batches)
    p.send(b"first")
    assert [len(batch) for batch in p.read_to(1)] == [1]
    p.wait()
    assert [idle(p.wait(0.25)) for _ in range(10)] == [[], [], [], [1000], [], [], [], [2000], [], []]
    assert p.control.in_flight() == 1
    assert p.part.snapshot() == 1
    p.send(b"second")
    assert [(len(batch), batch.idle_ms) for batch in p.read_to(2)] == [(1, 0)]
    p.wait()
    assert [idle(p.wait(0.5)) for _ in range(3)] == [[], [1000], []]


@BOTH_PATHS
def test_an_empty_partition_is_idle_once_the_broker_has_told(whole_batches, partition) -> None:
    """Before the first answer nobody knows what it has, however long that takes."""
    p = partition(whole_batches)
    assert not p.reader.caught_up
    assert p.turn() == p.turn(3600.0) == []
    assert p.read_to(0) == []
    p.wait()
    assert idle(p.wait(1.5)) == [1500]


def test_a_partition_that_begins_at_its_end_is_idle(kafka_topic, kafka_bootstrap) -> None:
    """A resume with nothing new."""
    hub = KafkaHub(kafka_bootstrap)
    topic = kafka_topic()
    p = Partition(hub, topic)
    p.send(b"read before")
    p.read_to(1)
    p.part.close()
    again = Partition(hub, topic, position=1)
    assert again.read_to(1) == []
    again.wait()
    assert idle(again.wait(1.0)) == [1000]
    hub.close()


def test_a_partition_without_room_is_not_idle(partition) -> None:
    """While events wait to be written nothing can be said: what was said is taken back once, and time begins anew."""
    p = partition(in_flight_max=10)
    p.read_to(0)
    p.wait()
    assert idle(p.wait(1.0)) == [1000]
    p.control.read(10)
    assert idle(p.turn(0.5)) == []
    assert idle(p.turn(0.5)) == [0]
    assert idle(p.turn(3600.0)) == []
    p.control.done(10)
    assert idle(p.wait()) == []
    assert [idle(p.wait(0.5)) for _ in range(2)] == [[], [1000]]


def test_a_moment_without_room_does_not_end_idleness(partition) -> None:
    """Else an empty partition would hold everything back for as long as others are busy."""
    p = partition(in_flight_max=10)
    p.read_to(0)
    p.wait()
    for _ in range(6):
        assert idle(p.wait(0.125)) == []
    p.control.read(10)
    assert idle(p.turn(0.5)) == [], "no word without having looked"
    p.control.done(10)
    assert idle(p.wait(0.25)) == [1500]
