"""What the profile step keeps of a shopper, as record types of its tables; docs/PROFILES.md defines every figure.

A shopper has a row of PROFILE_ROW (the long habit) and, at the same number, one of SESSION_ROW (the current intent).
What only some have lies in slabs, rows of other tables that a shopper's row points to by number plus one (0: none):
chunks of cells (windows and tastes), open decisions, carts, attributes, triggers that wait. A slab's free rows are
chained by `next`.

Money is in ten-thousandths, pieces and custom values in thousandths, so that sums are integers and do not depend on
their order. Counts of hours and weekdays stop at their largest value instead of wrapping.
"""

from __future__ import annotations

import numpy as np

from state.batches import RECENT_ITEMS
from state.features import DIMENSIONS

SEEN = 8
"""How many of a shopper's newest event ids are kept to find duplicates: the stated bound of de-duplication."""

PIECE_UNIT = 1_000
"""Pieces are counted in thousandths (half a kilogram is 500), and so are the values of custom events."""

ID_CHUNK = 16
OPEN_SESSIONS = 3
ORDERS_KEPT = 4
CART_ACTS = 16
ATTRIBUTES_MAX = 16
PENDING_MAX = 32
RULES_MAX = 64
"""Rule segments that a state directory can ever know: a bit each in a shopper's set of them."""
RULE_STATES_MAX = 8
"""How many rules at a time can hold a shopper who no longer meets them; of more the shopper leaves at once."""
VALUES_KEPT = 8
"""How many categories, brands, devices ... a shopper's row keeps each (Space-Saving)."""

VIEWS, CLICKS, SEARCHES, CARTS, REMOVALS, WISHLISTS, PURCHASES, ITEMS_BOUGHT, SPEND = range(1, 10)
"""Tags of the window cells of a measure."""

MEASURE_TAGS = 10
RECENCIES = ("views", "clicks", "searches", "carts", "removals", "wishlists", "purchases")
"""Acts whose newest time is kept, in the order of their tags."""

CATEGORY, BRAND, UNPRICED, PRICE_LOG = range(1, 5)
"""Tags of the taste cells: weights of categories and brands, the part of a category's weight that came without a
price, and the weighted logarithms of its prices. Those of told circumstances are made of the hash of their name
(`told_tag`)."""

PROFILE_ROW = np.dtype(
    [
        ("hash", "u8"),  # 0: the row is free
        ("first_ts", "i8"),  # oldest event
        ("event_ts", "i8"),  # newest event
        ("last_ts", "i8"),  # newest act; 0 before the first
        ("newest", "i8", (len(RECENCIES),)),  # newest act of each kind; 0 before the first
        ("events", "i8"),
        ("spend", "i8"),
        ("gross", "i8"),  # money of lines bought
        ("returned", "i8"),  # money of lines sent back
        ("items_bought", "i8"),
        ("order_ts", "i8", (ORDERS_KEPT,)),  # newest orders, newest first; 0: none
        ("gaps_from_ts", "i8"),  # oldest order that counts in the gaps
        ("gap_squares", "f8"),  # of the gaps between orders no longer kept, days squared
        ("price_sum", "i8"),  # fading: weight times price in cents
        ("price_weight", "i8"),
        ("rules", "u8"),  # rule segments the shopper is in, a bit each
        ("crossing", "i8"),  # when the passing of time may change one of them next; 0: never
        ("lapsed_told", "i8"),  # the act that a trigger told to be the last
        ("cart_told", "i8"),  # the cart act that a trigger told to be abandoned
        ("seen", "u8", (SEEN,)),
        ("orders", "i4"),
        ("returns", "i4"),
        ("gap_orders", "i4"),  # orders that count in the gaps
        ("period", "i4"),  # half-lives since 1970 that the fading figures are faded to
        ("cells", "i4"),  # windows
        ("tastes", "i4"),
        ("purchase_decision", "i4"),
        ("churn_decision", "i4"),
        ("cart", "i4"),
        ("attributes", "i4"),
        ("pending", "i4"),
        ("rule_states", "i4"),
        ("sequences", "i4"),
        ("id_chunk", "i4"),  # first row of the id in the table of ids
        ("id_len", "i4"),
        ("hours", "u2", (24,)),  # acts by hour of day, shop time
        ("weekdays", "u2", (7,)),  # from Monday
        ("seen_at", "u1"),
        ("refused", "u1"),  # consent was withdrawn: nothing more is taken in
        ("rules_version", "u1"),  # of the rules that were last asked
    ],
    align=True,
)

SESSION_ROW = np.dtype(
    [
        ("start", "i8", (OPEN_SESSIONS,)),  # open sessions, newest first
        ("end", "i8", (OPEN_SESSIONS,)),
        ("dwell_ms", "i8", (OPEN_SESSIONS,)),
        ("recent", "u8", (RECENT_ITEMS,)),  # last different items liked, newest first
        ("recent_ts", "i8", (RECENT_ITEMS,)),
        ("events", "i4", (OPEN_SESSIONS,)),
        ("depth", "i4", (OPEN_SESSIONS,)),  # views and clicks
        ("dwells", "i4", (OPEN_SESSIONS,)),
        ("carts", "i4", (OPEN_SESSIONS,)),
        ("orders", "i4", (OPEN_SESSIONS,)),
        ("closed", "i4"),
        ("told", "u1", (OPEN_SESSIONS,)),  # a trigger told that nothing was bought
        ("open", "u1"),
        ("recent_n", "u1"),
    ],
    align=True,
)

