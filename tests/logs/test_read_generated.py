"""The generator as a source says what its log file would say, from any position."""

from __future__ import annotations

import pytest

from operators.generate import ShopPlan, generate
from operators.read_generated import GeneratedReader

PLAN = ShopPlan(seed=5, shoppers=40, items=30, categories=4, days=2, events=700, duplicate_share=0.05)


def records(reader: GeneratedReader) -> list[tuple[int, bytes]]:
    found = []
    while (batch := reader.read()) is not None:
        assert batch.source == "generated"
        found += [(int(batch.offsets[i]), batch.record(i)) for i in range(len(batch))]
    assert reader.exhausted
    return found


@pytest.mark.parametrize("records_max", [1, 64, 4096])
def test_the_batches_are_the_lines_of_the_log(records_max: int) -> None:
    """Every line once, in order, with its number."""
    lines = b"".join(generate(PLAN)).splitlines()
    assert records(GeneratedReader(PLAN, records_max=records_max)) == list(enumerate(lines))


@pytest.mark.parametrize("position", [0, 1, 63, 350, 734, 735])
def test_a_resume_goes_on_where_it_stopped(position: int) -> None:
    """From any number of records on, to the end."""
    lines = list(enumerate(b"".join(generate(PLAN)).splitlines()))
    assert records(GeneratedReader(PLAN, position, records_max=100)) == lines[position:]
