"""Looking at shoppers who do not act: what followed from nothing happening, and when to look again."""

from __future__ import annotations

import numpy as np

from operators.kernels.profile_parts import close_decision, open_place, release
from operators.kernels.rule_states import pass_time
from operators.kernels.triggers import CHURN_HORIZON, GAP, PURCHASE_HORIZON, TTL, due_ms, fire
from operators.kernels.windows import next_change_ms
from state.compiled import borrowed, kernel
from state.profile_table import CART, CART_ACTS, PENDING_MAX

TRIGGERS_A_ROW = PENDING_MAX + CART_ACTS + 4
"""Most triggers that one look at a shopper can find."""


@kernel
def sweep(
    profiles, sessions, slabs, looked_at, watermark, limits, rules, place_of, who, flags, places, purchases, churns, out
):
    """Look at the rows `looked_at` (int32[m]): fire what the watermark has passed, close decisions whose time is up,
    see whom time alone takes out of a rule segment or into one, and release rows at the end of their life, after which
    nothing follows for them, however far the watermark is.

    Rows not yet in `who` are appended to it, with their `flags` (they are re-scored as of now). There must be room for
    m more places, for a decision of each model, and in `out` for TRIGGERS_A_ROW transitions and one of each rule a row.
    Returns (places, purchases, churns, transitions).
    """
    profiles, sessions, slabs, rules, out = borrowed((profiles, sessions, slabs, rules, out))
    held = np.zeros(CART_ACTS, np.int64)
    cart_room = np.zeros(1, CART)
    cart = cart_room[0]
    n_purchases = n_churns = n = np.int64(0)
    for i in range(len(looked_at)):
        r = looked_at[i]
        row = profiles.rows[r]
        if row.hash == np.uint64(0) or row.events == 0 or row.refused:
            continue
        s = sessions.rows[r]
        p = place_of[r]
        if p < 0:
            p = places
            open_place(place_of, who, flags, p, r, False)
            places += 1
        passed = min(watermark, row.event_ts + limits[TTL])
        if row.purchase_decision > 0 and slabs.decisions.rows[row.purchase_decision - 1].due < passed:
            n_purchases = close_decision(
                slabs.decisions, row.purchase_decision, 0, limits[PURCHASE_HORIZON], passed, purchases, n_purchases
            )
            row.purchase_decision = 0
            profiles.dirty[r] = 1
        if row.churn_decision > 0 and slabs.decisions.rows[row.churn_decision - 1].due < passed:
            n_churns = close_decision(
                slabs.decisions, row.churn_decision, 1, limits[CHURN_HORIZON], passed, churns, n_churns
            )
            row.churn_decision = 0
            profiles.dirty[r] = 1
        before = n
        n = fire(slabs, row, s, cart, p, passed, limits, held, out, n)
        if n > before:
            profiles.dirty[r] = 1
            sessions.dirty[r] = 1
        # An event may still come at the watermark itself; what time changes then is asked after it.
        until = min(watermark - 1, passed)
        if 0 < row.crossing <= until:
            # Room is left for those to come; who has to wait for it is looked at again.
            room = len(out) - (TRIGGERS_A_ROW + len(rules.places)) * (len(looked_at) - 1 - i)
            n = pass_time(profiles, sessions, slabs, rules, r, until, limits[GAP], p, out[:room], n)
            if 0 < row.crossing <= until:
                continue
        if passed == row.event_ts + limits[TTL]:
            release(profiles, sessions, slabs, rules.members, r)
            flags[p, 0] = 0
            flags[p, 1] = 0
            flags[p, 2] = 1
    cart_room[0].count = 0  # a record does not keep its array alive: used to the end, it is not freed before
    return places, n_purchases, n_churns, n


@kernel
def look_again(profiles, sessions, slabs, who, places, now, limits, due, change):
    """When the shoppers in `who` are to be looked at next: `due` int64[rows], the watermark at which something may
    follow from absence; `change` int64[rows], when a figure as of now changes by the passing of time alone."""
    profiles, sessions, slabs = borrowed((profiles, sessions, slabs))
    held = np.zeros(CART_ACTS, np.int64)
    cart_room = np.zeros(1, CART)
    cart = cart_room[0]
    for p in range(places):
        r = who[p]
        row = profiles.rows[r]
        s = sessions.rows[r]
        if row.hash == np.uint64(0) or row.events == 0:
            due[r] = np.int64(2**62)
            change[r] = np.int64(2**62)
            continue
        due[r] = due_ms(slabs, row, s, cart, limits, held)
        seen = max(now, row.event_ts)
        at = next_change_ms(slabs.cells, row.cells, seen)
        if s.open > 0 and s.end[0] + limits[GAP] >= seen:
            at = min(at, s.end[0] + limits[GAP] + 1)
        change[r] = at if row.refused == 0 else np.int64(2**62)
    cart_room[0].count = 0  # a record does not keep its array alive: used to the end, it is not freed before
