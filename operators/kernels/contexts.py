"""The context of a shopper: the band of three hours of the shop's day, and the device, of their newest act.

Both are columns of PROFILE, written only where the ladder asks for them. The device is what the newest event of the
batch told that told one, else the one the shopper likes best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from operators.kernels.features import favourite_of
from operators.kernels.profile import LATE, TAKEN, shop_ms
from state.batches import ERASE
from state.compiled import kernel

HOURS_A_BAND = 3
BANDS = 24 // HOURS_A_BAND
_BAND_BITS = 15
"""A context's number is the hash of its device with these bits of it given up for the band."""


@kernel
def band_of(ts, zone):
    """The band of a time (ms), 1 to BANDS; 0 of none."""
    if ts <= 0:
        return 0
    return 1 + shop_ms(ts, zone) // (HOURS_A_BAND * 3_600_000) % BANDS


@kernel
def find_devices(events, row_of, status, place_of, devices, times):
    """Which device each shopper of a batch told last.

    `events` EVENT[n], `row_of` int32[n] their rows (-1: none), `status` uint8[n] what became of them, `place_of`
    int32[rows] the place of each row. Out, zeroed on entry: `devices` uint64[places] (0: none was told) and the `times`
    int64[places] of the events that told them; of events at the same time the later one in the batch counts.
    """
    for i in range(len(events)):
        if row_of[i] < 0 or (status[i] != TAKEN and status[i] != LATE):
            continue
        p = place_of[row_of[i]]
        event = events[i]
        if event.kind == ERASE:
            devices[p] = 0
            times[p] = 0
        elif event.told[0] != 0 and event.ts >= times[p]:
            devices[p] = event.told[0]
            times[p] = event.ts


@kernel
def describe_contexts(profiles, cells, values, who, places, devices, device_tag, zone, by_hour, by_device, out):
    """Write bands and devices of the shoppers in `who` into PROFILE rows `out`, as far as they are asked for.

    `profiles`, `cells`, `values` slabs; `devices` uint64[k] of the first places, as `find_devices` gives them;
    `device_tag` the tag of the device's cells; `zone` (times, offsets) of the shop's clock.
    """
    for p in range(places):
        row = profiles.rows[who[p]]
        if by_hour:
            out[p].band = band_of(row.event_ts, zone)
        if by_device:
            device = devices[p] if p < len(devices) else np.uint64(0)
            if device == np.uint64(0):
                device = favourite_of(cells, values, row, device_tag)
            out[p].device = device


def contexts_of(profiles: np.ndarray) -> np.ndarray:
    """Numbers uint64[n] of the contexts of PROFILE rows; 0 where nothing is known."""
    numbers: np.ndarray = profiles["device"] & ~np.uint64(_BAND_BITS) | profiles["band"]
    return numbers


def devices_reference(events: Sequence[tuple[int, int, int, bool, bool]], places: int) -> list[int]:
    """The plain reference of `find_devices`: of events (place, ts, device, taken in, erases)."""
    devices = []
    for place in range(places):
        own = [event for event in events if event[0] == place and event[3]]
        erased = max((n for n, event in enumerate(own) if event[4]), default=-1)
        told = [(ts, n, device) for n, (_, ts, device, _, _) in enumerate(own) if device and n > erased]
        devices.append(max(told)[2] if told else 0)
    return devices


def band_reference(ts: int, offset_ms: int) -> int:
    """`band_of` a time at an offset from UTC, from the hour of the day."""
    return 1 + (ts + offset_ms) % 86_400_000 // 3_600_000 // HOURS_A_BAND
