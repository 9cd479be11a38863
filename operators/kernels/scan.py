"""Plain JSON events straight from the buffer into EVENT rows, ids hashed on the way, in one pass and without an object.

A strict subset is taken: valid records of the types a shop sends by the thousand, in objects no deeper than a
purchase's lines, without escapes or exponents, numbers of up to fifteen digits, no known key twice, every field as it
should be. Everything else gets status 1 and goes to `state.events.Authority`, which alone refuses. Where the scanner
takes a record, both give the same rows.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.json_fields import (
    ABSENT,
    AT,
    CATEGORY,
    CONTEXT,
    CURRENCY,
    DEVICE,
    DWELL_MS,
    END,
    EVENT_ID,
    EXPERIMENT,
    FIELDS,
    INTEGER,
    ITEM_ID,
    ITEM_IDS,
    LINES,
    NAME,
    NESTED,
    NULL,
    ORDER_ID,
    PRICE,
    QUANTITY,
    QUERY,
    SESSION_ID,
    STRING,
    TS,
    TYPE,
    TYPES,
    UNIT_PRICE,
    USER_ID,
    VALUE,
    VARIANT,
    object_end,
    past_blank,
    string_end,
    value_end,
    word_end,
)
from operators.kernels.json_values import decimal, instant_ms, is_id, is_optional_text, money, number, optional_id
from state.batches import EVENT, KINDS, MONEY_UNIT, RawBatch
from state.compiled import inlined, kernel
from state.events import AMOUNT_MAX, LINES_MAX, NUMBER_MAX, QUANTITY_MAX, Authority, Event
from state.hashing import hash_bytes, hash_span

_SEARCH, _PURCHASE, _CUSTOM, _IMPRESSION = 2, 6, 7, 8
if KINDS[: len(TYPES)] != TYPES:
    raise AssertionError("the scanner's types are not the first of KINDS")

_CONTEXT_MAX = 32  # names of one context that the scanner takes
_LINE_BYTES_MIN = 41  # {"item_id":1,"quantity":1,"unit_price":1}

SPANS = np.dtype([("item_at", "i4"), ("item_len", "i4"), ("category_at", "i4"), ("category_len", "i4")], align=True)
"""Where the texts of a row's item and category stand in the buffer."""


def rows_max(records: int, buffer_bytes: int) -> int:
    """More rows than `scan` can make of so many records in so many bytes (a purchase makes a row of each line)."""
    return records + buffer_bytes // _LINE_BYTES_MIN + 1


@kernel
def _context(b, p, e, declared, seen):
    """How many names of the object of strings at p are not `declared` (hashes); -1: the authority is to look."""
    if b[p] != 123:
        return -1
    p = past_blank(b, p + 1, e)
    if b[p] == 125:
        return 0
    undeclared = 0
    n = 0
    while b[p] == 34:
        q = string_end(b, p + 1, e)
        if q < 0 or n == _CONTEXT_MAX:
            return -1
        h = hash_span(b, p + 1, q)
        for i in range(n):
            if seen[i] == h:
                return -1
        seen[n] = h
        n += 1
        known = False
        for i in range(len(declared)):
            known = known or declared[i] == h
        undeclared += not known
        p = past_blank(b, q + 1, e)
        if b[p] != 58:
            return -1
        p = past_blank(b, p + 1, e)
        if b[p] != 34:
            return -1
        q = string_end(b, p + 1, e)
        if q < 0:
            return -1
        p = past_blank(b, q + 1, e)
        if b[p] == 125:
            return undeclared if p + 1 == e else -1
        if b[p] != 44:
            return -1
        p = past_blank(b, p + 1, e)
    return -1


@kernel
def _are_ids(b, p, e):
    """Is b[p:e] a list of up to LINES_MAX ids?"""
    if b[p] != 91:
        return False
    p = past_blank(b, p + 1, e)
    if b[p] == 93:
        return True
    n = 0
    while n < LINES_MAX:
        q, kind, after = value_end(b, p, e)
        if after < 0 or not is_id(b, kind, p + 1 if kind == STRING else p, q):
            return False
        n += 1
        p = past_blank(b, after, e)
        if b[p] == 93:
            return p + 1 == e
        if b[p] != 44:
            return False
        p = past_blank(b, p + 1, e)
    return False


