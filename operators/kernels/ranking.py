"""From the neighbours of a shopper's last items to one list: weigh, merge, leave out what was just seen, fill up.

An item's score is the sum, over the shopper's last items, of its score beside each times the weight of that one's place
in the history; of what it is beside the neighbours of the current item, times what those are beside it: two steps of a
walk; and of the weight of coming back, where it is one of the last items itself. Sources: weighted item-based scoring
over the recent session, Ludewig and Jannach, "Evaluation of session-based recommendation algorithms" (UMUAI 2018);
walks over co-visits, Baluja et al., "Video suggestion and discovery for YouTube" (WWW 2008); coming back, Anderson et
al., "The dynamics of repeat consumption" (WWW 2014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from operators.kernels.remembered import REMEMBERED_NEIGHBOURS
from state.batches import LIST_LENGTH, NEIGHBOURS, RECENT_ITEMS
from state.compiled import kernel

RECENT_FETCHED = 4
"""For how many of a shopper's last items the neighbours are asked."""

SLOT_WEIGHTS = np.array([0.5**slot for slot in range(RECENT_FETCHED)], np.float32)
"""What the neighbours of the newest item, the one before, ... count."""

WALKS = 4
"""From how many of the current item's best neighbours a second step is made, where their rows are remembered."""

WALK_WEIGHT = np.float32(1.0)
"""What a second step counts."""

RETURN_WEIGHTS = np.array([0.5] + [0.15 * 0.8**slot for slot in range(RECENT_ITEMS - 1)], np.float32)
"""What speaks for the newest item (where it may stand in a list), the one before, ... to come next once more, in shares
of a row of neighbours."""

LEAVE_OUT_CURRENT = 1
"""`leave_out`: only the newest item stays out of the list; what was seen before it may come back."""

LEAVE_OUT_RECENT = RECENT_ITEMS
"""`leave_out`: none of the last items is shown."""

_CANDIDATES = RECENT_FETCHED * NEIGHBOURS + WALKS * REMEMBERED_NEIGHBOURS + RECENT_ITEMS  # at most: 168
_SLOTS = 512  # of the table of candidates
_SLOT_MASK = np.uint64(_SLOTS - 1)


@kernel
def _listed(hashes, n, wanted):
    """Is `wanted` one of the first n hashes?"""
    found = False
    for k in range(n):
        found |= hashes[k] == wanted
    return found


@kernel
def _give(table, used, candidates, item, given, slot):
    """Add to a candidate's score for the sake of the last item at `slot`; the number of candidates.

    `table` are `keys` uint64, `sums` and `most` float32, `reason` int64, each of _SLOTS, by open addressing; `used`
    int64[_CANDIDATES] the places in use, of which `candidates` are.
    """
    keys, sums, most, reason = table
    s = item & _SLOT_MASK
    while keys[s] != 0 and keys[s] != item:
        s = (s + np.uint64(1)) & _SLOT_MASK
    if keys[s] == 0:
        keys[s] = item
        sums[s] = given
        most[s] = given
        reason[s] = slot
        used[candidates] = s
        return candidates + 1
    sums[s] += given
    if given > most[s]:
        most[s] = given
        reason[s] = slot
    return candidates


