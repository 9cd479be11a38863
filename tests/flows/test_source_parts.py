"""What the parts of the input tell beside their records: that they have ended, or wait; and who learns of them."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from clocks import Clock

from flows.children import free_ports
from flows.engine import Source
from operators.generate import ShopPlan
from operators.read_files import FileReader, PacedReader
from operators.read_generated import GeneratedReader
from state.batches import RawBatch
from state.flow_control import FlowControl
from state.hashing import hash_text
from state.input_parts import InputParts

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Ten records, an hour of event time between them."""
    path = tmp_path / "ten.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"ts": 1_700_000_000_000 + i * 3_600_000}) + b"\n" for i in range(10)))
    return path


def source(reader_of: Any, control: FlowControl, **more: Any) -> Source:
    """A source of the part "p"; `reader_of(position)` opens it."""
    return Source(lambda: ["p"], lambda _, position: reader_of(position), control, 0.02, 4096, **more)


def part_of(from_source: Source, position: Any = None, name: str = "p") -> Any:
    """One of its parts, as the engine has it built."""
    from_source.list_parts()
    return from_source.build_part("read", name, position)


def told(part: Any) -> Iterator[RawBatch]:
    """All that a part hands out until it stops."""
    while True:
        try:
            yield from part.next_batch()
        except StopIteration:
            return


def test_a_file_says_once_that_it_has_ended_and_again_after_a_resume_at_its_end(log: Path) -> None:
    """Every batch names its part; the last has no records, counts for nothing and leaves the position as it is."""
    control = FlowControl(1000)
    part = part_of(source(lambda position: FileReader(log, position, records_max=4), control))
    batches = list(told(part))
    assert [(len(b), b.part, b.idle_ms, b.ended) for b in batches] == [
        (4, "p", 0, False),
        (4, "p", 0, False),
        (2, "p", 0, False),
        (0, "p", 0, True),
    ]
    assert control.in_flight() == 10
    position = part.snapshot()
    part.close()
    again = part_of(source(lambda position: FileReader(log, position), control), position)
    assert [(len(b), b.part, b.ended) for b in told(again)] == [(0, "p", True)]
    assert again.snapshot() == position
    again.close()


def test_the_generator_says_that_it_has_ended() -> None:
    """Like a file."""
    plan = ShopPlan(seed=5, shoppers=4, items=3, categories=2, days=1, events=20)
    batches = list(told(part_of(source(lambda position: GeneratedReader(plan, position), FlowControl(1000)))))
    assert sum(map(len, batches)) == 20
    assert [batch for batch in batches if batch.ended or not len(batch)] == batches[-1:]


def test_a_part_that_is_asked_to_stop_says_nothing(log: Path) -> None:
    """Its end is the worker's, not the input's, also where both come together."""
    control = FlowControl(1000)
    part = part_of(source(lambda position: FileReader(log, position), control))
    assert [len(batch) for batch in part.next_batch()] == [10]
    control.stopping = True
    assert list(told(part)) == []
    part.close()


def test_a_part_without_room_does_not_end_before_it_was_looked_at(log: Path) -> None:
    """Whether more is to come is known from reading."""
    control = FlowControl(10)
    part = part_of(source(lambda position: FileReader(log, position), control))
    assert [len(batch) for batch in part.next_batch()] == [10]
    assert list(part.next_batch()) == []
    control.done(10)
    assert [batch.ended for batch in told(part)] == [True]
    part.close()


def test_a_replay_at_a_pace_is_not_idle_while_it_waits_for_the_next_event(log: Path) -> None:
    """A record that is not due yet is there."""
    clock = Clock()
    paced = source(lambda p: PacedReader(FileReader(log, p), 1.0, clock), FlowControl(1000), monotonic=clock)
    part = part_of(paced)
    batches: list[RawBatch] = []
    while not batches or not batches[-1].ended:
        batches += part.next_batch()
        clock.now += 30.0
    assert [(len(b), b.idle_ms, b.ended) for b in batches] == [*[(1, 0, False)] * 8, (2, 0, False), (0, 0, True)]
    part.close()


def test_a_part_no_longer_read_says_nothing_and_is_not_listed(log: Path) -> None:
    """It keeps its position, and nobody waits for it."""
    inputs = InputParts()
    from_source = source(
        lambda position: FileReader(log, position), FlowControl(1000), known=frozenset(("old", "p")), inputs=inputs
    )
    assert inputs.listed == frozenset()
    retired = part_of(from_source, (3, 99), "old")
    assert inputs.listed == {hash_text("p")}
    assert list(told(retired)) == []
    assert retired.snapshot() == (3, 99)


PROCESS = """
import sys
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, cluster_main
from flows.engine import Source
from operators.read_files import FileReader
from state.flow_control import FlowControl
from state.input_parts import InputParts

process, log, *addresses = sys.argv[1:]
inputs, built, out = InputParts(), [], []

def open_part(name, position):
    built.append(name)
    return FileReader(log, position)

flow = Dataflow("listing")
source = Source(lambda: ["a", "b", "c"], open_part, FlowControl(1000), 0.02, 100, inputs=inputs)
op.output("out", op.input("read", flow, source), TestingSink(out))
cluster_main(flow, addresses, int(process))
print(len(built), *sorted(inputs.listed))
"""


def test_every_process_of_a_cluster_is_told_all_parts(log: Path) -> None:
    """Also of those that another process reads: a watermark is the least of all."""
    ports = free_ports(2, random.Random())
    command = [sys.executable, "-c", PROCESS]
    given = [str(log), *(f"localhost:{port}" for port in ports)]
    running = [
        subprocess.Popen([*command, str(process), *given], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for process in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].splitlines()[-1].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert sum(int(built) for built, *_ in outputs) == 3, "each part is read in one of them"
    listed = sorted(map(hash_text, ("a", "b", "c")))
    assert [list(map(int, hashes)) for _, *hashes in outputs] == [listed, listed]
