"""A worker that a test can start, stop and kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from running import WAIT_SECONDS_MAX, Worker


@pytest.fixture
def worker(tmp_path: Path, redis_url: str, kafka_bootstrap: str) -> Iterator[Callable[..., Worker]]:
    """Make a worker on topics: `worker(topics, processes=1, **worker_settings)`."""
    made: list[Worker] = []

    def make(topics: list[str], processes: int = 1, snapshot_seconds: float = 0.3, **settings: object) -> Worker:
        lines = "\n".join(f"{name} = {orjson.dumps(value).decode()}" for name, value in settings.items())
        folder = tmp_path / f"worker-{len(made)}"
        folder.mkdir()
        text = f"""
[redis]
url = "{redis_url}"
[kafka]
bootstrap = "{kafka_bootstrap}"
clicks = {orjson.dumps(topics).decode()}
purchases = []
controls = []
[state]
directory = "{folder / "state"}"
snapshot_seconds = {snapshot_seconds}
[metrics]
port = 0
[worker]
{lines}
"""
        made.append(Worker(folder, text, processes))
        return made[-1]

    yield make
    for one in made:
        for process in one.started:
            if process.poll() is None:
                process.kill()
                process.wait(WAIT_SECONDS_MAX)
