"""A shopper's row: what the profile step keeps of each, and for how long.

Windows are tiled rings: a ring of n tiles of a fixed size holds, for each tile number (event time divided by the tile's
size, UTC), what fell into it; slot = tile number modulo n. A window's figure is the sum of its newest tiles, so it is
exact to one tile: 1 h from 12 tiles of 5 minutes, 24 h from 24 tiles of an hour, 7 d and 30 d from 30 tiles of a day.

Money is in ten-thousandths, pieces in thousandths, so that sums are integers and do not depend on their order.
Counters stop at their largest value instead of wrapping.
"""

from __future__ import annotations

import numpy as np

from state.batches import RECENT_ITEMS
from state.features import DIMENSIONS

TILE_MS = (300_000, 3_600_000, 86_400_000)
TILES = (12, 24, 30)
MINUTES, HOURS, DAYS = range(3)

COUNTED = ("views", "clicks", "searches", "carts", "purchases", "acts")
"""What the count rings count; `acts` is every event of a shopper, whatever its type."""

CATEGORIES = 4
"""How many favourite categories a shopper's row keeps (Space-Saving: the lightest makes room for a new one)."""

SEEN = 8
"""How many of a shopper's newest event ids are kept to find duplicates: the stated bound of de-duplication."""

PIECE_UNIT = 1_000
"""Pieces are counted in thousandths (half a kilogram is 500)."""

ID_CHUNK = 16

PROFILE_ROW = np.dtype(
    [
        ("hash", "u8"),  # 0: the row is free
        ("first_ts", "i8"),
        ("last_ts", "i8"),
        ("last_purchase_ts", "i8"),  # 0 before the first
        ("session_start_ts", "i8"),
        ("events", "i8"),
        ("spend", "i8"),
        ("items_bought", "i8"),
        ("purchase_due", "i8"),  # a purchase is waited for until then; 0: no decision is open
        ("churn_due", "i8"),  # a sign of life is waited for until then; 0: no decision is open
        ("spend_minutes", "i8", (TILES[MINUTES],)),
        ("spend_hours", "i8", (TILES[HOURS],)),
        ("spend_days", "i8", (TILES[DAYS],)),
        ("seen", "u8", (SEEN,)),
        ("recent", "u8", (RECENT_ITEMS,)),
        ("categories", "u8", (CATEGORIES,)),
        ("id_chunk", "i4"),  # first row of the id in the table of ids
        ("id_len", "i4"),
        ("heads", "i4", (3,)),  # newest tile number of each ring
        ("orders", "i4"),
        ("returns", "i4"),
        ("sessions", "i4"),
        ("session_events", "i4"),
        ("hours", "u4", (24,)),  # events by hour of day, shop time
        ("items_minutes", "i4", (TILES[MINUTES],)),
        ("items_hours", "i4", (TILES[HOURS],)),
        ("items_days", "i4", (TILES[DAYS],)),
        ("purchase_x", "f4", (DIMENSIONS,)),  # the features when the open decision was taken
        ("churn_x", "f4", (DIMENSIONS,)),
        ("category_weights", "f4", (CATEGORIES,)),
        ("category_total", "f4"),
        ("price_mean", "f4"),
        ("price_weight", "f4"),
        ("minutes", "u2", (len(COUNTED), TILES[MINUTES])),
        ("hours_counts", "u2", (len(COUNTED), TILES[HOURS])),
        ("days", "u2", (len(COUNTED), TILES[DAYS])),
        ("seen_at", "u1"),
        ("recent_n", "u1"),
        ("session_items", "u1"),  # item-bearing acts in this session, up to RECENT_ITEMS
        ("refused", "u1"),  # consent was withdrawn: nothing more is taken in
    ],
    align=True,
)

ID_ROW = np.dtype([("bytes", "u1", (ID_CHUNK,))])
"""A shopper's id lies in consecutive rows of this table, 16 bytes a row."""

SHARD_ROW = np.dtype(
    [
        ("watermark_ts", "i8"),  # newest event time taken in
        ("events", "i8"),
        ("samples_wait", "i8"),  # events until the next sample for the segments
        ("sweep_at", "i8"),  # the row the next sweep begins with
    ],
    align=True,
)
