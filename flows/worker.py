"""One worker process: opens the state, wires the graph, runs it to its end, and stops gracefully when asked to.

Started by the supervisor as `python -m flows.worker`. It reads Kafka; with `--log`, log files; with `--plan`, the
log that the built-in generator makes of a plan.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog
from bytewax.recovery import RecoveryConfig
from bytewax.testing import cluster_main
from prometheus_client import start_http_server

from flows.graph import build
from flows.logs import configure_logs
from flows.report import write_figures
from flows.settings import ConfigurationError, Settings
from flows.sources import generated_source, kafka_source, log_source, make_alignment
from flows.state_directory import known_parts
from flows.steps import Process, Steps, learn_settings
from flows.supervisor import CONFIGURATION_EXIT, Launch
from operators.generate import ShopPlan
from operators.learn.clusterers import make_clusterer
from operators.read_files import LogError
from operators.read_kafka import KafkaReadError
from operators.write_redis import RedisRefused, RedisStopped
from state.flow_control import FlowControl
from state.frontiers import Frontiers
from state.journal import CorruptJournal
from state.metrics import Metrics
from state.names import Names
from state.store import StoreError, read_store

log = structlog.get_logger(__name__)

OBSERVE_SECONDS = 2.0
_TOLD = (LogError, KafkaReadError, RedisRefused, RedisStopped, CorruptJournal, OSError)
"""Errors whose own words say where, what, and what to do: no traceback is needed."""


def main(arguments: list[str] | None = None) -> int:
    """Run one process to its end; 0 done or stopped, 1 failed, 2 its configuration cannot be used."""
    os.umask(0o077)  # the state is about people: for this user only
    told = _arguments().parse_args(arguments)
    launch = Launch.read(told.settings_json)
    settings = launch.settings
    configure_logs(settings.log, told.process)
    control = FlowControl(settings.worker.in_flight_max, told.process, launch.flow_control)
    _stop_on_signals(control)
    try:
        return _run(settings, launch, told, control)
    except (StoreError, ConfigurationError) as error:
        log.error(str(error), step="settings")
        return CONFIGURATION_EXIT
    except Exception as error:
        cause = _cause(error)
        if not isinstance(cause, _TOLD):
            raise
        log.error(str(cause), step="worker")
        return CONFIGURATION_EXIT if isinstance(cause, RedisRefused) else 1


def _run(settings: Settings, launch: Launch, told: argparse.Namespace, control: FlowControl) -> int:
    try:
        make_clusterer(learn_settings(settings))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    store = read_store(settings.state.directory)
    if store is None:
        raise StoreError(f"{settings.state.directory}: no state directory")
    metrics = Metrics()
    names = Names(store.names, told.process, settings.worker.names_max)
    names.shared = len(launch.addresses) > 1
    process = Process(told.process, store, names, metrics, control)
    steps = Steps(settings, process)
    lags: list[Callable[[], None]] = []
    known = known_parts(store)
    alignment = make_alignment(settings, Frontiers(launch.frontiers))
    if told.plan:
        plan = msgspec.json.decode(told.plan, type=ShopPlan)
        source = generated_source(settings, control, plan, known, process.parts, alignment)
    elif told.log:
        source = log_source(settings, control, told.log, told.speed, known, process.parts, alignment)
    else:
        source = kafka_source(settings, control, metrics, lags, known, process.parts, alignment)
    if settings.metrics.port:
        port = settings.metrics.port + told.process
        try:
            start_http_server(port, settings.metrics.host, metrics.registry)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"metrics.port: {port} on {settings.metrics.host} cannot be had ({error}); set another, or 0 for none"
            ) from error
        log.info("metrics are served", address=f"http://{settings.metrics.host}:{port}/metrics")
    _observe(steps, lags)
    began_at = time.time()
    cluster_main(
        build(source, steps),
        list(launch.addresses),
        told.process,
        epoch_interval=timedelta(seconds=settings.state.snapshot_seconds),
        recovery_config=RecoveryConfig(str(store.recovery)),
    )
    names.close()
    if told.figures:
        write_figures(told.figures / f"figures-{told.process:03d}.json", metrics, steps, began_at, control.stopping)
    log.info("worker ended", stopped=control.stopping)
    return 0


def _cause(error: BaseException) -> BaseException:
    """What an error of the engine's was raised from in the end."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flows.worker", description=__doc__)
    parser.add_argument("--process", type=int, required=True)
    parser.add_argument("--settings-json", type=Path, required=True)
    parser.add_argument("--log", type=Path, action="append", default=[])
    parser.add_argument("--speed", default="max")
    parser.add_argument("--plan", help="a ShopPlan as JSON: read its generated log")
    parser.add_argument("--figures", type=Path)
    return parser


def _stop_on_signals(control: FlowControl) -> None:
    """A signal makes the sources end; the engine then flushes and snapshots as at any end of input."""

    def stop(_number: int, _frame: Any) -> None:
        control.stopping = True
        if control.events_read() == 0:  # nothing was read since the start, by anyone: nothing is to be flushed
            os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _observe(steps: Steps, lags: list[Callable[[], None]]) -> None:
    """Set the gauges that nobody sets in passing, every now and then, from a thread of their own."""

    def look() -> None:
        while True:
            time.sleep(OBSERVE_SECONDS)
            try:
                steps.observe_state()
                for lag in list(lags):
                    lag()
            except Exception:  # a gauge that cannot be read now must not stop the others for good
                log.warning("gauges could not be set", step="observe", exc_info=True)

    threading.Thread(target=look, name="observe", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