@kernel
def rank(
    items,
    scores,
    counts,
    recent,
    recent_n,
    leave_out,
    remembered,
    popular,
    popular_scores,
    out_items,
    out_scores,
    because,
    out_n,
):
    """Make each shopper's list of at most LIST_LENGTH items, best first; equal scores by hash.

    Of n shoppers: `items` uint64[n, RECENT_FETCHED, NEIGHBOURS], `scores` float32 likewise and `counts`
    uint8[n, RECENT_FETCHED] are the neighbours of each of the last items, best first (count 0: none); `recent`
    uint64[n, RECENT_ITEMS] and `recent_n` uint8[n] the last items, newest first, of which the first `leave_out` stay
    out of the list. A last item that stands there twice counts at its newest place only. `remembered` REMEMBERED[rows]
    are the neighbours of other items, as far as they are known. `popular` uint64[m] and `popular_scores` float32[m],
    best first, fill the list up: such an item's score is its share of all of `popular_scores`, but never above that of
    the item before it.

    Written: `out_items` uint64[n, LIST_LENGTH], `out_scores` float32 likewise, `because` uint64 likewise (the last item
    that gave most to the score, itself if it is one that comes back; 0: it is popular), `out_n` uint8[n]; places past
    out_n are 0.
    """
    # The table of candidates is emptied after each shopper.
    keys = np.zeros(_SLOTS, np.uint64)
    sums = np.empty(_SLOTS, np.float32)
    table = (keys, sums, np.empty(_SLOTS, np.float32), np.empty(_SLOTS, np.int64))
    reason = table[3]
    used = np.empty(_CANDIDATES, np.int64)
    popular_total = np.float32(0.0)
    for p in range(len(popular)):
        popular_total += popular_scores[p]

    for n in range(len(out_n)):
        known = recent_n[n]
        candidates = 0
        for slot in range(min(RECENT_FETCHED, known)):
            if _listed(recent[n], slot, recent[n, slot]):
                continue
            for k in range(counts[n, slot]):
                given = scores[n, slot, k] * SLOT_WEIGHTS[slot]
                candidates = _give(table, used, candidates, items[n, slot, k], given, slot)
        if known > 0:
            for k in range(min(WALKS, counts[n, 0])):
                item = items[n, 0, k]
                row = remembered[item & np.uint64(len(remembered) - 1)]
                if row.item == item:
                    share = scores[n, 0, k] * WALK_WEIGHT
                    for j in range(REMEMBERED_NEIGHBOURS):
                        other = row.items[j]
                        if other != 0 and other != recent[n, 0]:
                            candidates = _give(table, used, candidates, other, share * row.scores[j], 0)
        for slot in range(min(leave_out, known), known):
            if not _listed(recent[n], slot, recent[n, slot]):
                candidates = _give(table, used, candidates, recent[n, slot], RETURN_WEIGHTS[slot], slot)

        left_out = min(leave_out, known)
        size = 0
        for c in range(candidates):
            s = used[c]
            item, score = keys[s], sums[s]
            keys[s] = 0
            if size == LIST_LENGTH and score < out_scores[n, LIST_LENGTH - 1]:
                continue
            if _listed(recent[n], left_out, item):
                continue
            at = size
            while at > 0:
                above = out_scores[n, at - 1]
                if above > score or (above == score and out_items[n, at - 1] < item):
                    break
                if at < LIST_LENGTH:
                    out_scores[n, at] = above
                    out_items[n, at] = out_items[n, at - 1]
                    because[n, at] = because[n, at - 1]
                at -= 1
            if at < LIST_LENGTH:
                out_scores[n, at] = score
                out_items[n, at] = item
                because[n, at] = recent[n, reason[s]]
                size = min(size + 1, LIST_LENGTH)

        for p in range(len(popular)):
            if size == LIST_LENGTH:
                break
            item = popular[p]
            if _listed(out_items[n], size, item) or _listed(recent[n], left_out, item):
                continue
            score = popular_scores[p] / popular_total if popular_total > 0 else np.float32(0.0)
            if size > 0:
                score = min(score, out_scores[n, size - 1])
            out_scores[n, size] = score
            out_items[n, size] = item
            because[n, size] = 0
            size += 1

        out_n[n] = size
        for k in range(size, LIST_LENGTH):
            out_items[n, k] = 0
            out_scores[n, k] = 0.0
            because[n, k] = 0


def rank_reference(
    neighbours: Sequence[Sequence[tuple[int, float]]],
    recent: Sequence[int],
    leave_out: int,
    remembered: Mapping[int, Sequence[tuple[int, float]]],
    popular: Sequence[tuple[int, float]],
) -> list[tuple[int, float, int]]:
    """The plain reference of `rank` for one shopper: (item, score, because), of (item, score) by place in `recent`."""
    given: dict[int, list[tuple[np.float32, int]]] = {}
    for slot, pairs in enumerate(neighbours[: min(RECENT_FETCHED, len(recent))]):
        if recent[slot] not in recent[:slot]:
            for item, score in pairs:
                given.setdefault(item, []).append((np.float32(score) * SLOT_WEIGHTS[slot], recent[slot]))
    for item, score in neighbours[0][:WALKS] if recent else ():
        for other, further in remembered.get(item, ()):
            if other != recent[0]:
                step = np.float32(score) * WALK_WEIGHT * np.float32(further)
                given.setdefault(other, []).append((step, recent[0]))
    for slot, item in enumerate(recent):
        if slot >= leave_out and item not in recent[:slot]:
            given.setdefault(item, []).append((RETURN_WEIGHTS[slot], item))
    out_of_list = set(recent[:leave_out])
    merged = [
        (item, sum((g for g, _ in gifts), np.float32(0.0)), max(gifts, key=lambda gift: gift[0])[1])
        for item, gifts in given.items()
        if item not in out_of_list
    ]
    merged = sorted(merged, key=lambda entry: (-entry[1], entry[0]))[:LIST_LENGTH]
    total = sum((np.float32(s) for _, s in popular), np.float32(0.0))
    for item, score in popular:
        if len(merged) < LIST_LENGTH and item not in out_of_list and all(item != entry[0] for entry in merged):
            share = np.float32(score) / total if total > 0 else np.float32(0.0)
            merged.append((item, min(share, merged[-1][1]) if merged else share, 0))
    return [(item, float(score), reason) for item, score, reason in merged]
