"""The rules of a shop for its lists, shopper by shopper: what was bought stays out, what was shown in vain sinks.

What shoppers did comes as MARKs in event order and is kept in chains (`operators.kernels.held_items`); what that means
for their next lists is told as factors: 0 for an item that is not to be listed, else what its score is multiplied by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from operators.kernels.goods import GOOD, category_key, slot_of
from operators.kernels.held_items import (
    BOUGHT_MAX,
    MINUTE_MS,
    SHOWN_MAX,
    add_item,
    count_items,
    find_item,
    pack_items,
    remove_item,
    unpack_items,
)
from operators.kernels.slabs import free_chain
from state.compiled import borrowed, kernel
from state.marks import BOUGHT, FORGOTTEN, SHOWN

LIST_RULES = np.dtype(
    [
        ("bought_minutes", "i8"),  # what was bought stays out for so long
        ("longest_minutes", "i8"),  # the longest that anything does; 0: what was bought is not kept
        ("shown_minutes", "i8"),  # impressions count for so long; 0: they are not kept
        ("fatigue_after", "i8"),
        ("category_max", "i8"),  # 0: no limit
        ("fatigue_factor", "f4"),
    ],
    align=True,
)
"""The rules as kernels read them: `operators.list_settings` gives them."""

RULED = np.dtype([("item", "u8"), ("factor", "f4")], align=True)
"""What a shopper's score of an item is multiplied by; 0: it is not to be listed."""

FACTOR_MIN = np.float32(1e-30)
"""However often an item was shown: it may still be listed."""

_PIECES_MAX = 2**32 - 1
_AMOUNT_MASK = np.uint64(_PIECES_MAX)


class Rules(NamedTuple):
    """What rules mean for the lists of n shoppers."""

    ruled: np.ndarray
    """RULED[m] of all of them, each item of a shopper once or twice"""
    starts: np.ndarray
    """int64[n + 1]: those of list k are ruled[starts[k]:starts[k + 1]]"""
    goods: np.ndarray
    """GOOD[slots], shared by the process"""
    limits: np.ndarray
    """int64[2]: how many items are not to be shown, and the most of one category in a list (0: no limit)"""


def no_rules(n: int) -> Rules:
    """Nothing holds for n lists."""
    return Rules(np.empty(0, RULED), np.zeros(n + 1, np.int64), np.zeros(1, GOOD), np.zeros(2, np.int64))


@kernel
def _minutes_out(rules, keys, minutes, goods, item, category):
    """For how many minutes an item stays out once it is bought: by its category as the goods know it, else as it was
    known when it was bought (its key)."""
    known = goods[slot_of(goods, item)].category
    wanted = known if known != 0 else np.uint32(category)
    if wanted != 0 and len(keys) > 0:
        at = np.searchsorted(keys, wanted)
        if at < len(keys) and keys[at] == wanted:
            return minutes[at]
    return rules[0].bought_minutes


@kernel
def _take_shown(shown, row, item, minute, keep_minutes):
    """An item was shown; did another have to give way for it?"""
    c, k = find_item(shown, row.shown, item)
    if c < 0:
        row.shown, gave_way = add_item(shown, row.shown, item, minute, 1, keep_minutes, SHOWN_MAX)
        return gave_way
    chunk = shown.rows[c]
    stale = np.int64(chunk.minutes[k]) + keep_minutes <= minute
    chunk.amounts[k] = 1 if stale else min(np.int64(chunk.amounts[k]) + 1, 255)
    chunk.minutes[k] = max(np.int64(chunk.minutes[k]), minute)
    shown.dirty[c] = 1
    return False


@kernel
def _take_bought(bought, row, mark, minute, rules, keys, minutes, goods):
    """Pieces of an item were bought, or sent back; did another item have to give way?"""
    c, k = find_item(bought, row.bought, mark.item)
    key = np.uint64(category_key(mark.category))
    if c < 0:
        gave_way = False
        if mark.pieces > 0:
            amount = np.uint64(min(mark.pieces, _PIECES_MAX)) | key << np.uint64(32)
            longest = rules[0].longest_minutes
            row.bought, gave_way = add_item(bought, row.bought, mark.item, minute, amount, longest, BOUGHT_MAX)
        return gave_way
    chunk = bought.rows[c]
    held = np.int64(chunk.amounts[k] & _AMOUNT_MASK)
    old_key = chunk.amounts[k] >> np.uint64(32)
    if mark.pieces > 0:
        out = _minutes_out(rules, keys, minutes, goods, mark.item, old_key)
        if np.int64(chunk.minutes[k]) + out <= minute:
            held = np.int64(0)  # nobody sends that back any more
        chunk.minutes[k] = max(np.int64(chunk.minutes[k]), minute)
    held = min(held + mark.pieces, np.int64(_PIECES_MAX))
    if held <= 0:
        row.bought = remove_item(bought, row.bought, c, k)
    else:
        chunk.amounts[k] = np.uint64(held) | (key if key != np.uint64(0) else old_key) << np.uint64(32)
        bought.dirty[c] = 1
    return False


