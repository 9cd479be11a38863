"""The end of the path: packed commands to Redis in one pipeline a batch, and the answer for every event they close.

A write is tried until Redis takes it: an outage makes the worker wait (the sources stop at their bound of events in
flight), it loses nothing. A record's version never falls: after a restart the events since the last snapshot are taken
in once more, and until a shopper's version has caught up with what Redis holds, their writes are left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import redis
import structlog
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from operators.goods import Goods
from state.batches import Receipt, WriteBatch
from state.flow_control import FlowControl
from state.metrics import Metrics, read_samples
from state.models import BoughtTogether, ModelVersion, PopularModel, PropensityModel, SegmentModel, pack_model
from state.names import Names
from state.redis_keys import SCHEMA_VERSION, Keys, pack
from state.table import HashIndex

log = structlog.get_logger(__name__)

_BACKOFF_FIRST_SECONDS = 0.05
_GIVE_UP_SECONDS = 2.0
_PIPELINE_BYTES = 1 << 20
_CODE = re.compile(r"[A-Z]{2,} ")

_Part = tuple[bytes | memoryview, int]
"""Packed commands, and how many they are."""


class RedisStopped(Exception):
    """The worker was asked to stop while Redis did not answer; what was not written is read again after the start."""


class RedisRefused(Exception):
    """Redis refuses what no waiting mends (no permission, wrong password): the message says what to change."""


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is (redis://, rediss:// or unix://), how long an answer may take, the longest wait between tries."""

    url: str = "redis://127.0.0.1:6379/0"
    timeout_seconds: float = 5.0
    backoff_seconds_max: float = 5.0


def connect(settings: RedisSettings) -> redis.Redis:
    """A client that does not retry by itself: the writer does, for as long as it takes."""
    return redis.Redis.from_url(
        settings.url,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        retry=Retry(NoBackoff(), 0),
    )


