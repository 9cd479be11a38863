"""Parts of a row: orders and their gaps, attributes, decisions; against the plain lists."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, HOUR
from slab_maker import make_slab, record, used

from operators.kernels.profile_parts import (
    close_decision,
    gaps_reference,
    keep_sample,
    open_decision,
    order_gaps,
    set_attribute,
    take_order,
)
from state.batches import ATTRIBUTE_BOOL, ATTRIBUTE_NUMBER, ATTRIBUTE_TEXT, EVENT
from state.features import DIMENSIONS
from state.profile_table import ATTRIBUTE_ROW, ATTRIBUTES_MAX, DECISION_ROW, ORDERS_KEPT, PROFILE_ROW

BACK = st.sampled_from([0, 0, 0, 1, HOUR, 2 * DAY, 9 * DAY])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5 * DAY), BACK), max_size=20))
def test_gaps_are_those_of_the_orders_in_order_of_time(steps: list[tuple[int, int]]) -> None:
    """Mean and spread, with late orders among them; only one older than the four newest when it comes is left out."""
    row, now, known = record(PROFILE_ROW), BEGIN_MS, list[int]()
    for step, back in steps:
        now += step
        take_order(row, now - back)
        newest = sorted(known)[-ORDERS_KEPT:]
        if len(newest) < ORDERS_KEPT or now - back >= newest[0]:
            known.append(now - back)
    assert int(row["orders"]) == len(steps) and int(row["gap_orders"]) == len(known)
    kept = sorted(known, reverse=True)[:ORDERS_KEPT]
    assert row["order_ts"].tolist() == kept + [0] * (ORDERS_KEPT - len(kept))
    mean, spread = gaps_reference(known)
    if len(known) < 3:
        spread = 0.0
    assert order_gaps(row) == (pytest.approx(mean, rel=1e-9, abs=1e-9), pytest.approx(spread, rel=1e-6, abs=1e-5))


def test_one_order_has_no_gap_and_two_have_no_spread() -> None:
    """The edges by hand."""
    row = record(PROFILE_ROW)
    assert order_gaps(row) == (0.0, 0.0)
    take_order(row, BEGIN_MS)
    assert order_gaps(row) == (0.0, 0.0)
    take_order(row, BEGIN_MS + DAY)
    assert order_gaps(row) == (1.0, 0.0)
    take_order(row, BEGIN_MS + 4 * DAY)
    assert order_gaps(row) == (2.0, 1.0)


VALUES = st.one_of(
    st.tuples(st.just(ATTRIBUTE_TEXT), st.integers(0, 5)),
    st.tuples(st.just(ATTRIBUTE_NUMBER), st.sampled_from([-2.5, 0.0, 3.0, 1e300])),
    st.tuples(st.just(ATTRIBUTE_BOOL), st.sampled_from([0.0, 1.0])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 24), st.integers(1, 6), VALUES), max_size=60))
def test_attributes_are_a_dict_of_the_newest(told: list[tuple[int, int, tuple[int, float]]]) -> None:
    """By name and event time, whatever came when; equal times, the greatest value; the sixteen smallest names stay."""
    attributes, row = make_slab(ATTRIBUTE_ROW), record(PROFILE_ROW)
    newest: dict[int, tuple[int, int, set[int]]] = {}
    for name, ts, (type_, value) in told:
        text, number = (int(value), 0.0) if type_ == ATTRIBUTE_TEXT else (0, value)
        event = record(EVENT, item=name, ts=ts, price=type_, category=text, value=number)
        set_attribute(attributes, row, event)
        bits = text if type_ == ATTRIBUTE_TEXT else struct.unpack("<Q", struct.pack("<d", number))[0]
        known_ts, known_bits, types = newest.get(name, (0, -1, set()))
        if (ts, bits) > (known_ts, known_bits):
            newest[name] = ts, bits, {type_}
        elif (ts, bits) == (known_ts, known_bits):
            types.add(type_)
    if not told:
        assert row["attributes"] == 0
        return
    kept = attributes.rows[row["attributes"] - 1]
    n = int(kept["count"])
    names = sorted(newest)[:ATTRIBUTES_MAX]
    assert kept["names"][:n].tolist() == names
    assert kept["ts"][:n].tolist() == [newest[name][0] for name in names]
    assert kept["values"][:n].tolist() == [newest[name][1] for name in names]
    assert all(int(kept["types"][k]) in newest[name][2] for k, name in enumerate(names))
    assert not any(kept[column][n:].any() for column in ("names", "ts", "values", "types"))
    assert used(attributes) == 1


def samples_of(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Room for so many samples: features, outcomes, times, times they were known."""
    return np.zeros((n, DIMENSIONS), np.float32), np.zeros(n, np.uint8), np.zeros(n, np.int64), np.zeros(n, np.int64)


def test_a_decision_closes_with_the_features_it_was_taken_with() -> None:
    """Its time is its due less the horizon, its outcome known by its due at the latest; its row is free again."""
    decisions = make_slab(DECISION_ROW)
    x = np.arange(DIMENSIONS, dtype=np.float32)
    reference = open_decision(decisions, BEGIN_MS + DAY, x)
    x[:] = 0
    samples = samples_of(3)
    assert used(decisions) == 1
    assert close_decision(decisions, reference, True, DAY, BEGIN_MS + HOUR, samples, 1) == 2
    late = open_decision(decisions, BEGIN_MS + DAY, x)
    assert close_decision(decisions, late, False, DAY, BEGIN_MS + 9 * DAY, samples, 2) == 3
    assert samples[0][1].tolist() == list(range(DIMENSIONS)) and not samples[0][0].any()
    assert (samples[1].tolist(), samples[2].tolist()) == ([0, 1, 0], [0, BEGIN_MS, BEGIN_MS])
    assert samples[3].tolist() == [0, BEGIN_MS + HOUR, BEGIN_MS + DAY]
    assert used(decisions) == 0


def test_a_sample_without_room_is_counted_and_not_written() -> None:
    """The caller sees by the count that the arrays were too short."""
    samples = samples_of(1)
    assert keep_sample(samples, 1, np.ones(DIMENSIONS, np.float32), 1, 5, 6) == 2
    assert not any(array.any() for array in samples)