@inlined
def _lines(b, p, e, found, rows, spans, n):
    """Make a row of each line of the list at p, from row n on: item, category, price, value. The rows made or -1."""
    first = n
    if b[p] != 91:
        return -1
    p = past_blank(b, p + 1, e)
    while n - first < LINES_MAX and n < len(rows):
        p = object_end(b, p, e, found)
        if p < 0 or found[LINES] == NESTED or found[ITEM_IDS] == NESTED or found[CONTEXT] == NESTED:
            return -1
        item_ok, item, item_at, item_len = optional_id(b, found, ITEM_ID)
        category_ok, category, category_at, category_len = optional_id(b, found, CATEGORY)
        price = money(b, found, UNIT_PRICE)
        number_ok, quantity = number(b, found, QUANTITY, 0.0)
        if not item_ok or item == np.uint64(0) or not category_ok or price < 0 or not number_ok:
            return -1
        if quantity == 0.0 or abs(quantity) > QUANTITY_MAX or abs(quantity) * price > AMOUNT_MAX * MONEY_UNIT:
            return -1
        row, span = rows[n], spans[n]
        row.item = item
        row.category = category
        row.price = price
        row.value = quantity
        row.aux = np.uint64(0)
        span.item_at = item_at
        span.item_len = item_len
        span.category_at = category_at
        span.category_len = category_len
        n += 1
        p = past_blank(b, p, e)
        if b[p] == 93:
            return n - first if p + 1 == e else -1
        if b[p] != 44:
            return -1
        p = past_blank(b, p + 1, e)
    return -1


@inlined
def _act(b, found, kind, customs, rows, spans, n):
    """Fill item, category, price, value and aux of row n from what was found of an event of one row. Is all well?"""
    item_ok, item, item_at, item_len = True, np.uint64(0), np.int64(0), np.int64(0)
    category_ok, category, category_at, category_len = True, np.uint64(0), np.int64(0), np.int64(0)
    price = np.int64(-1)
    value = 1.0
    aux = np.uint64(0)
    if kind == _IMPRESSION:
        ok, aux, _, _ = optional_id(b, found, EXPERIMENT)
        if not ok or aux == np.uint64(0) or not is_id(b, found[VARIANT], found[AT + VARIANT], found[END + VARIANT]):
            return False
        shown = found[ITEM_IDS]
        if not (
            shown == ABSENT
            or shown == NULL
            or (shown == NESTED and _are_ids(b, found[AT + ITEM_IDS], found[END + ITEM_IDS]))
        ):
            return False
    else:
        if found[ITEM_IDS] == NESTED:
            return False
        item_ok, item, item_at, item_len = optional_id(b, found, ITEM_ID)
        session = found[SESSION_ID]
        session_ok = (
            session == ABSENT or session == NULL or is_id(b, session, found[AT + SESSION_ID], found[END + SESSION_ID])
        )
        if not item_ok or not session_ok:
            return False
        if kind == _CUSTOM:
            if found[NAME] != STRING:
                return False
            aux = hash_span(b, found[AT + NAME], found[END + NAME])
            declared = False
            for i in range(len(customs)):
                declared = declared or customs[i] == aux
            number_ok, value = number(b, found, VALUE, 1.0)
            if not declared or not number_ok or abs(value) > NUMBER_MAX:
                return False
        else:
            category_ok, category, category_at, category_len = optional_id(b, found, CATEGORY)
            price = money(b, found, PRICE)
            number_ok, value = number(b, found, QUANTITY, 1.0)
            dwell_ok, dwell_ms = number(b, found, DWELL_MS, 0.0)
            if not category_ok or price < -1 or not number_ok or not 0.0 < value <= QUANTITY_MAX:
                return False
            if (item == np.uint64(0) and kind != _SEARCH) or not dwell_ok or not 0.0 <= dwell_ms <= NUMBER_MAX:
                return False
            for field in range(DEVICE, QUERY + 1):
                if not is_optional_text(found, field):
                    return False
    row, span = rows[n], spans[n]
    row.item = item
    row.category = category
    row.price = price
    row.value = value
    row.aux = aux
    span.item_at = item_at
    span.item_len = item_len
    span.category_at = category_at
    span.category_len = category_len
    return True