@kernel
def _forget(bought, shown, lists, dirty, r):
    row = lists[r]
    if row.bought != 0 or row.shown != 0:
        free_chain(bought, row.bought)
        free_chain(shown, row.shown)
        row.bought = 0
        row.shown = 0
        dirty[r] = 1


@kernel
def take_marks(profiles, marks, lists, dirty, bought, shown, rules, keys, minutes, goods, gave_way):
    """Keep what shoppers bought and were shown.

    `profiles` PROFILE[n], `marks` MARK[m] of their places, in event order; `lists` LIST_ROW and its `dirty`; `bought`
    and `shown` slabs of BOUGHT_CHUNK and SHOWN_CHUNK with room for m more; `rules` LIST_RULES[1]; `keys` uint32,
    sorted, and `minutes` int64: for how long what was bought of a category stays out, where that is not the rule;
    `goods` GOOD[slots]; added to: `gave_way` int64[2], items bought and shown that are not kept for want of room. Rows
    that are new, or whose shoppers go, are cleared.
    """
    bought, shown, lists, dirty, marks, goods = borrowed((bought, shown, lists, dirty, marks, goods))
    for p in range(len(profiles)):
        if profiles[p].fresh != 0 or profiles[p].erased != 0:
            _forget(bought, shown, lists, dirty, profiles[p].row)
    keep_bought, keep_shown = rules[0].longest_minutes > 0, rules[0].shown_minutes > 0
    for m in range(len(marks)):
        mark = marks[m]
        r = profiles[mark.position].row
        row = lists[r]
        minute = max(mark.ts, 0) // MINUTE_MS
        if mark.what == FORGOTTEN:
            _forget(bought, shown, lists, dirty, r)
            continue
        before, before_shown = row.bought, row.shown
        if mark.what == SHOWN:
            if keep_shown:
                gave_way[1] += _take_shown(shown, row, mark.item, minute, rules[0].shown_minutes)
        else:
            if row.shown != 0:
                c, k = find_item(shown, row.shown, mark.item)
                if c >= 0:
                    row.shown = remove_item(shown, row.shown, c, k)
            if mark.what == BOUGHT and keep_bought and mark.pieces != 0:
                gave_way[0] += _take_bought(bought, row, mark, minute, rules, keys, minutes, goods)
        if row.bought != before or row.shown != before_shown:
            dirty[r] = 1
    for p in range(len(profiles)):
        if profiles[p].erased != 0 and profiles[p].acts == 0:
            _forget(bought, shown, lists, dirty, profiles[p].row)


@kernel
def count_held(rows, lists, bought, shown):
    """How many items are kept of the shoppers of some rows (int64[n])."""
    n = 0
    for i in range(len(rows)):
        row = lists[rows[i]]
        if row.bought != 0:
            n += count_items(bought, row.bought)
        if row.shown != 0:
            n += count_items(shown, row.shown)
    return n


@kernel
def tell_ruled(profiles, list_rows, lists, bought, shown, rules, keys, minutes, goods, out, starts):
    """What is kept of shoppers, as factors for the items of their lists, as of their newest events.

    As in `take_marks`; `list_rows` int32[n] gives the list of each place, in their order (-1: none is made). Written:
    `out` RULED with room for `count_held`, `starts` int64[lists + 1].
    """
    n = 0
    for p in range(len(profiles)):
        if list_rows[p] < 0:
            continue
        starts[list_rows[p]] = n
        row = lists[profiles[p].row]
        now = max(profiles[p].event_ts, 0) // MINUTE_MS
        c = np.int64(row.bought) - 1
        while c >= 0:
            chunk = bought.rows[c]
            for k in range(chunk.count):
                key = chunk.amounts[k] >> np.uint64(32)
                stays = _minutes_out(rules, keys, minutes, goods, chunk.items[k], key)
                if now < np.int64(chunk.minutes[k]) + stays:
                    out[n].item = chunk.items[k]
                    out[n].factor = 0.0
                    n += 1
            c = np.int64(chunk.next) - 1
        c = np.int64(row.shown) - 1
        while c >= 0:
            chunk = shown.rows[c]
            for k in range(chunk.count):
                times = np.int64(chunk.amounts[k]) - rules[0].fatigue_after
                if times > 0 and now < np.int64(chunk.minutes[k]) + rules[0].shown_minutes:
                    factor = np.float32(1.0)
                    for _ in range(times):
                        factor *= rules[0].fatigue_factor
                    out[n].item = chunk.items[k]
                    out[n].factor = max(factor, FACTOR_MIN)
                    n += 1
            c = np.int64(chunk.next) - 1
    starts[len(starts) - 1] = n
    return n


