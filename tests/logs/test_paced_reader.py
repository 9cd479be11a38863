"""The pace of a replay: lines come when their event time says so, N times as fast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from clocks import Clock

from operators.read_files import FileReader, PacedReader
from operators.read_files.paced_reader import PACED_RECORDS

START = 1_700_000_000_000


def log_of(tmp_path: Path, times: list[object]) -> Path:
    path = tmp_path / "paced.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"type": "view", "ts": ts}) + b"\n" for ts in times))
    return path


def replay(log: Path, speed: float, reads_max: int = 10_000) -> list[float]:
    """When each line came, in seconds from the start, going from one due time to the next."""
    clock = Clock()
    reader = PacedReader(FileReader(log), speed, clock)
    came: list[float] = []
    for _ in range(reads_max):
        if reader.exhausted:
            reader.close()
            return came
        batch = reader.read()
        if batch is not None:
            assert batch.offsets[0] == len(came)
            came += [clock.now - 1000.0] * len(batch)
            assert reader.position()[0] == len(came)
            assert batch.read_at == clock.now
        clock.now = max(clock.now, reader.due_at)
    raise AssertionError("the replay came to no end")


@pytest.mark.parametrize("speed", (0.5, 1.0, 60.0))
def test_each_line_comes_when_its_time_says(tmp_path: Path, speed: float) -> None:
    """In an ordered log every line has its own time; only the last of a window goes with the one before."""
    rng = np.random.default_rng(3)
    times = START + np.cumsum(rng.integers(0, 90_000, 1500))
    came = np.array(replay(log_of(tmp_path, times.tolist()), speed))
    wanted = (times - times[0]) / 1000.0 / speed
    with_the_one_before = [PACED_RECORDS - 1, 2 * PACED_RECORDS - 1, 1499]
    wanted[with_the_one_before] = wanted[np.array(with_the_one_before) - 1]
    np.testing.assert_allclose(came, wanted, atol=1e-3)


def test_nothing_comes_before_it_is_due(tmp_path: Path) -> None:
    """Asked too early, the reader gives nothing and says when to come again."""
    clock = Clock()
    reader = PacedReader(
        FileReader(log_of(tmp_path, [START, START + 10_000, START + 20_000, START + 20_000])), 2.0, clock
    )
    first = reader.read()
    assert first is not None and len(first) == 1
    assert reader.read() is None
    assert reader.due_at == 1005.0
    clock.now = 1004.99
    assert reader.read() is None
    assert reader.position()[0] == 1
    clock.now = 1005.0
    second = reader.read()
    assert second is not None and second.offsets.tolist() == [1]
    reader.close()


def test_late_and_future_lines_hold_nothing_up(tmp_path: Path) -> None:
    """A broken clock ten years ahead, or a line that is hours late, goes with its neighbours."""
    times = [START + 1000 * i for i in range(1200)]
    ten_years = 3650 * 86_400_000
    for i in (0, 5, 300, PACED_RECORDS - 1, PACED_RECORDS, 1023, 1199):
        times[i] += ten_years
    for i in (20, 600, 1100):
        times[i] -= 6 * 3_600_000
    came = replay(log_of(tmp_path, times), 1.0)
    np.testing.assert_allclose(came, np.arange(1200), atol=2.0)


def test_a_late_first_line_does_not_set_the_pace(tmp_path: Path) -> None:
    """Reading may go on at a line that is hours late: the others do not wait these hours."""
    times = [START - 6 * 3_600_000, *[START + 1000 * i for i in range(100)]]
    came = replay(log_of(tmp_path, times), 1.0)
    assert came[0] == 0.0
    assert came[-1] <= 101.0


@pytest.mark.parametrize(
    "write",
    (lambda ms: ms, lambda ms: f"2023-11-14T22:13:{20 + (ms - START) // 1000:02d}Z"),
    ids=("epoch ms", "RFC 3339"),
)
def test_both_ways_to_write_a_time_are_read(tmp_path: Path, write: Callable[[int], object]) -> None:
    """Epoch milliseconds and RFC 3339 make the same pace."""
    log = log_of(tmp_path, [write(START + 1000 * i) for i in range(20)])
    assert replay(log, 1.0)[:19] == list(range(19))


def test_lines_without_a_time_go_with_the_ones_before(tmp_path: Path) -> None:
    """What cannot be read is for decoding to refuse: it is handed out, and not waited for."""
    times: list[object] = [None, START, "yesterday", START + 5000, [1], START + 9000, START + 9000]
    assert replay(log_of(tmp_path, times), 1.0) == [0, 0, 0, 5, 5, 9, 9]


def test_a_log_without_any_time_comes_at_once(tmp_path: Path) -> None:
    """There is nothing to go by."""
    assert replay(log_of(tmp_path, [None] * 700), 1.0) == [0.0] * 700


@pytest.mark.parametrize("speed", (0.0, -1.0, float("nan")))
def test_a_speed_must_be_above_zero(tmp_path: Path, speed: float) -> None:
    """A speed that would never end is refused."""
    reader = FileReader(log_of(tmp_path, [START]))
    with pytest.raises(ValueError, match="speed must be above 0"):
        PacedReader(reader, speed)
    reader.close()
