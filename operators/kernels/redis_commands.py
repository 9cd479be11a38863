"""User records as Redis commands, written as bytes in one pass: RESP arrays of bulk strings, ready for the socket."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from operators.kernels.contexts import HOURS_A_BAND
from operators.kernels.resp import CR, DOLLAR, DOT, LF, MINUS, STAR, ZERO, put, put_bulk, put_fixed, put_int, put_line
from state.batches import EXPLAINED, WHY_LENGTH
from state.compiled import borrowed, kernel
from state.features import MODEL_FEATURES
from state.names import find
from state.rungs import CATEGORY, CONTEXT, RUNG_BITS, SEGMENT

SLASH = 47
OPEN, CLOSE, COMMA, OPEN_OBJECT, CLOSE_OBJECT, COLON, QUOTE = 91, 93, 44, 123, 125, 58, 34
ROOM_MIN = 8192
"""Bytes that one record without its lists surely fits in (a key of 128 + prefix, and a dozen short fields)."""


REASONS = ("popular", "category:", "segment:s", "context:")
"""What `because` says, or begins with, where an item did not come from another one."""

_POPULAR, _OF_CATEGORY, _OF_SEGMENT, _OF_CONTEXT = range(len(REASONS))


@kernel
def put_field(out, at, scratch, length, texts, bounds, name):
    """Write a field's name (texts[bounds[name]:bounds[name + 1]]) and its value, scratch[:length]; the new position."""
    return put_bulk(out, put(out, at, texts, bounds[name], bounds[name + 1]), scratch, 0, length)


@kernel
def _put_context(out, at, slots, hashes, starts, arena, band, device, texts):
    """Write "context:<hours>/<device>" such as "context:18-21/phone", without what is not told or not known; "popular"
    where that is both. The new position."""
    words, bounds = texts
    row = find(slots, hashes, device) if device != np.uint64(0) else -1
    if band == 0 and row < 0:
        return put(out, at, words, bounds[_POPULAR], bounds[_POPULAR + 1])
    at = put(out, at, words, bounds[_OF_CONTEXT], bounds[_OF_CONTEXT + 1] - 1)
    if band > 0:
        for hour in (HOURS_A_BAND * (np.int64(band) - 1), HOURS_A_BAND * np.int64(band)):
            out[at] = ZERO + hour // 10
            out[at + 1] = ZERO + hour % 10
            out[at + 2] = MINUS
            at += 3
        at -= 1
    if row < 0:
        out[at] = QUOTE
        return at + 1
    if band > 0:
        out[at] = SLASH
        at += 1
    return put(out, at, arena, starts[row] + 1, starts[row + 1])  # its opening quote is there already


@kernel
def _put_because(out, at, rung, why, row, starts, arena, texts):
    """Write where an item came from, if not from the context: another item, or "popular", "category:<id>",
    "segment:s<number>"; "popular" where a name is not known (its `row` -1). The new position."""
    words, bounds = texts
    if rung == SEGMENT:
        at = put(out, at, words, bounds[_OF_SEGMENT], bounds[_OF_SEGMENT + 1] - 1)
        at = put_int(out, at, np.int64(why))
        out[at] = QUOTE
        return at + 1
    if row < 0:
        return put(out, at, words, bounds[_POPULAR], bounds[_POPULAR + 1])
    begin = starts[row]
    if rung == CATEGORY:
        at = put(out, at, words, bounds[_OF_CATEGORY], bounds[_OF_CATEGORY + 1] - 1)
        begin += 1  # its opening quote is there already
    return put(out, at, arena, begin, starts[row + 1])


@kernel
def put_list(out, at, items, scores, because, count, rungs, band, device, directory, texts):
    """Write a list of recommendations as JSON: [["item", score, "because"], ...], of a shopper in the context of `band`
    and `device`; items whose name is not known are left out. The new position."""
    slots, hashes, starts, arena = directory
    out[at] = OPEN
    at += 1
    written, reason = 0, -1
    for k in range(count):
        if k == 0 or because[k] != because[k - 1]:  # mostly it is the same again, and to find it waits for memory
            reason = find(slots, hashes, because[k])
        row = find(slots, hashes, items[k])
        if row < 0:
            continue
        if written > 0:
            out[at] = COMMA
            at += 1
        out[at] = OPEN
        at = put(out, at + 1, arena, starts[row], starts[row + 1])
        out[at] = COMMA
        at = put_fixed(out, at + 1, scores[k])
        out[at] = COMMA
        rung = rungs >> np.uint64(RUNG_BITS * k) & np.uint64((1 << RUNG_BITS) - 1)
        if rung == CONTEXT:
            at = _put_context(out, at + 1, slots, hashes, starts, arena, band, device, texts)
        else:
            at = _put_because(out, at + 1, rung, because[k], reason, starts, arena, texts)
        out[at] = CLOSE
        at += 1
        written += 1
    out[at] = CLOSE
    return at + 1


