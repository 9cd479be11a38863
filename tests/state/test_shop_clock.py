"""The shop's clock, held against zoneinfo."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pytest

from state.shop_clock import utc_offsets

ZONES = (
    "UTC",
    "America/New_York",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
    "America/Sao_Paulo",
)


@pytest.mark.parametrize("zone", ZONES)
def test_offsets_are_those_of_zoneinfo(zone: str) -> None:
    """At random times of sixty years, and to the second around every change."""
    times, offsets = utc_offsets(zone)
    assert times.dtype == offsets.dtype == np.int64 and times[0] == 0 and (np.diff(times) > 0).all()
    first, last = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1990, 2050))
    random = np.random.default_rng(len(zone))
    seconds = [*random.integers(first, last, 3000).tolist()]
    seconds += [int(t) // 1000 + d for t in times[1:] for d in (-1, 0, 1)]
    for second in seconds:
        told = datetime.fromtimestamp(second, ZoneInfo(zone)).utcoffset()
        assert told is not None
        found = offsets[np.searchsorted(times, second * 1000, side="right") - 1]
        assert found == told.total_seconds() * 1000, (zone, second)


def test_an_unknown_zone_is_told() -> None:
    """The error is zoneinfo's own."""
    with pytest.raises(ZoneInfoNotFoundError, match="Atlantis"):
        utc_offsets("Europe/Atlantis")
