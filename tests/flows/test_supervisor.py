"""The supervisor, driven with small programs of its own as workers: real processes, real signals."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from flows.settings import Settings
from flows.supervisor import Backoff, Launch, exit_text, telling_line

PROJECT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 120

SUPERVISOR = """
    import random, sys
    from pathlib import Path
    from flows.logs import configure_logs
    from flows.settings import ConfigurationError, Settings
    from flows.supervisor import Backoff, run_cluster

    folder, processes, restarts_max = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    stop_seconds = float(sys.argv[4])
    settings = Settings(
        state={"directory": folder / "state"},
        worker={"stop_seconds_max": stop_seconds},
        log={"format": "json"},
    )
    configure_logs(settings.log)
    worker = [sys.executable, "-c", (folder / "worker.py").read_text()]
    try:
        sys.exit(
            run_cluster(
                settings,
                processes,
                command=lambda process, launch: [*worker, str(process), str(launch), str(folder)],
                restarts_max=None if restarts_max < 0 else restarts_max,
                backoff=Backoff(first_seconds=0.01, seconds_max=0.02),
                peers_seconds_max=stop_seconds,
                rng=random.Random(7),
            )
        )
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
"""

WORKER = """
    import json, os, signal, sys, time
    from pathlib import Path
    from types import SimpleNamespace

    process, folder = int(sys.argv[1]), Path(sys.argv[3])
    launch = SimpleNamespace(**json.loads(Path(sys.argv[2]).read_bytes()))

    def note(text):
        fd = os.open(folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)

    def all_there():  # every process of this start has come so far
        while (folder / "notes").read_text().count(f"started {launch.attempt} ") < max(len(launch.addresses), 1):
            time.sleep(0.005)
"""


def _supervise(
    folder: Path, worker: str, processes: int = 2, restarts_max: int = -1, stop_seconds: float = 30.0
) -> subprocess.Popen[str]:
    """Start a supervisor whose workers run WORKER and then the given text; each line on standard error is passed on."""
    (folder / "worker.py").write_text(textwrap.dedent(WORKER) + textwrap.dedent(worker))
    arguments = [str(folder), str(processes), str(restarts_max), str(stop_seconds)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SUPERVISOR), *arguments],
        cwd=PROJECT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _finish(supervisor: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and standard error of a supervisor that comes to its end."""
    try:
        out, err = supervisor.communicate(timeout=SECONDS_MAX)
    finally:
        supervisor.kill()
    assert out == "", "standard output belongs to the command"
    return supervisor.returncode, err


def _wait_for(supervisor: subprocess.Popen[str], text: str, count: int = 1) -> str:
    """Read standard error until a text has come so many times; all that was read."""
    assert supervisor.stderr is not None
    seen = ""
    while seen.count(text) < count:
        line = supervisor.stderr.readline()
        assert line, f"the supervisor ended before it said {text!r}:\n{seen}"
        seen += line
    return seen


