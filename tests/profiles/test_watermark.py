"""How far event time is, from what is heard of the parts of the input."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from operators.watermark import IDLE_MS, Watermark

A, B, C = 11, 22, 33
BOTH = frozenset((A, B))
T = 1_700_000_000_000
HOUR_MS = 3_600_000


def test_it_is_the_least_of_the_parts_newest_times() -> None:
    """The slowest part says how far all are; an older event takes nothing back."""
    watermark = Watermark()
    watermark.heard(A, T + 500)
    watermark.heard(B, T + 200)
    assert watermark.value(BOTH) == T + 200
    watermark.heard(B, T + 900)
    assert watermark.value(BOTH) == T + 500
    watermark.heard(A, T + 100)
    assert watermark.value(BOTH) == T + 500


def test_nothing_is_known_before_all_listed_parts_were_heard_of() -> None:
    """A part that is silent since the start may still have anything."""
    watermark = Watermark()
    assert watermark.value(BOTH) == 0
    watermark.heard(A, T)
    assert watermark.value(BOTH) == 0
    watermark.heard(C, T + 1)
    assert watermark.value(BOTH) == 0, "a part that is not listed stands for no other"
    watermark.heard(B, T - 5)
    assert watermark.value(BOTH) == T - 5


def test_without_a_list_all_parts_heard_of_count() -> None:
    """Steps that run without a source have no list."""
    watermark = Watermark()
    watermark.heard(A, T + 9)
    assert watermark.value(frozenset()) == T + 9
    watermark.heard(B, T + 20)
    assert watermark.value(frozenset()) == T + 9
    watermark.heard(A, T + 30)
    assert watermark.value(frozenset()) == T + 20


def test_an_idle_part_does_not_hold_it_back_until_it_is_read_again() -> None:
    """Idle is from a second on, until a word that it is being read, even one without a newer event."""
    watermark = Watermark()
    watermark.heard(A, T)
    watermark.heard(B, T + 5000)
    watermark.heard(A, T, idle_ms=IDLE_MS - 1)
    assert watermark.value(BOTH) == T, "not long enough"
    watermark.heard(A, T, idle_ms=IDLE_MS)
    assert watermark.value(BOTH) == T + 5000
    watermark.heard(B, T + 7000)
    assert watermark.value(BOTH) == T + 7000
    watermark.heard(A, T)
    watermark.heard(B, T + 9000)
    assert watermark.value(BOTH) == T + 7000
    watermark.heard(A, T + 8000)
    assert watermark.value(BOTH) == T + 8000


def test_an_ended_part_does_not_hold_it_back() -> None:
    """A file that was read to its end."""
    watermark = Watermark()
    watermark.heard(A, T, ended=True)
    watermark.heard(B, T + 5000)
    assert watermark.value(BOTH) == T + 5000


def test_when_all_parts_have_ended_it_is_at_the_newest_event() -> None:
    """Nothing comes after, and no clock goes on."""
    watermark = Watermark()
    watermark.heard(A, T + 70, ended=True)
    watermark.heard(B, T + 30, ended=True)
    assert watermark.value(BOTH) == T + 70


def test_when_all_parts_are_idle_it_goes_on_with_the_clock_from_the_newest() -> None:
    """What follows from absence happens though nobody acts."""
    watermark = Watermark()
    watermark.heard(A, T + 70, idle_ms=1500)
    watermark.heard(B, T + 30, idle_ms=HOUR_MS)
    assert watermark.value(BOTH) == T + 30 + HOUR_MS
    watermark.heard(A, T + 70, idle_ms=2 * HOUR_MS)
    assert watermark.value(BOTH) == T + 70 + 2 * HOUR_MS
    watermark.heard(B, T + 30, ended=True)
    assert watermark.value(BOTH) == T + 70 + 2 * HOUR_MS


def test_a_part_without_any_event_tells_no_time() -> None:
    """An empty partition alone: still nothing is known, however long it is idle; beside another it does not matter."""
    watermark = Watermark()
    watermark.heard(A, 0, idle_ms=HOUR_MS)
    assert watermark.value(frozenset((A,))) == 0
    watermark.heard(B, T)
    assert watermark.value(BOTH) == T
    watermark.heard(B, T, idle_ms=2000)
    assert watermark.value(BOTH) == T + 2000


def test_a_part_that_is_read_and_has_given_no_event_holds_it_back() -> None:
    """Its records so far were all refused; the next may be of any time."""
    watermark = Watermark()
    watermark.heard(A, 0)
    watermark.heard(B, T)
    assert watermark.value(BOTH) == 0


def test_a_late_event_after_a_quiet_hour_does_not_stop_the_clock() -> None:
    """Idle again, it goes on from where it was, not from that event."""
    watermark = Watermark()
    alone = frozenset((A,))
    watermark.heard(A, T, idle_ms=HOUR_MS)
    assert watermark.value(alone) == T + HOUR_MS
    watermark.heard(A, T + 60_000)
    assert watermark.value(alone) == T + HOUR_MS
    watermark.heard(A, T + 60_000, idle_ms=1000)
    assert watermark.value(alone) == T + HOUR_MS
    watermark.heard(A, T + 60_000, idle_ms=31_000)
    assert watermark.value(alone) == T + HOUR_MS + 30_000


def test_a_restart_goes_on_from_where_it_was() -> None:
    """It waits for every part to be heard of again, does not fall, and the clock goes on from there."""
    first = Watermark()
    first.heard(A, T + 70, idle_ms=HOUR_MS)
    first.heard(B, T + 30, idle_ms=1000)
    value = first.value(BOTH)
    second = Watermark()
    second.restore(first.newest_by_part(), value)
    assert second.newest_by_part() == {A: T + 70, B: T + 30}
    second.heard(A, 0, idle_ms=1000)
    assert second.value(BOTH) == value, "the other was not heard of"
    second.heard(B, 0, idle_ms=1000)
    assert second.value(BOTH) == value
    second.heard(B, 0, idle_ms=61_000)
    assert second.value(BOTH) == value + 60_000


def test_a_part_that_is_read_again_after_a_restart_holds_at_its_newest_event() -> None:
    """What is restored counts as soon as the part speaks, though it has no newer event."""
    watermark = Watermark()
    watermark.restore({A: T + 70, B: T + 30}, T + 30)
    watermark.heard(A, T + 90)
    watermark.heard(B, 0)
    assert watermark.value(BOTH) == T + 30
    watermark.heard(A, T + 200, ended=True)
    watermark.heard(B, 0, ended=True)
    assert watermark.value(BOTH) == T + 200


def test_parts_no_longer_listed_are_forgotten() -> None:
    """A log a day leaves nothing behind."""
    watermark = Watermark()
    watermark.restore({A: T + 70, C: T}, T)
    watermark.heard(A, T + 80)
    assert watermark.value(frozenset((A,))) == T + 80
    assert watermark.newest_by_part() == {A: T + 80}


@dataclass
class Part:
    """A part of the input below: what is true of it, and whether it has said so since the start."""

    newest_ts: int = 0
    heard: bool = False
    idle_since: int | None = None
    idle_ms: int = 0
    ended: bool = False

    def reached(self) -> int:
        return self.newest_ts + (0 if self.ended or not self.newest_ts else self.idle_ms)


STEPS = st.lists(
    st.tuples(
        st.sampled_from((A, B, C)),
        st.sampled_from(("event", "late", "pulse", "pulse", "pulse", "read", "end", "restart")),
        st.integers(0, 20_000),
    ),
    max_size=60,
)


@given(STEPS)
def test_it_never_falls_and_never_passes_what_is_read_or_the_clock(steps: list[tuple[int, str, int]]) -> None:
    """Three parts whose events are never ahead of the clock: read, late, idle, ending and starting anew."""
    parts = {part: Part() for part in (A, B, C)}
    listed = frozenset(parts)
    watermark, now, before = Watermark(), T, 0
    for name, what, wait_ms in steps:
        now += wait_ms
        part = parts[name]
        if what == "restart":
            went_on = Watermark()
            went_on.restore(watermark.newest_by_part(), before)
            watermark = went_on
            parts = {key: Part(each.newest_ts) for key, each in parts.items()}
        elif part.ended:
            continue
        elif what == "pulse":
            part.idle_since = now if part.idle_since is None else part.idle_since
            if now - part.idle_since >= IDLE_MS:
                part.heard, part.idle_ms = True, now - part.idle_since
                watermark.heard(name, part.newest_ts, part.idle_ms)
        else:
            ts = {"event": now, "late": now - 30_000}.get(what, part.newest_ts)
            parts[name] = Part(max(part.newest_ts, ts), heard=True, ended=what == "end")
            watermark.heard(name, ts, ended=what == "end")
        value = watermark.value(listed)
        assert value >= before, "it fell"
        assert value <= now, "it is ahead of the clock"
        read = [p.newest_ts for p in parts.values() if not p.ended and not p.idle_ms]
        if not all(p.heard for p in parts.values()):
            assert value == before
        elif read:
            assert value == max(before, min(read))
        else:
            assert value >= max(p.reached() for p in parts.values())
            if all(p.ended for p in parts.values()):
                assert value == max(before, *(p.newest_ts for p in parts.values()))
        before = value
