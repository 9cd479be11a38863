"""The long-running worker: Kafka to Redis under the supervisor, until it is asked to stop."""

from __future__ import annotations

from flows.settings import Settings
from flows.state_directory import prepare_state
from flows.supervisor import run_cluster


def run(settings: Settings) -> int:
    """Run `worker.processes` processes; a process that dies is started again with all the others. The exit code."""
    prepare_state(settings)
    return run_cluster(settings, settings.worker.processes)
