"""The compiled heart of the profile step: take events in, one by one, in order."""

from __future__ import annotations

import numpy as np

from operators.kernels import carts
from operators.kernels.facts import fact_of, tell
from operators.kernels.features import model_features
from operators.kernels.neighbours import pairs_of
from operators.kernels.profile_parts import (
    close_decision,
    keep_sample,
    mark,
    open_decision,
    open_place,
    release,
    set_attribute,
    take_order,
)
from operators.kernels.rule_states import catch_up
from operators.kernels.sequences import go_on
from operators.kernels.sessions import join, recent_since, remember, will_close
from operators.kernels.tastes import fade, fading_weight, favour, like, number_of
from operators.kernels.triggers import (
    CHURN_HORIZON,
    FACTS_MAX,
    GAP,
    HALF_LIFE,
    PURCHASE_HORIZON,
    SAMPLE_EVERY,
    VALUES_MAX,
    before_act,
    before_cart_act,
    before_closing,
    before_order,
)
from operators.kernels.windows import TILE_MS, coarsened, count, custom_tag, roll
from state.batches import (
    ADD_TO_CART,
    CLICK,
    CONSENT,
    CUSTOM,
    ERASE,
    IMPRESSION,
    ITEM,
    KINDS,
    PROFILE_EVENT,
    PURCHASE,
    REMOVE_FROM_CART,
    SEARCH,
    TOLD_MAX,
    VIEW,
    WISHLIST,
)
from state.compiled import borrowed, kernel
from state.features import DIMENSIONS
from state.hashing import finish
from state.marks import ACTED_ON, BOUGHT, FORGOTTEN, SHOWN
from state.profile_table import (
    CART,
    CART_ACTS,
    CARTS,
    CLICKS,
    ITEMS_BOUGHT,
    PIECE_UNIT,
    PURCHASES,
    REMOVALS,
    SEARCHES,
    SEEN,
    SPEND,
    VIEWS,
    WISHLISTS,
)

TAKEN, DUPLICATE, REFUSED, LATE, NO_ROOM, FACT = range(6)
"""What became of an event: its status in `take_in`."""

TAG_OF = np.zeros(len(KINDS), np.uint8)
"""The tag under which an event type is counted; 0: none."""
TAG_OF[[VIEW, CLICK, SEARCH, ADD_TO_CART, REMOVE_FROM_CART, WISHLIST, PURCHASE]] = [
    VIEWS,
    CLICKS,
    SEARCHES,
    CARTS,
    REMOVALS,
    WISHLISTS,
    PURCHASES,
]

STRENGTH = np.zeros(len(KINDS), np.float32)
"""How much a liking says of an item's popularity."""
STRENGTH[[VIEW, CLICK, WISHLIST, ADD_TO_CART, PURCHASE]] = [1.0, 1.0, 1.5, 2.0, 3.0]

U2_MAX = 65535
CUSTOM_MAX = 1e11
"""Values of custom events beyond it count as it: sums of thousands of them still fit."""


@kernel
def _is_duplicate(row, event_id):
    for k in range(SEEN):
        if row.seen[k] == event_id:
            return True
    row.seen[row.seen_at] = event_id
    row.seen_at = (row.seen_at + 1) % SEEN
    return False


@kernel
def _pieces(quantity):
    """A quantity in thousandths."""
    return np.int64(np.round(quantity * PIECE_UNIT))


@kernel
def _money(pieces, price):
    """Pieces (thousandths) times price, rounded half to even."""
    exact = pieces * price
    whole = exact // PIECE_UNIT
    rest = exact - whole * PIECE_UNIT
    if 2 * rest > PIECE_UNIT or (2 * rest == PIECE_UNIT and whole % 2 == 1):
        whole += 1
    return whole


@kernel
def _is_order(events, head):
    """Has the purchase that begins at `head` a line that is not a return?"""
    i = head
    while i < len(events) and (i == head or (not events[i].head)):
        if _pieces(events[i].value) > 0:
            return True
        i += 1
    return False


@kernel
def shop_ms(ts, zone):
    """A time (ms) on the shop's clock."""
    times, offsets = zone
    return ts + offsets[max(np.searchsorted(times, ts, side="right") - 1, 0)]


