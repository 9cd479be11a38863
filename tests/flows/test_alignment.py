"""Parts of the input are read in step in event time, whatever their sizes, and nobody waits for ever."""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from clocks import Clock
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.alignment import UNKNOWN_SECONDS_MAX, Alignment
from flows.engine import Source
from operators.kernels.event_times import AROUND, NO_TIME, steady_times
from operators.reader import Reader
from state.batches import RawBatch
from state.flow_control import FlowControl
from state.frontiers import Frontiers

START = 1_700_000_000_000
MINUTE = 60_000
AHEAD = 5 * MINUTE
NOW = START / 1000 + 400 * 86_400


def batch_of(records: list[bytes], first: int = 0) -> RawBatch:
    """Records as a source hands them out."""
    ends = np.cumsum([len(r) for r in records], dtype=np.int64)
    starts = ends - np.array([len(r) for r in records], np.int64)
    buffer = np.frombuffer(b"".join(records), np.uint8)
    return RawBatch(buffer, starts, ends, np.arange(first, first + len(records)), "made up", 0, 0.0)


class Listed(Reader):
    """A part whose records are a list of times; `there` of them have come, and more may."""

    def __init__(self, times: list[int], records_max: int, there: int | None = None) -> None:
        self.times = times
        self.at = 0
        self.there = len(times) if there is None else there
        self._records_max = records_max

    @property
    def exhausted(self) -> bool:
        return self.at == len(self.times)

    @property
    def caught_up(self) -> bool:
        return False

    def peek(self) -> RawBatch | None:
        chosen = self.times[self.at : min(self.at + self._records_max, self.there)]
        return batch_of([orjson.dumps({"type": "view", "ts": ts}) for ts in chosen], self.at) if chosen else None

    def advance(self, records: int) -> None:
        self.at += records

    def position(self) -> int:
        return self.at

    def close(self) -> None:
        return


def parts_of(readers: dict[str, Listed], clock: Clock, *alignments: Alignment) -> dict[str, Any]:
    """The engine's parts of these readers, dealt to as many processes as there are alignments."""
    built: dict[str, Any] = {}
    for k, alignment in enumerate(alignments):
        source = Source(
            lambda: list(readers),
            lambda name, _: readers[name],
            FlowControl(10**9),
            0.02,
            4096,
            alignment=alignment,
            clock=lambda: NOW,
            monotonic=clock,
        )
        source.list_parts()
        for name in sorted(readers)[k :: len(alignments)]:
            built[name] = source.build_part("read", name, None)
    return built


def alignment_of(clock: Clock, frontiers: Frontiers | None = None) -> Alignment:
    return Alignment(AHEAD, 600_000, frontiers, lambda: NOW, clock)


def read_all(readers: dict[str, Listed], parts: dict[str, Any], order: Any, turns_max: int = 100_000) -> list[int]:
    """The event times in the order in which the parts hand them out, asked in an order that `order()` chooses."""
    came: list[int] = []
    waiting = set(parts)
    for _ in range(turns_max):
        if not waiting:
            return came
        name = order(sorted(waiting))
        for batch in parts[name].next_batch():
            if batch.ended:
                waiting.discard(name)
            came += [orjson.loads(batch.record(i))["ts"] for i in range(len(batch))]
    raise AssertionError(f"no end: {[(n, readers[n].at, len(readers[n].times)) for n in waiting]}")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_event_comes_later_than_allowed_behind_a_newer_one(data: st.DataObject) -> None:
    """Parts in order by themselves: whoever asks when, in whatever batches, the disorder stays within the bound, and
    every record comes once; in one process or several that share a file's counters."""
    gaps = st.lists(st.integers(0, 3 * AHEAD), min_size=0, max_size=60)
    readers = {}
    for k in range(data.draw(st.integers(1, 4))):
        times = START + np.cumsum([data.draw(st.integers(0, 10 * AHEAD)), *data.draw(gaps)])
        readers[f"part {k}"] = Listed(times.tolist(), data.draw(st.sampled_from((1, 3, 16))))
    clock, frontiers = Clock(), Frontiers()
    processes = data.draw(st.integers(1, 2))
    parts = parts_of(readers, clock, *(alignment_of(clock, frontiers) for _ in range(processes)))
    came = read_all(readers, parts, lambda names: data.draw(st.sampled_from(names)))
    assert sorted(came) == sorted(ts for reader in readers.values() for ts in reader.times)
    behind = np.maximum.accumulate(came) - np.array(came)
    assert behind.max(initial=0) <= AHEAD


def test_without_alignment_one_part_runs_away() -> None:
    """What the bound is there for."""
    readers = {"a": Listed([START + k * MINUTE for k in range(500)], 100), "b": Listed([START], 100)}
    parts = parts_of(readers, Clock(), Alignment())
    assert [len(b) for b in parts["a"].next_batch()] == [100]


