"""The embedded Redis: real, empty, ours alone, and gone afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from flows.redis_server import RedisServerError, embedded_redis, server_binary

SECONDS_MAX = 120


def test_it_answers_on_loopback_and_is_gone_at_the_end() -> None:
    """Nothing is kept on disk, nothing is left running."""
    with embedded_redis() as url, redis.Redis.from_url(url) as client:
        client.set("key", "value")
        assert client.dbsize() == 1
        assert client.config_get("save")["save"] == ""
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        pid = int(client.info("server")["process_id"])
        folder = Path(client.config_get("dir")["dir"])
    assert not psutil.pid_exists(pid)
    assert not folder.exists()


def test_two_of_them_do_not_share_anything() -> None:
    """A demo beside a replay sees its own records only."""
    with embedded_redis() as one, embedded_redis() as other:
        with redis.Redis.from_url(one) as client:
            client.set("key", "value")
        with redis.Redis.from_url(other) as client:
            assert client.dbsize() == 0


def test_it_does_not_outlive_a_process_that_is_killed() -> None:
    """kill -9 leaves no server behind."""
    program = (
        "import redis, sys\n"
        "from flows.redis_server import embedded_redis\n"
        "with embedded_redis() as url:\n"
        "    print(redis.Redis.from_url(url).info('server')['process_id'], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    project = Path(__file__).resolve().parents[2]
    holder = subprocess.Popen(
        [sys.executable, "-c", program], cwd=project, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    server = psutil.Process(int(holder.stdout.readline()))
    holder.kill()
    holder.wait()
    _, alive = psutil.wait_procs([server], timeout=SECONDS_MAX)
    assert not alive
    holder.stdin.close()
    holder.stdout.close()


def test_without_any_server_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the wheel nor on the PATH."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RedisServerError, match="make setup"):
        server_binary()
