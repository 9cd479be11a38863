"""What log to make, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

EVENTS_MAX = 10_000_000
"""Events of a plan: they are drawn in memory, at about 300 bytes each."""

SHOPPERS_MAX = 10_000_000
ITEMS_MAX = 1_000_000
CATEGORIES_MAX = 1_000
DAYS_MAX = 3_660
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class ShopPlan:
    """What log to make.

    `events` distinct events, exactly: the catalogue (one `item` event for each of `items`), then what `shoppers` did in
    `days` from `start` on (RFC 3339). Of the shoppers' events, to the nearest whole number: `late_share` stand 5
    minutes to 6 hours further down in the log than their time says; `duplicate_share` are told a second time soon after
    (lines beyond `events`); `future_share` carry a time ten years ahead. No event is two of these. ValueError with
    what to change when the plan cannot be kept.
    """

    seed: int = 7
    shoppers: int = 2000
    items: int = 3000
    categories: int = 24
    days: int = 14
    events: int = 100_000
    start: str = "2026-03-02T00:00:00Z"
    late_share: float = 0.0
    duplicate_share: float = 0.0
    future_share: float = 0.0
    drift: bool = True

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
        bounds = {"shoppers": SHOPPERS_MAX, "items": ITEMS_MAX, "categories": CATEGORIES_MAX, "days": DAYS_MAX}
        for name, most in {**bounds, "events": EVENTS_MAX}.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 1 to {most:,}, not {getattr(self, name):,}")
        if self.categories > self.items:
            raise ValueError(f"{self.categories} categories need as many items at least, not {self.items}")
        if self.events <= self.items:
            raise ValueError(f"events ({self.events}) must be more than items ({self.items}): each item is an event")
        shares = {name: getattr(self, name) for name in ("late_share", "duplicate_share", "future_share")}
        for name, share in shares.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} must be from 0 to 1, not {share}")
        if sum(shares.values()) > 1.0:
            raise ValueError(f"late, duplicate and future share must not exceed 1 together, not {sum(shares.values())}")
        if self.start_ms < 0:
            raise ValueError(f"start must not be before 1970, not {self.start}")

    @property
    def start_ms(self) -> int:
        """Epoch ms of the beginning; a start without a time zone is UTC."""
        at = datetime.fromisoformat(self.start)
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