def test_outliers_neither_hold_their_part_up_nor_let_it_run_away() -> None:
    """A record of next year among others, and some of the last side by side."""
    a = [START + k * MINUTE for k in range(100)]
    a[50] += 300 * 86_400_000
    for late in (70, 71, 72, 73):
        a[late] -= 300 * 86_400_000
    readers = {"a": Listed(a, 16), "b": Listed([START + k * MINUTE for k in range(100)], 16)}
    parts = parts_of(readers, Clock(), alignment_of(Clock()))
    came = np.array(read_all(readers, parts, random.Random(1).choice))
    usual = came[(came >= START) & (came < START + 100 * MINUTE)]
    assert len(came) == 200
    assert (np.maximum.accumulate(usual) - usual).max() <= AHEAD + 5 * MINUTE


def test_a_part_of_which_nothing_is_known_holds_the_others_for_a_while_only() -> None:
    """It may have older records; but its broker may be away for days."""
    clock = Clock()
    readers = {
        "a": Listed([START + k * MINUTE for k in range(100)], 16),
        "b": Listed([START, START + 30 * MINUTE], 16, there=1),
    }
    parts = parts_of(readers, clock, alignment_of(clock))
    assert list(parts["a"].next_batch()) == []
    assert [len(b) for b in parts["b"].next_batch()] == [1]
    assert list(parts["b"].next_batch()) == []
    assert [len(b) for b in parts["a"].next_batch()] == [6]  # up to five minutes ahead
    assert list(parts["a"].next_batch()) == []
    clock.now += UNKNOWN_SECONDS_MAX
    assert [len(b) for b in parts["a"].next_batch()] == [16]
    readers["b"].there = 2
    assert list(parts["b"].next_batch()) == []  # it is ahead now, and waited for again
    assert [len(b) for b in parts["a"].next_batch()] == [14]  # the 36th minute is too early
    assert [len(b) for b in parts["b"].next_batch()] == [1]


def test_parts_that_have_not_been_looked_at_are_waited_for() -> None:
    """The first part that is read does not run ahead of those that are opened after it."""
    clock = Clock()
    readers = {"a": Listed([START + k * MINUTE for k in range(100)], 16), "b": Listed([START], 16)}
    parts = parts_of(readers, clock, alignment_of(clock))
    assert list(parts["a"].next_batch()) == []
    assert [len(b) for b in parts["b"].next_batch()] == [1]
    assert [len(b) for b in parts["a"].next_batch()] == [6]
    assert [b.ended for b in parts["b"].next_batch()] == [True]
    assert [len(b) for b in parts["a"].next_batch()] == [16]


def test_the_processes_share_a_file(tmp_path: Path) -> None:
    """What one process tells, another sees."""
    path = tmp_path / "frontiers"
    Frontiers.create(path)
    here, there = Frontiers(path), Frontiers(path)
    here.rows["ts"][3] = 77
    assert there.rows["ts"][3] == 77 and Frontiers().rows["ts"][3] == 0


def plain_times(records: list[bytes], newest_ms: int) -> list[int]:
    """The reference of `steady_times` for whole records."""
    times: list[int | None] = []
    for record in records:
        ts = orjson.loads(record).get("ts")
        times.append(ts if isinstance(ts, int) and 0 <= ts <= newest_ms else None)
    known = [t for t in times if t is not None]
    padded = [-(2**62)] * AROUND + known + [2**62] * AROUND
    steady = iter([statistics.median(padded[k : k + 2 * AROUND + 1]) for k in range(len(known))])
    out, newest = [], int(NO_TIME)
    for t in times:
        newest = newest if t is None else max(newest, next(steady))
        out.append(newest)
    return out


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-5, 40), st.text(max_size=3)), max_size=90))
def test_times_are_those_of_the_plain_reference(times: list[Any]) -> None:
    """Unreadable ones, outliers at the ends and in the middle."""
    records = [orjson.dumps({"type": "view"} if ts is None else {"ts": ts}) for ts in times]
    buffer, starts, ends, _ = batch_of(records).arrays()
    assert steady_times(buffer, starts, ends, 35).tolist() == plain_times(records, 35)


def test_times_are_found_as_records_write_them() -> None:
    """Blanks, instants, names that only look alike."""
    records = [
        b'{"type":"view", "ts" : 1700000000001, "x":"\\"ts\\": 5"}',
        b'{"note":"ts","ts":"2023-11-14T22:13:20.002Z"}',
        b'{"tsx":1,"ts":1700000000003.5}',
        b'{"context":{"ts":5,"x":["ts"]},"a\\"ts":"\\\\","ts":1700000000004}',
    ]
    buffer, starts, ends, _ = batch_of(records).arrays()
    assert steady_times(buffer, starts, ends, 2**53).tolist() == [START + 1, START + 2, START + 3, START + 4]
