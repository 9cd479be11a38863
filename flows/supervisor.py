"""Runs the worker processes as one unit: they start, stop and, when one dies, start again together."""

from __future__ import annotations

import fcntl
import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import orjson
import structlog

from flows.children import dying_with_parent, free_ports
from flows.settings import ConfigurationError, Settings
from state.flow_control import FlowControl
from state.frontiers import Frontiers

LINES_KEPT = 200
"""Last lines of a worker's output, in which the reason of its end is looked for."""

LINE_BYTES_MAX = 65_536
CONFIGURATION_EXIT = 2
"""With this exit code a worker says that to start it again would not help."""

_STEP = re.compile(r"""\bstep\b["']?\s*[=:]""")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Launch:
    """What a worker process is told in the file of `--settings-json`.

    `addresses` are the cluster's, HOST:PORT by process number (none for a single process); `flow_control` and
    `frontiers` the shared files of `state.flow_control` and `state.frontiers`, already made; `attempt` counts the
    starts of the cluster, from 0.
    """

    settings: Settings
    addresses: tuple[str, ...]
    flow_control: Path
    frontiers: Path
    attempt: int

    def write(self, path: Path) -> None:
        """Write the file, for this user only: addresses can hold passwords."""
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(
                orjson.dumps(
                    {
                        "settings": self.settings.model_dump(mode="json"),
                        "addresses": self.addresses,
                        "flow_control": str(self.flow_control),
                        "frontiers": str(self.frontiers),
                        "attempt": self.attempt,
                    }
                )
            )

    @staticmethod
    def read(path: Path) -> Launch:
        """Read what the supervisor wrote; the environment is not looked at again."""
        told = orjson.loads(path.read_bytes())
        return Launch(
            Settings(**told["settings"]),
            tuple(told["addresses"]),
            Path(told["flow_control"]),
            Path(told["frontiers"]),
            told["attempt"],
        )


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a start: doubling with each failure, back to the first after a healthy time."""

    first_seconds: float = 1.0
    seconds_max: float = 60.0
    healthy_seconds: float = 300.0

    def delay_seconds(self, failures: int) -> float:
        """The wait after so many failures in a row (1 or more)."""
        return float(min(self.first_seconds * 2.0 ** min(failures - 1, 60), self.seconds_max))


Command = Callable[[int, Path], Sequence[str]]
"""Arguments of a worker process, from its number and the path of its launch file."""


def worker_command(process: int, launch: Path) -> Sequence[str]:
    """The worker itself. `-P`: a file in the current directory must not stand in for a library."""
    return [sys.executable, "-P", "-m", "flows.worker", "--process", str(process), "--settings-json", str(launch)]


@dataclass(frozen=True, slots=True)
class _Stop:
    """SIGTERM or SIGINT came."""


@dataclass(frozen=True, slots=True)
class _Exit:
    process: int
    attempt: int
    code: int


_Events = queue.SimpleQueue[_Stop | _Exit]  # a signal handler may put into it at any moment


@dataclass(slots=True)
class _Worker:
    process: int
    child: subprocess.Popen[bytes]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))


def run_cluster(
    settings: Settings,
    processes: int,
    *,
    command: Command = worker_command,
    restarts_max: int | None = None,
    backoff: Backoff = Backoff(),
    peers_seconds_max: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
) -> int:
    """Run `processes` workers to their end; the exit code for the command line. Call it from the main thread.

    0: all ended by themselves without an error, or on SIGTERM or SIGINT within `worker.stop_seconds_max`.
    1: a worker died and `restarts_max` starts over (None: without end) were used up, or one had to be killed to stop.
    2: a worker said that its configuration cannot be used; it has told why on standard error.

    When a worker dies the others get SIGTERM and, after `peers_seconds_max`, SIGKILL; all start again after `backoff`.
    The state directory is held by a lock; raises ConfigurationError when another cluster holds it.
    """
    log = structlog.get_logger("supervisor")
    rng = rng or random.Random()
    events: _Events = queue.SimpleQueue()
    with _holding(settings.state.directory) as run_directory, _signals_to(events):
        failures = 0
        attempt = 0
        while True:
            begun = clock()
            cluster = _Cluster(settings, processes, command, attempt, run_directory, rng, events)
            code = cluster.run(settings.worker.stop_seconds_max, peers_seconds_max, clock)
            if code is not None:
                return code
            failures = 1 if clock() - begun >= backoff.healthy_seconds else failures + 1
            if restarts_max is not None and attempt >= restarts_max:
                log.error("giving up", restarts=attempt)
                return 1
            delay = backoff.delay_seconds(failures)
            log.warning("starting all workers again", wait_seconds=delay, failures=failures)
            if _stop_within(events, delay, clock):
                return 0
            attempt += 1


class _Cluster:
    """One start of all workers, and their end."""

    def __init__(
        self,
        settings: Settings,
        processes: int,
        command: Command,
        attempt: int,
        run_directory: Path,
        rng: random.Random,
        events: _Events,
    ) -> None:
        self._log = structlog.get_logger("supervisor")
        self._attempt = attempt
        self._events = events
        self._workers: dict[int, _Worker] = {}
        ports = free_ports(processes, rng) if processes > 1 else []
        addresses = tuple(f"127.0.0.1:{port}" for port in ports)
        launch = Launch(settings, addresses, run_directory / "in-flight", run_directory / "frontiers", attempt)
        for path, create in ((launch.flow_control, FlowControl.create), (launch.frontiers, Frontiers.create)):
            fresh = path.with_suffix(".new")  # never the same file again: whoever still looks at the old one keeps it
            create(fresh)
            fresh.replace(path)
        launch.write(run_directory / "launch.json")
        try:
            for process in range(processes):
                self._start(process, command(process, run_directory / "launch.json"))
        except BaseException:
            self._kill()
            raise
        self._log.info("workers started", processes=processes, attempt=attempt)

    def run(self, stop_seconds_max: float, peers_seconds_max: float, clock: Callable[[], float]) -> int | None:
        """Wait for the end; the exit code, or None when a worker died and all are to be started again."""
        failed: _Exit | None = None
        stopping, bad_codes = False, 0
        deadline: float | None = None
        try:
            while self._workers:
                event = _next(self._events, None if deadline is None else deadline - clock())
                if event is None:
                    self._log.warning("killing workers that did not stop", processes=sorted(self._workers))
                    self._kill()
                    deadline = None
                elif isinstance(event, _Stop):
                    if stopping:  # `make` and the terminal both send one; the deadline stands
                        continue
                    stopping = True
                    self._log.info("stopping", processes=sorted(self._workers))
                    self._terminate()
                    deadline = clock() + stop_seconds_max
                elif event.attempt == self._attempt:
                    worker = self._workers.pop(event.process)
                    # a worker that was still starting has no handler yet, and nothing to flush
                    bad_codes += event.code != 0 and not (stopping and event.code == -signal.SIGTERM)
                    if event.code != 0 and failed is None and not stopping:
                        failed = event
                        self._log.error(
                            "worker died",
                            process=event.process,
                            exit=exit_text(event.code),
                            last_line=telling_line(worker.lines),
                        )
                        self._terminate()
                        deadline = clock() + peers_seconds_max
        finally:
            self._kill()
        if stopping:
            return 1 if bad_codes else 0
        if failed is None:
            return 0
        return CONFIGURATION_EXIT if failed.code == CONFIGURATION_EXIT else None

    def _start(self, process: int, arguments: Sequence[str]) -> None:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        for name in (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
        ):  # processes are the parallelism; BLAS threads would fight
            environment.setdefault(name, "1")
        root = str(Path(__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # standard output is the command's own
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which forwards it once
            preexec_fn=dying_with_parent(),
        )
        worker = self._workers[process] = _Worker(process, child)
        reader = threading.Thread(target=_forward, args=(child.stdout, worker.lines), daemon=True)
        reader.start()
        threading.Thread(target=self._watch, args=(worker, reader), daemon=True).start()

    def _watch(self, worker: _Worker, reader: threading.Thread) -> None:
        code = worker.child.wait()
        reader.join(1.0)  # its last words; not longer, for something it started may hold the pipe open
        self._events.put(_Exit(worker.process, self._attempt, code))

    def _terminate(self) -> None:
        for worker in self._workers.values():
            worker.child.terminate()

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.child.kill()


def exit_text(code: int) -> str:
    """An exit code for a person: "code 1", "signal SIGKILL"."""
    if code >= 0:
        return f"code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def telling_line(lines: Sequence[str]) -> str:
    """The last line that names a step, else the last one that is not blank: a panic's own words name no step."""
    plain = [text for line in lines if (text := _COLOURS.sub("", line).strip())]
    for text in reversed(plain):
        if _STEP.search(text):
            return text
    return plain[-1] if plain else "(it said nothing)"


