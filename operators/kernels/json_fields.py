"""Where the fields of a flat JSON object stand in a buffer: the words the scanner knows and the tokens it takes.

A strict part of JSON (RFC 8259): no escapes, no exponents, no known key twice, UTF-8 checked (RFC 3629). Functions
give -1 for everything else, and also for what is no JSON at all: they take or leave, and never say why.
"""

from __future__ import annotations

import numpy as np

from state.compiled import inlined, kernel
from state.events import ID_BYTES_MAX

TYPES = ("view", "click", "search", "add_to_cart", "remove_from_cart", "wishlist", "purchase", "custom", "impression")

KEYS = (
    "type",
    "ts",
    "event_id",
    "user_id",
    "item_id",
    "category",
    "price",
    "quantity",
    "session_id",
    "device",
    "channel",
    "country",
    "query",
    "dwell_ms",
    "name",
    "value",
    "experiment",
    "variant",
    "item_ids",
    "order_id",
    "lines",
    "currency",
    "context",
    "unit_price",
)
FIELDS = len(KEYS)
(
    TYPE,
    TS,
    EVENT_ID,
    USER_ID,
    ITEM_ID,
    CATEGORY,
    PRICE,
    QUANTITY,
    SESSION_ID,
    DEVICE,
    CHANNEL,
    COUNTRY,
    QUERY,
    DWELL_MS,
    NAME,
    VALUE,
    EXPERIMENT,
    VARIANT,
    ITEM_IDS,
    ORDER_ID,
    LINES,
    CURRENCY,
    CONTEXT,
    UNIT_PRICE,
) = range(FIELDS)

# What was found of an object is an int64 array: of each key the kind of its value, then all starts, then all ends.
AT, END = FIELDS, 2 * FIELDS
ABSENT, STRING, INTEGER, DECIMAL, NULL, BOOLEAN, NESTED = range(7)

_WORD_FACTOR = 0xA5D2F346BAA9455  # found by trying: it gives every word a slot of its own


