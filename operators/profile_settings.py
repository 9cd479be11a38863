"""How the profile step counts: its bounds and time spans, and the limits as its kernels take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.kernels.tastes import told_tag
from state.batches import DIMENSIONS_TOLD, TOLD_MAX
from state.hashing import hash_text

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
SWEPT_ROWS_MIN = 64


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """How the profile step counts.

    `users_max` bounds the shoppers of a shard, `bytes_max` the memory they take (0: no bound), `values_max` and
    `facts_max` the categories and the like, and the items of the catalogue, that it knows. Once in `sample_every` acts
    the shopper who acts becomes a sample: for the segments at once, for the propensities when their decision is closed.
    A call also looks at up to a quarter as many shoppers as it has events, but at least SWEPT_ROWS_MIN, of those whose
    windows change by the passing of time. `list_context`, some of CONTEXT_PARTS, is what the contexts are made of that
    lists ask for.
    """

    item_shards: int = 16
    users_max: int = 2_000_000
    bytes_max: int = 0
    values_max: int = 100_000
    facts_max: int = 100_000
    session_gap_ms: int = 30 * MINUTE_MS
    lateness_ms: int = 10 * MINUTE_MS
    purchase_horizon_ms: int = DAY_MS
    churn_horizon_ms: int = 14 * DAY_MS
    half_life_ms: int = 14 * DAY_MS
    cart_abandoned_ms: int = HOUR_MS
    browsed_depth_min: int = 3
    lapsed_ms: int = 30 * DAY_MS
    inactivity_ttl_ms: int = 90 * DAY_MS
    sample_every: int = 16
    timezone: str = "UTC"
    custom_names: tuple[str, ...] = ()
    context_names: tuple[str, ...] = ()
    list_context: tuple[str, ...] = ()

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The circumstances that acts tell, in the order of EVENT.told."""
        return (*DIMENSIONS_TOLD, *(f"context_{name}" for name in sorted(self.context_names)))

    def told_tags(self) -> np.ndarray:
        """The tags int64[TOLD_MAX] of the cells of what acts tell, 0 past the last."""
        names = np.array([hash_text(name) for name in self.dimensions], np.uint64)
        return np.array([*map(told_tag, names), *[0] * (TOLD_MAX - len(names))], np.int64)

    def limits(self) -> np.ndarray:
        """The limits as kernels take them, in the order of `operators.kernels.triggers`."""
        return np.array(
            [
                self.session_gap_ms,
                self.lateness_ms,
                self.purchase_horizon_ms,
                self.churn_horizon_ms,
                self.half_life_ms,
                self.sample_every,
                self.cart_abandoned_ms,
                self.browsed_depth_min,
                self.lapsed_ms,
                self.inactivity_ttl_ms,
                self.values_max,
                self.facts_max,
            ],
            np.int64,
        )
