"""Plain JSON events straight from the buffer into EVENT rows, ids hashed on the way, in one pass and without an object.

A strict subset is taken: valid records of the types a shop sends by the thousand, in objects no deeper than a
purchase's lines, without escapes or exponents, numbers of up to fifteen digits, no known key twice, every field as it
should be. Everything else gets status 1 and goes to `state.events.Authority`, which alone refuses. Where the scanner
takes a record, both give the same rows.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.event_rows import TEXTS, event_rows, hash_spans_reference, put_hashes
from operators.kernels.json_fields import (
    ABSENT,
    AT,
    CATEGORY,
    CONTEXT,
    CURRENCY,
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
    value_end,
    word_end,
)
from operators.kernels.json_values import (
    decimal,
    instant_ms,
    is_id,
    is_optional_text,
    money,
    number,
    optional_id,
    whole,
)
from operators.kernels.told import CONTEXT_MAX, MET_MAX, TEXT, note_told, take_told
from state.batches import DIMENSIONS_TOLD, EVENT, KINDS, MONEY_UNIT, TOLD_MAX, RawBatch
from state.compiled import inlined, kernel
from state.events import AMOUNT_MAX, LINES_MAX, NUMBER_MAX, QUANTITY_MAX, Authority, Event
from state.hashing import hash_span

_SEARCH, _PURCHASE, _CUSTOM, _IMPRESSION = 2, 6, 7, 8
if KINDS[: len(TYPES)] != TYPES:
    raise AssertionError("the scanner's types are not the first of KINDS")

_ROW_BYTES = 6
"""Rows are made room for by bytes: a purchase's line has 41 at least, an impression's item mostly more than these."""

SPANS = np.dtype([("item_at", "i4"), ("item_len", "i4"), ("category_at", "i4"), ("category_len", "i4")], align=True)
"""Where the texts of a row's item and category stand in the buffer."""


def rows_max(records: int, buffer_bytes: int) -> int:
    """As many rows as `scan` makes of so many records in so many bytes: a purchase makes a row of each line, an
    impression one of each item. Records for which no room is left (ids of a few bytes each) are left to the authority;
    memory that is not written to is not taken up."""
    return records + buffer_bytes // _ROW_BYTES + 1


def texts_max(records: int) -> int:
    """As many texts as `scan` can note of so many records."""
    return records * TOLD_MAX


@kernel
def _fill(row, span, item, item_at, item_len, aux):
    """Fill what `_act` fills, of an impression: an item that was shown (0: none is told)."""
    row.item = item
    row.category = np.uint64(0)
    row.price = np.int64(-1)
    row.value = 1.0
    row.aux = aux
    row.dwell_ms = np.int64(-1)
    span.item_at = item_at
    span.item_len = item_len
    span.category_at = 0
    span.category_len = 0


@kernel
def _shown(b, found, rows, spans, n):
    """Make a row of each item an impression tells, from row n on, or one without an item: all that `_act` fills. The
    rows made or -1."""
    ok, aux, _, _ = optional_id(b, found, EXPERIMENT)
    if not ok or aux == np.uint64(0) or not is_id(b, found[VARIANT], found[AT + VARIANT], found[END + VARIANT]):
        return -1
    shown = found[ITEM_IDS]
    first = n
    if shown == NESTED:
        p, e = found[AT + ITEM_IDS], found[END + ITEM_IDS]
        if b[p] != 91:
            return -1
        p = past_blank(b, p + 1, e)
        while b[p] != 93:
            q, kind, after = value_end(b, p, e)
            at = p + 1 if kind == STRING else p
            if after < 0 or n == len(rows) or n - first == LINES_MAX or not is_id(b, kind, at, q):
                return -1
            _fill(rows[n], spans[n], hash_span(b, at, q), at, q - at, aux)
            n += 1
            p = past_blank(b, after, e)
            if b[p] == 44:
                p = past_blank(b, p + 1, e)
                if b[p] == 93:
                    return -1
            elif b[p] != 93:
                return -1
        if p + 1 != e:
            return -1
    elif shown != ABSENT and shown != NULL:
        return -1
    if n == first:
        _fill(rows[n], spans[n], np.uint64(0), 0, 0, aux)
        n += 1
    return n - first