def _word_table(words: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A perfect hash of a few words by their last eight bytes: slot -> word number or -1 (int64); of each word, those
    bytes as a number (uint64), the bytes of all (uint8), their lengths (int64)."""
    data = [word.encode() for word in words]
    slots = np.full(256, -1, np.int64)
    texts = np.zeros((len(data), max(map(len, data))), np.uint8)
    tails = np.array([int.from_bytes(word[-8:], "big") for word in data], np.uint64)
    for number, word in enumerate(data):
        slot = int(tails[number]) * _WORD_FACTOR % 2**64 >> 56
        if slots[slot] >= 0:
            raise AssertionError(f"{words[number]} needs another factor")
        slots[slot] = number
        texts[number, : len(word)] = np.frombuffer(word, np.uint8)
    return slots, tails, texts, np.array([len(word) for word in data], np.int64)


_SLOTS, _TAILS, _TEXTS, _LENGTHS = _word_table(KEYS + TYPES)


@kernel
def past_blank(b, p, e):
    """The first place from p on that is not JSON's white space, or e."""
    while p < e and (b[p] == 32 or b[p] == 10 or b[p] == 13 or b[p] == 9):
        p += 1
    return p


@kernel
def _past_utf8(b, p, e):
    """The place after the UTF-8 character of several bytes at p (RFC 3629), or -1."""
    c = b[p]
    low, high = 0x80, 0xBF
    if 0xC2 <= c <= 0xDF:
        more = 1
    elif 0xE0 <= c <= 0xEF:
        more = 2
        if c == 0xE0:
            low = 0xA0
        elif c == 0xED:
            high = 0x9F
    elif 0xF0 <= c <= 0xF4:
        more = 3
        if c == 0xF0:
            low = 0x90
        elif c == 0xF4:
            high = 0x8F
    else:
        return -1
    if p + more >= e or b[p + 1] < low or b[p + 1] > high:
        return -1
    for i in range(2, more + 1):
        if b[p + i] < 0x80 or b[p + i] > 0xBF:
            return -1
    return p + more + 1


@kernel
def string_end(b, p, e):
    """The closing quote of the string whose first byte is at p; -1: escape, control character, bad UTF-8 or no end."""
    while p < e:
        c = b[p]
        if c == 34:
            return p
        if c < 32 or c == 92:
            return -1
        if c < 128:
            p += 1
        else:
            p = _past_utf8(b, p, e)
            if p < 0:
                return -1
    return -1


@kernel
def word_end(b, p, e):
    """Like string_end, but for a word: (its closing quote or -1, which of KEYS + TYPES it is or -1)."""
    first = p
    tail = np.uint64(0)
    while p < e and b[p] != 34:
        c = b[p]
        if c < 32 or c == 92:
            return np.int64(-1), np.int64(-1)
        if c >= 128:
            return string_end(b, p, e), np.int64(-1)
        tail = (tail << np.uint64(8)) | np.uint64(c)
        p += 1
    if p >= e:
        return np.int64(-1), np.int64(-1)
    word = _SLOTS[(tail * np.uint64(_WORD_FACTOR)) >> np.uint64(56)]
    if word < 0 or _TAILS[word] != tail or _LENGTHS[word] != p - first:
        return p, np.int64(-1)
    for i in range(p - first - 8):
        if b[first + i] != _TEXTS[word, i]:
            return p, np.int64(-1)
    return p, word


@kernel
def _number_end(b, p, e):
    """(the place after the number at p or -1, its kind). Exponents are not taken."""
    if b[p] == 45:
        p += 1
    first = p
    while p < e and 48 <= b[p] <= 57:
        p += 1
    if p == first or (b[first] == 48 and p - first > 1) or p - first > ID_BYTES_MAX:
        return np.int64(-1), ABSENT
    kind = INTEGER
    if p < e and b[p] == 46:
        kind = DECIMAL
        p += 1
        first = p
        while p < e and 48 <= b[p] <= 57:
            p += 1
        if p == first:
            return np.int64(-1), ABSENT
    if p < e and (b[p] == 101 or b[p] == 69):
        return np.int64(-1), ABSENT
    return p, kind


@kernel
def _nested_end(b, p, e):
    """The place after the bracket that closes the one at p, or -1. What is between is read by who knows the field."""
    depth = 0
    while p < e:
        c = b[p]
        p += 1
        if c == 34:
            p = string_end(b, p, e) + 1
            if p == 0:
                return -1
        elif c == 123 or c == 91:
            depth += 1
        elif c == 125 or c == 93:
            depth -= 1
            if depth == 0:
                return p
    return -1


@kernel
def _is_word(b, p, e, c1, c2, c3):
    return p + 4 <= e and b[p + 1] == c1 and b[p + 2] == c2 and b[p + 3] == c3


@kernel
def value_end(b, p, e):
    """(where the value at p ends, its kind, the place after it or -1). A string's span is without its quotes."""
    c = b[p]
    if c == 34:
        q = string_end(b, p + 1, e)
        return q, STRING, q + 1 if q >= 0 else -1
    if c == 45 or 48 <= c <= 57:
        q, kind = _number_end(b, p, e)
        return q, kind, q
    if c == 110 and _is_word(b, p, e, 117, 108, 108):
        return p + 4, NULL, p + 4
    if c == 116 and _is_word(b, p, e, 114, 117, 101):
        return p + 4, BOOLEAN, p + 4
    if c == 102 and p + 5 <= e and _is_word(b, p, e, 97, 108, 115) and b[p + 4] == 101:
        return p + 5, BOOLEAN, p + 5
    if c == 123 or c == 91:
        q = _nested_end(b, p, e)
        return q, NESTED, q
    return np.int64(-1), ABSENT, np.int64(-1)


@inlined
def object_end(b, p, e, found):
    """Find the known fields of the object at p: their kinds and spans. The place after it, or -1."""
    found[:FIELDS] = ABSENT
    if p >= e or b[p] != 123:
        return -1
    p = past_blank(b, p + 1, e)
    if p < e and b[p] == 125:
        return p + 1
    while p < e and b[p] == 34:
        q, field = word_end(b, p + 1, e)
        if q < 0:
            return -1
        p = past_blank(b, q + 1, e)
        if p >= e or b[p] != 58:
            return -1
        p = past_blank(b, p + 1, e)
        if p >= e:
            return -1
        q, kind, after = value_end(b, p, e)
        if after < 0:
            return -1
        if kind == NESTED and field != CONTEXT and field != LINES and field != ITEM_IDS:
            return -1  # nobody would read what is between, which may be no JSON
        if 0 <= field < FIELDS:
            if found[field] != ABSENT:
                return -1
            found[field] = kind
            found[AT + field] = p + 1 if kind == STRING else p
            found[END + field] = q
        p = past_blank(b, after, e)
        if p >= e:
            return -1
        if b[p] == 125:
            return p + 1
        if b[p] != 44:
            return -1
        p = past_blank(b, p + 1, e)
    return -1
