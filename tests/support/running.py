"""The whole worker as its users run it: `coterie` in a process of its own, real Kafka, real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import redis
from item_tables import ItemTables

EXACT = ("event_ts", "version", "rules", "variants")
"""Fields of a user record that follow from counting alone."""

WAIT_SECONDS_MAX = 600.0
"""After this a wait is taken for a hang: a first start compiles every kernel, which may take minutes."""


def run_cli(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=2 * WAIT_SECONDS_MAX)


def replay(
    tmp_path: Path, url: str, *logs: Path, processes: int = 1, name: str = "replayed"
) -> tuple[Path, dict[str, Any]]:
    """Replay logs; the state directory and the report."""
    report, state = tmp_path / f"{name}.json", tmp_path / name
    done = run_cli(
        "replay", *logs, "--redis", url, "--state", state, "--report", report, "--processes", processes, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    return state, orjson.loads(report.read_bytes())


def records(url: str) -> dict[str, dict[str, str]]:
    """Every user record."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        keys = list(client.scan_iter("coterie:user:*", count=5000))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        return dict(zip(keys, pipeline.execute(), strict=True))


def exact(found: dict[str, dict[str, str]]) -> dict[str, tuple[str | None, ...]]:
    """The exact fields of each record."""
    return {key: tuple(record.get(name) for name in EXACT) for key, record in found.items()}


def triggers(url: str) -> set[tuple[str, str, int, str]]:
    """(user_id, to, at, id) of every trigger in the stream; one that was written again after a restart is the same."""
    return {(e["user_id"], e["to"], int(e["at"]), e["id"]) for e in _transitions(url, "trigger")}


def rule_changes(url: str) -> set[tuple[str, str, str, int, str]]:
    """(user_id, from, to, at, id) of every rule segment entered or left, likewise."""
    return {(e["user_id"], e["from"], e["to"], int(e["at"]), e["id"]) for e in _transitions(url, "rule")}


def samples_learned(url: str) -> int:
    """How many samples the newest segment model has learned from."""
    with redis.Redis.from_url(url) as client:
        return int(orjson.loads(client.hget("coterie:models", "segments") or b"{}").get("samples", 0))


def _transitions(url: str, kind: str) -> list[dict[str, str]]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return [entry for _, entry in client.xrange("coterie:transitions") if entry["kind"] == kind]


def features(state: Path) -> dict[str, dict[str, Any]]:
    """Every feature of every shopper from the newest snapshot, in memory or in the cold tier; by the environment's
    settings."""
    from flows.inspect import all_features
    from flows.settings import load_settings

    return all_features(state, settings=load_settings())


@dataclass(frozen=True)
class Outcome:
    """What must be the same however a log was run: exact fields of the records, triggers, changes of rule segments,
    every feature, from how many samples segments were learned, and what stands beside which item."""

    records: dict[str, tuple[str | None, ...]]
    triggers: set[tuple[str, str, int, str]]
    rule_changes: set[tuple[str, str, str, int, str]]
    features: dict[str, dict[str, Any]]
    samples: int
    items: ItemTables

    @classmethod
    def of(cls, url: str, state: Path) -> Outcome:
        """What a Redis and a state directory say."""
        told = exact(records(url)), triggers(url), rule_changes(url)
        return cls(*told, features(state), samples_learned(url), ItemTables.of(state))

    def is_in(self, url: str, ordered: bool = True) -> bool:
        """Has Redis come to the same? Without `ordered`, whatever happened to rule segments in between."""
        return (  # the records first: most looks find them apart, and the stream is far longer
            exact(records(url)) == self.records
            and triggers(url) == self.triggers
            and (not ordered or rule_changes(url) == self.rule_changes)
        )

    def apart(self, other: Outcome) -> dict[str, Any]:
        """Where another one differs: records and triggers that only one of them has, features by shopper and name."""
        differing = {
            user: {
                name: (mine.get(name), found.get(name))
                for name in mine.keys() | found.keys()
                if mine.get(name, ...) != found.get(name, ...)
            }
            for user in self.features.keys() | other.features.keys()
            if (mine := self.features.get(user, {})) != (found := other.features.get(user, {}))
        }
        told: dict[str, Any] = {
            "samples": () if self.samples == other.samples else (self.samples, other.samples),
            "records": self.records.items() ^ other.records.items(),
            "triggers": self.triggers ^ other.triggers,
            "rule changes": self.rule_changes ^ other.rule_changes,
            "features": differing,
            "items": self.items.apart(other.items),
        }
        return {name: what for name, what in told.items() if what}


def wait_for(reached: Callable[[], bool], what: str) -> None:
    """Look again until something is so; fail after WAIT_SECONDS_MAX."""
    until = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        begin = time.monotonic()
        if reached():
            return
        looked = time.monotonic()
        assert looked < until, f"still waiting for {what}"
        time.sleep(max(0.05, 2 * (looked - begin)))  # who looks shall not take the processor from who is waited for


@dataclass
class Worker:
    """`coterie run` with settings of its own."""

    folder: Path
    settings: str
    processes: int = 1
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "coterie.toml").write_text(self.settings)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def start(self) -> None:
        """Start the supervisor with its workers."""
        with open(self.folder / "worker.log", "ab") as log:
            command = [sys.executable, "-m", "flows.cli", "run", "--processes", str(self.processes)]
            self.started.append(subprocess.Popen(command, cwd=self.folder, stderr=log, stdout=log))

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.started[-1].terminate()
        return self.started[-1].wait(WAIT_SECONDS_MAX)

    def load(self, log: Path, topic: str) -> None:
        """Send a log to a topic, by this worker's settings."""
        done = run_cli("load", log, "--topic", topic, cwd=self.folder)
        assert done.returncode == 0, done.stderr

    def kill_a_worker(self) -> None:
        """kill -9 a worker process (not its supervisor)."""
        children = Path(f"/proc/{self.started[-1].pid}/task/{self.started[-1].pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)

    def kill_all(self) -> None:
        """kill -9 the supervisor; its workers go with it."""
        self.started[-1].kill()
        self.started[-1].wait(WAIT_SECONDS_MAX)
