"""A broker that hangs, ends and comes back: reads give nothing meanwhile, and go on without a gap."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
from kafka import KafkaProducer

from operators import kafka_outage
from operators.load_kafka import create_topics
from operators.read_kafka import KafkaHub, KafkaReader

WAIT_SECONDS_MAX = 120.0


def until(condition: Callable[[], bool]) -> None:
    """Come back when the condition holds; fail when it does not in WAIT_SECONDS_MAX."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.001)


class Broker:
    """A broker of this test's own, which it may stop and start."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process, self.bootstrap = servers.start_kafka(directory)

    def restart(self) -> None:
        """Come up again on the same port with the same topics."""
        port = int(self.bootstrap.rsplit(":", 1)[1])
        self.process, self.bootstrap = servers.start_kafka(self.directory, port=port)

    def send(self, value: bytes) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap)
        producer.send("t", value, partition=0).get(timeout=WAIT_SECONDS_MAX)
        producer.close()


@pytest.fixture
def broker(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Broker]:
    """Another broker than the one the other tests share."""
    try:
        own = Broker(tmp_path)
    except servers.Unavailable as error:  # COTERIE_TEST_KAFKA names a broker, which is not ours to stop
        pytest.skip(str(error))
    create_topics(own.bootstrap, ["t"], partitions=2)
    yield own
    own.process.send_signal(signal.SIGCONT)
    servers.stop(own.process)


def read_to(reader: KafkaReader, end: int) -> list[bytes]:
    """The values up to an offset."""
    values: list[bytes] = []

    def at_end() -> bool:
        batch = reader.read()
        if batch is not None:
            values.extend(batch.record(i) for i in range(len(batch)))
        return reader.position() >= end

    until(at_end)
    return values


def test_a_broker_that_hangs_or_goes_is_told_once_and_nothing_is_lost(broker: Broker, caplog) -> None:
    """One line in the log as it goes and one as it is back; records of before and after come once, in order."""
    caplog.set_level(logging.WARNING, logger=kafka_outage.__name__)

    def told(text: str) -> int:
        return sum(text in r.getMessage() for r in caplog.records if r.name == kafka_outage.__name__)

    hub = KafkaHub(broker.bootstrap)
    reader, _ = hub.reader("t", 0, None), hub.reader("t", 1, None)
    broker.send(b"before")
    assert read_to(reader, 1) == [b"before"]

    broker.process.send_signal(signal.SIGSTOP)
    polls = hub.polls
    until(
        lambda: reader.read() is None and hub.polls > polls + 200
    )  # were a poll to wait for the broker, this would not end
    broker.process.send_signal(signal.SIGCONT)
    broker.send(b"between")
    assert read_to(reader, 2) == [b"between"]

    servers.stop(broker.process)
    until(lambda: reader.read() is None and told("no connection to the leader") == 1)
    assert not reader.caught_up, "there may be more"
    broker.restart()
    until(lambda: reader.read() is None and told("in reach again") == 1)
    assert reader.caught_up
    broker.send(b"after")
    assert read_to(reader, 3) == [b"after"]
    assert told("no connection to the leader") == told("in reach again") == 1
    hub.close()