@kernel
def _count_clock(row, ts, zone):
    """Count an act by hour of the day and day of the week, shop time."""
    local = shop_ms(ts, zone)
    hour = (local // 3_600_000) % 24
    weekday = (local // 86_400_000 + 3) % 7  # 1 January 1970 was a Thursday
    if row.hours[hour] < U2_MAX:
        row.hours[hour] += 1
    if row.weekdays[weekday] < U2_MAX:
        row.weekdays[weekday] += 1


@kernel
def _advance(slabs, row, ts, half_life_ms):
    """Move windows and fading figures on to an act at `ts`; the key of its tile, -1: it is late."""
    if row.last_ts == 0:
        row.period = ts // half_life_ms
    elif ts > row.last_ts:
        if ts // TILE_MS > row.last_ts // TILE_MS:
            row.cells = roll(slabs.cells, row.cells, ts // TILE_MS)
        fade(slabs.cells, row, ts // half_life_ms)
    row.last_ts = max(row.last_ts, ts)
    return coarsened(ts // TILE_MS, row.last_ts // TILE_MS)


@kernel
def _visit(slabs, row, s, event, order, limits):
    """The session an act belongs to: its place among the open ones, or -1."""
    if will_close(s, event.ts, limits[GAP]):
        before_closing(slabs, row, s, limits)
    k = join(s, event.ts, limits[GAP])
    if k >= 0:
        s.events[k] += 1
        s.depth[k] += event.kind == VIEW or event.kind == CLICK
        s.carts[k] += event.kind == ADD_TO_CART
        s.orders[k] += order
        if event.dwell_ms >= 0:
            s.dwell_ms[k] += event.dwell_ms
            s.dwells[k] += 1
    return k


@kernel
def _fill_cart(slabs, row, cart, event, price, limits, held):
    """A cart act: to its place, unless an order has emptied the cart since."""
    carts.load(slabs.carts, row.cart, cart)
    before_cart_act(slabs, row, cart, event.ts, limits, held)
    if event.ts > row.order_ts[0]:
        pieces = _pieces(event.value)
        carts.put(cart, event.item, event.ts, pieces if event.kind == ADD_TO_CART else -pieces, price)
        row.cart = carts.store(slabs.carts, row.cart, cart)


@kernel
def _order(slabs, row, cart, ts, limits, held):
    """An order: its place among the orders, and an empty cart."""
    carts.load(slabs.carts, row.cart, cart)
    before_order(slabs, row, cart, ts, limits, held)
    take_order(row, ts)
    if row.cart > 0:
        carts.empty_until(cart, ts)
        row.cart = carts.store(slabs.carts, row.cart, cart)


@kernel
def take_in(
    events,
    row_of,
    profiles,
    sessions,
    slabs,
    shard,
    zone,
    limits,
    value_index,
    fact_index,
    told_tags,
    found,
    rules,
    places,
    place_of,
    who,
    flags,
    status,
    acts,
    pairs,
    touches,
    marks,
    samples,
    purchases,
    churns,
    changes,
):
    """Take a batch of one user shard in, event by event, in order.

    `events` EVENT[n], `row_of` int32[n] their rows (-1: no room, or an `item` event); `profiles`, `sessions` the tables
    and `slabs` their slabs (`operators.kernels.slabs`); `shard` SHARD_ROW[1]; `zone` (times, offsets) of the shop's
    clock; `limits` int64 (`operators.kernels.triggers`); `value_index`, `fact_index` (hashes, rows) of the slabs values
    and facts, with room for all that is new; `told_tags` int64[TOLD_MAX].
    Out: `found` int64[4]: values and facts taken in, values and facts without room; `place_of` int32[rows] the place of
    each row touched (on entry -1, but for the first `places` of `who`), `who` int32[n] the rows by place, `flags`
    int32[n, 3] by place: acts, fresh, erased; `status` uint8[n]; `acts` ACT[n], `pairs` PAIR[10 n], `touches` TOUCH[n],
    `marks` MARK[n]; `samples`, `purchases`, `churns` each (x, y, ts, known_ts) arrays; `changes` TRANSITION of rule
    segments (`rules` Rules), before the last event of each shopper. Returns the numbers of places, acts, pairs,
    touches, marks, samples, purchases, churns, changes.
    """
    events, profiles, sessions, slabs, rules, marks = borrowed((events, profiles, sessions, slabs, rules, marks))
    value_hashes, value_rows = value_index
    fact_hashes, fact_rows = fact_index
    new_values, new_facts = found[:2], found[2:]
    x = np.empty(DIMENSIONS, np.float32)
    steps_told = np.zeros(4, np.uint64)
    held = np.zeros(CART_ACTS, np.int64)
    cart_room = np.zeros(1, CART)
    cart = cart_room[0]
    n_acts = n_pairs = n_touches = n_marks = n_samples = n_purchases = n_churns = n_changes = np.int64(0)
    state = shard[0]
    skipping = False  # the further lines of an order share the fate of its first
    key = weight = np.int64(0)
    visit = np.int64(-1)
    for i in range(len(events)):
        event = events[i]
        ts = event.ts
        kind = event.kind
        if kind == ITEM:
            tell(slabs.facts, fact_hashes, fact_rows, event, limits[FACTS_MAX], shard, new_facts)
            status[i] = FACT
            continue
        r = row_of[i]
        if r < 0:
            status[i] = NO_ROOM
            continue
        row = profiles.rows[r]
        s = sessions.rows[r]
        p = place_of[r]
        if p < 0:
            p = places
            open_place(place_of, who, flags, p, r, row.events == 0 and row.refused == 0)
            places += 1
        profiles.dirty[r] = 1
        if event.head:
            skipping = True
            if row.refused and kind not in (CONSENT, ERASE):
                status[i] = REFUSED
                continue
            # Before time passes to the event: one that is told again may bear a later time.
            if kind != ERASE and _is_duplicate(row, event.event_id):
                status[i] = DUPLICATE
                continue
            acted = flags[p, 0] > 0
            if len(rules.places) > 0 and row.events > 0 and not row.refused and (acted or 0 < row.crossing < ts):
                n_changes = catch_up(profiles, sessions, slabs, rules, r, acted, ts, limits[GAP], p, changes, n_changes)
            if kind == ERASE:
                release(profiles, sessions, slabs, rules.members, r)
                n_marks = mark(marks, n_marks, p, FORGOTTEN, event, np.uint64(0), np.int64(0))
                flags[p, 0] = 0
                flags[p, 1] = 0
                flags[p, 2] = 1
                status[i] = TAKEN
                continue
            skipping = False
            if kind == CONSENT:
                row.refused = 0 if event.value > 0 else 1
                row.crossing = 0  # of one who has withdrawn consent nothing more is told
            if row.events == 0:
                row.first_ts = ts
                if flags[p, 2]:
                    flags[p, 1] = 1  # erased and come back within one batch
            row.events += 1
            flags[p, 0] += 1
            row.first_ts = min(row.first_ts, ts)
            row.event_ts = max(row.event_ts, ts)
            state.newest_ts = max(state.newest_ts, ts)
            state.events += 1
            status[i] = TAKEN
        elif skipping:
            status[i] = status[i - 1]
            continue
        if kind > CUSTOM:
            if kind == PROFILE_EVENT and event.item != 0:
                set_attribute(slabs.attributes, row, event)
            elif kind == IMPRESSION and event.item != 0:
                n_marks = mark(marks, n_marks, p, SHOWN, event, np.uint64(0), np.int64(0))
                state.shown += 1
            status[i] = TAKEN
            continue

        sessions.dirty[r] = 1
        order = kind == PURCHASE and _is_order(events, i) if event.head else False
        if event.head:
            if row.purchase_decision > 0:
                due = slabs.decisions.rows[row.purchase_decision - 1].due
                if (order and ts >= due - limits[PURCHASE_HORIZON]) or ts > due:
                    n_purchases = close_decision(
                        slabs.decisions,
                        row.purchase_decision,
                        ts <= due,
                        limits[PURCHASE_HORIZON],
                        ts,
                        purchases,
                        n_purchases,
                    )
                    row.purchase_decision = 0
            if row.churn_decision > 0:
                due = slabs.decisions.rows[row.churn_decision - 1].due
                if ts >= due - limits[CHURN_HORIZON]:
                    n_churns = close_decision(
                        slabs.decisions, row.churn_decision, ts > due, limits[CHURN_HORIZON], ts, churns, n_churns
                    )
                    row.churn_decision = 0
            before_act(slabs, row, ts, limits)
            key = _advance(slabs, row, ts, limits[HALF_LIFE])
            weight = fading_weight(ts, limits[HALF_LIFE], np.int64(row.period))
            visit = _visit(slabs, row, s, event, order, limits)
            _count_clock(row, ts, zone)
            for d in range(TOLD_MAX):
                if event.told[d] != 0:
                    v = number_of(slabs.values, value_hashes, value_rows, event.told[d], limits[VALUES_MAX], new_values)
                    if v >= 0:
                        favour(slabs.cells, slabs.values, row, told_tags[d], v, weight)
            if kind == CUSTOM:
                if key >= 0:
                    count(slabs.cells, row, key, custom_tag(event.aux, 0), 1)
                    amount = _pieces(min(max(event.value, -CUSTOM_MAX), CUSTOM_MAX))
                    if amount != 0:
                        count(slabs.cells, row, key, custom_tag(event.aux, 1), amount)
            elif kind != PURCHASE or order:
                tag = TAG_OF[kind]
                row.newest[tag - 1] = max(row.newest[tag - 1], ts)
                if key >= 0:
                    count(slabs.cells, row, key, tag, 1)
            if order:
                _order(slabs, row, cart, ts, limits, held)
        status[i] = TAKEN if key >= 0 else LATE

        category, price, brand, item = event.category, event.price, np.uint64(0), event.item
        if item != 0 and slabs.facts.head[0] > 0:
            f = fact_of(fact_hashes, fact_rows, item)
            if f >= 0:
                fact = slabs.facts.rows[f]
                category = category if category != 0 else fact.category
                price = price if price >= 0 else fact.price
                brand = fact.brand
        if len(rules.sequences.rules) > 0:
            steps_told[:3] = event.told[:3]
            steps_told[3] = category
            go_on(slabs.cells, row, rules.sequences, rules.places, event, steps_told, price)
        strength = STRENGTH[kind]
        if kind == PURCHASE:
            pieces = _pieces(event.value)
            money = _money(pieces, price)
            row.items_bought += pieces
            row.spend += money
            if key >= 0:
                count(slabs.cells, row, key, ITEMS_BOUGHT, pieces)
                count(slabs.cells, row, key, SPEND, money)
            if pieces > 0:
                row.gross += money
            else:
                row.returned -= money
                row.returns += pieces < 0
                strength = np.float32(0.0)
            n_marks = mark(marks, n_marks, p, BOUGHT, event, category, pieces)
        elif kind == ADD_TO_CART or kind == REMOVE_FROM_CART:
            _fill_cart(slabs, row, cart, event, price, limits, held)
        if item != 0 and kind != PURCHASE and state.shown > 0:
            n_marks = mark(marks, n_marks, p, ACTED_ON, event, category, np.int64(0))

        if item != 0 and strength > 0:
            before = s.recent[0] if s.recent_n > 0 else np.uint64(0)
            if before != item:
                acts[n_acts].position = p
                acts[n_acts].item = item
                acts[n_acts].previous = before
                n_acts += 1
                together = recent_since(s, s.start[visit]) if visit >= 0 else 0
                n_pairs = pairs_of(item, s.recent, together, strength, pairs, n_pairs)
            remember(s, item, ts)
            touch = touches[n_touches]
            touch.item = item
            touch.category = category
            touch.ts = ts
            touch.price = price
            touch.weight = strength
            n_touches += 1
            c = b = np.int64(-1)
            if category != 0:
                c = number_of(slabs.values, value_hashes, value_rows, category, limits[VALUES_MAX], new_values)
            if brand != 0:
                b = number_of(slabs.values, value_hashes, value_rows, brand, limits[VALUES_MAX], new_values)
            like(slabs.cells, slabs.values, slabs.prices, row, c, b, price, weight)

        if i + 1 == len(events) or events[i + 1].head:
            if finish(row.hash ^ np.uint64(ts)) % np.uint64(limits[SAMPLE_EVERY]) == 0:
                model_features(row, s, slabs.cells, row.event_ts, limits[GAP], x)
                n_samples = keep_sample(samples, n_samples, x, 0, row.event_ts, row.event_ts)
                if row.purchase_decision == 0:
                    row.purchase_decision = open_decision(slabs.decisions, row.event_ts + limits[PURCHASE_HORIZON], x)
                if row.churn_decision == 0:
                    row.churn_decision = open_decision(slabs.decisions, row.event_ts + limits[CHURN_HORIZON], x)
    cart_room[0].count = 0  # a record does not keep its array alive: used to the end, it is not freed before
    return places, n_acts, n_pairs, n_touches, n_marks, n_samples, n_purchases, n_churns, n_changes
