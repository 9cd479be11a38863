"""A Redis that dies, fills up, or stays away: the worker waits, and loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import redis
import servers
from record_helpers import records

from operators import write_redis
from operators.write_redis import RedisSettings, RedisStopped, RedisWriter
from state.flow_control import FlowControl
from state.metrics import Metrics, read_samples
from state.names import Names
from state.redis_keys import Keys

DEADLINE_SECONDS = 60.0


class Server:
    """A Redis of the test's own on one port, that keeps what it has answered for on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (self.port,) = servers.free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "always"]
        with (self.directory / "redis.log").open("ab") as output:
            self.process = subprocess.Popen([servers.redis_binary(), *words], stdout=output, stderr=output)
        wait_for(self.answers)

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process
        self.process.kill()
        self.process.wait()


def wait_for(true: Callable[[], bool]) -> None:
    """Until something is so; an error when it does not come."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def server(redis_server: str, tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path)  # beside the shared one, which has made sure that there is a Redis at all
    one.start()
    yield one
    one.kill()


class Sink:
    """A writer in a thread of its own."""

    def __init__(self, url: str) -> None:
        self.metrics, self.control = Metrics(), FlowControl(10**6)
        settings = RedisSettings(url, timeout_seconds=2.0, backoff_seconds_max=0.02)
        self.writer = RedisWriter(settings, Keys(), self.metrics, self.control, Names(), "mine", (1, 1))
        self._thread = ThreadPoolExecutor(1)

    def retries(self) -> float:
        return sum(read_samples(self.metrics.redis_retries).values())

    def start(self, batches: int) -> Future[None]:
        """Write so many batches of ten shoppers, version after version."""
        self.control.read(10 * batches)

        def write() -> None:
            for n in range(batches):
                self.writer.write([records({f"u{k}": n + 1 for k in range(10)}, done={0: 10})])

        return self._thread.submit(write)


@pytest.fixture
def sink(server: Server) -> Iterator[Sink]:
    one = Sink(server.url)
    yield one
    one._thread.shutdown()
    if server.answers():
        one.writer.close()


def found(server: Server) -> list[int]:
    with redis.Redis.from_url(server.url) as client:
        return [int(client.hget(f"coterie:user:u{k}", "version") or 0) for k in range(10)]


def test_everything_arrives_though_redis_is_killed_in_between(server: Server, sink: Sink) -> None:
    """Killed and started again twice under way: each event is answered for once, every record is the newest."""
    batches = 600
    writing = sink.start(batches)
    for left in (8 * batches, 3 * batches):
        wait_for(lambda left=left: sink.control.in_flight() < left or writing.done())
        server.kill()
        before = sink.retries()
        wait_for(lambda before=before: sink.retries() > before or writing.done())
        server.start()
    writing.result(DEADLINE_SECONDS)
    assert sink.retries() > 0
    assert found(server) == [batches] * 10
    assert sink.control.in_flight() == 0


def test_a_full_redis_is_waited_for(server: Server, sink: Sink) -> None:
    """Out of memory is no end: when there is room again the write goes through, and nothing is answered for before."""
    sink.start(1).result(DEADLINE_SECONDS)
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxmemory-policy", "noeviction")
        admin.config_set("maxmemory", 1)
        writing = sink.start(3)
        wait_for(lambda: sink.retries() > 3)
        assert not writing.done() and sink.control.in_flight() == 30 and found(server) == [1] * 10
        admin.config_set("maxmemory", 0)
    writing.result(DEADLINE_SECONDS)
    assert found(server) == [3] * 10 and sink.control.in_flight() == 0


def test_a_read_only_redis_is_waited_for(server: Server, sink: Sink) -> None:
    """A replica refuses writes until it is promoted: as during a failover."""
    sink.start(1).result(DEADLINE_SECONDS)
    with redis.Redis.from_url(server.url) as admin:
        admin.replicaof("127.0.0.1", servers.free_ports(1)[0])
        writing = sink.start(2)
        wait_for(lambda: sink.retries() > 2)
        assert not writing.done()
        admin.replicaof("NO", "ONE")
    writing.result(DEADLINE_SECONDS)
    assert found(server) == [2] * 10


def test_a_redis_that_cannot_save_is_waited_for(server: Server, sink: Sink) -> None:
    """MISCONF: with its disk gone Redis refuses writes until that is mended; none is left out meanwhile."""
    sink.start(1).result(DEADLINE_SECONDS)
    with redis.Redis.from_url(server.url) as admin:
        shutil.rmtree(server.directory)
        admin.config_set("save", "900 1")
        admin.config_set("stop-writes-on-bgsave-error", "yes")
        with suppress(redis.ResponseError):
            admin.bgsave()
        wait_for(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
        writing = sink.start(2)
        wait_for(lambda: sink.retries() > 3 or writing.done())
        assert not writing.done() and found(server) == [1] * 10
        admin.config_set("stop-writes-on-bgsave-error", "no")
    writing.result(DEADLINE_SECONDS)
    assert found(server) == [2] * 10


def test_a_worker_that_is_to_stop_gives_up(server: Server, sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop while Redis is away: an error, and no event is answered for, so that they are read again."""
    sink.start(1).result(DEADLINE_SECONDS)
    monkeypatch.setattr(write_redis, "_GIVE_UP_SECONDS", 0.05)
    server.kill()
    writing = sink.start(1)
    wait_for(lambda: sink.retries() > 3)
    assert not writing.done(), "without the wish to stop it waits"
    sink.control.stopping = True
    with pytest.raises(RedisStopped, match="did not answer"):
        writing.result(DEADLINE_SECONDS)
    assert sink.control.in_flight() == 10


def test_a_worker_may_start_before_redis(server: Server, sink: Sink) -> None:
    """The first question waits too."""
    server.kill()
    writing = sink.start(2)
    wait_for(lambda: sink.retries() > 1)
    server.start()
    writing.result(DEADLINE_SECONDS)
    assert found(server) == [2] * 10