def _forward(stream: IO[bytes], lines: deque[str]) -> None:
    """Copy a worker's output to standard error and keep its end. It is read on even if nobody can be told."""
    while chunk := stream.readline(LINE_BYTES_MAX):
        text = chunk.decode(errors="replace")
        lines.append(text)
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            continue


def _next(events: _Events, seconds: float | None) -> _Stop | _Exit | None:
    """The next event, None when the time is up."""
    try:
        return events.get(timeout=None if seconds is None else max(seconds, 0.0))
    except queue.Empty:
        return None


def _stop_within(events: _Events, seconds: float, clock: Callable[[], float]) -> bool:
    """Wait for so long, and stop waiting when a stop is asked for."""
    until = clock() + seconds
    while (event := _next(events, until - clock())) is not None:
        if isinstance(event, _Stop):
            return True
    return False


@contextmanager
def _signals_to(events: _Events) -> Iterator[None]:
    def handler(_number: int, _frame: FrameType | None) -> None:
        events.put(_Stop())

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def _holding(directory: Path) -> Iterator[Path]:
    """Hold the state directory for this process alone; the folder for what the workers are told."""
    run_directory = directory / "run"
    try:
        run_directory.mkdir(parents=True, exist_ok=True)
        file = open(run_directory / "lock", "a+")  # noqa: SIM115 - closed below; the lock lives as long as it is open
    except OSError as error:
        raise ConfigurationError(
            f"state.directory: {directory} cannot be written ({error.strerror}); give --state DIR"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigurationError(
                f"state.directory: {directory} is in use by process {holder}; stop it, or give --state DIR"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield run_directory
        finally:
            for name in ("launch.json", "in-flight", "frontiers"):
                (run_directory / name).unlink(missing_ok=True)