@inlined
def _lines(b, p, e, found, rows, spans, n):
    """Make a row of each line of the list at p, from row n on: all that `_act` fills. The rows made or -1."""
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
        row.dwell_ms = np.int64(-1)
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
    """Fill item, category, price, value, aux, dwell_ms of row n from what was found of an event of one row. Is it well?

    What all rows of an event share is `_record`'s to fill.
    """
    category_ok, category, category_at, category_len = True, np.uint64(0), np.int64(0), np.int64(0)
    price, dwell_ms = np.int64(-1), np.int64(-1)
    value = 1.0
    aux = np.uint64(0)
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
        number_ok, value = number(b, found, VALUE, 0.0)
        if not declared or not number_ok or abs(value) > NUMBER_MAX:
            return False
    else:
        category_ok, category, category_at, category_len = optional_id(b, found, CATEGORY)
        price = money(b, found, PRICE)
        number_ok, value = number(b, found, QUANTITY, 1.0)
        dwell_ms = whole(b, found, DWELL_MS)
        if not category_ok or price < -1 or not number_ok or not 0.0 < value <= QUANTITY_MAX:
            return False
        if (item == np.uint64(0) and kind != _SEARCH) or dwell_ms < -1 or not is_optional_text(found, QUERY):
            return False
    row, span = rows[n], spans[n]
    row.item = item
    row.category = category
    row.price = price
    row.value = value
    row.aux = aux
    row.dwell_ms = dwell_ms
    span.item_at = item_at
    span.item_len = item_len
    span.category_at = category_at
    span.category_len = category_len
    return True


@inlined
def _record(b, p, e, oldest_ms, newest_ms, customs, contexts, seen, told, outer, inner, rows, spans, n):
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
    undeclared = take_told(b, outer, kind < _PURCHASE, contexts, seen, told)
    if undeclared < 0:
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
    elif kind == _IMPRESSION:
        made = _shown(b, outer, rows, spans, n)
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
        for k in range(TOLD_MAX):
            rows[i].told[k] = told[k].hash
    return made, undeclared


@kernel
def scan(
    buffer,
    starts,
    ends,
    offsets,
    bytes_max,
    oldest_ms,
    newest_ms,
    read_at,
    customs,
    contexts,
    rows,
    spans,
    texts,
    status,
):
    """Make EVENT rows of the records buffer[starts:ends] (uint8; int64[n]) with their `offsets`, in their order.

    `oldest_ms`, `newest_ms` bound event times; `customs`, `contexts` uint64 hashes of declared names, sorted by name,
    of contexts at most CONTEXT_NAMES_MAX. Filled: `rows` EVENT and `spans` SPANS, both of rows_max(n, bytes); `texts`
    TEXT of texts_max(n): those that rows tell, each at least once; `status` uint8[n], 1 where nothing was taken and
    the authority is to look. Returns (rows made, texts, names of contexts that are not declared).
    """
    outer = np.zeros(3 * FIELDS, np.int64)
    inner = np.zeros(3 * FIELDS, np.int64)
    seen = np.zeros(CONTEXT_MAX, np.uint64)
    met = np.zeros(MET_MAX, np.uint64)
    told = np.zeros(TOLD_MAX, TEXT)
    n = np.int64(0)
    m = 0
    undeclared = 0
    for r in range(len(starts)):
        p, e = starts[r], ends[r]
        made, ignored = 0, 0
        if e - p <= bytes_max and n < len(rows):
            made, ignored = _record(
                buffer, p, e, oldest_ms, newest_ms, customs, contexts, seen, told, outer, inner, rows, spans, n
            )
        status[r] = 0 if made > 0 else 1
        if made > 0:
            m = note_told(told, len(DIMENSIONS_TOLD) + len(contexts), met, texts, m)
        undeclared += ignored
        for i in range(n, n + made):
            rows[i].record = r
            rows[i].offset = offsets[r]
            rows[i].read_at = read_at
        n += made
    return n, m, undeclared


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
    put_hashes(out, hash_spans_reference(texts).reshape(-1, TEXTS))
    return out, status, undeclared
