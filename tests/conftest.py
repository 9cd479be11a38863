"""Fixtures for every test: real servers on loopback, one of a kind per process, and the folder of real logs."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
from hypothesis import HealthCheck, settings

# No time decides a test: other tests run beside it, and a kernel may have to be compiled first.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
settings.register_profile(
    "ci", derandomize=True
)  # a change is taken in or not whatever the day; elsewhere all is tried
if os.environ.get("CI") == "true":
    settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, but for two of kafka-python's."""
    # As it is imported, on Python 3.11:
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")
    # It leaves sockets that never were connected to the garbage collector, which comes in the middle of another test:
    never_connected = r"unclosed <socket.socket .*laddr=\('0\.0\.0\.0'"
    config.addinivalue_line("filterwarnings", f"ignore:{never_connected}:ResourceWarning")
    warnings.filterwarnings("ignore", never_connected, ResourceWarning)  # also between the tests and after the last


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole commands come last: they take all kernels, and by then other tests have had them compiled."""
    whole = {"end_to_end", "test_backtest.py"}
    items.sort(key=lambda item: not whole.isdisjoint(item.path.parts))


def unavailable(reason: str) -> None:
    """Skip a test whose means are missing; where CI=true they must be there, so fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis of our own, empty at the start, gone at the end."""
    try:
        process, url = servers.start_redis(tmp_path_factory.mktemp("redis"))
    except servers.Unavailable as error:
        unavailable(str(error))
    yield url
    servers.stop(process)


_databases = itertools.cycle(range(1, servers.REDIS_DATABASES))


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty database for this test alone."""
    import redis

    url = f"{redis_server}/{next(_databases)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real Kafka broker: $COTERIE_TEST_KAFKA, else one of our own."""
    named = os.environ.get("COTERIE_TEST_KAFKA")
    if named:
        yield named
        return
    try:
        process, bootstrap = servers.start_kafka(tmp_path_factory.mktemp("kafka"))
    except servers.Unavailable as error:
        unavailable(str(error))
    yield bootstrap
    servers.stop(process)


@pytest.fixture
def kafka_topic(kafka_bootstrap: str) -> Iterator[Callable[..., str]]:
    """Make a topic: `kafka_topic(partitions=1, **settings)` gives its name; all go at the test's end."""
    import uuid

    from kafka import KafkaAdminClient

    made: list[str] = []
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)

    def make(partitions: int = 1, **settings: str) -> str:
        name = f"test-{uuid.uuid4().hex[:12]}"
        configs = {key.replace("_", "."): value for key, value in settings.items()}
        topic = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        admin.create_topics({name: topic}, wait_for_metadata=True)
        made.append(name)
        return name

    yield make
    if made:
        admin.delete_topics(made)
    admin.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real logs beside the project."""
    if not servers.SHARED_DATA.is_dir():
        unavailable(f"no folder of real logs at {servers.SHARED_DATA}")
    return servers.SHARED_DATA


@pytest.fixture(scope="session")
def data_file(shared_data: Path) -> Callable[[str], Path]:
    """Path of a file of real data: `data_file("rsc15_test.tsv.gz")`."""

    def find(name: str) -> Path:
        path = shared_data / name
        if not path.exists():
            unavailable(f"no {name} in {shared_data}")
        return path

    return find