@kernel
def pack_held(rows, lists, bought, shown, words, starts):
    """LIST_ROWs with all they refer to as runs of words for the cold tier, which they are cleared for.

    `rows` int64[n]; `lists` LIST_ROW as words uint64[capacity, w], whose last word is the two references: in its place
    stand how many items of each follow. Written: `words`, `starts` int64[n + 1].
    """
    at = 0
    for i in range(len(rows)):
        starts[i] = at
        width = lists.shape[1]
        for k in range(width):
            words[at + k] = lists[rows[i], k]
        last = lists[rows[i], width - 1]
        of_bought, of_shown = last & np.uint64(0xFFFFFFFF), last >> np.uint64(32)
        n, m = count_items(bought, of_bought), count_items(shown, of_shown)
        words[at + width - 1] = np.uint64(n) | np.uint64(m) << np.uint64(32)
        at = pack_items(bought, of_bought, words, at + width)
        at = pack_items(shown, of_shown, words, at)
        free_chain(bought, of_bought)
        free_chain(shown, of_shown)
        for k in range(width):
            lists[rows[i], k] = 0
    starts[len(rows)] = at


@kernel
def unpack_held(rows, lists, bought, shown, words, starts):
    """The inverse of `pack_held`, into rows whose former shoppers are gone."""
    for i in range(len(rows)):
        at = starts[i]
        width = lists.shape[1]
        held = lists[rows[i], width - 1]
        free_chain(bought, held & np.uint64(0xFFFFFFFF))
        free_chain(shown, held >> np.uint64(32))
        for k in range(width - 1):
            lists[rows[i], k] = words[at + k]
        counts = words[at + width - 1]
        of_bought, at = unpack_items(bought, words, at + width, np.int64(counts & np.uint64(0xFFFFFFFF)))
        of_shown, at = unpack_items(shown, words, at, np.int64(counts >> np.uint64(32)))
        lists[rows[i], width - 1] = np.uint64(of_bought) | np.uint64(of_shown) << np.uint64(32)


def ruled_reference(
    told: Iterable[tuple[int, int, int, int, int]],
    now_ms: int,
    rules: np.ndarray,
    minutes_of: Mapping[int, int],
    category_of: Mapping[int, int],
) -> dict[int, float]:
    """The plain reference of `take_marks` and `tell_ruled` for one shopper who was told (what, item, category, ts,
    pieces) and for whom nothing had to give way: item -> factor. `minutes_of` category key -> minutes, `category_of`
    item -> category key as the goods know it."""
    r = rules[0]
    bought: dict[int, tuple[int, int, int]] = {}
    shown: dict[int, tuple[int, int]] = {}

    def stays(item: int, key: int) -> int:
        return minutes_of.get(category_of.get(item) or key, int(r["bought_minutes"]))

    for what, item, category, ts, pieces in told:
        minute = ts // MINUTE_MS
        if what == FORGOTTEN:
            bought, shown = {}, {}
        elif what == SHOWN:
            count, last = shown.get(item, (0, minute))
            count = 0 if last + r["shown_minutes"] <= minute else count
            if r["shown_minutes"]:
                shown[item] = (min(count + 1, 255), max(last, minute))
        else:
            shown.pop(item, None)
            if what == BOUGHT and r["longest_minutes"] and (pieces > 0 or (pieces < 0 and item in bought)):
                key = (category >> 32) | (category != 0)
                held, last, old = bought.get(item, (0, minute, key))
                if pieces > 0:
                    held = 0 if last + stays(item, old) <= minute else held
                    last = max(last, minute)
                bought[item] = (min(held + pieces, _PIECES_MAX), last, key or old)
                if bought[item][0] <= 0:
                    del bought[item]
    out: dict[int, float] = {}
    now = now_ms // MINUTE_MS
    for item, (count, last) in shown.items():
        if count > r["fatigue_after"] and now < last + r["shown_minutes"]:
            factor = np.float32(1.0)
            for _ in range(count - int(r["fatigue_after"])):
                factor *= r["fatigue_factor"]
            out[item] = float(max(factor, FACTOR_MIN))
    for item, (_, last, key) in bought.items():
        if now < last + stays(item, key):
            out[item] = 0.0
    return out
