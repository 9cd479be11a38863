"""Finding the rows of shoppers by their ids, and making the rows of new ones."""

from __future__ import annotations

import numpy as np

from state.compiled import kernel
from state.profile_table import ID_CHUNK
from state.table import home_slot

FREE = -1


@kernel
def _same_id(buffer, at, length, ids, chunk):
    base = chunk * ID_CHUNK
    for k in range(length):
        if buffer[at + k] != ids[base + k]:
            return False
    return True


@kernel
def place(events, buffer, slot_hashes, slot_rows, rows, ids, free, size, room, known, id_rows, out, made):
    """Find or make the row of each event's shopper; hashes and the ids' bytes must agree.

    `events` EVENT[n]; `buffer` uint8; `slot_hashes`, `slot_rows` an index with room for n more; `rows` PROFILE_ROW with
    room for n more than `size`; `ids` uint8, the id table flat, with room for every new id behind `id_rows`; `free`
    int32 rows to use again. `room` is for how many shoppers more there is room, but for those of events that `known`
    uint8[n] marks, for whom there always is. `out` int32[n] gets the rows, -1 where there is no room and for events of
    no shopper; `made` int32[n] the new ones.
    Returns (rows in use, id rows in use, free rows left, entries added to the index).
    """
    mask = np.uint64(len(slot_rows) - 1)
    free_n = len(free)
    added = 0
    for i in range(len(events)):
        h = events[i].user
        if h == np.uint64(0):
            out[i] = FREE
            continue
        at = events[i].user_at
        length = events[i].user_len
        s = home_slot(h, len(slot_rows))
        while True:
            row = slot_rows[s]
            if row == FREE:
                break
            one = rows[row]
            if slot_hashes[s] == h and one.id_len == length and _same_id(buffer, at, length, ids, one.id_chunk):
                break
            s = (s + np.uint64(1)) & mask
        if row == FREE:
            if not known[i]:
                if room <= 0:
                    out[i] = FREE
                    continue
                room -= 1
            chunks = (length + ID_CHUNK - 1) // ID_CHUNK
            if free_n > 0:
                free_n -= 1
                row = free[free_n]
            else:
                row = size
                size += 1
            new = rows[row]
            new.hash = h
            new.id_len = length
            new.id_chunk = id_rows
            base = id_rows * ID_CHUNK
            for k in range(length):
                ids[base + k] = buffer[at + k]
            id_rows += chunks
            slot_hashes[s] = h
            slot_rows[s] = row
            made[added] = row
            added += 1
        out[i] = row
    return size, id_rows, free_n, added