def _log_lines(err: str, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_when_all_workers_end_well_so_does_the_supervisor(tmp_path: Path) -> None:
    """A replay is over when every process has come to the end of its input."""
    code, err = _finish(_supervise(tmp_path, 'note(f"started {launch.attempt} {process}")', processes=3))
    assert code == 0, err
    assert sorted((tmp_path / "notes").read_text().split("\n")) == ["", "started 0 0", "started 0 1", "started 0 2"]


def test_when_one_worker_dies_all_start_again_as_a_unit(tmp_path: Path) -> None:
    """The survivors are stopped, and the next start has all processes, at new addresses."""
    code, err = _finish(
        _supervise(
            tmp_path,
            """
            if launch.attempt < 2:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            note(f"started {launch.attempt} {process} {' '.join(launch.addresses)}")
            all_there()
            if launch.attempt < 2:
                if process == 1:
                    print("boom", file=sys.stderr)
                    os._exit(134)
                signal.sigwait({signal.SIGTERM})
                note(f"stopped {launch.attempt} {process}")
            """,
            processes=3,
        )
    )
    assert code == 0, err
    notes = (tmp_path / "notes").read_text().splitlines()
    assert sorted(" ".join(note.split()[:3]) for note in notes) == [
        *(f"started {attempt} {process}" for attempt in range(3) for process in range(3)),
        *(f"stopped {attempt} {process}" for attempt in range(2) for process in (0, 2)),
    ]
    addresses = {note.split()[1]: tuple(note.split()[3:]) for note in notes if note.startswith("started")}
    assert [len(set(found)) for found in addresses.values()] == [3, 3, 3]
    assert len(set(addresses.values())) == 3
    deaths = _log_lines(err, "worker died")
    assert [(d["process"], d["exit"], d["last_line"]) for d in deaths] == [(1, "code 134", "boom")] * 2


def test_a_worker_killed_by_a_signal_is_started_again(tmp_path: Path) -> None:
    """kill -9 is the crash the snapshots are made for; the log names the signal."""
    code, err = _finish(
        _supervise(
            tmp_path,
            """
            if launch.attempt == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            """,
            processes=1,
        )
    )
    assert code == 0, err
    assert [death["exit"] for death in _log_lines(err, "worker died")] == ["signal SIGKILL"]


def test_the_line_that_names_the_step_is_told_and_not_the_panic_after_it() -> None:
    """In a cluster the engine's own last words lose the reason."""
    lines = [
        "starting\n",
        "\x1b[31merror\x1b[0m  step=score error=bad row\n",
        "thread panicked\n",
        "PanicException\n",
        "\n",
    ]
    assert telling_line(lines) == "error  step=score error=bad row"
    assert (
        telling_line([*lines, '{"event": "failed", "step": "decode"}\n', "x"])
        == '{"event": "failed", "step": "decode"}'
    )
    assert telling_line(["one\n", "two\n", " \n"]) == "two"
    assert telling_line([]) == "(it said nothing)"


def test_without_restarts_left_a_death_ends_the_supervisor_with_one(tmp_path: Path) -> None:
    """A replay does not try again by itself; other workers are stopped, by force if need be."""
    code, err = _finish(
        _supervise(
            tmp_path,
            """
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            note(f"started {launch.attempt} {process}")
            all_there()
            if process == 0:
                sys.exit(3)
            while True:
                signal.pause()
            """,
            restarts_max=0,
            stop_seconds=0.2,
        )
    )
    assert code == 1, err
    assert _log_lines(err, "killing workers that did not stop")[0]["processes"] == [1]
    assert (tmp_path / "notes").read_text().count("started") == 2


def test_a_configuration_that_cannot_be_used_is_not_tried_again(tmp_path: Path) -> None:
    """Exit code 2 of a worker is the command's exit code."""
    code, err = _finish(_supervise(tmp_path, 'print("shards: no", file=sys.stderr); sys.exit(2)', processes=1))
    assert code == 2
    assert err.count("shards: no\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_stops_all_workers_and_ends_with_zero(tmp_path: Path, number: signal.Signals) -> None:
    """Each worker gets SIGTERM and ends by itself; nothing starts again."""
    supervisor = _supervise(
        tmp_path,
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        print(f"ready {process}", flush=True)
        signal.sigwait({signal.SIGTERM})
        note(f"flushed {process}")
        """,
    )
    _wait_for(supervisor, "ready", 2)
    supervisor.send_signal(number)
    code, err = _finish(supervisor)
    assert code == 0, err
    assert sorted((tmp_path / "notes").read_text().split()) == ["0", "1", "flushed", "flushed"]
    assert not _log_lines(err, "worker died")


def test_a_worker_that_will_not_stop_is_killed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    """What was not flushed must not look flushed."""
    supervisor = _supervise(
        tmp_path,
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        while True:
            signal.pause()
        """,
        stop_seconds=0.2,
    )
    _wait_for(supervisor, "ready", 2)
    supervisor.terminate()
    code, _ = _finish(supervisor)
    assert code == 1


def test_a_stop_while_waiting_for_the_next_start_ends_the_wait(tmp_path: Path) -> None:
    """The longest backoff does not hold up a shutdown."""
    worker = "sys.exit(5)"
    (tmp_path / "worker.py").write_text(textwrap.dedent(WORKER) + worker)
    patient = textwrap.dedent(SUPERVISOR).replace(
        "first_seconds=0.01, seconds_max=0.02", "first_seconds=3600, seconds_max=3600"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", patient, str(tmp_path), "1", "-1", "1"],
        cwd=PROJECT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _wait_for(supervisor, "starting all workers again")
    supervisor.terminate()
    code, err = _finish(supervisor)
    assert code == 0, err


def test_workers_do_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """kill -9 on the supervisor leaves nobody behind who would write to the state directory."""
    supervisor = _supervise(
        tmp_path,
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        while True:
            signal.pause()
        """,
    )
    _wait_for(supervisor, "ready", 2)
    workers = psutil.Process(supervisor.pid).children(recursive=True)
    assert len(workers) == 2
    supervisor.kill()
    _, alive = psutil.wait_procs(workers, timeout=SECONDS_MAX)
    assert not alive
    _finish(supervisor)


def test_two_supervisors_never_share_a_state_directory(tmp_path: Path) -> None:
    """The second one says who holds the directory, and what to do, and starts no worker."""
    run = tmp_path / "state" / "run"
    run.mkdir(parents=True)
    with open(run / "lock", "a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("4711")
        held.flush()
        code, err = _finish(_supervise(tmp_path, 'note("started")'))
    assert code == 2
    directory = tmp_path / "state"
    assert err == f"state.directory: {directory} is in use by process 4711; stop it, or give --state DIR\n"
    assert not (tmp_path / "notes").exists()


def test_a_launch_file_gives_back_what_was_written_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    """The workers see the supervisor's settings, passwords included, and not their own environment."""
    settings = Settings(redis={"url": "redis://me:secret@127.0.0.1:1/0"}, events={"custom_names": ["review"]})
    launch = Launch(settings, ("127.0.0.1:1", "127.0.0.1:2"), tmp_path / "in-flight", tmp_path / "frontiers", 3)
    path = tmp_path / "launch.json"
    path.write_text("left over")
    launch.write(path)
    os.environ["COTERIE_REDIS__URL"] = "redis://elsewhere:1/0"
    try:
        assert Launch.read(path) == launch
    finally:
        del os.environ["COTERIE_REDIS__URL"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_wait_doubles_up_to_its_bound() -> None:
    """1, 2, 4 ... 60 seconds, however often it failed."""
    backoff = Backoff()
    assert [backoff.delay_seconds(n) for n in (1, 2, 3, 6, 7, 8, 5000)] == [1, 2, 4, 32, 60, 60, 60]


def test_exit_codes_are_told_by_name() -> None:
    """A negative code is the signal that ended the process."""
    assert [exit_text(1), exit_text(-9), exit_text(-250)] == ["code 1", "signal SIGKILL", "signal 250"]
