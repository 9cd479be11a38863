"""A real log through the real profile step and the real propensity learners, in order of time.

What comes out are the decisions that were decided: the features they were taken with, what came of them, and what the
newest version published before each decision said of it, applied as the shards do.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from operators.convert import convert
from operators.decode import Decoder, Limits
from operators.kernels.logistic import logistic
from operators.learn import SAMPLED, Learner, LearnSettings
from operators.learn.transform import propensity_inputs
from operators.profile_settings import DAY_MS, ProfileSettings
from operators.profiles import Profiles
from operators.read_files import FileReader
from state.batches import EventBatch, ProfileBatch
from state.flow_control import FlowControl
from state.metrics import Metrics
from state.models import PropensityModel
from state.names import Names
from state.samples import lessons_of

RECORDS_MAX = 256
CLOCK_SECONDS = 4e9  # after every event of the logs
FORGET_DAYS = 3650
CDNOW = "cdnow"
"""A format of this benchmark: customer, yyyymmdd, units, dollars."""


@dataclass(frozen=True, slots=True)
class Aim:
    """A propensity, how far it looks ahead, and how long after a log's first event decisions begin to be judged."""

    target: str
    horizon_days: int
    warm_up_days: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A log of the shared folder, and what is to be foreseen in it. Names are permanent."""

    name: str
    format: str
    file: str
    aims: tuple[Aim, Aim]


@dataclass(slots=True)
class Decided:
    """Decisions of one propensity: features x[n, d], outcomes y, times ts, times known_ts (epoch ms) by which the
    outcomes were known, probabilities p that the model of the time gave (nan before the first); `judged` those that
    count. `first_ts`, `end_ts` of the log."""

    aim: Aim
    x: np.ndarray
    y: np.ndarray
    ts: np.ndarray
    known_ts: np.ndarray
    p: np.ndarray
    judged: np.ndarray
    first_ts: int
    end_ts: int
    versions: int


@dataclass(slots=True)
class _Followed:
    """What is gathered of one propensity: parts of x, y, ts and known_ts, and (time, version) of what was published."""

    parts: list[tuple[np.ndarray, ...]] = field(default_factory=list)
    versions: list[tuple[int, PropensityModel]] = field(default_factory=list)


def replay(scenario: Scenario, folder: Path, settings: LearnSettings) -> list[Decided]:
    """All decisions of a log, in one shard, with one open decision a shopper and every act a sample.

    A version counts from the first decision after the batch it was published in. Judged are decisions after the warm-up
    whose whole horizon lies within the log: of the last ones only those that came to something are known.
    """
    metrics = Metrics()
    purchase, churn = scenario.aims
    step = Profiles(
        0,
        ProfileSettings(
            item_shards=1,
            sample_every=1,
            purchase_horizon_ms=purchase.horizon_days * DAY_MS,
            churn_horizon_ms=churn.horizon_days * DAY_MS,
            inactivity_ttl_ms=FORGET_DAYS * DAY_MS,
        ),
        metrics,
    )
    learners = {aim.target: Learner(aim.target, settings, metrics) for aim in scenario.aims}
    followed = {aim.target: _Followed() for aim in scenario.aims}
    first_ts = now = 0
    for batch in _batches(scenario, folder, metrics):
        first_ts = first_ts or int(batch.rows["ts"].min())
        now = max(now, int(batch.rows["ts"].max()))
        for out in step.process([batch]):
            if not isinstance(out, ProfileBatch):
                continue
            for samples in out.samples:
                if samples.model in followed:
                    known = np.full(len(samples.ts), now, np.int64)
                    followed[samples.model].parts.append((samples.x, samples.y, samples.ts, known))
            for lessons in lessons_of(SAMPLED, [out], 1):
                if lessons.model in followed:
                    learned = learners[lessons.model].process([lessons])
                    followed[lessons.model].versions += [(now, model) for model in learned]
    return [_decided(aim, followed[aim.target], first_ts, now) for aim in scenario.aims]


def _decided(aim: Aim, one: _Followed, first_ts: int, end_ts: int) -> Decided:
    x, y, ts, known_ts = (np.concatenate(column) for column in zip(*one.parts, strict=True))
    p = np.full(len(y), np.nan, np.float32)
    newest = np.searchsorted(np.array([at for at, _ in one.versions]), ts, side="left") - 1
    for number, (_, model) in enumerate(one.versions):
        of_it = np.flatnonzero(newest == number)
        found = np.empty(len(of_it), np.float32)
        logistic(propensity_inputs(x[of_it]), model.mean, model.scale, model.weights, model.bias, found)
        p[of_it] = found
    judged = (ts >= first_ts + aim.warm_up_days * DAY_MS) & (ts <= end_ts - aim.horizon_days * DAY_MS)
    return Decided(aim, x, y, ts, known_ts, p, judged & ~np.isnan(p), first_ts, end_ts, len(one.versions))


def _batches(scenario: Scenario, folder: Path, metrics: Metrics) -> Iterator[EventBatch]:
    source = folder / scenario.file
    with tempfile.TemporaryDirectory(prefix="coterie-bench-") as place:
        log = Path(place) / "log.jsonl"
        if scenario.format == CDNOW:
            log.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in _cdnow_events(source)))
        else:
            convert(scenario.format, source, log)
        names = Names(Path(place), 0, 1_000_000)
        decoder = Decoder(names, metrics, FlowControl(1), 1, 1, Limits(), lambda: CLOCK_SECONDS)
        reader = FileReader(log, records_max=RECORDS_MAX)
        while (raw := reader.read()) is not None:
            raw.part = scenario.name
            for value in decoder([raw]):
                if isinstance(value, tuple) and isinstance(value[1], EventBatch):
                    yield value[1]
        names.close()


def cdnow_purchases(source: Path) -> list[tuple[int, str, int, float]]:
    """(time, customer, units, dollars) of CDNOW's purchases, in order of time; a day's in the file's order."""
    with gzip.open(source, "rt") as lines:
        rows = [fields for line in lines if len(fields := line.split()) == 4 and fields[0].isdigit()]
    read = [(_day_ms(day), customer, int(units), float(dollars)) for customer, day, units, dollars in rows]
    return sorted(read, key=lambda row: row[0])


def _cdnow_events(source: Path) -> Iterator[dict[str, Any]]:
    for number, (ts, customer, units, dollars) in enumerate(cdnow_purchases(source)):
        line = {"item_id": "cd", "quantity": units, "unit_price": round(dollars / units, 4)}
        name = f"cdnow-{number}"
        yield {
            "type": "purchase",
            "ts": ts,
            "event_id": name,
            "user_id": customer,
            "order_id": name,
            "lines": [line],
        }


def _day_ms(text: str) -> int:
    return int(datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).timestamp()) * 1000