@inlined
def _record(b, p, e, oldest_ms, newest_ms, customs, contexts, seen, outer, inner, rows, spans, n):
    """Make rows of the record b[p:e], from row n on: (rows made, 0: the authority is to look; undeclared names)."""
    start = p
    p = object_end(b, past_blank(b, p, e), e, outer)
    if p < 0 or past_blank(b, p, e) != e or outer[TYPE] != STRING:
        return 0, 0
    _, word = word_end(b, outer[AT + TYPE], e)
    kind = word - FIELDS
    if kind < 0 or (kind != _PURCHASE and outer[LINES] == NESTED):
        return 0, 0
    ts = np.int64(-1)
    if outer[TS] == INTEGER:
        ts, _, negative = decimal(b, outer[AT + TS], outer[END + TS])
        if negative:
            return 0, 0
    elif outer[TS] == STRING:
        ts = instant_ms(b, outer[AT + TS], outer[END + TS])
    if ts < 0 or ts < oldest_ms or ts > newest_ms:
        return 0, 0
    user_ok, user, user_at, user_len = optional_id(b, outer, USER_ID)
    event_ok, event_id, _, _ = optional_id(b, outer, EVENT_ID)
    if not user_ok or user == np.uint64(0) or not event_ok:
        return 0, 0
    undeclared = 0
    if outer[CONTEXT] == NESTED:
        undeclared = _context(b, outer[AT + CONTEXT], outer[END + CONTEXT], contexts, seen)
        if undeclared < 0:
            return 0, 0
    elif outer[CONTEXT] != ABSENT and outer[CONTEXT] != NULL:
        return 0, 0
    made = 1
    if kind == _PURCHASE:
        order_ok = is_id(b, outer[ORDER_ID], outer[AT + ORDER_ID], outer[END + ORDER_ID])
        if not order_ok or outer[LINES] != NESTED or outer[ITEM_IDS] == NESTED or not is_optional_text(outer, CURRENCY):
            return 0, 0
        p, q = outer[AT + LINES], outer[END + LINES]
        made = _lines(b, p, q, inner, rows, spans, n)
        if made < 0:
            return 0, 0
    elif not _act(b, outer, kind, customs, rows, spans, n):
        return 0, 0
    if event_id == np.uint64(0):
        event_id = hash_span(b, start, e)
    for i in range(n, n + made):
        rows[i].ts = ts
        rows[i].user = user
        rows[i].event_id = event_id
        rows[i].user_at = user_at
        rows[i].user_len = user_len
        rows[i].kind = kind
        rows[i].head = i == n
    return made, undeclared


@kernel
def scan(
    buffer, starts, ends, offsets, bytes_max, oldest_ms, newest_ms, read_at, customs, contexts, rows, spans, status
):
    """Make EVENT rows of the records buffer[starts:ends] (uint8; int64[n]) with their `offsets`, in their order.

    `oldest_ms`, `newest_ms` bound event times; `customs`, `contexts` uint64 hashes of declared names. Filled: `rows`
    EVENT and `spans` SPANS, both of rows_max(n, bytes); `status` uint8[n], 1 where nothing was taken and the authority
    is to look. Returns (rows made, names of contexts that are not declared).
    """
    outer = np.zeros(3 * FIELDS, np.int64)
    inner = np.zeros(3 * FIELDS, np.int64)
    seen = np.zeros(_CONTEXT_MAX, np.uint64)
    n = 0
    undeclared = 0
    for r in range(len(starts)):
        p, e = starts[r], ends[r]
        made, ignored = 0, 0
        if e - p <= bytes_max and n < len(rows):
            made, ignored = _record(
                buffer, p, e, oldest_ms, newest_ms, customs, contexts, seen, outer, inner, rows, spans, n
            )
        status[r] = 0 if made > 0 else 1
        undeclared += ignored
        for i in range(n, n + made):
            rows[i].record = r
            rows[i].offset = offsets[r]
            rows[i].read_at = read_at
        n += made
    return n, undeclared


