"""Local time of the shop, as arrays a kernel can search: when its offset from UTC changes, and to what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

_FIRST_YEAR, _LAST_YEAR = 1990, 2050


@cache
def utc_offsets(timezone: str) -> tuple[np.ndarray, np.ndarray]:
    """Changes of a zone's offset between 1990 and 2050: (times ms int64[n], offsets ms int64[n]), first entry at 0.

    Raises zoneinfo.ZoneInfoNotFoundError for an unknown zone.
    """
    zone = ZoneInfo(timezone)

    def offset(at: datetime) -> timedelta:
        return at.astimezone(zone).utcoffset() or timedelta()

    at = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    times, offsets = [0], [offset(at)]
    while at.year < _LAST_YEAR:
        after = at + timedelta(days=1)
        if offset(after) != offsets[-1]:
            low, high = at, after
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
            times.append(int(high.timestamp()) // 60 * 60_000)  # zones change on whole minutes
            offsets.append(offset(after))
        at = after
    return np.array(times, np.int64), np.array([o.total_seconds() * 1000 for o in offsets], np.int64)