CELLS_A_CHUNK = 6
CELL_CHUNK = np.dtype(
    [
        ("amounts", "i8", (CELLS_A_CHUNK,)),
        ("keys", "u4", (CELLS_A_CHUNK,)),  # of windows the first 5-minute tile, of tastes the number of the value
        ("tags", "u4", (CELLS_A_CHUNK,)),
        ("next", "i4"),
        ("count", "i4"),
    ],
    align=True,
)

DECISION_ROW = np.dtype([("due", "i8"), ("x", "f4", (DIMENSIONS,)), ("next", "i4")], align=True)
"""An open decision of a propensity: the features it was taken with, and until when its outcome is waited for."""

CART_CHUNK_ACTS = 4


def _cart(acts: int) -> np.dtype:
    return np.dtype(
        [
            ("items", "u8", (acts,)),  # cart acts since the newest order, newest first
            ("ts", "i8", (acts,)),
            ("prices", "i8", (acts,)),  # -1: not told
            ("pieces", "i8", (acts,)),  # negative: taken out
            ("next", "i4"),
            ("count", "i4"),
        ],
        align=True,
    )


CART_CHUNK = _cart(CART_CHUNK_ACTS)
"""A few of a cart's acts; most carts have no more."""

CART = _cart(CART_ACTS)
"""A whole cart, as it is worked upon."""

ATTRIBUTE_ROW = np.dtype(
    [
        ("names", "u8", (ATTRIBUTES_MAX,)),
        ("values", "u8", (ATTRIBUTES_MAX,)),  # hash of a string, bits of a float
        ("ts", "i8", (ATTRIBUTES_MAX,)),
        ("next", "i4"),
        ("count", "i4"),
        ("types", "u1", (ATTRIBUTES_MAX,)),  # 0 string, 1 number, 2 bool
    ],
    align=True,
)

PENDING_ROW = np.dtype(
    [
        ("cause", "i8", (PENDING_MAX,)),
        ("at", "i8", (PENDING_MAX,)),
        ("next", "i4"),
        ("count", "i4"),
        ("trigger", "u1", (PENDING_MAX,)),
    ],
    align=True,
)
"""Triggers whose cause has been overtaken by later acts before the watermark passed them."""

RULE_STATE_ROW = np.dtype(
    [
        ("since", "i8", (RULE_STATES_MAX,)),
        ("next", "i4"),
        ("count", "i4"),
        ("rule", "u1", (RULE_STATES_MAX,)),
    ],
    align=True,
)
"""Rule segments that hold a shopper although their condition has not been true since so long: event times, ms."""

VALUE_ROW = np.dtype([("hash", "u8"), ("prices", "i4"), ("next", "i4")], align=True)
"""A category, brand, device ... of the shard by its number; `prices` the row of its prices plus one."""

PRICE_BINS = 109
PRICES_ROW = np.dtype([("counts", "u4", (PRICE_BINS,)), ("next", "i4")], align=True)
"""Likings in a category by price: quarter octaves from 0.01 on."""

FACT_ROW = np.dtype(
    [
        ("item", "u8"),
        ("category", "u8"),
        ("brand", "u8"),
        ("price", "i8"),
        ("ts", "i8"),  # newest event
        ("available_ts", "i8"),  # newest one that told `available`; 0 in rows of state from before it was kept
        ("next", "i4"),
        ("available", "u1"),  # AVAILABLE, UNAVAILABLE, or 0: nobody told
    ],
    align=True,
)
"""What `item` events told of an item; price -1 where none did."""

AVAILABLE, UNAVAILABLE = 1, 2

PART_ROW = np.dtype([("part", "u8"), ("newest_ts", "i8")], align=True)
"""An input part and its newest event time."""

ID_ROW = np.dtype([("bytes", "u1", (ID_CHUNK,))])
"""A shopper's id lies in consecutive rows of this table, 16 bytes a row."""

SLABS = {
    "cells": CELL_CHUNK,
    "decisions": DECISION_ROW,
    "carts": CART_CHUNK,
    "attributes": ATTRIBUTE_ROW,
    "pending": PENDING_ROW,
    "rule_states": RULE_STATE_ROW,
    "values": VALUE_ROW,
    "prices": PRICES_ROW,
    "facts": FACT_ROW,
}
"""The tables whose rows kernels take in use and give back, in the order of SHARD_ROW.heads."""

SHARD_ROW = np.dtype(
    [
        ("watermark_ts", "i8"),
        ("newest_ts", "i8"),  # newest event time taken in
        ("events", "i8"),
        ("sweep_at", "i8"),  # the row the next sweep begins with
        ("members", "i8", (RULES_MAX,)),  # shoppers in each rule segment, those in the cold tier among them
        ("heads", "i8", (len(SLABS), 4)),  # of each slab: rows begun, first free row plus one, free rows, left out
        ("facts_out", "i8"),  # of the facts, items that are not available
        ("facts_turn", "i8"),  # the fact with which the next search for one that may give way begins
        ("shown", "i8"),  # items of impressions taken in, ever: without any, acts that end their weariness are not told
    ],
    align=True,
)

TABLES = {
    "profiles": PROFILE_ROW,
    "sessions": SESSION_ROW,
    **SLABS,
    "parts": PART_ROW,
    "ids": ID_ROW,
    "shard": SHARD_ROW,
}
"""Every table of the profile step of one shard."""