@kernel
def hash_spans(buffer, starts, lengths, out):
    """Hashes of buffer[starts:starts+lengths] (uint8; int64[n]) into `out` uint64[n]; 0 (none) for an empty span."""
    for i in range(len(starts)):
        out[i] = hash_span(buffer, starts[i], starts[i] + lengths[i]) if lengths[i] > 0 else np.uint64(0)


def hash_spans_reference(texts: list[bytes]) -> np.ndarray:
    """What `hash_spans` fills for these texts behind one another."""
    return np.array([hash_bytes(text) if text else 0 for text in texts], np.uint64)


HASHED = ("user", "item", "category", "event_id", "aux")
"""The columns of EVENT that are hashes, in the order of the texts of `event_rows`."""


def event_rows(
    event: Event, record: bytes, number: int, start: int, offset: int, read_at: float
) -> tuple[list[tuple[object, ...]], list[bytes]]:
    """EVENT rows of an event (not an `item`) of record `number`, which stands at `start` of the buffer.

    As tuples whose hashes are 0 and the texts to be hashed, one for each of HASHED a row, b"" for none (only an event's
    first row tells its identity); `put_hashes` brings them together. Where the shopper's id does not stand in the
    record as it is (escapes), `user_at` is -1.
    """
    user = event.user.encode()
    place = record.find(user)
    at = start + place if place >= 0 else -1
    identity = record if event.event_id is None else event.event_id.encode()
    rows: list[tuple[object, ...]] = []
    texts: list[bytes] = []
    for line in event.lines:
        head = 0 if rows else 1
        ids = (at, len(user), number, event.kind, head)
        rows.append((event.ts, 0, 0, 0, 0, line.price, line.value, 0, offset, read_at, *ids))
        texts += (user, line.item.encode(), line.category.encode(), identity if head else b"", event.aux.encode())
    return rows, texts


def put_hashes(rows: np.ndarray, hashes: np.ndarray) -> None:
    """Fill the columns HASHED of EVENT rows, from uint64[n, len(HASHED)]; an event's rows share one event_id."""
    for column, name in enumerate(HASHED):
        rows[name] = hashes[:, column]
    heads = np.maximum.accumulate(np.where(rows["head"] == 1, np.arange(len(rows)), 0))
    rows["event_id"] = rows["event_id"][heads]


def scan_reference(batch: RawBatch, authority: Authority, newest_ms: int) -> tuple[np.ndarray, np.ndarray, int]:
    """What `scan` may give at most, by the authority alone: (rows, status uint8[n], undeclared names)."""
    rows: list[tuple[object, ...]] = []
    texts: list[bytes] = []
    status = np.ones(len(batch), np.uint8)
    undeclared = 0
    for index in range(len(batch)):
        record = batch.record(index)
        event = authority.parse(record, newest_ms)
        if isinstance(event, Event) and event.user:
            made = event_rows(event, record, index, int(batch.starts[index]), int(batch.offsets[index]), batch.read_at)
            rows += made[0]
            texts += made[1]
            status[index] = 0
            undeclared += event.undeclared
    out = np.array(rows, EVENT)
    put_hashes(out, hash_spans_reference(texts).reshape(-1, len(HASHED)))
    return out, status, undeclared


@kernel
def split(rows, shards, out, bounds):
    """Sort EVENT rows by user shard (user % shards), each shard's in the order they had: a counting sort.

    `out` EVENT[n] and `bounds` int64[shards + 1] are filled: shard s has out[bounds[s] : bounds[s + 1]].
    """
    of = np.empty(len(rows), np.int32)
    bounds[:] = 0
    for i in range(len(rows)):
        shard = np.int32(rows[i].user % np.uint64(shards))
        of[i] = shard
        bounds[shard + 1] += 1
    for s in range(shards):
        bounds[s + 1] += bounds[s]
    place = bounds[:shards].copy()
    for i in range(len(rows)):
        out[place[of[i]]] = rows[i]
        place[of[i]] += 1


def split_reference(rows: np.ndarray, shards: int) -> tuple[np.ndarray, np.ndarray]:
    """What `split` fills, by a stable sort: (out, bounds)."""
    of = (rows["user"] % np.uint64(shards)).astype(np.int64)
    return rows[np.argsort(of, kind="stable")], np.searchsorted(np.sort(of), np.arange(shards + 1))
