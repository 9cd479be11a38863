"""What an event tells of its circumstances: device, channel, country and the declared names of its context, as hashes.

Values repeat from event to event, so the scanner remembers a few of those that it has met: only one that it does not
remember is noted for the names to learn. As elsewhere in the scanner, -1 leaves a record to `state.events.Authority`.
"""

from __future__ import annotations

import numpy as np

from operators.kernels.json_fields import ABSENT, AT, CONTEXT, DEVICE, END, NESTED, NULL, STRING, past_blank, string_end
from state.batches import DIMENSIONS_TOLD
from state.compiled import kernel
from state.events import TEXT_BYTES_MAX
from state.hashing import hash_span

TEXT = np.dtype([("hash", "u8"), ("at", "i4"), ("len", "i4")], align=True)
"""The text of a hash stands at buffer[at : at + len]."""

CONTEXT_MAX = 32
"""Names of one context that the scanner takes."""

MET_MAX = 256
"""How many values the scanner remembers in one call; a power of two."""

_DIMENSIONS = len(DIMENSIONS_TOLD)


@kernel
def _put(b, p, q, text):
    """Hash the text b[p:q] into `text` (TEXT), 0 where it is empty. Is it short enough?"""
    if q - p > TEXT_BYTES_MAX:
        return False
    text.hash = hash_span(b, p, q) if q > p else np.uint64(0)
    text.at = p
    text.len = q - p
    return True


@kernel
def _context(b, p, e, declared, seen, told):
    """Fill told[3:] from the object of strings at p. How many of its names are not `declared`; -1."""
    if b[p] != 123:
        return -1
    p = past_blank(b, p + 1, e)
    if b[p] == 125:
        return 0
    undeclared = 0
    n = 0
    while b[p] == 34:
        q = string_end(b, p + 1, e)
        if q < 0 or n == CONTEXT_MAX:
            return -1
        h = hash_span(b, p + 1, q)
        for i in range(n):
            if seen[i] == h:
                return -1
        seen[n] = h
        n += 1
        place = -1
        for i in range(len(declared)):
            if declared[i] == h:
                place = _DIMENSIONS + i
        p = past_blank(b, q + 1, e)
        if b[p] != 58:
            return -1
        p = past_blank(b, p + 1, e)
        if b[p] != 34:
            return -1
        q = string_end(b, p + 1, e)
        if q < 0:
            return -1
        if place < 0:
            undeclared += 1
        elif not _put(b, p + 1, q, told[place]):
            return -1
        p = past_blank(b, q + 1, e)
        if b[p] == 125:
            return undeclared if p + 1 == e else -1
        if b[p] != 44:
            return -1
        p = past_blank(b, p + 1, e)
    return -1


@kernel
def take_told(b, found, is_act, declared, seen, told):
    """Fill `told` TEXT[TOLD_MAX] from what was found of an event, device, channel and country if it is an act.

    `declared` uint64 hashes of the names of contexts, at most CONTEXT_NAMES_MAX, in the order of their columns; `seen`
    uint64[CONTEXT_MAX] to work in; places past the declared are left alone. How many names of the context are not
    declared; -1.
    """
    for k in range(_DIMENSIONS + len(declared)):
        told[k].hash = np.uint64(0)
    if is_act:
        for k in range(_DIMENSIONS):
            kind = found[DEVICE + k]
            if kind == STRING:
                if not _put(b, found[AT + DEVICE + k], found[END + DEVICE + k], told[k]):
                    return -1
            elif kind != ABSENT and kind != NULL:
                return -1
    kind = found[CONTEXT]
    if kind == NESTED:
        return _context(b, found[AT + CONTEXT], found[END + CONTEXT], declared, seen, told)
    return 0 if kind == ABSENT or kind == NULL else -1


@kernel
def note_told(told, used, met, texts, n):
    """Append what told[:used] tells and `met` (uint64[MET_MAX]) does not remember to `texts` (TEXT), from n on.

    The number of texts then; at most `used` more, for which there must be room.
    """
    for k in range(used):
        h = told[k].hash
        if h != np.uint64(0) and met[h & np.uint64(MET_MAX - 1)] != h:
            met[h & np.uint64(MET_MAX - 1)] = h
            texts[n].hash = h
            texts[n].at = told[k].at
            texts[n].len = told[k].len
            n += 1
    return n