class RedisWriter:
    """Writes packed batches in pipelines; one per process.

    `state_id` names the state directory: where Redis was last written from the same one, versions are guarded. `clock`
    gives system time in epoch seconds. What `goods` says is not to be shown is not among the popular items.
    """

    def __init__(
        self,
        settings: RedisSettings,
        keys: Keys,
        metrics: Metrics,
        flow_control: FlowControl,
        names: Names,
        state_id: str,
        shards: tuple[int, int],
        clock: Callable[[], float] = time.time,
        goods: Goods | None = None,
    ) -> None:
        self._goods = goods or Goods()
        self._popular: PopularModel | None = None
        self._goods_changes = -1
        self._settings = settings
        self._client = connect(settings)
        self._pool = self._client.connection_pool
        self._connection: Any = None
        self._keys = keys
        self._metrics = metrics
        self._flow_control = flow_control
        self._names = names
        self._clock = clock
        self._state_id = state_id
        self._shards = shards
        self._guard: _VersionGuard | None = None
        self._opened = False
        self._watermark_ts = 0
        self._meta_at = 0.0
        self._wrong_keys = 0

    def write(self, batches: list[WriteBatch | ModelVersion | BoughtTogether | dict[str, bytes]]) -> None:
        """Write everything, in order, and answer for the events. Raises RedisStopped or RedisRefused."""
        if not self._opened:
            self._open()
        parts: list[_Part] = []
        receipts: list[Receipt] = []
        for batch in batches:
            if isinstance(batch, WriteBatch):
                parts += self._of_batch(batch)
                if batch.receipt:
                    receipts.append(batch.receipt)
            elif isinstance(batch, PopularModel):
                self._popular, self._goods_changes = batch, -1
            elif isinstance(batch, SegmentModel | PropensityModel):
                parts.append((self._of_model(batch), 1))
            elif isinstance(batch, BoughtTogether):
                parts += self._of_together(batch)
            else:
                parts += self._of_catalogue(batch)
        if self._popular and self._goods_changes != self._goods.changes:
            parts.append((self._of_popular(self._popular), 1))
            self._goods_changes = self._goods.changes
        for data, count in _pipelines(parts):
            self._send(data, count)
        self._answer_for(receipts)

    def observe(self) -> None:
        """Set the gauges that move even while nothing is written."""
        self._metrics.in_flight.set(self._flow_control.in_flight())
        if self._watermark_ts:
            self._metrics.watermark_lag.set(self._clock() - self._watermark_ts / 1000.0)

    def close(self) -> None:
        """Write the last figures of the meta record and let go of the connection."""
        if self._opened:
            self._write_meta()
        if self._connection is not None:
            self._pool.release(self._connection)
        self._client.close()

    def _open(self) -> None:
        other = self._ask(pack("HGET", self._keys.meta, "state_id"), 1)[0]
        if other == self._state_id.encode():
            self._guard = _VersionGuard(self._keys, self._ask, self._metrics)
        elif other is not None:
            log.warning(
                "redis holds records of another state directory",
                step="redis",
                remedy="they are replaced as their shoppers act; use another prefix to keep them",
            )
        self._opened = True
        self._write_meta()

    def _of_batch(self, batch: WriteBatch) -> list[_Part]:
        data = batch.commands
        count = int(batch.per_user.sum())
        if self._guard and len(batch.users):
            keep = self._guard.allowed(batch)
            if not keep.all():
                spans = [data[batch.starts[i] : batch.starts[i + 1]] for i in np.flatnonzero(keep)]
                data = np.concatenate(spans) if spans else data[:0]
                count = int(batch.per_user[keep].sum())
        return [(data.data, count), (batch.always, batch.always_n)]

    def _of_catalogue(self, fields: dict[str, bytes]) -> list[_Part]:
        """Set the segments' cards; one that has become empty goes."""
        told = [word for field, value in fields.items() if value for word in (field, value)]
        gone = [field for field, value in fields.items() if not value]
        parts: list[_Part] = [(pack("HSET", self._keys.segments, *told), 1)] if told else []
        return parts + ([(pack("HDEL", self._keys.segments, *gone), 1)] if gone else [])

    def _of_model(self, model: SegmentModel | PropensityModel) -> bytes:
        return pack("HSET", self._keys.models, *pack_model(model))

    def _of_popular(self, model: PopularModel) -> bytes:
        if self._names.shared:
            self._names.refresh()
        return pack("SET", self._keys.popular(), self._listed(model.items, model.scores, len(model.items)))

    def _of_together(self, told: BoughtTogether) -> list[tuple[bytes, int]]:
        if self._names.shared:
            self._names.refresh()
        parts = []
        for item, row in zip(told.items.tolist(), told.rows, strict=True):
            name, count = self._names.text(item), int(row["count"])
            if name is not None:
                listed = self._listed(row["items"][:count], row["scores"][:count], told.most)
                key, seconds = self._keys.together(name), self._keys.inactivity_ttl_seconds
                parts.append((pack("SET", key, listed, "EX", seconds), 1))
        return parts

    def _listed(self, items: np.ndarray, scores: np.ndarray, most: int) -> bytes:
        """JSON of the first so many of some items that have a name and may be shown, with their scores."""
        shown = ~self._goods.find(items)[1]
        entries: list[bytes] = []
        for item, score in zip(items[shown].tolist(), scores[shown].tolist(), strict=True):
            if len(entries) == most:
                break
            if self._names.find(item) >= 0:
                entries.append(b"[%b,%.4f]" % (self._names.literal(item), score))
        return b"[" + b",".join(entries) + b"]"

    def _answer_for(self, receipts: list[Receipt]) -> None:
        now = self._clock()
        for receipt in receipts:
            for events in receipt.done.values():
                self._flow_control.done(events)
            if len(receipt.ts):
                self._metrics.event_to_redis.of().observe(now - receipt.read_at)
                self._metrics.freshness.of().observe(np.maximum(now - receipt.ts / 1000.0, 0.0))
                self._watermark_ts = max(self._watermark_ts, int(receipt.ts.max()))
        if now - self._meta_at >= 1.0:
            self._meta_at = now
            self._write_meta()

    def _write_meta(self) -> None:
        users, items = self._shards
        words: list[str | int] = [
            "schema_version",
            SCHEMA_VERSION,
            "state_id",
            self._state_id,
            "user_shards",
            users,
            "item_shards",
            items,
        ]
        stored = self._ask(pack("HGET", self._keys.meta, "watermark"), 1)[0]
        newest = max(self._watermark_ts, int(stored) if isinstance(stored, bytes) and stored.isdigit() else 0)
        if newest:
            words += ["watermark", newest]
        for model, version in read_samples(self._metrics.model_version, "model").items():
            words += [f"model_{model}", int(version)]
        self._send(pack("HSET", self._keys.meta, *words), 1)

    def _send(self, data: bytes, count: int) -> None:
        start = time.perf_counter()
        self._ask(data, count)
        self._metrics.redis_write.of().observe_one(time.perf_counter() - start)

    def _ask(self, data: bytes, count: int) -> list[object]:
        """Send packed commands and read all their answers, trying again for as long as it takes."""
        if count == 0:
            return []
        backoff = ExponentialBackoff(cap=self._settings.backoff_seconds_max, base=_BACKOFF_FIRST_SECONDS)
        failures = 0
        since = time.monotonic()
        while True:
            try:
                answers = self._try(data, count)
                if failures:
                    log.info("redis answers again", step="redis", tries=failures + 1)
                return answers
            except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
                self._drop_connection()  # further answers may wait in it
                raise RedisRefused(
                    f"redis refuses the connection: {error} (check redis.url and the user's rights)"
                ) from error
            except (redis.RedisError, OSError) as error:
                if failures == 0:
                    log.error("redis does not take the write; trying until it does", step="redis", error=str(error))
                failures += 1
                self._metrics.redis_retries.inc()
                self._drop_connection()
                if self._flow_control.stopping and time.monotonic() - since > _GIVE_UP_SECONDS:
                    raise RedisStopped(f"stopped while redis did not answer: {error}") from error
                self._wait(backoff.compute(failures))

    def _try(self, data: bytes, count: int) -> list[object]:
        if self._connection is None:
            self._connection = self._pool.get_connection()
        connection = self._connection
        connection.send_packed_command([data])
        # The connection's own read_response makes ready what an error would say before it asks the parser, each time:
        # a microsecond an answer. An error of the connection itself is raised here as there, and it is dropped.
        read = connection._parser.read_response
        answers: list[object] = []
        transient: redis.ResponseError | None = None
        for _ in range(count):
            answer = read(disable_decoding=True)
            if not isinstance(answer, redis.ResponseError):
                answers.append(answer)
                continue
            if isinstance(answer, redis.exceptions.NoPermissionError):
                raise answer
            answers.append(None)
            if _is_for_good(answer):
                self._report(answer)
            else:
                transient = answer
        if transient:
            raise transient
        return answers

    def _report(self, error: redis.ResponseError) -> None:
        """One command was refused for good (a key of another type, say): say so, now and then, and go on."""
        self._wrong_keys += 1
        self._metrics.ignored.labels("redis_commands").inc()
        if self._wrong_keys & (self._wrong_keys - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            log.error(
                "redis refuses a command, which is left out",
                step="redis",
                error=str(error),
                times=self._wrong_keys,
                remedy="is a key under redis.prefix in other use?",
            )

    def _wait(self, seconds: float) -> None:
        """Sleep, but not on when the worker is asked to stop."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._flow_control.stopping:
            time.sleep(min(left, 0.1))

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None


def _is_for_good(error: redis.ResponseError) -> bool:
    """Would the command be refused again? A wrong type or a malformed command (ERR, which the client strips) would;
    any other code (OOM, MISCONF, READONLY, LOADING ...) is a state of the server that passes."""
    text = str(error)
    if isinstance(error, redis.exceptions.OutOfMemoryError | redis.BusyLoadingError | redis.ReadOnlyError):
        return False
    return text.startswith("WRONGTYPE") or not (_CODE.match(text) or "max number of clients" in text)


class _VersionGuard:
    """Leaves out writes of shoppers whose record in Redis is newer than what was computed so far since the restart.

    Each shopper's version is asked for once a run, at their first write; `_ahead` holds those whom Redis is ahead of.
    """

    def __init__(self, keys: Keys, ask: Callable[[bytes, int], list[object]], metrics: Metrics) -> None:
        self._left_out = metrics.ignored.labels("older_writes")
        self._told = False
        self._keys = keys
        self._ask = ask
        self._known = HashIndex()
        self._ahead: dict[int, int] = {}

    def allowed(self, batch: WriteBatch) -> np.ndarray:
        """Which shoppers of a batch may be written, bool[n]."""
        before = self._known.size
        rows, _ = self._known.find_or_add(batch.users, before)
        prefix = self._keys.user("").encode()
        new = [int(i) for i in np.unique(rows, return_index=True)[1] if rows[i] >= before]
        questions = b"".join(pack("HGET", prefix + batch.user_id(i), "version") for i in new)
        for i, answer in zip(new, self._ask(questions, len(new)), strict=True):
            if isinstance(answer, bytes) and answer.isdigit() and int(answer) > int(batch.versions[i]):
                self._ahead[int(batch.users[i])] = int(answer)
        keep = np.ones(len(batch.users), bool)
        if self._ahead:
            for i, user in enumerate(batch.users.tolist()):
                stored = self._ahead.get(user)
                if stored is not None:
                    if int(batch.versions[i]) >= stored:
                        del self._ahead[user]
                    else:
                        keep[i] = False
            left_out = len(keep) - int(keep.sum())
            self._left_out.inc(left_out)
            if left_out and not self._told:
                self._told = True
                log.info(
                    "records in redis are newer than the resumed state; they stand until it has caught up",
                    step="redis",
                    shoppers=len(self._ahead),
                )
        return keep


def _pipelines(parts: list[_Part]) -> list[tuple[bytes, int]]:
    """Join packed commands into pipelines of about a megabyte."""
    out: list[tuple[bytes, int]] = []
    joined: list[bytes | memoryview] = []
    size = count = 0
    for data, n in parts:
        if n == 0:
            continue
        joined.append(data)
        size += len(data)
        count += n
        if size >= _PIPELINE_BYTES:
            out.append((b"".join(joined), count))
            joined, size, count = [], 0, 0
    if joined:
        out.append((b"".join(joined), count))
    return out
