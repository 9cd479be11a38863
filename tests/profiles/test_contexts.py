"""The context of a shopper, hour and device of the newest act, against plain Python and through the profile step."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profile_shop import BEGIN_MS, DAY, HOUR, MINUTE, Shop, line

from operators.kernels.contexts import (
    BANDS,
    HOURS_A_BAND,
    band_of,
    band_reference,
    contexts_of,
    devices_reference,
    find_devices,
)
from operators.kernels.profile import DUPLICATE, LATE, NO_ROOM, REFUSED, TAKEN
from state.batches import CLICK, ERASE, EVENT, PROFILE
from state.hashing import hash_text
from state.shop_clock import utc_offsets

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


@settings(max_examples=200, deadline=None)
@given(st.integers(640_000_000_000, 2_500_000_000_000), st.sampled_from(ZONES))
def test_a_band_is_three_hours_of_the_shop_s_day(ts: int, timezone: str) -> None:
    """By the rules of the zone from 1990 on, summer time among them; of no time there is none."""
    local = datetime.fromtimestamp(ts / 1000, UTC).astimezone(ZoneInfo(timezone))
    offset = local.utcoffset()
    assert offset is not None
    zone = utc_offsets(timezone)
    assert band_of(ts, zone) == band_reference(ts, round(offset.total_seconds() * 1000)) == 1 + local.hour // 3
    assert band_of(0, zone) == 0


EVENTS = st.tuples(
    st.integers(-1, 4),
    st.integers(1, 6),
    st.sampled_from([0, 0, 11, 12, 2**63 + 13]),
    st.sampled_from([TAKEN, TAKEN, TAKEN, LATE, DUPLICATE, REFUSED]),
    st.sampled_from([CLICK, CLICK, CLICK, CLICK, ERASE]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_the_device_that_was_told_last_counts(drawn: list[tuple[int, int, int, int, int]]) -> None:
    """Of what was taken in; an erasure forgets what was told before it, and who has no row is passed over."""
    events, status = np.zeros(len(drawn), EVENT), np.zeros(len(drawn), np.uint8)
    row_of, place_of = np.full(len(drawn), -1, np.int32), np.array([-1, 3, 1, 4, 0, 2], np.int32)
    for n, (place, ts, device, fate, kind) in enumerate(drawn):
        events[n]["ts"], events[n]["told"][0], events[n]["kind"] = ts, device, kind
        status[n] = fate if place >= 0 else NO_ROOM
        row_of[n] = place_of.tolist().index(place) if place >= 0 else -1
    devices, times = np.zeros(5, np.uint64), np.zeros(5, np.int64)
    find_devices(events, row_of, status, place_of, devices, times)
    told = [(p, ts, device, fate in (TAKEN, LATE), kind == ERASE) for p, ts, device, fate, kind in drawn]
    assert devices.tolist() == devices_reference(told, 5)


def test_every_band_of_a_device_has_a_number_of_its_own() -> None:
    """And of no device; 0 is that of nothing."""
    rows = np.zeros(3 * (BANDS + 1), PROFILE)
    rows["band"] = np.tile(np.arange(BANDS + 1), 3)
    rows["device"] = np.repeat(np.array([0, hash_text("phone"), hash_text("desktop")], np.uint64), BANDS + 1)
    numbers = contexts_of(rows).tolist()
    assert len(set(numbers)) == len(rows) and numbers.count(0) == 1 and numbers[0] == 0
    assert BANDS * HOURS_A_BAND == 24


def told(shop: Shop, *lines: bytes) -> tuple[int, int]:
    """Band and device of the one shopper of a batch."""
    [batch] = shop.feed(*lines)
    [row] = batch.rows
    return int(row["band"]), int(row["device"])


def test_a_profile_tells_hour_and_device_of_the_newest_act() -> None:
    """On the shop's clock; the newest that told a device, in whatever order they come; without one the favourite."""
    shop = Shop(list_context=("hour", "device"), timezone="Europe/Berlin")
    phone, desktop = hash_text("phone"), hash_text("desktop")
    begin = BEGIN_MS // DAY * DAY + 16 * HOUR  # five in the evening
    assert told(shop, line("view", begin, item_id="a")) == (6, 0)
    at = begin + HOUR
    acts = [
        line("view", at + 2 * MINUTE, item_id="b"),
        line("view", at + 1 * MINUTE, item_id="c", device="desktop"),
        line("view", at, item_id="d", device="phone"),
    ]
    assert told(shop, *acts) == (7, desktop)
    assert told(shop, line("view", at + 3 * MINUTE, item_id="a", device="phone")) == (7, phone)
    assert told(shop, line("view", at + 4 * MINUTE, item_id="b", device="phone")) == (7, phone)
    assert told(shop, line("view", at + 5 * HOUR, item_id="c", device="desktop")) == (8, desktop)
    assert told(shop, line("view", at + 6 * HOUR, item_id="d")) == (1, phone), "the favourite, after midnight"


def test_who_comes_back_after_an_erasure_has_no_device_of_before() -> None:
    """Within one batch, too."""
    shop = Shop(list_context=("hour", "device"))
    acts = [
        line("view", BEGIN_MS, item_id="a", device="phone"),
        line("erase", BEGIN_MS + 1),
        line("view", BEGIN_MS + 2, item_id="a"),
    ]
    assert told(shop, *acts)[1] == 0


@pytest.mark.parametrize("parts", [("hour",), ("device",), ()])
def test_a_context_is_made_of_what_was_asked_for(parts: tuple[str, ...]) -> None:
    """And where the ladder asks for none, nothing is told."""
    band, device = told(Shop(list_context=parts), line("view", BEGIN_MS, item_id="a", device="phone"))
    assert (band > 0, device > 0) == ("hour" in parts, "device" in parts)
