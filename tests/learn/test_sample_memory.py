"""What a learner remembers: the newest samples in order, and a fair choice of those that count."""

from __future__ import annotations

import numpy as np
import pytest

from operators.learn.sample_memory import KEPT_MAX, NEWEST_MAX, SampleMemory


def _filled(n: int, size: int, remembered: int = 4_000, first: int = 0) -> SampleMemory:
    """A memory of samples 0, 1, ..., at a second each, told `size` at a time."""
    memory = SampleMemory(1, remembered, seed=3)
    for at in range(first, n, size):
        x = np.arange(at, min(at + size, n), dtype=np.float64)
        memory.add(x[:, None], 1_000 * x.astype(np.int64))
    return memory


def test_newest_are_in_order_with_their_times() -> None:
    """Fewer than asked for while there are fewer; never more than NEWEST_MAX."""
    x, ts = _filled(10, 4).newest(20)
    assert x[:, 0].tolist() == list(range(10)) and ts.tolist() == [1_000 * k for k in range(10)]
    x, ts = _filled(5_000, 700).newest(3)
    assert x[:, 0].tolist() == [4_997, 4_998, 4_999] and ts.tolist() == [4_997_000, 4_998_000, 4_999_000]
    assert len(_filled(5_000, 700).newest(NEWEST_MAX + 1)[0]) == NEWEST_MAX


@pytest.mark.parametrize("size", [1, 33, 3_000])
def test_cut_of_calls_does_not_matter(size: int) -> None:
    """The same samples leave the same, whole or after a restart in the middle."""
    whole, cut = _filled(6_000, 6_000), _filled(6_000, size)
    assert np.array_equal(whole.kept, cut.kept)
    assert np.array_equal(whole.newest(NEWEST_MAX)[0], cut.newest(NEWEST_MAX)[0])
    resumed = SampleMemory(1, 4_000, seed=99)
    resumed.restore(_filled(2_500, size).state())
    x = np.arange(2_500, 6_000, dtype=np.float64)
    resumed.add(x[:, None], 1_000 * x.astype(np.int64))
    assert np.array_equal(whole.kept, resumed.kept)


def test_all_are_kept_while_there_is_room_and_then_a_fair_choice() -> None:
    """Of as many as are remembered each tenth is kept alike; of more, old ones go with the remembered number as mean
    age."""
    assert sorted(_filled(KEPT_MAX, 100).kept[:, 0].tolist()) == list(range(KEPT_MAX))
    ages = np.bincount((_filled(10_000, 500, remembered=20_000).kept[:, 0] // 1_000).astype(int), minlength=10)
    assert (np.abs(ages - KEPT_MAX / 10) < 40).all()
    kept = _filled(40_000, 500, remembered=4_000).kept[:, 0]
    assert np.mean(39_999 - kept) == pytest.approx(4_000, rel=0.15)


def test_few_remembered_are_no_fewer_than_kept() -> None:
    """A memory shorter than its room keeps its room full and goes on changing."""
    kept = _filled(20_000, 500, remembered=10).kept[:, 0]
    assert len(kept) == KEPT_MAX and np.mean(19_999 - kept) == pytest.approx(KEPT_MAX, rel=0.15)


def test_beginning_anew_leaves_the_newest_alone() -> None:
    """And then fills up again with all that comes."""
    memory = _filled(5_000, 500)
    memory.begin_anew(100)
    assert memory.kept[:, 0].tolist() == list(range(4_900, 5_000))
    memory.add(np.full((50, 1), np.nan), np.zeros(50, np.int64))
    assert memory.kept[100:, 0].tolist() == [0.0] * 50


def test_how_many_are_remembered_is_a_setting_and_not_state() -> None:
    """After a restart with another half-life the memory goes by that one."""
    resumed = SampleMemory(1, 2_000, seed=0)
    resumed.restore(_filled(2_000, 500, remembered=100_000).state())
    for at in range(2_000, 30_000, 500):
        x = np.arange(at, at + 500, dtype=np.float64)
        resumed.add(x[:, None], 1_000 * x.astype(np.int64))
    assert np.mean(29_999 - resumed.kept[:, 0]) == pytest.approx(2_000, rel=0.2)
