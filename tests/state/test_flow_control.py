"""Events in flight, counted over processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from state.flow_control import FlowControl

PROJECT = Path(__file__).resolve().parents[2]


def test_processes_see_each_other_events(tmp_path: Path) -> None:
    """What one reads another may close; the bound holds for all together."""
    path = tmp_path / "flow"
    FlowControl.create(path)
    first, second = FlowControl(10, 0, path), FlowControl(10, 63, path)
    first.read(7)
    second.read(2)
    assert first.in_flight() == second.in_flight() == 9 and first.has_room()
    second.read(1)
    assert not first.has_room() and not second.has_room()
    second.done(8)
    assert first.in_flight() == 2 and first.has_room() and first.events_read() == 10
    FlowControl.create(path)
    assert FlowControl(10, 1, path).in_flight() == 0


def test_another_process_is_seen_too(tmp_path: Path) -> None:
    """The counters live in the file, not in the process."""
    path = tmp_path / "flow"
    FlowControl.create(path)
    mine = FlowControl(100, 0, path)
    mine.read(5)
    code = (
        "import sys; from pathlib import Path; from state.flow_control import FlowControl\n"
        "f = FlowControl(100, 1, Path(sys.argv[1])); f.read(3); f.done(4); print(f.in_flight())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout == "4\n" and mine.in_flight() == 4 and mine.events_read() == 8


def test_a_process_alone_needs_no_file() -> None:
    """Without a path the counters are this process's own."""
    one, other = FlowControl(2), FlowControl(2)
    one.read(2)
    assert not one.has_room() and other.has_room() and not one.stopping
