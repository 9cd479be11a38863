"""A shopper's whole profile as one run of words, for the cold tier, and back into the tables.

The words: shopper's id in bytes (1), its bytes (padded), then the rows it is made of, zero words left out (the packing
of `state.journal`): profile and session; then the cells of windows, tastes and sequences; then each slab's row it
refers to.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.profile_parts import free_slabs
from operators.kernels.slabs import push_cell, take_row
from state.compiled import kernel
from state.profile_table import (
    ATTRIBUTE_ROW,
    CART_CHUNK,
    DECISION_ROW,
    ID_CHUNK,
    PENDING_ROW,
    PROFILE_ROW,
    RULE_STATE_ROW,
    SESSION_ROW,
)

_FREE = -1
DENSE_WORDS = (PROFILE_ROW.itemsize + SESSION_ROW.itemsize) // 8
_SINGLES = (DECISION_ROW, DECISION_ROW, ATTRIBUTE_ROW, PENDING_ROW, RULE_STATE_ROW)
SLAB_WORDS = (sum(dtype.itemsize for dtype in _SINGLES) + 4 * CART_CHUNK.itemsize) // 8
ROOM = DENSE_WORDS + SLAB_WORDS + 64
"""Words that a shopper's rows and id surely fit in, besides two for each cell."""


@kernel
def _pack(words, out, at):
    """Append words without the zeros: bitmaps of 64, each followed by its words that are not zero."""
    k = 0
    while k < len(words):
        head = at
        out[head] = np.uint64(0)
        at += 1
        for b in range(min(64, len(words) - k)):
            if words[k + b] != np.uint64(0):
                out[head] |= np.uint64(1) << np.uint64(b)
                out[at] = words[k + b]
                at += 1
        k += 64
    return at


@kernel
def _unpack(data, at, words):
    k = 0
    while k < len(words):
        bitmap = data[at]
        at += 1
        for b in range(min(64, len(words) - k)):
            if bitmap >> np.uint64(b) & np.uint64(1):
                words[k + b] = data[at]
                at += 1
            else:
                words[k + b] = np.uint64(0)
        k += 64
    return at


@kernel
def count_cells(cells, chain):
    """How many cells a chain has."""
    n = 0
    c = np.int64(chain) - 1
    while c >= 0:
        n += cells.rows[c].count
        c = np.int64(cells.rows[c].next) - 1
    return n


@kernel
def _pack_chain(cells, chain, out, at):
    out[at] = np.uint64(count_cells(cells, chain))
    at += 1
    c = np.int64(chain) - 1
    while c >= 0:
        chunk = cells.rows[c]
        for k in range(chunk.count):
            out[at] = np.uint64(chunk.tags[k]) << np.uint64(32) | np.uint64(chunk.keys[k])
            out[at + 1] = np.uint64(chunk.amounts[k])
            at += 2
        c = np.int64(chunk.next) - 1
    return at


@kernel
def _unpack_chain(cells, data, at):
    n = np.int64(data[at])
    at += 1
    chain = np.int64(0)
    for _ in range(n):
        tag = np.int64(data[at] >> np.uint64(32))
        key = np.int64(data[at] & np.uint64(0xFFFFFFFF))
        chain = push_cell(cells, chain, tag, key, np.int64(data[at + 1]))
        at += 2
    return chain, at


@kernel
def _pack_row(slab, reference, out, at):
    return _pack(slab.words[reference - 1], out, at) if reference > 0 else at


@kernel
def _unpack_row(slab, reference, data, at):
    """A row of a slab, where one was packed: (its new reference, the place behind it)."""
    if reference == 0:
        return np.int64(0), at
    r = take_row(slab)
    at = _unpack(data, at, slab.words[r])
    slab.rows[r].next = 0
    return np.int64(r + 1), at


@kernel
def _pack_cart(carts, chain, out, at):
    while chain > 0:
        c = np.int64(chain) - 1
        at = _pack(carts.words[c], out, at)
        chain = np.int64(carts.rows[c].next)
    return at