# What a user record's fields are called, and the constants of its commands, in the order of `texts`.
(
    T_HSET,
    T_DEL,
    T_EXPIRE,
    T_SEGMENT,
    T_MACRO,
    T_MARGIN,
    T_PURCHASE,
    T_CHURN,
    T_WHY,
    T_RECS,
    T_EVENT_TS,
    T_VERSION,
    T_MODEL,
    T_RULES,
    T_VARIANTS,
    T_NO_VARIANTS,
    T_PREFIX,
    T_TTL,
) = range(18)


def rule_texts(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Names by place, such as those of rule segments, as JSON strings: (uint8, int64 bounds)."""
    encoded = [orjson.dumps(name) for name in names]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)]).astype(np.int64)


@kernel
def put_rules(out, at, rules, texts, bounds):
    """A JSON list of the names of the rule segments in a set of bits; the place behind it."""
    out[at] = OPEN
    at += 1
    begun = False
    for k in range(len(bounds) - 1):
        if rules >> np.uint64(k) & np.uint64(1):
            if begun:
                out[at] = COMMA
                at += 1
            begun = True
            at = put(out, at, texts, bounds[k], bounds[k + 1])
    out[at] = CLOSE
    return at + 1


_FEATURES, _FEATURE_BOUNDS = rule_texts(MODEL_FEATURES)
_KEYS, _KEY_BOUNDS = rule_texts((*EXPLAINED, "next"))
_NEXT = len(EXPLAINED)
_HUNDREDTHS_MAX = 1e12


@kernel
def put_strongest(out, at, which, amounts):
    """Write the strongest features, places in MODEL_FEATURES and amounts float32, strongest first, as JSON with two
    decimals: [["name", amount], ...], up to the first amount that would read 0.00; the new position."""
    out[at] = OPEN
    at += 1
    for k in range(WHY_LENGTH):
        scaled = np.int64(np.round(min(max(amounts[k] * 100.0, -_HUNDREDTHS_MAX), _HUNDREDTHS_MAX)))
        if scaled == 0:
            break
        if k > 0:
            out[at] = COMMA
            at += 1
        out[at] = OPEN
        at += 1
        at = put(out, at, _FEATURES, _FEATURE_BOUNDS[which[k]], _FEATURE_BOUNDS[which[k] + 1])
        out[at] = COMMA
        at += 1
        if scaled < 0:
            out[at] = MINUS
            at += 1
            scaled = -scaled
        at = put_int(out, at, scaled // 100)
        out[at] = DOT
        out[at + 1] = ZERO + scaled // 10 % 10
        out[at + 2] = ZERO + scaled % 10
        out[at + 3] = CLOSE
        at += 4
    out[at] = CLOSE
    return at + 1


@kernel
def put_why(out, at, score):
    """Write the strongest features of what a SCORE knows, and the next segment, as a JSON object; the new position."""
    out[at] = OPEN_OBJECT
    at += 1
    begin = at
    known = (score.segment >= 0, not np.isnan(score.purchase), not np.isnan(score.churn))
    for place in range(len(EXPLAINED)):
        if known[place]:
            at = _put_name_of(out, at, begin, place)
            at = put_strongest(out, at, score.why[place], score.why_by[place])
            if place == 0 and score.other >= 0:
                at = _put_name_of(out, at, begin, _NEXT)
                out[at] = QUOTE
                out[at + 1] = 115  # s
                at = put_int(out, at + 2, np.int64(score.other))
                out[at] = QUOTE
                at += 1
    out[at] = CLOSE_OBJECT
    return at + 1


@kernel
def _put_name_of(out, at, begin, place):
    """A name within the object that has its first one at `begin`."""
    if at > begin:
        out[at] = COMMA
        at += 1
    at = put(out, at, _KEYS, _KEY_BOUNDS[place], _KEY_BOUNDS[place + 1])
    out[at] = COLON
    return at + 1


@kernel
def _put_key(out, at, texts, bounds, ids, start, length):
    prefix = bounds[T_PREFIX + 1] - bounds[T_PREFIX]
    at = put_line(out, at, DOLLAR, prefix + length)
    at = put(out, at, texts, bounds[T_PREFIX], bounds[T_PREFIX + 1])
    at = put(out, at, ids, start, start + length)
    out[at] = CR
    out[at + 1] = LF
    return at + 2


@kernel
def write_records(
    who,
    profiles,
    ids,
    scores,
    lists,
    list_rows,
    texts,
    bounds,
    rules,
    directory,
    reasons,
    scratch,
    out,
    starts,
    per_user,
):
    """Write the commands of the shoppers at places `who` (int32[n]) of a profile batch.

    `profiles` PROFILE[m], `ids` uint8, `scores` SCORE[m]; `lists` (items uint64[k, 20], scores float32[k, 20], because
    uint64[k, 20], counts uint8[k], rungs uint64[k]) and `list_rows` int32[m] the list of each place (-1: none is
    written).
    Every write renews the time to live, so that no record outlives its shopper, even one that Redis had lost.
    `texts`, `bounds` the constants; `rules` those of `rule_texts`; `directory` the arrays of Names;
    `reasons` those of `rule_texts` for REASONS; `scratch` uint8 for one list.
    Out: bytes, `starts` int64[n + 1], `per_user` int32[n] commands of each. Returns how many shoppers were written:
    less than n when `out` has no room for the next (call again with more).
    """
    profiles, ids, scores, lists, texts, bounds, rules = borrowed((profiles, ids, scores, lists, texts, bounds, rules))
    directory, reasons, scratch, out = borrowed((directory, reasons, scratch, out))
    items, list_scores, because, counts, rungs = lists
    rule_names, rule_bounds = rules
    at = np.int64(0)
    starts[0] = 0
    for i in range(len(who)):
        p = who[i]
        if at + ROOM_MIN + len(scratch) > len(out):
            return i
        profile = profiles[p]
        id_start, id_len = np.int64(profile.user_at), np.int64(profile.user_len)
        commands = 0
        if profile.erased or profile.fresh:
            at = put_line(out, at, STAR, 2)
            at = put(out, at, texts, bounds[T_DEL], bounds[T_DEL + 1])
            at = _put_key(out, at, texts, bounds, ids, id_start, id_len)
            commands += 1
        if not (profile.erased and profile.acts == 0):
            score = scores[p]
            has_segment = score.segment >= 0
            has_purchase = not np.isnan(score.purchase)
            has_churn = not np.isnan(score.churn)
            has_list = list_rows[p] >= 0
            has_why = has_segment or has_purchase or has_churn
            fields = 4 + 4 * has_segment + has_purchase + has_churn + has_why + has_list
            at = put_line(out, at, STAR, 2 + 2 * fields)
            at = put(out, at, texts, bounds[T_HSET], bounds[T_HSET + 1])
            at = _put_key(out, at, texts, bounds, ids, id_start, id_len)
            at = put_field(out, at, scratch, put_int(scratch, 0, profile.event_ts), texts, bounds, T_EVENT_TS)
            at = put_field(out, at, scratch, put_int(scratch, 0, profile.version), texts, bounds, T_VERSION)
            if has_segment:
                scratch[0] = 115  # s
                at = put_field(out, at, scratch, put_int(scratch, 1, np.int64(score.segment)), texts, bounds, T_SEGMENT)
                scratch[0] = 109  # m
                at = put_field(out, at, scratch, put_int(scratch, 1, np.int64(score.macro)), texts, bounds, T_MACRO)
                at = put_field(out, at, scratch, put_fixed(scratch, 0, score.margin), texts, bounds, T_MARGIN)
                at = put_field(out, at, scratch, put_int(scratch, 0, np.int64(score.model)), texts, bounds, T_MODEL)
            if has_purchase:
                at = put_field(out, at, scratch, put_fixed(scratch, 0, score.purchase), texts, bounds, T_PURCHASE)
            if has_churn:
                at = put_field(out, at, scratch, put_fixed(scratch, 0, score.churn), texts, bounds, T_CHURN)
            if has_why:
                at = put_field(out, at, scratch, put_why(scratch, 0, score), texts, bounds, T_WHY)
            if has_list:
                k = list_rows[p]
                length = put_list(
                    scratch,
                    0,
                    items[k],
                    list_scores[k],
                    because[k],
                    counts[k],
                    rungs[k],
                    profile.band,
                    profile.device,
                    directory,
                    reasons,
                )
                at = put_field(out, at, scratch, length, texts, bounds, T_RECS)
            length = put_rules(scratch, 0, profile.rules, rule_names, rule_bounds)
            at = put_field(out, at, scratch, length, texts, bounds, T_RULES)
            at = put(out, at, texts, bounds[T_VARIANTS], bounds[T_NO_VARIANTS + 1])
            commands += 1
            at = put_line(out, at, STAR, 3)
            at = put(out, at, texts, bounds[T_EXPIRE], bounds[T_EXPIRE + 1])
            at = _put_key(out, at, texts, bounds, ids, id_start, id_len)
            at = put(out, at, texts, bounds[T_TTL], bounds[T_TTL + 1])
            commands += 1
        per_user[i] = commands
        starts[i + 1] = at
    return len(who)