@kernel
def _unpack_cart(carts, reference, data, at):
    first = last = np.int64(0)
    while reference > 0:
        r = take_row(carts)
        at = _unpack(data, at, carts.words[r])
        reference = np.int64(carts.rows[r].next)
        carts.rows[r].next = 0
        if last > 0:
            carts.rows[last - 1].next = r + 1
        else:
            first = np.int64(r + 1)
        last = np.int64(r + 1)
    return first, at


@kernel
def freeze(profiles, sessions, slabs, ids, leaving, starts, out):
    """Pack the shoppers of rows `leaving` (int32[n]) behind one another; their rows become free (hash 0).

    `ids` uint8, the table of ids flat; `starts` int64[n + 1] and `out` uint64 (ROOM and two for each cell a shopper)
    are filled.
    """
    at = 0
    for i in range(len(leaving)):
        r = leaving[i]
        row = profiles.rows[r]
        starts[i] = at
        out[at] = np.uint64(row.id_len)
        at += 1
        base = row.id_chunk * ID_CHUNK
        for k in range(0, row.id_len, 8):
            word = np.uint64(0)
            for b in range(min(8, row.id_len - k)):
                word |= np.uint64(ids[base + k + b]) << np.uint64(8 * b)
            out[at] = word
            at += 1
        at = _pack(profiles.words[r], out, at)
        at = _pack(sessions.words[r], out, at)
        at = _pack_chain(slabs.cells, row.cells, out, at)
        at = _pack_chain(slabs.cells, row.tastes, out, at)
        at = _pack_chain(slabs.cells, row.sequences, out, at)
        at = _pack_row(slabs.decisions, row.purchase_decision, out, at)
        at = _pack_row(slabs.decisions, row.churn_decision, out, at)
        at = _pack_cart(slabs.carts, row.cart, out, at)
        at = _pack_row(slabs.attributes, row.attributes, out, at)
        at = _pack_row(slabs.pending, row.pending, out, at)
        at = _pack_row(slabs.rule_states, row.rule_states, out, at)
        free_slabs(row, slabs)
        profiles.words[r, :] = np.uint64(0)
        sessions.words[r, :] = np.uint64(0)
        profiles.dirty[r] = 1
        sessions.dirty[r] = 1
    starts[len(leaving)] = at
    return at


@kernel
def thaw(profiles, sessions, slabs, data, starts, rows):
    """The inverse: unpack shopper i from data[starts[i]:starts[i + 1]] into row rows[i] (int32[n]), which keeps the
    place of its id. The slabs must have room."""
    for i in range(len(rows)):
        r = rows[i]
        row = profiles.rows[r]
        chunk = row.id_chunk
        at = starts[i]
        at += 1 + (np.int64(data[at]) + 7) // 8
        at = _unpack(data, at, profiles.words[r])
        at = _unpack(data, at, sessions.words[r])
        row.id_chunk = chunk
        row.cells, at = _unpack_chain(slabs.cells, data, at)
        row.tastes, at = _unpack_chain(slabs.cells, data, at)
        row.sequences, at = _unpack_chain(slabs.cells, data, at)
        row.purchase_decision, at = _unpack_row(slabs.decisions, row.purchase_decision, data, at)
        row.churn_decision, at = _unpack_row(slabs.decisions, row.churn_decision, data, at)
        row.cart, at = _unpack_cart(slabs.carts, row.cart, data, at)
        row.attributes, at = _unpack_row(slabs.attributes, row.attributes, data, at)
        row.pending, at = _unpack_row(slabs.pending, row.pending, data, at)
        row.rule_states, at = _unpack_row(slabs.rule_states, row.rule_states, data, at)
        profiles.dirty[r] = 1
        sessions.dirty[r] = 1


def frozen_id(words: np.ndarray, start: int) -> bytes:
    """The shopper's id of a packed profile that begins at `start`."""
    length = int(words[start])
    return words[start + 1 : start + 1 + (length + 7) // 8].tobytes()[:length]
